"""A filled table as markdown, LaTeX (booktabs) and csv. Equal input gives equal bytes."""

from __future__ import annotations

import re
from itertools import groupby

from tabulate import tabulate

from hdit_repro.files import as_csv
from hdit_repro.render.cells import Cell, Value
from hdit_repro.render.latex import escape
from hdit_repro.render.sheet import Sheet

RANKS = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
"""How LaTeX marks the best and the second best measured value, as the paper does."""

MARKED = "Bold is the best of ours in its column, underlined the second best."

NARROW = (r"\scriptsize", r"\setlength{\tabcolsep}{3pt}")
WIDE = (r"\fontsize{6}{7}\selectfont", r"\setlength{\tabcolsep}{2pt}")
"""Size of letters and gaps in LaTeX, of tables up to and beyond PAGE letters a line."""

PAGE = 120
"""Letters of \\scriptsize, gaps counted as one, that stand in a line of an ordinary page."""


def markdown(sheet: Sheet) -> str:
    """A heading, the table, and the notes as a list."""
    return f"# {plain(sheet.title)}\n\n{pipes(sheet)}\n\n{notes_of(sheet)}"


def pipes(sheet: Sheet) -> str:
    """A pipe table whose sub-headings are bold rows, without the last line's end."""
    body: list[list[str]] = []
    for group, rows in _by_group(sheet):
        if group:
            body.append([f"**{plain(group)}**", *[""] * (len(sheet.heads) - 1)])
        body += [[plain(cell.text) for cell in row] for row in rows]
    return tabulate(
        body,
        headers=[plain(head.line) for head in sheet.heads],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if head.left else "right" for head in sheet.heads],
    )


def notes_of(sheet: Sheet) -> str:
    """The notes as a markdown list."""
    return "".join(f"- {plain(note)}\n" for note in sheet.notes)


def plain(text: str) -> str:
    """Text that markdown shows as it is: pipes would end a cell, stars and the like would vanish. Code stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    shown = [part if part.startswith("`") else re.sub(r"([\\*_<>\[\]`~])", r"\\\1", part) for part in parts]
    return "".join(shown).replace("|", r"\|")


def _caption(title: str) -> str:
    """LaTeX puts a number of its own before a caption, which must not be taken for print's."""
    return f"The paper's {title}" if title.startswith("Table ") else title


def latex(sheet: Sheet) -> str:
    """A table environment for a document that loads booktabs and nothing else, and may hold all scales."""
    columns = "".join("l" if head.left else "r" for head in sheet.heads)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(_caption(sheet.title))}}}",
        rf"\label{{tab:{sheet.name}{'' if sheet.scale == 'paper' else f'-{sheet.scale}'}}}",
        *(WIDE if _letters(sheet) > PAGE else NARROW),
        rf"\makebox[\textwidth][c]{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_latex_heads(sheet),
        r"\midrule",
    ]
    for number, (group, rows) in enumerate(_by_group(sheet)):
        if number:
            lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{len(sheet.heads)}}}{{l}}{{\textit{{{escape(group)}}}}} \\")
        lines += [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}}", r"\par\medskip", r"\begin{minipage}{\textwidth}", r"\raggedright"]
    marked = any(cell.rank for row in sheet.rows for cell in row)
    lines += [rf"{escape(note)}\par" for note in (*sheet.notes, *([MARKED] if marked else []))]
    lines += [r"\end{minipage}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _letters(sheet: Sheet) -> int:
    """Letters in the widest possible line."""
    lines = [[head.own for head in sheet.heads], *([cell.text for cell in row] for row in sheet.rows)]
    return sum(1 + max(map(len, column)) for column in zip(*lines, strict=True))


def _latex_heads(sheet: Sheet) -> list[str]:
    """Two lines of headings, a rule under each shared one."""
    upper, rules, start = [], [], 1
    for text, heads in groupby(sheet.heads, key=lambda head: head.upper):
        span = len(list(heads))
        upper.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(text)}}}" if text else " & ".join([""] * span))
        if text:
            rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(escape(head.own) for head in sheet.heads) + r" \\"]


def _latex_cell(cell: Cell) -> str:
    return RANKS.get(cell.rank, "%s").replace("%s", escape(cell.text))


def csv(sheet: Sheet) -> str:
    """One line a row, full precision, extra columns beside the cell that they belong to; what is missing is empty."""
    lines = []
    for row in sheet.rows:
        line: dict[str, Value] = {}
        for head, cell in zip(sheet.heads, row, strict=True):
            line |= {head.key: cell.value, **cell.extra}
        lines.append(line)
    return as_csv(csv_columns(sheet), lines)


def csv_columns(sheet: Sheet) -> list[str]:
    """A column a heading, each followed by those that only machines want."""
    names: list[str] = []
    for number, head in enumerate(sheet.heads):
        names += [head.key, *dict.fromkeys(name for row in sheet.rows for name in row[number].extra)]
    return names


def _by_group(sheet: Sheet) -> list[tuple[str, list[tuple[Cell, ...]]]]:
    """Neighbouring rows under their sub-heading."""
    pairs = zip(sheet.groups, sheet.rows, strict=True)
    return [(group, [row for _, row in rows]) for group, rows in groupby(pairs, key=lambda pair: pair[0])]
