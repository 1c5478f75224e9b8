"""Checkpoints: one safetensors file a step and a small marker with its digest, both whole or absent.

checkpoints/step-00000240.safetensors
checkpoints/step-00000240.json      {"file", "sha256", "step", "run"}: written after the file
checkpoints/ema-00000100.*          the same two, averages of the weights only, kept for ever
checkpoints/final.json              the marker of the finished run's checkpoint, with a summary: written last
"""

from __future__ import annotations

import contextlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import atomic_path, read_json, sha256_file, write_json
from hdit_repro.records.layout import numbered


class DamagedCheckpoint(UserWarning):
    """A checkpoint that does not match its digest was passed over."""


class Checkpoint(NamedTuple):
    """What a whole checkpoint holds."""

    step: int
    run: str
    tensors: dict[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, by the rest of their names."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], step: int, run: str) -> dict[str, Any]:
    """Write a checkpoint; returns its marker.

    Raises:
        RunError: no space is left; earlier checkpoints stand.
    """
    return _write(folder, f"step-{step:08d}.safetensors", tensors, step, run)


def save_snapshot(folder: Path, tensors: dict[str, Tensor], step: int, run: str) -> dict[str, Any]:
    """Write averages of the weights as they are at a step, for evaluation; returns the marker.

    Raises:
        RunError: no space is left; earlier files stand.
    """
    return _write(folder, f"ema-{step:08d}.safetensors", tensors, step, run)


def _write(folder: Path, name: str, tensors: dict[str, Tensor], step: int, run: str) -> dict[str, Any]:
    with atomic_path(folder / name) as temporary:
        _save_file(temporary, tensors, run)
        digest = sha256_file(temporary)
    marker = {"file": name, "sha256": digest, "step": step, "run": run}
    write_json((folder / name).with_suffix(".json"), marker)
    return marker


def _save_file(path: Path, tensors: dict[str, Tensor], run: str) -> None:
    """The library's `save_file`: it lets other threads go on meanwhile, and makes no copy, as its `save` does.

    Raises:
        OSError: the system's error, which the library hands on as text.
    """
    try:
        # One entry of metadata only: safetensors writes several in an order that differs from save to save.
        save_file(tensors, path, {"run": run})
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error), str(path)) from error


def newest(folder: Path, run: str) -> Checkpoint | None:
    """The newest whole checkpoint of a run, or None. Damaged ones are named in a warning and passed over.

    Raises:
        UserError: the newest one belongs to another configuration.
    """
    for _, path in _markers(folder):
        try:
            return read_checkpoint(folder, read_json(path), run)
        except DamageError as error:
            warnings.warn(DamagedCheckpoint(str(error)), stacklevel=2)
        except UserError as error:
            if error.problem == "a file is damaged":
                warnings.warn(DamagedCheckpoint(f"{path} is damaged and passed over"), stacklevel=2)
                continue
            raise
    return None


def newest_file(folder: Path, step: int) -> Path | None:
    """The path of the newest checkpoint up to `step`, for a message; it is not read."""
    return next((path.with_suffix(".safetensors") for saved, path in _markers(folder) if saved <= step), None)


def _markers(folder: Path) -> list[tuple[int, Path]]:
    """The steps and markers of all checkpoints, the newest first: by number, for names sort by it up to eight digits
    alone."""
    return sorted(numbered(folder, "step", "json").items(), reverse=True)


def read_snapshot(folder: Path, step: int, run: str) -> Checkpoint:
    """The averages kept at a step: `network.*` (buffers only), `ema.*` and `ema@DECAY.*`.

    Raises:
        RunError: it is damaged.
        UserError: there is none, or it belongs to another run.
    """
    marker = folder / f"ema-{step:08d}.json"
    if not marker.exists():
        kept = ", ".join(map(str, sorted(numbered(folder, "ema", "json"))))
        raise UserError(
            f"the averages were not kept at step {step}",
            found=f"steps {kept} in {folder}" if kept else f"no snapshot in {folder}",
            expected=f"a snapshot of step {step}",
            fix=f"delete {folder.parent} and train again with --snapshot {step}; a run that is past a step keeps none",
        )
    try:
        return read_checkpoint(folder, _marker(marker), run)
    except DamageError as error:
        raise RunError(
            "a snapshot of the averages is damaged",
            found=str(error),
            expected="the file unchanged",
            fix=f"delete {folder} and run the same command (`hdit-repro train` at paper scale): the run trains again, "
            "and what was drawn and measured of it stays",
        ) from error


def _marker(path: Path) -> dict[str, Any]:
    """A checkpoint's marker.

    Raises:
        DamageError: it is no JSON.
    """
    try:
        return dict(read_json(path))
    except (UserError, TypeError, ValueError) as error:
        raise DamageError(f"{path} is damaged") from error


def has_snapshot(folder: Path, step: int) -> bool:
    """Whether the averages of a step were kept and are there."""
    marker = folder / f"ema-{step:08d}.json"
    return marker.exists() and marker.with_suffix(".safetensors").exists()


def clear_partial(folder: Path) -> None:
    """Delete what killed processes left half-written: temporary files, and checkpoints whose marker was not written.

    Only the process that writes the run's files may.
    """
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)
    for path in numbered(folder, "step", "safetensors").values():
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)


def read_step(folder: Path, step: int, run: str) -> Checkpoint:
    """The checkpoint of a step, for a process that is told which.

    Raises:
        RunError: it is missing or damaged here.
    """
    marker = folder / f"step-{step:08d}.json"
    try:
        return read_checkpoint(folder, read_json(marker), run)
    except (DamageError, UserError) as error:
        raise RunError(
            "the checkpoint that the main process goes on from cannot be read here",
            found=str(error),
            expected=f"{marker}, in a folder that all processes share",
            fix="put the runs on a disk that all nodes share: export HDIT_REPRO_RUNS=FOLDER",
        ) from error


class DamageError(Exception):
    """A checkpoint is missing or does not match its digest."""


class MissingError(DamageError):
    """A checkpoint's file is not there."""


def read_checkpoint(folder: Path, marker: dict[str, Any], run: str) -> Checkpoint:
    """The checkpoint that a marker names, verified.

    Raises:
        DamageError: the file is missing, cut off or changed.
        RunError: the disk does not give it back.
        UserError: it belongs to another run.
    """
    try:
        path, digest, step = folder / Path(str(marker["file"])).name, str(marker["sha256"]), int(marker["step"])
        owner = str(marker["run"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamageError(f"a checkpoint marker in {folder} lacks {error}") from error
    if owner != run:
        raise UserError(
            "a checkpoint is of another configuration",
            found=f"{path} of run {owner}",
            expected=f"run {run}",
            fix="use the checkpoint of this run, or delete it and train again",
        )
    if not path.is_file():
        raise MissingError(f"{path} is missing")
    if path not in (numbered(folder, kind, "safetensors").get(step) for kind in ("step", "ema")):
        raise DamageError(f"{path} is not of step {step}, as its marker says")
    if _digest(path) != digest:
        raise DamageError(f"{path} does not match its digest and is passed over")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Checkpoint(step, owner, tensors)


def _digest(path: Path) -> str:
    """A checkpoint's digest. One that cannot be read is not passed over: it may be there for the next start, and those
    before it would be the newest from then on.

    Raises:
        RunError: the disk does not give it back.
    """
    try:
        return sha256_file(path)
    except OSError as error:
        raise RunError(
            "a checkpoint cannot be read",
            found=f"{path}: {error.strerror}",
            expected="a disk that gives back what was written to it",
            fix="run the same command again; where this comes back, delete that file: the run goes on from the one "
            "before",
        ) from error


def thin(folder: Path, step: int, keep: int = 2) -> None:
    """Delete all checkpoints but the newest `keep` of those up to `step`, which was just written.

    Later ones were passed over as damaged when the run went on, and would pass for the newest. The one that final.json
    names and snapshots stay.
    """
    kept = _named(folder / "final.json")
    markers = _markers(folder)
    later = [path for saved, path in markers if saved > step]
    earlier = [path for saved, path in markers if saved <= step]
    for marker in later + earlier[keep:]:
        file = marker.with_suffix(".safetensors")
        if file.name != kept:
            marker.unlink()
            file.unlink(missing_ok=True)


def _named(final: Path) -> str:
    """The file that final.json names; none where it is missing or damaged, and the run counts as not done."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        return str(read_json(final)["file"])
    return ""


RESUMES = "run the same command again: training resumes from the newest whole checkpoint"
"""What makes a finished checkpoint anew where it was trained here."""


def unmark(folder: Path, run: str) -> None:
    """Take the mark of a finished training from one that goes on, whose file is gone: a like file is written again
    before its new marker. That of another run is left."""
    with contextlib.suppress(UserError, AttributeError):
        if read_json(folder / "final.json").get("run") == run:
            (folder / "final.json").unlink()


def read_final(folder: Path, run: str, remedy: str = "") -> Checkpoint:
    """The finished run's checkpoint. One that is damaged is no longer marked as finished, so that it is made anew; one
    whose file is absent stays marked, for it may still be on its way here.

    Args:
        folder: of the run's checkpoints.
        run: the training's id.
        remedy: what makes it anew where it is missing or damaged; nothing is a training.

    Raises:
        RunError: there is none, or it is damaged; the message says how it is made.
        UserError: final.json is damaged itself, or it is of another run.
    """
    final = folder / "final.json"
    if not final.exists():
        raise RunError(
            "the run is not trained to its end here",
            found=f"no {final}",
            expected="the folder of a finished training",
            fix=remedy or "hdit-repro train --run RUN --scale SCALE, in the folder that holds its runs/",
        )
    try:
        return read_checkpoint(folder, read_json(final), run)
    except MissingError as error:
        raise RunError(
            "the trained network's file is not here",
            found=str(error),
            expected="the file that final.json names",
            fix=f"wait where it is still being copied here; else {remedy or RESUMES}",
        ) from error
    except DamageError as error:
        final.unlink(missing_ok=True)
        raise RunError(
            "the trained network is damaged",
            found=str(error),
            expected="the file that final.json names, unchanged",
            fix=remedy or RESUMES,
        ) from error
