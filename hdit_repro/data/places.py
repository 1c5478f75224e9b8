"""Where data sets of the user's own lie on this machine, by the digest of what they hold."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hdit_repro.data.store import FolderStore, ZipStore, open_store
from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, read_json, write_json
from hdit_repro.spec.data import Folder

DATA_VARIABLE = "HDIT_REPRO_DATA"


def describe(path: Path | str) -> Folder:
    """What a folder or an archive of images is, as a part of a run. Reads all of it the first time.

    Raises:
        UserError: it is missing or refused.
    """
    store = open_store(path)
    return Folder(name=store.path.resolve().stem, digest=store.digest, images=len(store), classes=store.classes)


def remember(dataset: Folder, path: Path | str) -> None:
    """Note where a data set lies, for the stages that will ask for it by its digest."""
    write_json(_note(dataset), {"path": str(Path(path).resolve()), "name": dataset.name})


def find(dataset: Folder) -> ZipStore | FolderStore:
    """The images with that digest: where they were noted, else `NAME.zip` or `NAME` under $HDIT_REPRO_DATA.

    Raises:
        UserError: nowhere, or what lies there is not what it was.
    """
    places = []
    with contextlib.suppress(UserError):
        places.append(Path(str(read_json(_note(dataset))["path"])))
    root = os.environ.get(DATA_VARIABLE)
    if root:
        places += [Path(root) / f"{dataset.name}.zip", Path(root) / dataset.name]
    changed = ""
    for place in places:
        if place.exists():
            store = open_store(place)
            if store.digest == dataset.digest:
                return store
            changed = f"{place} has the digest {store.digest}"
    raise UserError(
        f"the data set {dataset.name!r} is not here as it was",
        found=changed or "none of " + (", ".join(map(str, places)) or "(no place is noted)"),
        expected=f"{dataset.images:,} images with the digest {dataset.digest}",
        fix="bring it back and name it again with --data PATH; changed images make another run",
    )


def _note(dataset: Folder) -> Path:
    return cache_folder() / "datasets" / f"{dataset.digest}.json"
