"""Devices by name."""

import pytest
import torch

from hdit_repro.errors import UserError
from hdit_repro.records.schema import on_processor
from hdit_repro.stages.device import facts, prepare
from hdit_repro.stages.settings import Settings


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert prepare(Settings()) == prepare(Settings(device="cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert prepare(Settings()) == torch.device("cuda")
    assert prepare(Settings(device="cuda:1")) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")], "nothing of the process is to touch another card"
    with pytest.raises(UserError, match="no GPU number 2"):
        prepare(Settings(device="cuda:2"))


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:", "cuda:x", "cpu:0", "", "Cuda"])
def test_a_name_of_no_device_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="there is no device called"):
        prepare(Settings(device=name))


def test_a_gpu_is_not_taken_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU that torch can use"):
        prepare(Settings(device="cuda:1"))


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        prepare(Settings(device="cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
        prepare(Settings(device="cpu"))
        assert torch.get_num_threads() == before + 1, "0 leaves what is set"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_threads_that_no_machine_has_are_refused(threads: int) -> None:
    with pytest.raises(UserError, match="so many threads"):
        Settings(threads=threads)


def test_what_a_record_calls_a_processor_is_told_from_a_card() -> None:
    assert on_processor(str(facts(torch.device("cpu"))["device"]))
    assert not on_processor("NVIDIA H100 80GB HBM3")
