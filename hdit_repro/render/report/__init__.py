"""A report that one looks at: static pages that open from disk, and the same content as markdown. No torch."""

from hdit_repro.render.report.write import build as build

__all__ = ["build"]
