"""A training step and a sampler against the authors' released code: same network, weights, batch, precision, machine.

    python benchmarks/step_against_authors.py --authors PATH [--threads 2] [--batch 8] [--rounds 5] [--compile]
                                              [--precision bfloat16] [--profile] [--json]

Both sides take their turn in each round; the least time of the rounds counts. A step is: loss, backward pass, AdamW,
moving average. Peak memory is the most that the allocator held above what it held before the step. Both samplers are
DPM-Solver++(3M) SDE and draw noise by torch.randn. In bfloat16 the forward pass of both is under autocast, as both
train. --profile prints where the time of a step goes instead.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
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

from hdit_repro import jobs
from hdit_repro.diffusion import Precondition, edm_loss
from hdit_repro.models.arithmetic import autocast
from hdit_repro.models.build import build
from hdit_repro.models.interop import to_k_diffusion
from hdit_repro.samplers import SAMPLERS, karras_sigmas
from hdit_repro.spec.diffusion import Edm
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision
from hdit_repro.training.acceleration import accelerated
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.optim import make_optimizer

KINDS: dict[str, list[dict[str, Any]]] = {
    "shifted-window": [{"kind": "shifted-window", "window": 8}, {"kind": "global"}],
    "global": [{"kind": "global"}, {"kind": "global"}],
}
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


def best(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Least seconds of each, over rounds in which all take their turn; the first round is not timed."""
    least = [float("inf")] * len(calls)
    for number in range(rounds + 1):
        for place, call in enumerate(calls):
            began = time.perf_counter()
            call()
            if number:
                least[place] = min(least[place], time.perf_counter() - began)
    return least


def prepare(code: Any, kind: str, batch: int, default: Any) -> tuple[dict[str, Side], tuple[Tensor, ...]]:
    """The sides by name, with equal weights, and the data of a step.

    `code` is the authors' code run eagerly; `default`, if not None, the same with their small kernels compiled, which
    is their default, and then our network compiled takes its turn too.
    """
    torch._dynamo.reset()  # each network is compiled for itself, and the compiler gives up after a few of one class
    run = chosen(kind)
    sides: dict[str, Side] = {"ours": Ours(run)}
    weights = to_k_diffusion({name: value.clone() for name, value in sides["ours"].module.state_dict().items()})
    sides["theirs"] = Theirs(code, run, weights)
    if default is not None:
        sides |= {"ours compiled": Ours(run, compiled=True), "theirs by default": Theirs(default, run, weights)}
    torch.manual_seed(0)
    side = run.data.resolution
    image, noise = torch.randn(2, batch, 3, side, side).unbind(0)
    return sides, (image, noise, torch.rand(batch) + 0.1, torch.arange(batch) % run.model.classes)


def measure(
    code: Any, kind: str, batch: int, rounds: int, *, default: Any, steps: int, precision: Precision = "float32"
) -> dict[str, float]:
    """Images a second of a step and of sampling on both sides, memory, and how far losses and samples are apart.

    `code` and `default` as in `prepare`. Sampling and the losses are in float32 whatever the precision of a step.
    """
    sides, data = prepare(code, kind, batch, default)
    losses = [float(one.loss(*data).detach()) for one in sides.values()]
    out: dict[str, float] = {"loss difference": max(abs(loss / losses[0] - 1) for loss in losses)}
    out |= {
        f"{name} peak bytes": peak(lambda one=one: step(one, data, precision)) for name, one in sides.items() if one
    }
    seconds = best([lambda one=one: step(one, data, precision) for one in sides.values()], rounds)  # type: ignore[misc]
    out |= {f"{name} train images/s": batch / t for name, t in zip(sides, seconds, strict=True)}
    for name, peer in (("ours", "theirs"), ("ours compiled", "theirs by default")):
        if name in sides:
            out[f"{name} to {peer}"] = out[f"{name} train images/s"] / out[f"{peer} train images/s"]
    sides["theirs"].module.load_state_dict(to_k_diffusion(sides["ours"].module.state_dict()))
    two = [sides["ours"], sides["theirs"]]
    x = torch.randn_like(data[0])
    ends = [one.sample(x, data[3], steps) for one in two]
    out["sample difference"] = float((ends[0] - ends[1]).norm() / ends[1].norm())
    seconds = best([lambda one=one: one.sample(x, data[3], steps) for one in two], max(1, rounds // 2))  # type: ignore[misc]
    out |= {f"{name} sampled images/s": batch / t for name, t in zip(("ours", "theirs"), seconds, strict=True)}
    return out


PARTS = {
    "compiled kernels (norms, rotation, GEGLU)": ("cpp_fused",),
    "matrix products": ("::mm", "::addmm", "::bmm", "::baddbmm", "_linear_pointwise", "mkldnn_linear", "::linear"),
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


def show_profile(code: Any, default: Any, asked: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Print a Markdown table of shares for each configuration; returns them by configuration, side and part."""
    torch._inductor.config.cpp.enable_kernel_profile = True  # kernels of a compiled graph by name
    out: dict[str, dict[str, dict[str, float]]] = {}
    for kind in KINDS:
        sides, data = prepare(code, kind, asked.batch, default)
        found = {name: shares(side, data, asked.precision, asked.rounds) for name, side in sides.items()}
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of the sampler")
    parser.add_argument("--compile", action="store_true", help="both sides compiled too, each as it does it")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the step")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes, on each side")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    code = authors(asked.authors, compiled=False)
    default = authors(asked.authors, compiled=True) if asked.compile else None
    if asked.profile:
        profiles = show_profile(code, default, asked)
        if asked.json:
            print(json.dumps(profiles))
        return
    found = {
        kind: measure(
            code, kind, asked.batch, asked.rounds, default=default, steps=asked.steps, precision=asked.precision
        )
        for kind in KINDS
    }
    if asked.json:
        print(json.dumps(found))
        return
    for kind, values in found.items():
        print(kind)
        for name, value in values.items():
            print(f"  {name:28} {value:.5g}")


if __name__ == "__main__":
    main()
