"""Where an evaluation's time goes: decoding, resizing, the network, statistics, the Frechet distance.

    python benchmarks/evaluation_parts.py [--threads 2] [--images 64] [--side 256] [--precision float32] [--json]

Photograph-like images are made up and prepared as a data set; the network is FID's Inception with random weights, which
is the same work. The first four parts are per image; the distance is taken once. Shares are those of an evaluation of
--of images on one side, whose time per image is the measured one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from evaluation import CPU, WIDTH, medians
from loader import made_up

from hdit_repro.data.images import Images
from hdit_repro.data.prepare import prepare
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.metrics.extractors.inception import InceptionFeatures
from hdit_repro.metrics.extractors.random_inception import random_state
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.statistics import Statistics, statistics_of

ONCE = "Frechet distance"
BATCH = 32
"""Images that go through the network at once."""


def measure(count: int, side: int, precision: str, rounds: int) -> dict[str, float]:
    """Seconds an image of each part, and seconds of the distance."""
    extractor = InceptionFeatures(random_state(), "0" * 64, CPU, precision=precision)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "images.zip"
        prepare(open_store(made_up(Path(place) / "pictures", side)), archive, side, "adm")
        images = Images(ZipStore(archive), side, "none", cache=False)
        numbers = [number % len(images) for number in range(count)]
        parts = [numbers[at : at + BATCH] for at in range(0, count, BATCH)]
        decoded = [images.batch(part) for part in parts]
        with torch.inference_mode():
            resized = [extractor.prepare(part) for part in decoded]
            features = [extractor.trunk(part)[0].float() for part in resized]
        half = Statistics(WIDTH)
        spread = torch.randn(4 * WIDTH, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        sides = [statistics_of(spread * scale) for scale in (1.0, 1.1)]

        def network() -> None:
            with torch.inference_mode():
                for part in resized:
                    extractor.trunk(part)

        def resize() -> None:
            with torch.inference_mode():
                for part in decoded:
                    extractor.prepare(part)

        work: dict[str, Callable[[], object]] = {
            "decoding": lambda: [images.batch(part) for part in parts],
            "resizing": resize,
            "network": network,
            "statistics": lambda: [half.update(part) for part in features],
            ONCE: lambda: frechet_distance(sides[0].mean, sides[0].cov, sides[1].mean, sides[1].cov),
        }
        seconds, _ = medians(list(work.values()), rounds)
    return {name: taken / (1 if name == ONCE else count) for name, taken in zip(work, seconds, strict=True)}


def shares(found: dict[str, float], of: int) -> dict[str, float]:
    """Each part's share of an evaluation of so many images."""
    whole = {name: seconds * (1 if name == ONCE else of) for name, seconds in found.items()}
    return {name: seconds / sum(whole.values()) for name, seconds in whole.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=64, help="that are measured")
    parser.add_argument("--side", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the network")
    parser.add_argument("--of", type=int, default=50_000, help="images of the evaluation that shares are of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = measure(asked.images, asked.side, asked.precision, asked.rounds)
    share = shares(found, asked.of)
    if asked.json:
        print(json.dumps({"seconds": found, "share": share, "of": asked.of, "precision": asked.precision}))
        return
    print(f"{asked.side}², {asked.precision}, {asked.threads} threads; share of {asked.of:,} images")
    for name, seconds in found.items():
        text = f"{seconds:9.2f} s once " if name == ONCE else f"{1e3 * seconds:9.3f} ms an image"
        print(f"  {name:18} {text:22} {100 * share[name]:6.2f} %")


if __name__ == "__main__":
    main()
