"""Writing in the background: whole files, a full disk, snapshots of the averages, TensorBoard beside the log."""

import errno
import subprocess
import threading
import warnings

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hdit_repro.errors import RunError, UserError
from hdit_repro.training import checkpoint, log
from hdit_repro.training.checkpoint import DamagedCheckpoint, newest, newest_file, read_snapshot
from hdit_repro.training.log import numbers, read_log
from hdit_repro.training.loop import LoopSettings, NotKept, new_state, train
from hdit_repro.training.signals import Preempted, Stop
from hdit_repro.training.writer import CheckpointWriter

CPU = torch.device("cpu")
EVERY = LoopSettings(CPU, log_every=1, save_seconds=-1.0)


def quiet(*_):
    pass


def test_training_goes_on_while_a_checkpoint_is_written(tiny, tmp_path, monkeypatch):
    """The state at the time of saving is written, whatever happens to it meanwhile."""
    state, go = new_state(tiny(), CPU), threading.Event()
    expected = {name: value.clone() for name, value in state.tensors().items()}
    plain = checkpoint.save_file

    def late(tensors, path, metadata):
        assert go.wait(10)
        plain(tensors, path, metadata)

    monkeypatch.setattr(checkpoint, "save_file", late)
    with CheckpointWriter(tmp_path, "run") as writer:
        writer.save(state)
        with torch.no_grad():
            for parameter in state.network.parameters():
                parameter.add_(1.0)
        writer.poll()
        assert newest_file(tmp_path, 0) is None
        go.set()
    for name, value in newest(tmp_path, "run").tensors.items():
        assert torch.equal(value, expected[name]), name


def test_lines_and_events_are_on_the_disk_before_the_checkpoint_that_they_belong_to(
    tiny, tiny_images, tmp_path, monkeypatch
):
    done, sync, save_file = [], log.sync, checkpoint.save_file
    monkeypatch.setattr(log, "sync", lambda path: (done.append(path.name), sync(path)))
    monkeypatch.setattr(checkpoint, "save_file", lambda *given: (done.append("checkpoint"), save_file(*given)))
    train(tiny(steps=1), tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY, quiet)
    assert done == ["m.jsonl", "m.events.jsonl", "checkpoint"]


def test_a_full_disk_ends_the_run_and_the_checkpoint_before_stays(tiny, tiny_images, tmp_path, monkeypatch):
    run = tiny(steps=400)
    plain = checkpoint.save_file

    def save_file(tensors, path, metadata):
        if newest_file(tmp_path / "c", 400) is None:
            return plain(tensors, path, metadata)
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(RunError, match="no space left") as caught:
        train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY, quiet)
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    saved = newest(tmp_path / "c", run.training_id)
    assert saved.step >= 1
    assert sorted(path.name for path in (tmp_path / "c").iterdir() if path.suffix == ".partial") == []


def test_other_errors_of_the_library_are_not_taken_for_a_full_disk(tiny, tmp_path, monkeypatch):
    def broken(*_):
        raise SafetensorError("no such dtype")

    monkeypatch.setattr(checkpoint, "save_file", broken)
    with pytest.raises(SafetensorError, match="dtype"):
        checkpoint.save_checkpoint(tmp_path, new_state(tiny(), CPU).tensors(), 1, "run")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_the_system_refuses_to_write_is_named(tiny, tmp_path, monkeypatch):
    def refused(*_):
        raise SafetensorError("Error while serializing: I/O error: Input/output error (os error 5)")

    monkeypatch.setattr(checkpoint, "save_file", refused)
    with pytest.raises(OSError, match=r"Input/output error .*step-00000001.safetensors") as caught:
        checkpoint.save_checkpoint(tmp_path, new_state(tiny(), CPU).tensors(), 1, "run")
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"file systems cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full_leaves_the_checkpoint_before(small_disk):
    """The library's own words for a full disk are understood."""
    some, more = {"a": torch.ones(1 << 20)}, {"a": torch.ones(1 << 20) * 2}  # 4 MiB each
    checkpoint.save_checkpoint(small_disk, some, 1, "run")
    with pytest.raises(RunError, match="no space left to write step-00000002") as caught:
        checkpoint.save_checkpoint(small_disk, more, 2, "run")
    assert caught.value.exit_code == 1
    assert sorted(path.name for path in small_disk.iterdir()) == ["step-00000001.json", "step-00000001.safetensors"]
    assert torch.equal(newest(small_disk, "run").tensors["a"], some["a"])


def test_a_full_disk_for_the_log_is_said(tmp_path, monkeypatch):
    lines = log.MetricsLog(tmp_path / "m.jsonl", 0)
    lines.append({"step": 1})

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", full)
        with pytest.raises(RunError, match=r"no space left to write m\.jsonl"):
            lines.append({"step": 2})
    assert read_log(lines.path) == [{"step": 1}]


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_run_with_a_damaged_newest_checkpoint_ends_with_the_same_bits(tiny, tiny_images, tmp_path, harm):
    run = tiny(steps=6)
    straight = train(run, tiny_images, tmp_path / "a", tmp_path / "a.jsonl", EVERY, quiet)

    class Leave(Exception):
        pass

    def leave(done, *_):
        if done == 4:
            raise Leave

    with pytest.raises(Leave):
        train(run, tiny_images, tmp_path / "b", tmp_path / "b.jsonl", EVERY, leave)
    victim = newest_file(tmp_path / "b", 6)
    data = bytearray(victim.read_bytes())
    if harm == "truncated":
        del data[-100:]
    else:
        data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.warns(DamagedCheckpoint, match=victim.name):
        resumed = train(run, tiny_images, tmp_path / "b", tmp_path / "b.jsonl", EVERY, quiet)
    for name, value in straight.tensors().items():
        assert torch.equal(resumed.tensors()[name], value), name
    first, second = ([numbers(line) for line in read_log(tmp_path / name)] for name in ("a.jsonl", "b.jsonl"))
    assert first == second
    assert {"loss", "grad_norm", "skipped", "scale_min", "scale_max"} < first[0].keys()
    timed = read_log(tmp_path / "a.jsonl")[0]
    assert timed["images_per_s"] > 0
    assert 0 <= timed["data_wait"] <= 1
    assert timed["memory_gib"] > 0.05
    assert "mfu" not in timed


def test_averages_are_kept_at_the_steps_asked_for_and_survive_thinning(tiny, tiny_images, tmp_path):
    run = tiny(steps=6)
    settings = EVERY._replace(averages=(0.9,), snapshots=(2, 6))
    seen = {}

    def report(done, *_):
        seen[done] = True

    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, report)
    assert [path.name for path in sorted((tmp_path / "c").glob("ema-*.json"))] == [
        "ema-00000002.json",
        "ema-00000006.json",
    ]
    last = read_snapshot(tmp_path / "c", 6, run.training_id)
    for name, value in state.averaged().items():
        assert torch.equal(last.tensors[name], value), name
    assert any(name.startswith("ema@0.9.") for name in last.tensors)
    assert any(name.startswith("network.") for name in last.tensors)
    short = tiny(steps=2)
    two = train(short, tiny_images, tmp_path / "d", tmp_path / "n.jsonl", EVERY._replace(averages=(0.9,)), quiet)
    for name, value in two.averaged().items():
        found = read_snapshot(tmp_path / "c", 2, run.training_id).tensors[name]
        assert torch.equal(found, value), name


def test_a_run_goes_on_with_the_averages_that_it_began_with_whatever_is_asked_later(tiny, tiny_images, tmp_path):
    """What it cannot keep any more is named, and holds up nothing."""
    run, leaving = tiny(steps=4), Stop()

    def go(folder, settings, report=quiet):
        return train(run, tiny_images, tmp_path / folder, tmp_path / f"{folder}.jsonl", settings, report)

    straight = go("a", EVERY._replace(averages=(0.9,)))
    with pytest.raises(Preempted):
        go("b", EVERY._replace(averages=(0.9,), stop=leaving), lambda *_: setattr(leaving, "signum", 10))
    assert (done := newest(tmp_path / "b", run.training_id).step) == 2
    with pytest.warns(NotKept, match=r"at step 1, the average of decay 0.5: asked for after step 2") as told:
        again = go("b", EVERY._replace(averages=(0.5,), snapshots=(1, 3)))
    assert (len(told), done) == (1, 2)
    assert again.averages.keys() == {0.9}
    for name, value in straight.tensors().items():
        assert torch.equal(again.tensors()[name], value), name
    assert any(name.startswith("ema@0.9.") for name in read_snapshot(tmp_path / "b", 3, run.training_id).tensors)


def test_a_run_that_leaves_at_a_snapshots_step_keeps_it(tiny, tiny_images, tmp_path):
    """Asked while its second step is computed, it leaves after that."""
    run, stop = tiny(steps=3), Stop(tmp_path / "stop")
    settings = LoopSettings(CPU, log_every=1, snapshots=(2,), stop=stop)
    with pytest.raises(Preempted, match="saved") as caught:
        train(run, tiny_images, tmp_path, tmp_path / "m.jsonl", settings, lambda *_: stop.file.touch())
    assert "after step 2" in str(caught.value)
    assert read_snapshot(tmp_path, 2, run.training_id).step == 2


def test_snapshots_beyond_the_end_are_refused(tiny, tiny_images, tmp_path):
    with pytest.raises(UserError, match="cannot be kept at these steps"):
        train(tiny(steps=4), tiny_images, tmp_path, tmp_path / "m.jsonl", EVERY._replace(snapshots=(5,)), quiet)


@pytest.mark.parametrize("harm", ["ema-00000001.safetensors", "ema-00000001.json"])
def test_a_damaged_snapshot_is_named_and_a_run_that_trains_again_keeps_it_anew(tiny, tiny_images, tmp_path, harm):
    run = tiny(steps=2)
    train(run, tiny_images, tmp_path, tmp_path / "m.jsonl", EVERY._replace(snapshots=(1,)), quiet)
    whole = (tmp_path / harm).read_bytes()
    (tmp_path / harm).write_bytes(b"x")
    with pytest.raises(RunError, match="snapshot"):
        read_snapshot(tmp_path, 1, run.training_id)
    for path in tmp_path.glob("step-*"):
        path.unlink()
    train(run, tiny_images, tmp_path, tmp_path / "m.jsonl", EVERY._replace(snapshots=(1,)), quiet)
    assert (tmp_path / harm).read_bytes() == whole
    assert read_snapshot(tmp_path, 1, run.training_id).step == 1


def test_leftovers_of_killed_writers_go(tiny, tmp_path):
    (tmp_path / ".step-00000001.safetensors.abc.partial").write_bytes(b"half")
    (tmp_path / "step-00000003.safetensors").write_bytes(b"without a marker")
    with CheckpointWriter(tmp_path, "run", active=False):
        pass
    assert len(list(tmp_path.iterdir())) == 2
    with CheckpointWriter(tmp_path, "run") as writer:
        writer.save(new_state(tiny(), CPU))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000000.json", "step-00000000.safetensors"]
    assert load_file(tmp_path / "step-00000000.safetensors")


def test_tensorboard_gets_the_scalars(tiny, tiny_images, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own imports
        pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
        train(tiny(steps=2), tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY._replace(tensorboard=True), quiet)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(tmp_path / "tensorboard"))
        found.Reload()
    lines = read_log(tmp_path / "m.jsonl")
    assert [(one.step, pytest.approx(one.value)) for one in found.Scalars("loss")] == [
        (line["step"], line["loss"]) for line in lines
    ]
