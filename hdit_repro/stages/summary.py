"""What a training notes at its end, beside its checkpoint's marker in final.json. No torch."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import read_json
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.base import require
from hdit_repro.stages.spent import by_device

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A training's bill and its end. Empty of a network that was trained elsewhere, and of images of others.

    seconds: by the clock, over all starts. process_seconds: those of all its processes together by what they ran on, of
    earlier versions one number or none. processes, device: of the last start. loss_end, loss_constant: the mean loss of
    its last steps, and of the best constant predictor there; None where it is not known. skipped_steps,
    replaced_images: how many.
    """

    seconds: Seconds = 0.0
    process_seconds: dict[str, Seconds] | Seconds | None = None
    processes: Annotated[int, msgspec.Meta(ge=1)] = 1
    device: str = ""
    loss_end: float | None = None
    loss_constant: float | None = None
    skipped_steps: int = 0
    replaced_images: int = 0

    def __post_init__(self) -> None:
        by_device(self.process_seconds or 0.0, self.device)
        numbers = (self.seconds, self.loss_end, self.loss_constant)
        require(all(math.isfinite(number) for number in numbers if number is not None), "its numbers are finite")


def training_summary(folder: RunFolder) -> Summary:
    """What training noted at its end.

    Raises:
        UserError: final.json is missing, or the disk or somebody spoilt it.
    """
    if folder.run.external:
        return Summary()
    try:
        return msgspec.convert(dict(read_json(folder.final_marker)).get("summary", {}), Summary)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise UserError(
            "what a training noted at its end cannot be read",
            found=f"{folder.final_marker}: {error}",
            expected="its summary as it was written: seconds, processes, losses",
            fix=f"delete {folder.final_marker}, then run `hdit-repro train` of this run (or the `import` that brought "
            "it): it goes on from the last checkpoint, and writes the file anew",
        ) from error
