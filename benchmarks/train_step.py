"""Images a second and the time of each part of a training step, for a job, a scale and a device.

    python benchmarks/train_step.py table1/E --scale smoke --device cpu --threads 2
    python benchmarks/train_step.py ffhq1024 --device cuda --batch 4 --compile

Parts: data (waiting for the next batch), draws (noise and the like, and the way to the device), forward, backward,
clip, optimizer, average. Parts are timed apart, with the device waited for after each; the rate is that of whole steps
without waiting in between.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import msgspec
import torch

from hdit_repro import jobs
from hdit_repro.cost import count
from hdit_repro.cost.cards import mfu
from hdit_repro.cost.memory import training_memory
from hdit_repro.data.datasets import open_dataset
from hdit_repro.models.dropout import keyed
from hdit_repro.spec.run import Run
from hdit_repro.training.acceleration import accelerated, deterministic
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import Fed, feed
from hdit_repro.training.loop import new_state
from hdit_repro.training.meter import card_peak, peak_memory
from hdit_repro.training.step import Stepper, clip

PARTS = ("data", "draws", "forward", "backward", "clip", "optimizer", "average")
WARM = 3
"""Steps that are not timed."""


class Clock:
    """Adds up the seconds of named parts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    def settle(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.settle()
        before = time.perf_counter()
        yield
        self.settle()
        self.seconds[name] += time.perf_counter() - before


def timed_step(stepper: Stepper, take: Callable[[], Fed], clock: Clock) -> None:
    """One step, its parts timed apart; what it computes is what `Stepper` does for a whole batch."""
    run, state = stepper.run, stepper.state
    with clock.part("data"):
        fed = take()
    with clock.part("draws"):
        draws = stepper.draws(fed)
    state.optimizer.zero_grad(set_to_none=True)
    bfloat16 = run.training.precision == "bfloat16"
    with keyed(state.network, draws.keys):
        with clock.part("forward"), torch.autocast(clock.device.type, torch.bfloat16, enabled=bfloat16):
            loss = stepper.objective(stepper.network, draws).mean()
        with clock.part("backward"):
            loss.backward()
    with clock.part("clip"):
        clip(state.network, run.training.clip)
    with clock.part("optimizer"):
        state.optimizer.step()
    with clock.part("average"):
        state.ema.update(state.network, state.step)
    state.step += 1


def measure(run: Run, device: torch.device, steps: int, *, recompute: bool, compiled: bool) -> dict[str, object]:
    """Rates and times of a run's first steps; the rate includes the wait for data."""
    state = new_state(run, device)
    state.network.train()
    network = accelerated(state.network, recompute=recompute, compiled=compiled)
    stepper, clock = Stepper(run, state, World(device=device), 0, network), Clock(device)
    with closing(feed(run, open_dataset(run.data), 0, WARM + 2 * steps, device=device)) as parts:
        for _ in range(WARM):
            stepper(next(parts))
        clock.settle()
        before = time.perf_counter()
        for _ in range(steps):  # as the training loop takes them
            stepper.begin(next(parts))
            stepper.settle()
            stepper.update()
        clock.settle()
        whole = (time.perf_counter() - before) / steps
        stepper.settle()
        for _ in range(steps):
            timed_step(stepper, lambda: next(parts), clock)
    rate, peak = run.training.batch / whole, card_peak(device, run.training.precision)
    macs = count(run.model, run.data.resolution).macs
    estimate = training_memory(run.model, run.training.batch, run.training.precision, recompute=recompute)
    return {
        "images_per_s": rate,
        "step_seconds": whole,
        "mfu": None if peak is None else mfu(macs, rate, peak),
        "data_share": clock.seconds["data"] / sum(clock.seconds.values()),
        "part_seconds": {name: clock.seconds[name] / steps for name in PARTS},
        "memory_gib": peak_memory(device),
        "memory_gib_estimate": estimate.total / 2**30,
    }


def chosen_run(name: str, scale: str, batch: int, steps: int) -> Run:
    """The run, long enough, at one batch size."""
    tree = msgspec.to_builtins(jobs.find(name, scale).run)
    tree["training"] |= {"steps": WARM + 2 * steps, "growth": []}
    if batch:
        tree["training"]["batch"] = batch
    return msgspec.convert(tree, Run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="experiment/row, such as table1/E")
    parser.add_argument("--scale", default="smoke", help="paper, mini or smoke")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    parser.add_argument("--batch", type=int, default=0, help="images a step; 0 is the run's own")
    parser.add_argument("--steps", type=int, default=10, help="steps to time")
    parser.add_argument("--recompute", action="store_true", help="compute activations again in the backward pass")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--deterministic", action="store_true", help="only kernels that give the same bits each time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    with deterministic(asked.deterministic):
        run = chosen_run(asked.run, asked.scale, asked.batch, asked.steps)
        device = torch.device(asked.device)
        found = measure(run, device, asked.steps, recompute=asked.recompute, compiled=asked.compile)
    if asked.json:
        print(json.dumps({"run": asked.run, "scale": asked.scale, "device": asked.device, **found}))
        return
    show(found, f"{asked.run} at {asked.scale} scale on {asked.device}, batch {run.training.batch}")


def show(found: dict[str, object], title: str) -> None:
    """Print the measurement as lines."""
    print(title)
    print(f"  {found['images_per_s']:.1f} images/s, {1000 * float(str(found['step_seconds'])):.1f} ms a step")
    print(f"  waiting for data: {100 * float(str(found['data_share'])):.1f} % of a step")
    if found["mfu"] is not None:
        print(f"  MFU {100 * float(str(found['mfu'])):.1f} %")
    print(f"  memory {found['memory_gib']:.2f} GiB (a step's estimate: {found['memory_gib_estimate']:.2f} GiB)")
    parts = found["part_seconds"]
    assert isinstance(parts, dict)
    for name, seconds in parts.items():
        print(f"  {name:<10} {1000 * seconds:8.1f} ms")


if __name__ == "__main__":
    main()
