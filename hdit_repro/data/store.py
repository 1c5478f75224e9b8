"""A set of image files, opened: a zip archive or a folder, with random access by number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hdit_repro.data.archive import MAX_MEMBER, Archive, check_name, in_letters
from hdit_repro.data.decode import decode
from hdit_repro.data.digest import file_digest, folder_digest, state_digest
from hdit_repro.data.labels import read_labels
from hdit_repro.data.names import HIDDEN, NO_FILE, hidden, like_classes, none_of_the_set, refuse_none
from hdit_repro.data.retry import patiently
from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.files import whose
from hdit_repro.spec.data import DatasetFacts

LABELS = "dataset.json"
DIGESTS = "digests.sha256"
"""SHA-256 of each image file, as `sha256sum` writes them, in an archive that was prepared here."""


class Store(Protocol):
    """Images by number, in the order of their names.

    `labels` is int64 of the store's length, or None; `label_names` may be empty; `facts` is what else the store says
    about itself (an archive made by `data prepare` names its transform and resolution); `skipped` are (file, reason) of
    what lies there and is no image by its name; `unlabelled` is what is to be said of folders that look like classes
    and are none, mostly empty. `cmyk` and `upright` are passed to `decode`.
    """

    path: Path
    cmyk: bool
    upright: bool
    names: list[str]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    facts: dict[str, Any]
    skipped: list[tuple[str, str]]

    def __len__(self) -> int: ...

    @property
    def unlabelled(self) -> str: ...

    @property
    def digest(self) -> str:
        """SHA-256 of what the store holds."""

    @property
    def state(self) -> str:
        """A cheap digest of names, sizes and times: as long as it stays, the contents are taken to stay."""

    @property
    def classes(self) -> int:
        """Number of classes, 0 without labels."""

    def bytes_of(self, index: int) -> bytes:
        """The file of image number `index`, as it is."""

    def image(self, index: int) -> Image.Image:
        """Image number `index`, decoded, mode RGB."""


class Numbered:
    """What all stores derive from their names, labels and files."""

    path: Path
    cmyk: bool
    upright: bool
    names: list[str]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def bytes_of(self, index: int) -> bytes:
        raise NotImplementedError

    def where(self, index: int) -> str:
        """What messages call image number `index`."""
        return f"{self.names[index]} in {self.path}"

    def image(self, index: int) -> Image.Image:
        """See `Store`.

        Raises:
            UserError: the image is damaged or of a kind that is not taken; the message names it.
        """
        return decode(self.bytes_of(index), self.where(index), cmyk=self.cmyk, upright=self.upright)

    @property
    def unlabelled(self) -> str:
        """See `Store`."""
        return ""

    @property
    def classes(self) -> int:
        """Number of classes: of the names where they are given, else the highest label and one. 0 without labels."""
        if self.labels is None or not len(self.labels):
            return 0
        return len(self.label_names) or int(self.labels.max()) + 1


def refuse_part(store: Store, name: str, facts: DatasetFacts, fix: str) -> None:
    """A part of ImageNet is not ImageNet: numbers measured on it would pass for those of the whole.

    Raises:
        UserError: the counts of the data set `name` are others.
    """
    classes = store.classes if facts.classes else 0
    if (len(store), classes) != (facts.images, facts.classes):
        raise UserError(
            f"this is not the data set {name!r} whole",
            found=f"{counted(len(store), 'image')}, {counted(classes, 'class', 'classes')} in {store.path}",
            expected=f"{facts.images:,} images, {facts.classes} classes",
            fix=fix,
        )


def numbered(folders: list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels and names of classes, from each image's folder: numbered in the order of their names."""
    names = sorted(set(folders))
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[folder] for folder in folders], np.int64), tuple(names)


def images_in(archive: Archive) -> tuple[list[int], list[tuple[str, str]]]:
    """The numbers of an archive's members that are images by their names, and (file, reason) of the others."""
    reasons = [none_of_the_set(name) for name in archive.names]
    members = [number for number, reason in enumerate(reasons) if not reason]
    others = zip(archive.names, reasons, strict=True)
    return members, [(name, reason) for name, reason in others if reason and name not in (LABELS, DIGESTS)]


class ZipStore(Numbered):
    """A zip archive in the layout of StyleGAN, EDM and EDM2: images, and `dataset.json` with the labels.

    Its folders are no classes, whatever they are called: that layout counts images by them, and without a
    `dataset.json` at its top there are no labels; `unlabelled` says so where they look like classes, or where one lies
    deeper.

    Args:
        path: the archive.
        cmyk, upright: passed to `decode`.

    Raises:
        UserError: the archive or its labels are refused, or it holds no image.
    """

    def __init__(self, path: Path | str, *, cmyk: bool = False, upright: bool = False) -> None:
        self.path, self.cmyk, self.upright = Path(path), cmyk, upright
        self.archive = Archive(path)
        self._members, self.skipped = images_in(self.archive)
        self.names = [self.archive.names[i] for i in self._members]
        refuse_none(self.path, self.names, self.skipped)
        labels = self.archive.names.index(LABELS) if LABELS in self.archive.names else None
        text = None if labels is None else self.archive.read(labels)
        self.labels, self.label_names, self.facts = read_labels(text, self.names, str(self.path))

    def bytes_of(self, index: int) -> bytes:
        return self.archive.read(self._members[index])

    @property
    def unlabelled(self) -> str:
        """See `Store`."""
        if LABELS in self.archive.names:
            return ""
        deeper = next((name for name, _ in self.skipped if name.endswith(f"/{LABELS}")), None)
        if deeper:
            return f"its {deeper} is not read: it must lie at the top, and name images by their places from there"
        folders = like_classes(self.names)
        if not folders:
            return ""
        shown = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
        return f"its folders ({shown}) are no classes: a zip's stand in a dataset.json, a folder's are its subfolders"

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each image file by name, where the archive states them; else empty."""
        if DIGESTS not in self.archive.names:
            return {}
        text = self.archive.read(self.archive.names.index(DIGESTS)).decode("utf-8", "replace")
        pairs = (line.partition("  ") for line in text.splitlines())
        return {name: digest for digest, _, name in pairs}

    @property
    def state(self) -> str:
        return state_digest([(self.path.name, self.path)])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the archive."""
        return file_digest(self.path)


class FolderStore(Numbered):
    """A folder of images. Links are not followed out of it.

    Args:
        path: the folder.
        labelled: whether the first level of subfolders are classes, numbered in the order of their names.
        cmyk, upright: passed to `decode`.

    Raises:
        UserError: no folder, no image, an image beside the class folders, or a `dataset.json` where they are wanted.
    """

    def __init__(self, path: Path | str, *, labelled: bool = True, cmyk: bool = False, upright: bool = False) -> None:
        self.path, self.cmyk, self.upright = Path(path), cmyk, upright
        self.facts: dict[str, Any] = {}
        if not self.path.is_dir():
            raise UserError(
                "there is no such folder",
                found=str(self.path),
                expected="a folder of images",
                fix="check the path; relative ones are taken from the current folder",
            )
        root = self.path.resolve()
        check_name(str(root))
        self.names, self.skipped = [], []
        for name in sorted(_files_in(self.path)):
            file = self.path / name
            regular = file.is_file()
            if file.is_symlink() and not (regular and file.resolve().is_relative_to(root)):
                self.skipped.append((in_letters(name), "a link that leads nowhere, to a folder or out of this one"))
            elif reason := none_of_the_set(name) if regular else HIDDEN if file.is_dir() else NO_FILE:
                self.skipped.append((in_letters(name), reason))
            else:
                check_name(name)
                self.names.append(name)
        refuse_none(self.path, self.names, self.skipped)
        self.labels, self.label_names = self._classes() if labelled else (None, ())

    def _classes(self) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        if LABELS in (name for name, _ in self.skipped):
            raise UserError(
                "a folder has a dataset.json, whose labels are read in an archive alone",
                found=str(self.path / LABELS),
                expected="an archive of it, or a folder whose subfolders are its classes",
                fix="(cd FOLDER && python -m zipfile -c ../NAME.zip *), and name NAME.zip; or take dataset.json out",
            )
        tops = [name.split("/")[0] if "/" in name else "" for name in self.names]
        if not any(tops):
            return None, ()
        if "" in tops:
            raise UserError(
                "a folder has images both in class folders and beside them",
                found=f"{self.names[tops.index('')]} in {self.path}",
                expected="all images in subfolders, one a class, or none",
                fix="move the images beside the folders into one of them, or elsewhere",
            )
        return numbered(tops)

    def where(self, index: int) -> str:
        return str(self.path / self.names[index])

    def bytes_of(self, index: int) -> bytes:
        file = self.path / self.names[index]
        try:
            if patiently(file.stat).st_size > MAX_MEMBER:
                raise UserError(
                    "a file is too large for an image",
                    found=str(file),
                    expected=f"{MAX_MEMBER:,} bytes",
                    fix="take it out",
                )
            return patiently(file.read_bytes)
        except OSError as error:
            raise RunError(
                "an image cannot be read",
                found=f"{file}: {error.strerror}{whose(error)}",
                expected="a file that can be read",
                fix="check its permissions and its disk, then run the same command again",
            ) from error

    @property
    def state(self) -> str:
        return state_digest((name, self.path / name) for name in self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all images. Reads every file."""
        return folder_digest(self.path, self.names)


def _files_in(root: Path) -> Iterator[str]:
    """Names under `root` of all files, of links to folders, and of hidden folders, which are not entered.

    Raises:
        RunError: a folder cannot be listed, whose images would be missing without a word.
    """

    def refuse(error: OSError) -> NoReturn:
        raise RunError(
            "a folder cannot be listed",
            found=f"{error.filename}: {error.strerror}{whose(error)}",
            expected="a folder that can be read, with all that is in it",
            fix="check its permissions and its disk, or take it out, then run the same command again",
        ) from error

    for inside, folders, files in os.walk(root, onerror=refuse):
        leaves = [name for name in folders if hidden(name) or Path(inside, name).is_symlink()]
        folders[:] = [name for name in folders if name not in leaves]
        yield from (Path(inside, name).relative_to(root).as_posix() for name in (*files, *leaves))


def open_store(
    path: Path | str, *, labelled: bool = True, cmyk: bool = False, upright: bool = False
) -> ZipStore | FolderStore:
    """The images under `path`, a zip archive or a folder.

    Args:
        path: what to open.
        labelled: of a folder, whether its subfolders are classes.
        cmyk, upright: passed to `decode`.

    Raises:
        UserError: nothing is there, or it is refused.
    """
    if Path(path).is_dir():
        return FolderStore(path, labelled=labelled, cmyk=cmyk, upright=upright)
    return ZipStore(path, cmyk=cmyk, upright=upright)
