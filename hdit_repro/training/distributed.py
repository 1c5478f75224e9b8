"""Several processes, one run: who takes which draws, and how gradients are summed.

Gradients are summed in buckets of fixed content and order, and not by torch's DistributedDataParallel, whose buckets
change after the first step: then a resumed run would add in another order than one never interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.training.rendezvous import Lost, Place

T = TypeVar("T")

BUCKET_BYTES = 25 << 20
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others."""


@dataclass(frozen=True)
class World:
    """The processes of a run. With one, nothing is sent anywhere."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, first: int, count: int) -> tuple[int, int]:
        """This process's part of a step's draws: (number of the first, how many); see `check_size`."""
        each = count // self.size
        return first + self.rank * each, each

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits on each."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_main(self, value: int) -> int:
        """The main process's integer."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.int64, device=self.device)
        dist.broadcast(told, src=0)
        return int(told)

    def gather(self, values: Sequence[T]) -> list[T]:
        """All processes' values, in the order of their ranks; small and picklable."""
        if self.size == 1:
            return list(values)
        found: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, list(values))
        return [value for part in found for value in part]

    def wait(self) -> None:
        """Until all processes are here. On cards a sum is only asked for: its value is what is waited for."""
        self.sum(torch.zeros(1, device=self.device)).tolist()

    def agree(self, what: str, value: int) -> None:
        """Refuse processes that do not mean the same run.

        Raises:
            UserError: another process has another value.
        """
        differs = int(self.from_main(value) != value)
        if int(self.sum(torch.tensor([differs], dtype=torch.int64, device=self.device))):
            raise UserError(
                f"the processes of a run differ in {what}",
                found=f"process {self.rank} of {self.size} has {value}",
                expected="the same in all of them",
                fix="start all of them with the same command, code and folder",
            )


@contextlib.contextmanager
def join(place: Place, device: torch.device) -> Iterator[World]:
    """Meet the other processes: NCCL on GPUs, gloo on CPUs. Alone, nothing is started.

    Raises:
        Lost: they do not come, or one is lost on the way.
    """
    if place.size == 1:
        yield World(0, 1, device)
        return
    store = f"tcp://{place.address}:{place.port}"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    met = False
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=store,
            rank=place.rank,
            world_size=place.size,
            timeout=PATIENCE,
        )
        met = True
        yield World(place.rank, place.size, device)
    except (dist.DistError, RuntimeError) as error:
        if not _is_loss(error):
            raise
        raise Lost(
            "another process of the run is gone" if met else "the processes of the run did not meet",
            found=f"process {place.rank} of {place.size} at {store}: {_said(error)}",
            expected=f"{place.size} processes to the end",
            fix="start all of them again: training resumes from the newest whole checkpoint",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_loss(error: BaseException) -> bool:
    """Whether an error means that a peer is lost; others (out of memory) are passed on as they are."""
    text = str(error).lower()
    marks = ("gloo", "connection", "nccl", "timed out", "timeout", "peer", "socket")
    return isinstance(error, dist.DistError) or any(mark in text for mark in marks)


def _said(error: BaseException) -> str:
    """The first line of an error; of NCCL's the last one too, where it says what it met."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{lines[0]}; {lines[-1]}" if "Last error:" in lines[:-1] else lines[0]


def local_device(device: torch.device, place: Place) -> torch.device:
    """The GPU of this process where there are several; a device with a number is taken at its word."""
    if str(device) == "cuda" and place.size > 1:
        return torch.device("cuda", place.local_rank % max(1, torch.cuda.device_count()))
    return device


class GradientSum:
    """Adds up gradients over all processes while the backward pass goes on.

    Parameters are dealt into buckets from the last to the first; a bucket is sent as soon as its gradients are there
    and those before it are sent, so that all processes send in one order.
    """

    def __init__(self, network: nn.Module, world: World, bucket_bytes: int = BUCKET_BYTES) -> None:
        self.world = world
        self.armed = False
        self.buckets = _deal([p for p in network.parameters() if p.requires_grad], bucket_bytes)
        self._missing: list[int] = []
        self._sent: list[tuple[Tensor, Any]] = []
        if world.size > 1:
            for number, bucket in enumerate(self.buckets):
                for parameter in bucket:
                    parameter.register_post_accumulate_grad_hook(self._hook(number))  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """The next backward pass is the step's last."""
        self.armed = self.world.size > 1
        self._missing = [len(bucket) for bucket in self.buckets]
        self._sent = []

    def finish(self) -> None:
        """Wait until every gradient is the sum over all processes."""
        if not self.armed:
            return
        while len(self._sent) < len(self.buckets):
            self._send()
        for bucket, (flat, work) in zip(self.buckets, self._sent, strict=True):
            work.wait()
            at = 0
            for parameter in bucket:
                if parameter.grad is not None:
                    parameter.grad.copy_(flat[at : at + parameter.numel()].view_as(parameter))
                at += parameter.numel()
        self.armed = False

    def _hook(self, number: int) -> Any:
        def ready(_parameter: Tensor) -> None:
            if self.armed:
                self._missing[number] -= 1
                while len(self._sent) < len(self.buckets) and self._missing[len(self._sent)] == 0:
                    self._send()

        return ready

    def _send(self) -> None:
        bucket = self.buckets[len(self._sent)]
        parts = [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p in bucket]
        flat = torch.cat(parts)
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))


def _deal(parameters: list[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    """Parameters in buckets of one dtype, the last first."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in reversed(parameters):
        more = parameter.numel() * parameter.element_size()
        if not buckets or size + more > bucket_bytes or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += more
    return buckets
