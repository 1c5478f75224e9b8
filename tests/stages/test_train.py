"""What the training stage does around its loop: the bill of all starts, and a signal that comes after the last step."""

import contextlib
import errno
import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import RunError
from hdit_repro.files import needing_room, read_json, write_json
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.run import Run
from hdit_repro.stages import spent, train
from hdit_repro.stages.settings import HowToTrain, Settings
from hdit_repro.training import loop
from hdit_repro.training.distributed import World
from hdit_repro.training.journal import events_path
from hdit_repro.training.loop import LoopSettings
from hdit_repro.training.signals import Preempted, Stop

SETTINGS = Settings(device="cpu", threads=1)


@pytest.fixture
def job():
    """Row E in miniature: two steps."""
    found = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(found.run)
    tree["training"] |= {"steps": 2, "batch": 2}
    return msgspec.structs.replace(found, run=msgspec.convert(tree, Run))


@pytest.fixture
def folder(job, tmp_path):
    return RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)


def test_a_signal_after_the_last_step_is_heard_when_all_is_written(job, folder, monkeypatch):
    monkeypatch.setattr(train, "constant_loss", lambda *_: signal.raise_signal(signal.SIGUSR2))
    with pytest.raises(Preempted, match="done") as left:
        train.run(job, folder, SETTINGS, lambda _: None)
    assert (left.value.signum, left.value.exit_code) == (signal.SIGUSR2, 75)
    assert folder.done("train")
    assert folder.card.exists()
    summary = read_json(folder.final_marker)["summary"]
    assert summary["process_seconds"] == {summary["device"]: summary["seconds"]}
    assert summary["seconds"] > 0
    assert train.run(job, folder, SETTINGS, lambda _: None) == folder.final_marker


def test_a_training_that_goes_on_is_not_finished_meanwhile(job, folder, monkeypatch):
    """Its last checkpoint may have the name that the old marker has, before the new marker is there."""

    def look(*_):
        raise RuntimeError(f"marked: {folder.final_marker.exists()}")

    monkeypatch.setattr(train, "train", look)
    write_json(folder.final_marker, {"file": "step-00000002.safetensors", "run": job.run.training_id})
    with pytest.raises(RuntimeError, match="marked: False"):
        train.run(job, folder, SETTINGS, lambda _: None)


def test_the_heap_is_looked_at_while_steps_are_taken(job, folder, monkeypatch):
    looks = []
    monkeypatch.setattr(train.HugePages, "look", lambda _: looks.append(folder.done("train")))
    train.run(job, folder, SETTINGS, lambda _: None)
    assert looks == [False, False]


def test_every_start_counts_with_its_own_processes_and_device(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path = tmp_path / "seconds.json"
    first = spent.Spent(path, 4, "NVIDIA H100")
    now[0] = spent.EVERY
    first.look()
    now[0] += 1.0
    first.look()  # killed here: what was noted a moment ago is kept
    second = spent.Spent(path, 1, "NVIDIA A100")
    now[0] += 10.0
    assert second.note() == (spent.EVERY + 10.0, {"NVIDIA H100": 4 * spent.EVERY, "NVIDIA A100": 10.0})
    assert spent.Spent(path, 1, "NVIDIA A100").total == second.total, "as it was noted"
    path.write_text('{"seconds": 5')
    assert spent.Spent(path, 1, "cpu").note() == (0.0, {"cpu": 0.0})
    for noted in ("-5.0", "1e999", '"long"', "null", "[5.0]", "9" * 400):
        for note in (f'"seconds": {noted}, "process_seconds": 5.0', f'"seconds": 5.0, "process_seconds": {noted}'):
            path.write_text(f"{{{note}}}")
            assert spent.Spent(path, 1, "cpu").note() == (0.0, {"cpu": 0.0}), note
    path.write_text('{"seconds": 5.0}')
    assert spent.Spent(path, 2, "cpu").total == (5.0, {"cpu": 10.0})
    path.write_text('{"seconds": 5.0, "process_seconds": 10.0}')
    assert spent.Spent(path, 1, "cpu").total == (5.0, {"cpu": 10.0})


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOSPC])
def test_a_note_of_the_time_that_cannot_be_written_ends_no_training_and_hides_nothing(job, folder, monkeypatch, number):
    def refused(path, value):
        with needing_room(path, "room"):
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(spent, "write_json", refused)
    monkeypatch.setattr(spent, "EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(train, "train", lambda *_: raised(Preempted("left")))
        with pytest.raises(Preempted, match="left"):
            train.run(job, folder, SETTINGS, lambda _: None)
    train.run(job, folder, SETTINGS, lambda _: None)
    assert read_json(folder.final_marker)["summary"]["seconds"] > 0


def raised(error):
    raise error


def test_the_final_loss_hangs_on_no_interval_between_lines(job, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "constant_loss", lambda *_: 1.0)
    tree = msgspec.to_builtins(job.run)
    tree["training"] |= {"steps": 5}
    job = msgspec.structs.replace(job, run=msgspec.convert(tree, Run))
    found = []
    for every in (1, 4, 100):
        folder = RunFolder(Roots(tmp_path / str(every), tmp_path), job.run, job.scale)
        how = msgspec.structs.replace(SETTINGS.training, log_every=every)
        train.run(job, folder, replace(SETTINGS, training=how), lambda _: None)
        found.append(read_json(folder.final_marker)["summary"]["loss_end"])
    assert found[0] == found[1] == found[2]


def test_the_final_loss_is_the_mean_of_the_last_three_steps_that_were_taken(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 7, "loss": 9.0}\n{"step": 8, "loss": 2.0}\n{"step": 10, "loss": 1.0}\n')
    assert train.final_loss(path, 10) is None, "the line of step 9 is lost"
    events_path(path).write_text('{"step": 9, "event": "skip"}\n')
    assert train.final_loss(path, 10) == 1.5
    assert train.final_loss(path, 13) is None


def test_every_average_counts_in_what_fits_and_each_once(job, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "fitting", lambda *values: asked.append(values) or values[-1])
    how = msgspec.structs.replace(SETTINGS.training, ema_decays=(0.999, 0.9))
    settings = train._loop(job.run, how, World(size=2), Stop())
    assert settings.averages == (0.9, 0.999)
    assert asked[0][2:4] == (2, 3), "processes, and averages with the run's own"


def test_every_setting_reaches_the_loop(job):
    """Without `stop` a job that is preempted would save nothing."""
    how = HowToTrain(
        microbatch=3, recompute=True, compile=True, ema_decays=(0.9, 0.5), snapshots=(1,), tensorboard=True,
        save_seconds=7.0, log_every=3,
    )  # fmt: skip
    world, stop = World(1, 2), Stop()
    found = train._loop(job.run, how, world, stop)
    assert found == LoopSettings(world.device, 3, 7.0, world, 3, stop, (0.5, 0.9), (1,), True, True, True)
    assert not [name for name, default in LoopSettings._field_defaults.items() if getattr(found, name) == default]


def test_a_training_notes_its_time_while_it_goes_on(job, folder, monkeypatch):
    """A start that is killed has a bill."""
    monkeypatch.setattr(spent, "EVERY", 0.0)
    noted = []
    train.run(job, folder, SETTINGS, lambda _: noted.append((folder.path / "state" / "train.seconds.json").exists()))
    assert noted
    assert all(noted)


def test_what_final_json_says_of_a_training(job, folder, monkeypatch):
    state = SimpleNamespace(step=2, watchdog=SimpleNamespace(skipped=3))
    monkeypatch.setattr(train, "train", lambda *_: state)
    monkeypatch.setattr(train, "constant_loss", lambda *_: 1.25)
    write_json(folder.checkpoints / "step-00000002.json", {"file": "step-00000002.safetensors"})
    events = [("unreadable", {"image": 5}), ("unreadable", {"image": 5}), ("unreadable", {"image": 7}), ("skipped", {})]
    lines = [json.dumps({"step": 1, "event": kind, **more}) for kind, more in events]
    events_path(folder.metrics).write_text("\n".join(lines) + "\n")
    folder.metrics.write_text('{"step": 1, "loss": 0.75}\n{"step": 2, "loss": 0.25}\n')
    train._train(job.run, folder, SETTINGS, lambda _: None, World(0, 4), Stop())
    found = read_json(folder.final_marker)
    assert found["file"] == "step-00000002.safetensors"
    counted = {name: found["summary"][name] for name in ("processes", "skipped_steps", "replaced_images")}
    assert counted == {"processes": 4, "skipped_steps": 3, "replaced_images": 2}
    assert (found["summary"]["loss_end"], found["summary"]["loss_constant"]) == (0.5, 1.25)


@pytest.mark.parametrize(("draws", "steps"), [(4, (3, 5)), (5, (3, 5)), (1, (4, 5)), (2048, (0, 5))])
def test_the_best_constant_is_fitted_to_the_last_steps(job, monkeypatch, draws, steps):
    """Enough of them for `draws` draws, one at least, and no more than there were."""
    training = msgspec.structs.replace(job.run.training, steps=5)
    asked = []
    monkeypatch.setattr(train, "CONSTANT_DRAWS", draws)
    monkeypatch.setattr(train, "prepared", lambda run, images, first, last, *_: asked.append((first, last)) or [])
    monkeypatch.setattr(train, "best_constant_loss", lambda _, batches: len(list(batches)))
    train.constant_loss(msgspec.structs.replace(job.run, training=training), None, None)
    assert asked == [steps]


def test_how_to_train_reaches_what_is_around_the_loop(job, folder, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "deterministic", lambda on: asked.append(on) or contextlib.nullcontext())
    monkeypatch.setattr(train, "open_dataset", lambda data: "images")
    monkeypatch.setattr(train, "open_source", lambda *what: asked.append(what) or 1 / 0)
    how = HowToTrain(deterministic=True, unreadable="skip")
    with pytest.warns(UserWarning, match="data verify PATH --full"), pytest.raises(ZeroDivisionError):
        train.run(job, folder, replace(SETTINGS, training=how), lambda _: None)
    assert asked == [True, ("images", "skip")]


def test_who_skips_images_hears_that_the_reference_does_not(job, folder, monkeypatch):
    monkeypatch.setattr(train, "open_dataset", lambda data: 1 / 0)
    how = msgspec.structs.replace(SETTINGS.training, unreadable="skip")
    with pytest.warns(UserWarning, match="data verify PATH --full"), pytest.raises(ZeroDivisionError):
        train.run(job, folder, replace(SETTINGS, training=how), lambda _: None)


@pytest.mark.parametrize(
    ("microbatch", "processes", "option"), [(0, 2, "--microbatch 2;"), (6, 1, "--microbatch 3;"), (1, 1, "recompute;")]
)
def test_a_full_card_is_told_with_what_takes_less(job, folder, monkeypatch, microbatch, processes, option):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(train, "train", full)
    training = msgspec.structs.replace(job.run.training, steps=2, batch=8, growth=())
    how = replace(SETTINGS, training=HowToTrain(microbatch=microbatch))
    run = msgspec.structs.replace(job.run, training=training)
    with pytest.raises(RunError, match="does not hold a step") as told:
        train._train(run, folder, how, lambda _: None, World(0, processes), Stop())
    assert option in told.value.fix
    assert "Tried to allocate 2.00 GiB" in told.value.found


def test_the_best_constant_takes_a_few_images_at_a_time(job, monkeypatch):
    """As many as are of `AT_ONCE` values, one at least; the loss is the same. A step's images of 1024^2 and their noise
    would fill a card, beside the network that is still there."""
    training = msgspec.structs.replace(job.run.training, steps=3, batch=6, growth=())
    run, images = msgspec.structs.replace(job.run, training=training), open_dataset(job.run.data)
    sizes, together = [], train.constant_loss(run, images, torch.device("cpu"))

    def prepared(*asked):
        for draws, batch in loop.prepared(*asked):
            sizes.append(len(draws.images))
            yield draws, batch

    monkeypatch.setattr(train, "prepared", prepared)
    for values, most in ((4 * 3 * run.data.resolution**2, 3), (1, 1)):
        sizes.clear()
        monkeypatch.setattr(train, "AT_ONCE", values)
        assert train.constant_loss(run, images, torch.device("cpu")) == pytest.approx(together, rel=1e-12)
        assert set(sizes) == {most}
