"""The sampler, called as samples are drawn, with and without the network captured in a CUDA graph; Inception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.card.networks import named
from benchmarks.card.session import Bench, Part
from benchmarks.card.timing import timed
from hdit_repro.cost import count
from hdit_repro.launch.work import arithmetic
from hdit_repro.models.build import build
from hdit_repro.stages.calling import called, way_gone
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.stages.settings import Way


def sampler(name: str, how: str) -> Part:
    """Samples of a run by its own sampler; `how` is eager, graph or compiled."""

    def work(bench: Bench) -> dict[str, Any]:
        if how == "graph" and bench.device.type != "cuda":
            return {"skipped": "a CPU has no CUDA graphs"}
        if how == "compiled" and bench.tiny:
            return {"skipped": "tiny compiles the step of table1/E alone"}
        run, batch = named(name, bench.scale), 2 if bench.tiny else 64
        network = build(run.model).to(bench.device).eval()
        ways: dict[str, Way] = {"eager": "eager", "graph": "graph", "compiled": "compile"}
        call = called(network, ways[how], batch)
        drawer = Drawer(run, call, bench.device, lambda: None)
        found = timed(lambda: drawer(list(range(batch))), bench.device, bench.seconds)
        if way_gone(call, ways[how]) != ways[how]:
            raise RuntimeError("the network cannot be captured as a CUDA graph")
        calls = run.sampling.network_calls
        return {
            "use": "sample", "run": name, "how": how, "batch": batch, "calls": calls,
            "macs": count(run.model, run.data.resolution).macs, "precision": arithmetic(run, "sample"),
            "seconds": found.seconds, "calls_per_s": calls / found.seconds, "images_per_s": batch / found.seconds,
            "memory_gib": found.memory_gib,
        }  # fmt: skip

    return Part(f"sample/{name}/{how}", work, seconds=60 if how == "compiled" else 15)


def inception(precision: str) -> Part:
    """Images a second through Inception with random weights: the same work as with the genuine ones."""

    def work(bench: Bench) -> dict[str, Any]:
        from hdit_repro.metrics.extractors.inception import InceptionFeatures
        from hdit_repro.metrics.extractors.random_inception import random_state

        with torch.no_grad():
            network: Any = InceptionFeatures(random_state(), "", bench.device, precision=precision)  # type: ignore[arg-type]
        batch, side = (2, 32) if bench.tiny else (256, 256)
        images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=bench.device)
        features: Callable[[], object] = lambda: network.features(images)  # noqa: E731
        found = timed(features, bench.device, bench.seconds)
        # Records rest on float32, so that is what plans are made of.
        use = "features" if precision == "float32" else "peer"
        return {"use": use, "precision": precision, "batch": batch, "images_per_s": batch / found.seconds,
                "memory_gib": found.memory_gib}  # fmt: skip

    return Part(f"inception/{precision}", work, seconds=20)


PARTS = (
    sampler("table1/E", "eager"),
    sampler("table1/E", "graph"),
    inception("float32"),
    inception("bfloat16"),
    sampler("table1/E", "compiled"),
)
