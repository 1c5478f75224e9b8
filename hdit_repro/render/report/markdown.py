"""Pages as markdown, with links among themselves."""

from __future__ import annotations

import os
import re

from tabulate import tabulate

from hdit_repro.render.formats import plain
from hdit_repro.render.report.blocks import (
    Block,
    Code,
    Drawing,
    Gallery,
    Grid,
    Group,
    Heading,
    Items,
    Page,
    Paragraph,
    Picture,
    Span,
    Tile,
    Tiles,
    Words,
    words,
)


def render(page: Page, subtitle: str) -> str:
    """A page, its links to other pages turned to their markdown; the subtitle is that of the whole report."""
    parts = [
        f"# {plain(page.title)}",
        f"hdit-repro · {plain(subtitle)}",
        *(_block(block, page.path) for block in page.blocks),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block, path: str) -> str:
    match block:
        case Heading(level, text, anchor):
            return (
                f"{f'<a id={chr(34)}{anchor}{chr(34)}></a>' if anchor else ''}\n\n{'#' * level} {plain(text)}".strip()
            )
        case Paragraph(parts):
            return _words(parts, path)
        case Items(items):
            return "\n".join(f"- {_words(item, path)}" for item in items)
        case Tiles(tiles):
            return "\n".join(f"- {_tile(tile, path)}" for tile in tiles)
        case Grid():
            return _grid(block, path)
        case Picture():
            return _picture(block, path)
        case Gallery(pictures):
            return "\n\n".join(_picture(picture, path) for picture in pictures)
        case Drawing(file, _, alt, caption):
            return _picture(Picture(file, alt, caption), path)
        case Code(text):
            return f"```\n{text}\n```"


def _tile(tile: Tile, path: str) -> str:
    shown = f"**{plain(tile.number)} {plain(tile.label)}**"
    return f"{f'[{shown}]({_href(tile.href, path)})' if tile.href else shown}: {_words(words(tile.text), path)}"


def _grid(block: Grid, path: str) -> str:
    body = []
    for number, row in enumerate(block.rows):
        if isinstance(row, Group):
            body.append([f"**{plain(row.text)}**", *[""] * (len(block.heads) - 1)])
            continue
        cells = [_words(cell, path) for cell in row]
        if block.anchors and block.anchors[number]:
            cells[0] = f'<a id="{block.anchors[number]}"></a>{cells[0]}'
        body.append(cells)
    table = tabulate(
        body,
        headers=[plain(head) for head in _heads(block)],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if left else "right" for left in block.left] if body else None,
    )
    return f"{plain(block.caption)}:\n\n{table}" if block.caption and not block.titled else table


def _heads(block: Grid) -> list[str]:
    """Both lines of headings in one."""
    uppers = block.uppers or ("",) * len(block.heads)
    return [f"{upper}: {head}" if upper else head for upper, head in zip(uppers, block.heads, strict=True)]


def _picture(picture: Picture, path: str) -> str:
    image = f"![{plain(picture.alt)}]({_href(picture.path, path)})"
    return f"{image}\n\n{plain(picture.caption)}" if picture.caption else image


def _words(parts: Words, path: str) -> str:
    return "".join(_span(span, path) for span in parts)


def _span(span: Span, path: str) -> str:
    shown = f"`{span.text}`".replace("|", r"\|") if span.code else _kept(span.text)
    if span.tone and span.tone != "quiet":
        shown = f"**{shown}**"
    return f"[{shown}]({_href(span.href, path)})" if span.href else shown


def _kept(text: str) -> str:
    """Escaped, with the spaces at both ends that join it to its neighbours."""
    ends = re.fullmatch(r"(\s*)(.*?)(\s*)", text, re.DOTALL)
    assert ends is not None
    return f"{' ' if ends[1] else ''}{plain(ends[2])}{' ' if ends[3] else ''}"


def _href(href: str, path: str) -> str:
    """A link from a page at `path`; to markdown where it goes to another page."""
    if href.startswith("#") or "://" in href:
        return href
    relative = os.path.relpath(href.partition("#")[0], os.path.dirname(path) or ".")  # noqa: PTH120
    anchor = href.partition("#")[2]
    return re.sub(r"\.html$", ".md", relative) + (f"#{anchor}" if anchor else "")
