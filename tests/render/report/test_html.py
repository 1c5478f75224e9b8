"""HTML pages: linked within their folder, with an outline that is heard, and readable on a phone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from hdit_repro.render.report.blocks import SENTENCE, Grid, words


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


def test_every_page_says_its_scale_in_its_title_too(made: Path) -> None:
    for page in made.rglob("*.html"):
        title = page.read_text().partition("<title>")[2].partition("</title>")[0]
        assert title.endswith("· smoke scale · hdit-repro"), page
        assert page.with_suffix(".md").read_text().split("\n\n")[1] == "hdit-repro · smoke scale", page


def test_rows_with_sentences_stand_as_blocks_on_a_phone(made: Path) -> None:
    """Such a table keeps its roles, and each cell knows its heading."""
    page = (made / "errata.html").read_text(encoding="utf-8")
    assert '<table class="prose" role="table">' in page
    assert 'role="cell" data-head="why"' in page
    assert "prose" not in (made / "tables.html").read_text(encoding="utf-8")
    assert not Grid("c", ("a", "b"), ((words("x"), words("y" * SENTENCE)),), (True, True)).prose
    assert Grid("c", ("a", "b"), ((words("x"), words("y" * SENTENCE, "z")),), (True, True)).prose
