"""Which files of a folder or an archive are images of the set, by their names, and what is said of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath

from hdit_repro.errors import UserError, counted

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

NO_IMAGE = "no image by its name"
NO_FILE = "a pipe, a device or a socket"  # reading one may wait for ever
HIDDEN = "hidden, or the file system's own"


def none_of_the_set(name: str) -> str:
    """Why a file is not taken for an image, by its name; empty for one that is.

    What hides behind a dot was put there by a program: `._1.png` of macOS, `.ipynb_checkpoints/1-checkpoint.png`.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() not in SUFFIXES:
        return NO_IMAGE
    return HIDDEN if any(map(hidden, path.parts)) else ""


def hidden(name: str) -> bool:
    """Whether a file or folder of that name is a program's own."""
    return name.startswith(".") or name == "lost+found"


def passed_over(skipped: list[tuple[str, str]]) -> Iterator[str]:
    """What is to be said of a store's `skipped`, a phrase a reason."""
    for reason, many in Counter(reason for _, reason in skipped).items():
        first = next(name for name, why in skipped if why == reason)
        yield f"{counted(many, 'file')} passed over, such as {first} ({reason})"


def refuse_none(path: Path, names: list[str], skipped: list[tuple[str, str]]) -> None:
    """Refuse a folder or an archive without images.

    Raises:
        UserError: `names` is empty; the message tells what lies there instead.
    """
    if not names:
        raise UserError(
            "there is no image",
            found="; ".join([str(path), *passed_over(skipped)]),
            expected="PNG, JPEG, WebP or BMP files",
            fix="name a folder that holds images, at any depth",
        )


def like_classes(names: list[str]) -> list[str]:
    """The folders that would be classes if what holds them all were a folder on disk, sorted; else none.

    Folders that only count images (`00000/`, as StyleGAN's archives have them) are no classes.
    """
    folders = {tuple(name.split("/")[:-1]) for name in names}
    shared = sum(
        1 for _ in takewhile(lambda parts: parts[0] == parts[1], zip(min(folders), max(folders), strict=False))
    )
    tops = {folder[shared] if len(folder) > shared else "" for folder in folders}
    return [] if "" in tops or all(top.isdigit() for top in tops) else sorted(tops)
