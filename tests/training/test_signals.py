"""Asking a run to leave: signals, time limit, stop file; and finding the other processes in the environment."""

import os
import pickle
import signal
import threading
import time

import pytest
import torch

from hdit_repro.errors import UserError
from hdit_repro.training.checkpoint import newest
from hdit_repro.training.loop import LoopSettings, train
from hdit_repro.training.rendezvous import ALONE, Place, first_host, place
from hdit_repro.training.signals import Preempted, Stop


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handler_before_comes_back(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("before"))
    try:
        with Stop() as stop:
            assert stop.reason == ""
            os.kill(os.getpid(), number)
            assert stop.reason == f"signal {signal.Signals(number).name}"
            assert stop.signum == number
        signal.raise_signal(number)
        assert heard == ["before"]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("first", [signal.SIGUSR2, signal.SIGTERM])
def test_usr2_counts_whether_term_comes_before_or_after(first):
    second = signal.SIGTERM if first is signal.SIGUSR2 else signal.SIGUSR2
    with Stop() as stop:
        signal.raise_signal(first)
        signal.raise_signal(second)
        assert stop.signum == signal.SIGUSR2


def test_a_second_interrupt_does_not_wait_but_an_echo_does(monkeypatch):
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun passes on what the terminal has sent already
        assert stop.signum == signal.SIGINT
        monkeypatch.setattr("hdit_repro.training.signals.ECHO", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with Stop():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # another one: it is noted, and the run still saves


def test_a_signal_is_acknowledged_once_and_says_what_a_second_one_does(capfd):
    with Stop():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        said = capfd.readouterr()
        assert said == ("", "asked to leave by SIGTERM: this step is finished and saved first\n")
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # its echo
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("asked to leave by SIGINT")
        assert "Ctrl-C once more leaves now" in line
    with Stop(tells=False):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr() == ("", "")


def test_a_signal_is_noted_though_nobody_reads_what_is_said_of_it():
    kept, (read, write) = os.dup(2), os.pipe()
    os.close(read)
    os.dup2(write, 2)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop.signum == signal.SIGTERM
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(write)


def test_the_time_limit_and_the_stop_file(tmp_path):
    with Stop(tmp_path / "stop", seconds=0.05) as stop:
        assert stop.reason == ""
        time.sleep(0.06)
        assert "time limit of 0.05 s" in stop.reason
    with Stop(tmp_path / "stop") as stop:
        (tmp_path / "stop").touch()
        assert str(tmp_path / "stop") in stop.reason
        stop.answered()
        assert stop.reason == ""
        assert not (tmp_path / "stop").exists()


def test_outside_the_main_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def other():
        with Stop():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [before]


def test_leaving_has_its_own_exit_code_and_survives_pickling():
    error = Preempted("left", found="a signal", fix="again")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.exit_code, str(again)) == (Preempted, 75, str(error))


@pytest.mark.parametrize("ask", ["USR2", "INT", "time", "file"])
def test_one_process_finishes_its_step_saves_and_leaves(tiny, tiny_images, tmp_path, ask):
    asked = {"USR2": signal.SIGUSR2, "INT": signal.SIGINT}
    run = tiny(steps=2000)
    straight = tiny(steps=2000)

    def report(done, *_):
        if done == 3 and ask in asked:
            signal.raise_signal(asked[ask])
        if done == 3 and ask == "file":
            (tmp_path / "stop").touch()

    with Stop(tmp_path / "stop", seconds=0.3 if ask == "time" else 0) as stop:
        settings = LoopSettings(torch.device("cpu"), log_every=1, stop=stop)
        with pytest.raises(Preempted, match="saved") as caught:
            train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, report)
    assert caught.value.signum == asked.get(ask)
    saved = newest(tmp_path / "c", straight.training_id)
    assert saved.step >= 1
    assert f"after step {saved.step}" in str(caught.value)
    if ask != "time":
        assert saved.step == 4  # asked while step 3 was noted; the next look is after step 4


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_NODELIST": "gpu[003-004]",
    "SLURM_JOB_ID": "1234567",
}


def test_places_from_the_environment():
    assert place("auto", {}) == ALONE
    assert place("none", TORCHRUN) == ALONE
    assert place("auto", TORCHRUN) == Place(3, 8, 1, "host", 29500)
    by_hand = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_RANK"}
    assert place("auto", by_hand).local_rank == 3, "on one node, where each process needs a card of its own"
    assert place("auto", SLURM) == ALONE
    assert place("slurm", SLURM) == Place(5, 8, 1, "gpu003", 20_000 + 1234567 % 12_000)
    restarted = [place("slurm", {**SLURM, "SLURM_RESTART_COUNT": str(count)}).port for count in range(1, 11)]
    assert len({*restarted, place("slurm", SLURM).port}) == 11, "a port that another has taken is not tried again"
    assert 20_000 <= min(restarted) <= max(restarted) < 32_768, "no port of outgoing connections"
    step = {"SLURM_JOB_NODELIST": "gpu[001-009]", "SLURM_STEP_NODELIST": "gpu[007-008]"}
    assert place("slurm", {**SLURM, **step}).address == "gpu007", "where the first process runs"
    assert place("slurm", {**SLURM, "MASTER_ADDR": "a", "MASTER_PORT": "7"}) == Place(5, 8, 1, "a", 7)
    assert place("slurm", {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}) == ALONE
    assert place("auto", {"RANK": "0", "WORLD_SIZE": "1"}) == ALONE


def test_outside_of_slurm_its_step_is_missing_and_not_a_variable():
    with pytest.raises(UserError, match="none of a SLURM step") as refusal:
        place("slurm", {})
    assert refusal.value.fix == "leave --distributed out, or start it with srun"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WORLD_SIZE": None}, "WORLD_SIZE is not set"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"RANK": "8"}, "process 8 of 8"),
        ({"RANK": "two"}, "RANK is no number"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "0"}, "cannot meet at this port"),
        ({"MASTER_PORT": "295000"}, "cannot meet at this port"),
    ],
)
def test_a_wrong_environment_is_refused(changes, words):
    found = {name: value for name, value in {**TORCHRUN, **changes}.items() if value is not None}
    with pytest.raises(UserError, match=words):
        place("auto", found)
    with pytest.raises(UserError, match="no such way"):
        place("mpi", found)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[003-006,9],other", "gpu003"),
        ("rack[1-2]node[07,09]", "rack1node07"),
        ("a-b[12]", "a-b12"),
    ],
)
def test_the_first_host_of_a_node_list(nodes, first):
    assert first_host(nodes) == first
