"""On a card the host never waits: neither in a training step, nor between two steps, nor in a sampler's loop.

No card is needed: its tensors are outlines. What waits here waits on a real one; kernels that only a card has are not
looked into.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch.optim import adam, adamw
from torch.overrides import TorchFunctionMode

from hdit_repro import jobs
from hdit_repro.data.loader import Batch
from hdit_repro.models import attention
from hdit_repro.models.backends import Backend
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.stages import denoiser
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.training import distributed, step
from hdit_repro.training.distributed import World
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.feed import Fed
from hdit_repro.training.meter import scale_range
from hdit_repro.training.optim import make_optimizer
from hdit_repro.training.state import TrainingState
from hdit_repro.training.step import Stepper
from hdit_repro.training.transfer import Reading, upload

CARD = torch.device("meta")
"""Its tensors have shapes and dtypes and no values, so that whoever asks for one fails."""
VALUES = {"tolist", "item", "__bool__", "__float__", "__int__", "cpu", "numpy", "nonzero", "equal", "allclose"}
MADE = {"tensor", "as_tensor"}


class Host(TorchFunctionMode):
    """Notes in `waits` each call that makes the host wait for `CARD`, with the line of the suite that makes it.

    Copies from the host are asked for without waiting where they come from pinned memory with `non_blocking`, copies to
    it where `non_blocking` is said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.copies = 0
        self.pinned: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "pin_memory":
            self.pinned.append(args[0])
            return args[0]
        if name == "to":
            return self._to(func, args, kwargs)
        if name in MADE and torch.device(kwargs.get("device") or "cpu") == CARD:
            self._wait(name)
        if name in VALUES and any(isinstance(each, Tensor) and each.device == CARD for each in args):
            self._wait(name)
            return False if name == "__bool__" else torch.empty_like(args[0], device="cpu")
        return func(*args, **kwargs)

    def _to(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x, words = args[0], [*args[1:], kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")]
        device, dtype = x.device, x.dtype
        for word in words:
            if isinstance(word, torch.dtype):
                dtype = word
            elif isinstance(word, Tensor):
                device, dtype = word.device, word.dtype
            elif isinstance(word, str | torch.device):
                device = torch.device(word)
        if device == x.device:
            return func(x, dtype)
        self.copies += 1
        if not kwargs.get("non_blocking") or (x.device != CARD and not any(x is each for each in self.pinned)):
            self._wait("to")
        return torch.empty(x.shape, dtype=dtype, device=device)

    def _wait(self, name: str) -> None:
        ours = [each for each in traceback.extract_stack() if "hdit_repro" in Path(each.filename).parts]
        self.waits.append(f"{name} at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else name)


@contextlib.contextmanager
def card_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Within the block `CARD` passes for a device with fused optimisers."""
    for module in (adam, adamw):
        if hasattr(module, "_device_dtype_check_for_fused"):
            monkeypatch.setattr(module, "_device_dtype_check_for_fused", lambda *_, **__: None)
    with Host() as host:
        yield host


def outline(network: nn.Module) -> nn.Module:
    """The network with parameters and buffers on the card."""
    return network.to_empty(device=CARD)


ROWS = ["table1/R1", "table1/A", "table1/B1", "table1/E", "ffhq1024"]


@pytest.fixture(autouse=True)
def plain_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighborhood attention in plain torch, and float32: what the others need of a card cannot be outlined."""
    monkeypatch.setattr(attention, "choose", lambda: Backend("tiled", "a test"))
    for module in (step, denoiser):
        monkeypatch.setattr(module, "autocast", lambda precision, device: nullcontext())


def tiny(row: str, **changes: object) -> Run:
    tree = msgspec.to_builtins(jobs.find(row, "smoke").run)
    tree["training"] |= {"batch": 2, "growth": []}
    tree["sampling"] |= changes
    tree["sampling"]["sampler"] |= {"steps": 4}
    return msgspec.convert(tree, Run)


def state_of(run: Run, network: torch.nn.Module) -> TrainingState:
    optimizer = make_optimizer(network, run.training.optimizer)
    return TrainingState(network.train(), EmaWeights(network, run.training.ema), optimizer)


@pytest.mark.parametrize("row", ROWS)
def test_no_training_step_waits(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny(row)
    network = build(run.model, seed=0)
    side = run.data.resolution
    with card_that_is_not_there(monkeypatch) as host:
        stepper = Stepper(run, state_of(run, outline(network)), World(device=CARD))
        labels = torch.zeros(2, dtype=torch.int64) if run.model.classes else None
        images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
        for number in range(2):
            stepper.begin(Fed(2 * number, 2, Batch(torch.tensor([2 * number, 2 * number + 1]), images, labels)))
            stepper._taken = None  # told: what came of the step before is read, and its numbers are outlines
            stepper.update()
            scale_range(stepper.state.network)
            if number == 0:  # what every step needs goes to the card once
                host.waits.clear()
        assert host.copies > 2
        assert host.waits == []


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("row", ["table1/R1", "table1/B1", "table1/E"])
def test_no_step_of_a_sampler_waits(row: str, guidance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits lie before the first call of the network or after the last."""
    run = tiny(row, guidance=guidance)
    network, waits = build(run.model, seed=0).eval(), []
    with card_that_is_not_there(monkeypatch) as host:
        network.register_forward_hook(lambda *_: waits.append(len(host.waits)))
        with torch.no_grad():
            Drawer(run, outline(network), CARD, lambda: None)([0, 1])
    assert len(waits) == run.sampling.sampler.steps
    assert waits[-1] == waits[0]


def test_a_process_that_waits_for_the_others_does_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum over cards goes on beside the host, which would have left before the main process had saved."""
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda values: None)
    with card_that_is_not_there(monkeypatch) as host:
        World(1, 2, CARD).wait()
    assert len(host.waits) == 1


def seen(monkeypatch: pytest.MonkeyPatch, work: object) -> Host:
    with card_that_is_not_there(monkeypatch) as host:
        work(torch.zeros(3), torch.zeros(3, device=CARD))  # type: ignore[operator]
    return host


@pytest.mark.parametrize(
    "work",
    [
        lambda here, there: here.to(CARD),
        lambda here, there: here.to(CARD, non_blocking=True),  # from memory that is not pinned
        lambda here, there: here.to(there),
        lambda here, there: there.cpu(),
        lambda here, there: there.to("cpu"),
        lambda here, there: torch.tensor([1.0], device=CARD),
        lambda here, there: torch.as_tensor(3, device=CARD),
    ],
)
def test_a_wait_is_seen(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(seen(monkeypatch, work).waits) == 1


def test_what_does_not_wait_is_not_taken_for_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(here: torch.Tensor, there: torch.Tensor) -> None:
        upload(here, CARD)
        Reading(there.double())
        torch.full((2,), 3, device=CARD)

    host = seen(monkeypatch, work)
    assert (host.waits, host.copies) == ([], 2)
