"""Seconds that commands take on a workplace of many records, each command in a process of its own.

    python benchmarks/records.py
    python benchmarks/records.py 1000 10000 --scale paper --json
    python benchmarks/records.py 10000 --profile report > report.prof.txt

The records are made up, of every job there is, and lie in a temporary folder: a tenth of the trainings is sampled
twice. Commands: render-tables, report, verify, plan table1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import msgspec

from hdit_repro import jobs
from hdit_repro.files import as_json
from hdit_repro.records import implied, schema
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric, Protocol, Provenance, Record, Reference
from hdit_repro.seeds import derive
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import FRECHET_NAMES

COMMANDS = {
    "render-tables": ("render-tables", "--scale", "SCALE"),
    "report": ("report", "--scale", "SCALE"),
    "verify": ("verify", "--json"),
    "plan": ("plan", "table1", "--scale", "SCALE"),
}
PANDAS = """
import json, sys
from pathlib import Path
import pandas
files = Path(sys.argv[1]).rglob("*.json")
found = pandas.json_normalize([json.loads(file.read_text()) for file in files])
values = [name for name in found if name.startswith("metrics.") and name.endswith(".value")]
print(found.groupby(found["names"].str[0])[values].agg(["mean", "std", "count"]).to_string())
"""
"""What somebody writes who has pandas and a folder of results: means of each row."""
TWICE = 10
"""Every so many trainings one has a second sampling."""


def records(scale: schema.Scale) -> Iterator[Record]:
    """Records without end: every row with training seed 0, then 1, and so on."""
    rows = list({job.run.row_id: job for job in jobs.all_jobs(scale)}.values())
    for seed in count():
        for job in rows:
            run = msgspec.structs.replace(job.run, seed=seed)
            yield record(run, job, scale)
            if seed % TWICE == 0:
                sampling = msgspec.structs.replace(run.sampling, seed=1)
                yield record(msgspec.structs.replace(run, sampling=sampling), job, scale)


def record(run: jobs.Run, job: jobs.Job, scale: schema.Scale) -> Record:
    """A record with a made-up Frechet distance of 20 to 30."""
    evaluation = run.evaluation
    extractor = kind_of(evaluation.extractor)
    value = 20 + derive(run.seed, run.sampling.seed, job.name) % 10_000 / 1_000
    samples = run.sampling.count
    name = schema.metric_name(FRECHET_NAMES[extractor], samples, schema.asked_samples(scale, samples))
    return schema.make(
        run,
        names=(job.name,),
        label=job.label,
        scale=scale,
        metrics={name: Metric(value=value, low=value - 1, high=value + 1, interval="made up")},
        protocol=Protocol(
            weights_digest="ab" * 32,
            resize="bicubic",
            reference=Reference(digest="cd" * 32, **implied.reference(evaluation.reference, run.data)),
            **implied.protocol(run),
        ),
        provenance=Provenance(
            commit="0" * 40, dirty=False, versions={"torch": "made up"}, device="none", host="none",
            seconds={"train": 60.0, "sample": 10.0, "evaluate": 10.0}, gpu_hours=0.1, time="2000-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip


def fill(folder: Path, scale: schema.Scale, number: int) -> Roots:
    """A workplace with so many records, as the store writes them but without waiting for the disk."""
    roots = Roots(folder / "runs", folder / "results")
    for made in islice(records(scale), number):
        path = RunFolder(roots, made.spec, scale).record
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(msgspec.to_builtins(made)), encoding="utf-8")
    return roots


def seconds(folder: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """A command's wall time from the start of its process, and the processor's: these part where others compute too."""
    start, before = time.perf_counter(), processor()
    done = subprocess.run(
        [sys.executable, "-m", "hdit_repro.cli", *command], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return time.perf_counter() - start, processor() - before


def pandas_seconds(folder: Path) -> float:
    """Wall seconds of `PANDAS` on a workplace's records, from the start of its process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", PANDAS, str(folder / "results")], check=True, capture_output=True)
    return time.perf_counter() - began


def processor() -> float:
    """Processor seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def profile(folder: Path, command: tuple[str, ...]) -> None:
    """Where a command's time goes."""
    subprocess.run([sys.executable, "-m", "cProfile", "-s", "cumulative", "-m", "hdit_repro.cli", *command], cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, default=[1_000, 10_000], metavar="N", help="records")
    parser.add_argument("--scale", choices=["paper", "mini", "smoke"], default="smoke")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("--profile", choices=list(COMMANDS), help="profile this command instead of timing all")
    given = parser.parse_args()

    commands = {
        name: tuple(given.scale if part == "SCALE" else part for part in line) for name, line in COMMANDS.items()
    }
    rows = []
    for number in given.numbers:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), given.scale, number)
            if given.profile:
                profile(Path(folder), commands[given.profile])
                continue
            for name, command in commands.items():
                wall, own = seconds(Path(folder), command)
                row = {"records": number, "command": name, "seconds": round(wall, 2), "processor": round(own, 2)}
                rows.append(row)
                if not given.json:
                    words = "{records:>7,} records  {command:<14} {seconds:6.2f} s, {processor:6.2f} s of the processor"
                    print(words.format(**row), flush=True)
    if given.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
