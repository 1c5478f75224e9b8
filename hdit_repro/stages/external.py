"""Images that others' networks made, where a run's own samples would be: found by digest, measured shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from hdit_repro.data.places import look, name_of
from hdit_repro.data.whereabouts import DATA_VARIABLE
from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, write_json
from hdit_repro.spec.external import External
from hdit_repro.spec.run import Run
from hdit_repro.stages.imagesets import ImageSet, open_images, refuse_single
from hdit_repro.stages.shards import chunks

ENDINGS = (".npz", ".zip", "")


def describe(path: Path) -> External:
    """What a folder, zip or .npz of images is, as a part of a run. Reads all of it the first time.

    Raises:
        UserError: it is missing, refused, of a name that no table can show, or holds fewer than two images.
    """
    images, name = open_images(path), name_of(path)
    refuse_single(images)
    return External(name=name, digest=images.digest, images=images.count)


def remember(external: External, path: Path) -> None:
    """Note where the images lie, for the stage that will ask for them by their digest."""
    write_json(_note(external), {"path": str(path.resolve()), "name": external.name})


def find(external: External) -> ImageSet:
    """The images with that digest: where they were noted, else NAME.npz, NAME.zip or NAME under $HDIT_REPRO_DATA.

    Raises:
        UserError: nowhere, or what lies there is not what it was.
        RunError: where they may lie could not be read.
    """
    names = [f"{external.name}{ending}" for ending in ENDINGS]
    images, seen = look(_note(external), names, external.digest, open_images)
    if images is not None:
        return images
    raise UserError(
        f"the images {external.name!r} are not here as they were",
        found=seen,
        expected=f"{external.images:,} images with the digest {external.digest}",
        fix=f"put {external.name}.npz, .zip or a folder of that name under ${DATA_VARIABLE}, "
        "or import them from where they are now: hdit-repro import --from images --name NAME --like RUN PATH",
    )


def images_of(run: Run) -> ImageSet:
    """The images of an external run.

    Raises:
        UserError: they are not here, or are not of the run's resolution.
    """
    assert run.external
    images = find(run.external)
    check_size(images, run.data.resolution)
    return images


def check_size(images: ImageSet, resolution: int) -> None:
    """Refuse images that are not squares of the run's resolution.

    Raises:
        UserError: they are not.
    """
    if images.size != (resolution, resolution):
        raise UserError(
            "images of another size than the run's are not resized in silence",
            found=f"{images.name}: {images.size[1]} x {images.size[0]} (width x height)",
            expected=f"{resolution} x {resolution}",
            fix="name a run of the images' resolution, or bring them to that size first, and say how",
        )


def batches(images: ImageSet, todo: list[int], size: int) -> Iterator[tuple[range, Tensor]]:
    """The images of the numbers `todo` (ascending) in parts of at most `size`: numbers, and uint8 B 3 H W."""
    wanted = chunks(todo, size)
    part = next(wanted, None)
    for place, pixels in enumerate(images.batches(size)):
        while part is not None and part.start // size == place:
            yield part, pixels[part.start - place * size : part.stop - place * size]
            part = next(wanted, None)
        if part is None:
            return


def _note(external: External) -> Path:
    return cache_folder() / "external" / f"{external.digest}.json"
