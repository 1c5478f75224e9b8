"""Real photographs, from the folder to a trained network. Debian's packages of wallpapers hold some."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.data.places import describe
from hdit_repro.data.store import ZipStore
from hdit_repro.files import read_json, sha256_file

pytestmark = pytest.mark.long

PACKAGES = {
    "mate-backgrounds": "backgrounds/mate/nature/*.jpg",
    "plasma-workspace-wallpapers": "wallpapers/*/contents/images/*",
}
"""Debian's packages, and where under /usr/share their pictures lie."""


def pictures(package: str) -> list[Path]:
    return sorted(Path("/usr/share").glob(PACKAGES[package]))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the pictures, a class a package."""
    if missing := [name for name in PACKAGES if not pictures(name)]:
        pytest.skip(f"not installed: {', '.join(missing)} (CI_LONG=1 .ci/run installs them)")
    target = tmp_path_factory.mktemp("wallpapers") / "photographs"
    for name in PACKAGES:
        (target / name).mkdir(parents=True)
        for number, path in enumerate(pictures(name)):
            shutil.copy(path, target / name / f"{number:03d}{path.suffix}")
    return target


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    monkeypatch.chdir(tmp_path)
    return lambda line: main(line.split())


@pytest.mark.parametrize("side", [64, 256])
def test_photographs_are_prepared_and_trained_on(
    side: int, photographs: Path, command: Callable[[str], int], tmp_path: Path
) -> None:
    archive = tmp_path / f"photographs-{side}.zip"
    assert command(f"data prepare {photographs} {archive.name} --resolution {side} --transform adm") == 0
    card = read_json(archive.with_suffix(".card.json"))
    files = [path for path in photographs.rglob("*") if path.is_file()]
    assert card["images"] + len(card["refused"]) == len(files) >= 20
    assert card["classes"] == 2
    assert card["sha256"] == sha256_file(archive)
    store = ZipStore(archive)
    assert {store.image(index).size for index in range(len(store))} == {(side, side)}
    assert all(len(set(store.image(index).resize((8, 8)).get_flattened_data())) > 8 for index in range(len(store)))
    assert command(f"data verify {archive.name} --full") == 0
    assert command(f"data info {archive.name} --sheet sheet.png") == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.width == 8 * min(side, 128)
    assert command(f"train --run table1/E --scale smoke --data {archive.name} --device cpu --threads 1") == 0
    run = jobs.find("table1/E", "smoke", dataset=describe(archive)).run
    folder = tmp_path / "runs" / run.id
    summary = read_json(folder / "checkpoints" / "final.json")["summary"]
    assert summary["loss_end"] < summary["loss_constant"]
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
