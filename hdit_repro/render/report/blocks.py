"""What a page consists of, before anybody decides how it looks. HTML and markdown are made from the same blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby
from typing import Literal, NamedTuple

Tone = Literal["", "good", "bad", "open", "quiet"]


class Span(NamedTuple):
    """Some words; `href` is relative to the report's folder, `tone` colours what the words already say."""

    text: str
    href: str = ""
    tone: Tone = ""
    code: bool = False


Words = tuple[Span, ...]

MANY = 10
"""Columns beyond which numbers with their intervals are broken on paper."""

SENTENCE = 80
"""Letters from which on a cell is read rather than looked at."""


class Heading(NamedTuple):
    """A heading of level 2 to 4 that links can point at."""

    level: int
    text: str
    anchor: str = ""


class Paragraph(NamedTuple):
    words: Words


class Items(NamedTuple):
    """A list."""

    items: tuple[Words, ...]


class Group(NamedTuple):
    """A row of a grid that is a sub-heading."""

    text: str


class Grid(NamedTuple):
    """A table. `caption` says what it is; `anchors` of its rows, where links point at them; numbers stand right.

    `uppers` are headings over neighbouring columns that share one, a heading a column or none at all; `titled` says
    that a heading above says what the caption says, which is then for those who hear the page.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Words, ...] | Group, ...]
    left: tuple[bool, ...]
    anchors: tuple[str, ...] = ()
    uppers: tuple[str, ...] = ()
    titled: bool = False

    @property
    def prose(self) -> bool:
        """Whether some cells are sentences: on a phone each row of such a table stands as a block."""
        cells = (cell for row in self.rows if not isinstance(row, Group) for cell in row)
        return not self.uppers and any(sum(len(span.text) for span in cell) > SENTENCE for cell in cells)

    @property
    def many(self) -> bool:
        """Whether a row of so many cells fits paper only where each may take several lines."""
        return not self.uppers and len(self.heads) > MANY

    @property
    def spans(self) -> tuple[tuple[str, int], ...]:
        """The upper headings with the number of columns that each stands over."""
        return tuple((text, len(list(same))) for text, same in groupby(self.uppers))


class Tile(NamedTuple):
    """A number that stands out: how many, of what, and a sentence about it."""

    number: str
    label: str
    text: str
    href: str = ""
    tone: Tone = ""


class Tiles(NamedTuple):
    """The numbers that matter, side by side."""

    tiles: tuple[Tile, ...]


class Picture(NamedTuple):
    """An image file of the report. `sharp` is for pixels that are shown enlarged."""

    path: str
    alt: str
    caption: str = ""
    sharp: bool = False


class Gallery(NamedTuple):
    """Pictures side by side."""

    pictures: tuple[Picture, ...]


class Drawing(NamedTuple):
    """An SVG drawing with its file in the report, which takes the page's colours where it is set into the page."""

    path: str
    svg: str
    alt: str
    caption: str = ""


class Code(NamedTuple):
    """Commands, a line each."""

    text: str


Block = Heading | Paragraph | Items | Tiles | Grid | Picture | Gallery | Drawing | Code


class Page(NamedTuple):
    """`path` is without its ending and relative to the report's folder: "rows/table1-E"."""

    path: str
    title: str
    blocks: tuple[Block, ...]


def slug(name: str) -> str:
    """A row's name as part of a file's, and of links to it: "table1/E" is "table1-E".

    It ends in the beginning of the name's digest where another row could come to the same (a dash in the experiment's
    name), or where letters mean something in a link.
    """
    plain = re.sub(r"[^\w.-]", "-", name)
    if plain == name.replace("/", "-") and "-" not in name.partition("/")[0] * name.count("/"):
        return plain
    return f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"


def words(*parts: str | Span) -> Words:
    """Plain strings and spans as one text; what a string has between backticks is code."""
    return tuple(span for part in parts for span in ([part] if isinstance(part, Span) else _spans(part)))


def _spans(part: str) -> list[Span]:
    pieces = re.split(r"`([^`]*)`", part)
    return [Span(piece, code=bool(place % 2)) for place, piece in enumerate(pieces) if piece or len(pieces) == 1]


def text(*parts: str | Span) -> Paragraph:
    """A paragraph of them."""
    return Paragraph(words(*parts))


def grid(
    caption: str,
    heads: tuple[str, ...],
    rows: Sequence[tuple[str | Span, ...]],
    right: tuple[str, ...] = (),
    anchors: tuple[str, ...] = (),
) -> Grid:
    """A table from plain cells; `right` names the columns of numbers."""
    cells = tuple(tuple(words(cell) for cell in row) for row in rows)
    return Grid(caption, heads, cells, tuple(head not in right for head in heads), anchors)
