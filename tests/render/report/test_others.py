"""The pages of tables, figures, errata, and of the commands for all rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hdit_repro.files import write_text
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.render.figures import FIGURES
from hdit_repro.render.report import build
from hdit_repro.spec.data import Folder
from tests.render.report.test_html import Reader

Measure = Callable[..., Path]


def test_names_that_mean_something_in_links_have_pages_of_their_own(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = 'extends = "table1/E"\nlabel = "mine"\ntraining = {{ steps = {} }}\n'
    rows = {"mine": ('a#b?c%41 &\\"|', "x-y", "z"), "mine-x": ("y", "z")}
    for number, (name, keys) in enumerate(rows.items()):
        text = "".join(f'[row."{key}"]\n{body.format(1000 + 10 * number + n)}' for n, key in enumerate(keys))
        write_text(tmp_path / "jobs" / f"{name}.toml", f'experiment = "{name}"\n{text}')
    monkeypatch.chdir(tmp_path)
    made = build("paper", roots).folder
    links = [
        href for href in Reader((made / "reproduce.html").read_text(encoding="utf-8")).hrefs if "rows/mine" in href
    ]
    assert len(set(links)) == 5
    assert "rows/mine-z.html" in links
    assert all((made / href).is_file() for href in links)
    shown = (made / "reproduce.md").read_text(encoding="utf-8").replace("\\|", "|")
    assert """submit mine --rows 'a#b?c%41 &"|' --cluster a100""" in shown
    assert all(re.fullmatch(r"[\w./-]+", href) for href in links)


def test_experiments_of_ones_own_have_their_tables(
    roots: Roots, measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On images of one's own too, whose runs have no pages, and whose records are not left out."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "jobs" / "mine.toml", '[row.wide]\nextends = "table1/E"\nsampling = { guidance = 1.5 }\n')
    pets = Folder(name="pets & co", digest="ab" * 32, images=1234, classes=3)
    ours = measure("mine/wide", "smoke", 171.5).stem
    theirs = measure("mine/wide", "smoke", 150.25, dataset=pets).stem
    older = measure(
        "mine/wide", "smoke", 149.0, dataset=msgspec.structs.replace(pets, digest="cd" * 32), year=2029
    ).stem
    folder = build("smoke", roots).folder
    tables = (folder / "tables.html").read_text()
    page = Reader(tables)
    names = ["experiment-mine", next(name for name in page.ids if name.startswith("experiment-mine-pets"))]
    assert [href for href in page.hrefs if href.startswith("#experiment")] == [f"#{name}" for name in names]
    assert not re.search(r"\s", names[1])
    mine, on_pets = tables.partition(f'id="{names[0]}"')[2].split(f'id="{names[1]}"')
    assert f'<a href="rows/mine-wide.html#{ours}">171.50</a>' in mine
    assert '<span class="quiet">not measured</span>' in mine
    assert "on pets &amp; co, 1,234 images" in on_pets
    assert ">150.25<" in on_pets
    assert "href" not in on_pets.partition("</table>")[0]
    left_out = (folder / "index.html").read_text().partition('id="left-out"')[2]
    assert older in left_out
    assert theirs not in left_out
    assert "171.50" in (folder / "tables.md").read_text()


def test_measured_cells_lead_to_their_records(made: Path, roots_of_made: Roots) -> None:
    record = next(
        one for one in store.load(roots_of_made.records("smoke"))[0] if one.seed == 0 and "table1/E" in one.names
    )
    tables = (made / "tables.html").read_text(encoding="utf-8")
    assert f'<a href="rows/table1-E.html#{record.evaluation_id}">181.25 ± 2.14 (n = 3) (best)' in tables
    assert ">192.00 (second)<" in tables
    page = (made / "rows" / "table1-E.html").read_text(encoding="utf-8")
    for part in (record.digest, record.provenance.commit[:12], "183.500", "--seeds 3", "git checkout", "table2/lerp"):
        assert part in page, part
    assert page.count('class="sharp"') == 3
    assert page.count("<svg") == 1
    assert "seed 2" in page


def test_a_table_wider_than_a_printed_page_stands_in_parts(roots: Roots) -> None:
    """Table 8 was cut off behind its fifth model of nine; Table 1 fits."""
    page = (build("paper", roots).folder / "tables.html").read_text(encoding="utf-8")
    wide = page.partition('id="edition2-table8"')[2].partition("<h2")[0]
    tables = wide.split("<table")[1:]
    assert len(tables) > 1
    models = [model for table in tables for model in re.findall(r'class="upper">(p\d+-[sml])<', table)]
    assert models == [f"p{patch}-{size}" for patch in (16, 8, 4) for size in "sml"]
    assert all('<th scope="row">Training Steps</th>' in table for table in tables)
    assert all(f"(part\u00a0{at}\u00a0of\u00a0{len(tables)})" in table for at, table in enumerate(tables, 1))
    assert page.partition('id="table1"')[2].partition("<h2")[0].count("<table") == 1


def test_every_figure_of_the_paper_has_its_place(made: Path) -> None:
    page = (made / "figures.html").read_text(encoding="utf-8")
    shown = {name: drawing for name, drawing in FIGURES.items() if "paper" in drawing.scales}
    assert {"figure2", "figure8", "figure9"} <= set(shown)
    for name, drawing in shown.items():
        assert f'src="figures/{name}.svg"' in page
        assert drawing.title in page


def test_numbers_of_print_errata_have_a_number_beside_them_and_formulas_none(made: Path) -> None:
    page = (made / "errata.md").read_text(encoding="utf-8")
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")]
        for line in page.splitlines()
        if "|" in line
    }
    assert lines["Table 1, R1, GFLOP@256²"][4] == "657.63"
    assert lines["Table 4, ADM, Steps"][4] == "250"
    assert lines["Equation 5, middle and last expression"][4] == ""
