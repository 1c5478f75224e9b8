"""Any number of processes, any split of the batch: the same draws, and the same steps up to the order of sums."""

import signal
import socket
import time

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro.data.order import index_of
from hdit_repro.errors import UserError
from hdit_repro.training import distributed
from hdit_repro.training.checkpoint import newest
from hdit_repro.training.distributed import GradientSum, World, join, local_device
from hdit_repro.training.log import read_log
from hdit_repro.training.rendezvous import Lost, Place, check_size

STEPS = 10


@pytest.fixture(scope="module")
def split(tiny, tiny_images, processes, tmp_path_factory):
    """The run of ten steps, split in a way: (losses, draws by process, final tensors)."""
    done = {}

    def get(size, microbatch=0, batch=8):
        key = (size, microbatch, batch)
        if key not in done:
            run = tiny(steps=6, batch=batch, growth=[{"steps": 4, "batch": 2 * batch}])
            folder = tmp_path_factory.mktemp(f"split-{size}-{microbatch}-{batch}")
            started = processes(run, folder, size, microbatch=microbatch)
            assert started.join() == [0] * size, started.results()
            found = started.results()
            tensors = newest(folder / "checkpoints", run.training_id).tensors
            done[key] = ([line["loss"] for line in read_log(folder / "metrics.jsonl")], found, tensors)
        return done[key]

    return get


@pytest.mark.parametrize(("size", "microbatch"), [(1, 4), (2, 0), (2, 2), (4, 0), (4, 1)])
def test_any_split_takes_the_same_steps(split, size, microbatch):
    losses, _, tensors = split(1)
    other, _, others = split(size, microbatch)
    assert len(losses) == len(other) == STEPS
    np.testing.assert_allclose(other, losses, rtol=1e-5)
    for name, value in tensors.items():
        if name.startswith("ema."):
            torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("size", "microbatch"), [(1, 0), (1, 4), (2, 0), (2, 2), (4, 0), (4, 1)])
def test_together_the_processes_draw_every_image_number_once(split, tiny, size, microbatch):
    _, results, _ = split(size, microbatch)
    draws = sorted(draw for result in results for draw in result["draws"])
    assert draws == list(range(6 * 8 + 4 * 16))
    parts = [index_of(result["draws"], 3781, 0) for result in results]
    assert sorted(np.concatenate(parts)) == sorted(index_of(draws, 3781, 0))


def test_shares_cover_a_step_and_are_equal():
    for size in (1, 2, 3, 8):
        shares = [World(rank, size).share(100, 24) for rank in range(size)]
        assert shares == [(100 + rank * 24 // size, 24 // size) for rank in range(size)]


@pytest.mark.parametrize(
    ("batch", "growth", "size", "mend"),
    [(4, 0, 5, "start 4"), (8, 0, 3, "start 2 or 4"), (8, 12, 8, "start 4"), (6, 0, 4, "start 3 or 6")],
)
def test_processes_that_do_not_divide_the_batch_are_refused_with_the_mend(tiny, batch, growth, size, mend):
    training = tiny(batch=batch, growth=[{"steps": 2, "batch": growth}] if growth else []).training
    with pytest.raises(UserError, match="do not divide its batch") as caught:
        check_size(training, size)
    assert caught.value.fix == mend
    for number in (int(word) for word in mend.split() if word.isdigit()):
        check_size(training, number)


def test_a_training_of_three_processes_and_a_batch_of_eight_ends_before_it_begins(tiny, processes, tmp_path):
    started = processes(tiny(batch=8), tmp_path, 3)
    assert started.join() == [2, 2, 2]
    assert all("start 2 or 4" in result["message"] for result in started.results())
    assert not (tmp_path / "checkpoints").exists()


def test_buckets_hold_every_parameter_once_from_the_last_to_the_first():
    network = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(5)))
    sums = GradientSum(network, World(), bucket_bytes=100)
    dealt = [parameter for bucket in sums.buckets for parameter in bucket]
    assert [id(p) for p in dealt] == [id(p) for p in reversed(list(network.parameters()))]
    assert len(sums.buckets) > 1
    assert all(len(bucket) == 1 or sum(p.numel() * 4 for p in bucket) <= 100 for bucket in sums.buckets)


def test_processes_of_different_runs_refuse_each_other(tiny, processes, tmp_path):
    """Rank 1 is of another seed."""
    run, other = tiny(), tiny(seed=1)
    started = processes(run, tmp_path, 2, per_rank={"1": msgspec.to_builtins(other)})
    assert started.join() == [2, 2]
    assert all("differ in the run" in result["message"] for result in started.results())


def test_unreadable_images_are_noted_alike_by_any_number_of_processes(tiny, tiny_images, processes, tmp_path):
    """Each at the step that draws it; draws 1, 6 and 12 lie in the parts of both processes and in two steps."""
    run = tiny(steps=3)
    bad = index_of([1, 6, 12], len(tiny_images), 0).tolist()
    found = []
    for size in (1, 2):
        folder = tmp_path / str(size)
        assert processes(run, folder, size, holes=bad).join() == [0] * size
        found.append(read_log(folder / "metrics.events.jsonl"))
    assert found[0] == found[1]
    assert [(line["step"], line["event"]) for line in found[0]] == [(1, "unreadable")] * 2 + [(2, "unreadable")]
    assert {line["image"] for line in found[0]} == set(bad)
    assert all(line["replaced_by"] not in bad for line in found[0])
    assert found[0][0]["why"] == f"img{found[0][0]['image']}.png"


@pytest.mark.parametrize("ask", ["USR2", "TERM", "file"])
def test_one_process_is_asked_and_all_save_and_leave(tiny, processes, tmp_path, ask):
    run = tiny(steps=400)
    started = processes(run, tmp_path, 2, pause=0.02)
    log = tmp_path / "metrics.jsonl"
    until = time.monotonic() + 30
    while not read_log(log) and time.monotonic() < until:
        time.sleep(0.02)
    if ask == "file":
        (tmp_path / "stop").touch()
    else:
        started.signal(1, getattr(signal, f"SIG{ask}"))
    assert started.join() == [75, 75]
    first, second = (result["message"] for result in started.results())
    assert "asked to leave and is saved" in first
    assert {"USR2": "signal SIGUSR2", "TERM": "signal SIGTERM", "file": "another process"}[ask] in second
    saved = newest(tmp_path / "checkpoints", run.training_id)
    assert saved.step == read_log(log)[-1]["step"] < 400
    assert not (tmp_path / "stop").exists()


def test_a_lost_process_is_named_and_the_checkpoint_goes_on(tiny, processes, tmp_path):
    run = tiny(steps=400)
    started = processes(run, tmp_path, 2, save_seconds=-1.0)
    while not list((tmp_path).glob("checkpoints/step-*.json")):
        time.sleep(0.02)
    started.kill(1)
    codes = started.join()
    assert codes == [1, -9]
    assert "another process of the run is gone" in (tmp_path / "result-0.json").read_text()
    assert newest(tmp_path / "checkpoints", run.training_id).step > 0


def test_a_port_that_another_program_holds_is_no_lost_process():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Place(0, 2, 0, "127.0.0.1", other.getsockname()[1])
        with (
            pytest.raises(Lost, match=r"did not meet(?s:.)*address already in use"),
            join(taken, torch.device("cpu")),
        ):
            pass


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (torch.distributed.DistBackendError("remote process exited or there was a network error"), True),
        (RuntimeError("NCCL communicator was aborted on rank 0"), True),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:20077"), True),
        (RuntimeError("Timed out waiting 1800000ms for recv operation to complete"), True),
    ],
)
def test_what_a_process_dies_of_itself_is_no_lost_process(error, lost, monkeypatch):
    """A lost one is told by the other, which knows why; its own reason would be hidden."""
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *_, **__: None)
    with pytest.raises(Lost if lost else type(error)) as caught, join(Place(0, 2), torch.device("cpu")):
        raise error
    assert (caught.value is error) is not lost
    assert not lost or "another process of the run is gone" in str(caught.value)


def test_what_nccl_met_is_told(monkeypatch):
    """It stands in the last line; the first names a file of torch's. Without a word, the kind of the error is told."""
    text = (
        "NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.cpp:77, invalid usage, NCCL version 2.27.7\n"
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\n"
        "Last error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000\n"
    )
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *_, **__: None)
    for said, told in ((text, "NCCL version 2.27.7; Duplicate GPU detected"), ("", "DistBackendError")):
        with pytest.raises(Lost, match=told), join(Place(0, 2), torch.device("cpu")):
            raise torch.distributed.DistBackendError(said)


@pytest.mark.parametrize(
    ("device", "place", "cards", "found"),
    [
        ("cuda", Place(6, 8, 1), 4, "cuda:1"),
        ("cuda", Place(3, 4, 3), 1, "cuda:0"),  # each process sees a card of its own
        ("cuda", Place(1, 2, 1), 0, "cuda:0"),
        ("cuda", Place(0, 1, 3), 4, "cuda"),
        ("cuda:2", Place(1, 2, 1), 4, "cuda:2"),
        ("cpu", Place(1, 2, 1), 4, "cpu"),
    ],
)
def test_each_process_of_a_node_takes_a_card_of_its_own(device, place, cards, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    assert local_device(torch.device(device), place) == torch.device(found)
