"""A step of training: seconds, images a second, utilisation, memory; eager and compiled."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.card.networks import DIT, FEASIBLE, GLOBAL, RUNS, authors_network, named
from benchmarks.card.session import Bench, Part
from benchmarks.card.timing import timed
from hdit_repro.cost import count
from hdit_repro.cost.cards import peak, training_flops
from hdit_repro.cost.memory import ROOM, largest_batch, training_memory
from hdit_repro.data.loader import Batch
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import UniformGroups
from hdit_repro.training.acceleration import accelerated
from hdit_repro.training.distributed import World
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.feed import Fed
from hdit_repro.training.loop import new_state
from hdit_repro.training.optim import make_optimizer
from hdit_repro.training.state import TrainingState
from hdit_repro.training.step import Stepper

COMPILED = {"imagenet256": 180}
"""Seconds that a compiled part may take where it is not 120: most is the compiler's."""


def at_batch(run: Run, batch: int) -> Run:
    """The run with steps of `batch` images."""
    training = msgspec.structs.replace(run.training, batch=batch, growth=(), steps=1_000_000)
    return msgspec.structs.replace(run, training=training)


def feasible(run: Run, name: str, bench: Bench) -> int:
    """Images at once: what is wished for, or what fits by the estimate."""
    if bench.tiny:
        return 4
    memory = int(torch.cuda.get_device_properties(bench.device).total_memory * ROOM)
    return max(1, min(FEASIBLE.get(name, FEASIBLE["table1/E"]), largest_batch(run.model, memory, "bfloat16")))


def synthetic(run: Run, step: int, device: torch.device) -> Fed:
    """A step's draws without a data set: random pixels, labels in turn."""
    batch, side = run.training.batch, run.data.resolution
    draws = torch.arange(step * batch, (step + 1) * batch)
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator)
    if device.type == "cuda":
        images = images.pin_memory()
    labels = draws % max(1, run.model.classes)
    return Fed(step * batch, batch, Batch(draws, images, labels))


def stepper(run: Run, device: torch.device, *, compiled: bool, network: nn.Module | None = None) -> Stepper:
    """What takes steps of a run; with `network`, of somebody's network in the place of ours."""
    if network is None:
        state = new_state(run, device)
    else:
        optimizer = msgspec.structs.replace(run.training.optimizer, groups=UniformGroups())
        state = TrainingState(network, EmaWeights(network, run.training.ema), make_optimizer(network, optimizer))
    state.network.train()
    called = accelerated(state.network, recompute=False, compiled=compiled)
    return Stepper(run, state, World(device=device), 0, called)


def one_after_another(take: Stepper, fed: Fed) -> None:
    """A step as the training loop takes it: the host learns what came of it while the next one is computed."""
    take.begin(fed)
    take.settle()
    take.update()


def measured(run: Run, name: str, bench: Bench, *, compiled: bool, network: nn.Module | None = None) -> dict[str, Any]:
    """Numbers of a run's step; where memory is short the batch is halved."""
    batch = feasible(run, name, bench)
    while True:
        try:
            return step_numbers(at_batch(run, batch), name, bench, compiled=compiled, network=network)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        torch.cuda.empty_cache()  # here and not above: an exception being handled holds the network that it came from


def step_numbers(run: Run, name: str, bench: Bench, *, compiled: bool, network: nn.Module | None) -> dict[str, Any]:
    """Seconds of a step at the run's batch, what follows from them, and into how many graphs the compiler cut the
    network, of which it says nothing itself."""
    counters.clear()
    take = stepper(run, bench.device, compiled=compiled, network=network)
    fed = synthetic(run, 0, bench.device)
    found = timed(lambda: one_after_another(take, fed), bench.device, bench.seconds)
    batch, macs = run.training.batch, count(run.model, run.data.resolution).macs
    flops = training_flops(macs) * batch / found.seconds
    sheet = peak(torch.cuda.get_device_name(bench.device), "bfloat16") if bench.device.type == "cuda" else None
    rate = bench.bfloat16_rate()
    return {
        "use": "train" if network is None else "peer", "run": name, "batch": batch, "compiled": compiled,
        "graphs": counters["stats"]["unique_graphs"] if compiled else 0,
        "macs": macs, "precision": run.training.precision,
        "parameters": count(run.model, run.data.resolution).parameters,
        "step_s": found.seconds, "steps": found.calls, "images_per_s": batch / found.seconds, "flops_per_s": flops,
        "matrix_flops_per_s": rate, "mfu_measured": flops / rate if rate else None,
        "mfu_data_sheet": flops / sheet if sheet else None, "memory_gib": found.memory_gib,
        "memory_gib_estimate": training_memory(run.model, batch, "bfloat16").total / 2**30,
    }  # fmt: skip


def part(name: str, compiled: bool) -> Part:
    """The step of a run or peer."""

    def work(bench: Bench) -> dict[str, Any]:
        if bench.tiny and compiled and name != RUNS[0]:
            return {"skipped": f"tiny compiles {RUNS[0]} alone"}
        return measured(named(name, bench.scale), name, bench, compiled=compiled)

    return Part(
        f"train/{name}/{'compiled' if compiled else 'eager'}", work, COMPILED.get(name, 120) if compiled else 45
    )


def authors(compiled: bool) -> Part:
    """The authors' code for row E, in our step at equal batch and precision."""

    def work(bench: Bench) -> dict[str, Any]:
        if bench.authors is None:
            return {"skipped": "no --authors PATH"}
        run = named("table1/E", bench.scale)
        network = authors_network(run, bench.authors).to(bench.device)
        return measured(run, "authors' table1/E", bench, compiled=compiled, network=network)

    return Part(f"train/authors' table1/E/{'compiled' if compiled else 'eager'}", work, 120 if compiled else 45)


OURS = tuple(part(name, compiled) for name in (RUNS[0], *reversed(RUNS[1:])) for compiled in (False, True))
AUTHORS = (authors(False), authors(True))
PEERS = tuple(part(name, compiled) for compiled in (False, True) for name in (DIT, GLOBAL))
