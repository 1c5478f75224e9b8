"""The published forms of the data sets that can be prepared: which store reads what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hdit_repro.data.store import Store, open_store
from hdit_repro.data.tars import TAR_SUFFIXES, TarStore
from hdit_repro.errors import UserError, pick


def open_source(path: Path | str, kind: str, *, upright: bool = False, cmyk: bool = False) -> Store:
    """What `data prepare` reads.

    Args:
        path: a folder, a zip archive, or for ImageNet tar files.
        kind: "imagenet" (ILSVRC2012_img_train.tar; a folder of its class tars; the unpacked folder, `train/` or what
            holds it), "ffhq" (a folder of PNG files with or without subfolders, or a zip), "folder" (any images).
        upright, cmyk: of "folder": follow orientation tags; convert CMYK. The published data sets have fixed rules.

    Raises:
        UserError: nothing is there, the kind is unknown, or an option is given that the kind does not take.
    """
    opener = pick(SOURCES, kind, kind="data set that is read from files")
    if kind != "folder" and (upright or cmyk):
        raise UserError(
            "the published data sets are read by fixed rules",
            found=f"--upright or --cmyk with --dataset {kind}",
            expected="these options with --dataset folder only",
            fix="leave them out, or --dataset folder",
        )
    path = Path(path)
    if not path.exists():
        raise UserError(
            "there is no data set",
            found=str(path),
            expected="a folder or an archive",
            fix="check the path; relative ones are taken from the current folder",
        )
    if path.suffix == ".tfrecords" or (path.is_dir() and next(path.glob("*.tfrecords"), None)):
        raise UserError(
            "tfrecords are not read",
            found=str(path),
            expected="PNG files in a folder or a zip (images1024x1024)",
            fix="python download_ffhq.py --images, of NVlabs/ffhq-dataset, fetches the PNG files",
        )
    return opener(path, upright, cmyk)


def _imagenet(path: Path, upright: bool, cmyk: bool) -> Store:
    """Classes are the folders n01440764 ..., numbered in the order of their WordNet ids; some JPEGs are CMYK."""
    if path.suffix in TAR_SUFFIXES or (path.is_dir() and any(path.glob("n*.tar"))):
        return TarStore(path, cmyk=True)
    places = (path / "ILSVRC" / "Data" / "CLS-LOC" / "train", path / "train", path)
    return open_store(next(place for place in places if place.exists()), cmyk=True)


def _ffhq(path: Path, upright: bool, cmyk: bool) -> Store:
    """FFHQ's subfolders count thousands of images and are no classes."""
    inner = path / "images1024x1024"
    return open_store(inner if inner.is_dir() else path, labelled=False)


def _folder(path: Path, upright: bool, cmyk: bool) -> Store:
    """Subfolders are classes. ILSVRC-like tar files are read too."""
    if path.suffix in TAR_SUFFIXES:
        return TarStore(path, cmyk=cmyk, upright=upright)
    return open_store(path, upright=upright, cmyk=cmyk)


SOURCES: dict[str, Callable[[Path, bool, bool], Store]] = {"imagenet": _imagenet, "ffhq": _ffhq, "folder": _folder}
