"""Weights of feature networks that no package of ours brings: added by hand, checked, kept in the cache folder."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro.errors import UserError, pick
from hdit_repro.files import atomic_file, atomic_path, cache_folder, lock, sha256_file
from hdit_repro.metrics.download import BY_HAND, Progress, check_address, download

if TYPE_CHECKING:
    from torch import Tensor


class KnownWeights(NamedTuple):
    """A file of weights: its published name, SHA-256, where it is published, under which licence."""

    file: str
    sha256: str
    url: str
    licence: str


KNOWN: dict[str, KnownWeights] = {
    "inception-2015": KnownWeights(
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "Apache-2.0",
    ),
    "dinov2-vitl14": KnownWeights(
        "dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "Apache-2.0",
    ),
}
"""By name; all Inception protocols share one file, which torch-fidelity publishes too, as
weights-inception-2015-12-05-6726825d.pth."""


OFFLINE_VARIABLE = "HDIT_REPRO_OFFLINE"
"""Set to anything but one of `NO`, no connection is opened, whoever asks."""
NO = ("", "0", "false", "no", "off")

SCHEMES = ("https",)
"""How weights are fetched."""


class Listed(NamedTuple):
    """A line of `weights list`."""

    name: str
    present: bool
    path: Path
    known: KnownWeights


def folder() -> Path:
    """Where the weights lie."""
    return cache_folder() / "weights"


def add(path: Path | str, name: str | None = None) -> Path:
    """Copy weights into the cache. Adding what is there already changes nothing.

    Args:
        path: the file.
        name: what it is; None finds out by its SHA-256.

    Returns:
        Where it lies now.

    Raises:
        UserError: no such file, an unknown name, or another SHA-256 than the published one; nothing is written.
        RunError: the disk is full.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            "there is no file of weights",
            found=str(path),
            expected=_published(),
            fix="check the path; `hdit-repro weights list` says where each file is published",
        )
    digest = sha256_file(path)
    name = _identified(digest, name, str(path))
    target = folder() / KNOWN[name].file
    with lock(folder() / f"{name}.lock"):
        if not (target.is_file() and sha256_file(target) == digest):
            _copy(path, target, digest)
    return target


def fetch(url: str, name: str | None = None, progress: Progress = lambda done, total: None) -> Path:
    """Fetch weights over the network and add them as `add` does. For a login node: no stage opens a connection.

    What is there already is not fetched again, where `name` or a published address says what it would be. What a
    killed fetch left is thrown away.

    Raises:
        UserError: $HDIT_REPRO_OFFLINE is set, the address is no https one, the name is unknown, or what came is not the
            published file.
        RunError: it cannot be reached or breaks off, or the disk is full.
    """
    if os.environ.get(OFFLINE_VARIABLE, "").lower() not in NO:
        raise UserError(
            "this machine is said to be offline",
            found=f"{OFFLINE_VARIABLE}={os.environ[OFFLINE_VARIABLE]}",
            expected="a file that is here already",
            fix=BY_HAND,
        )
    check_address(url, SCHEMES)
    wanted = name or next((key for key, known in KNOWN.items() if known.url == url), None)
    known = pick(KNOWN, wanted, kind="set of weights") if wanted else None
    with lock(folder() / "fetch.lock"):
        if known and (folder() / known.file).is_file() and sha256_file(folder() / known.file) == known.sha256:
            return folder() / known.file
        partial = folder() / ".fetch.partial"
        try:
            download(url, partial, progress)
            return _moved(partial, name, url)
        finally:
            partial.unlink(missing_ok=True)


def _moved(partial: Path, name: str | None, url: str) -> Path:
    """A fetched file under its published name, after its digest."""
    name = _identified(sha256_file(partial), name, f"what {url} gives")
    target = folder() / KNOWN[name].file
    with lock(folder() / f"{name}.lock"), atomic_path(target) as temporary:
        partial.replace(temporary)
    return target


def _identified(digest: str, name: str | None, what: str) -> str:
    """The name of the weights with that SHA-256.

    Raises:
        UserError: none are, or those that `name` says have another.
    """
    if name is None:
        name = next((key for key, known in KNOWN.items() if known.sha256 == digest), None)
    if name is None or pick(KNOWN, name, kind="set of weights").sha256 != digest:
        raise UserError(
            "these are not the published weights",
            found=f"{what}, with SHA-256 {digest}",
            expected=_published() if name is None else _line(KNOWN[name]),
            fix="get the file again, from where `hdit-repro weights list` says; one that broke off has another digest",
        )
    return name


def _copy(path: Path, target: Path, digest: str) -> None:
    with open(path, "rb") as source, atomic_file(target) as file:
        shutil.copyfileobj(source, file)
    if sha256_file(target) != digest:
        target.unlink()
        raise UserError(
            "a file changed while it was copied",
            found=str(path),
            fix="run the same command again",
            expected="the same bytes at the end as at the start",
        )


def locate(name: str) -> Path:
    """Where the weights `name` lie.

    Raises:
        UserError: the name is unknown, or they are not in the cache.
    """
    known = pick(KNOWN, name, kind="set of weights")
    path = folder() / known.file
    if not path.is_file():
        raise UserError(
            f"the weights of {name!r} are missing",
            found=f"no {path}",
            expected=f"{known.file}, from {known.url}",
            fix="hdit-repro weights add PATH",
        )
    return path


def load(name: str) -> dict[str, Tensor]:
    """The tensors of the weights `name`, on the CPU. Only tensors are read from the file (`weights_only`).

    Raises:
        UserError: unknown, missing or damaged.
    """
    import torch

    path = locate(name)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != KNOWN[name].sha256:
        raise UserError(
            f"the weights of {name!r} are damaged",
            found=f"{path} with SHA-256 {digest}",
            expected=KNOWN[name].sha256,
            fix="hdit-repro weights add PATH",
        )
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"the weights of {name!r} are no tensors",
            found=f"{path}: {error}",
            expected="tensors by name",
            fix="hdit-repro weights add PATH",
        ) from error
    return {str(key): value for key, value in state.items()}


def listing() -> list[Listed]:
    """All known weights, and whether they are in the cache."""
    rows = []
    for name, known in sorted(KNOWN.items()):
        path = folder() / known.file
        rows.append(Listed(name, path.is_file(), path, known))
    return rows


def _published() -> str:
    return "; ".join(map(_line, KNOWN.values()))


def _line(known: KnownWeights) -> str:
    return f"{known.file} with SHA-256 {known.sha256}"
