"""Synthetic records of Table 1's rows, and a ledger of invented numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.records import schema, store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric, Protocol, Provenance, Record, Reference
from hdit_repro.render.ledger import Printed
from hdit_repro.render.measured import frechet_name, plain_name
from hdit_repro.spec.base import kind_of

Measure = Callable[..., Path]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def measure(roots: Roots) -> Measure:
    """Write a record of a run ("table1/E") at a scale; returns where it lies."""

    def write(name: str, scale: str, value: float, seed: int = 0, samples: int | None = None, **context: float) -> Path:
        job = jobs.find(name, scale, seed)
        sampler = job.run.sampling.sampler
        record = schema.make(
            job.run,
            names=(name,),
            label=job.label,
            scale=scale,  # type: ignore[arg-type]
            metrics={"inception-score": Metric(value=1.0)},
            protocol=Protocol(
                extractor=kind_of(job.run.evaluation.extractor),
                weights_digest="ab" * 32,
                resize="bicubic",
                reference=Reference(
                    kind=kind_of(job.run.evaluation.reference), name="images", digest="cd" * 32, count=3781,
                    split="all", resolution=job.run.data.resolution, transform=job.run.data.transform,
                ),
                samples=samples or job.run.sampling.count,
                sampler=kind_of(sampler),
                steps=sampler.steps,
                network_evaluations=sampler.steps,
                guidance=1.0,
                weights="ema",
                labels="random",
            ),
            provenance=Provenance(
                commit="0123456789abcdef", dirty=True, versions={}, device="cpu", host="Linux", seconds={},
                gpu_hours=0.0, time="2030-01-01T00:00:00+00:00",
            ),
            context={key.replace("_", "-"): number for key, number in context.items()},
        )  # fmt: skip
        return store.write(named(record, value), RunFolder(roots, job.run, scale).record)

    return write


def named(record: Record, value: float) -> Record:
    """The record with its Fréchet distance under the name that its sample count allows."""
    name = plain_name(record, frechet_name(record.spec))
    metrics = {name: Metric(value=value), **record.metrics}
    return msgspec.structs.replace(record, metrics=metrics)


@pytest.fixture
def printed() -> Callable[[str], Mapping[str, Mapping[str, Printed]]]:
    """A ledger of invented numbers: FID 77.25 for all rows, and R1's and E's costs at 256² (R1's is off)."""

    def cells(table: str) -> Mapping[str, Mapping[str, Printed]]:
        assert table == "table1"
        rows = {job.name: {"fid": Printed(77.25, "77.25")} for job in jobs.load("table1")}
        rows["table1/R1"]["gflop-256"] = Printed(656, "656")
        rows["table1/E"]["gflop-256"] = Printed(65, "65")
        return rows

    return cells
