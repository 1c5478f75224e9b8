"""Finds job files and reads them as they are written: one TOML file an experiment."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import CONTROL, UserError, pick
from hdit_repro.files import read_text, shipped, whose
from hdit_repro.jobs.explain import fields_called, offered
from hdit_repro.jobs.types import Paper
from hdit_repro.lines import Lines

_NAME = re.compile(r"[^-\s,/\x00-\x1f\x7f-\x9f]([^,/\x00-\x1f\x7f-\x9f]*[^\s,/\x00-\x1f\x7f-\x9f])?")
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")

SCALES_FILE = "scales.toml"

TOML_FILES = "[!.]*.toml"
"""What a person wrote: what hides behind a dot is an editor's lock (`.#mine.toml`) or another system's note."""

HEAD_KEYS = ("experiment", "title", "paper", "base", "row")
PARTS = ("model", "data", "diffusion", "training", "sampling", "evaluation", "external")
ROW_KEYS = (*PARTS, "extends", "label", "group", "note", "source")
BODY_TYPES = {**dict.fromkeys((*PARTS, "source"), dict), **dict.fromkeys(("label", "group", "note"), str)}
"""What a row's keys hold; [base] has the same."""

LINES = str.maketrans("\n\t", "  ")
"""What a text may be written in; it is printed in one line."""


States = tuple[tuple[Path, int], ...]
"""Files, each with the time of its last change in nanoseconds."""


class Experiment(NamedTuple):
    """A job file as read: what all rows share, and what each row says itself."""

    name: str
    path: Path
    title: str
    paper: Paper
    base: dict[str, Any]
    rows: dict[str, dict[str, Any]]


def folders() -> list[Path]:
    """Where job files are looked for: `jobs/` of the current folder first, then the project's own."""
    return [folder for folder, _ in _folders()]


def _folders() -> list[tuple[Path, os.stat_result]]:
    """The folders with their states; one that is reached by two names counts once."""
    found: dict[tuple[int, int], tuple[Path, os.stat_result]] = {}
    for folder in (Path.cwd() / "jobs", shipped("jobs")):
        with contextlib.suppress(OSError):
            state = folder.stat()
            if stat.S_ISDIR(state.st_mode):
                found.setdefault((state.st_dev, state.st_ino), (folder, state))
    return list(found.values())


def experiment_files() -> dict[str, Path]:
    """Experiment name -> file; a file in the current folder's `jobs/` hides the project's of the same name."""
    files: dict[str, Path] = {}
    for folder, state in _folders():
        for path in _listed(folder, state.st_mtime_ns):
            if path.is_file():  # a link may lead nowhere
                files.setdefault(path.stem, path)
    return files


@lru_cache(maxsize=16)
def _listed(folder: Path, _state: int) -> tuple[Path, ...]:
    """The names of one folder's job files, listed once for each state it is met in."""
    found = sorted(folder.iterdir())  # glob passes over a folder that the system lets nobody list
    return tuple(path for path in found if fnmatchcase(path.name, TOML_FILES) and path.name != SCALES_FILE)


def file_states() -> States:
    """Every job file and file of scales with the time of its last change: what anything read from them depends on."""
    files = [*experiment_files().values(), *(path for folder in folders() if (path := folder / SCALES_FILE).exists())]
    return tuple((path, path.stat().st_mtime_ns) for path in files)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dicts; a byte order mark, which some editors write, is no part of it.

    Raises:
        UserError: it is missing, not to be read, or no TOML; the message has the file and the line.
    """
    try:
        return tomllib.loads(read_text(path, encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(
            "a job file is missing",
            found=str(path),
            expected="a TOML file",
            fix="`hdit-repro list` prints the experiments that are there",
        ) from error
    except PermissionError as error:
        raise UserError(
            "a job file cannot be read",
            found=f"{path}: {error.strerror}{whose(error)}",
            expected="a file that this user may read",
            fix="mend its permissions, or have its owner do so (chmod g+r)",
        ) from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, tables too deep
        raise UserError(
            "a job file is no TOML",
            found=f"{path}: {error}",
            expected="TOML 1.0 in UTF-8",
            fix="save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "mend the line that is named",
        ) from error


def read_experiment(name: str) -> Experiment:
    """Read the job file of an experiment and check its outline.

    Raises:
        UserError: there is no such experiment, or the file has unknown keys, no rows, or another name inside.
    """
    return read_file(pick(experiment_files(), name, kind="experiment", where="jobs/"))


def read_file(path: Path) -> Experiment:
    """Read a job file, hidden ones included, and check its outline.

    Raises:
        UserError: the file has unknown keys, no rows, or another name inside.
    """
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, _state: int) -> Experiment:
    """One file, read once for each state it is met in."""
    if CONTROL.search(path.stem):
        raise UserError(
            "an experiment has a name that no command can say",
            found=f"{path.stem!r} in {path.parent}",
            expected="a name without control characters",
            fix="call the file by letters, digits and . _ - +",
        )
    tree = read_toml(path)
    refuse_unknown(tree, HEAD_KEYS, f"{path}")
    if tree.get("experiment", path.stem) != path.stem:
        raise UserError(
            "a job file does not say its own name",
            found=f"{path}: experiment = {tree.get('experiment')!r}",
            expected=f"experiment = {path.stem!r}",
            fix="call the file so too, or leave the key out: the file's name is the experiment's",
        )
    rows = tree.get("row")
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise UserError(
            "a job file has no rows",
            found=str(path),
            expected="at least one table [row.NAME]",
            fix="add [row.NAME], with what the row changes",
        )
    base = tree.get("base", {})
    refuse_types(tree, {"title": str, "base": dict}, str(path))
    refuse_unknown(base, (*PARTS, "source"), f"{path}, [base]")
    refuse_types(base, BODY_TYPES, f"{path}, [base]")
    if base and all("extends" in body for body in rows.values()):
        raise UserError(
            "[base] is used by no row",
            found=f"{path}: every row extends another",
            expected="a row that does not extend another, and so begins with [base]",
            fix="say it in the rows, or let one of them stand on [base] and the others extend that one",
        )
    for row, body in rows.items():
        _check_row(path, row, body)
    return Experiment(path.stem, path, tree.get("title", path.stem), _paper(path, tree), base, rows)


def _paper(path: Path, tree: dict[str, Any]) -> Paper:
    """Where print has the experiment."""
    try:
        return msgspec.convert(tree.get("paper", {}), Paper)
    except msgspec.ValidationError as error:
        raise UserError(
            "the place in the paper is not understood",
            found=f"{path}: {error}",
            expected="paper = { edition = 1, table = 1 }",
            fix="write it so, or leave it out",
        ) from error


def _check_row(path: Path, row: str, body: dict[str, Any]) -> None:
    """A row's name, and the outline of what it says."""
    if not _NAME.fullmatch(row):
        raise UserError(
            "a row has a name that no command can say",
            found=f"{row!r} in {at(path, row)}",
            expected="a name without slash and comma, without a space at either end or a minus in front",
            fix="call it by letters, digits and . _ - +",
        )
    _refuse_dotted(path, row, body)
    refuse_unknown(body, ROW_KEYS, at(path, row))
    refuse_types(body, BODY_TYPES, at(path, row))


def _refuse_dotted(path: Path, row: str, body: dict[str, Any]) -> None:
    """A dot in a TOML name begins a table in a table, so `[row.v1.5]` is no row of that name."""
    for key, value in body.items():
        if key not in ROW_KEYS and isinstance(value, dict) and not value.keys().isdisjoint(ROW_KEYS):
            line = line_of(path, "row", row, key)
            raise UserError(
                "a row's name has a dot without quotes, which TOML reads as a table in a table",
                found=f"[row.{row}.{key}] in {path}:{line}",
                expected=f"a part of a row: {', '.join(PARTS)}",
                fix=f'[row."{row}.{key}"], if that is its name',
            )


def at(path: Path, row: str = "", field: str = "") -> str:
    """Where a person looks: the file and the line of a row's field, or of the nearest thing around it that the row has.

    Args:
        path: the job file.
        row: a row's name; empty for the file as a whole.
        field: dotted, list positions in brackets ("model.attention[0].kind"); empty for the row itself.
    """
    keys = [int(number) if number else name for name, number in _STEP.findall(field)]
    line = line_of(path, "row", row, *keys) if row else 1
    return f"{path}:{line}" + (f", row {row}" if row else "")


def line_of(path: Path, *keys: str | int) -> int:
    """The line of a value in a TOML file, or of the nearest thing around it."""
    return _lines(path, path.stat().st_mtime_ns).of(keys)


@lru_cache(maxsize=256)
def _lines(path: Path, _state: int) -> Lines:
    """Where everything stands in one file, looked through once for each state it is met in."""
    return Lines(read_text(path, encoding="utf-8-sig"), keys=True)


def refuse_unknown(table: dict[str, Any], allowed: tuple[str, ...], where: str) -> None:
    """Refuse a key that nobody reads.

    Raises:
        UserError: with the key, the allowed ones and the nearest of them.
    """
    for key in table:
        if key not in allowed:
            elsewhere = fields_called(key) if set(PARTS) <= set(allowed) else []  # a field without its part
            raise UserError(
                f"there is no key called {key!r} here",
                found=f"{key!r} in {where}",
                expected=", ".join(allowed),
                fix=offered(key, allowed, elsewhere) or "use one of the keys above, or remove it",
            )


def refuse_types(table: dict[str, Any], types: Mapping[str, type], where: str) -> None:
    """Refuse a key whose value is no table, or no text, or one that would break the tables it is printed in.

    Raises:
        UserError: with the key, its value and the type.
    """
    for key, kind in types.items():
        if kind is str and CONTROL.search(str(table.get(key, "")).translate(LINES)):
            raise UserError(
                f"{key} has a control character",
                found=f"{key} = {table[key]!r} in {where}",
                expected="a text without any, but for new lines and tabs",
                fix="take it out",
            )
        if key in table and not isinstance(table[key], kind):
            what = "a table" if kind is dict else "a text"
            raise UserError(
                f"{key} is {what}",
                found=f"{key} = {table[key]!r} in {where}",
                expected=what,
                fix=f"{key} = {{ ... }}, or a section of its own" if kind is dict else f'{key} = "..."',
            )
