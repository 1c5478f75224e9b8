"""Tables of metrics under several protocols, for `fid` and `eval --protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast, get_args

from hdit_repro.cli.output import as_json, remark, table
from hdit_repro.errors import UserError, pick
from hdit_repro.spec.base import kinds as tags
from hdit_repro.spec.evaluation import EXTRACTOR_OF, KIND_OF, Extractor, MetricKind

if TYPE_CHECKING:
    from hdit_repro.launch.graph import Task
    from hdit_repro.stages.compare import Row

T = TypeVar("T")

DIGITS = 6
"""Significant figures of a value in a table; --json has them all."""


def protocols_of(text: str) -> list[str]:
    """The feature networks in "inception-2015,inception-clean", or all.

    Raises:
        UserError: a name is unknown.
    """
    known = {name: name for name in tags(Extractor)}
    return list(known) if text == "all" else _picked(known, text, "protocol", EXTRACTOR_OF)


def kinds_of(text: str) -> list[MetricKind]:
    """The kinds of metric in "frechet,kernel", or all.

    Raises:
        UserError: a name is unknown.
    """
    known = {name: cast(MetricKind, name) for name in get_args(MetricKind)}
    return list(known.values()) if text == "all" else _picked(known, text, "metric", KIND_OF)


def _picked(known: dict[str, T], text: str, kind: str, called: Mapping[str, str]) -> list[T]:
    """What names with commas stand for, each once, in their order."""
    return list(dict.fromkeys(pick(known, name.strip(), kind=kind, called=called) for name in text.split(",")))


def show_rows(rows: Sequence[Row], as_objects: bool) -> None:
    """Rows as a table, or as JSON with `protocol`, `metric`, `value`, `low`, `high`, `interval`, `note`."""
    if as_objects:
        as_json([plain(row) for row in rows])
        return
    cells = []
    for row in rows:
        value = "-" if row.value is None else f"{row.value.value:.{DIGITS}g}"
        ends = row.value is not None and row.value.low is not None and row.value.high is not None
        interval = f"[{row.value.low:.{DIGITS}g}, {row.value.high:.{DIGITS}g}]" if row.value and ends else ""
        how = (row.value.interval or "") if row.value else ""
        cells.append((row.protocol, row.metric, value, interval, "; ".join(part for part in (how, row.note) if part)))
    table(("protocol", "metric", "value", "interval", "remark"), cells, right=("value",))


def plain(row: Row) -> dict[str, object]:
    """A row as JSON."""
    value = row.value
    return {
        "protocol": row.protocol,
        "metric": row.metric,
        "value": value.value if value else None,
        "low": value.low if value else None,
        "high": value.high if value else None,
        "interval": value.interval if value else None,
        "note": row.note,
    }


def quiet(_name: str, _done: int, _total: int) -> None:
    """No progress."""


def check_names(protocols: str, metrics: str) -> None:
    """Refuse unknown names before anything is run.

    Raises:
        UserError: a name is unknown.
    """
    protocols_of(protocols)
    kinds_of(metrics)


def show_protocols(
    tasks: Sequence[Task], device: str, threads: int, protocol: str, metrics: str, as_objects: bool
) -> None:
    """Measure kept samples under several protocols and print them side by side, one table a set of samples.

    Raises:
        UserError: there is nothing that could be measured.
    """
    names, kinds = protocols_of(protocol), kinds_of(metrics)
    from hdit_repro.stages.protocols import by_protocol
    from hdit_repro.stages.settings import Settings

    settings = Settings(device=device, threads=threads)
    sets = [(task.name, by_protocol(task.job, task.folder, settings, names, kinds, quiet)) for task in tasks]
    if all(row.value is None for _, rows in sets for row in rows):
        noted = {f"{row.metric}: {row.note}": None for _, rows in sets for row in rows}
        raise UserError(
            "nothing could be measured",
            found="\n".join(noted) or f"no network of {protocol} has one of {metrics}",
            expected="at least one metric that these samples allow",
            fix="bring in weights (hdit-repro weights list), or name other --metrics or --protocol",
        )
    if as_objects and len(sets) > 1:
        as_json({name: [plain(row) for row in rows] for name, rows in sets})
    else:
        for name, rows in sets:
            if len(sets) > 1:
                remark(name)
            show_rows(rows, as_objects)
    remark("numbers of different protocols cannot be subtracted; each is to be read against its own")
