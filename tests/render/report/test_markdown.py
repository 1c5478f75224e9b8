"""A page's markdown, which says what its HTML says."""

from __future__ import annotations

import re
from pathlib import Path


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
    for part in ("181.250", "183.500", "hdit-repro submit table1 --rows E --scale smoke --wait --seeds 3"):
        assert part in text
