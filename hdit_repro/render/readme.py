"""The blocks of README.md that a command writes, so that its numbers never go stale.

<!-- begin: table1 -->
...
<!-- end: table1 -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

from hdit_repro.audit import Finding
from hdit_repro.errors import UserError, pick
from hdit_repro.files import write_text
from hdit_repro.paper.checks import Cited
from hdit_repro.render.definitions import TABLE_1
from hdit_repro.render.formats import notes_of, pipes, plain
from hdit_repro.render.settled import NUMBERS, in_unit
from hdit_repro.render.sheet import Sheet

MARKER = re.compile(r"^<!-- (begin|end): ([\w-]+) -->[ \t]*$", re.MULTILINE)

TABLE = TABLE_1._replace(
    name="readme",
    columns=tuple(column for column in TABLE_1.columns if column.key not in ("difference", "complexity_printed")),
)
"""Table 1 without the columns that are empty or say the same twice."""


def table1(sheet: Sheet) -> str:
    """Table 1 and its notes in markdown, without a heading."""
    return f"{pipes(sheet)}\n\n{notes_of(sheet)}"


def errata(findings: Iterable[Finding]) -> str:
    """One line for each erratum that the audit finds, the first edition's first; neighbours with one reason share."""
    found = sorted((item for item in findings if item.status == "erratum"), key=lambda item: item.claim.edition)
    lines = []
    for (text, came, note), same in groupby(found, key=_words):
        places = "; ".join(item.claim.place for item in same)
        lines.append(f"- **{plain(places)}**: print says {plain(text)}{plain(came)}: {plain(note)}.\n")
    return "".join(lines)


def _words(finding: Finding) -> tuple[str, str, str]:
    """Print, the computed value where print is a number or a list of them, and the note."""
    claim = finding.claim
    numeric = finding.computed is not None and NUMBERS.match(claim.text)
    verb = "its source says" if isinstance(claim.check, Cited) else "it comes to"
    came = f"; {verb} {in_unit(finding.computed, claim.unit)}" if numeric else ""
    return claim.text, came, finding.note


def figure2() -> str:
    """The picture, by its place in the checkout."""
    return "![Figure 2: cost of one forward pass against resolution](tables/figure2.svg)\n"


def fill(text: str, blocks: Mapping[str, Callable[[], str]], where: str = "README.md") -> str:
    """`text` with what stands between each pair of markers replaced; all else is left as it is.

    Raises:
        UserError: a marker without its partner, out of order, given twice, or with a name that no block has.
    """
    pieces: list[str] = []
    seen: set[str] = set()
    at, opened = 0, ""
    for marker in MARKER.finditer(text):
        side, name = marker.groups()
        pick(dict.fromkeys(blocks), name, kind="block", where=where)
        if (side == "begin") == bool(opened) or (side == "end" and name != opened) or (not opened and name in seen):
            raise _out_of_place(marker, opened, where, text)
        if side == "begin":
            pieces.append(text[at : marker.end()] + "\n")
            opened = name
            seen.add(name)
        else:
            pieces.append(blocks[name]())
            at, opened = marker.start(), ""
    if opened:
        raise UserError(
            "a block of the README has no end",
            found=f"{opened!r} in {where}",
            expected=f"<!-- end: {opened} -->",
            fix="put the marker back; git diff README.md shows what moved",
        )
    return "".join(pieces) + text[at:]


def _out_of_place(marker: re.Match[str], opened: str, where: str, text: str) -> UserError:
    line = text.count("\n", 0, marker.start()) + 1
    return UserError(
        "a marker of the README is out of place",
        found=f"{marker[0].strip()!r} at {where}:{line}",
        expected=f"<!-- end: {opened} --> first" if opened else "one begin and one end a block, in this order",
        fix="put the markers back; git diff README.md shows what moved",
    )


def refresh(path: Path, blocks: Mapping[str, Callable[[], str]]) -> bool:
    """Fill the blocks of a README in place; returns whether it has any. A missing file has none.

    Raises:
        UserError: as `fill`.
    """
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    if not MARKER.search(text):
        return False
    filled = fill(text, blocks, path.name)
    if filled != text:
        write_text(path, filled)
    return True
