"""Preparing a data set once, so that every run reads small files of the right size; and checking one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hdit_repro.data.images import DECODERS, Images
from hdit_repro.data.store import LABELS, FolderStore, ZipStore
from hdit_repro.errors import UserError
from hdit_repro.files import atomic_file

FOLDER_SIZE = 1000
CHUNK = 256
EPOCH = (1980, 1, 1, 0, 0, 0)

Progress = Callable[[int, int], None]


def prepare(
    store: ZipStore | FolderStore,
    destination: Path | str,
    resolution: int,
    transform: str,
    progress: Progress | None = None,
) -> Path:
    """Write the images of `store`, transformed, as a zip archive of stored PNG files with `dataset.json`.

    The layout is StyleGAN's and EDM's; `dataset.json` also names the transform and the resolution. Equal images give
    an equal archive: fixed times, sorted names.

    Args:
        store: the source.
        destination: the archive to write; it appears whole or not at all.
        resolution: side in pixels.
        transform: its name.
        progress: called with (images done, images in all).

    Raises:
        UserError: `destination` exists or is no .zip, or an image of the source is refused; nothing is written.
        RunError: the disk is full.
    """
    destination = Path(destination)
    if destination.suffix != ".zip" or destination.exists():
        raise UserError(
            "an archive cannot be written there",
            found=f"{destination}{' exists' if destination.exists() else ''}",
            expected="the name of a new .zip file",
        )
    images = Images(store, resolution, transform, cache=False)
    names = [f"{i // FOLDER_SIZE:05d}/img{i:08d}.png" for i in range(len(store))]
    with atomic_file(destination) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, data in enumerate(_pngs(images)):
            archive.writestr(zipfile.ZipInfo(names[index], EPOCH), data)
            if progress and ((index + 1) % CHUNK == 0 or index + 1 == len(names)):
                progress(index + 1, len(names))
        facts = json.dumps(_facts(store, names, resolution, transform), ensure_ascii=False)
        archive.writestr(zipfile.ZipInfo(LABELS, EPOCH), facts)
    return destination


def _pngs(images: Images) -> Iterator[bytes]:
    """The images as PNG files, in order, a chunk at a time."""

    def encode(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    with ThreadPoolExecutor(DECODERS) as pool:
        for first in range(0, len(images), CHUNK):
            chunk = images.batch(range(first, min(first + CHUNK, len(images))))
            yield from pool.map(encode, chunk.permute(0, 2, 3, 1).contiguous().numpy())


def _facts(store: ZipStore | FolderStore, names: list[str], resolution: int, transform: str) -> dict[str, Any]:
    labels = store.labels
    rows = None if labels is None else [[name, int(label)] for name, label in zip(names, labels, strict=True)]
    return {
        "labels": rows,
        "label_names": list(store.label_names),
        "resolution": resolution,
        "transform": transform,
    }


def verify(store: ZipStore | FolderStore, progress: Progress | None = None) -> list[str]:
    """Decode every image.

    Args:
        store: what to check.
        progress: called with (images done, images in all).

    Returns:
        What is wrong, one text a damaged or unsuitable image; empty when all is well.
    """

    def problem(index: int) -> str:
        try:
            store.image(index)
        except UserError as error:
            return f"{error.found or error.problem}"
        return ""

    problems = []
    with ThreadPoolExecutor(DECODERS) as pool:
        for first in range(0, len(store), CHUNK):
            numbers = range(first, min(first + CHUNK, len(store)))
            problems += [text for text in pool.map(problem, numbers) if text]
            if progress:
                progress(numbers[-1] + 1, len(store))
    return problems
