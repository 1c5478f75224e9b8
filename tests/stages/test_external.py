"""Images that others made, from `import` to their record; several sets of samples a network; stages from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from hdit_repro import jobs
from hdit_repro.cli.app import main
from hdit_repro.errors import UserError
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import row_name, tasks_for
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.metrics.npz import write_npz
from hdit_repro.records import store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import DRAWING, MADE_ELSEWHERE
from hdit_repro.render.report import markdown
from hdit_repro.render.report.facts import gather
from hdit_repro.render.report.row import page as row_page
from hdit_repro.stages import external
from hdit_repro.stages.imagesets import open_images
from hdit_repro.stages.settings import Settings
from hdit_repro.stages.shards import read_tensors, whole_shards

COUNT, SIDE = 24, 64

LIKE = """
experiment = "mine"
[row.small]
extends = "table1/E"
data = { dataset = { kind = "emoji" }, resolution = 64, transform = "none" }
[row.small.evaluation]
extractor = { kind = "efficientnet-lite0" }
reference = { kind = "dataset", count = 30 }
metrics = ["frechet", "precision-recall"]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A workplace with a job file that others' images can be like, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HDIT_REPRO_DATA", raising=False)
    monkeypatch.delenv("HDIT_REPRO_CLUSTER", raising=False)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.toml").write_text(LIKE)
    return tmp_path


def pictures(count=COUNT, side=SIDE):
    small = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    return (torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def folder_of(path: Path, images, jpegs=0):
    path.mkdir()
    for place, image in enumerate(images):
        ending = "jpg" if place < jpegs else "png"
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(path / f"{place:04d}.{ending}")
    return path


def records_of(here, name):
    job = jobs.find(name)
    return [store.read(path) for path in sorted((here / "results" / job.run.id).glob("*.json"))]


def test_a_dot_in_a_folders_name_is_no_ending(here, monkeypatch):
    """Two guidances in two folders are two names, under which they are also looked for."""
    described = external.describe(folder_of(here / "cfg1.5", pictures(2)))
    assert described.name == "cfg1.5"
    write_npz(here / "cfg1.5.npz", 2, [pictures(2)])
    assert external.describe(here / "cfg1.5.npz").name == "cfg1.5"
    monkeypatch.setenv("HDIT_REPRO_DATA", str(here))
    assert external.find(described).name == str(here / "cfg1.5")


@pytest.mark.parametrize("name", ["two\nlines", "mi\rne"])
def test_images_of_a_name_that_breaks_tables_are_refused(here, name):
    """The one was taken, and the other told as a fault of a job file that nobody wrote."""
    with pytest.raises(UserError, match="no table can show"):
        external.describe(folder_of(here / name, pictures(2)))


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_from_import_to_record(here, capsys, kind):
    images = pictures()
    if kind == "npz":
        path = here / "theirs.npz"
        write_npz(path, COUNT, images.split(16))
    else:
        path = folder_of(here / "theirs", images)
    assert main(["import", "--from", "images", "--name", "them", "--like", "mine/small", str(path)]) == 0
    assert main(["eval", "--run", "them"]) == 0
    (record,) = records_of(here, "them")
    assert set(record.metrics) == {
        f"{n}@{COUNT}" for n in ("fd-efficientnet-lite0", "precision-efficientnet-lite0", "recall-efficientnet-lite0")
    }
    assert not record.protocol.drawn
    assert [getattr(record.protocol, name) for name in DRAWING] == [None] * len(DRAWING)
    assert record.run["external"] == {"name": "theirs", "digest": record.spec.external.digest, "images": COUNT}
    assert "untrained" not in record.context
    card = (here / "runs" / record.training_id / "card.md").read_text()
    assert f"{COUNT} at 64 pixels, {MADE_ELSEWHERE}" in card
    assert f"{COUNT} samples, {MADE_ELSEWHERE}, efficientnet-lite0" in card
    assert not [word for word in ("hourglass", "steps", "guidance", "average", "seed") if word in card]
    facts = gather("paper", Roots(here / "runs", here / "results"))
    (entry,) = facts.measured
    page = markdown.render(row_page(entry, facts), "paper scale")
    assert f"{COUNT}, {MADE_ELSEWHERE}" in page
    assert not [word for word in ("guidance", "ema weights", "Trainings", "seed 0", "None") if word in page]
    capsys.readouterr()
    assert main(["fid", str(path), str(path), "--protocol", "efficientnet-lite0", "--json"]) == 0
    capsys.readouterr()
    assert main(["eval", "--run", "them", "--protocol", "efficientnet-lite0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["value"] == record.metrics[f"fd-efficientnet-lite0@{COUNT}"].value  # streamed from the file, to the bit


def test_what_is_met_in_the_files_is_said(here, capsys):
    path = folder_of(here / "theirs", pictures(6), jpegs=2)
    assert main(["import", "--from", "images", "--name", "them", "--like", "mine/small", str(path)]) == 0
    assert "2 JPEG files" in capsys.readouterr().err
    (path / "0005.png").write_bytes(b"")
    assert main(["import", "--from", "images", "--name", "more", "--like", "mine/small", str(path)]) == 2
    assert "0005.png" in capsys.readouterr().err
    assert not (here / "jobs" / "more.toml").exists()


def test_other_sizes_and_changed_images_are_refused(here, capsys):
    path = folder_of(here / "small", pictures(6, 32))
    assert main(["import", "--from", "images", "--name", "them", "--like", "mine/small", str(path)]) == 2
    assert "32 x 32" in capsys.readouterr().err
    path = folder_of(here / "theirs", pictures(6))
    assert main(["import", "--from", "images", "--name", "them", "--like", "mine/small", str(path)]) == 0
    (path / "0000.png").write_bytes((path / "0001.png").read_bytes())
    assert main(["eval", "--run", "them"]) == 2
    assert "has the digest" in capsys.readouterr().err
    assert main(["train", "--run", "them"]) == 2
    assert main(["cost", "them"]) == 2
    for line in ("list", "show them", "plan them"):
        assert main(line.split()) == 0


def test_shards_of_a_range_hold_the_images_of_their_numbers(here):
    images = pictures()
    write_npz(here / "theirs.npz", COUNT, images.split(16))
    main(["import", "--from", "images", "--name", "them", "--like", "mine/small", str(here / "theirs.npz")])
    from hdit_repro.stages import sample

    job = jobs.find("them")
    folder = RunFolder(Roots(here / "runs", here / "results"), job.run, job.scale)
    settings = Settings(device="cpu", batch=8)
    for numbers in (range(15, COUNT), range(5, 11), range(COUNT)):
        sample.run(job, folder, settings, lambda _: None, numbers)
    found = {}
    for shard, tensors in read_tensors(folder, whole_shards(folder)[0], ""):
        assert tensors["number"].tolist() == list(shard.numbers)
        found |= dict(zip(shard.numbers, tensors["image"], strict=True))
    assert sorted(found) == list(range(COUNT))
    assert all(torch.equal(found[number], images[number]) for number in range(COUNT))


def test_identity_is_the_images_and_the_protocol(here):
    write_npz(here / "theirs.npz", COUNT, pictures().split(16))
    described = external.describe(here / "theirs.npz")
    run = msgspec.structs.replace(
        jobs.find("mine/small").run,
        external=described,
        sampling=msgspec.structs.replace(jobs.find("mine/small").run.sampling, count=COUNT),
    )
    other = msgspec.structs.replace(
        run,
        training=msgspec.structs.replace(run.training, steps=7),
        external=msgspec.structs.replace(described, name="x"),
    )
    assert other.evaluation_id == run.evaluation_id
    changed = msgspec.structs.replace(run, external=msgspec.structs.replace(described, digest="0" * 64))
    assert len({run.sampling_id, changed.sampling_id, jobs.find("mine/small").run.sampling_id}) == 3
    with pytest.raises(ValueError, match=r"sampling\.count"):
        msgspec.structs.replace(run, external=msgspec.structs.replace(described, images=9))


def test_sampling_seeds_share_the_training(here):
    asked = wanted("table1", "smoke", ["E"], seeds=2, samplings=3)
    assert [row_name(job) for job in asked[:2]] == ["table1/E", "table1/E sampling 1"]
    plan = make_plan(asked, Roots(here / "runs", here / "results"), read_cluster("local"))
    counts = {stage: sum(each.stage == stage for each in plan) for stage in ("train", "sample", "evaluate")}
    assert counts == {"train": 2, "sample": 6, "evaluate": 6}
    assert {(each.seed, each.sampling_seed) for each in plan if each.stage == "sample"} == {
        (seed, drawn) for seed in range(2) for drawn in range(3)
    }
    assert len({job.run.row_id for job in asked}) == 1
    with pytest.raises(UserError, match="without samples"):
        wanted("table1", "smoke", ["E"], samplings=0)


TINY = """
experiment = "tiny"
[row.tiny]
extends = "table1/E"
data = { dataset = { kind = "emoji" }, resolution = 32, transform = "adm" }
training = { steps = 2, batch = 4, precision = "float32" }
sampling = { sampler = { kind = "euler", steps = 2 }, count = 6 }
[row.tiny.model]
patch = 2
widths = [16, 32]
depths = [1, 1]
heads = [1, 2]
mapping = { depth = 1, width = 16, d_ff = 48 }
attention = [{ kind = "neighborhood", kernel = 7 }, { kind = "global" }]
[row.tiny.evaluation]
extractor = { kind = "efficientnet-lite0" }
reference = { kind = "dataset", count = 12 }
metrics = ["frechet"]
"""

SCALES = """
[smoke.all]
training = { steps = 2 }
sampling = { count = 5 }
evaluation = { reference = { count = 12 } }
"""


def test_eval_runs_what_is_missing_below_paper_scale(here, capsys):
    (here / "jobs" / "tiny.toml").write_text(TINY)
    (here / "jobs" / "scales.toml").write_text(SCALES)
    assert main(["eval", "--run", "tiny"]) == 2
    refused = capsys.readouterr().err
    assert "A100-hours" in refused
    assert "--scale smoke" in refused
    assert main(["eval", "--run", "tiny", "--scale", "smoke", "--sampling-seeds", "2", "--json"]) == 0
    said = capsys.readouterr()
    assert "train tiny, then sample tiny, then sample tiny sampling 1" in said.err
    found = json.loads(said.out)
    assert [(record["seed"], record["sampling_seed"]) for record in found] == [(0, 0), (0, 1)]
    line = "eval --run tiny --scale smoke --protocol"
    assert main([*line.split(), "inception-2015", "--json"]) == 2
    said = capsys.readouterr()
    assert ("nothing could be measured" in said.err, "weights add" in said.err, said.out) == (True, True, "")
    assert main([*line.split(), "efficientnet-lite0", "--metrics", "spatial-frechet"]) == 2
    assert "nothing could be measured" in capsys.readouterr().err
    assert main([*line.split(), "inception-2015,efficientnet-lite0", "--json"]) == 0
    assert [row["value"] is None for row in json.loads(capsys.readouterr().out)] == [True, False]
    values = [record["metrics"]["fd-efficientnet-lite0"]["value"] for record in found]
    assert values[0] != values[1]
    roots = Roots(here / "runs", here / "results")
    tasks = tasks_for(wanted("tiny", "smoke", samplings=2), roots)
    before = [task.folder.manifest.stat().st_mtime_ns for task in tasks if task.stage == "sample"]
    assert main(["sample", "--run", "tiny", "--scale", "smoke", "--sampling-seeds", "2"]) == 0
    assert [task.folder.manifest.stat().st_mtime_ns for task in tasks if task.stage == "sample"] == before
    files = [task.folder.samples / f"images.{kind}" for kind in ("zip", "npz") for task in tasks[-1:]]
    assert not [path for path in files if path.exists()]
    for path in files:  # asked for when all is drawn
        line = f"sample --run tiny --scale smoke --sampling-seeds 2 --keep-images {path.suffix[1:]}"
        assert main(line.split()) == 0
        assert [image.shape for image in open_images(path).batches(9)] == [(5, 3, 16, 16)]
