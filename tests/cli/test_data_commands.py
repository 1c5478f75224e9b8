"""`data prepare`, `verify`, `info`, and `--data`: what they say, and their exit codes."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.data.notes import CLEAR, MOVING, ORIENTED, PROFILED
from hdit_repro.data.places import describe, remember
from hdit_repro.data.sources import SOURCES
from hdit_repro.errors import UserError
from hdit_repro.files import sha256_file
from hdit_repro.metrics import weights
from hdit_repro.spec.data import DATASETS, Folder
from hdit_repro.spec.run import Run

Command = Callable[..., Any]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for number in range(9):
        folder = tmp_path / "photographs" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    return tmp_path / "photographs"


def test_a_path_may_be_the_folder_that_one_is_in(
    command: Command, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photographs)
    assert "class0, class1, class2" in command("data info .").out
    assert command("data verify .").code == 0
    for line in ("export . --run table1/E", "export-weights . --run table1/E --to safetensors"):
        said = command(line)
        assert (said.code, "name it" in said.err) == (2, True)


@pytest.mark.parametrize(
    "line",
    [
        "data info pipe.zip",
        "data verify pipe.tar",
        "data prepare pipe set.zip --resolution 32",
        "plan table1 --scale smoke --data pipe.zip",
        "fid pipe pipe",
        "fid pipe.npz pipe.npz",
        "import --from images --name theirs pipe.zip",
    ],
)
def test_a_pipe_is_no_archive_and_is_not_waited_for(command: Command, tmp_path: Path, line: str) -> None:
    """As the shell's `<(...)` is one. It is held open here, since opening it waited for somebody who writes."""
    pipe = tmp_path / next(word for word in line.split() if word.startswith("pipe"))
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        said = command(line)
    finally:
        os.close(held)
    assert (said.code, f"found     {pipe.name}: a pipe" in said.err) == (2, True), said.err
    assert "to a file" in said.err.partition("fix")[2]


def test_an_archive_of_a_name_that_is_no_utf8_is_refused_before_it_is_made(command: Command, photographs: Path) -> None:
    """Its card ended in a traceback behind the last image."""
    said = command("data prepare photographs --resolution 32", Path(os.fsdecode(b"\xe9.zip")))
    assert (said.code, "found     \\xe9.zip" in said.err) == (2, True), said.err
    assert not list(photographs.parent.glob("*.card.json"))


def test_a_file_name_cannot_write_to_the_terminal(command: Command, photographs: Path) -> None:
    (photographs / "class1" / "\x1b[31mred\nx.png").write_bytes(b"broken")
    said = command("data prepare photographs set.zip --resolution 32")
    assert "\nrefused: class1/\\x1b[31mred\\nx.png: " in said.err
    shown = command("data verify photographs")
    assert "  class1/\\x1b[31mred\\nx.png  " in shown.out
    json_ = command("data verify photographs --json")
    assert "class1/\x1b[31mred\nx.png" in {finding["where"] for finding in json_.json["findings"]}
    assert "\x1b" not in said.err + shown.out + shown.err


@pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="files have no such names here")
def test_nor_can_one_beside_the_classes(command: Command, photographs: Path) -> None:
    (photographs / "\x9b31m.png").write_bytes(b"broken")
    said = command("data verify photographs")
    assert (said.code, "found     \\x9b31m.png in photographs\n" in said.err) == (2, True)
    assert "\x9b" not in said.err


def test_a_log_has_no_bar_even_where_colours_are_forced(
    command: Command, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a service that runs tests; a bar there would be a page of control characters."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = command("data prepare photographs set.zip --resolution 32")
    assert said.code == 0
    assert "\x1b" not in said.err


def test_prepare_verify_and_info(command: Command, photographs: Path, tmp_path: Path) -> None:
    (photographs / "class1" / "broken.png").write_bytes(b"broken")
    said = command("data prepare photographs set.zip --resolution 32 --transform adm --workers 2")
    assert (said.code, said.out) == (0, "set.zip\n")
    assert "9 images at 32 x 32, 3 classes" in said.err
    assert "refused: class1/broken.png" in said.err
    card = json.loads((tmp_path / "set.card.json").read_text(encoding="utf-8"))
    assert card["sha256"] == sha256_file(tmp_path / "set.zip")
    verified = command("data verify set.zip --full --json")
    assert verified.code == 0
    assert verified.json == {"images": 9, "looked_at": 9, "fit": True, "findings": []}
    info = command("data info set.zip --sheet sheet.png --json").json
    assert (info["images"], info["classes"], info["resolution"], info["transform"]) == (9, 3, 32, "adm")
    assert info["digest"] == card["sha256"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 32, 2 * 32)
    unfit = command("data verify photographs")
    assert unfit.code == 1
    assert "class1/broken.png" in unfit.out
    assert command("data prepare photographs set.zip --resolution 32").code == 2
    assert "class0, class1, class2" in command("data info photographs").out


@pytest.mark.parametrize(
    "line",
    [
        "data prepare nowhere out.zip --resolution 8",
        "data prepare photographs out.zip --resolution 0",
        "data prepare photographs out.zip --resolution 9999",
        "data prepare photographs out.zip --resolution 8 --workers -1",
        "data prepare photographs out.zip --resolution 8 --transform bilinear",
        "data prepare photographs out.zip --resolution 8 --dataset imagenet",
        "data prepare photographs out.zip --resolution 8 --dataset ffhq --upright",
        "data prepare photographs out.tar --resolution 8",
        "data verify nowhere.zip",
        "data info nowhere",
        "plan table1 --scale smoke --data nowhere",
    ],
)
def test_wrong_requests_write_nothing(line: str, command: Command, photographs: Path, tmp_path: Path) -> None:
    said = command(line)
    assert said.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png"])
def test_archives_that_climb_out_are_refused(name: str, command: Command, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(name, b"x")
    for line in ("data prepare bad.zip out.zip --resolution 8", "data verify bad.zip", "data info bad.zip"):
        assert command(line).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_own_data_makes_another_run_by_what_it_holds(command: Command, photographs: Path, tmp_path: Path) -> None:
    dataset = describe(photographs)
    own, usual = jobs.find("table1/E", "smoke", dataset=dataset), jobs.find("table1/E", "smoke")
    assert own.run.id != usual.run.id
    assert own.run.model.classes == 3
    assert own.run.evaluation.reference.count == 9
    assert own.label.endswith(", on photographs")
    assert own.source_of("data.dataset") == "--data"
    assert msgspec.convert(msgspec.to_builtins(own.run), Run).id == own.run.id
    photographs.rename(tmp_path / "photographs2")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photographs2").rename(tmp_path / "elsewhere" / "photographs")
    assert describe(tmp_path / "elsewhere" / "photographs") == dataset
    rows = command("plan table1 --rows E --scale smoke --data elsewhere/photographs --json").json
    assert rows[0]["key"] == f"train-{own.run.id}"
    (tmp_path / "elsewhere" / "photographs" / "class0" / "0.jpg").unlink()
    assert describe(tmp_path / "elsewhere" / "photographs").digest != dataset.digest
    big = jobs.find("table1/E", dataset=dataset).run  # at paper scale too: published statistics are of other images
    assert big.evaluation.reference.count is None
    assert isinstance(big.data.dataset, Folder)


def test_an_archive_of_fewer_pixels_than_the_runs_is_refused_by_whatever_would_begin(
    command: Command, photographs: Path
) -> None:
    assert command("data prepare photographs small.zip --resolution 8").code == 0
    for line in (
        "plan table1/E --data small.zip",
        "submit table1/E --scale smoke --data small.zip",
        "train --run table1/E --scale smoke --data small.zip",
    ):
        refused = command(line)
        assert refused.code == 2, line
        assert "8 pixels a side in small.zip" in refused.err
    resolution = jobs.find("table1/E", "smoke").run.data.resolution
    assert f"prepare the images that it was made of again, with --resolution {resolution}" in refused.err
    data = jobs.find("table1/E", "smoke", dataset=describe(Path("small.zip"))).run.data
    remember(describe(Path("small.zip")), "small.zip")
    with pytest.raises(UserError, match="would be enlarged"):
        open_dataset(data)
    assert len(open_dataset(msgspec.structs.replace(data, resolution=8))) == 9


def test_images_of_ones_own_need_no_reference_built(command: Command, photographs: Path) -> None:
    refused = command("reference build photographs --resolution 8")
    assert refused.code == 2
    assert "`hdit-repro fid SAMPLES photographs` takes them as they are" in refused.err.replace("\n", " ")


def test_a_row_trains_on_a_folder_of_ones_own(command: Command, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "short.toml").write_text(
        'experiment = "short"\ntitle = "Two steps"\n[row.short]\nextends = "table1/E"\n'
        "model = { patch = 1, widths = [16, 32], depths = [1, 1], heads = [1, 1],"
        " mapping = { depth = 1, width = 32, d_ff = 32 } }\n"
        'data = { resolution = 16, transform = "adm" }\n'
        'training = { steps = 2, batch = 4, precision = "float32" }\n',
        encoding="utf-8",
    )
    assert command("data prepare photographs set.zip --resolution 24 --transform adm").code == 0
    said = command("train --run short --data set.zip --device cpu --threads 1")
    assert said.code == 0, said.err
    run = jobs.find("short", dataset=describe("set.zip")).run
    assert (tmp_path / "runs" / run.id / "checkpoints" / "final.json").exists()
    assert command("train --run short --data set.zip --device cpu").err.strip().endswith("is done")
    late = command("train --run short --data set.zip --device cpu --snapshot 1").err
    assert "--snapshot keep nothing of a training that is over" in late


def _add(path: str) -> None:
    weights.add(path)


def test_twelve_processes_adding_the_same_weights_leave_one_whole_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "some.pth"
    source.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    known = weights.KnownWeights("some.pth", sha256_file(source), "https://example.org", "none")
    monkeypatch.setattr(weights, "KNOWN", {"some": known})
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(str(source),)) for _ in range(12)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 12
    files = [path for path in weights.folder().iterdir() if path.suffix != ".lock"]
    assert [path.name for path in files] == ["some.pth"]
    assert sha256_file(files[0]) == known.sha256


def test_each_set_of_weights_and_each_published_reference_has_a_licence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdit_repro.metrics.adm.WIDTH", 3)
    digests = []
    for name in ("VIRTUAL_imagenet128_labeled", "mine"):
        pixels = np.zeros((2, 128, 128, 3), np.uint8)
        np.savez(tmp_path / f"{name}.npz", mu=np.zeros(3), sigma=np.eye(3), arr_0=pixels)
        said = command(f"reference add {name}.npz")
        digests.append(sha256_file(tmp_path / f"{name}.npz"))
        assert said.code == 0
        assert digests[-1] in said.err
    rows = command("reference list --json").json
    found = [tuple(row.get(key) for key in ("extractor", "resolution", "digest", "images")) for row in rows]
    assert found == [("inception-2015", 128, digests[0], 2), (None, None, digests[1], 2)]
    assert [(row["kind"], row["name"], row["licence"]) for row in rows] == [
        ("published", "VIRTUAL_imagenet128_labeled", "MIT"),
        ("added", "mine", ""),
    ]
    shown = command("reference list").out
    assert "MIT" in shown
    assert digests[1][:12] in shown
    Path(rows[1]["path"]).write_bytes(b"PK")
    assert command("reference list --json").json[1]["kind"] == "damaged"
    assert all(row["licence"] for row in command("weights list --json").json)
    assert "Apache-2.0" in command("weights list").out


@pytest.mark.parametrize("sheet", ["set.zip", "sheet.txt", "sheet", "photographs/sheet.png"])
def test_a_sheet_takes_no_place_of_the_images(command: Command, photographs: Path, tmp_path: Path, sheet: str) -> None:
    command("data prepare photographs set.zip --resolution 8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = command(f"data info {'photographs' if 'photo' in sheet else 'set.zip'} --sheet {sheet}")
    assert said.code == 2
    assert "ends in .png" in said.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resolution", ["big", -5, None, 4])
def test_a_sheet_of_an_archive_that_says_anything_of_its_size(
    command: Command, tmp_path: Path, resolution: object
) -> None:
    image = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(image, "PNG")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", image.getvalue())
        archive.writestr("dataset.json", json.dumps({"labels": None, "resolution": resolution}))
    assert command("data info set.zip --sheet sheet.png").code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == (4 if resolution == 4 else 128)


def test_prepare_says_what_is_turned_and_what_moves(command: Command, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    for mode in ("RGB", "RGBA", "P"):
        Image.new(mode, (16, 16)).save(tmp_path / "set" / f"{mode}.png", exif=exif)
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for ending in ("png", "webp"):
        frames[0].save(tmp_path / "set" / f"moving.{ending}", save_all=True, append_images=frames[1:])
    linear = PngInfo()
    linear.add(b"gAMA", (100_000).to_bytes(4))
    Image.new("RGB", (16, 16), "lime").save(tmp_path / "set" / "linear.png", pnginfo=linear)
    said = command("data prepare set set.zip --resolution 8")
    assert f"3 {ORIENTED} (--upright follows it)" in said.err
    assert f"2 {MOVING}" in said.err
    assert f"1 {PROFILED.replace('files', 'file')}" in said.err
    assert json.loads((tmp_path / "set.card.json").read_text(encoding="utf-8"))["profiled"] == 1
    found = command("data verify set --json").json["findings"]
    assert {(finding["where"], finding["found"], finding["wrong"]) for finding in found} >= {
        ("P.png", f"3 {ORIENTED}", False),
        ("moving.png", f"2 {MOVING}", False),
        ("linear.png", f"1 {PROFILED.replace('files', 'file')}", False),
        ("RGBA.png", f"1 {CLEAR.replace('files', 'file')}", False),
    }
    assert command("data verify set.zip --json").json["findings"][-1]["check"] != "reading"


def test_one_of_a_thing_is_said_as_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "set" / "class").mkdir(parents=True)
    Image.new("L", (16, 16)).save(tmp_path / "set" / "class" / "0.png")
    (tmp_path / "set" / "class" / "1.png").write_bytes(b"broken")
    said = command("data prepare set set.zip --resolution 32").err
    assert "\n1 image of less than 32 pixels enlarged\n" in said
    assert said.startswith("1 image at 32 x 32, 1 class, ")
    assert "\n1 file refused, as set.card.json lists" in said
    found = command("data verify set")
    assert found.err.startswith("looked at 2 images: 1 thing wrong, 2 remarks")
    assert "1 image of one colour" in found.out
    assert "1 grey file, repeated" in found.out


def test_what_is_no_data_set_is_no_matter_of_preparing(command: Command) -> None:
    for line in ("data verify set --dataset emoji", "data verify nowhere", "data info nowhere"):
        said = command(line)
        assert said.code == 2
        assert said.err.startswith("error: there is no data set")
        assert "prepare" not in said.err


def test_a_damaged_first_image_hides_nothing_else(command: Command, photographs: Path) -> None:
    (photographs / "class0" / "0.jpg").write_bytes(b"broken")
    said = command("data info photographs --json")
    assert (said.code, said.json["images"], said.json["classes"]) == (0, 9, 3)
    assert said.json["first"].startswith("class0/0.jpg, an image is damaged or no image; hdit-repro data verify")
    assert said.json["digest"]


def test_folders_of_a_zip_are_said_to_be_no_classes(command: Command, photographs: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted(photographs.rglob("*.jpg")):
            archive.write(file, file.relative_to(tmp_path))
    told = "its folders (class0, class1, class2) are no classes"
    assert told in command("data info pets.zip").out
    assert f"pets.zip: {told}" in command("data prepare pets.zip set.zip --resolution 8").err
    assert f"pets.zip: {told}" in command("plan table1/E --scale smoke --data pets.zip").err
    remarks = command("data verify pets.zip --json").json["findings"]
    assert [finding["check"] for finding in remarks if told in finding["found"]] == ["labels"]
    for line in ("data info set.zip", "data info photographs", "plan table1/E --scale smoke --data photographs"):
        said = command(line)
        assert (said.code, "no classes" in said.out + said.err) == (0, False)


def test_help_names_every_data_set(command: Command) -> None:
    for line, names in (("data prepare", SOURCES), ("data verify", SOURCES), ("reference build", DATASETS)):
        shown = command(f"{line} --help").out
        assert [name for name in names if name not in shown] == [], line
