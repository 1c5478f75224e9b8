"""LaTeX tables on a page, as pdflatex sets them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hdit_repro.records.layout import Roots
from hdit_repro.render.booktabs import latex
from hdit_repro.render.cells import Cell
from hdit_repro.render.sheet import Head, Sheet
from hdit_repro.render.tables import chosen, material, sheet_of

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")

A4, TEXT = 597, 550
"""Points: the width of the paper, the height of the text of LaTeX's article."""


def set_by_latex(tables: dict[str, str], folder: Path) -> str:
    """What pdflatex says of the tables, and in lines of "WIDTH name points" how wide each of their parts is."""
    body = []
    for name, table in tables.items():
        body.append(f"{table}\\clearpage")
        for size, tabular in re.findall(
            r"\\(scriptsize|fontsize\{6\}\{7\}\\selectfont)\n.*?(\\begin\{tabular\}.*?\\end\{tabular\})", table, re.S
        ):
            gap = 3 if size == "scriptsize" else 2
            body.append(
                rf"{{\{size}\setlength{{\tabcolsep}}{{{gap}pt}}\sbox0{{{tabular}}}\typeout{{WIDTH {name} \the\wd0}}}}"
            )
    document = "\n".join([r"\documentclass{article}\usepackage{booktabs}\begin{document}", *body, r"\end{document}"])
    (folder / "main.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    for _ in range(2):  # the second resolves references
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"max_print_line": "1000"},
            errors="replace",
        )
        assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@needs_latex
@pytest.mark.parametrize("scale", ["paper", "mini", "smoke"])
@pytest.mark.parametrize("measured", [False, True])
def test_every_table_compiles_and_fits_a_page(
    scale: str, measured: bool, roots: Roots, measure, tmp_path: Path
) -> None:
    """With booktabs alone; measured, some rows have three seeds, intervals, a verdict each."""
    if measured:
        for row, seeds in {
            "R1": 1,
            "R2": 1,
            "R3": 1,
            "R4": 1,
            "A": 3,
            "B1": 1,
            "B2": 1,
            "C": 1,
            "D": 3,
            "E": 3,
        }.items():
            for seed in range(seeds):
                measure(f"table1/{row}", scale, 127.5 + seed, seed, interval="95 %, jackknife over 20 groups of images")
        measure("ffhq1024", scale, 9.5)
        measure("imagenet256", scale, 9.5, score=100.5)
    given = material(scale, roots)
    sheets = [sheet_of(table, given) for table in chosen(None, scale) if "tex" in table.formats]
    said = set_by_latex({sheet.name: latex(sheet) for sheet in sheets}, tmp_path)
    widths = re.findall(r"WIDTH (\S+) ([\d.]+)pt", said)
    assert {name for name, _ in widths} == {sheet.name for sheet in sheets}
    assert [(name, width) for name, width in widths if float(width) > A4] == []
    assert "Float too large" not in said
    assert "undefined" not in said


def columns(count: int, letters: int, rows: int, notes: int) -> Sheet:
    heads = (
        Head("label", "", "Name", True),
        *(Head(f"c{at}", f"Shared {at // 2}", f"c{at}", False) for at in range(count)),
    )
    row = (Cell("r", "a row's name"), *(Cell(at, f"{at}" * letters) for at in range(count)))
    return Sheet("table9", "Title", heads, (row,) * rows, ("",) * rows, tuple(f"Note {at}." for at in range(notes)))


def test_columns_that_fit_no_page_stand_in_even_parts() -> None:
    whole, split = latex(columns(8, 9, 3, 1)), latex(columns(8, 20, 3, 1))
    assert (whole.count(r"\begin{table}"), whole.count("part")) == (1, 0)
    assert [split.count(text) for text in (r"\begin{table}", r"\label{tab:table9}", "Note 0.")] == [2, 1, 1]
    heads = re.findall(r"^(Name & .*?) \\\\", split, re.M)
    assert heads == ["Name & c0 & c1 & c2 & c3", "Name & c4 & c5 & c6 & c7"]
    assert re.findall(r"\(part~\d~of~\d\)", split) == ["(part~1~of~2)", "(part~2~of~2)"]
    assert split.count(r"\addtocounter{table}{-1}") == 1


def test_notes_that_fit_no_page_stand_below_the_table() -> None:
    few, many = latex(columns(2, 3, 3, 5)), latex(columns(2, 3, 3, 90))
    assert few.index("Note 4.") < few.index(r"\end{table}")
    end = many.index(r"\end{table}")
    assert end < many.index(r"Notes to Table~\ref{tab:table9}") < many.index("Note 0.") < many.index("Note 89.")
