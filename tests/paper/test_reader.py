"""Reading ledger files: what comes out of a table, and that what cannot be right is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro.errors import UserError
from hdit_repro.paper import checks, read
from hdit_repro.paper.types import Exact, Round

GOOD = """edition = 1

[[table]]
id = "table9"
number = 9
title = "A table"

[table.column.fid]
title = "FID"
unit = "FID"
needs = "run"

[table.column.gflop-256]
title = "GFLOP@256²"
unit = "GFLOP"
check = { kind = "cost", resolution = 256 }

[[table.row]]
key = "E"
name = "E"
label = "D + soft-min-snr"
run = "table1/E"
cells = { fid = "27.74", gflop-256 = "6,341" }

[[table.row]]
key = "other"
label = "Other (Some, 2020)"
cites = "Some, 2020"
needs = "citation"
cells = { fid = "-", gflop-256 = "65" }

[table.row.cell.gflop-256]
run = "table1/D"
check = { kind = "cost" }
expect = "erratum"
reason = "because"

[[claim]]
id = "abstract/steps"
place = "Abstract, steps"
text = "400k"
unit = "steps"
run = "table1/E"
check = { kind = "field", field = "training.steps" }
"""


def ledger(folder: Path, *texts: str):  # type: ignore[no-untyped-def]
    for number, text in enumerate(texts):
        (folder / f"file{number}.toml").write_text(text, encoding="utf-8")
    return read(folder)


def refused(folder: Path, *texts: str) -> UserError:
    with pytest.raises(UserError) as caught:
        ledger(folder, *texts)
    return caught.value


def line(text: str, fragment: str) -> int:
    """The number of the last line of `text` that begins with `fragment`."""
    return max(number for number, row in enumerate(text.splitlines(), 1) if row.startswith(fragment))


def test_a_claim_for_each_cell(tmp_path: Path) -> None:
    found = ledger(tmp_path, GOOD)
    assert [claim.id for claim in found] == [
        "table9/E/fid",
        "table9/E/gflop-256",
        "table9/other/fid",
        "table9/other/gflop-256",
        "abstract/steps",
    ]
    cell = found.claim("table9/E/gflop-256")
    assert cell.place == "Table 9, E, GFLOP@256²"
    assert (cell.printed, cell.text, cell.unit.value, cell.edition) == (6341, "6,341", "GFLOP", 1)
    assert cell.check == checks.Cost(run="table1/E", resolution=256)
    assert cell.agree == Round(to=1)
    assert (cell.file, cell.line) == ("file0.toml", GOOD.splitlines().index("[[table.row]]") + 1)


def test_what_a_cell_inherits_and_what_it_has_of_its_own(tmp_path: Path) -> None:
    found = ledger(tmp_path, GOOD)
    empty = found.claim("table9/other/fid")
    assert (empty.printed, empty.text, empty.needs, empty.cites) == (None, "-", "citation", "Some, 2020")
    own = found.claim("table9/other/gflop-256")
    assert own.check == checks.Cost(run="table1/D")
    assert own.needs is None, "a check of the cell's own takes the place of the row's needs"
    assert (own.expect, own.reason) == ("erratum", "because")
    assert own.line == line(GOOD, "[table.row.cell.gflop-256]")


def test_jobs_words_agree_exactly_and_computed_numbers_to_the_last_digit(tmp_path: Path) -> None:
    claim = ledger(tmp_path, GOOD).claim("abstract/steps")
    assert claim.agree == Exact()
    assert (claim.value, type(claim.value)) == (400_000, int)


def test_tables_keep_their_layout(tmp_path: Path) -> None:
    table = ledger(tmp_path, GOOD).tables["table9"]
    assert [column.title for column in table.columns] == ["FID", "GFLOP@256²"]
    assert [(row.key, row.run) for row in table.rows] == [("E", "table1/E"), ("other", None)]


CLAIM = """
[[claim]]
id = "x/y"
place = "Section 9"
text = "12"
unit = "FID"
needs = "run"
run = "table1/E"
"""


@pytest.mark.parametrize(
    ("old", "new", "fragment", "said"),
    [
        ('unit = "FID"\n', 'unit = "FDI"\n', "unit =", ["no unit called 'FDI'", "GFLOP", "did you mean 'FID'"]),
        ('place = "Section 9"\n', "", "[[claim]]", ["a claim without place"]),
        ('place = "Section 9"', 'place = "  "', "place =", ["a claim without place"]),
        ('id = "x/y"\n', "", "[[claim]]", ["a claim without id"]),
        ('unit = "FID"\n', "", "[[claim]]", ["has no unit"]),
        ("needs =", "neds =", "neds =", ["unknown key 'neds'", "did you mean 'needs'"]),
        ('needs = "run"\n', "", "[[claim]]", ["neither a check nor needs"]),
        ('text = "12"', 'text = "twelve"', "[[claim]]", ["'twelve'", "no number of FID"]),
        ('needs = "run"', 'check = { kind = "csot" }', "check =", ["no check called 'csot'", "did you mean 'cost'"]),
        (
            'needs = "run"',
            'check = { kind = "cost", resolutoin = 3 }',
            "check =",
            ["unknown key 'resolutoin'", "did you mean 'resolution'"],
        ),
        (
            'needs = "run"\nrun = "table1/E"',
            'check = { kind = "parameters" }',
            "check =",
            ["needs a run", 'run = "table1/E"'],
        ),
        (
            'needs = "run"',
            'check = { kind = "formula", expression = \'costs("table1/E")\' }',
            "check =",
            ["'costs'", "did you mean 'cost'"],
        ),
        (
            'needs = "run"',
            'check = { kind = "order", lower = "x/z", higher = "abstract/step" }',
            "[[claim]]",
            ["'x/z'", "does not exist"],
        ),
        (
            'needs = "run"',
            'check = { kind = "formula", expression = \'printed("x/y")\' }',
            "[[claim]]",
            ["refers to the claim itself"],
        ),
        ('needs = "run"', 'needs = "run"\nexpect = "erratum"', "[[claim]]", ["without a check and a reason"]),
        (
            'needs = "run"',
            'check = { kind = "reading", targets = ["abstract/steps"], candidates = [{ valeu = 1, set = {} }] }',
            "check =",
            ["unknown key 'valeu'", "did you mean 'value'"],
        ),
        ('needs = "run"', 'needs = "luck"', "needs =", ["'luck'"]),
        ('needs = "run"', 'needs = "run"\nagree = { kind = "round", to = -1 }', "agree =", ["positive"]),
        ('text = "12"', "text = 12", "text =", ["expected `str`"]),
    ],
)
def test_a_wrong_claim_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, fragment: str, said: list[str]
) -> None:
    assert old in CLAIM
    text = GOOD + CLAIM.replace(old, new)
    message = str(refused(tmp_path, text))
    assert f"file0.toml:{line(text, fragment)}" in message
    for part in said:
        assert part.lower() in message.lower()


@pytest.mark.parametrize(
    ("old", "new", "fragment", "said"),
    [
        (
            'gflop-256 = "6,341"',
            'gflop-255 = "6,341"',
            'cells = { fid = "27',
            ["unknown column 'gflop-255'", "did you mean 'gflop-256'"],
        ),
        (', gflop-256 = "6,341"', "", 'cells = { fid = "27', ["no cell 'gflop-256'"]),
        ('title = "A table"', 'titel = "A table"', "titel", ["unknown key 'titel'", "did you mean 'title'"]),
        ("[table.row.cell.gflop-256]", "[table.row.cell.gflop]", "[table.row.cell.gflop]", ["unknown column 'gflop'"]),
        ('unit = "FID"\nneeds', 'unti = "FID"\nneeds', "unti", ["unknown key 'unti'", "did you mean 'unit'", "title"]),
        ('fid = "27.74"', "fid = 27.74", "cells = { fid = 27", ["expected `str`"]),
        (
            "resolution = 256 }\n",
            'resolution = 256 }\nagree = { kind = "round", too = 1 }\n',
            "agree",
            ["unknown key 'too'"],
        ),
        ('reason = "because"', 'raeson = "because"', "raeson", ["unknown key 'raeson'", "did you mean 'reason'"]),
        ('unit = "GFLOP"', 'unit = "TFLOP"', 'unit = "TFLOP"', ["no unit called 'TFLOP'", "did you mean 'GFLOP'"]),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, fragment: str, said: list[str]
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    message = str(refused(tmp_path, text))
    assert f"file0.toml:{line(text, fragment)}" in message
    for part in said:
        assert part in message


def test_an_id_given_twice_names_both_lines(tmp_path: Path) -> None:
    text = "edition = 2\n" + CLAIM
    message = str(refused(tmp_path, GOOD + CLAIM, text))
    assert "two claims have the id 'x/y'" in message
    assert f"file0.toml:{line(GOOD + CLAIM, '[[claim]]')}" in message
    assert "file1.toml:3" in message


def test_a_table_given_twice_is_refused(tmp_path: Path) -> None:
    assert "'table9'" in str(refused(tmp_path, GOOD, GOOD))


def test_no_toml_no_text_no_folder(tmp_path: Path) -> None:
    broken = GOOD + "unit = \n"
    message = str(refused(tmp_path, broken))
    assert f"file0.toml:{len(broken.splitlines())}" in message
    (tmp_path / "file0.toml").write_bytes(b"edition = 1\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(UserError, match="missing"):
        read(tmp_path / "nowhere")


def test_a_claim_that_is_not_there(tmp_path: Path) -> None:
    found = ledger(tmp_path, GOOD)
    with pytest.raises(UserError, match="no claim called") as caught:
        found.claim("table9/E/gflop-265")
    assert "table9/E/gflop-256" in caught.value.fix


def test_a_ledger_is_read_once_for_each_state_of_its_files(tmp_path: Path) -> None:
    file = tmp_path / "ledger.toml"
    file.write_text(GOOD, encoding="utf-8")
    first = read(tmp_path)
    assert read(tmp_path) is first
    file.write_text(GOOD.replace("27.74", "28.74"), encoding="utf-8")
    assert read(tmp_path).claim("table9/E/fid").printed == 28.74
