"""What the records' numbers cost by stage and device, and what the missing ones would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import NamedTuple

from hdit_repro.errors import counted
from hdit_repro.jobs.submitting import submitting
from hdit_repro.records.layout import STAGES
from hdit_repro.records.schema import Provenance, Record, on_processor
from hdit_repro.render.cells import hours
from hdit_repro.render.report.blocks import Block, Code, Heading, grid, text
from hdit_repro.render.report.facts import Entry, Facts

NOT_NOTED = "not noted"


class Spent(NamedTuple):
    """GPU-hours by stage and device, and seconds of computing time."""

    gpu_hours: Mapping[tuple[str, str], float]
    seconds: float

    @property
    def total(self) -> float:
        """GPU-hours of all stages."""
        return sum(self.gpu_hours.values())


def cost(facts: Facts) -> Iterable[Block]:
    """What was spent, on what, and what the rows without records would cost, with the commands that measure them."""
    yield Heading(2, "What it cost", "cost")
    yield from _spent(facts.given.records)
    missing = [entry for entry in facts.entries if not entry.records]
    if missing:
        price = facts.bills.many_of([entry.job for entry in missing], 1)
        count = counted(len(missing), "row")
        yield text(f"Not measured yet at {facts.scale} scale: {count}. One training of each costs {price}.")
        yield Code("\n".join(_measuring(missing, facts)))


def _spent(records: list[Record]) -> Iterable[Block]:
    if not records:
        return
    used, made = spent(records), [record.provenance for record in records]
    noted = (device for one in made for stage in one.gpu_hours_by_stage.values() for device in stage)
    devices = {*noted, *(device for one in made for device in (one.device, one.training_device))}
    yield text(
        f"Spent: {hours(used.total)} GPU-hours, {_time(used.seconds)} of computing time, on "
        f"{', '.join(sorted(devices))}."
    )
    rows = [
        (stage, device, hours(value))
        for (stage, device), value in sorted(used.gpu_hours.items(), key=lambda one: (STAGES.index(one[0][0]), one[0]))
        if value
    ]
    if rows:
        yield grid("GPU-hours by stage and device", ("stage", "device", "GPU-hours"), rows, ("GPU-hours",))
    summed = sum(1 for one in made if one.gpu_hours and not one.gpu_hours_by_stage)
    if summed:
        yield text(
            f"Of {counted(summed, 'record')} of an older shape the sum of all stages alone is known: measuring and "
            "sampling are taken to have had one GPU for as long as they took, and training the rest."
        )


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 5400 else f"{seconds / 60:,.1f} minutes"


def _measuring(missing: Iterable[Entry], facts: Facts) -> Iterable[str]:
    """What measures the rows: an experiment at once, but for rows that cannot be, with which it would be refused."""
    partial = {experiment for experiment, _ in facts.refused}
    rows: dict[str, list[str]] = {}
    for job in (entry.job for entry in missing):
        if job.run.external:
            yield f"hdit-repro eval --run {quote(job.name)} --scale {facts.scale}"
        else:
            rows.setdefault(job.experiment, []).append(job.row)
    for experiment, names in rows.items():
        some = f" --rows {quote(','.join(names))}" if experiment in partial else ""
        yield submitting(quote(experiment) + some, facts.scale)


def spent(records: Iterable[Record]) -> Spent:
    """What records took; what several share (one training, one sampling) is counted once."""
    used: dict[tuple[str, str], Mapping[str, float]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for record in records:
        made = record.provenance
        ids = {"train": record.training_id, "sample": record.sampling_id, "evaluate": record.evaluation_id}
        for stage, value in made.seconds.items():
            seconds[stage, ids.get(stage, record.evaluation_id)] = value
        for stage, found in (made.gpu_hours_by_stage or _split(made)).items():
            known = used.get((stage, ids[stage]), {})
            used[stage, ids[stage]] = max(known, found, key=lambda by_device: sum(by_device.values()))
    total: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (stage, _), by_device in used.items():
        for device, value in by_device.items():
            total[stage, device] += value
    return Spent(total, sum(seconds.values()))


def _split(made: Provenance) -> dict[str, dict[str, float]]:
    """The GPU-hours of a record of which their sum alone is noted: an evaluation had one GPU where the record names a
    card, sampling had one as far as hours are left, and all others are the training's."""
    evaluated = 0.0 if on_processor(made.device) else min(made.gpu_hours, made.seconds.get("evaluate", 0.0) / 3600)
    drawn = min(made.gpu_hours - evaluated, made.seconds.get("sample", 0.0) / 3600)
    trained = made.gpu_hours - evaluated - drawn
    return {
        "train": {made.training_device: trained},
        "sample": {NOT_NOTED: drawn},
        "evaluate": {made.device: evaluated},
    }
