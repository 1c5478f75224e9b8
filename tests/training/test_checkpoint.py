"""Checkpoints are whole or passed over; the log is cut back; the state comes back to the bit."""

import json
import warnings

import pytest
import torch
from torch import nn

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import write_json
from hdit_repro.spec.training import Ema
from hdit_repro.training.checkpoint import (
    DamagedCheckpoint,
    clear_partial,
    newest,
    newest_file,
    read_final,
    read_snapshot,
    save_checkpoint,
    thin,
    unmark,
)
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.log import MetricsLog, read_log
from hdit_repro.training.state import TrainingState


def make_state(width=3):
    torch.manual_seed(0)
    network = nn.Linear(width, 2)
    ema = EmaWeights(network, Ema(decay=0.9))
    return TrainingState(network, ema, torch.optim.AdamW(network.parameters(), lr=0.1))


def unreadable(path):
    """Put in a file's place one that opens, and of which no byte can be read."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def take_steps(state, count):
    generator = torch.Generator().manual_seed(state.step)
    for _ in range(count):
        state.optimizer.zero_grad()
        state.network(torch.randn(4, state.network.in_features, generator=generator)).square().mean().backward()
        state.optimizer.step()
        state.ema.update(state.network, state.step)
        state.step += 1


def test_a_state_comes_back_to_the_bit_and_goes_on_the_same(tmp_path):
    straight, broken = make_state(), make_state()
    take_steps(straight, 3)
    take_steps(broken, 3)
    save_checkpoint(tmp_path, broken.tensors(), broken.step, "run")
    again = make_state()
    found = newest(tmp_path, "run")
    again.restore(found.tensors, found.step)
    take_steps(straight, 2)
    take_steps(again, 2)
    assert again.step == straight.step == 5
    for name, value in straight.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "marker"])
def test_a_damaged_newest_checkpoint_is_named_and_passed_over(tmp_path, harm):
    state = make_state()
    for step in (1, 2):
        take_steps(state, 1)
        save_checkpoint(tmp_path, state.tensors(), step, "run")
    path = tmp_path / "step-00000002.safetensors"
    data = bytearray(path.read_bytes())
    if harm == "truncated":
        path.write_bytes(data[:-5])
    elif harm == "flipped":
        data[-3] ^= 1
        path.write_bytes(data)
    elif harm == "missing":
        path.unlink()
    else:
        path.with_suffix(".json").write_text('{"file": "step')
    with pytest.warns(DamagedCheckpoint, match="step-00000002"):
        found = newest(tmp_path, "run")
    assert found.step == 1


def test_a_checkpoint_that_the_disk_does_not_give_back_is_named_and_not_passed_over(tmp_path):
    """It may be there for the next start, and those after the one before it would be deleted."""
    for step in (1, 2):
        save_checkpoint(tmp_path, make_state().tensors(), step, "run")
    path = tmp_path / "step-00000002.safetensors"
    unreadable(path)
    with pytest.raises(RunError, match=r"step-00000002.safetensors: Input/output error") as caught:
        newest(tmp_path, "run")
    assert "delete that file: the run goes on from the one before" in caught.value.fix
    path.unlink()
    with pytest.warns(DamagedCheckpoint, match="step-00000002"):
        assert newest(tmp_path, "run").step == 1


def test_the_same_state_is_the_same_bytes_each_time(tmp_path):
    tensors = make_state().tensors()
    for attempt in range(12):
        save_checkpoint(tmp_path / str(attempt), tensors, 3, "run")
    assert len({(tmp_path / str(n) / "step-00000003.safetensors").read_bytes() for n in range(12)}) == 1


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path / "nothing", "run") is None


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    save_checkpoint(tmp_path, make_state().tensors(), 0, "other")
    with pytest.raises(UserError, match="another configuration"):
        newest(tmp_path, "run")


def test_other_shapes_and_names_are_refused_and_nothing_is_copied():
    state, wider = make_state(3), make_state(4)
    before = {name: value.clone() for name, value in state.tensors().items()}
    with pytest.raises(UserError, match=r"network\.weight is \(2, 4\), expected \(2, 3\)"):
        state.restore(wider.tensors(), 0)
    lacking = {name: value for name, value in state.tensors().items() if name != "ema.bias"}
    with pytest.raises(UserError, match=r"ema\.bias is missing"):
        state.restore(lacking, 0)
    with pytest.raises(UserError, match="extra is not of this network"):
        state.restore({**state.tensors(), "extra": torch.ones(1)}, 0)
    assert all(torch.equal(before[name], value) for name, value in state.tensors().items())


def test_moments_come_back_on_the_device_of_their_parameters():
    """All of them: the fused optimiser counts steps there too."""
    state, elsewhere = make_state(), make_state()
    take_steps(state, 1)
    elsewhere.network.to("meta")
    elsewhere.ema.weights = {name: value.to("meta") for name, value in elsewhere.ema.weights.items()}
    elsewhere.restore(state.tensors(), 1)
    moments = [value for one in elsewhere.optimizer.state.values() for value in one.values()]
    assert len(moments) == 6
    assert all(value.device.type == "meta" for value in moments)


def test_a_checkpoint_without_moments_is_refused():
    state = make_state()
    take_steps(state, 1)
    with pytest.raises(UserError, match="optimiser"):
        make_state().restore({n: v for n, v in state.tensors().items() if not n.startswith("optimizer")}, 1)


def test_a_checkpoint_of_skipped_steps_alone_has_no_moments_and_comes_back(tmp_path):
    state = make_state()
    for _ in range(2):
        state.watchdog.judge(float("nan"), 1.0)
    state.step = 2
    save_checkpoint(tmp_path, state.tensors(), state.step, "run")
    found, back = newest(tmp_path, "run"), make_state()
    back.restore(found.tensors, found.step)
    assert (back.step, back.watchdog.skipped, back.watchdog.row, len(back.optimizer.state)) == (2, 2, 2, 0)


def test_two_checkpoints_are_kept_where_nobody_says_how_many(tmp_path):
    """The one before stands in where the newest is damaged."""
    for step in range(1, 5):
        save_checkpoint(tmp_path, make_state().tensors(), step, "run")
        thin(tmp_path, step)
    assert [path.stem for path in sorted(tmp_path.glob("step-*.json"))] == ["step-00000003", "step-00000004"]


def test_the_newest_of_more_steps_than_names_have_digits_for_is_the_one_of_most_steps(tmp_path):
    state = make_state()
    for step in (99_999_998, 99_999_999, 100_000_000):
        save_checkpoint(tmp_path, state.tensors(), step, "run")
    thin(tmp_path, 100_000_000)
    assert newest(tmp_path, "run").step == 100_000_000
    assert newest_file(tmp_path, 100_000_000).name == "step-100000000.safetensors"
    assert len(list(tmp_path.glob("*.json"))) == 2


STRAYS = ("step-00000009 (copy)", "step-00000009~", "step-", "step-\u0669", "step-00000009.orig", "ema-00000009 (copy)")


def test_what_lies_beside_checkpoints_under_like_names_is_none_and_stays(tmp_path):
    for name in STRAYS:
        for ending in ("json", "safetensors"):
            (tmp_path / f"{name}.{ending}").write_text("somebody's")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, make_state().tensors(), step, "run")
        thin(tmp_path, step, keep=1)
    clear_partial(tmp_path)
    assert newest(tmp_path, "run").step == 3
    assert newest_file(tmp_path, 99).name == "step-00000003.safetensors"
    with pytest.raises(UserError, match=r"no snapshot in"):
        read_snapshot(tmp_path, 9, "run")
    assert len(list(tmp_path.iterdir())) == 2 * len(STRAYS) + 2


def test_old_checkpoints_go_and_the_final_one_stays(tmp_path):
    markers = [save_checkpoint(tmp_path, make_state().tensors(), step, "run") for step in range(5)]
    write_json(tmp_path / "final.json", markers[0])
    thin(tmp_path, 4, keep=2)
    assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == [
        "step-00000000",
        "step-00000003",
        "step-00000004",
    ]
    assert len(list(tmp_path.glob("step-*.json"))) == 3


@pytest.mark.parametrize("text", ['{"file": "step-0', "[]", "{}"])
def test_a_damaged_final_marker_counts_as_none(tmp_path, text):
    (tmp_path / "final.json").write_text(text)
    for step in range(3):
        save_checkpoint(tmp_path, make_state().tensors(), step, "run")
        thin(tmp_path, step, keep=1)
    assert [path.stem for path in tmp_path.glob("*.safetensors")] == ["step-00000002"]


def test_damaged_checkpoints_that_were_passed_over_do_not_count_as_the_newest(tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, make_state().tensors(), step, "run")
    (tmp_path / "step-00000030.safetensors").write_bytes(b"cut")
    with pytest.warns(DamagedCheckpoint, match="step-00000030"):
        assert newest(tmp_path, "run").step == 20
    assert newest_file(tmp_path, 25).name == "step-00000020.safetensors"
    save_checkpoint(tmp_path, make_state().tensors(), 25, "run")
    thin(tmp_path, 25, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "step-00000020.safetensors",
        "step-00000025.safetensors",
    ]
    assert newest(tmp_path, "run").step == 25


@pytest.mark.parametrize("said", [{"step": 40}, {"file": "grid.png"}, {"step": "20.5"}, {"step": None}])
def test_a_marker_that_says_other_than_its_file_is_damage(tmp_path, said):
    """At another step the weights would go on with other draws."""
    (tmp_path / "grid.png").write_bytes(b"")
    marker = save_checkpoint(tmp_path, make_state().tensors(), 20, "run")
    write_json(tmp_path / "step-00000020.json", {**marker, **said})
    with pytest.warns(DamagedCheckpoint):
        assert newest(tmp_path, "run") is None


def test_a_damaged_final_network_is_named_and_can_be_made_again(tmp_path):
    with pytest.raises(RunError, match=r"not trained to its end(.|\n)*final\.json(.|\n)*hdit-repro train"):
        read_final(tmp_path, "run")
    marker = save_checkpoint(tmp_path, make_state().tensors(), 7, "run")
    write_json(tmp_path / "final.json", marker)
    assert read_final(tmp_path, "run").step == 7
    (tmp_path / marker["file"]).write_bytes(b"")
    with pytest.raises(RunError, match="same command again"):
        read_final(tmp_path, "run")
    assert not (tmp_path / "final.json").exists()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert newest(tmp_path, "run") is None


def test_reading_a_final_network_whose_file_is_on_its_way_leaves_it_finished(tmp_path):
    marker = save_checkpoint(tmp_path, make_state().tensors(), 7, "run")
    write_json(tmp_path / "final.json", marker)
    (tmp_path / marker["file"]).rename(tmp_path / "away")
    with pytest.raises(RunError, match=r"not here(.|\n)*is missing(.|\n)*still being copied(.|\n)*same command again"):
        read_final(tmp_path, "run")
    (tmp_path / "away").rename(tmp_path / marker["file"])
    assert read_final(tmp_path, "run").step == 7


@pytest.mark.parametrize("spoilt", ["step-00000007.safetensors", "final.json"])
@pytest.mark.parametrize("absent", [True, False])
def test_what_makes_a_final_network_anew_is_said_as_it_was_given(tmp_path, spoilt, absent):
    """Where one was imported, a training was promised."""
    write_json(tmp_path / "final.json", save_checkpoint(tmp_path, make_state().tensors(), 7, "run"))
    (tmp_path / spoilt).unlink() if absent else (tmp_path / spoilt).write_text("{}")
    with pytest.raises(RunError) as caught:
        read_final(tmp_path, "run", "import it")
    assert caught.value.fix.endswith("import it")
    assert "train" not in caught.value.fix


def test_a_training_that_goes_on_is_unmarked_and_another_runs_is_not(tmp_path):
    unmark(tmp_path, "run")
    final = tmp_path / "final.json"
    for text in ("[]", "{", '{"run": "another"}'):
        final.write_text(text)
        unmark(tmp_path, "run")
        assert final.read_text() == text
    final.write_text('{"run": "run"}')
    unmark(tmp_path, "run")
    assert not final.exists()


def test_the_log_is_cut_back_to_where_a_restart_begins(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0 / step})
    with open(log.path, "a") as file:
        file.write('{"step": 40, "lo')
    assert [line["step"] for line in read_log(log.path)] == [10, 20, 30]
    MetricsLog(tmp_path / "metrics.jsonl", 20).append({"step": 30, "loss": 0.5})
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == [
        {"step": 10, "loss": 0.1},
        {"step": 20, "loss": 0.05},
        {"step": 30, "loss": 0.5},
    ]


def test_lines_that_the_disk_spoilt_are_left_out_and_the_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 10, "loss": 1.0}\n{"step": \xb7}\n{"step": "x"}\n7\n"a step"\n{"step": 20, "loss": 2.0}\n'
    )
    assert [line["step"] for line in read_log(path)] == [10, 20]
    MetricsLog(path, 10)
    assert path.read_text() == '{"step": 10, "loss": 1.0}\n'


def test_ema_is_the_weighted_sum_of_all_weights():
    network = nn.Linear(1, 1, bias=False)
    ema = EmaWeights(network, Ema(decay=0.5))
    values = [float(network.weight.detach())]
    for step, value in enumerate((1.0, 2.0, 4.0)):
        with torch.no_grad():
            network.weight.fill_(value)
        ema.update(network, step)
        values.append(value)
    expected = values[0] / 8 + 1.0 / 8 + 2.0 / 4 + 4.0 / 2
    assert float(ema.weights["weight"]) == pytest.approx(expected)


def test_averages_of_nearly_one_decay_keep_their_own_names_and_come_back():
    """Of seven digits, six would make one name of two of them, and a decay of 1 of another."""
    decays = (0.0, 0.9999, 0.9999991, 0.9999992, 0.99999999)
    network = nn.Linear(1, 1)
    kept = {decay: EmaWeights(network, Ema(decay=decay)) for decay in decays}
    state = TrainingState(
        network, EmaWeights(network, Ema(decay=0.5)), torch.optim.AdamW(network.parameters()), 0, kept
    )
    for number, average in enumerate(kept.values()):
        average.weights["bias"].fill_(number)
    tensors = state.tensors()
    assert {"ema@0.bias", "ema@0.9999.bias"} <= tensors.keys(), "the names that there were"
    state.averages = {}
    state.restore(tensors, 0)
    assert {decay: float(average.weights["bias"]) for decay, average in state.averages.items()} == {
        decay: float(number) for number, decay in enumerate(decays)
    }
