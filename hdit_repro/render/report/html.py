"""Pages as HTML that opens from disk: no script, no network, one style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hdit_repro.render.report.blocks import Page

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"
"""The style sheet's name, here and in the report."""


def render(page: Page, navigation: Sequence[Page], subtitle: str, *, markdown: bool = True) -> str:
    """A page with links to the others.

    Args:
        navigation: the pages that every page links to.
        subtitle: of the whole report; says its scale.
        markdown: whether the page is there as markdown too.
    """
    depth = page.path.count("/")
    return _template().render(
        page=page,
        navigation=navigation,
        subtitle=subtitle,
        root="../" * depth,
        style=STYLE,
        markdown=markdown,
        blocks=[(type(block).__name__, block) for block in page.blocks],
    )


def style() -> str:
    """The style sheet."""
    return (TEMPLATES / STYLE).read_text(encoding="utf-8")


def tied(text: str) -> str:
    """A text whose numbers stay in one line with their percent sign."""
    return text.replace(" %", "\u00a0%")


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    surroundings = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    surroundings.filters["tied"] = tied
    return surroundings.get_template("page.html.j2")
