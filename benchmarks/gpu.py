"""What one card does with the paper's networks: training steps, attention, sampling, and what bounds them.

    python -m benchmarks.gpu --device cuda
    python -m benchmarks.gpu --device cuda --authors ../k-diffusion
    python -m benchmarks.gpu --device cpu --tiny --out /tmp/tiny.json

Each part is kept in the JSON as it is done. When what is left may take longer than there is time, the command leaves
with exit code 75, and the same command goes on; done, it leaves with 0. Beside the JSON lies the same as a table. A
part that failed says why, and is tried again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.card import attention, machine, sampling, training
from benchmarks.card.session import CHECKOUT, Bench, begin, measure
from benchmarks.card.table import render
from hdit_repro.cost.cards import card_key
from hdit_repro.files import write_text

FIRST = (
    *(part.name for part in machine.PARTS),
    "train/table1/E/eager", "train/imagenet256/eager", "train/table1/E/compiled", "train/imagenet256/compiled",
    "sample/table1/E/eager", "sample/table1/E/graph", "inception/float32", "train/ffhq1024/eager",
    "attention/table1/E/0", "attention/imagenet256/0", "attention/ffhq1024/0", "train/ffhq1024/compiled",
)  # fmt: skip
"""What a few minutes should bring: what a claim rests on, then one of everything that a plan rests on. A part that may
take longer than is left is not begun, so that what compiles long comes early."""
ALL = {
    part.name: part
    for part in (*machine.PARTS, *training.OURS, *sampling.PARTS, *attention.PARTS, *training.AUTHORS, *training.PEERS)
}
PARTS = (*(ALL[name] for name in FIRST), *(part for name, part in ALL.items() if name not in FIRST))
LEFT = 75
"""Exit code of a command that left before it was done (EX_TEMPFAIL)."""


def default_path(device: torch.device) -> Path:
    """benchmarks/results/CARD.json of the checkout."""
    name = torch.cuda.get_device_name(device)
    return CHECKOUT / "benchmarks" / "results" / f"{(card_key(name) or name).casefold().replace(' ', '-')}.json"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --tiny")
    parser.add_argument("--minutes", type=float, default=6.0, help="leave after so long; 0 is never")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long one timing takes, about")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' code, to be measured beside ours")
    parser.add_argument("--only", action="append", default=[], metavar="PREFIX", help="only these parts; repeatable")
    parser.add_argument("--out", type=Path, help="the JSON; benchmarks/results/CARD.json if nothing is said")
    parser.add_argument("--tiny", action="store_true", help="show that everything runs; the numbers mean nothing")
    parser.add_argument("--list", action="store_true", help="print the names of the parts")
    asked = parser.parse_args(given)
    if not asked.list and asked.device == "cpu" and not (asked.tiny and asked.out):
        parser.error("a CPU is measured with --tiny and --out PATH only")
    if not asked.list and asked.device != "cpu" and not torch.cuda.is_available():
        parser.error(
            f"torch {torch.__version__} sees no card; --device cpu --tiny --out PATH shows that everything runs"
        )
    return asked


def main(given: Sequence[str] | None = None) -> int:
    """Measure what is missing; returns the exit code."""
    asked = arguments(given)
    parts = [part for part in PARTS if not asked.only or part.name.startswith(tuple(asked.only))]
    if asked.list:
        print("\n".join(part.name for part in parts))
        return 0
    device = torch.device(asked.device)
    bench = Bench(device, asked.tiny, 0.02 if asked.tiny else asked.seconds, asked.authors)
    path: Path = asked.out or default_path(device)
    tree = begin(path, bench, ["-m", "benchmarks.gpu", *(sys.argv[1:] if given is None else given)])
    done = measure(parts, bench, path, tree, 60 * asked.minutes)
    write_text(path.with_suffix(".md"), render(tree))
    print(path)
    if not done:
        print("parts are left; run the same command again to go on", file=sys.stderr)
    return 0 if done else LEFT


if __name__ == "__main__":
    sys.exit(main())
