"""The report in a real browser: nothing in its console, nothing fetched, the right width on a phone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from hdit_repro.files import write_text
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Metric, seal
from hdit_repro.render.report import build
from hdit_repro.spec.evaluation import MetricKind, metric_names

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
PROBE = """<!DOCTYPE html><html><body><p id="said">waiting</p><script>
const frame = document.createElement("iframe");
frame.style.width = "360px"; frame.style.height = "800px";
frame.onload = () => {
  const inside = frame.contentDocument.documentElement;
  document.getElementById("said").textContent = `wide ${inside.scrollWidth} of ${inside.clientWidth}`;
};
frame.src = "FIRST"; document.body.append(frame);
</script></body></html>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a new profile that has no way out."""
    line = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", *flags]
    return subprocess.run([*line, page.as_uri()], capture_output=True, encoding="utf-8", timeout=120, check=True)


def complaints(said: str) -> list[str]:
    """Lines of the page's console, and what could not be loaded."""
    return [line for line in said.splitlines() if "CONSOLE" in line or "ERR_" in line]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, measurer: Callable[..., Callable[..., Path]], remains: Callable[..., None]
) -> Path:
    place = tmp_path_factory.mktemp("browsed")
    roots = Roots(place / "runs", place / "results")
    measure = measurer(roots)
    for seed in range(2):
        measure("table1/E", "smoke", 180.0 + seed, seed=seed, floor=22.0)
        remains(roots, "table1/E", "smoke", seed)
    for name in ("alternatives/imagenet256-warmup-23", "alternatives/imagenet256-sigma-1000"):
        measure(name, "smoke", 190.0)
        remains(roots, name, "smoke")
    return build("smoke", roots).folder


def test_pages_open_without_a_word_in_the_console(folder: Path, tmp_path: Path) -> None:
    for name in ("index", "tables", "rows/table1-E"):
        done = browse(folder / f"{name}.html", tmp_path / f"profile-{name.replace('/', '-')}", "--dump-dom")
        assert complaints(done.stderr) == [], name
        assert "<h1>" in done.stdout


def test_a_word_in_the_console_would_be_noticed(folder: Path, tmp_path: Path) -> None:
    page = folder / "spoilt.html"
    page.write_text(
        (folder / "index.html").read_text(encoding="utf-8").replace("</main>", "<script>nothing();</script></main>"),
        encoding="utf-8",
    )
    assert complaints(browse(page, tmp_path / "profile", "--dump-dom").stderr)


@pytest.mark.parametrize("name", ["index", "tables", "samples", "rows/table1-E"])
def test_a_phone_scrolls_tables_and_not_the_page(folder: Path, tmp_path: Path, name: str) -> None:
    probe = folder / "probe.html"
    probe.write_text(PROBE.replace("FIRST", f"{name}.html"), encoding="utf-8")
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom")
    done = browse(probe, tmp_path / "profile", *flags)
    said = done.stdout.partition('<p id="said">')[2].partition("</p>")[0].split()
    assert said[0] == "wide", done.stdout[:400]
    assert int(said[1]) <= int(said[3])


def test_print_and_screen(folder: Path, tmp_path: Path) -> None:
    """A PDF of some pages, and a picture that is not one colour."""
    sheet, shot = tmp_path / "report.pdf", tmp_path / "report.png"
    browse(folder / "tables.html", tmp_path / "one", f"--print-to-pdf={sheet}")
    assert sheet.read_bytes().startswith(b"%PDF")
    browse(folder / "index.html", tmp_path / "two", "--window-size=900,900", f"--screenshot={shot}")
    with Image.open(shot) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


MEASURE = """<p id="said"></p><script>
const sheet = [...document.styleSheets[0].cssRules];
sheet.filter(rule => rule.media && rule.media.mediaText === "print").forEach(rule => { rule.media.mediaText = "all"; });
document.querySelectorAll("table").forEach(table => { table.style.width = "min-content"; });
document.getElementById("said").textContent =
  [...document.querySelectorAll("table")].map(table => table.offsetWidth).join(" ");
</script></body>"""
PAPER = (210 - 2 * 14) / 25.4 * 96 * 4 / 3
"""CSS pixels beside each other on A4 within the margins, where the browser makes a page a quarter smaller at most."""


KINDS: tuple[MetricKind, ...] = (
    "frechet", "spatial-frechet", "frechet-infinity", "inception-score", "kernel", "precision-recall",
)  # fmt: skip


def test_paper_holds_every_column(
    roots: Roots, measure: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the widest tables of print and of the project's own, and of a row with many metrics."""
    monkeypatch.chdir(tmp_path)
    mine = f'[row.many]\nextends = "table1/E"\nevaluation = {{ metrics = {json.dumps(KINDS)} }}\n'
    write_text(tmp_path / "jobs" / "mine.toml", mine)
    for seed in range(2):
        for name in ("table1/R1", "table1/E", "imagenet256", "scaling/p4-m", "alternatives/ffhq1024-flip", "ffhq1024"):
            measure(name, "paper", 123.45 + seed, seed=seed, score=150.0 + seed)
    path = measure("mine/many", "paper", 50.0)
    names = [name for kind in KINDS for name in metric_names(kind, "inception-2015")]
    metrics = {name: Metric(value=1.0, low=0.122, high=1.124, interval="made up") for name in names}
    store.write(seal(msgspec.structs.replace(store.read(path), metrics=metrics)), path)
    folder = build("paper", roots).folder
    style = (folder / "style.css").read_text(encoding="utf-8")
    for name, root in (("tables", ""), ("rows/mine-many", "../")):
        page = folder / f"{name}.html"
        text = page.read_text(encoding="utf-8")
        link = f'<link rel="stylesheet" href="{root}style.css">'
        assert link in text
        page.write_text(text.replace(link, f"<style>{style}</style>").replace("</body>", MEASURE), encoding="utf-8")
        done = browse(page, tmp_path / page.stem, "--virtual-time-budget=4000", "--dump-dom")
        widths = [int(width) for width in done.stdout.partition('<p id="said">')[2].partition("</p>")[0].split()]
        assert len(widths) == text.count("<table")
        assert max(widths) <= PAPER, name
        assert ('class="wide many"' in text) == (name != "tables"), "where few columns are, a number stays in a line"
