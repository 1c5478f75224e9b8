"""What becomes of the images of samples: kept or not, by how much they would take, and written as one file, whole."""

import itertools
import shutil
from types import SimpleNamespace

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.errors import RunError
from hdit_repro.files import write_json
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.external import External
from hdit_repro.stages import evaluate, sample, spent
from hdit_repro.stages.device import device_name
from hdit_repro.stages.evaluate import sample_features, stage_seconds
from hdit_repro.stages.export import is_whole
from hdit_repro.stages.imagesets import open_images
from hdit_repro.stages.sample import GRID, first_images, keeps_images, write_images
from hdit_repro.stages.settings import Settings
from hdit_repro.stages.shards import read_tensors, whole_shards

COUNT, SIDE = GRID + 9, 16


class Pictures:
    """Somebody's images: what is in each depends on its number alone."""

    def batches(self, size):
        made = [
            torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(n)) for n in range(COUNT)
        ]
        yield from torch.stack(made).to(torch.uint8).split(size)


class Mean:
    """A feature network that is none: each channel's mean."""

    name = "made-up"
    device = torch.device("cpu")

    def features(self, images):
        return {"features": images.double().mean((2, 3))}


@pytest.fixture
def job(monkeypatch):
    """Images of others in place of a network's samples, and no feature network: the rest is the stage."""
    found = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(found.run)
    tree["sampling"]["count"] = COUNT
    run = msgspec.convert(tree, type(found.run))
    run = msgspec.structs.replace(run, external=External(name="theirs", digest="0" * 64, images=COUNT))
    monkeypatch.setattr(sample, "build_extractor", lambda *_: Mean())
    monkeypatch.setattr(sample.external, "images_of", lambda run: Pictures())
    return msgspec.structs.replace(found, run=run)


@pytest.fixture
def folder(job, tmp_path):
    return RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)


def draw(job, folder, keep, numbers=None):
    settings = Settings(device="cpu", batch=GRID, keep_images=keep)
    sample.run(job, folder, settings, lambda _: None, numbers)
    return [shard.images for shard in sorted(whole_shards(folder)[0], key=lambda shard: shard.first)]


def features(folder):
    return torch.cat([next(iter(part.values())) for _, part in read_tensors(folder, whole_shards(folder)[0], "feat")])


@pytest.mark.parametrize(
    ("keep", "kept", "file"),
    [("none", False, None), ("auto", True, None), ("zip", True, "images.zip"), ("npz", True, "images.npz")],
)
def test_which_images_are_kept(job, folder, keep, kept, file):
    """The first GRID of them always; the features are the same whatever is kept."""
    assert draw(job, folder, keep) == [True, kept]
    assert sorted(path.name for path in folder.samples.glob("images.*")) == ([file] if file else [])
    whole = torch.cat(list(Pictures().batches(COUNT)))
    assert torch.equal(features(folder), whole.double().mean((2, 3)).float())
    if file:
        assert torch.equal(torch.cat(list(open_images(folder.samples / file).batches(COUNT))), whole)


def test_who_draws_a_part_leaves_the_grid_and_the_file_to_the_last(job, folder):
    """An element of a job array cannot write what the others have not drawn yet."""
    draw(job, folder, "zip", range(GRID, COUNT))
    assert not folder.grid.exists()
    assert not is_whole(folder.samples / "images.zip")
    draw(job, folder, "zip", range(GRID))
    assert folder.grid.exists()
    assert is_whole(folder.samples / "images.zip")
    assert torch.equal(first_images(folder, GRID), next(Pictures().batches(GRID)))


def test_who_draws_a_part_tells_how_far_that_part_is(job, folder):
    """Of a set of which nothing else is there, most of it seemed done before the first sample was drawn."""
    heard = []
    settings = Settings(device="cpu", batch=8)
    sample.run(job, folder, settings, lambda told: heard.append((told.done, told.total)), range(16))
    sample.run(job, folder, settings, lambda told: heard.append((told.done, told.total)), range(8, 24))
    assert heard == [(8, 16), (16, 16), (16, 16)]


def test_a_set_that_shows_the_first_alone_goes_on_so(job, folder, monkeypatch):
    """They are no sign that somebody asked for all: at paper scale those of a run take gigabytes."""
    monkeypatch.setattr(sample, "KEEP_BYTES", 0)
    draw(job, folder, "auto", range(GRID))
    assert draw(job, folder, "auto") == [True, False]


def test_the_time_of_a_set_is_that_of_all_its_jobs(job, folder, monkeypatch):
    """By a clock that ticks once a look: a shard is a tick, and so is what lies between two."""
    monkeypatch.setattr(sample, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    for numbers in (range(48), range(COUNT)):
        sample.run(job, folder, Settings(device="cpu", batch=24), lambda _: None, numbers)
    assert stage_seconds(folder)["sample"] == 4
    assert len(first_images(folder, GRID)) == GRID, "of a shard that goes on beyond them too"
    here = device_name(torch.device("cpu"))
    spent.add_drawn(folder, 0.5, "NVIDIA H100", "graph")
    spent.add_drawn(folder, 0.5, here, "eager")
    assert stage_seconds(folder)["sample"] == 5
    assert spent.drawn(folder) == ({here: 4.5, "NVIDIA H100": 0.5}, ("eager", "graph"))


def test_an_earlier_versions_note_of_the_time_names_no_device(folder):
    write_json(folder.samples / "seconds.json", {"seconds": 4.0, "gpu_seconds": None, "network": ["eager"]})
    assert spent.drawn(folder, "NVIDIA H100") == ({"NVIDIA H100": 4.0}, ("eager",))
    assert stage_seconds(folder)["sample"] == 4.0


@pytest.mark.parametrize("external", [True, False])
def test_the_time_of_samples_is_noted_before_they_are_kept(job, folder, monkeypatch, external):
    """A process that ends between the two would take along what the last samples took, and how they were drawn."""
    if not external:
        job = msgspec.structs.replace(job, run=msgspec.structs.replace(job.run, external=msgspec.UNSET))
        monkeypatch.setattr(sample, "trained_network", lambda *_: torch.nn.Linear(1, 1))
        monkeypatch.setattr(sample, "InPieces", lambda _: lambda numbers: (next(Pictures().batches(COUNT)), None))
    noted = []
    monkeypatch.setattr(sample, "write_shard", lambda *_: noted.append(spent.drawn(folder)))
    sample.run(job, folder, Settings(device="cpu", batch=COUNT), lambda _: None)
    assert noted[0].total > 0
    assert noted[0].network == (() if external else ("eager",))


def test_auto_keeps_up_to_a_size(job):
    """Of uint8 images: a byte a channel and pixel."""
    most = (256 << 20) // (3 * SIDE * SIDE)

    def keeps(count, keep="auto"):
        external = msgspec.structs.replace(job.run.external, images=count)
        sampling = msgspec.structs.replace(job.run.sampling, count=count)
        run = msgspec.structs.replace(job.run, sampling=sampling, external=external)
        return keeps_images(run, Settings(keep_images=keep))

    assert [keeps(most), keeps(most + 1)] == [True, False]
    assert [keeps(most + 1, keep) for keep in ("zip", "npz", "none")] == [True, True, False]
    assert not keeps(2, "none")


@pytest.mark.parametrize("kind", ["zip", "npz"])
def test_asked_for_later(job, folder, kind):
    draw(job, folder, "auto")
    path = write_images(job, folder, kind)
    before = path.stat().st_mtime_ns
    assert write_images(job, folder, kind).stat().st_mtime_ns == before
    whole = path.read_bytes()
    for damage in (whole[:200], b"", whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):
        path.write_bytes(damage)
        assert not is_whole(path)
        assert write_images(job, folder, kind).read_bytes() == whole


def test_another_network_measures_the_images_that_were_kept(job, folder):
    other = Mean()
    other.name = "another"
    assert draw(job, folder, "none") == [True, False]
    with pytest.raises(RunError, match="not measured by another, and their images were not kept") as caught:
        sample_features(job, folder, other)
    assert f"samples {GRID} to {COUNT - 1} of" in caught.value.found
    shutil.rmtree(folder.samples)
    draw(job, folder, "auto")
    assert torch.equal(
        sample_features(job, folder, other)["features"], sample_features(job, folder, Mean())["features"]
    )


def test_images_that_were_not_kept_are_missed_before_any_more_is_drawn(job, folder):
    draw(job, folder, "none", range(GRID, COUNT))
    with pytest.raises(RunError, match="were not kept") as caught:
        draw(job, folder, "zip")
    assert "--keep-images zip" in caught.value.fix
    assert [shard.first for shard in whole_shards(folder)[0]] == [GRID]
    assert draw(job, folder, "auto") == [True, False]
    with pytest.raises(RunError, match="were not kept"):
        write_images(job, folder, "npz")
    assert not list(folder.samples.glob("images.*"))


def test_what_was_damaged_is_drawn_again_with_its_image(job, folder, monkeypatch):
    """A set of which all images are kept, because somebody asked, keeps them when nobody says."""
    monkeypatch.setattr(sample, "KEEP_BYTES", 0)
    settings = Settings(device="cpu", batch=4, keep_images="npz")
    sample.run(job, folder, settings, lambda _: None)
    shards, _ = whole_shards(folder)
    (folder.samples / shards[-2].file).write_bytes(b"")
    assert draw(job, folder, "auto") == [True] * len(shards)
    assert sample.run(job, folder, settings, lambda _: None) == folder.manifest


def test_what_is_drawn_again_for_an_evaluation_is_time_of_the_samples_alone(job, folder, monkeypatch):
    """By a clock that stands but for a hundred seconds of drawing."""
    clock, seconds = [0.0], []
    draw(job, folder, "auto")
    (folder.samples / whole_shards(folder)[0][0].file).write_bytes(b"")
    for stage in (evaluate, sample):
        monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(*_):
        clock[0] += 100
        yield from ((range(GRID), next(Pictures().batches(GRID))),)

    monkeypatch.setattr(sample.external, "batches", slow)
    monkeypatch.setattr(evaluate, "build_extractor", lambda *_: Mean())
    monkeypatch.setattr(evaluate, "make_record", lambda *given: seconds.append(given[6]))
    for name in ("load_reference", "write", "write_card"):
        monkeypatch.setattr(evaluate, name, lambda *_: None)
    for name in ("measure", "companions"):
        monkeypatch.setattr(evaluate, name, lambda *_: {})
    before = stage_seconds(folder)["sample"]
    evaluate.run(job, folder, Settings(device="cpu"), lambda _: None)
    assert seconds[0]["sample"] == before + 100
    assert seconds[0]["evaluate"] == 0


def test_the_grid_that_a_killed_process_left_out_is_drawn_by_the_evaluation(job, folder, monkeypatch):
    draw(job, folder, "auto")
    before = folder.grid.read_bytes()
    folder.grid.unlink()
    assert folder.done("sample"), "so that nobody samples again"
    monkeypatch.setattr(evaluate, "build_extractor", lambda *_: Mean())
    monkeypatch.setattr(evaluate, "load_reference", lambda *_: None)

    def enough(*_):
        raise RunError("the rest is another's test")

    monkeypatch.setattr(evaluate, "measure", enough)
    monkeypatch.setattr(evaluate, "Sides", lambda *_: None)
    with pytest.raises(RunError, match="another's test"):
        evaluate.run(job, folder, Settings(device="cpu"), lambda _: None)
    assert folder.grid.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"seconds": "x"}', '{"seconds": null}', '{"seconds": {"cpu": -1}}']
)
def test_a_damaged_note_of_the_time_holds_nothing_up(job, folder, text):
    draw(job, folder, "auto", range(GRID))
    (folder.samples / "seconds.json").write_text(text)
    draw(job, folder, "auto")
    assert folder.done("sample")
    assert spent.drawn(folder).total > 0.0
    (folder.samples / "seconds.json").write_text(text)
    assert evaluate.stage_seconds(folder)["sample"] == 0.0
