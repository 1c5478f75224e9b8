"""Between host and device without either waiting for the other: uploads from pinned memory, numbers read later.

A copy from ordinary memory, or one that is asked for as `.to(device)`, makes the host wait until the device has done
all that it was told before. On a CPU nothing is copied.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hdit_repro.data.loader import Batch


def upload(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`: what the device is told next finds it there, and the host goes on at once."""
    if device.type == "cpu" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


class Reading:
    """A few numbers on their way to the host.

    Args:
        values: float64, any number of them, on any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._host = values.to("cpu", non_blocking=True)  # into pinned memory, which torch takes for it
        self._there = event(values.device)

    def numbers(self) -> list[float]:
        """The numbers; waits until the device has come to where they were asked for."""
        if self._there is not None:
            self._there.synchronize()
        found: list[float] = self._host.tolist()
        return found


class Sent(NamedTuple):
    """A batch whose images are on their way to a device by a stream of their own; `there` is None where they are."""

    batch: Batch
    there: torch.cuda.Event | None = None

    def arrived(self) -> Batch:
        """The batch; what the caller's stream is told from here on waits for the images, the host does not."""
        if self.there is not None:
            images = self.batch.images
            here = torch.cuda.current_stream(images.device)
            here.wait_event(self.there)
            images.record_stream(here)  # their memory is another stream's: it must not be taken back too early
        return self.batch


class Carrier:
    """Sends batches ahead of time from the thread that reads them; on a CPU it hands them on.

    Args:
        device: where images are wanted; labels and numbers stay on the host.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None

    def send(self, batch: Batch) -> Sent:
        """Begin to copy the images of a batch."""
        if self.device.type != "cuda":
            return Sent(batch)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream):
            images = upload(batch.images, self.device)
            return Sent(batch._replace(images=images), event(self.device))


def event(device: torch.device) -> torch.cuda.Event | None:
    """A mark behind all that the device was told in the current stream; None on a CPU, which is never behind."""
    if device.type != "cuda":
        return None
    mark = torch.cuda.Event()  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        mark.record()
    return mark
