"""The data sets by name, opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hdit_repro.data.images import Images
from hdit_repro.data.places import find, refuse_enlarging
from hdit_repro.data.store import FolderStore, ZipStore, open_store, refuse_part
from hdit_repro.data.whereabouts import locate
from hdit_repro.errors import UserError
from hdit_repro.files import sha256_file
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Data, Folder, facts_of

EMOJI_DIGEST = "25e1939c8b59831044f67121ea3402aa10fa9d1b1414510dcce1233c2be074d9"


def open_dataset(data: Data) -> Images:
    """The images of a run's data set, at its resolution, brought there by its transform.

    Raises:
        UserError: it is not where it is looked for, is not what its name says, or was prepared in another way.
    """
    name = kind_of(data.dataset)
    store = OPENERS[name](data)
    refuse_part(store, name, facts_of(data.dataset), "get the whole data set, and prepare it again")
    if isinstance(data.dataset, Folder):
        name = data.dataset.name
        refuse_enlarging(store, data.resolution)
    else:
        _check_preparation(store, data)
    return Images(store, data.resolution, data.transform, name=name)


def emoji_path() -> Path:
    """The archive of emoji that comes with the project."""
    return Path(__file__).resolve().parents[1] / "assets" / "emoji" / "emoji-64x64.zip"


def _emoji(data: Data) -> ZipStore | FolderStore:
    path = emoji_path()
    if not path.exists() or sha256_file(path) != EMOJI_DIGEST:
        raise UserError(
            "the emoji that come with the project are missing or damaged",
            found=str(path),
            expected=f"a file with SHA-256 {EMOJI_DIGEST}",
            fix="install hdit-repro again, or check the file out again",
        )
    return open_store(path)


def _imagenet(data: Data) -> ZipStore | FolderStore:
    """A few of ImageNet's JPEG files are CMYK; ADM's and k-diffusion's loaders leave them to Pillow, and so do we."""
    return open_store(locate("imagenet", data), cmyk=True)


def _ffhq(data: Data) -> ZipStore | FolderStore:
    """FFHQ's subfolders count thousands of images and are no classes."""
    return open_store(locate("ffhq", data), labelled=False)


def _folder(data: Data) -> ZipStore | FolderStore:
    """The user's own: the archive itself is the data set, whatever its images went through before."""
    assert isinstance(data.dataset, Folder)
    return find(data.dataset)


OPENERS: dict[str, Callable[[Data], ZipStore | FolderStore]] = {
    "imagenet": _imagenet,
    "ffhq": _ffhq,
    "emoji": _emoji,
    "folder": _folder,
}


def _check_preparation(store: ZipStore | FolderStore, data: Data) -> None:
    """An archive that names its transform and resolution must have been prepared as the run asks."""
    transform, resolution = store.facts.get("transform"), store.facts.get("resolution")
    if transform is None and resolution is None:
        return
    if data.transform not in (transform, "none") or resolution != data.resolution:
        raise UserError(
            "an archive was prepared in another way than the run asks",
            found=f"{transform} to {resolution} pixels in {store.path}",
            expected=f"{data.transform} to {data.resolution} pixels",
            fix=f"prepare it again with --transform {data.transform} --resolution {data.resolution}",
        )
