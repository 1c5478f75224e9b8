"""The ten rows of Table 1, each trained, sampled and measured in miniature; what they are is read from the records."""

import warnings

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import write_json
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.store import read
from hdit_repro.spec.run import Run
from hdit_repro.stages import evaluate, sample, train
from hdit_repro.stages.settings import Progress, Settings
from hdit_repro.stages.shards import chunks, whole_shards

ROWS = ["R1", "R2", "R3", "R4", "A", "B1", "B2", "C", "D", "E"]
SETTINGS = Settings(device="cpu", threads=1, batch=4)


def miniature(row, **sampling):
    """A row at smoke scale, with two steps of training, four samples and a reference of 48 images."""
    job = jobs.find(f"table1/{row}", "smoke")
    tree = msgspec.to_builtins(job.run)
    tree["training"] |= {"steps": 2, "batch": 4}
    tree["sampling"] |= {"count": 4, **sampling}
    tree["evaluation"]["reference"]["count"] = 48
    return msgspec.structs.replace(job, run=msgspec.convert(tree, Run))


def quiet(_progress: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HDIT_REPRO_CACHE", str(folder / "cache"))
        yield Roots(folder / "runs", folder / "results")


@pytest.fixture(scope="module")
def records(roots):
    """The records of all ten rows."""
    found = {}
    for row in ROWS:
        job = miniature(row)
        folder = RunFolder(roots, job.run, job.scale)
        for stage in (train, sample, evaluate):
            stage.run(job, folder, SETTINGS, quiet)
        found[row] = read(folder.record)
    return found


def test_r1_takes_250_ancestral_steps_and_the_others_50_of_dpmpp_3m_sde(records):
    for row, record in records.items():
        found = (record.protocol.sampler, record.protocol.steps, record.protocol.network_evaluations)
        assert found == (("ancestral", 250, 250) if row == "R1" else ("dpmpp_3m_sde", 50, 50)), row


def test_a_to_e_keep_two_levels_with_their_kinds_of_attention(records):
    kinds = {
        "A": "global",
        "B1": "shifted-window",
        "B2": "neighborhood",
        "C": "neighborhood",
        "D": "neighborhood",
        "E": "neighborhood",
    }
    for row, kind in kinds.items():
        attention = records[row].run["model"]["attention"]
        assert [entry["kind"] for entry in attention] == [kind, "global"], row
        assert attention[0].get("kernel") == (7 if kind == "neighborhood" else None)
        assert attention[0].get("window") == (8 if kind == "shifted-window" else None)
        assert len(records[row].run["model"]["widths"]) == 2


def test_records_hold_the_number_and_what_it_is_read_against(records):
    for record in records.values():
        assert set(record.metrics) == {"fd-efficientnet-lite0"}
        assert set(record.context) == {"untrained", "floor", "loss-end", "loss-constant"}
        assert record.protocol.reference.count == 48
        assert record.protocol.quantised
        assert record.scale == "smoke"


def test_r1_is_trained_by_dits_recipe_and_r2_by_ours_with_dits_optimiser(records):
    r1, r2, r3 = (records[row].run["training"] for row in ("R1", "R2", "R3"))
    assert (r1["clip"], r1["ema"]["warmup_power"]) == (0, 0)
    assert (r2["clip"], r2["ema"]["warmup_power"]) == (1, 0.75)
    assert r1["optimizer"] == r2["optimizer"] != r3["optimizer"]
    assert records["R2"].run["diffusion"]["weighting"] == {"kind": "snr"}
    assert records["R1"].run["diffusion"]["kind"] == "gaussian"


def test_a_finished_stage_does_nothing(roots, records, monkeypatch):
    job = miniature("E")
    folder = RunFolder(roots, job.run, job.scale)
    monkeypatch.setattr(train, "open_dataset", None)
    monkeypatch.setattr(sample, "build_extractor", None)
    monkeypatch.setattr(evaluate, "build_extractor", None)
    for stage in (train, sample, evaluate):
        stage.run(job, folder, SETTINGS, quiet)


def test_samples_are_the_same_whatever_the_batch(roots, records, tmp_path):
    job = miniature("B2")
    folder = RunFolder(roots, job.run, job.scale)
    before = sample.first_images(folder, 4)
    again = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    again.path.mkdir(parents=True)
    (again.path / "checkpoints").symlink_to(folder.checkpoints)
    for numbers in (range(2, 3), range(0, 2), range(3, 4)):
        sample.run(job, again, Settings(device="cpu", threads=1, batch=3), quiet, numbers)
    assert again.done("sample")
    after = sample.first_images(again, 4)
    assert (before.int() - after.int()).abs().max() <= 1  # rounding of float sums may tip a pixel
    assert (before != after).double().mean() < 0.001


@pytest.mark.parametrize("harm", ["flipped", "missing", "manifest"])
def test_a_damaged_shard_is_redone_and_nothing_else(roots, records, harm):
    job = miniature("A", seed=7)
    folder = RunFolder(roots, job.run, job.scale)
    two = Settings(device="cpu", threads=1, batch=2)
    sample.run(job, folder, two, quiet)
    shards, damaged = whole_shards(folder)
    assert len(shards) == 2
    assert not damaged
    victim, other = (folder.samples / shard.file for shard in shards)
    kept = other.stat().st_mtime_ns
    before = victim.read_bytes()
    if harm == "flipped":
        victim.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    elif harm == "missing":
        victim.unlink()
    else:
        folder.manifest.write_text("{")
    assert folder.done("sample") == (harm == "flipped")  # only a file that is read shows its bytes
    if harm == "manifest":
        with pytest.raises(RunError, match=r"samples? missing"):
            evaluate.run(job, folder, SETTINGS, quiet)
        sample.run(job, folder, two, quiet)
    else:  # what is damaged costs no second command
        evaluate.run(job, folder, two, quiet)
        assert folder.done("evaluate")
        folder.record.unlink()
    assert victim.read_bytes() == before
    assert folder.done("sample")
    if harm != "manifest":
        assert other.stat().st_mtime_ns == kept


def test_chunks_are_cut_at_multiples():
    assert list(chunks([0, 1, 2, 5, 6, 7, 8, 11], 4)) == [range(0, 3), range(5, 8), range(8, 9), range(11, 12)]
    assert list(chunks([], 4)) == []


def test_a_checkpoint_of_another_configuration_is_refused(roots, records, tmp_path):
    job, other = miniature("C"), miniature("D")
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    folder.path.mkdir(parents=True)
    (folder.path / "checkpoints").symlink_to(RunFolder(roots, other.run, other.scale).checkpoints)
    assert folder.state("train") == "missing"
    for stage in (train, sample):
        with pytest.raises(UserError, match="another configuration"):
            stage.run(job, folder, SETTINGS, quiet)


def test_a_damaged_network_is_trained_again_from_its_checkpoint(roots, records):
    job = miniature("R4")
    folder = RunFolder(roots, job.run, job.scale)
    file = folder.checkpoints / "step-00000002.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    folder.manifest.unlink()
    with pytest.raises(RunError, match="damaged"):
        sample.run(job, folder, SETTINGS, quiet)
    assert not folder.done("train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train.run(job, folder, SETTINGS, quiet)
    assert torch.equal(
        torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8),
        torch.frombuffer(bytearray(before), dtype=torch.uint8),
    )


def test_gpu_hours_count_every_process_of_training(roots):
    job = miniature("E")
    folder = RunFolder(Roots(roots.runs / "hours", roots.results), job.run, job.scale)
    write_json(folder.final_marker, {"summary": {"processes": 4}})
    write_json(folder.samples / "seconds.json", {"seconds": {"NVIDIA A100": 900.0, "cpu": 900.0}, "network": []})
    seconds = {"train": 3600.0, "sample": 1800.0, "evaluate": 1800.0}
    rest = {"sample": {"NVIDIA A100": 0.25, "cpu": 0.0}, "evaluate": {"NVIDIA H100": 0.5}}
    assert evaluate.gpu_hours(folder, seconds, "NVIDIA H100") == {"train": {"NVIDIA H100": 4.0}, **rest}
    of_starts = {"NVIDIA H100": 3600.0, "NVIDIA A100": 7200.0}
    write_json(folder.final_marker, {"summary": {"processes": 1, "process_seconds": of_starts}})
    found = evaluate.gpu_hours(folder, seconds, "NVIDIA H100")
    assert found == {"train": {"NVIDIA H100": 1.0, "NVIDIA A100": 2.0}, **rest}, "each start with its own"


@pytest.mark.parametrize("trained", ["NVIDIA H100", "cpu (8 cores)", None])
@pytest.mark.parametrize("drawn", ["NVIDIA A100", "cpu (8 cores)", None])
@pytest.mark.parametrize("measured", ["NVIDIA H100", "cpu (4 cores)"])
def test_gpu_hours_are_of_the_stages_that_had_a_gpu(roots, trained, drawn, measured):
    job = miniature("E")
    folder = RunFolder(Roots(roots.runs / "apart", roots.results), job.run, job.scale)
    write_json(folder.final_marker, {"summary": {"processes": 2, **({"device": trained} if trained else {})}})
    write_json(folder.samples / "seconds.json", {"seconds": {drawn: 1800.0} if drawn else 1800.0, "network": []})
    seconds = {"train": 3600.0, "sample": 1800.0, "evaluate": 900.0}
    found = evaluate.gpu_hours(folder, seconds, measured)
    assert found == {
        stage: {device: 0.0 if device.startswith("cpu") else hours}
        for stage, device, hours in (
            ("train", trained or measured, 2.0),
            ("sample", drawn or measured, 0.5),
            ("evaluate", measured, 0.25),
        )
    }
