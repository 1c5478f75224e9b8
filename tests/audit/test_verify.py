"""The command: what it prints, where, with which exit code, and how soon."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro import paper
from hdit_repro.cli import main
from hdit_repro.records import schema, store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Record

Verify = Callable[..., Any]
Alter = Callable[..., None]

ERRATA = 18


def test_json(verify: Verify) -> None:
    said = verify("--json")
    assert said.code == 0
    rows = said.json
    assert len(rows) >= 150
    assert len({row["claim"] for row in rows}) == len(rows)
    assert sum(row["computed"] is not None for row in rows) >= 70
    assert {"claim", "place", "printed", "computed", "status", "note"} <= rows[0].keys()
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert sum(row["status"] == "erratum" for row in rows) == ERRATA
    assert [row["edition"] for row in rows] == sorted(row["edition"] for row in rows)
    assert {row["claim"]: row["computed"] for row in rows}["table6/parameters/ffhq"] == 85_079_300


def test_table(verify: Verify) -> None:
    said = verify("--status", "erratum")
    lines = said.out.splitlines()
    assert lines[0].split() == ["claim", "place", "printed", "computed", "status", "note"]
    assert len(lines) == 1 + ERRATA
    row = next(line for line in lines if line.startswith("table1/R1/gflop-256 "))
    assert "Table 1, R1, GFLOP@256²" in row
    assert row.split()[5:8] == ["657", "657.627", "erratum"]
    assert "\x1b" not in said.out
    assert said.err.splitlines()[-1] == "all as expected, 18 errata among them"
    assert said.err.startswith("shown: 18 claims: 0 hold, 18 are errata, ")
    assert f"; of all:\n{len(list(paper.read()))} claims: " in said.err


def test_one_table(verify: Verify) -> None:
    assert verify("--table", "1", "--status", "erratum").err.startswith("shown: 1 claim: 0 hold, 1 is an erratum, ")
    rows = verify("--table", "5", "--json").json
    assert {row["claim"].partition("/")[0] for row in rows} == {"table5"}
    rows = verify("--table", "edition2-table5", "--status", "needs-run", "--json").json
    assert {(row["edition"], row["status"]) for row in rows} == {(2, "needs-run")}


def test_explain(verify: Verify) -> None:
    said = verify("--explain", "table6/mapping-width/imagenet256")
    assert said.code == 0
    assert said.out.splitlines() == [
        "table6/mapping-width/imagenet256: Table 6, Mapping Width, ImageNet-256², edition 1",
        "printed   768 (width)",
        "          256: table6/parameters/imagenet256 comes to 557,416,522 as the printed 557M",
        "          768: table6/parameters/imagenet256 comes to 598,301,258 against the printed 557M",
        "          only 256 gives what is printed",
        "          must be 768; it is 256",
        "status    erratum",
        said.out.splitlines()[-1],
    ]
    assert said.out.splitlines()[-1].startswith("note      a mapping network of width 768")


def test_explain_as_json_has_the_steps(verify: Verify) -> None:
    (row,) = verify("--explain", "figure-2/share", "--json").json
    assert row["claim"] == "figure-2/share"
    assert row["steps"][-1] == "must be less than 1; it is 0.863405"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explain", "table1/E/fie"), "did you mean 'table1/E/fid'"),
        (("--explain", "table1/R1/gflop-256", "--status", "holds"), "hdit-repro verify --explain table1/R1/gflop-256"),
        (("--explain", "table1/R1/gflop-256", "--table", "1"), "hdit-repro verify --explain table1/R1/gflop-256"),
        (("--status", "errata"), "did you mean 'erratum'"),
        (("--table", "9"), "there is no table called 'table9'"),
    ],
)
def test_wrong_requests(verify: Verify, arguments: tuple[str, ...], message: str) -> None:
    said = verify(*arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_surprises_are_named(alter: Alter, verify: Verify) -> None:
    alter("table5", ("gamma = 5.0", "gamma = 6.0"))
    said = verify("--status", "erratum")
    assert said.code == 1
    line = next(line for line in said.err.splitlines() if line.startswith("surprise: appendix-b/gamma-5 "))
    assert "an erratum that is not expected; not expected: 6 where 5 is printed" in line
    assert "all as expected" not in said.err
    assert verify("--explain", "appendix-b/gamma-5").out.splitlines()[-2] == (
        "status    erratum, which the ledger does not expect"
    )


def test_a_job_that_cannot_be_is_a_wrong_request(alter: Alter, verify: Verify) -> None:
    alter("table1", ("depths = [2, 11]", "depths = [2]"))
    said = verify()
    assert (said.code, said.out) == (2, "")
    assert "depths" in said.err


def test_a_job_that_is_gone_names_the_claim(alter: Alter, verify: Verify) -> None:
    alter("edition2", ("row.G", "row.GG"))
    said = verify()
    assert (said.code, said.out) == (2, "")
    assert "cannot be checked: there is no row of edition2 called 'G'" in said.err


def test_a_broken_ledger_is_a_wrong_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.toml").write_text(
        'edition = 1\n[[claim]]\nid = "x"\nplace = "P"\ntext = "1"\nunit = "FIDD"\n', encoding="utf-8"
    )
    monkeypatch.setattr("hdit_repro.paper.reader.shipped", lambda name: tmp_path)
    assert main(["verify"]) == 2
    said = capsys.readouterr()
    assert "there is no unit called 'FIDD'" in said.err
    assert "broken.toml:6" in said.err


def test_a_check_that_cannot_be_computed_names_claim_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ledger.toml").write_text(
        'edition = 1\n[[claim]]\nid = "x"\nplace = "P"\ntext = "1"\nunit = "images"\nrun = "table1/E"\n'
        'check = { kind = "field", field = "training.batsh" }\n',
        encoding="utf-8",
    )
    monkeypatch.setattr("hdit_repro.paper.reader.shipped", lambda name: tmp_path)
    assert main(["verify"]) == 2
    said = capsys.readouterr()
    assert "claim 'x' cannot be checked" in said.err
    assert "ledger.toml:2" in said.err
    assert "did you mean 'batch'" in said.err


def test_records_are_set_beside_the_print_and_change_no_exit_code(
    verify: Verify, record: Callable[..., Record], tmp_path: Path
) -> None:
    measured = record("table1/E", fid=99.0)
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), measured.spec, "paper")
    store.write(measured, folder.record)
    damaged = tmp_path / "results" / "0123" / "4567.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(f'{{"schema": {schema.SCHEMA + 1}', encoding="utf-8")
    said = verify("--status", "measured")
    assert said.code == 0
    assert "ours 99, printed 27.74, difference +71.3" in said.out
    assert {line.split()[0] for line in said.out.splitlines()[1:]} >= {"table1/E/fid", "table2/lerp/fid"}
    assert f"no record: {damaged}" in said.err


PROBE = """
import sys
from hdit_repro.cli import main
code = main(["verify", "--json"])
dear = ("torch", "numpy", "pandas", "matplotlib", "submitit", "rich", "pydantic", "scipy", "PIL")
print("loaded", [name for name in dear if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def test_it_takes_under_a_second_and_loads_nothing_dear(tmp_path: Path) -> None:
    """Seconds of processor time, which other work on the machine does not lengthen; the best of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "loaded []"
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.0
    assert list(tmp_path.iterdir()) == []
