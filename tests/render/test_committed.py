"""The committed tables and figures are those that the command makes from the committed records."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hdit_repro.errors import UserError
from hdit_repro.records.layout import Roots
from hdit_repro.records.provenance import git
from hdit_repro.render.everything import render

CHECKOUT = Path(__file__).parents[2]
COMMAND = "hdit-repro render-tables"


def tracked(folder: str) -> set[str]:
    """Names of git's files in a folder of the checkout, that folder's own only."""
    try:
        done = git(CHECKOUT, "ls-files", "--", folder)
    except OSError:
        pytest.skip("git is not installed")
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [Path(line) for line in done.stdout.decode().splitlines()]
    return {path.name for path in paths if path.parent == Path(folder)}


def same(path: Path, committed: Path) -> bool:
    """Equal bytes; of a PNG equal pixels, since compressed bytes differ between builds of zlib."""
    if not committed.is_file():
        return False
    if path.suffix != ".png":
        return path.read_bytes() == committed.read_bytes()
    with Image.open(path) as ours, Image.open(committed) as theirs:
        return ours.size == theirs.size and ours.tobytes() == theirs.tobytes()


def test_rendering_changes_nothing(tmp_path: Path) -> None:
    written = [item.path for item in render("paper", Roots(CHECKOUT / "runs", CHECKOUT / "results"), tmp_path)]
    stale = [path.name for path in written if not same(path, CHECKOUT / "tables" / path.name)]
    assert not stale, f"out of date in tables/: {', '.join(stale)}; `{COMMAND}` mends it"
    left = tracked("tables") - {path.name for path in written} - {"README.md"}
    assert not left, f"nothing makes these files of tables/ any more: {', '.join(sorted(left))}"


def test_the_readmes_blocks_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command would fill them, in a copy of the workplace."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    if "<!-- begin: " not in text:
        pytest.skip("this README has no marked blocks")
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr("hdit_repro.render.everything.made_at", lambda scale: [])
    (tmp_path / "results").symlink_to(CHECKOUT / "results")
    render("paper", Roots(tmp_path / "runs", tmp_path / "results"))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text, f"`{COMMAND}` mends the README's blocks"


def test_every_file_is_named_in_the_folders_readme() -> None:
    text = (CHECKOUT / "tables" / "README.md").read_text(encoding="utf-8")
    assert COMMAND in text
    for stem in {Path(name).stem for name in tracked("tables")} - {"README"}:
        assert f"`{stem}`" in text, stem


def test_a_figure_below_paper_scale_is_refused(roots: Roots) -> None:
    with pytest.raises(UserError, match="figure9 is not made at smoke scale"):
        render("smoke", roots, names=["figure9"])
    with pytest.raises(UserError, match="did you mean 'figure9'"):
        render("paper", roots, names=["figur9"])
    assert not list(roots.results.parent.rglob("*.*"))


def test_tables_and_figures_by_name(roots: Roots, tmp_path: Path) -> None:
    written = render("paper", roots, tmp_path / "out", ["table2", "figure8"])
    assert [(item.kind, item.path.name) for item in written] == [
        *(("table", f"table2.{kind}") for kind in ("md", "tex", "csv")),
        *(("figure", f"figure8.{kind}") for kind in ("svg", "png", "pdf")),
    ]
