"""Images a second that reach a training step, beside what an H100 takes.

    python benchmarks/loader.py
    python benchmarks/loader.py --side 1024 --threads 1,2,8 --source photographs

For each side the job that trains there is fed from a prepared archive, as its training feeds it: in its order,
mirrored as it asks, nothing kept decoded (warping is the card's work). Files are warm: what is timed is decoding, not a
disk. What a card takes is no measurement: it is computed from the multiply-accumulates of the job, the card's peak and
the share of it that is said to be reached (--mfu).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from hdit_repro import jobs
from hdit_repro.cost import count
from hdit_repro.cost.cards import peak, training_flops
from hdit_repro.data.images import Images
from hdit_repro.data.prepare import prepare
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.spec.run import Run
from hdit_repro.training.feed import feed

JOBS = {128: "table1/E", 256: "imagenet256", 1024: "ffhq1024"}
"""The job that trains at each side."""
PIXELS = 1 << 25
"""Pixels of an archive that is made up."""
BATCH = 32
WARM = 3


def picture(side: int, rng: np.random.Generator) -> Image.Image:
    """Detail at every scale that falls with its frequency, and grain, as in photographs: PNG saves about a third."""
    pixels = rng.normal(0, 3, (side, side, 3))
    cells = 4
    while cells <= side:
        for channel in range(3):
            coarse = Image.fromarray(rng.normal(0, 160 / cells, (cells, cells)).astype(np.float32))
            pixels[..., channel] += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
        cells *= 2
    return Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8))


def made_up(folder: Path, side: int) -> Path:
    """A folder of pictures that are larger than `side`."""
    rng = np.random.default_rng(side)
    folder.mkdir()
    for number in range(max(BATCH, min(4 * BATCH, PIXELS // side**2))):
        picture(side, rng).save(folder / f"{number:04d}.png", compress_level=1)
    return folder


def fed_run(job: str) -> Run:
    """The job's run in small steps without end."""
    tree = msgspec.to_builtins(jobs.find(job).run)
    tree["training"] |= {"steps": 1 << 40, "batch": BATCH, "growth": []}
    return msgspec.convert(tree, Run)


def rate(run: Run, images: Images, seconds: float) -> float:
    """Images a second over whole steps, after some that are not timed: those that were read ahead."""
    with closing(feed(run, images, 0, run.training.total_steps)) as steps:
        for _ in range(WARM):
            next(steps)
        done, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            done += next(steps).size
    return done / spent


def needed(job: str, card: str, mfu: float) -> float:
    """Images a second that one card takes in training."""
    run = jobs.find(job).run
    flops = peak(card, "bfloat16")
    assert flops is not None
    return mfu * flops / training_flops(count(run.model, run.data.resolution).macs)


def measure(side: int, run: Run, source: Path | None, threads: Sequence[int], seconds: float) -> dict[str, object]:
    """Rates at one side by the number of decoding threads."""
    with tempfile.TemporaryDirectory() as place:
        folder = source or made_up(Path(place) / "pictures", side)
        archive = Path(place) / f"{side}.zip"
        card = prepare(open_store(folder), archive, side, "adm")
        store = ZipStore(archive)
        rates = {n: rate(run, Images(store, side, "none", cache=False, decoders=n), seconds) for n in threads}
        size = archive.stat().st_size / card.images / (3 * side**2)
    return {"side": side, "images": card.images, "size_of_raw": size, "images_per_s": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, choices=list(JOBS), action="append", help="in pixels; all if not said")
    parser.add_argument("--source", type=Path, help="a folder of photographs; made-up pictures if not said")
    parser.add_argument("--threads", default="1,2", help="numbers of decoding threads, with commas")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each rate is taken over")
    parser.add_argument("--card", default="H100", help="the card that is fed")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of its peak that is said to be reached")
    parser.add_argument("--json", action="store_true", help="print one JSON object a side")
    asked = parser.parse_args()
    threads = [int(number) for number in asked.threads.split(",")]
    for side in asked.side or list(JOBS):
        job = JOBS[side]
        found = {**measure(side, fed_run(job), asked.source, threads, asked.seconds), "job": job}
        found["needed_images_per_s"] = needed(job, asked.card, asked.mfu)
        if asked.json:
            print(json.dumps({**found, "card": asked.card, "mfu": asked.mfu}))
        else:
            show(found, asked.card, asked.mfu)


def show(found: dict[str, object], card: str, mfu: float) -> None:
    """Print the measurement of one side as lines."""
    rates, need = found["images_per_s"], float(str(found["needed_images_per_s"]))
    assert isinstance(rates, dict)
    size = 100 * float(str(found["size_of_raw"]))
    print(f"{found['side']} x {found['side']}: {found['images']} images, stored in {size:.0f} % of their raw size")
    for number, value in rates.items():
        print(f"  {number:>2} threads  {value:8.1f} images/s, {value / number:8.1f} a thread")
    fewest = min(rates)
    print(
        f"  {card} at {100 * mfu:.0f} % of its peak takes {need:.1f} images/s of {found['job']}: "
        f"{math.ceil(need / (rates[fewest] / fewest))} threads at that rate"
    )


if __name__ == "__main__":
    main()
