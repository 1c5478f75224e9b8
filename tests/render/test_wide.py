"""How wide tables are, and the parts that fit a page."""

from __future__ import annotations

import pytest

from hdit_repro.render.cells import Cell
from hdit_repro.render.sheet import Head, Sheet
from hdit_repro.render.wide import Letters, caption, parts, width

LETTERS = Letters(digit=2.0, gap=10.0, name=30.0)


def sheet(columns: int, heading: str = "{}") -> Sheet:
    """Rows of a name and of pairs of columns, each pair under a heading of its own; a number has five digits."""
    pairs = tuple(Head(f"{at}", heading.format(at // 2), "0", False) for at in range(columns))
    row = (Cell("x", "a name"), *(Cell(12_345, "12345") for _ in pairs))
    return Sheet("n", "t", (Head("label", "", "1", True), *pairs), (row, row), ("", ""), ())


def uppers(found: list[Sheet]) -> list[list[str]]:
    return [[head.upper for head in part.heads[1:]] for part in found]


def test_a_width_is_that_of_the_widest_in_each_column() -> None:
    name = 10 + 2 * (5 + 0.55 + 0.5)  # m is broad, a space is slim
    assert width(sheet(2), LETTERS) == pytest.approx(name + 2 * (10 + 2 * 5))
    assert width(sheet(2, "a heading of them " + "0" * 20), LETTERS) > width(sheet(2), LETTERS)


def test_headings_in_several_lines_are_as_wide_as_their_longest_word() -> None:
    broken = LETTERS._replace(broken=True)
    assert width(sheet(2, "some words of it"), broken) == width(sheet(2), LETTERS)
    assert width(sheet(2, "0" * 30), broken) == width(sheet(2, "0" * 30), LETTERS)


def test_parts_are_few_and_even_and_keep_what_shares_a_heading_together() -> None:
    whole = sheet(8)
    assert parts(whole, LETTERS, 1000) == [whole]
    assert uppers(parts(whole, LETTERS, 120)) == [["0", "0", "1", "1"], ["2", "2", "3", "3"]]
    assert uppers(parts(whole, LETTERS, 1)) == [[f"{at}", f"{at}"] for at in range(4)]
    assert all(part.rows[0][0].text == "a name" for part in parts(whole, LETTERS, 1))


def test_a_table_of_names_alone_is_one_part() -> None:
    assert parts(sheet(0), LETTERS, 1) == [sheet(0)]


def test_many_headings_are_cut_evenly() -> None:
    """There are 27,132 ways to cut these in seven."""
    found = parts(sheet(40), LETTERS, 160)
    assert sorted(len(part.heads) - 1 for part in found) == [4, 6, 6, 6, 6, 6, 6]


def test_a_part_says_which_it_is() -> None:
    assert caption("Table 1", 1, 1) == "Table 1"
    assert caption("Table 1", 2, 3) == "Table 1 (part\u00a02\u00a0of\u00a03)"
