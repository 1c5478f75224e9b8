"""What a run writes down as it goes: metrics.jsonl, the events beside it, TensorBoard if asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hdit_repro.errors import UserError
from hdit_repro.spec.run import Run
from hdit_repro.training.feed import Source, image_numbers
from hdit_repro.training.log import MetricsLog
from hdit_repro.training.meter import Meter, scale_range
from hdit_repro.training.state import TrainingState
from hdit_repro.training.step import Outcome
from hdit_repro.training.transfer import Reading

LAST_STEPS = 3
"""Steps at the end of a run that have a line each, so that its final loss hangs on no interval between lines."""

StepReport = Callable[[int, int, dict[str, float]], None]
"""Called after logged steps with (steps done, steps in all, values)."""


class UnreadableImage(UserWarning):
    """An image could not be read, and another is taken in its place."""


def events_path(metrics: Path) -> Path:
    """metrics.events.jsonl: skipped steps, spikes (with the numbers of the step's images), unreadable images."""
    return metrics.with_suffix(".events.jsonl")


class Journal:
    """Writes lines for the main process; in others it measures and writes nothing.

    Args:
        run: the run.
        state: after its restart; later lines of an earlier process are dropped.
        metrics: path of the log.
        images: the data set, for the numbers of images.
        every: steps between lines.
        main: whether this process writes.
        tensorboard: write scalars for TensorBoard beside the log too.
    """

    def __init__(
        self,
        run: Run,
        state: TrainingState,
        metrics: Path,
        images: Source,
        meter: Meter,
        report: StepReport,
        *,
        every: int,
        main: bool = True,
        tensorboard: bool = False,
    ) -> None:
        self.run, self.state, self.images, self.meter, self.report = run, state, images, meter, report
        self.every, self.main = every, main
        self.total = run.training.total_steps
        self._told: set[int] = set()
        self._scales: Reading | None = None
        if main:
            self.log = MetricsLog(metrics, state.step)
            self.events = MetricsLog(events_path(metrics), state.step)
        self.board = _board(metrics.parent / "tensorboard", state.step) if main and tensorboard else None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.board is not None:
            self.board.close()

    def look(self) -> None:
        """Ask for what a line tells of the network as it is now, where the step just taken has one."""
        if self.main and self._has_line(self.state.step):
            self._scales = scale_range(self.state.network)

    def note(self, outcome: Outcome) -> None:
        """Write down what is worth it of the step just settled, before another is taken."""
        self.meter.add(outcome.size)
        if not self.main:
            return
        if outcome.verdict != "fine":
            self._event(outcome.verdict, outcome)
        self._replacements(outcome)
        step = self.state.step
        if self._has_line(step):
            timed = self.meter.read()
            values = {"loss": outcome.loss, "grad_norm": outcome.grad_norm, "skipped": self.state.watchdog.skipped}
            values |= _named(self._scales)
            if outcome.verdict in ("fine", "spike"):
                self.log.append({"step": step, **values, **timed})
                self._show({**values, **timed})
            self.report(step, self.total, {**values, **timed})

    def sync(self) -> None:
        """Make the lines so far durable."""
        if self.main:
            self.log.sync()
            self.events.sync()

    def _has_line(self, step: int) -> bool:
        return step % self.every == 0 or step > self.total - LAST_STEPS

    def _event(self, kind: str, outcome: Outcome) -> None:
        numbers = image_numbers(self.run, outcome.first, outcome.size, len(self.images))
        found = {"loss": str(outcome.loss), "grad_norm": str(outcome.grad_norm), "mean": self.state.watchdog.mean}
        self.events.append(
            {"step": self.state.step, "event": kind, **found, "first_draw": outcome.first, "images": numbers}
        )

    def _replacements(self, outcome: Outcome) -> None:
        """Write down which images of the step could not be read, and name each once."""
        for number, by, why in outcome.replaced:
            event = {"step": self.state.step, "event": "unreadable", "image": number, "replaced_by": by, "why": why}
            self.events.append(event)
            if number not in self._told:
                self._told.add(number)
                warnings.warn(UnreadableImage(f"image {number} cannot be read ({why}); {by} is taken"), stacklevel=2)

    def _show(self, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, self.state.step)


def _named(scales: Reading | None) -> dict[str, float]:
    return {} if scales is None else dict(zip(("scale_min", "scale_max"), scales.numbers(), strict=True))


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer; steps after `step` of an earlier process are hidden.

    Raises:
        UserError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard's files cannot be written",
            found=str(error),
            expected="the package tensorboard",
            fix="pip install tensorboard, or leave --tensorboard out",
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
