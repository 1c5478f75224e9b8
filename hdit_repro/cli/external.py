"""`import --from images`: somebody's images become a run of kind external, declared in a job file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hdit_repro.cli.declare import IMAGES, declared
from hdit_repro.cli.output import data, near, remark
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.spec.external import External


def import_images(path: Path, name: str, like: str) -> None:
    """Check every image, write jobs/NAME.toml and note where the images lie.

    Raises:
        UserError: an image is damaged or of another size than the run `like` has, or there is no such run.
    """
    from hdit_repro import jobs
    from hdit_repro.stages import external
    from hdit_repro.stages.imagesets import open_images, said_of

    base = jobs.find(like)
    if base.run.external:
        raise UserError(
            "a run of images is like a run of a network",
            found=like,
            expected="a row of the paper",
            fix="--like table1/E",
        )
    images, described = open_images(path), external.describe(path)
    external.check_size(images, base.run.data.resolution)
    for _ in images.batches(64):  # every file is decoded once, so that none is refused hours later
        pass
    with declared(name, job_file(name, f"{base.experiment}/{base.row}", described)) as file:
        run = jobs.find(name).run
        external.remember(described, path)
    data(near(file))
    for line in said_of(images):
        remark(line)
    remark(f"run {run.id}; `hdit-repro eval --run {name}` measures them by the protocol of {like}")


def job_file(name: str, like: str, described: External) -> str:
    """A job file with one row of kind external, with the data and the protocol of another row."""
    from hdit_repro.jobs.values import as_written

    lines = [
        f"{IMAGES}measured by the protocol of {like}.",
        "",
        f"experiment = {as_written(name)}",
        f"title = {as_written(f'Images of others: {described.name}')}",
        "",
        f"[row.{as_written(name)}]",
        f"extends = {as_written(like)}",
        f"label = {as_written(described.name)}",
        f"external = {{ name = {as_written(described.name)}, digest = {as_written(described.digest)}, "
        f"images = {described.images} }}",
    ]
    return "\n".join(lines) + "\n"
