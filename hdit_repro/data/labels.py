"""The labels of an archive: `dataset.json` of the layout that StyleGAN, EDM and EDM2 share."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdit_repro.data.archive import climbs
from hdit_repro.errors import UserError, counted

SHOWN = 3

MAX_CLASSES = 100_000
"""A network has a vector for each class up to the highest, and no data set has so many."""


class Labels(NamedTuple):
    """One class index an image (or None), the classes' names where they are known, and what else the file says."""

    values: NDArray[np.int64] | None
    names: tuple[str, ...]
    facts: dict[str, Any]


def read_labels(text: bytes | None, images: list[str], where: str) -> Labels:
    """The labels of `images` (names in the order of the store).

    Three forms are read: an object with `labels`, a plain list, and null. A list holds `[file, class]` pairs, or one
    class an image in the order of the names.

    Args:
        text: the bytes of dataset.json, or None where there is none.
        images: names of the images, sorted.
        where: the archive, for messages.

    Raises:
        UserError: no JSON, a file that is not there or leads out, an image without a label, a label that is no class.
    """
    if text is None:
        return Labels(None, (), {})
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            "dataset.json is damaged", found=f"{where}: {error}", expected="whole JSON", fix="write or export it again"
        ) from error
    facts = document if isinstance(document, dict) else {"labels": document}
    names = facts.get("label_names") or []
    rest = {key: value for key, value in facts.items() if key not in ("labels", "label_names")}
    rows = facts.get("labels")
    if rows is None:
        return Labels(None, (), rest)
    if not isinstance(rows, list):
        raise _refused(where, f"labels of type {type(rows).__name__}", "a list of [file, class] pairs, or null")
    if not isinstance(names, list) or not all(map(_is_text, map(str, names))):
        raise _refused(
            where, f"label_names {ascii(names)[:80]}", 'a list of names by class, as ["cat", "dog"], or none'
        )
    values = _in_order(rows, images, where) if rows and _is_class(rows[0]) else _by_name(rows, images, where)
    if names and len(values) and int(values.max()) >= len(names):
        raise _refused(where, f"class {int(values.max())}", f"a class below {len(names)}, the number of label_names")
    return Labels(values, tuple(map(str, names)), rest)


def _in_order(rows: list[Any], images: list[str], where: str) -> NDArray[np.int64]:
    if len(rows) != len(images) or not all(_is_class(row) for row in rows):
        raise _refused(where, f"{len(rows)} labels", f"one class for each of the {len(images)} images")
    return np.array(rows, np.int64)


def _by_name(rows: list[Any], images: list[str], where: str) -> NDArray[np.int64]:
    table: dict[str, int] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and _is_class(row[1])):
            raise _refused(
                where, f"the entry {str(row)[:80]}", 'a pair like ["00000/img00000000.png", 7], its class from 0 on'
            )
        if climbs(row[0]):
            raise _refused(where, f"the name {row[0]!r}", "names that stay inside the archive")
        name = row[0].replace("\\", "/")
        if name in table:
            raise _refused(where, f"two labels for {name}", "one label an image")
        table[name] = row[1]
    missing = [name for name in images if name not in table]
    if missing:
        raise _refused(
            where, f"no label for {counted(len(missing), 'image')}: {_some(missing)}", "a label for every image"
        )
    known = set(images)
    strange = [name for name in table if name not in known]
    if strange:
        raise _refused(where, f"labels for absent images: {_some(strange)}", "labels for images in the archive")
    return np.array([table[name] for name in images], np.int64)


def _is_text(name: str) -> bool:
    """Whether UTF-8 can hold it; JSON may spell out halves of letters."""
    return name.encode("utf-8", "replace").decode() == name


def _is_class(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_CLASSES


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _refused(where: str, found: str, expected: str) -> UserError:
    return UserError(
        "the labels of an archive are refused",
        found=f"{found} in {where}/dataset.json",
        expected=expected,
        fix="correct dataset.json, or take it out for images without classes",
    )
