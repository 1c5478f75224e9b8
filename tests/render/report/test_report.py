"""The report: whole, linked, honest about what it leaves out, and the same in both formats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from hdit_repro import paper
from hdit_repro.audit import audit
from hdit_repro.cli.external import job_file
from hdit_repro.files import write_text
from hdit_repro.records import signoff, store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Metric, seal
from hdit_repro.render.figures import FIGURES
from hdit_repro.render.report import build
from hdit_repro.render.report.blocks import SENTENCE, Grid, words
from hdit_repro.render.report.facts import gather
from hdit_repro.spec.data import Folder
from hdit_repro.spec.external import External

Measure = Callable[..., Path]


class Reader(HTMLParser):
    """What a page links to, what can be linked to, its headings, and its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.alts: list[str | None] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"]] if given.get("id") else []
        self.hrefs += [given["href"]] if given.get("href") and tag in ("a", "link") else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.alts.append(given.get("alt"))
            self.sources.append(given["src"] or "")


@pytest.fixture(scope="module")
def roots_of_made(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    folder = tmp_path_factory.mktemp("made")
    return Roots(folder / "runs", folder / "results")


@pytest.fixture(scope="module")
def made(roots_of_made: Roots, measurer: Callable[[Roots], Measure], remains: Callable[..., None]) -> Path:
    """A smoke report of three rows; E has three seeds."""
    roots, measure = roots_of_made, measurer(roots_of_made)
    for seed, value in enumerate((181.0, 183.5, 179.25)):
        measure("table1/E", "smoke", value, seed=seed, floor=22.0)
        remains(roots, "table1/E", "smoke", seed)
    measure("table1/D", "smoke", 192.0)
    measure("table1/A", "smoke", 230.0)
    return build("smoke", roots).folder


def test_every_link_leads_somewhere_and_nothing_leaves_the_folder(made: Path) -> None:
    read = {path: Reader(path.read_text(encoding="utf-8")) for path in sorted(made.rglob("*.html"))}
    assert len(read) > 40
    for path, page in read.items():
        for href in (*page.hrefs, *page.sources):
            if href.startswith("data:"):
                continue
            assert "://" not in href, (path, href)
            file, _, anchor = href.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_relative_to(made.resolve()), (path, href)
            assert target.is_file(), (path, href)
            assert not anchor or anchor in read[target].ids, (path, href)


def test_every_page_is_accessible_in_its_outline(made: Path) -> None:
    for path in sorted(made.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        page = Reader(text)
        assert page.headings.count(1) == 1, path
        assert all(later - before <= 1 for before, later in zip(page.headings, page.headings[1:], strict=False)), path
        assert all(page.alts), path
        assert "script" not in page.tags, path
        assert {"main", "nav", "header", "footer"} <= page.tags, path
        assert 'lang="en"' in text, path
        assert len(page.ids) == len(set(page.ids)), path
        for region in re.findall(r'<div class="wide\b[^>]*>', text):
            assert 'tabindex="0"' in region, path
            assert 'aria-label="' in region, path


def test_rows_have_heads_that_are_read_with_their_cells(made: Path) -> None:
    tables = (made / "tables.html").read_text(encoding="utf-8")
    assert re.search(
        r'<th scope="row"><a href="rows/table1-E\.html">E D \+ soft-min-snr \(Appendix B\)</a></th>', tables
    )
    assert '<th scope="row" role="rowheader" data-head="place">' in (made / "index.html").read_text(encoding="utf-8")
    values = (
        (made / "rows" / "table1-E.html")
        .read_text(encoding="utf-8")
        .partition("Each record")[2]
        .partition("</table>")[0]
    )
    assert 'scope="row"' not in values  # begins with a number


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
    assert """submit mine --rows 'a#b?c%41 &"|' --wait""" in shown
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


def test_every_page_says_its_scale_in_its_title_too(made: Path) -> None:
    for page in made.rglob("*.html"):
        title = page.read_text().partition("<title>")[2].partition("</title>")[0]
        assert title.endswith("· smoke scale · hdit-repro"), page
        assert page.with_suffix(".md").read_text().split("\n\n")[1] == "hdit-repro · smoke scale", page


def test_markdown_says_the_same(made: Path) -> None:
    """Every cell and heading of a page is in its markdown, and markdown links lead to markdown."""
    for path in sorted(made.rglob("*.html")):
        twin = path.with_suffix(".md")
        text = twin.read_text(encoding="utf-8")
        for href in re.findall(r"\]\(([^)\s]+)\)", text):
            file = href.partition("#")[0]
            assert not file.endswith(".html"), (twin, href)
            assert not file or (twin.parent / file).is_file(), (twin, href)
    text = (made / "rows" / "table1-E.md").read_text(encoding="utf-8")
    for part in ("181.250", "183.500", "hdit-repro submit table1 --rows E --scale smoke --seeds 3 --wait"):
        assert part in text


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
    assert "hdit-repro submit mine --rows good,two --scale paper" in lines
    assert "hdit-repro eval --run them --scale paper" in lines
    assert "hdit-repro submit table1 --scale paper" in lines


def test_a_page_says_how_many_of_many_trainings_it_shows(roots: Roots, measure: Measure, remains) -> None:
    for seed in range(10):
        measure("table1/E", "smoke", 181.0 + seed, seed=seed)
        remains(roots, "table1/E", "smoke", seed)
    for seed in range(2):
        measure("table1/D", "smoke", 181.0 + seed, seed=seed)
        remains(roots, "table1/D", "smoke", seed)
    rows = build("smoke", roots).folder / "rows"
    many, few = ((rows / f"table1-{name}.md").read_text(encoding="utf-8") for name in "ED")
    assert "6,400 images of emoji seen" in many
    assert "The first images of 8 of 10 samplings, numbers from 0" in many
    assert "Training loss of 8 of 10 trainings, each point" in many
    assert "The first images of each sampling, numbers from 0" in few
    assert "Training loss, each point" in few


def test_signatures_are_shown_and_doubted(roots: Roots, measure: Measure) -> None:
    one, two = (measure("table1/E", "smoke", 181.0 + seed, seed=seed) for seed in range(2))
    signoff.sign(one, "Ada")
    signoff.sign(two, "Bob")
    measure("table1/E", "smoke", 99.0, seed=1)
    made = build("smoke", roots)
    page = (made.folder / "rows" / "table1-E.html").read_text(encoding="utf-8")
    assert "<td>Ada</td>" in page
    assert "changed after Bob signed" in page
    assert "changed after Bob signed it" in (made.folder / "index.html").read_text(encoding="utf-8")


def test_a_report_of_nothing_says_what_to_do(roots: Roots) -> None:
    made = build("paper", roots)
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert "none yet" in page
    assert "hdit-repro submit table1 --scale paper" in page
    assert "A100-hours" in page
    assert "<strong>17</strong> <span>errata</span>" in page


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


def test_trainings_of_a_row_are_counted_apart_from_its_records(roots: Roots, measure: Measure) -> None:
    for seed, sampling in ((0, 0), (0, 1), (2, 0)):
        measure("table1/E", "smoke", 180.0 + seed + sampling, seed=seed, sampling_seed=sampling)
    page = (build("smoke", roots).folder / "rows" / "table1-E.html").read_text(encoding="utf-8")
    assert "<li>Trainings measured: 2. Records: 3.</li>" in page


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


def test_a_verdict_on_one_run_is_said_once_with_all_its_places(roots: Roots, measure: Measure) -> None:
    measure("table1/E", "paper", 27.0)
    page = (build("paper", roots).folder / "rows" / "table1-E.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "printed 27.74" in line]
    for place in ("Table 1, E, FID", "Table 2", "Table 5", "Table 5 of the second edition"):
        assert place in line
    assert line.count("inconclusive") == 1
    assert "ours is −2.7 % from print" in line


def test_tables_rows_come_first_and_alternatives_last(roots: Roots, measure: Measure) -> None:
    for name in ("alternatives/A-dot", "guidance/w1.0", "edition2/G", "table1/E"):
        measure(name, "paper", 20.0)
    rows = (build("paper", roots).folder / "index.md").read_text(encoding="utf-8").partition("## What was measured")[2]
    order = ("table1/E", "edition2/G", "guidance/w1.0", "alternatives/A-dot")
    places = [rows.index(f"[{name}: ".replace("_", "\\_")) for name in order]
    assert places == sorted(places)


def test_a_row_of_ones_own_that_is_one_of_the_papers_leaves_it_in_its_place(
    roots: Roots, measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "jobs" / "aaa.toml", '[row.same]\nextends = "table1/E"\n')
    for name in ("table1/R1", "table1/E"):
        measure(name, "paper", 20.0)
    entries = [entry.job.name for entry in gather("paper", roots).measured]
    assert entries == ["table1/R1", "table1/E"]


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


def test_small_values_keep_their_digits(roots: Roots, measure: Measure) -> None:
    path = measure("guidance/w1.3", "smoke", 181.0)
    record = store.read(path)
    small = Metric(value=0.00123, low=0.00101, high=0.00148, interval="made up")
    store.write(
        seal(msgspec.structs.replace(record, metrics={**record.metrics, "recall-efficientnet-lite0": small})), path
    )
    shown = (build("smoke", roots).folder / "rows" / "guidance-w1.3.html").read_text(encoding="utf-8")
    assert '<td class="number">0.00123</td>' in shown
    assert "0.00123 [0.00101, 0.00148]" in shown
    assert ">181.000<" in shown


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


def test_images_of_others_have_a_page_at_the_scale_of_their_size(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another they are refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    described = External(name="theirs.zip", digest="ab" * 32, images=100)
    (tmp_path / "jobs" / "them.toml").write_text(job_file("them", "table1/E", described), encoding="utf-8")
    found = {
        scale: {job.name for entry in gather(scale, roots).entries for job in entry.jobs}
        for scale in ("paper", "smoke")
    }
    assert "them" in found["paper"]
    assert found["paper"] - found["smoke"] == {"them"}


def test_rows_with_sentences_stand_as_blocks_on_a_phone(made: Path) -> None:
    """Such a table keeps its roles, and each cell knows its heading."""
    page = (made / "errata.html").read_text(encoding="utf-8")
    assert '<table class="prose" role="table">' in page
    assert 'role="cell" data-head="why"' in page
    assert "prose" not in (made / "tables.html").read_text(encoding="utf-8")
    assert not Grid("c", ("a", "b"), ((words("x"), words("y" * SENTENCE)),), (True, True)).prose
    assert Grid("c", ("a", "b"), ((words("x"), words("y" * SENTENCE, "z")),), (True, True)).prose


def test_two_reports_of_one_workplace_are_equal(roots: Roots, measure: Measure, tmp_path: Path) -> None:
    measure("table1/E", "smoke", 181.0)
    one, two = (build("smoke", roots, tmp_path / name).folder for name in ("one", "two"))
    for path in sorted(one.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name
