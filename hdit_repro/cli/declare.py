"""A new job file that stays only where what makes it a run goes well."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hdit_repro.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

WEIGHTS = "# Weights that were trained elsewhere: "
IMAGES = "# Images that were made elsewhere, "
"""How job files of imports begin. Such a file is no reason to refuse the import that wrote it."""


def refuse_name(name: str) -> None:
    """Refuse what no job file of an import can be called.

    Raises:
        UserError: odd letters, a name that is taken by what is no import, or that of the file of scales.
    """
    from hdit_repro import jobs
    from hdit_repro.jobs.files import SCALES_FILE

    reserved = f"{name}.toml".lower() == SCALES_FILE
    taken = name in jobs.experiments() or os.path.lexists(_file(name))
    if not NAME.fullmatch(name) or reserved or (taken and not _text(_file(name)).startswith((WEIGHTS, IMAGES))):
        raise UserError(
            "a run cannot be called that",
            found=f"{name!r}, which is the name of the file of scales" if reserved else repr(name),
            expected="a new name of letters, digits, dot, dash",
            fix="--name theirs",
        )


@contextlib.contextmanager
def declared(name: str, text: str) -> Iterator[Path]:
    """Write jobs/NAME.toml, and take it away again if what is done with it fails, whatever the failure.

    One that says the same stays: an import that was killed goes on, and one whose files are elsewhere brings them here.

    Raises:
        UserError: there is another file of that name; it is left as it is.
    """
    file = _file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if _text(file) == text:
        yield file
        return
    try:
        file.touch(exist_ok=False)
    except FileExistsError as error:
        raise UserError(
            "a job file of that name is there",
            found=str(file),
            expected="a new name, or the import that wrote it with all its options",
            fix="--name theirs",
        ) from error
    try:
        file.write_text(text, encoding="utf-8")
        yield file
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _text(file: Path) -> str:
    """What a file says; nothing where there is none, or none of text."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    return ""


def _file(name: str) -> Path:
    return Path.cwd() / "jobs" / f"{name}.toml"
