"""Everything that a CPU can measure against its peers, in one table: what, ours, peer, ratio, target.

    python benchmarks/bench.py [--authors PATH] [--threads 2] [--processes 1] [--minutes M] [--only PART]
                               [--write FOLDER]

A ratio is above 1 where ours is ahead. Peers whose code is not at hand are said to be missing. --write leaves
bench.json and bench.md in FOLDER as each part is done; `benchmarks/results` is where the committed ones lie.
Several processes a side of a training step take as many times its time: how memory comes to lie makes one faster than
the next, and the table gives the median of each side and how far the ratios go. --minutes is what all of it may take:
the authors' code, most of whose time is compiling, comes last, and of its cases those that would not end in time are
left out and named. So is bfloat16 where the processor has no instructions for it.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from authors import authors
from einops import rearrange
from evaluation import PRECISIONS, distances, features, pictures
from records import COMMANDS, fill, pandas_seconds, seconds
from step_against_authors import COMPILED, EAGER, KINDS, measure
from torch import Tensor
from turns import best

from hdit_repro.files import write_json, write_text
from hdit_repro.metrics.extractors.inception import Precision
from hdit_repro.models.arithmetic import computes_bfloat16
from hdit_repro.models.attention import Neighborhood
from hdit_repro.records.provenance import checkout_source, package_versions

ROOT = Path(__file__).resolve().parents[1]
SIDES = (32, 64, 128, 256)
DENSE_SIDES = (32, 48, 64)
"""Sides of the grid, in tokens, that exponents are fitted to; a dense mask of 128² tokens would take gigabytes."""
KERNEL = 7
STARTS = (
    ("--help",), ("list",), ("show", "table1/E"), ("cost", "table1/E"), ("plan", "table1"), ("status",), ("verify",),
)  # fmt: skip
PEER = ("pip", "--version")
"""A command that everybody has beside Python, and that does nothing but start."""

NAMED = ("python", "torch", "numpy", "scipy", "torch-fidelity")
"""Versions that the table's last line names; bench.json has all."""
RECORDS = (1_000, 10_000)
FASTER = 1.3
"""How many times the authors' images a second a training step is to reach."""
FEATURES: dict[Precision, float] = {"float32": 1.9, "bfloat16": 3.5}
"""How many times torch-fidelity's images a second Inception is to reach, by its precision."""
PAIRS = ((*EAGER, "", "eager"), (*COMPILED, ", compiled", "by default"))
"""Which of `measure`'s sides is set against which, and their names in the table."""
PANDAS, NOTHING = "pandas: reading, grouping", "itself, without records"
PEERS = {"plan": NOTHING, "render-tables": PANDAS}
"""What a command on many records is set against."""


class Row(NamedTuple):
    """A line of the table; None where there is nothing to say. `better` is the ratio, above 1 where ours is ahead."""

    what: str
    unit: str
    ours: float
    peer_name: str = ""
    peer: float | None = None
    better: float | None = None
    target: str = ""
    met: bool | None = None
    span: tuple[float, float] | None = None
    """The least and the greatest ratio, where several processes a side were measured."""


@dataclass
class Given:
    """What the parts are given: a checkout of the authors' code, processes a side of a training step, and the
    `time.perf_counter` by which all is to have ended. `absent` is where they say what they left out."""

    authors: Path | None = None
    processes: int = 1
    until: float = math.inf
    precisions: Sequence[Precision] = PRECISIONS
    absent: list[str] = field(default_factory=list)


def dense(side: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """scaled_dot_product_attention under a mask of all tokens x tokens."""
    at = torch.arange(side)
    first = (at - KERNEL // 2).clamp(0, side - KERNEL)[:, None]
    near = (at >= first) & (at < first + KERNEL)
    mask = (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (rearrange(x, "b h w n e -> b n (h w) e") for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return rearrange(out, "b n (h w) e -> b h w n e", h=side)

    return attend


def both_ways(attend: Callable[..., Tensor], side: int) -> Callable[[], None]:
    """Forward and backward at side x side tokens, 2 heads of 64."""
    qkv = [(0.3 * torch.randn(1, side, side, 2, 64)).requires_grad_() for _ in range(3)]
    direction = torch.randn(1, side, side, 2, 64)

    def call() -> None:
        torch.autograd.grad(attend(*qkv), qkv, direction)

    return call


def exponent(sides: Sequence[int], times: Sequence[float]) -> float:
    """b of the least-squares fit time = a tokens^b."""
    x, y = [math.log(side**2) for side in sides], [math.log(t) for t in times]
    return statistics.linear_regression(x, y).slope


def attention(given: Given) -> list[Row]:
    """Neighborhood attention against the dense mask, and how the cost of both grows."""
    ours, peer = best([both_ways(Neighborhood(KERNEL), 64), both_ways(dense(64), 64)], 4)
    slope = exponent(SIDES, best([both_ways(Neighborhood(KERNEL), side) for side in SIDES], 3))
    other = exponent(DENSE_SIDES, best([both_ways(dense(side), side) for side in DENSE_SIDES], 2))
    what = "neighborhood attention, 64 x 64 tokens, 2 heads of 64, kernel 7, forward and backward"
    name = f"dense mask, {DENSE_SIDES[0]}² to {DENSE_SIDES[-1]}²"
    return [
        Row(what, "ms", 1e3 * ours, "SDPA, dense mask", 1e3 * peer, peer / ours, ">= 4", peer / ours >= 4),
        Row("its exponent in tokens, 32² to 256²", "", slope, name, other, target="<= 1.1", met=slope <= 1.1),
    ]


def steps(given: Given) -> list[Row]:
    """A training step and sampling against the authors' code."""
    if given.authors is None:
        given.absent.append("the authors' code (--authors PATH): training step and sampling")
        return []
    rows, longest = [], 0.0
    for precision, kind in product(given.precisions, KINDS):
        case, began = f"{kind}, {precision}", time.perf_counter()
        if began + longest > given.until:
            given.absent.append(
                f"a training step, {case}: by the one before, it would not have ended in time (--minutes)"
            )
            continue
        found = measure(given.authors, kind, 8, 6, steps=3, precision=precision, processes=given.processes)
        longest = max(longest, time.perf_counter() - began)
        rows += [step_row(case, found, *pair, several=given.processes > 1) for pair in PAIRS]
        rows += [memory_row(case, found, *pair) for pair in PAIRS]
        if precision == "float32":
            ours, peer = found["ours sampled images/s"], found["theirs sampled images/s"]
            rows.append(Row(f"sampling, {case}", "images/s", ours, "k-diffusion, eager", peer, ours / peer))
    return rows


def step_row(case: str, found: dict[str, float], mine: str, other: str, how: str, name: str, *, several: bool) -> Row:
    """A training step of one side against the other's."""
    ours, peer = found[f"{mine} train images/s"], found[f"{other} train images/s"]
    what, ratio = f"training step, {case}{how}", ours / peer
    span = (found[f"{mine} to {other}, least"], found[f"{mine} to {other}, most"]) if several else None
    return Row(what, "images/s", ours, f"k-diffusion, {name}", peer, ratio, f">= {FASTER}", ratio >= FASTER, span)


def memory_row(case: str, found: dict[str, float], mine: str, other: str, how: str, name: str) -> Row:
    """What a step holds at most on one side and on the other."""
    ours, peer = found[f"{mine} peak bytes"] / 2**20, found[f"{other} peak bytes"] / 2**20
    what = f"peak memory of a step, {case}{how}"
    return Row(what, "MiB", ours, f"k-diffusion, {name}", peer, peer / ours, ">= 1", ours <= peer)


def measurement(given: Given) -> list[Row]:
    """Features and distances against the tools in use."""
    found = {**features(pictures(64, 64), 1, given.precisions), **distances(1)}
    rows = []
    for name in given.precisions:
        target = FEATURES[name]
        for which in ("default", "best"):
            ours, ratio = found[f"{name} images/s"], found[f"{name} ratio, {which} batch"]
            said, met = f">= {target}", ratio >= target
            batch = round(found[f"torch-fidelity's {which} batch"])
            peer = f"torch-fidelity, {which} batch, {batch}"
            rows.append(
                Row(f"Inception features, {name}", "images/s", ours, peer,
                    found[f"torch-fidelity images/s, batch {batch}"],
                    ratio, said, met)
            )  # fmt: skip
    ours, peer_s, ratio = found["frechet_distance s"], found["sqrtm s"], found["frechet ratio"]
    what = "Fréchet distance, 2,048 features"
    return [*rows, Row(what, "s", ours, "scipy.linalg.sqrtm", peer_s, ratio, ">= 4", ratio >= 4)]


def start(*words: str) -> None:
    """Run a Python module as a command, from its process's start to its end."""
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True, cwd=ROOT)


def commands(given: Given) -> list[Row]:
    """Start-up, and planning and rendering of many records."""
    *times, peer = best([*(partial(start, "hdit_repro.cli", *words) for words in STARTS), partial(start, *PEER)], 3)
    rows = [
        Row(f"hdit-repro {' '.join(words)}", "s", taken, " ".join(PEER), peer, peer / taken, ">= 1", taken <= peer)
        for words, taken in zip(STARTS, times, strict=True)
    ]
    few, many = (among_records(number) for number in RECORDS)
    added = growth(few["render-tables"], many["render-tables"], RECORDS[1] - RECORDS[0])
    return [*rows, *few.values(), *many.values(), added]


def among_records(number: int) -> dict[str, Row]:
    """Each command of `PEERS` on a workplace of so many records, against its peer there."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as nothing:
        fill(Path(folder), "paper", number)
        for name, title in PEERS.items():
            words = tuple(word.replace("SCALE", "paper") for word in COMMANDS[name])
            wall, _ = seconds(Path(folder), words)
            peer = pandas_seconds(Path(folder)) if title == PANDAS else seconds(Path(nothing), words)[0]
            rows[name] = Row(f"hdit-repro {name}, {number:,} records", "s", wall, title, peer, peer / wall)
    return rows


def growth(few: Row, many: Row, added: int) -> Row:
    """What `added` records take of rendering and of its peer, without starts and figures, which both rows have."""
    assert few.peer is not None
    assert many.peer is not None
    ours, peer = many.ours - few.ours, many.peer - few.peer
    what = f"hdit-repro render-tables, what {added:,} more records take"
    return Row(what, "s", ours, PANDAS, peer, peer / ours, ">= 1", ours <= peer)


def processor() -> str:
    """The processor's model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine_facts(threads: int, began: float) -> dict[str, Any]:
    """Processor and the instructions that torch uses of it, versions, commit, command, date, and how long it took."""
    source = checkout_source(ROOT)
    return {
        "cpu": f"{processor()} with {torch.backends.cpu.get_cpu_capability()}", "cores": os.cpu_count(),
        "threads": threads, "commit": source.commit,
        "dirty": source.dirty, "versions": package_versions(), "time": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "benchmarks/bench.py", *without_paths(sys.argv[1:])]),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def without_paths(words: Sequence[str]) -> list[str]:
    """The command's words; a folder that means nothing elsewhere is PATH."""
    return ["PATH" if before == "--authors" else word for before, word in zip(["", *words], words, strict=False)]


def table(rows: list[Row], machine: dict[str, Any], absent: list[str]) -> str:
    """The rows as Markdown."""
    lines = ["| what | unit | ours | peer | peer's | ratio | target | met |", "|---|---|---:|---|---:|---:|---|---|"]
    for row in rows:
        peer, better = ("" if each is None else f"{each:.3g}" for each in (row.peer, row.better))
        if row.span is not None:
            better += " ({:.3g} to {:.3g})".format(*row.span)
        met = {None: "", True: "yes", False: "no"}[row.met]
        lines.append(
            f"| {row.what} | {row.unit} | {row.ours:.3g} | {row.peer_name} | {peer} | {better} | {row.target} | {met} |"
        )
    versions, changed = machine["versions"], " with changes" if machine["dirty"] else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in NAMED if name in versions)
    lines += ["", "- A ratio above 1: ours is ahead.", *(f"- Not measured: {name}." for name in absent)]
    lines += [
        f"- {machine['time']}, {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; {packages}; "
        f"commit {machine['commit'][:12]}{changed}; {machine['seconds']:.0f} s: `{machine['command']}`"
    ]
    return "\n".join(lines)


PARTS: dict[str, Callable[[Given], list[Row]]] = {
    "attention": attention, "evaluation": measurement, "commands": commands, "steps": steps,
}  # fmt: skip
"""What is measured; what takes longest comes last, since it can be cut short."""


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, help="a checkout of crowsonkb/k-diffusion")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="of each side of a training step")
    parser.add_argument("--minutes", type=float, default=math.inf, help="what all of it may take; no end if not said")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part; all if not said")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="leave bench.json and bench.md there")
    asked = parser.parse_args()
    if min(asked.threads, asked.processes) < 1:
        parser.error("--threads and --processes are at least 1")
    if not asked.minutes > 0:
        parser.error("--minutes is above 0")
    if asked.authors:
        authors(asked.authors, compiled=False)  # a folder that is no checkout is refused before anything is measured
    torch.set_num_threads(asked.threads)
    began = time.perf_counter()
    given = Given(asked.authors, asked.processes, began + 60 * asked.minutes)
    given.absent.append("clean-fid's and ADM's evaluators on Inception's own weights, which no package here brings")
    if not computes_bfloat16():
        given.precisions = ("float32",)
        given.absent.append("bfloat16: this processor has no instructions for it, and takes longer than in float32")
    rows, text = [], ""
    for name in asked.only or PARTS:
        rows += PARTS[name](given)
        machine = machine_facts(asked.threads, began)
        print(f"{name}: {machine['seconds']:.0f} s so far", file=sys.stderr, flush=True)
        text = table(rows, machine, given.absent)
        if asked.write:
            tree = {"machine": machine, "rows": [row._asdict() for row in rows], "absent": given.absent}
            write(asked.write, tree, text)
    print(text)


def write(folder: Path, tree: dict[str, Any], text: str) -> None:
    """Leave what is measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", tree)
    write_text(folder / "bench.md", text + "\n")


if __name__ == "__main__":
    main()
