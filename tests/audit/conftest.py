"""The audit of the project's own ledger, made once; small ledgers; altered jobs; the command from an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hdit_repro import jobs, paper
from hdit_repro.audit import Finding, audit
from hdit_repro.audit.bench import Bench
from hdit_repro.cli import main
from hdit_repro.files import shipped
from hdit_repro.paper import Ledger, checks
from hdit_repro.records import implied, schema
from hdit_repro.records.schema import Metric, Protocol, Provenance, Record, Reference


class Said(NamedTuple):
    """What `verify` left: exit code, data, remarks."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def surprises(self) -> set[str]:
        """Ids of the claims that stderr names as surprises."""
        lines = self.err.splitlines()
        return {line.split()[1] for line in lines if line.startswith("surprise: ")}


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    return paper.read()


@pytest.fixture(scope="session")
def bench(ledger: Ledger) -> Bench:
    return Bench(ledger)


@pytest.fixture(scope="session")
def findings(ledger: Ledger) -> dict[str, Finding]:
    return {finding.claim.id: finding for finding in audit(ledger)}


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], Ledger]:
    """A ledger of one file with these claims."""

    def read(text: str) -> Ledger:
        (tmp_path / "small.toml").write_text(f"edition = 1\n{text}", encoding="utf-8")
        return paper.read(tmp_path)

    return read


@pytest.fixture(scope="session")
def only() -> Callable[..., Ledger]:
    """A ledger cut down to some claims and those that their checks refer to."""
    return _only


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """A made-up measurement of a run, with its metrics by name (`fid_at_5000` is fid@5000)."""
    return _record


@pytest.fixture
def alter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Copy a job file into `jobs/` of an empty current folder, with some of its text replaced."""
    monkeypatch.chdir(tmp_path)

    def change(experiment: str, *pairs: tuple[str, str]) -> None:
        text = (shipped("jobs") / f"{experiment}.toml").read_text(encoding="utf-8")
        for old, new in pairs:
            assert old in text, f"{experiment}.toml has no {old!r} to replace"
            text = text.replace(old, new)
        folder = tmp_path / "jobs"
        folder.mkdir(exist_ok=True)
        (folder / f"{experiment}.toml").write_text(text, encoding="utf-8")

    return change


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Call `hdit-repro verify` with these arguments, in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        code = main(["verify", *arguments])
        return Said(code, *capsys.readouterr())

    return call


def _only(ledger: Ledger, *names: str) -> Ledger:
    kept: dict[str, None] = {}
    for name in names:
        check = ledger.claim(name).check
        kept |= dict.fromkeys((name, *(checks.claims_of(check) if check else ())))
    return Ledger(tuple(ledger.claim(name) for name in kept), ledger.tables)


def _record(name: str, *, scale: str = "paper", seed: int = 0, **metrics: float) -> Record:
    job = jobs.find(name, scale, seed)
    return schema.make(
        job.run,
        names=(name,),
        label=job.label,
        scale=scale,  # type: ignore[arg-type]
        metrics={key.replace("_at_", "@").replace("_", "-"): Metric(value=value) for key, value in metrics.items()},
        protocol=Protocol(
            weights_digest="0" * 64,
            resize="in-graph",
            reference=Reference(digest="0" * 64, **implied.reference(job.run.evaluation.reference, job.run.data)),
            **implied.protocol(job.run),
        ),
        provenance=Provenance(
            commit="0" * 40, dirty=False, versions={}, device="A100", host="slurm", seconds={}, gpu_hours=61.0,
            time="2026-01-01T00:00:00Z",
        ),
    )  # fmt: skip
