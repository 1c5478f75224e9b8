"""Where data sets of the user's own lie on this machine, by the digest of what they hold."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from hdit_repro.data.store import FolderStore, Store, ZipStore, open_store
from hdit_repro.data.whereabouts import DATA_VARIABLE
from hdit_repro.errors import CONTROL, RunError, UserError
from hdit_repro.files import cache_folder, read_json, write_json
from hdit_repro.spec.data import Folder


def describe(path: Path | str, say: Callable[[str], None] | None = None) -> Folder:
    """What a folder or an archive of images is, as a part of a run. Reads all of it the first time.

    Args:
        path: the folder or the archive.
        say: told what is to be said of it: folders of an archive that look like classes, and are none.

    Raises:
        UserError: it is missing or refused, or its name, which labels are made of, has a control character.
    """
    name, store = name_of(path), open_store(path)
    if say and store.unlabelled:
        say(f"{path}: {store.unlabelled}")
    return Folder(name=name, digest=store.digest, images=len(store), classes=store.classes)


def name_of(path: Path | str) -> str:
    """What images are called: a folder's whole name ("pets.v1" and "pets.v2" are two), an archive's less its ending.

    Raises:
        UserError: it has a control character.
    """
    where = Path(path).resolve()
    name = where.name if where.is_dir() else where.stem
    if CONTROL.search(name):
        raise UserError(
            "images have a name that no table can show",
            found=repr(name),
            expected="a name without control characters",
            fix="rename them",
        )
    return name


def refuse_enlarging(store: Store, resolution: int) -> None:
    """An archive that says how many pixels its images have gives a run no more than those.

    Args:
        store: images; those that were prepared nowhere say nothing of their size.
        resolution: pixels a side, of the run.

    Raises:
        UserError: the run's are more.
    """
    side = store.facts.get("resolution")
    if isinstance(side, int) and side < resolution:
        raise UserError(
            "the images of an archive have fewer pixels than the run's, and would be enlarged",
            found=f"{side} pixels a side in {store.path}",
            expected=f"{resolution} or more",
            fix=f"prepare the images that it was made of again, with --resolution {resolution}",
        )


def remember(dataset: Folder, path: Path | str) -> None:
    """Note where a data set lies, for the stages that will ask for it by its digest."""
    write_json(_note(dataset), {"path": str(Path(path).resolve()), "name": dataset.name})


def find(dataset: Folder) -> ZipStore | FolderStore:
    """The images with that digest: where they were noted, else `NAME.zip` or `NAME` under $HDIT_REPRO_DATA.

    Raises:
        UserError: nowhere, or what lies there is not what it was.
        RunError: where they may lie could not be read.
    """
    names = (f"{dataset.name}.zip", dataset.name)
    images, seen = look(_note(dataset), names, dataset.digest, open_store)
    if images is not None:
        return images
    raise UserError(
        f"the data set {dataset.name!r} is not here as it was",
        found=seen,
        expected=f"{dataset.images:,} images with the digest {dataset.digest}",
        fix="bring it back and name it again with --data PATH; changed images make another run",
    )


class Held(Protocol):
    """Images of some kind, which know the digest of what they hold."""

    @property
    def digest(self) -> str: ...


Images = TypeVar("Images", bound=Held)


def look(note: Path, names: Iterable[str], digest: str, opened: Callable[[Path], Images]) -> tuple[Images | None, str]:
    """The images with that digest, where they were noted or by one of `names` under $HDIT_REPRO_DATA; else None.

    The words say what lies there instead, or where nothing does. A place that cannot be opened, or may not be read,
    keeps no other from being looked at.

    Raises:
        RunError: they are at no other place, and one could not be read: they may be there, for a later attempt.
    """
    places = []
    with contextlib.suppress(UserError):
        places.append(Path(str(read_json(note)["path"])))
    if root := os.environ.get(DATA_VARIABLE):
        places += [Path(root) / name for name in names]
    seen, failed = list[str](), list[RunError]()
    for place in places:
        try:
            if not place.exists():
                continue
            images = opened(place)
            if images.digest == digest:
                return images, ""
            seen.append(f"{place} has the digest {images.digest}")
        except RunError as error:
            failed.append(error)
        except UserError as error:
            seen.append(f"{place}: {error.problem}")
        except PermissionError as error:  # a cache that people share may name a folder of somebody else's
            seen.append(f"{place}: {error.strerror}")
    if failed:
        raise failed[0]
    return None, "; ".join(seen) or "none of " + (", ".join(map(str, places)) or "(no place is noted)")


def _note(dataset: Folder) -> Path:
    return cache_folder() / "datasets" / f"{dataset.digest}.json"
