"""Everything that can be wrong with a folder of records, named. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import whose
from hdit_repro.records import rows, signoff, store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Record
from hdit_repro.records.store import Problem, place


class Found(NamedTuple):
    """What a check of the records came to: how many are whole, and what is wrong with which file."""

    records: int
    problems: list[Problem]


def lint(roots: Roots) -> Found:
    """Check every record of a workplace: whole, unedited, current, in its place, of its folder's scale, of one protocol
    a row, and under signatures that fit."""
    smoke = roots.records("smoke")
    count, problems = 0, []
    for folder in dict.fromkeys((roots.results, smoke)):
        records, damaged = store.load(folder)
        count += len(records)
        problems += damaged
        problems += _wrong_scale(folder, records, smoke=folder == smoke)
        problems += _protocols(folder, records)
        problems += _signatures(folder)
    return Found(count, problems)


def _wrong_scale(folder: Path, records: list[Record], *, smoke: bool) -> Iterator[Problem]:
    for record in records:
        if (record.scale == "smoke") != smoke:
            where = "belongs under runs/results/smoke/" if record.scale == "smoke" else "belongs under results/"
            yield Problem(place(folder, record), f"a record of {record.scale} scale {where}")


def _protocols(folder: Path, records: list[Record]) -> Iterator[Problem]:
    for group in rows.index(records).values():
        for record in group.aside:
            yield Problem(
                place(folder, record),
                f"a record is measured otherwise than {len(group.kept)} of the same row, and is not averaged with them "
                f"({difference(record, group.kept[0])})",
            )


def difference(record: Record, other: Record) -> str:
    """In what two records were measured differently, in words."""
    ours, theirs = record.protocol, other.protocol
    names = ("extractor", "weights_digest", "resize", "reference", "quantised", "samples")
    return ", ".join(name.replace("_", " ") for name in names if getattr(ours, name) != getattr(theirs, name))


def _signatures(folder: Path) -> Iterator[Problem]:
    for file in store.files(folder, signoff.SUFFIX):
        record = file.with_name(f"{file.name.partition('.')[0]}.json")
        try:
            if not record.is_file():
                yield Problem(file, "a signature stands under no record")
                continue
            digest, signature = signoff.contents(record), signoff.read(file)
        except UserError as error:
            yield Problem(file, f"{error.problem} ({error.found})")
            continue
        except OSError as error:
            yield Problem(file, f"a file cannot be read ({error.filename}: {error.strerror}{whose(error)})")
            continue
        if signature.digest != digest:
            yield Problem(file, f"the record was changed after {signature.by} signed it")
