"""What the training stage does around its loop: the bill of all starts, and a signal that comes after the last step."""

import signal
from dataclasses import replace

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.files import read_json
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.run import Run
from hdit_repro.stages import spent, train
from hdit_repro.stages.settings import Settings
from hdit_repro.training.distributed import World
from hdit_repro.training.journal import events_path
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
    assert summary["seconds"] == summary["process_seconds"] > 0
    assert train.run(job, folder, SETTINGS, lambda _: None) == folder.final_marker


def test_every_start_counts_with_its_own_processes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path = tmp_path / "seconds.json"
    first = spent.Spent(path, 4)
    now[0] = spent.EVERY
    first.look()
    now[0] += 1.0
    first.look()  # killed here: what was noted a moment ago is kept
    second = spent.Spent(path, 1)
    now[0] += 10.0
    assert second.note() == (spent.EVERY + 10.0, 4 * spent.EVERY + 10.0)
    path.write_text('{"seconds": 5')
    assert spent.Spent(path, 1).note() == (0.0, 0.0)
    path.write_text('{"seconds": 5.0}')
    assert spent.Spent(path, 2).total == (5.0, 10.0)


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


def test_who_skips_images_hears_that_the_reference_does_not(job, folder, monkeypatch):
    monkeypatch.setattr(train, "open_dataset", lambda data: 1 / 0)
    how = msgspec.structs.replace(SETTINGS.training, unreadable="skip")
    with pytest.warns(UserWarning, match="data verify PATH --full"), pytest.raises(ZeroDivisionError):
        train.run(job, folder, replace(SETTINGS, training=how), lambda _: None)
