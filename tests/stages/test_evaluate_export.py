"""A run's samples streamed, as a zip and as an .npz: the same images, the same metrics, to the last bit."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.data.store import open_store
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.metrics.extractors import extractor_by_name
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.data import Folder
from hdit_repro.spec.evaluation import metric_names
from hdit_repro.spec.run import Run
from hdit_repro.stages.compare import gather
from hdit_repro.stages.export import SampleSet, export, holds
from hdit_repro.stages.imagesets import open_images
from hdit_repro.stages.protocols import by_protocol
from hdit_repro.stages.settings import Settings
from hdit_repro.stages.shards import sample_command, whole_shards, write_shard

COUNT = 11


def silent(*_):
    pass


def tensors(numbers, side, images=True):
    """Made-up samples: what is in each depends on its number alone."""
    made = [torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(n)) for n in numbers]
    found = {
        "number": torch.tensor(list(numbers)),
        "label": torch.tensor([n % 9 for n in numbers]),
        "features.made-up.features": torch.zeros(len(numbers), 2),
    }
    return found | ({"image": torch.stack(made).to(torch.uint8)} if images else {})


def made_job():
    """Row E at smoke scale with few samples and a small reference."""
    found = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(found.run)
    tree["sampling"]["count"] = COUNT
    tree["evaluation"]["reference"]["count"] = 12
    return msgspec.structs.replace(found, run=msgspec.convert(tree, Run))


@pytest.fixture(scope="module")
def job():
    return made_job()


def folder_with(job, path, cuts, images=True):
    """A run's folder whose shards end at `cuts`, written out of order."""
    folder = RunFolder(Roots(path / "runs", path / "results"), job.run, job.scale)
    ranges = [range(start, stop) for start, stop in zip([0, *cuts], [*cuts, COUNT], strict=True)]
    for numbers in reversed(ranges):
        write_shard(folder, numbers, tensors(numbers, job.run.data.resolution, images))
    return folder


def test_streamed_zip_and_npz(job, tmp_path):
    extractor = extractor_by_name("efficientnet-lite0")
    folder = folder_with(job, tmp_path / "one", [4, 5])
    samples = SampleSet(folder, job.name, "")
    wanted = gather(samples, extractor, 4, silent)
    assert len(wanted["features"]) == COUNT
    for place in (export(samples, tmp_path / "a.npz", 3), export(samples, tmp_path / "a.zip", 5)):
        for batch in (2, 64):
            found = gather(open_images(place), extractor, batch, silent)
            assert all(torch.equal(found[name], wanted[name]) for name in wanted), (place, batch)
    other = SampleSet(folder_with(job, tmp_path / "seven", [1, 3, 4, 7, 8, 10]), job.name, "")
    again = gather(other, extractor, 4, silent)
    assert all(torch.equal(again[name], wanted[name]) for name in wanted)  # other shards, same bits
    before = {path.suffix: path.read_bytes() for path in tmp_path.glob("a.*")}
    for suffix in (".npz", ".zip"):
        assert export(other, tmp_path / f"b{suffix}").read_bytes()[:200] == before[suffix][:200]
    assert (tmp_path / "b.zip").read_bytes() == before[".zip"]


def test_labels_and_names(job, tmp_path):
    samples = SampleSet(folder_with(job, tmp_path, [6]), job.name, "")
    store = open_store(export(samples, tmp_path / "a.zip"))
    assert store.names[0] == "00000/img00000000.png"
    assert store.labels.tolist() == [n % 9 for n in range(COUNT)]
    with np.load(export(samples, tmp_path / "a.npz")) as file:
        assert file["arr_0"].shape == (COUNT, *samples.size, 3)
    for path in ("a.tar", "a"):
        with pytest.raises(UserError, match="two formats"):
            export(samples, tmp_path / path)


@pytest.mark.parametrize("suffix", [".npz", ".zip"])
def test_a_file_is_told_from_what_would_be_written(job, tmp_path, suffix):
    folder = folder_with(job, tmp_path, [6])
    samples = SampleSet(folder, job.name, "")
    place = export(samples, tmp_path / f"a{suffix}", 3)
    assert holds(place, samples, 4)
    whole = place.read_bytes()
    place.write_bytes(whole[:-100])
    assert not holds(place, samples), "cut off"
    place.write_text("precious")
    assert not holds(place, samples)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(place, "w") as more:
        for name in archive.namelist():
            more.writestr(name, archive.read(name))
        more.writestr("mine.npy", b"precious")
    assert not holds(place, samples), "with something besides"
    drawn = tensors(range(COUNT), job.run.data.resolution)
    for name in ("image", "label"):
        other = RunFolder(Roots(tmp_path / name, tmp_path), job.run, job.scale)
        write_shard(other, range(COUNT), {**drawn, name: 1 - drawn[name] if name == "label" else drawn[name] // 2})
        place.write_bytes(whole)
        same = name == "label" and suffix == ".npz"  # which has none
        assert holds(place, SampleSet(other, job.name, "")) == same, f"another {name}"


def test_the_command_replaces_what_it_wrote_and_nothing_else(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "find", lambda *_, **__: job)
    monkeypatch.setattr("hdit_repro.launch.clusters.workplace", lambda: Roots(tmp_path / "runs", tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    folder_with(job, tmp_path, [6])
    (tmp_path / "p.npz").write_text("precious")
    line = ["export", "--run", "table1/E", "--scale", "smoke"]
    assert main([*line, "p.npz"]) == 2
    assert "p.npz, which holds something else" in capsys.readouterr().err
    assert (tmp_path / "p.npz").read_text() == "precious"
    for _ in range(2):
        assert main([*line, "q.npz"]) == 0


def test_what_is_not_there_is_said(job, tmp_path):
    with pytest.raises(RunError, match="not kept") as caught:
        SampleSet(folder_with(job, tmp_path / "bare", [3], images=False), job.name, "hdit-repro sample")
    assert "--keep-images zip" in str(caught.value)
    folder = folder_with(job, tmp_path / "gone", [3])
    (folder.samples / whole_shards(folder)[0][0].file).unlink()
    with pytest.raises(RunError, match="3 samples missing"):
        SampleSet(folder, job.name, "")


def test_the_command_that_brings_samples_names_images_of_ones_own():
    mine = Folder(name="mine", digest="ab" * 32, images=20, classes=2)
    drawn = "hdit-repro sample --run table1/E --scale smoke"
    job = jobs.find("table1/E", "smoke", dataset=mine)
    assert sample_command(job) == f"{drawn} --data PATH"
    assert sample_command(msgspec.structs.replace(job, sources={})) == drawn, "its file declares them"
    assert sample_command(jobs.find("table1/E", "smoke")) == drawn


def test_protocols_side_by_side(job, tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    folder = folder_with(job, tmp_path, [4])
    kinds = ("frechet", "kernel", "inception-score")
    names = ["inception-2015", "inception-clean", "efficientnet-lite0"]
    rows = by_protocol(job, folder, Settings(device="cpu", batch=4), names, kinds, silent)
    said = {row.metric: row for row in rows}
    assert set(said) == {name for p in names for kind in kinds for name in metric_names(kind, p)}
    assert said["fd-efficientnet-lite0"].value.value > 0
    assert said["fd-efficientnet-lite0"].note == "11 samples against emoji, 12 images"
    (few,) = by_protocol(job, folder, Settings(device="cpu", batch=4), names[-1:], ("frechet-infinity",), silent)
    assert (few.value, few.note) == (None, "a curve needs 20 samples or more, found 11")
    for name in ("fid", "fid-clean", "inception-score"):
        assert said[name].value is None
        assert "weights add" in said[name].note


def test_jobs_that_drew_the_same_samples_leave_each_of_them_once(job, tmp_path):
    """A whole stage and elements of an array hold locks of their own, and may work side by side."""
    folder, side = folder_with(job, tmp_path, [2, 4]), job.run.data.resolution
    before = folder.manifest.read_bytes()
    assert [shard.numbers for shard in whole_shards(folder)[0]] == [range(2), range(2, 4), range(4, COUNT)]
    write_shard(folder, range(1, 5), tensors(range(1, 5), side))
    assert folder.manifest.read_bytes() == before
    (folder.samples / whole_shards(folder)[0][1].file).unlink()
    whole_shards(folder)
    write_shard(folder, range(1, 5), tensors(range(1, 5), side))
    assert folder.manifest.read_bytes() == before
    assert [shard.images for shard in whole_shards(folder)[0]] == [True] * 3


def test_a_manifest_with_samples_listed_twice_is_mended(job, tmp_path):
    folder = folder_with(job, tmp_path, [4])
    manifest = read_json(folder.manifest)
    again = RunFolder(Roots(tmp_path / "again", tmp_path / "results"), job.run, job.scale)
    write_shard(again, range(2, 6), tensors(range(2, 6), job.run.data.resolution))
    for shard in read_json(again.manifest)["shards"]:
        manifest["shards"].insert(1, shard)
        (again.samples / shard["file"]).rename(folder.samples / shard["file"])
    write_json(folder.manifest, manifest)
    assert [shard.numbers for shard in whole_shards(folder)[0]] == [range(4), range(4, COUNT)]
    assert len(read_json(folder.manifest)["shards"]) == 2
    assert folder.done("sample")


WRITER = """
    import importlib.util
    import sys
    spec = importlib.util.spec_from_file_location("made", {file!r})
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    from pathlib import Path
    from hdit_repro.stages.shards import missing_numbers, whole_shards, write_shard
    job = made.made_job()
    folder = made.RunFolder(made.Roots(Path({root!r}) / "runs", Path({root!r}) / "results"), job.run, job.scale)
    shards, _ = whole_shards(folder)
    for number in missing_numbers(shards, range(made.COUNT)):
        print(number, flush=True)
        if number == made.COUNT - 1:
            sys.stdin.read()  # the last is not begun before the killer has had its turn, however busy the machine
        write_shard(folder, range(number, number + 1), made.tensors(range(number, number + 1), job.run.data.resolution))
"""


@pytest.mark.parametrize("after", [1, 4])
def test_killed_while_writing_and_run_again(job, tmp_path, after):
    """SIGKILL between and within writes: the second run makes what is missing, and the manifest is the same."""
    code = textwrap.dedent(WRITER).format(file=__file__, root=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(after):
        process.stdout.readline()
    time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    assert not folder.done("sample")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert folder.done("sample")
    found = read_json(folder.manifest)
    clean = folder_with(job, tmp_path / "clean", list(range(1, COUNT)))
    wanted = read_json(clean.manifest)
    assert json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)
