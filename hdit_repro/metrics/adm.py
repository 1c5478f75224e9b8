"""ADM's published references: statistics and images of one data set in one .npz file (Dhariwal and Nichol, 2021).

mu, sigma: pool_3's mean and covariance over the whole data set; mu_s, sigma_s: the same of the spatial features; arr_0:
10,000 of the images, for precision and recall. FID uses the statistics, not the 10,000 images.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, lock, sha256_file, write_bytes
from hdit_repro.metrics.npz import ARRAY, NpzImages, arrays_in, read_float
from hdit_repro.metrics.statistics import Array
from hdit_repro.spec.evaluation import ADM_SIDES

WIDTH = 2048
"""Features of Inception's pool_3, which these statistics are of."""

EXTRACTOR = "inception-2015"
"""The network that the published statistics are of."""


class AdmStatistics(NamedTuple):
    """A published reference: mean float64 2048, covariance float64 2048 2048, the file's name and SHA-256; the same of
    its spatial features, and its images, where it holds them."""

    mean: Array
    cov: Array
    name: str
    digest: str
    spatial: tuple[Array, Array] | None = None
    images: NpzImages | None = None


def adm_folder() -> Path:
    """Where ADM's files lie."""
    return cache_folder() / "references" / "adm"


def add_adm(path: Path | str) -> Path:
    """Copy one of ADM's reference files (keys mu, sigma) into the cache. Its name is the file's, without .npz.

    Raises:
        UserError: no such file, none with statistics of ADM's network, or another one has its name in the cache;
            nothing is written.
        RunError: the disk is full.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise UserError(
            "this is no reference of ADM's",
            found=str(path),
            expected="an .npz file with mu and sigma",
            fix="take VIRTUAL_imagenet128_labeled.npz or one like it",
        )
    if not path.is_file():
        raise UserError(
            "there is no such reference",
            found=str(path),
            expected="an .npz file with mu and sigma",
            fix="check the path; relative ones are taken from the current folder",
        )
    target = _adm_path(path.stem)
    found = read_statistics(path)
    if len(found.mean) != WIDTH:
        raise UserError(
            "this is no reference of ADM's",
            found=f"{path}: statistics of {len(found.mean):,} features",
            expected=f"{WIDTH:,}, as Inception's pool_3 has",
            fix="statistics of another network are compared as they are: hdit-repro fid SAMPLES FILE --protocol NAME",
        )
    side = ADM_SIDES.get(path.stem)
    if side and found.images is not None and found.images.size != (side, side):
        raise UserError(
            "this is another reference than its name says",
            found=f"{path}: images of {found.images.height} x {found.images.width} pixels",
            expected=f"images of {side} x {side}, as {path.stem} has",
            fix="get the file again, or give it a name of its own",
        )
    with lock(target.with_suffix(".lock")):
        other = _whole_digest(target)
        if other not in (None, found.digest):
            raise UserError(
                "another reference has this name",
                found=f"{target}, SHA-256 {str(other)[:12]}, and not {found.digest[:12]}",
                expected="one file under a name",
                fix=f"rename {path.name}, or delete the other file first",
            )
        if other is None:
            write_bytes(target, path.read_bytes())
    return target


def facts_of(path: Path) -> dict[str, Any]:
    """What is known of a file that was added: its SHA-256 and how many images it holds (its statistics may be of more);
    the network and the side in pixels where the name is a published one. Nothing where it is damaged, or another user's
    that may not be read."""
    try:
        held = len(NpzImages(path)) if ARRAY in arrays_in(path) else 0
    except (UserError, PermissionError):
        return {}
    known = {"extractor": EXTRACTOR, "resolution": ADM_SIDES[path.stem]} if path.stem in ADM_SIDES else {}
    return {**known, "digest": sha256_file(path), "images": held}


def adm_reference(name: str) -> AdmStatistics:
    """ADM's statistics by name (VIRTUAL_imagenet128_labeled).

    Raises:
        UserError: it was not added, or is damaged.
    """
    path = _adm_path(name)
    if not path.is_file():
        raise UserError(
            f"the reference {name!r} is missing",
            found=f"no {path}",
            expected=f"{name}.npz, which ADM's authors publish (openai/guided-diffusion, evaluations)",
            fix="hdit-repro reference add PATH",
        )
    return read_statistics(path)


def read_statistics(path: Path) -> AdmStatistics:
    """An .npz file with mu and sigma, and whatever else of ADM's it holds.

    Raises:
        UserError: it is missing, damaged, or holds no statistics.
    """
    with _reading("mu and sigma"):
        names = arrays_in(path)
    mean, cov = _pair(path, "mu", "sigma")
    spatial = _pair(path, "mu_s", "sigma_s") if {"mu_s", "sigma_s"} <= set(names) else None
    images = NpzImages(path) if ARRAY in names else None
    return AdmStatistics(mean, cov, path.stem, sha256_file(path), spatial, images)


def _whole_digest(path: Path) -> str | None:
    """SHA-256 of a reference file; None where there is none, or it is damaged."""
    with contextlib.suppress(UserError):
        return read_statistics(path).digest
    return None


@contextlib.contextmanager
def _reading(arrays: str) -> Iterator[None]:
    """Say of what cannot be read that it is a reference, with the names of `arrays` in words."""
    try:
        yield
    except UserError as error:
        raise UserError(
            "a reference cannot be read",
            found=error.found,
            expected=f"an .npz file with {arrays}",
            fix="get or compute the file again",
        ) from error


def _adm_path(name: str) -> Path:
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise UserError(
            "a reference has a plain name",
            found=repr(name),
            expected="letters, digits, '-', '_' and '.'",
            fix="rename the file",
        )
    return adm_folder() / f"{name}.npz"


def _pair(path: Path, mu: str, sigma: str) -> tuple[Array, Array]:
    with _reading(f"{mu} and {sigma}"):
        mean, cov = read_float(path, mu), read_float(path, sigma)
    square = mean.ndim == 1 and cov.shape == (mean.size, mean.size)
    finite = np.isfinite(mean).all() and np.isfinite(cov).all()
    if not square or not finite or (np.diagonal(cov) < 0).any():
        wrong = "" if not square else ", NaN or infinity in them" if not finite else ", negative variances"
        raise UserError(
            "a reference holds no statistics",
            found=f"{path}: {mu} {mean.shape}, {sigma} {cov.shape}{wrong}",
            expected=f"finite values: {mu} D, {sigma} D D, a covariance",
            fix="get or compute the file again",
        )
    return mean, cov
