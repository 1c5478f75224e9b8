"""The card of a prepared data set: what it is, where its bytes come from, what was left out. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import read_json
from hdit_repro.spec.base import Spec


class Card(Spec, frozen=True, kw_only=True):
    """What `data prepare` did.

    `sha256` is of the archive, `content` of the images' digests and labels; each image's digest stands in the archive.
    `source_state` tells whether the source's files have changed since. `enlarged` images were smaller than the
    resolution, `oriented` ones carry an orientation tag that was not followed, of `animated` ones the first picture was
    taken, and `profiled` ones have a colour profile that is not sRGB's and was not followed. `refused` are (file,
    reason).
    """

    name: str
    kind: str
    images: int
    classes: int
    resolution: int
    transform: str
    upright: bool
    cmyk: bool
    sha256: str
    content: str
    source_files: int
    source_state: str
    enlarged: int
    oriented: int
    animated: int = 0
    profiled: int = 0
    versions: dict[str, str]
    refused: list[tuple[str, str]]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def card_path(archive: Path) -> Path:
    """Where the card of an archive lies: beside it."""
    return archive.with_suffix(".card.json")


def read_card(archive: Path) -> Card | None:
    """The card of an archive, or None where it has none.

    Raises:
        UserError: it is damaged.
    """
    if archive.is_dir() or not (path := card_path(archive)).exists():
        return None
    try:
        return msgspec.convert(read_json(path), Card)
    except msgspec.ValidationError as error:
        raise UserError(
            "the card of a data set is damaged",
            found=f"{path}: {error}",
            fix="prepare it again",
            expected="the JSON that `hdit-repro data prepare` wrote",
        ) from error
