"""A training step and a sampler against the authors' released code: same network, weights, batch, precision, machine.

    python benchmarks/step_against_authors.py --authors PATH [--threads 2] [--batch 8] [--turns 6] [--processes 3]
                                              [--compile] [--precision bfloat16] [--profile] [--json]

Each side runs in processes of its own, as it does when it trains; they take turns, and the median of a process's steps,
then of the processes, counts. A step is: loss, backward pass, AdamW, moving average. Peak memory is the most that the
allocator held above what it held before the step. Both samplers are DPM-Solver++(3M) SDE and draw noise by torch.randn.
In bfloat16 the forward pass of both is under autocast, as both train. --profile prints where the time of a step goes
instead.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch._inductor.config
from authors import authors, network
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from turns import OwnProcess, in_turns

from hdit_repro import jobs
from hdit_repro.diffusion import Precondition, edm_loss
from hdit_repro.models.arithmetic import autocast
from hdit_repro.models.build import build
from hdit_repro.models.interop import to_k_diffusion
from hdit_repro.samplers import SAMPLERS, karras_sigmas
from hdit_repro.spec.diffusion import Edm
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision
from hdit_repro.stages.heap import HugePages, keep_freed_memory
from hdit_repro.training.acceleration import accelerated
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.optim import make_optimizer

KINDS: dict[str, list[dict[str, Any]]] = {
    "shifted-window": [{"kind": "shifted-window", "window": 8}, {"kind": "global"}],
    "global": [{"kind": "global"}, {"kind": "global"}],
}
EAGER, COMPILED = ("ours", "theirs"), ("ours compiled", "theirs by default")
"""Names of the sides, ours and theirs. By default their small kernels are compiled, and no more."""
AVERAGE, OPTIMISER = "average", "Optimizer.step"
SHAPE = {"resolution": 64, "patch": 4, "widths": [128, 256], "depths": [2, 2], "heads": [2, 4], "d_ffs": []}


def chosen(kind: str) -> Run:
    """Table 1's row E at the paper's head width and patch, two levels, with the kind of attention asked for."""
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    tree["model"] |= {**SHAPE, "attention": KINDS[kind]}
    tree["data"]["resolution"] = SHAPE["resolution"]
    return msgspec.convert(tree, Run)


class Ours:
    """Our network, step and sampler."""

    def __init__(self, run: Run, *, compiled: bool = False) -> None:
        assert isinstance(run.diffusion, Edm)
        self.edm, self.module = run.diffusion, build(run.model, seed=0)
        nudge(self.module)
        self.network = accelerated(self.module, recompute=False, compiled=compiled, fullgraph=compiled)
        self.optimizer = make_optimizer(self.module, run.training.optimizer)
        self.ema = EmaWeights(self.module, run.training.ema)

    def loss(self, image: Tensor, noise: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return edm_loss(self.network, image, noise, sigma, self.edm, class_cond=label).mean()  # type: ignore[arg-type]

    def update(self) -> None:
        self.optimizer.step()
        with record_function(AVERAGE):
            self.ema.update(self.module, 100)

    def sample(self, x: Tensor, label: Tensor, steps: int) -> Tensor:
        denoiser = Precondition(self.network, self.edm.sigma_data)  # type: ignore[arg-type]
        sigmas = karras_sigmas(steps, 0.01, 80.0)
        torch.manual_seed(0)
        with torch.inference_mode():
            return SAMPLERS["dpmpp_3m_sde"](
                lambda x, s: denoiser(x, s, class_cond=label), x * 80, sigmas, noise=lambda _: torch.randn_like(x)
            )


class Theirs:
    """The authors' network with our weights, their loss, optimiser's groups, average and sampler."""

    def __init__(self, code: Any, run: Run, weights: dict[str, Tensor]) -> None:
        assert isinstance(run.diffusion, Edm)
        self.code, self.module = code, network(code, run.model)
        self.module.load_state_dict(weights)
        sigma_data = run.diffusion.sigma_data
        self.denoiser = code.layers.Denoiser(self.module, sigma_data=sigma_data, weighting="soft-min-snr")
        asked = run.training.optimizer
        self.optimizer = torch.optim.AdamW(
            self.module.param_groups(asked.learning_rate), betas=asked.betas, eps=asked.eps,
            weight_decay=asked.weight_decay,
        )  # fmt: skip
        self.average = copy.deepcopy(self.module).requires_grad_(False)

    def loss(self, image: Tensor, noise: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return self.denoiser.loss(image, noise, sigma, class_cond=label).mean()

    def update(self) -> None:
        self.optimizer.step()
        with record_function(AVERAGE), torch.no_grad():
            self.code.utils.ema_update(self.module, self.average, 0.99)

    def sample(self, x: Tensor, label: Tensor, steps: int) -> Tensor:
        sigmas = self.code.sampling.get_sigmas_karras(steps, 0.01, 80.0)
        torch.manual_seed(0)
        with torch.no_grad():
            return self.code.sampling.sample_dpmpp_3m_sde(
                self.denoiser, x * 80, sigmas, extra_args={"class_cond": label}, disable=True,
                noise_sampler=lambda *_: torch.randn_like(x),
            )  # fmt: skip


Side = Ours | Theirs


def nudge(module: nn.Module) -> None:
    """Weights that start at zero get values, so that no product is spared."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)


def step(side: Side, batch: Sequence[Tensor], precision: Precision = "float32") -> float:
    """One whole step."""
    side.optimizer.zero_grad(set_to_none=True)
    with autocast(precision, batch[0].device):
        loss = side.loss(*batch)
    loss.backward()
    side.update()
    return float(loss.detach())


def peak(call: Callable[[], Any]) -> int:
    """The most bytes that the allocator held during `call`, above what it held before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    held = most = 0
    for event in found.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def batch_of(run: Run, count: int) -> tuple[Tensor, ...]:
    """Images, noise, noise levels and labels of a step."""
    torch.manual_seed(0)
    side = run.data.resolution
    image, noise = torch.randn(2, count, 3, side, side).unbind(0)
    return image, noise, torch.rand(count) + 0.1, torch.arange(count) % run.model.classes


def make_side(name: str, checkout: Path, run: Run) -> Side:
    """One of `EAGER` and `COMPILED`; all start from the same weights."""
    compiled = name in COMPILED
    ours = Ours(run, compiled=compiled and name.startswith("ours"))
    if name.startswith("ours"):
        return ours
    weights = to_k_diffusion({key: value.clone() for key, value in ours.module.state_dict().items()})
    return Theirs(authors(checkout, compiled=compiled), run, weights)


class Station:
    """One side as it would run: in a process of its own, ours with the heap that our workers have."""

    def __init__(self, name: str, checkout: Path, kind: str, batch: int, precision: Precision, threads: int) -> None:
        torch.set_num_threads(threads)
        if name.startswith("ours"):
            keep_freed_memory()
        self.pages = HugePages() if name.startswith("ours") else None
        run = chosen(kind)
        self.side, self.data, self.precision = make_side(name, checkout, run), batch_of(run, batch), precision

    def loss(self) -> float:
        with autocast(self.precision, self.data[0].device):
            return float(self.side.loss(*self.data).detach())

    def sampled(self, steps: int) -> tuple[float, Tensor]:
        """Seconds of sampling, and the samples."""
        x = torch.randn(self.data[0].shape, generator=torch.Generator().manual_seed(1))
        began = time.perf_counter()
        out = self.side.sample(x, self.data[3], steps)
        return time.perf_counter() - began, out

    def peak(self) -> int:
        """The most that the third step holds, in bytes; the ones before compile and make the moments."""
        self.steps(2)
        return peak(lambda: step(self.side, self.data, self.precision))

    def steps(self, count: int) -> list[float]:
        """Seconds of so many steps in a row, after one that is not timed."""
        out = []
        for _ in range(count + 1):
            began = time.perf_counter()
            step(self.side, self.data, self.precision)
            if self.pages is not None:
                self.pages.look()
            out.append(time.perf_counter() - began)
        return out[1:]


def measure(
    checkout: Path,
    kind: str,
    batch: int,
    turns: int,
    *,
    names: Sequence[str] = EAGER + COMPILED,
    steps: int,
    precision: Precision = "float32",
    processes: int = 1,
) -> dict[str, float]:
    """Images a second of a step and of sampling on the sides, memory, and how far losses and samples are apart.

    A turn is three steps. Every side has so many processes, one after another, each with all the turns: how memory
    comes to lie makes one faster than the next. The median of a side's processes counts. Sampling, by the eager sides,
    is in float32 whatever the precision of a step.
    """
    threads = torch.get_num_threads()
    out: dict[str, float] = {}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(processes):
        sides = {name: OwnProcess(Station, name, checkout, kind, batch, precision, threads) for name in names}
        try:
            out = out or agreement(sides, batch, turns, steps)
            for name, seconds in in_turns(sides, turns, lambda one: one.ask("steps", 3)).items():
                taken[name].append(seconds)
        finally:
            for one in sides.values():
                one.end()
    out |= {f"{name} train images/s": batch / statistics.median(each) for name, each in taken.items()}
    for mine, other in (EAGER, COMPILED):
        if mine in names:
            out[f"{mine} to {other}"] = out[f"{mine} train images/s"] / out[f"{other} train images/s"]
            ratios = [theirs / ours for ours, theirs in zip(taken[mine], taken[other], strict=True)]
            out |= {f"{mine} to {other}, least": min(ratios), f"{mine} to {other}, most": max(ratios)}
    return out


def agreement(sides: dict[str, OwnProcess], batch: int, turns: int, steps: int) -> dict[str, float]:
    """What one process a side tells: how far losses and samples are apart, the speed of sampling, and memory."""
    losses = [answer.result() for answer in [one.later("loss") for one in sides.values()]]
    out: dict[str, float] = {"loss difference": max(abs(loss / losses[0] - 1) for loss in losses)}
    eager = {name: sides[name] for name in EAGER}
    ours, theirs = (one.ask("sampled", steps)[1] for one in eager.values())
    out["sample difference"] = float((ours - theirs).norm() / theirs.norm())
    drawn = in_turns(eager, turns, lambda one: [one.ask("sampled", steps)[0]])
    out |= {f"{name} sampled images/s": batch / seconds for name, seconds in drawn.items()}
    peaks = {name: one.later("peak") for name, one in sides.items()}  # counts: nobody need be alone for them
    return out | {f"{name} peak bytes": answer.result() for name, answer in peaks.items()}


PARTS = {
    "compiled kernels (norms, rotation, GEGLU)": ("cpp_fused",),
    "matrix products": (
        "::mm", "::addmm", "::bmm", "::baddbmm", "::rows_times", "_linear_pointwise", "mkldnn_linear", "::linear",
    ),
    "attention": ("scaled_dot_product", "::_softmax"),
    "copies and layout": ("::copy_", "::cat", "::roll", "::clone", "::contiguous"),
    "reductions": ("::mean", "::sum", "vector_norm"),
    "elementwise": (
        "::mul", "::add", "::sub", "::div", "::neg", "::pow", "::square", "rsqrt", "sqrt", "gelu", "::cos", "::sin",
        "::fill_", "::zero_", "lerp", "slice_backward", "select_backward", "silu", "::exp", "::log", "reciprocal",
    ),
}  # fmt: skip
"""Parts of a step by what the names of operations hold; the first that fits."""


def part(event: Any) -> str:
    """The part of a step that an operation of a profile belongs to."""
    above = event
    while above is not None:
        if above.name.startswith(OPTIMISER):
            return "optimiser"
        if above.name == AVERAGE:
            return "average"
        above = above.cpu_parent
    found = (name for name, words in PARTS.items() if any(word in event.name for word in words))
    return next(found, "calls, views and allocation")


def shares(side: Side, data: Sequence[Tensor], precision: Precision, rounds: int) -> dict[str, float]:
    """The share of each part in the time that operations of a step take on the calling thread."""
    step(side, data, precision)
    step(side, data, precision)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(rounds):
            step(side, data, precision)
    spent: dict[str, float] = {}
    for event in found.events():  # type: ignore[union-attr]
        name = part(event)
        spent[name] = spent.get(name, 0.0) + event.self_cpu_time_total
    total = sum(spent.values())
    return {name: value / total for name, value in sorted(spent.items(), key=lambda one: -one[1])}


def show_profile(names: Sequence[str], asked: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Print a Markdown table of shares for each configuration; returns them by configuration, side and part."""
    torch._inductor.config.cpp.enable_kernel_profile = True  # kernels of a compiled graph by name
    out: dict[str, dict[str, dict[str, float]]] = {}
    for kind in KINDS:
        torch._dynamo.reset()  # each network is compiled for itself, and the compiler gives up after a few of one class
        run = chosen(kind)
        sides, data = {name: make_side(name, asked.authors, run) for name in names}, batch_of(run, asked.batch)
        found = {name: shares(side, data, asked.precision, asked.turns) for name, side in sides.items()}
        out[kind] = found
        if asked.json:
            continue
        print(f"| {kind}, {asked.precision}, % of a step | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
        for name in dict.fromkeys(name for one in found.values() for name in one):
            print(f"| {name} | " + " | ".join(f"{100 * one.get(name, 0):.1f}" for one in found.values()) + " |")
        print()
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, required=True, help="a checkout of crowsonkb/k-diffusion")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6, help="of three steps, on each side")
    parser.add_argument("--processes", type=int, default=3, help="of each side, one after another")
    parser.add_argument("--steps", type=int, default=4, help="of the sampler")
    parser.add_argument("--compile", action="store_true", help="both sides compiled too, each as it does it")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the step")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes, on each side")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if min(asked.batch, asked.turns, asked.processes) < 1 or asked.steps < 2:
        parser.error("--batch, --turns and --processes are at least 1, and --steps 2")
    torch.set_num_threads(asked.threads)
    names = EAGER + COMPILED if asked.compile else EAGER
    if asked.profile:
        profiles = show_profile(names, asked)
        if asked.json:
            print(json.dumps(profiles))
        return
    how = {"steps": asked.steps, "precision": asked.precision, "processes": asked.processes}
    found = {kind: measure(asked.authors, kind, asked.batch, asked.turns, names=names, **how) for kind in KINDS}
    if asked.json:
        print(json.dumps(found))
        return
    for kind, values in found.items():
        print(kind)
        for name, value in values.items():
            print(f"  {name:28} {value:.5g}")


if __name__ == "__main__":
    main()
