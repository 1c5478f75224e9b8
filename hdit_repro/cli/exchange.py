"""`import`: checkpoints of others become runs. `export-weights`: ours for others."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.declare import WEIGHTS, declared, refuse_name
from hdit_repro.cli.output import data, group, near, remark
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.spec.data import Folder
    from hdit_repro.stages.exchange import Released

app = group()


class Origin(StrEnum):
    """Whose checkpoint it is."""

    k_diffusion = "k-diffusion"
    dit = "dit"
    images = "images"


class Form(StrEnum):
    """What is written."""

    k_diffusion = "k-diffusion"
    safetensors = "safetensors"


LIKE = {Origin.k_diffusion: "table1/E", Origin.dit: "alternatives/R1-unscaled", Origin.images: "table1/E"}
"""Whose data, sampling and evaluation an import takes unless told. DiT's code noises pixels of [-1, 1] as such."""


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A checkpoint (.safetensors, .pth, .pt), or images (a folder, .zip, .npz)."
        ),
    ],
    origin: Annotated[Origin, typer.Option("--from", help="Whose code wrote it.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the run is to be called.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Its configuration (JSON), if not inside.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="RUN",
            help="The run whose data, sampling and evaluation it takes: table1/E, or alternatives/R1-unscaled for DiT.",
        ),
    ] = None,
    own: options.OwnData = None,
) -> None:
    """Make a run of a released checkpoint, or of somebody's images, which can then be sampled and evaluated.

    Example: hdit-repro import --from k-diffusion --name theirs model.safetensors
    """
    from hdit_repro import jobs
    from hdit_repro.data.archive import check_name
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.launch.describe import describe
    from hdit_repro.records.layout import RunFolder
    from hdit_repro.stages import exchange

    refuse_name(name)
    check_name(path.name)
    if origin is Origin.images:
        _import_images(path, name, like or LIKE[origin], bare=config is None and own is None)
        return
    base = jobs.find(like or LIKE[origin])
    released = exchange.read_released("dit" if origin is Origin.dit else "k-diffusion", path, config)
    dataset = options.own_data(own)
    _refuse_unlike(path, base, released, dataset)
    with declared(name, _job_file(name, base, path.name, released, dataset)) as file:
        job, roots = _fitting(name, path, base), workplace()
        exchange.put(job, RunFolder(roots, job.run, job.scale), released)
    describe([job], roots)
    data(near(file))
    remark(f"run {job.run.id}; `hdit-repro sample --run {name}` draws its samples")


def _refuse_unlike(path: Path, like: Job, released: Released, dataset: Folder | None) -> None:
    """Refuse a checkpoint whose row could not be like another one, before anything is written.

    Args:
        path: of the checkpoint.
        like: whose diffusion and, without `dataset`, whose data its row would take.
        released: the checkpoint.
        dataset: of one's own.

    Raises:
        UserError: its network is of another diffusion, or of other classes than the data.
    """
    from hdit_repro.spec.base import kind_of
    from hdit_repro.spec.data import facts_of
    from hdit_repro.spec.model import DiT

    diffusion, wanted = kind_of(like.run.diffusion), "gaussian" if isinstance(released.model, DiT) else "edm"
    if diffusion != wanted:
        raise UserError(
            f"a checkpoint does not fit the diffusion of {like.name}",
            found=f"{path}: {kind_of(released.model)}, and {like.name} is of {diffusion} diffusion",
            expected=f"a row of {wanted} diffusion, which such a network is trained with",
            fix=f"--like {LIKE[Origin.dit if wanted == 'gaussian' else Origin.k_diffusion]}",
        )
    data = dataset or like.run.data.dataset
    classes, given = released.model.classes, facts_of(data).classes
    if classes not in (0, given):
        raise UserError(
            f"a checkpoint does not fit the data of {like.name}"
            if dataset is None
            else "a checkpoint does not fit --data",
            found=f"{path}: model.classes {classes} is not the {given} of {kind_of(data)}",
            expected=f"images of the network's classes ({classes})",
            fix="--like a row whose data have them, or --data a folder with one folder a class",
        )


def _fitting(name: str, path: Path, like: Job) -> Job:
    """The row that was written for a checkpoint.

    Raises:
        UserError: its network and what it takes of the run that it is like do not go together.
    """
    from hdit_repro import jobs

    try:
        return jobs.find(name)
    except UserError as error:  # it tells of a file that nobody wrote, and that goes again
        place = rf"\S*/{re.escape(name)}\.toml:\d+, row {re.escape(name)}\b"
        found = re.sub(place, lambda _: str(path), error.found or error.problem)
        raise UserError(
            f"a checkpoint does not go with what it takes of {like.name}",
            found=found,
            expected=error.expected,
            fix="--like another row, whose parts go with this network (`hdit-repro list` prints all)",
        ) from error


def _import_images(path: Path, name: str, like: str, *, bare: bool) -> None:
    """Images of others; `bare`: with none of the options that are for checkpoints."""
    from hdit_repro.cli.external import import_images

    if not bare:
        raise UserError(
            "images of others have no configuration and no --data",
            expected="a path and --like",
            found="--config or --data",
            fix="leave both out; --like names the run whose data and evaluation are taken",
        )
    import_images(path, name, like)


def _job_file(name: str, like: Job, source: str, released: Released, dataset: Folder | None) -> str:
    """A job file with one row that extends another and takes the network and the weights from the checkpoint."""
    import msgspec

    from hdit_repro.jobs.resolve import on_own_data
    from hdit_repro.jobs.values import as_written

    parts: dict[str, Any] = on_own_data(msgspec.to_builtins(like.run), dataset) if dataset else {}
    parts["model"] = msgspec.to_builtins(released.model)
    parts["data"] = {**parts.get("data", {}), "resolution": released.model.resolution}
    parts["training"] = {"imported": released.sha256}
    if reference := _of_its_size(like, released.model.resolution):
        parts.setdefault("evaluation", {"reference": reference})
    parts |= {part: own for part in ("diffusion", "sampling") if (own := getattr(released, part))}
    lines = [
        f"{WEIGHTS}{as_written(source)}, SHA-256 {released.sha256}.",
        "",
        f"experiment = {as_written(name)}",
        f"title = {as_written(f'Imported: {source}')}",
        "",
        f"[row.{as_written(name)}]",
        f"extends = {as_written(f'{like.experiment}/{like.row}')}",
        f"label = {as_written(source)}",
        *(f"{part} = {_toml(values)}" for part, values in parts.items()),
    ]
    return "\n".join(lines) + "\n"


def _of_its_size(like: Job, resolution: int) -> dict[str, str]:
    """In place of published statistics of another size: those of the network's, else the data set itself."""
    from hdit_repro.spec.evaluation import ADM_SIDES, AdmReference

    reference = like.run.evaluation.reference
    if not isinstance(reference, AdmReference) or ADM_SIDES.get(reference.name, resolution) == resolution:
        return {}
    stem = reference.name.partition(str(ADM_SIDES[reference.name]))[0]
    for name, side in ADM_SIDES.items():
        if side == resolution and name.startswith(stem):
            return {"kind": "adm", "name": name}
    return {"kind": "dataset"}


def _toml(value: Any) -> str:
    """A plain value in TOML, tables inline; TOML has no null, so what is None is left out."""
    from hdit_repro.jobs.values import as_written

    if isinstance(value, dict):
        kept = (f"{key} = {_toml(each)}" for key, each in value.items() if each is not None)
        return "{ " + ", ".join(kept) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return as_written(value)


@app.command("export-weights")
def export_weights(
    run: options.RunOption,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The .safetensors file to write; no other is replaced.")],
    form: Annotated[Form, typer.Option("--to", help="With k-diffusion's names and configuration, or our own.")],
    scale: options.Scale = "paper",
    own: options.OwnData = None,
) -> None:
    """Write a trained run's averaged weights, with their configuration in the metadata, and a card beside them.

    Example: hdit-repro export-weights --run table1/E --scale smoke --to k-diffusion e.safetensors
    """
    from hdit_repro import jobs
    from hdit_repro.files import refuse_other, write_text
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.imported import is_imported, lost
    from hdit_repro.records.layout import RunFolder
    from hdit_repro.stages import exchange
    from hdit_repro.stages.model_card import model_card

    if path.suffix != ".safetensors":
        raise UserError(
            "weights are written as safetensors",
            found=str(path),
            expected="a name with .safetensors",
            fix=f"name it {path.stem or 'weights'}.safetensors",
        )
    job = jobs.find(run, scale, dataset=options.own_data(own))
    folder = RunFolder(workplace(), job.run, job.scale)
    if unfinished := folder.unfinished:
        if is_imported(job.run):
            raise lost({job.name: folder})
        raise UserError(
            f"{job.name} is not trained at {scale} scale",
            found=unfinished,
            fix=f"hdit-repro train --run {job.name} --scale {scale}{job.on_data}",
            expected="a training that has come to its end",
        )
    card, text = path.with_suffix(".md"), model_card(job, folder)
    refuse_other(card, "the card beside the weights", lambda: card.read_bytes() == text.encode())
    data(near(exchange.export_weights(job, folder, form.value, path)))
    write_text(card, text)
    data(near(card))
