"""A filled table as LaTeX, for a document that loads booktabs and nothing else: parts that fit a page, notes below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import NamedTuple

from hdit_repro.render.cells import Cell
from hdit_repro.render.latex import escape
from hdit_repro.render.sheet import Head, Sheet, by_group
from hdit_repro.render.wide import Letters, caption, digits, parts, width

RANKS = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
"""How the best and the second best measured value are marked, as in the paper."""

UNLABELLED = re.compile(r"[^A-Za-z0-9.-]")
"""What is left out of the name under which a document refers to a table."""

MARKED = "Bold is the best of ours in its column, underlined the second best."


class Size(NamedTuple):
    """Commands that set the size of letters and the gaps, and what comes of them."""

    commands: tuple[str, ...]
    letters: Letters


NAME = 240
"""Points: a row's name, or a sub-heading, that is wider is set in lines of that width."""

NARROW = Size((r"\scriptsize", r"\setlength{\tabcolsep}{3pt}"), Letters(3.99, 6, NAME))
WIDE = Size((r"\fontsize{6}{7}\selectfont", r"\setlength{\tabcolsep}{2pt}"), Letters(3.67, 4, NAME))

ORDINARY, WIDEST = 470, 560
"""Points: a table beyond the first is set in WIDE, one beyond the second in parts, for A4 is 597 wide."""

UNBROKEN = re.compile(r"\S{24}(?=\S)")
BREAK = r"\allowbreak{}"
"""Letters after which a word may break, for no line holds a word of any length; and that it may."""

LINES, LINE = 62, 85
"""Lines that a page holds at these sizes, and letters of a note's line; notes beyond stand below, and may break."""


def latex(sheet: Sheet) -> str:
    """Floats of booktabs' rules, several where the columns fit no page side by side; the notes are under the last one.

    Notes that fit no page with the table stand after it as ordinary text.
    """
    found = parts(sheet, WIDE.letters, WIDEST)
    size = WIDE if max(width(part, NARROW.letters) for part in found) > ORDINARY else NARROW
    label = f"tab:{UNLABELLED.sub('-', sheet.name)}{'' if sheet.scale == 'paper' else f'-{sheet.scale}'}"
    marked = any(cell.rank for row in sheet.rows for cell in row)
    notes = (*sheet.notes, *([MARKED] if marked else []))
    below = _height(sheet, notes) > LINES
    lines: list[str] = []
    for number, part in enumerate(found):
        title = caption(_title(sheet.title), number + 1, len(found))
        lines += [r"\begin{table}", r"\centering", r"\setlength{\abovetopsep}{\smallskipamount}"]
        lines += [r"\addtocounter{table}{-1}"] if number else []
        lines += [rf"\caption{{{escape(title)}}}", *([] if number else [rf"\label{{{label}}}"])]
        lines += [*size.commands, *_tabular(part)]
        if number == len(found) - 1 and not below:
            lines += [r"\par\medskip", r"\begin{minipage}{\textwidth}", r"\raggedright", *_said(notes)]
            lines += [r"\end{minipage}"]
        lines.append(r"\end{table}")
    if below:
        lines += [r"\begingroup", r"\scriptsize\raggedright\setlength{\parindent}{0pt}"]
        lines += [rf"Notes to Table~\ref{{{label}}}.\par", *_said(notes), r"\endgroup"]
    return "\n".join(lines) + "\n"


def _title(title: str) -> str:
    """LaTeX puts a number of its own before a caption, which must not be taken for print's."""
    return f"The paper's {title}" if title.startswith("Table ") else title


def _said(notes: Sequence[str]) -> Iterator[str]:
    return (rf"{escape(note)}\par" for note in notes)


def _height(sheet: Sheet, notes: Sequence[str]) -> int:
    """Lines of a part with all notes below it, caption and rules counted as six."""
    names = [*(row[0].text for row in sheet.rows), *(group for group, _ in by_group(sheet) if group)]
    named = sum(max(1, ceil(digits(name) * NARROW.letters.digit / NAME)) for name in names)
    return 6 + named + sum(ceil(len(note) / LINE) for note in notes)


def _tabular(sheet: Sheet) -> list[str]:
    columns = "".join("l" if head.left else "r" for head in sheet.heads)
    lines = [
        rf"\makebox[\textwidth][c]{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_heads(sheet.heads),
        r"\midrule",
    ]
    for number, (group, rows) in enumerate(by_group(sheet)):
        if number:
            lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{len(sheet.heads)}}}{{l}}{{\textit{{{_named(group)}}}}} \\")
        lines += [" & ".join([_named(row[0].text), *map(_cell, row[1:])]) + r" \\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}}"]


def _named(text: str) -> str:
    """A row's name or a sub-heading, in as many lines as it needs."""
    if digits(text) * NARROW.letters.digit <= NAME:
        return escape(text)
    parts = UNBROKEN.sub(r"\g<0>\n", " ".join(text.split())).split("\n")
    return rf"\parbox[t]{{{NAME}pt}}{{\raggedright {BREAK.join(map(escape, parts))}\strut}}"


def _heads(heads: Sequence[Head]) -> list[str]:
    """Two lines of headings, a rule under each shared one."""
    upper, rules, start = [], [], 1
    for text, shared in groupby(heads, key=lambda head: head.upper):
        span = len(list(shared))
        upper.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(text)}}}" if text else " & ".join([""] * span))
        if text:
            rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(escape(head.own) for head in heads) + r" \\"]


def _cell(cell: Cell) -> str:
    return RANKS.get(cell.rank, "%s").replace("%s", escape(cell.text))
