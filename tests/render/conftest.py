"""Synthetic records, and a ledger of invented numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from hdit_repro import jobs, paper
from hdit_repro.files import write_text
from hdit_repro.paper import Claim, Ledger
from hdit_repro.records import implied, schema, store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric, Protocol, Provenance, Reference, asked_samples, metric_name
from hdit_repro.render.measured import frechet_name
from hdit_repro.render.tables import material, render_tables, table_folder
from hdit_repro.spec.data import Folder

Measure = Callable[..., Path]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def measure(roots: Roots, measurer: Callable[[Roots], Measure]) -> Measure:
    """Write a record of a run ("table1/E") at a scale; returns where it lies."""
    return measurer(roots)


@pytest.fixture(scope="session")
def measurer() -> Callable[[Roots], Measure]:
    """From a workplace to what writes records there."""
    return _measurer


def _measurer(roots: Roots) -> Measure:

    def write(
        name: str,
        scale: str,
        value: float,
        seed: int = 0,
        score: float = 1.0,
        seconds: float = 0.0,
        interval: str = "",
        weights: str = "ab" * 32,
        sampling_seed: int = 0,
        dataset: Folder | None = None,
        year: int = 2030,
        **context: float,
    ) -> Path:
        job = jobs.find(name, scale, seed, dataset)
        sampling = msgspec.structs.replace(job.run.sampling, seed=sampling_seed)
        run = msgspec.structs.replace(job.run, sampling=sampling)
        ends = {"low": value - 1, "high": value + 1, "interval": interval} if interval else {}
        count = run.sampling.count
        name_ = metric_name(frechet_name(run), count, asked_samples(scale, count))  # type: ignore[arg-type]
        metrics = {name_: Metric(value=value, **ends)}  # type: ignore[arg-type]
        if "inception-score" in run.evaluation.metrics:
            metrics["inception-score"] = Metric(value=score)
        record = schema.make(
            run,
            names=(name,),
            label=job.label,
            scale=scale,  # type: ignore[arg-type]
            metrics=metrics,
            protocol=Protocol(
                weights_digest=weights,
                resize="bicubic",
                reference=Reference(digest="cd" * 32, **implied.reference(run.evaluation.reference, run.data)),
                **implied.protocol(run),
            ),
            provenance=Provenance(
                commit="0123456789abcdef", dirty=True, versions={}, device="cpu", host="Linux",
                seconds={"train": seconds}, gpu_hours=0.0, time=f"{year}-01-01T00:00:00+00:00",
            ),
            context={key.replace("_", "-"): number for key, number in context.items()},
        )  # fmt: skip
        return store.write(record, RunFolder(roots, run, scale).record)

    return write


@pytest.fixture
def ledger() -> Ledger:
    """The project's ledger with invented numbers in Table 1: FID 77.25 for all rows, and R1's cost at 256² is off."""

    def invented(claim: Claim) -> Claim:
        if claim.table == "table1" and claim.column == "fid":
            return msgspec.structs.replace(claim, printed=77.25, text="77.25")
        if claim.id == "table1/R1/gflop-256":
            return msgspec.structs.replace(claim, printed=656, text="656", reason="")
        return claim

    known = paper.read()
    return Ledger(tuple(invented(claim) for claim in known), known.tables)


@pytest.fixture
def render(roots: Roots, ledger: Ledger) -> Callable[..., list[Path]]:
    """Render tables of a scale from that ledger; by name, or Table 1 where no names are given."""

    def run(scale: str, names: tuple[str, ...] = ("table1",), out: Path | None = None) -> list[Path]:
        return render_tables(material(scale, roots, ledger), out or table_folder(scale, roots), names)

    return run


@pytest.fixture(scope="session")
def remains() -> Callable[..., None]:
    """What a run leaves beside its record: a learning curve, whose last line is cut, and a grid of samples."""

    def leave(roots: Roots, name: str, scale: str, seed: int = 0) -> None:
        folder = RunFolder(roots, jobs.find(name, scale, seed).run, scale)
        lines = [json.dumps({"step": step, "loss": 1 / (1 + step)}) for step in range(1, 600)]
        write_text(folder.metrics, "\n".join([*lines, '{"step": 600, "lo']))
        folder.samples.mkdir(parents=True)
        Image.new("RGB", (64, 64), (seed * 40, 90, 160)).save(folder.grid)

    return leave
