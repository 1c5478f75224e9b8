"""Where a run's files lie, and which of its stages are done. Reads names and small markers only; no torch."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import is_locked, read_json
from hdit_repro.records.store import whole
from hdit_repro.spec.run import Run

STAGES = ("train", "sample", "evaluate")


class Roots(NamedTuple):
    """The two folders of a workplace: heavy files (git-ignored) and measured numbers (in git)."""

    runs: Path
    results: Path

    def records(self, scale: str) -> Path:
        """Records of paper and mini scale go into git; those of smoke stay beside the runs."""
        return self.runs / "results" / scale if scale == "smoke" else self.results


class RunFolder:
    """The files of one run under `runs/<run id>/`."""

    def __init__(self, roots: Roots, run: Run, scale: str) -> None:
        self.roots, self.run, self.scale = roots, run, scale
        self.path = roots.runs / run.id

    @property
    def description(self) -> Path:
        """run.json: the spec, its names, the scale and what launched it."""
        return self.path / "run.json"

    @property
    def card(self) -> Path:
        """card.md: what was trained, on what, how, and every number that was measured of it."""
        return self.path / "card.md"

    @property
    def checkpoints(self) -> Path:
        """The folder of the training's checkpoints."""
        return self.path / "checkpoints"

    @property
    def final_marker(self) -> Path:
        """Names the finished checkpoint: {"file", "sha256", "step", "run", "summary"}; written last."""
        return self.checkpoints / "final.json"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl: one JSON object per logged training step."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """The folder of the shards of samples, one a sampling."""
        return self.path / "samples" / self.run.sampling_id

    @property
    def manifest(self) -> Path:
        """manifest.json of the samples; `complete` is true when every number is there."""
        return self.samples / "manifest.json"

    @property
    def grid(self) -> Path:
        """One PNG with the first samples."""
        return self.samples / "grid.png"

    @property
    def record(self) -> Path:
        """The measurement, `results/<run id>/<evaluation id>.json`."""
        return self.roots.records(self.scale) / self.run.id / f"{self.run.evaluation_id}.json"

    def stage_key(self, stage: str) -> str:
        """Name of a stage's small files: two samplings of one run do not share them."""
        ids = {"train": self.run.training_id, "sample": self.run.sampling_id, "evaluate": self.run.evaluation_id}
        return f"{stage}-{ids[stage]}"

    def lock(self, stage: str) -> Path:
        """Held by the process that runs the stage; released by the system when it ends."""
        return self.path / "state" / f"{self.stage_key(stage)}.lock"

    def progress(self, stage: str) -> Path:
        """Latest progress of a stage: {"done", "total", "note", "values", "time"}."""
        return self.path / "state" / f"{self.stage_key(stage)}.progress.json"

    def failure(self, stage: str) -> Path:
        """Why a stage last failed: {"error", "traceback", "time", "owner", "pid"}; removed when it runs again."""
        return self.path / "state" / f"{self.stage_key(stage)}.failure.json"

    def log(self, stage: str) -> Path:
        """What a stage printed."""
        return self.path / "state" / f"{self.stage_key(stage)}.log"

    def done(self, stage: str) -> bool:
        """Whether the stage's output was closed and its files are there.

        Digests of heavy files are checked when they are used; that of a record here, since an edited one is none.

        Raises:
            ValueError: no stage is called so.
        """
        if stage == "train":
            return not self.unfinished
        if stage == "sample":
            manifest = _read(self.manifest)
            own = manifest.get("sampling", self.run.sampling_id) == self.run.sampling_id  # no copy of another's folder
            shards = manifest.get("shards", []) if own and manifest.get("complete") is True else None
            return isinstance(shards, list) and all(map(self._has_shard, shards))
        if stage == "evaluate":
            return whole(self.record)
        raise ValueError(f"no stage is called {stage!r}; there are {', '.join(STAGES)}")

    @property
    def unfinished(self) -> str:
        """What a training's end lacks, in words; empty where it is done."""
        if self.run.external:
            return ""  # somebody else's images have nothing to be trained
        marker = _read(self.final_marker)
        file = self.checkpoints / str(marker.get("file"))
        if marker.get("run") == self.run.training_id:
            return "" if file.is_file() else f"no {file}, which {self.final_marker.name} beside it names"
        if not self.final_marker.exists():
            return f"no {self.final_marker}"
        return f"{self.final_marker}, which is damaged or of another run"  # as in a copy of another run's folder

    def _has_shard(self, entry: object) -> bool:
        """Whether the file of one of the manifest's entries is there."""
        return isinstance(entry, dict) and (self.samples / str(entry.get("file"))).is_file()

    def state(self, stage: str) -> str:
        """ "done", "running", "failed" or "missing"."""
        if self.done(stage):
            return "done"
        if is_locked(self.lock(stage)):
            return "running"
        return "failed" if self.failure(stage).exists() else "missing"


def numbered(folder: Path, kind: str, ending: str) -> dict[int, Path]:
    """The files of checkpoints in a folder by their step, as "step-00000240.json"; none that is called otherwise, as a
    copy by an editor or a file manager. None where there is no folder.

    Args:
        folder: of a run's checkpoints.
        kind: "step" or "ema".
        ending: "json" or "safetensors".

    Raises:
        PermissionError: it may not be listed.
    """
    name = re.compile(rf"{kind}-(\d+)\.{ending}", re.ASCII)
    inside = folder.iterdir() if folder.is_dir() else ()
    return {int(found[1]): path for path in inside if (found := name.fullmatch(path.name))}


def _read(path: Path) -> dict[str, Any]:
    """A small JSON object, or an empty one where it is missing or damaged (then the stage counts as not done)."""
    with contextlib.suppress(UserError):
        value = read_json(path)
        if isinstance(value, dict):
            return value
    return {}
