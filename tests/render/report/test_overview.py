"""The first page: what was measured and what comes of it, what is missing, what is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro import paper
from hdit_repro.audit import audit
from hdit_repro.cli.external import job_file
from hdit_repro.files import write_text
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.render.report import build
from hdit_repro.spec.external import External
from tests.render.report.test_html import Reader

Measure = Callable[..., Path]


def test_a_report_of_nothing_says_what_to_do(roots: Roots) -> None:
    made = build("paper", roots)
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert "none yet" in page
    assert "hdit-repro submit table1 --cluster a100" in page
    assert "A100-hours" in page
    assert "<strong>18</strong> <span>errata</span>" in page


def tiles_of(folder: Path) -> dict[str, str]:
    """The number of each tile by its label."""
    return {
        label: number
        for number, label in re.findall(
            r"<strong>([^<]*)</strong> <span>([^<]*)</span>", (folder / "index.html").read_text(encoding="utf-8")
        )
    }


def test_tiles_share_all_claims_out(roots: Roots, measure: Measure) -> None:
    ledger = paper.read()
    kept = ("printed numbers hold", "errata", "need a run or a source")
    before = tiles_of(build("paper", roots).folder)
    assert sum(int(before[name]) for name in kept) == len(ledger.claims)
    measure("table1/E", "paper", 27.9)
    after = tiles_of(build("paper", roots).folder)
    measured = [item for item in audit(ledger, store.load(roots.results)[0]) if item.status == "measured"]
    assert len(measured) > 1
    assert int(before[kept[2]]) - int(after[kept[2]]) == len(measured)
    assert [after[name] for name in kept[:2]] == [before[name] for name in kept[:2]]


def test_paper_scale_has_verdicts(roots: Roots, measure: Measure) -> None:
    measure("table1/E", "paper", 27.9)
    measure("table1/D", "paper", 50.0)
    made = build("paper", roots)
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert '<span class="good">reproduced</span>' in page
    assert '<span class="bad">not reproduced</span>' in page
    assert "two one-sided tests" in page
    assert "Kendall" in page
    (tile,) = re.findall("<span>printed numbers reproduced</span>(.*)", page)
    assert ", of 2 rows, each wherever it is printed" in tile
    notes = (made.folder / "tables.md").read_text(encoding="utf-8")
    assert "Verdict (E): reproduced: ours is" in notes


def test_tables_rows_come_first_and_alternatives_last(roots: Roots, measure: Measure) -> None:
    for name in ("alternatives/A-dot", "guidance/w1.0", "edition2/G", "table1/E"):
        measure(name, "paper", 20.0)
    rows = (build("paper", roots).folder / "index.md").read_text(encoding="utf-8").partition("## What was measured")[2]
    order = ("table1/E", "edition2/G", "guidance/w1.0", "alternatives/A-dot")
    places = [rows.index(f"[{name}: ".replace("_", "\\_")) for name in order]
    assert places == sorted(places)


def test_the_first_page_shows_samples_of_the_first_rows_that_have_any(
    roots: Roots, measure: Measure, remains: Callable[..., None]
) -> None:
    for name in ("R1", "R2", "R3", "R4", "A", "B1", "B2", "C", "D", "E"):
        measure(f"table1/{name}", "smoke", 180.0)
    for name in ("A", "B1", "B2", "C", "D"):
        remains(roots, f"table1/{name}", "smoke")
    folder = build("smoke", roots).folder
    shown = Reader((folder / "index.html").read_text(encoding="utf-8")).sources
    assert [re.sub("-[^-]*$", "", name) for name in shown] == [
        f"images/table1-{name}" for name in ("A", "B1", "B2", "C")
    ]
    drawing = (folder / "images" / "table1-A-loss.svg").read_text(encoding="utf-8")
    assert drawing.count("<rect") == 1
    assert "<rect" not in (folder / "rows" / "table1-A.html").read_text(encoding="utf-8")


def test_a_bad_file_is_named_and_the_rest_is_there(roots: Roots, measure: Measure) -> None:
    measure("table1/E", "smoke", 181.0)
    edited, cut, strange = (measure("table1/D", "smoke", 190.0 + seed, seed=seed) for seed in range(3))
    plain = json.loads(edited.read_text(encoding="utf-8"))
    plain["metrics"]["fd-efficientnet-lite0"]["value"] = 1.0
    edited.write_text(json.dumps(plain), encoding="utf-8")
    cut.write_text(cut.read_text(encoding="utf-8")[:200], encoding="utf-8")
    strange.write_text(json.dumps({**plain, "schema": 99}), encoding="utf-8")
    made = build("smoke", roots)
    assert (made.records, made.problems) == (1, 3)
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    for path, reason in ((edited, "edited by hand"), (cut, "damaged"), (strange, "schema 99")):
        line = re.search(rf"<li><code>{path.parent.name}/{path.name}</code>: ([^<]*)", page)
        assert line, path
        assert reason in line[1]
    assert "181.00" in (made.folder / "tables.html").read_text(encoding="utf-8")


def test_rows_that_cannot_be_are_named_and_no_command_asks_for_them(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = 'extends = "table1/E"\nsampling = {{ guidance = {} }}\n'
    rows = (f"[row.{name}]\n{body.format(weight)}" for name, weight in (("good", 1.5), ("bad", '"much"'), ("two", 2)))
    write_text(tmp_path / "jobs" / "mine.toml", "\n".join(rows))
    write_text(tmp_path / "jobs" / "torn.toml", "[row.x")
    external = External(name="theirs.zip", digest="ab" * 32, images=100)
    write_text(tmp_path / "jobs" / "them.toml", job_file("them", "table1/E", external))
    page = (build("paper", roots).folder / "index.md").read_text(encoding="utf-8")
    left_out = page.partition('id="left-out"')[2]
    assert (
        "- `mine/bad`: a row that cannot be at paper scale; `hdit-repro plan mine --rows bad --scale paper`" in left_out
    )
    assert "- `torn`: an experiment that is not understood: " in left_out
    assert "mine/good" not in left_out
    lines = page.partition("```\n")[2].partition("```")[0].splitlines()
    assert "hdit-repro submit mine --rows good,two --cluster a100" in lines
    assert "hdit-repro eval --run them --scale paper" in lines
    assert "hdit-repro submit table1 --cluster a100" in lines
