"""The README's marked blocks: filled from the tables and the audit, and nothing beside them touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.audit import audit
from hdit_repro.errors import UserError
from hdit_repro.records.layout import Roots
from hdit_repro.render import readme
from hdit_repro.render.definitions import TABLE_1
from hdit_repro.render.everything import render
from hdit_repro.render.tables import material, sheet_of

BLOCKS = {"one": lambda: "first\n", "two": lambda: "second\n"}
README = """# Suite

Before.

<!-- begin: two -->
old
<!-- end: two -->
Between: <!-- begin: one --> in a line is no marker.
<!-- begin: one -->
<!-- end: one -->
After
"""


def test_blocks_are_replaced_and_all_else_is_kept() -> None:
    filled = readme.fill(README, BLOCKS)
    assert filled == README.replace("old\n", "second\n").replace("one -->\n<!-- end", "one -->\nfirst\n<!-- end")
    assert readme.fill(filled, BLOCKS) == filled


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("<!-- begin: one -->\n", "has no end", "'one' in README.md"),
        ("a\n<!-- end: one -->\n", "out of place", "README.md:2"),
        ("<!-- begin: one -->\n<!-- begin: two -->\n<!-- end: two -->\n", "out of place", "README.md:2"),
        ("<!-- begin: one -->\n<!-- end: two -->\n", "out of place", "README.md:2"),
        (2 * "<!-- begin: one -->\n<!-- end: one -->\n", "out of place", "README.md:3"),
        ("<!-- begin: tow -->\n<!-- end: tow -->\n", "no block called 'tow'", "'tow' in README.md"),
    ],
)
def test_markers_that_do_not_match_are_refused(text: str, problem: str, place: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        readme.fill(text, BLOCKS)
    assert place in str(caught.value.found)


def test_a_refused_readme_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(README.replace("<!-- end: one -->\n", ""), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    with pytest.raises(UserError):
        readme.refresh(path, BLOCKS)
    assert path.read_text(encoding="utf-8") == before


def test_no_readme_and_no_markers_are_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    assert not readme.refresh(path, BLOCKS)
    path.write_text("# Suite\n", encoding="utf-8")
    assert not readme.refresh(path, BLOCKS)
    assert path.read_text(encoding="utf-8") == "# Suite\n"


def test_rendering_at_paper_scale_fills_the_readme(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    path = roots.results.parent / "README.md"
    names = ("table1", "errata", "figure2")
    path.write_text(
        "\n".join(f"<!-- begin: {name} -->\n<!-- end: {name} -->" for name in names) + "\n", encoding="utf-8"
    )
    monkeypatch.setattr("hdit_repro.render.everything.made_at", lambda scale: [])
    render("smoke", roots)
    render("paper", roots, names=["table2"])
    render("paper", roots, roots.runs / "elsewhere")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6
    assert render("paper", roots)[-1] == ("readme", path)
    text = path.read_text(encoding="utf-8")
    assert "![Figure 2" in text
    assert "(tables/figure2.svg)" in text
    assert (roots.results.parent / "tables" / "table1.md").is_file()
    first = path.read_bytes()
    render("paper", roots)
    assert path.read_bytes() == first


def test_the_table_explains_no_column_that_it_leaves_out(roots: Roots, measure: Callable[..., Path]) -> None:
    measure("table1/E", "paper", 27.0)
    given = material("paper", roots)
    whole, brief = (readme.table1(sheet_of(table, given)) for table in (TABLE_1, readme.TABLE))
    assert "- Differences are ours less print. Print: FID by the implementation of Dhariwal & Nichol" in whole
    assert "Differences" not in brief
    assert "- Print: FID by the implementation of Dhariwal & Nichol, 2021 (Section 5.1).\n" in brief


def test_the_table_has_our_costs_and_the_errata_are_the_audits(roots: Roots) -> None:
    table = readme.table1(sheet_of(readme.TABLE, material("paper", roots)))
    row = next(line for line in table.splitlines() if line.startswith("| E D + soft-min-snr"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "27.74", "not run", "31", "31.37", "O(n)", "65", "64.72", "198", "198.10", "117.0M",
    ]  # fmt: skip
    findings = audit()
    listed = readme.errata(findings)
    errata = [finding.claim for finding in findings if finding.status == "erratum"]
    assert len(errata) >= 10
    assert all(claim.place in listed.replace("\\", "") for claim in errata)
    assert "- **Table 6, Mapping Width, FFHQ-1024²**: print says 768; it comes to 256: a mapping network of" in listed
    assert "- **Table 4, ADM, Steps**: print says 1000; its source says 250: the source samples its ImageNet" in listed
    assert "- **§ 4.2, additive positions of DiT**: print says learnable: DiT's positions are sines" in listed
    assert "C, GFLOP@512² relative to R1; Table 1 of the second edition, D, " in listed
    assert "print says −96%; it comes to −96.9%: 198.1 against" in listed
    assert "the power of c\\_out**: print says c\\_out^-2: D's error" in listed
    assert listed.splitlines()[-1].startswith("- **Table 1 of the second edition")
    assert readme.errata(finding for finding in findings if finding.status == "holds") == ""
