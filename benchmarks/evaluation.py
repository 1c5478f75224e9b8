"""Features and Frechet distances against the tools in use, on this machine, in one run.

    python benchmarks/evaluation.py [--threads 2] [--images 64] [--side 64] [--rounds 5]

One process, the same images, the same random Inception weights on both sides, turn by turn; medians of the rounds.
torch-fidelity is timed with batches of 64, which it takes unless it is told otherwise, and of 16, which are the faster
ones on a small CPU; the ratios are given against both. --json prints all for a program.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from hdit_repro.metrics.extractors.inception import InceptionFeatures
from hdit_repro.metrics.extractors.random_inception import random_state
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.statistics import statistics_of
from hdit_repro.metrics.torchvision_shim import import_torchvision

CPU = torch.device("cpu")
WIDTH = 2048
DEFAULT_BATCH, SMALL_BATCH = 64, 16
"""torch-fidelity's own batch, and one that suits a CPU's cache better."""


def medians(functions: Sequence[Callable[[], Any]], rounds: int) -> tuple[list[float], list[Any]]:
    """Median seconds of each function over rounds in which all take their turn, and what each gave last."""
    seconds: list[list[float]] = [[] for _ in functions]
    results: list[Any] = [None] * len(functions)
    for _ in range(rounds):
        for place, function in enumerate(functions):
            began = time.perf_counter()
            results[place] = function()
            seconds[place].append(time.perf_counter() - began)
    return [median(taken) for taken in seconds], results


def torch_fidelitys(state: dict[str, Tensor]) -> Any:
    """torch-fidelity's own network with the same weights."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    outputs = ["2048", "logits_unbiased"]
    return FeatureExtractorInceptionV3("torch-fidelity", outputs, feature_extractor_weights_path=buffer)


def pictures(count: int, side: int) -> Tensor:
    """Smooth random pictures: uint8 count 3 side side."""
    small = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def features(images: Tensor, rounds: int) -> dict[str, float]:
    """Images a second of torch-fidelity and of ours in both precisions, and how far the features are apart."""
    state = random_state()
    network = torch_fidelitys(state)
    ours = InceptionFeatures(state, "0" * 64, CPU)
    rough = InceptionFeatures(state, "0" * 64, CPU, precision="bfloat16")

    def theirs(batch: int) -> Tensor:
        with torch.inference_mode():
            return torch.cat([network(part)[0] for part in images.split(batch)])

    functions = [
        lambda: theirs(DEFAULT_BATCH),
        lambda: theirs(SMALL_BATCH),
        lambda: ours.features(images)["features"],
        lambda: rough.features(images)["features"],
    ]
    medians(functions, 1)  # warm
    seconds, (wanted, _, found, near) = medians(functions, rounds)
    rate = [len(images) / taken for taken in seconds]
    halves = statistics_of(wanted[::2]), statistics_of(wanted[1::2])
    fid = frechet_distance(halves[0].mean, halves[0].cov, halves[1].mean, halves[1].cov)
    rounded = statistics_of(near[::2])
    moved = frechet_distance(rounded.mean, rounded.cov, halves[1].mean, halves[1].cov)
    return {
        f"torch-fidelity images/s, batch {DEFAULT_BATCH}": rate[0],
        f"torch-fidelity images/s, batch {SMALL_BATCH}": rate[1],
        "float32 images/s": rate[2],
        "bfloat16 images/s": rate[3],
        f"float32 ratio, batch {DEFAULT_BATCH}": rate[2] / rate[0],
        f"float32 ratio, batch {SMALL_BATCH}": rate[2] / rate[1],
        f"bfloat16 ratio, batch {DEFAULT_BATCH}": rate[3] / rate[0],
        f"bfloat16 ratio, batch {SMALL_BATCH}": rate[3] / rate[1],
        "float32 relative error": float((found - wanted).norm() / wanted.norm()),
        "bfloat16 relative error": float((near - wanted).norm() / wanted.norm()),
        "FID of two halves": fid,
        "the same, one half in bfloat16": moved,
    }


def distances(rounds: int) -> dict[str, float]:
    """Seconds of a Frechet distance at 2,048 features, ours and by scipy.linalg.sqrtm as pytorch-fid has it."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((WIDTH, WIDTH)) * np.geomspace(1, 1e-2, WIDTH)
    sets = [rng.standard_normal((10_000, WIDTH)) @ mixing.T * scale + scale for scale in (1.0, 1.1)]
    (mean_a, cov_a), (mean_b, cov_b) = ((rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in sets)

    def by_sqrtm() -> float:
        root = scipy.linalg.sqrtm(cov_a @ cov_b).real
        step = mean_a - mean_b
        return float(step @ step + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root))

    functions = [by_sqrtm, lambda: frechet_distance(mean_a, cov_a, mean_b, cov_b)]
    seconds, (wanted, found) = medians(functions, rounds)
    return {
        "sqrtm s": seconds[0],
        "frechet_distance s": seconds[1],
        "frechet ratio": seconds[0] / seconds[1],
        "frechet relative difference": abs(found - wanted) / wanted,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Evaluation against the tools in use, in one run.")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {**features(pictures(options.images, options.side), options.rounds), **distances(min(options.rounds, 3))}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:36} {value:.4g}")


if __name__ == "__main__":
    main()
