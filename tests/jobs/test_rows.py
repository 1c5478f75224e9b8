"""A row that is not where it is looked for: what hides it, and which other files have one of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.cli.app import main
from hdit_repro.errors import UserError

Write = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        (lambda: jobs.find("table1/F"), "extends = 'table1/E' in {own}:3, row F"),
        (lambda: jobs.find("table1/E"), "'E' in {own}"),
        (lambda: jobs.load("table2", rows=["concat"]), "extends = 'table1/E' in "),
    ],
    ids=["by the file itself", "by its name", "by the project's other file"],
)
def test_a_file_that_hides_the_projects_is_told_so(folder: Write, ask: Callable[[], object], found: str) -> None:
    """The rows that were there were said not to be."""
    own = folder("table1", '[row.F]\nextends = "table1/E"\n')
    with pytest.raises(UserError, match="no row of table1 called 'E'") as caught:
        ask()
    assert str(caught.value.found).startswith(found.format(own=own))
    assert f"your {own} hides the project's table1, which has 'E': call your file otherwise" in caught.value.fix


def test_a_section_of_scales_for_a_hidden_row_is_told_what_hides_it(folder: Write, tmp_path: Path) -> None:
    folder("table5", '[row.F]\nextends = "table1/E"\n')
    (tmp_path / "jobs" / "scales.toml").write_text('[smoke.row."table5/snr"]\ntraining = { steps = 3 }\n')
    with pytest.raises(UserError, match=r"hides the project's table5, which has 'snr'") as caught:
        jobs.find("table5/F", "smoke")
    assert "scales.toml, [smoke.row]" in str(caught.value.found)


def test_a_row_that_the_projects_file_has_not_either_is_no_matter_of_hiding(folder: Write) -> None:
    folder("table5", '[row.F]\nextends = "table1/E"\n')
    for name in ("table5/snrr", "table1/EE"):
        with pytest.raises(UserError, match="no row of table") as caught:
            jobs.find(name)
        assert "hides" not in caught.value.fix


@pytest.mark.parametrize(
    "command", ["status table1/E", "plan table2", "render-tables --tables table1"], ids=lambda line: line.split()[0]
)
def test_commands_say_what_hides_a_row(folder: Write, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = folder("table1", '[row.F]\nextends = "table1/E"\n')
    assert main(command.split()) == 2
    assert f"your {own} hides the project's table1" in capsys.readouterr().err


def test_a_row_of_another_file_is_pointed_at(folder: Write) -> None:
    """The file's own name was all that was offered."""
    folder("mine", '[row.x]\nextends = "E"\n')
    with pytest.raises(UserError, match="no row of mine called 'E'") as caught:
        jobs.find("mine")
    assert (caught.value.expected, caught.value.fix) == ("EXPERIMENT/ROW", 'name its file too: extends = "table1/E"')
    folder("mine", '[row.x]\nextends = "E"\n[row.y]\nextends = "x"\n')
    for name in "abc":
        folder(f"own-{name}", '[row.E]\nextends = "table1/E"\n')
    folder("broken", "[row.E\n")
    with pytest.raises(UserError) as caught:
        jobs.find("mine/x")
    assert caught.value.expected == "y, or a row of another file: EXPERIMENT/ROW"
    assert caught.value.fix == 'name its file too: extends = "own-a/E", or "own-b/E", or "own-c/E"', "a few"


def test_a_misspelt_row_of_the_same_file_is_pointed_at(folder: Write) -> None:
    folder("mine", '[row.wide]\nextends = "table1/E"\n[row.x]\nextends = "wid"\n')
    with pytest.raises(UserError, match="did you mean 'wide'"):
        jobs.find("mine/x")


@pytest.mark.parametrize("body", ["", "model = { depths = [2, 3] }", "data = { resolution = 64 }"])
def test_a_row_without_a_network_is_told_of_extends(folder: Write, body: str) -> None:
    folder("mine", f"[row.x]\n{body}\n")
    with pytest.raises(UserError, match=r"is missing(.|\n)*to the row or to \[base\], or leave it to another row: ext"):
        jobs.find("mine")


@pytest.mark.parametrize("body", ['model = { kind = "dit" }', 'extends = "table1/E"\nmodel = { kind = "dit" }'])
def test_a_row_with_a_network_is_told_what_it_lacks_alone(folder: Write, body: str) -> None:
    folder("mine", f"[row.x]\n{body}\n")
    with pytest.raises(UserError, match=r"is missing(.|\n)*to the row or to \[base\]$"):
        jobs.find("mine")
