"""How wide a filled table is, estimated from its letters, and the parts that fit a page where it is too wide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations, groupby, pairwise
from typing import NamedTuple

from hdit_repro.render.sheet import Sheet

SLIM, BROAD = "ijlt.,:;'|!()[]* ", "mwMW%&@"
"""Letters of about half a digit's width, and of one and a half; capitals and signs are a third wider than digits."""


class Letters(NamedTuple):
    """What a table is set in, in points: a digit's width, the gap that a column adds, and from which width on a row's
    name stands in several lines; and whether headings do where the cells below are narrower."""

    digit: float
    gap: float
    name: float
    broken: bool = False


def parts(sheet: Sheet, letters: Letters, widest: float) -> list[Sheet]:
    """The table in parts of so many points at most, as few and as even as can be; what shares a heading stays together.

    The first column, the rows' names, is in every part.
    """
    names, *shared = spans(sheet, letters)
    best: list[list[Span]] = []
    for count in range(1, len(shared) + 1):
        cuts = (
            [shared[start:end] for start, end in pairwise((0, *ends, len(shared)))]
            for ends in combinations(range(1, len(shared)), count - 1)
        )
        best = min(cuts, key=_broadest)
        if names.width + _broadest(best) <= widest:
            break
    return [_of(sheet, [0, *chain(*(span.columns for span in part))]) for part in best or [[]]]


def width(sheet: Sheet, letters: Letters) -> float:
    """About how many points the table is wide."""
    return sum(span.width for span in spans(sheet, letters))


class Span(NamedTuple):
    """Neighbouring columns under one heading, and about how many points they are wide together."""

    columns: tuple[int, ...]
    width: float


def spans(sheet: Sheet, letters: Letters) -> list[Span]:
    """The columns by shared headings; the first column, the rows' names, stands by itself."""

    def heading(text: str) -> float:
        return max(map(digits, text.split()), default=0) if letters.broken else digits(text)

    columns = zip(sheet.heads, *sheet.rows, strict=True)
    widths = [
        letters.gap + letters.digit * max(heading(head.own), *(digits(cell.text) for cell in cells))
        for head, *cells in columns
    ]
    widths[0] = min(widths[0], letters.gap + letters.name)
    found = [Span((0,), widths[0])]
    for upper, places in groupby(range(1, len(widths)), key=lambda at: sheet.heads[at].upper):
        together = tuple(places)
        least = letters.gap + letters.digit * heading(upper)
        found.append(Span(together, max(sum(widths[at] for at in together), least)))
    return found


def _broadest(cut: Sequence[Sequence[Span]]) -> float:
    return max(sum(span.width for span in part) for part in cut)


def digits(text: str) -> float:
    """About how wide a text is, in digits."""
    return sum(0.55 if c in SLIM else 1.5 if c in BROAD else 1.3 if c.isupper() or c in "−+±–" else 1 for c in text)


def caption(title: str, number: int, of: int) -> str:
    """A table's title, with the part's number where it has several."""
    return title if of == 1 else f"{title} (part\u00a0{number}\u00a0of\u00a0{of})"


def _of(sheet: Sheet, columns: Sequence[int]) -> Sheet:
    heads = tuple(sheet.heads[at] for at in columns)
    return sheet._replace(heads=heads, rows=tuple(tuple(row[at] for at in columns) for row in sheet.rows))
