"""From tables/paper/*.toml to claims. What cannot be right is refused with file and line. No torch."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hdit_repro.errors import UserError, meant
from hdit_repro.files import shipped
from hdit_repro.lines import Lines
from hdit_repro.lines import Path as KeyPath
from hdit_repro.paper import checks, printed
from hdit_repro.paper.ledger import Ledger
from hdit_repro.paper.raw import RawClaim, RawColumn, RawFile, RawRow, RawTable, Traits, merge
from hdit_repro.paper.types import Agreement, Claim, Column, Exact, Round, Row, Table, Unit

T = TypeVar("T")

EXACT_CHECKS = (checks.Field, checks.Levels, checks.Complexity, checks.Same, checks.Reading, checks.Order)
"""Checks that agree with print exactly unless told otherwise; the others agree to the last printed digit."""


def read(folder: Path | None = None) -> Ledger:
    """The whole ledger, from every TOML file of `folder` in the order of their names.

    Args:
        folder: None means the one that belongs to the project, `tables/paper`.

    Raises:
        UserError: a file is missing, is no TOML, or holds a claim that cannot be right: unknown key, unit, check or
            column, no place, an id given twice, a reference to no claim; the message names file and line.
    """
    folder = shipped("tables/paper") if folder is None else folder
    paths = sorted(folder.glob("*.toml"))
    return _read(folder, tuple((path, state.st_mtime_ns, state.st_size) for path in paths for state in [path.stat()]))


@lru_cache(maxsize=2)
def _read(folder: Path, states: tuple[tuple[Path, int, int], ...]) -> Ledger:
    """A folder's ledger, read once for each state of its files."""
    paths = [path for path, *_ in states]
    if not paths:
        raise UserError(
            "the ledger is missing",
            found=str(folder),
            expected="a folder with TOML files of claims",
            fix="install the project again, or run from its checkout",
        )
    claims: dict[str, Claim] = {}
    tables: dict[str, Table] = {}
    for path in paths:
        source = _Source(path)
        for table in source.tables():
            if table.id in tables:
                raise UserError(
                    "two tables have the same id",
                    found=f"{table.id!r} again in {path}",
                    expected="an id once in the ledger",
                    fix="give one of them another id",
                )
            tables[table.id] = table
        for claim in source.claims():
            if claim.id in claims:
                first = claims[claim.id]
                raise UserError(
                    f"two claims have the id {claim.id!r}",
                    found=f"{claim.file}:{claim.line} and {first.file}:{first.line}",
                    expected="one claim a cell, each with an id of its own",
                    fix="give one of them another id",
                )
            claims[claim.id] = claim
    for claim in claims.values():
        _refer(claim, claims)
    return Ledger(tuple(claims.values()), tables)


def _refer(claim: Claim, claims: dict[str, Claim]) -> None:
    """Refuse a check that refers to a claim which does not exist, or to itself."""
    for name in checks.claims_of(claim.check) if claim.check else ():
        if name in claims and name != claim.id:
            continue
        raise UserError(
            f"the check of {claim.id!r} refers to a claim that does not exist"
            if name != claim.id
            else f"the check of {claim.id!r} refers to the claim itself",
            found=f"{name!r} at {claim.file}:{claim.line}",
            expected="the id of another claim",
            fix=meant(name, claims) if name != claim.id else "",
        )


class _Source:
    """One file: what it holds, and where each part stands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                "a ledger file cannot be read", found=f"{path}: {error}", expected="UTF-8 text", fix="save it as UTF-8"
            ) from error
        self.text, self.lines = text, Lines(text)
        try:
            value = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            raise UserError(
                "a ledger file is no TOML",
                found=f"{path}:{line}: {error}",
                expected="TOML",
                fix="mend the line that is named",
            ) from error
        self.raw: RawFile = self.convert(value, RawFile, ())

    def refuse(self, problem: str, path: KeyPath, *, expected: object = None, fix: str = "") -> UserError:
        """The error for the value at `path`, with file and line."""
        shown = _show(path)
        return UserError(
            problem,
            found=f"{self.path}:{Lines(self.text, keys=True).of(path)}{f', at {shown}' if shown else ''}",
            expected=expected,
            fix=fix,
        )

    def convert(self, value: object, kind: Any, path: KeyPath) -> Any:
        """`value` as `kind`, or an error that points at its line and offers the nearest name."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            message, within = _place(str(error), value)
            inner = (*path, *within)
            unknown = re.match(r"Object contains unknown field `(.+)`", message)
            if unknown:
                key = unknown[1]
                known = _keys_at(kind, within, value)
                raise self.refuse(
                    f"unknown key {key!r}",
                    (*inner, key),
                    expected=", ".join(known) or None,
                    fix=meant(key, known),
                ) from error
            name = re.match(r"Invalid (?:enum )?value '(.+)'", message)
            if name and inner and inner[-1] == "unit":
                units = [unit.value for unit in Unit]
                raise self.refuse(
                    f"there is no unit called {name[1]!r}",
                    inner,
                    expected=", ".join(units),
                    fix=meant(name[1], units),
                ) from error
            missing = re.match(r"Object missing required field `(.+)`", message)
            problem = (
                f"a claim without {missing[1]}"
                if missing and "claim" in inner[:1]
                else message[:1].lower() + message[1:]
            )
            raise self.refuse(problem, inner) from error

    def tables(self) -> Iterator[Table]:
        """The layout of the file's tables."""
        for raw in self.raw.table:
            yield Table(
                raw.id,
                self.raw.edition,
                raw.number,
                raw.title,
                tuple(Column(key, column.title) for key, column in raw.column.items()),
                tuple(Row(row.key, row.label, row.group, row.run) for row in raw.row),
            )

    def claims(self) -> Iterator[Claim]:
        """The file's claims: its tables' cells row by row, then its sentences."""
        for number, table in enumerate(self.raw.table):
            for position, row in enumerate(table.row):
                yield from self._row(table, row, ("table", number, "row", position))
        for number, claim in enumerate(self.raw.claim):
            path: KeyPath = ("claim", number)
            if not claim.place.strip():
                raise self.refuse(
                    f"a claim without place: {claim.id!r}", (*path, "place"), expected="where it is printed"
                )
            yield self._claim((claim,), path, id=claim.id, place=claim.place, text=claim.text)

    def _row(self, table: RawTable, row: RawRow, path: KeyPath) -> Iterator[Claim]:
        for name, keys in (("cells", row.cells), ("cell", row.cell)):
            for key in keys:
                if key not in table.column:
                    raise self.refuse(
                        f"unknown column {key!r}",
                        (*path, name, key),
                        expected=", ".join(table.column),
                        fix=meant(key, table.column),
                    )
        for key, column in table.column.items():
            if key not in row.cells:
                raise self.refuse(
                    f"row {row.key!r} has no cell {key!r}", (*path, "cells"), expected=", ".join(table.column)
                )
            own = (*path, "cell", key)
            layers: tuple[Traits, ...] = (table, column, row)
            if key in row.cell:
                layers = (*layers, self.convert(row.cell[key], Traits, own))
            edition = "" if self.raw.edition == 1 else " of the second edition"
            yield self._claim(
                layers,
                own if key in row.cell else path,
                id=f"{table.id}/{row.key}/{key}",
                place=f"Table {table.number}{edition}, {row.name or row.label}, {column.title}",
                text=row.cells[key],
                table=table.id,
                row=row.key,
                column=key,
            )

    def _claim(self, layers: tuple[Traits, ...], path: KeyPath, *, text: str, **names: Any) -> Claim:
        traits = merge(layers)
        unit = traits.pop("unit")
        if unit is None:
            raise self.refuse(
                f"claim {names['id']!r} has no unit", path, expected=", ".join(item.value for item in Unit)
            )
        number = self._number(text, unit, traits, path, names["id"])
        check = self._check(traits, path, names["id"])
        if (check is None) == (traits["needs"] is None):
            raise self.refuse(
                f"claim {names['id']!r} has {'neither a check nor' if check is None else 'both a check and'} needs",
                path,
                expected='one of the two: check = { kind = ... }, or needs = "run" or "citation"',
            )
        if traits["expect"] == "erratum" and not (check and traits["reason"]):
            raise self.refuse(
                f"claim {names['id']!r} is expected to be an erratum without a check and a reason",
                path,
                expected="the check that finds it, and a reason with what does hold",
            )
        traits |= {"check": check, "expect": traits["expect"] or "holds"}
        traits |= {name: traits[name] or "" for name in ("reason", "citation", "note")}
        traits["agree"] = traits["agree"] or _agreement(check, number, traits["means"])
        value = traits.pop("printed")
        return Claim(
            **names,
            **traits,
            edition=self.raw.edition,
            printed=number.value if number and value is None else value,
            text=text,
            unit=unit,
            file=self.path.name,
            line=self.lines.of(path),
        )

    def _number(self, text: str, unit: Unit, traits: dict[str, Any], path: KeyPath, name: str) -> printed.Number | None:
        """What the text prints as a number; words, lists and dashes are left to `printed`, which is filled in here."""
        if traits["printed"] is not None or text in printed.DASHES:
            return None
        if unit.numeric and not printed.is_list(text):
            number = printed.parse(text)
            if number is None:
                raise self.refuse(
                    f"claim {name!r} prints {text!r}, which is no number of {unit.value}",
                    path,
                    expected="a number as printed, or `printed` with its value",
                )
            return number
        traits["printed"] = text
        return None

    def _check(self, traits: dict[str, Any], path: KeyPath, name: str) -> checks.Check | None:
        if traits["check"] is None:
            return None
        raw = dict(traits["check"])
        kind = _KINDS.get(str(raw.get("kind")))
        if kind is None:
            raise self.refuse(
                f"there is no check called {raw.get('kind')!r}",
                (*path, "check"),
                expected=", ".join(_KINDS),
                fix=meant(str(raw.get("kind")), _KINDS),
            )
        if "run" in kind.__struct_fields__ and not raw.get("model"):
            raw.setdefault("run", traits["run"] or "")
            if not raw["run"]:
                raise self.refuse(
                    f"the check of claim {name!r} needs a run", (*path, "check"), expected='run = "table1/E"'
                )
        check: checks.Check = self.convert(raw, checks.Check, (*path, "check"))
        return check


_KINDS: dict[str, Any] = {str(member.__struct_config__.tag): member for member in checks.Check.__args__}


def _agreement(check: checks.Check | None, number: printed.Number | None, means: object) -> Agreement:
    """To the last printed digit where a number is computed; exactly where a job's own words are looked up."""
    if number is None or means is not None or check is None or isinstance(check, EXACT_CHECKS):
        return Exact()
    return Round(to=number.step)


def _place(message: str, value: Any) -> tuple[str, KeyPath]:
    """Split msgspec's message from the path behind it: `$.table[0].row[3].unit`.

    Of a table with free keys msgspec says `[...]`; which key it means is found by trying them.
    """
    text, _, place = message.partition(" - at `$")
    path: list[str | int] = []
    for name, position in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", place):
        part = name or (int(position) if position.isdigit() else _wrong_key(value, str(path[-1])))
        path.append(part)
        value = _inside(value, part)
    return text, tuple(path)


def _inside(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _wrong_key(table: dict[str, Any], name: str) -> str:
    """The first key of the free table `name` whose value is refused."""
    kind = {"column": RawColumn, "cells": str, "cell": dict}.get(name, object)
    for key, value in table.items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return key
    return next(iter(table))


def _keys_at(kind: Any, path: KeyPath, value: object) -> tuple[str, ...]:
    """The keys that are allowed where an unknown one was met; nothing where that is not known."""
    if kind is checks.Check:
        tag = str(value.get("kind")) if isinstance(value, dict) else ""
        found = checks.Candidate if path else _KINDS[tag]
        return tuple(found.__struct_fields__)
    if not path:
        return tuple(kind.__struct_fields__)
    names = [part for part in path if isinstance(part, str)]
    kinds = {"table": RawTable, "claim": RawClaim, "row": RawRow}
    found = RawColumn if names[-2:-1] == ["column"] else kinds.get(names[-1])
    return tuple(found.__struct_fields__) if found else ()


def _show(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
