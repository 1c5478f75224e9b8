"""On which line a value of a TOML file stands."""

from __future__ import annotations

from hdit_repro.lines import Lines

TEXT = '''# a comment
edition = 1

[[table]]
id = "one"
note = """
[[table]]
id = "not a header, not a key"
"""

[table.column.fid]
title = """FID"""
unit = "FID"

[table.column."gflop-128"]
unit = "GFLOP"

[[table.row]]
key = "A"

[[table.row]]
key = "B"
cells = { fid = "1", gflop-128 = "2" }

[table.row.cell.fid]   # a remark
expect = "erratum"

[[table]]
id = "two"

[[table.row]]
key = "C"
check.kind = "cost"

[[claim]]
id = "x"

[[claim]]
id = "y"
candidates = [
    { value = 1 },
]
unit = "FID"
'''


def line_of(*path: str | int) -> str:
    return TEXT.splitlines()[Lines(TEXT, keys=True).of(path) - 1]


def test_headers_and_keys() -> None:
    assert line_of("edition") == "edition = 1"
    assert line_of("table", 0, "id") == 'id = "one"'
    assert line_of("table", 0, "column", "gflop-128", "unit") == 'unit = "GFLOP"'
    assert line_of("table", 0, "row", 1, "key") == 'key = "B"'
    assert line_of("table", 1, "id") == 'id = "two"'
    assert line_of("table", 1, "row", 0, "key") == 'key = "C"'
    assert line_of("table", 1, "row", 0, "check", "kind") == 'check.kind = "cost"'
    assert line_of("claim", 1, "unit") == 'unit = "FID"'


def test_inside_one_line_and_beyond() -> None:
    assert line_of("table", 0, "row", 1, "cells", "fid").startswith("cells =")
    assert line_of("table", 0, "row", 1, "cell", "fid") == "[table.row.cell.fid]   # a remark"
    assert line_of("claim", 0, "unit") == "[[claim]]"
    assert Lines(TEXT).of(("nothing",)) == 1


def test_without_keys_a_key_stands_where_its_table_does() -> None:
    assert Lines(TEXT).of(("claim", 1, "unit")) == Lines(TEXT).of(("claim", 1))
    assert Lines(TEXT).of(("claim", 1)) > Lines(TEXT).of(("claim", 0))
