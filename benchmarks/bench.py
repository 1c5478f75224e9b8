"""Everything that a CPU can measure against its peers, in one table: what, ours, peer, ratio, target.

    python benchmarks/bench.py [--authors PATH] [--threads 2] [--write FOLDER]

Peers whose code is not at hand are said to be missing. --write leaves bench.json and its table in FOLDER.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from authors import authors
from einops import rearrange
from evaluation import distances, features, pictures
from records import COMMANDS, fill, seconds
from step_against_authors import KINDS, best, measure
from torch import Tensor

from hdit_repro.files import write_json, write_text
from hdit_repro.models.attention import Neighborhood
from hdit_repro.records.provenance import checkout_source, package_versions

ROOT = Path(__file__).resolve().parents[1]
SIDES = (32, 64, 128, 256)
KERNEL = 7
STARTS = (
    ("--help",), ("list",), ("show", "table1/E"), ("cost", "table1/E"), ("plan", "table1"), ("status",), ("verify",),
)  # fmt: skip


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


def attention() -> list[Row]:
    """Neighborhood attention against the dense mask, and how its cost grows."""
    ours, peer = best([both_ways(Neighborhood(KERNEL), 64), both_ways(dense(64), 64)], 4)
    times = best([both_ways(Neighborhood(KERNEL), side) for side in SIDES], 3)
    x, y = [math.log(side**2) for side in SIDES], [math.log(t) for t in times]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / over
    what = "neighborhood attention, 64 x 64 tokens, 2 heads of 64, kernel 7, forward and backward"
    return [
        Row(what, "ms", 1e3 * ours, "SDPA, dense mask", 1e3 * peer, peer / ours, ">= 4", peer / ours >= 4),
        Row("its exponent in tokens, 32² to 256²", "", slope, target="<= 1.1", met=slope <= 1.1),
    ]


def steps(checkout: Path | None) -> list[Row]:
    """A training step and sampling against the authors' code."""
    if checkout is None:
        return []
    code, rows = authors(checkout, compiled=False), []
    default = authors(checkout, compiled=True)
    for kind in KINDS:
        found = measure(code, kind, 8, 3, default=default, steps=3)
        for what, key, target in (("training step", "train", 1.3), ("sampling", "sampled", None)):
            ours, peer = found[f"ours {key} images/s"], found[f"theirs {key} images/s"]
            said, met = ("", None) if target is None else (f">= {target}", ours / peer >= target)
            rows.append(Row(f"{what}, {kind}", "images/s", ours, "k-diffusion, eager", peer, ours / peer, said, met))
        ours, peer = found["ours compiled train images/s"], found["theirs by default train images/s"]
        what, name = f"training step, {kind}, compiled", "k-diffusion, by default"
        rows.append(Row(what, "images/s", ours, name, peer, ours / peer, ">= 1.3", ours / peer >= 1.3))
        ours, peer = found["ours peak bytes"] / 2**20, found["theirs peak bytes"] / 2**20
        what, fits = f"peak memory of a step, {kind}", ours <= peer
        rows.append(Row(what, "MiB", ours, "k-diffusion, eager", peer, peer / ours, ">= 1", fits))
    return rows


def measurement() -> list[Row]:
    """Features and distances against the tools in use."""
    found = {**features(pictures(32, 64), 1), **distances(1)}
    rows = [
        Row(f"Inception features, {name}", "images/s", found[f"{name} images/s"], "torch-fidelity",
            found["torch-fidelity images/s"], found[f"{name} ratio"])
        for name in ("float32", "bfloat16")
    ]  # fmt: skip
    ours, peer = found["frechet_distance s"], found["sqrtm s"]
    return [*rows, Row("Fréchet distance, 2,048 features", "s", ours, "scipy.linalg.sqrtm", peer, peer / ours)]


def start(command: tuple[str, ...]) -> float:
    """Least seconds of three runs of a command."""
    least = math.inf
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hdit_repro.cli", *command], check=True, capture_output=True, cwd=ROOT)
        least = min(least, time.perf_counter() - began)
    return least


def commands() -> list[Row]:
    """Start-up, and planning and rendering of many records."""
    times = {" ".join(command): start(command) for command in STARTS}
    rows = [Row(f"hdit-repro {name}", "s", t, target="< 0.3", met=t < 0.3) for name, t in times.items()]
    for number in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), "smoke", number)
            for name in ("plan", "render-tables"):
                words = tuple(word.replace("SCALE", "smoke") for word in COMMANDS[name])
                rows.append(Row(f"{name} with {number:,} records", "s", seconds(Path(folder), words)))
    return rows


def processor() -> str:
    """The processor's model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(rows: list[Row], machine: dict[str, Any], absent: list[str]) -> str:
    """The rows as Markdown."""
    lines = ["| what | unit | ours | peer | peer's | ratio | target | met |", "|---|---|---:|---|---:|---:|---|---|"]
    for row in rows:
        peer, better = ("" if each is None else f"{each:.3g}" for each in (row.peer, row.better))
        met = {None: "", True: "yes", False: "no"}[row.met]
        lines.append(
            f"| {row.what} | {row.unit} | {row.ours:.3g} | {row.peer_name} | {peer} | {better} | {row.target} | {met} |"
        )
    lines += ["", *(f"- Not at hand: {name}." for name in absent)]
    return "\n".join(
        [*lines, f"- {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, torch "
         f"{machine['versions']['torch']}, commit {machine['commit'][:12]}: `{machine['command']}`"]
    )  # fmt: skip


PARTS: dict[str, Callable[[Path | None], list[Row]]] = {
    "attention": lambda _: attention(),
    "steps": steps,
    "evaluation": lambda _: measurement(),
    "commands": lambda _: commands(),
}


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, help="a checkout of crowsonkb/k-diffusion")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part; all if not said")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="leave bench.json and bench.md there")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    began, source = time.perf_counter(), checkout_source(ROOT)
    absent = [] if asked.authors else ["the authors' code (--authors PATH): training step and sampling"]
    absent += ["clean-fid's and ADM's evaluators on Inception's own weights, which no package index carries"]
    rows, text = [], ""
    for name in asked.only or PARTS:
        rows += PARTS[name](asked.authors)
        machine = {
            "cpu": processor(), "cores": os.cpu_count(), "threads": asked.threads, "commit": source.commit,
            "dirty": source.dirty, "versions": package_versions(), "time": datetime.now(UTC).date().isoformat(),
            "command": "python benchmarks/bench.py" + (" --authors PATH" if asked.authors else ""),
            "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        text = table(rows, machine, absent)
        if asked.write:
            write(asked.write, {"machine": machine, "rows": [row._asdict() for row in rows], "absent": absent}, text)
    print(text)


def write(folder: Path, tree: dict[str, Any], text: str) -> None:
    """Leave what is measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", tree)
    write_text(folder / "bench.md", text + "\n")


if __name__ == "__main__":
    main()
