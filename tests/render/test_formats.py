"""Markdown, LaTeX and csv: nothing in a cell breaks the table around it."""

from __future__ import annotations

import re
import shutil
import subprocess
from csv import reader
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.render.booktabs import latex
from hdit_repro.render.cells import Cell, ranked, significant
from hdit_repro.render.formats import csv, csv_columns, markdown
from hdit_repro.render.latex import SPECIAL, SYMBOLS, escape
from hdit_repro.render.sheet import Head, Sheet

HEADS = (Head("label", "", "Name", True), Head("a", "Two_words", "x & y", False), Head("b", "Two_words", "z|w", False))


def sheet(rows: list[tuple[Cell, ...]], groups: tuple[str, ...] | None = None) -> Sheet:
    return Sheet("table9", "Title 100 % {nice}", HEADS, tuple(rows), groups or ("",) * len(rows), ("A note_#1.",))


def test_escaping() -> None:
    assert escape("50% & 3_4 #1 $x {y} ~ ^ \\") == (
        r"50\% \& 3\_4 \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape("O(n²), not O(n)") == r"$\mathcal{O}(n^2)$, not $\mathcal{O}(n)$"
    assert escape("256² ± 1, γ − σ") == r"256$^2$ $\pm$ 1, $\gamma$ $-$ $\sigma$"
    assert escape("Fréchet") == "Fréchet"
    assert escape("①") == "1"
    assert escape("run `a --b_c` now, `") == r"run \texttt{a --b\_c} now, {`}"
    assert escape("✗") == "[U+2717]"


def test_no_number_of_a_label_becomes_another() -> None:
    assert escape("10⁵, 10⁻⁴, σ₀, 1½") == r"10$^5$, 10$^-$$^4$, $\sigma$$_0$, 1$\frac12$"
    assert escape("1⅓") == "1[U+2153]"


def test_letters_that_latexs_fonts_do_not_have_are_replaced() -> None:
    assert escape("Łódź, ů, ő, ß, ç") == "Łódź, ů, ő, ß, ç"
    assert escape("ą, ð, β, λ, µ") == r"a, [U+00F0], $\beta$, $\lambda$, $\mu$"
    assert escape("*mine") == "{*}mine"


@given(st.text(max_size=40))
def test_nothing_special_survives(text: str) -> None:
    """Without the commands that escaping itself writes, no special character is left over."""
    left = escape(text)
    for command in sorted({*SPECIAL.values(), *SYMBOLS.values()}, key=len, reverse=True):
        left = left.replace(command, "")
    for order in ("1", "n", "n^2"):
        left = left.replace(rf"$\mathcal{{O}}({order})$", "")
    left = re.sub(r"\\texttt\{([^{}]*)\}", r"\1", left)
    assert not set(left) & set("\\&%$#_{}^~")


def test_latex_has_shared_headings_and_ranks() -> None:
    cells = ranked([Cell(2.0, "2.00", compare=2.0), Cell(1.0, "1.00", compare=1.0), Cell("not run", "not run")])
    shown = latex(sheet([(Cell("r", "r"), cell, Cell(1, "1")) for cell in cells], ("G_1", "G_1", "")))
    assert r"\multicolumn{2}{c}{Two\_words}" in shown
    assert r"\cmidrule(lr){2-3}" in shown
    assert r"r & \textbf{1.00} & 1 \\" in shown
    assert r"r & \underline{2.00} & 1 \\" in shown
    assert r"r & not run & 1 \\" in shown
    assert r"\multicolumn{3}{l}{\textit{G\_1}} \\" in shown
    assert r"\caption{Title 100 \% \{nice\}}" in shown
    assert "Bold is the best of ours in its column" in shown


def test_a_caption_says_whose_number_it_has() -> None:
    rows = [(Cell("r", "r"), Cell(1, "1"), Cell(1, "1"))]
    assert r"\caption{The paper's Table 1: Ablation}" in latex(sheet(rows)._replace(title="Table 1: Ablation"))


def test_latex_explains_marks_where_there_are_some() -> None:
    assert "Bold" not in latex(sheet([(Cell("r", "r"), Cell(1.0, "1.00", compare=1.0), Cell(1, "1"))]))


def test_four_digits_and_no_exponent_where_that_is_readable() -> None:
    assert [significant(value) for value in (12345.6, 9999.6, 9999.4, 345.06, 0.0012345, 1e-7)] == [
        "12,346", "10,000", "9999", "345.1", "0.001234", "1e-07",
    ]  # fmt: skip


def test_one_value_is_not_the_best_of_anything() -> None:
    assert [cell.rank for cell in ranked([Cell(1.0, "1", compare=1.0), Cell(None, "")])] == [0, 0]


def test_ties_share_a_rank() -> None:
    assert [cell.rank for cell in ranked([Cell(v, "", compare=v) for v in (1.0, 1.0, 2.0, 3.0)])] == [1, 1, 2, 0]


def test_markdown_keeps_its_columns() -> None:
    shown = markdown(sheet([(Cell("r", "a|b *c* _d_"), Cell(1, "1"), Cell(2, "2"))], ("G",)))
    assert r"a\|b \*c\* \_d\_" in shown
    assert r"Two\_words: z\|w" in shown
    assert "**G**" in shown
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1


def test_csv_has_values_and_extras() -> None:
    rows = [
        (Cell("r", "R"), Cell(1.25, "1.3", {"a_sd": 0.5}), Cell(10**12, "1,000.0")),
        (Cell("s", "S"), Cell("not run", "not run"), Cell(None, "")),
    ]
    assert csv(sheet(rows)) == "label,a,a_sd,b\nr,1.25,0.5,1000000000000\ns,not run,,\n"
    assert csv_columns(sheet(rows)) == ["label", "a", "a_sd", "b"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_computes_no_text_of_a_csv(text: str) -> None:
    rows = [(Cell(text, text), Cell(-1.5, "−1.5"), Cell(f"a{text}", ""))]
    *_, (label, number, inside) = reader(StringIO(csv(sheet(rows)), newline=""))
    assert (label, number, inside) == (f"'{text}", "-1.5", f"a{text}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    everything = "".join(SPECIAL) + "".join(SYMBOLS) + " O(n²) Fréchet"
    table = latex(sheet([(Cell("r", everything), Cell(1, "1"), Cell(2, "2"))], ("G",)))
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{table}\\end{{document}}"
    (tmp_path / "main.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
