"""Preparing a data set once, so that every run reads small files of the right size."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import PIL
from PIL import Image, features

from hdit_repro.ahead import ahead
from hdit_repro.data.archive import check_name
from hdit_repro.data.card import Card, card_path
from hdit_repro.data.journal import Growing, member_name, paths
from hdit_repro.data.notes import MOVING, NOTES, ORIENTED, PROFILED
from hdit_repro.data.store import DIGESTS, LABELS, Store, refuse_part
from hdit_repro.data.transforms import TRANSFORMS
from hdit_repro.errors import RunError, UserError, pick
from hdit_repro.files import lock, sha256_file, write_json
from hdit_repro.machine import cpus_here
from hdit_repro.spec.data import DATASETS

COMMIT = 64
"""Images between two lines of the journal: at most so many are made again after a kill."""

IN_FLIGHT = 4
"""Images that wait for their turn, for each worker: what bounds the memory."""

NOTED = {ORIENTED: "oriented", MOVING: "animated", PROFILED: "profiled"}
"""What of a file's notes the journal counts, under the names that the card gives them."""

Progress = Callable[[int, int], None]


class Made(NamedTuple):
    """A transformed image as a PNG file, or the reason why it is refused; and what is remarkable about it."""

    png: bytes
    refused: str = ""
    notes: tuple[str, ...] = ()


def prepare(
    store: Store,
    destination: Path | str,
    resolution: int,
    transform: str,
    *,
    kind: str = "folder",
    workers: int = 0,
    progress: Progress | None = None,
) -> Card:
    """Write the images of `store`, transformed, as a zip archive of stored PNG files with labels, digests and a card.

    The layout is StyleGAN's and EDM's. Equal images give an equal archive, byte for byte, whatever the workers and
    however often the work was killed and taken up again: fixed times, the source's order. A file that is refused is
    named in the card with the reason.

    Args:
        store: the source.
        destination: the archive to write; it appears whole or not at all, its card beside it.
        resolution: side in pixels.
        transform: its name.
        kind: "folder", or a data set's name, whose published counts must then hold and of which no file is refused.
        workers: threads; 0 is one a CPU.
        progress: called with (images done, images in all).

    Raises:
        UserError: `destination` exists or is no .zip, no image is left, or a data set is not whole; nothing is written.
        RunError: another process prepares the same archive, a source cannot be read, or the disk is full; the same
            command goes on from there.
    """
    destination = Path(destination)
    pick(TRANSFORMS, transform, kind="transform")
    if kind != "folder":
        advice = "get the whole data set, or prepare the part under a name of its own with --dataset folder"
        refuse_part(store, kind, pick(DATASETS, kind, kind="data set"), advice)
    _refuse_destination(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with lock(paths(destination)[1], wait=False) as mine:
        if not mine:
            raise RunError(
                "another process prepares this archive",
                found=str(destination),
                fix="wait for it",
                expected="one process at a time for an archive",
            )
        _refuse_destination(destination)
        plan = _plan(store, resolution, transform, kind)
        with Growing(destination, plan) as growing:
            try:
                _fill(growing, store, resolution, transform, kind, workers or cpus_here(), progress)
                return _finish(growing, store, plan)
            except UserError as error:
                if not isinstance(error, RunError):
                    for path in paths(destination):
                        path.unlink(missing_ok=True)
                raise
            except OSError as error:
                raise _interrupted(destination, error) from error


def _interrupted(destination: Path, error: OSError) -> RunError:
    return RunError(
        "preparing a data set was interrupted",
        found=f"{destination}: {os.strerror(error.errno) if error.errno else error}",
        expected="room for the whole archive, and a source that can be read",
        fix="mend that and run the same command again: it goes on where it stopped",
    )


def _plan(store: Store, resolution: int, transform: str, kind: str) -> dict[str, Any]:
    """Everything that the archive's bytes follow from."""
    return {
        "kind": kind,
        "resolution": resolution,
        "transform": transform,
        "upright": store.upright,
        "cmyk": store.cmyk,
        "versions": versions(),
        "source": {"files": len(store), "state": store.state},
    }


def versions() -> dict[str, str]:
    """Of the libraries that write PNG files; Pillow says which zlib-ng it carries, where it carries one."""
    zlib, zlib_ng = features.version("zlib"), features.version_feature("zlib_ng")
    named = {"pillow": PIL.__version__, "zlib": zlib, "zlib-ng": zlib_ng}
    return {name: str(version) for name, version in named.items() if version}


def _refuse_destination(destination: Path) -> None:
    check_name(destination.name)  # the card has it
    if destination.suffix != ".zip" or destination.exists():
        raise UserError(
            "an archive cannot be written there",
            found=f"{destination}{' exists' if destination.exists() else ''}",
            expected="the name of a new .zip file",
            fix="choose another name, or delete the archive and its card",
        )


def _fill(
    growing: Growing, store: Store, resolution: int, transform: str, kind: str, workers: int, progress: Progress | None
) -> None:
    """Make what the journal does not have yet, in the source's order, a commit every few images."""
    refused: list[tuple[str, str]] = []
    notes: Counter[str] = Counter()
    numbers = range(growing.done, len(store))
    make = partial(_make, store, side=resolution, transform=transform)
    for index, made in zip(numbers, ahead(make, numbers, IN_FLIGHT * workers, workers=workers), strict=True):
        notes.update(made.notes)
        if made.refused:
            if kind != "folder":
                raise UserError(
                    f"an image of the data set {kind!r} is refused",
                    found=f"{store.names[index]}: {made.refused}",
                    expected="every image whole",
                    fix="get that file again",
                )
            refused.append((store.names[index], made.refused))
        else:
            growing.add(index, made.png, hashlib.sha256(made.png).hexdigest())
        if (index + 1) % COMMIT == 0 or index + 1 == len(store):
            growing.commit(index + 1, refused, dict(notes))
            refused, notes = [], Counter()
            if progress:
                progress(index + 1, len(store))


def _make(store: Store, index: int, side: int, transform: str) -> Made:
    try:
        image = store.image(index)
        pixels = TRANSFORMS[transform](image, side)
    except RunError:
        raise
    except UserError as error:
        detail = (error.found or "").replace(f"{store.path}/", "").replace(f" in {store.path}", "")
        return Made(b"", f"{error.problem}: {detail}")
    notes = []
    if min(image.size) < side:
        notes.append("enlarged")
    notes += [name for note, name in NOTED.items() if note in image.info[NOTES]]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return Made(buffer.getvalue(), notes=tuple(notes))


def _finish(growing: Growing, store: Store, plan: dict[str, Any]) -> Card:
    """The labels, the digests and the directory; then the card, then the archive's name."""
    entries = growing.entries
    if not entries:
        raise UserError(
            "no image is left",
            found="; ".join(f"{file}: {why}" for file, why in growing.refused[:3]),
            expected="at least one image that is taken",
            fix="hdit-repro data verify SOURCE says what is wrong with each",
        )
    names = [member_name(number) for number in range(len(entries))]
    labels = None if store.labels is None else [int(store.labels[entry.source]) for entry in entries]
    facts = {
        "labels": None if labels is None else [list(pair) for pair in zip(names, labels, strict=True)],
        "label_names": list(store.label_names),
        "resolution": plan["resolution"],
        "transform": plan["transform"],
        "kind": plan["kind"],
    }
    digests = "".join(f"{entry.sha256}  {name}\n" for name, entry in zip(names, entries, strict=True))
    growing.close({DIGESTS: digests.encode(), LABELS: json.dumps(facts, ensure_ascii=False).encode()})
    card = Card(
        name=growing.destination.stem,
        kind=plan["kind"],
        images=len(entries),
        classes=store.classes,
        resolution=plan["resolution"],
        transform=plan["transform"],
        upright=plan["upright"],
        cmyk=plan["cmyk"],
        sha256=sha256_file(growing.partial),
        content=hashlib.sha256((digests + json.dumps(labels)).encode()).hexdigest(),
        source_files=len(store),
        source_state=plan["source"]["state"],
        enlarged=growing.note("enlarged"),
        oriented=growing.note("oriented"),
        animated=growing.note("animated"),
        profiled=growing.note("profiled"),
        versions=plan["versions"],
        refused=[*growing.refused, *((file, why) for file, why in store.skipped)],
    )
    write_json(card_path(growing.destination), card.as_json())
    growing.publish()
    return card
