"""From a row as written to a run: what it extends, [base], the scale, what follows from the data set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import UserError, pick
from hdit_repro.jobs.blame import guilty, place, place_in_row
from hdit_repro.jobs.explain import CANNOT_BE, ROW, Shape, explain, field_names
from hdit_repro.jobs.files import PARTS, States, at, file_states, read_experiment
from hdit_repro.jobs.merge import drop_under, flatten, new_kinds, overlay
from hdit_repro.jobs.rows import extended, row_of
from hdit_repro.jobs.scales import Overlay, scale_overlays, shape_of
from hdit_repro.jobs.types import Job
from hdit_repro.spec.data import DATASETS, Data, Folder
from hdit_repro.spec.evaluation import SMALLEST_REFERENCE
from hdit_repro.spec.run import Run


class _OfData(msgspec.Struct):
    """A row's data alone: looked at first, since what follows from data that cannot be is no fault of the model's."""

    data: Data | msgspec.UnsetType = msgspec.UNSET


class Resolved(NamedTuple):
    """A row's tree of values and the remark on each."""

    tree: dict[str, Any]
    sources: dict[str, str]


def resolve(experiment: str, row: str, scale: str = "paper", seed: int = 0, dataset: Folder | None = None) -> Job:
    """A row of an experiment as a checked run at a scale, on its own data or on images of the user's own.

    Raises:
        UserError: unknown names, wrong types, impossible combinations, a circle of `extends`; with file and key. Images
            of others at a scale of another resolution.
    """
    return _resolve(experiment, row, scale, seed, dataset, file_states())


@lru_cache(maxsize=1024)
def _resolve(experiment: str, row: str, scale: str, seed: int, dataset: Folder | None, _states: States) -> Job:
    """A row, worked out once for each state of the files: a report asks for each some dozens of times."""
    source, body = read_experiment(experiment), row_of(experiment, row)
    resolved = _lineage(experiment, row)
    overlays = scale_overlays(scale, experiment, row, resolved.tree.get("model", {}))
    size = _size(resolved)

    def laid(over: list[Overlay]) -> Resolved:
        return _with_scale(resolved, over, scale, dataset)

    tree = laid(overlays)
    try:
        run = _checked(tree.tree, seed)
    except msgspec.ValidationError as error:
        said = str(error)
        at_fault = guilty(overlays, said, lambda kept: _refusal(lambda: laid(kept).tree, seed))

        def place_of(field: str) -> str:
            in_row = place_in_row(source.path, row, body, field, said)
            return place(field, said, overlays, at_fault) or (
                in_row + ("" if scale == "paper" else f", at {scale} scale")
            )

        refused = explain(error, tree.tree, place_of, _shape(body, tree.tree))
        of_scale = refused.problem == CANNOT_BE and scale != "paper" and at_fault is None
        if of_scale and _stands(experiment, row, dataset):
            section = f"[{scale}.shape.{shape_of(tree.tree['model'])}]"
            refused.fix = (
                f"it stands at paper scale, so say in jobs/scales.toml of your folder what it is at {scale} scale: "
                f'[{scale}.row."{experiment}/{row}"], or {section} for all rows of that outline'
            )
        raise refused from error
    if run.external and size is not None and run.data.resolution != size:
        raise UserError(
            "images of others are not made smaller by a scale",
            found=f"{experiment}/{row} at {scale} scale: {run.data.resolution} x {run.data.resolution}",
            expected=f"the images' own {size} x {size}",
            fix=f"leave --scale out, or import images of {run.data.resolution} x {run.data.resolution} "
            "like a row of that resolution",
        )
    return Job(
        experiment=experiment,
        row=row,
        label=body.get("label", row) + (f", on {dataset.name}" if dataset else ""),
        group=body.get("group", ""),
        note=body.get("note", ""),
        title=source.title,
        paper=source.paper,
        run=run,
        scale=scale,
        sources=tree.sources,
    )


def _with_scale(resolved: Resolved, overlays: list[Overlay], scale: str, dataset: Folder | None) -> Resolved:
    """A row with what a scale lays over it, on its own data or on images of the user's own, and what follows."""
    for each in overlays:
        resolved = _lay(resolved, each.table, {}, f"{scale} scale")
    if dataset is not None:
        remarks = {"data": {"dataset": "--data"}, "evaluation": {"reference": "--data"}}
        resolved = _lay(resolved, on_own_data(resolved.tree, dataset), remarks, "--data")
    return _derive(resolved)


def _checked(tree: dict[str, Any], seed: int) -> Run:
    """A resolved row as a run.

    Raises:
        msgspec.ValidationError: it cannot be one.
    """
    msgspec.convert(tree, _OfData, strict=True)
    return msgspec.convert({**tree, "seed": seed}, Run, strict=True)


def _refusal(tree: Callable[[], dict[str, Any]], seed: int) -> str:
    """Why a row cannot be a run; empty where it can."""
    try:
        _checked(tree(), seed)
    except (UserError, msgspec.ValidationError) as error:
        return str(error)
    return ""


def _shape(body: dict[str, Any], tree: dict[str, Any]) -> Shape:
    """What a row is read as; one that says no network was probably meant to extend another."""
    model = tree.get("model")
    if "extends" in body or (isinstance(model, dict) and "kind" in model):
        return ROW
    return ROW._replace(home=f'{ROW.home}, or leave it to another row: extends = "table1/E"')


def _stands(experiment: str, row: str, dataset: Folder | None) -> bool:
    """Whether a row can be at paper scale, so that it is the scale that makes it impossible."""
    with contextlib.suppress(UserError):
        return bool(resolve(experiment, row, dataset=dataset))
    return False


def _size(resolved: Resolved) -> int | None:
    """The resolution that a row says before any scale; None where it says none."""
    data = resolved.tree.get("data")
    size = data.get("resolution") if isinstance(data, dict) else None
    return size if isinstance(size, int) else None


_RESOLVED: dict[tuple[object, ...], Resolved] = {}
"""Rows as resolved before, by name and the state of all job files."""


def _lineage(experiment: str, row: str) -> Resolved:
    """What a row says, laid over what it extends, or over [base] of its own file; worked out once."""
    states = file_states()
    over: list[tuple[str, str]] = []
    below: tuple[str, str] | None = (experiment, row)
    while below is not None and (*below, states) not in _RESOLVED:
        if below in over:
            raise UserError(
                "a row extends itself in a circle",
                found=f"{' -> '.join(f'{file}/{name}' for file, name in (*over, below))} "
                f"in {at(read_experiment(below[0]).path, below[1], 'extends')}",
                expected="a row that ends in [base]",
                fix="let one of them stand on its own",
            )
        over.append(below)
        below = parent(*below)
    under = None if below is None else _RESOLVED[*below, states]
    for name in reversed(over):
        under = _RESOLVED[*name, states] = _lay_out(*name, under)
    assert under is not None
    return under


def parent(experiment: str, row: str) -> tuple[str, str] | None:
    """The experiment and the row that a row extends; None where it stands on [base].

    Raises:
        UserError: an unknown experiment or row, here or in `extends`.
    """
    parent = row_of(experiment, row).get("extends")
    if parent is None:
        return None
    if not isinstance(parent, str):
        source = read_experiment(experiment)
        raise UserError(
            "`extends` names a row",
            found=f"{parent!r} in {at(source.path, row, 'extends')}",
            expected='"E"',
            fix='extends = "E", or extends = "table1/E" for a row of another file',
        )
    return extended(experiment, row, parent)


def _lay_out(experiment: str, row: str, under: Resolved | None) -> Resolved:
    source = read_experiment(experiment)
    body = source.rows[row]
    if under is None:
        remarks = source.base.get("source", {})
        _refuse_idle(remarks, lambda: f"{source.path}, [base]")
        under = _lay(Resolved({}, {}), _values(source.base), remarks, "")
    _refuse_idle(body.get("source", {}), lambda: at(source.path, row, "source"))
    if "external" in body or "external" in under.tree:
        _refuse_unread(body, lambda part: at(source.path, row, part))
    return _lay(under, _values(body), body.get("source", {}), f"row {row}")


def _refuse_unread(body: dict[str, Any], place: Callable[[str], str]) -> None:
    """Images of others have data and a protocol; how they were made, a row cannot say. A network it may change, for the
    one that it extends must fit its resolution.

    Raises:
        UserError: a row of kind external changes a part that nothing reads.
    """
    for part in ("diffusion", "training", "sampling"):
        if part in body:
            raise UserError(
                f"images of others are measured, and nothing reads their {part}",
                found=f"{part} in {place(part)}",
                expected="external, data and evaluation",
                fix="take it out; what the images are goes into label or note",
            )


def _values(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in PARTS}


def _lay(under: Resolved, table: dict[str, Any], remarks: dict[str, Any], default: str) -> Resolved:
    """Lay values and their remarks over a row; a changed value loses the remark it had and takes `default`.

    A table that becomes another kind loses every remark on it and in it, and what is not written of it is said to be
    that kind's default: what was said before, there or further out, was said of another kind.
    """
    flat = {key: str(remark) for key, remark in flatten(remarks).items()}
    kinds = new_kinds(under.tree, table)
    changed = list(flatten(table))
    sources = drop_under(under.sources, [*changed, *kinds, *flat])
    if default:
        said = {name: f"default of {kind}" for name, kind in kinds.items()} | dict.fromkeys(changed, default)
        sources |= {name: text for name, text in said.items() if not _covered(name, flat)}
    return Resolved(overlay(under.tree, table), sources | flat)


def _covered(name: str, remarks: dict[str, str]) -> bool:
    return any(f"{name}.".startswith(f"{key}.") for key in remarks)


def _refuse_idle(remarks: dict[str, Any], place: Callable[[], str]) -> None:
    """A remark on a field that no run has is a misspelling. One on a field of another kind than the row's may stand.

    Raises:
        UserError: with the fields beside it and the nearest of them.
    """
    known = field_names()
    for name in flatten(remarks):
        around = ""
        for step in name.split(".") if name not in known else ():
            beside = {field.rpartition(".")[2]: None for field in known if field.rpartition(".")[0] == around}
            kind = f"field of {around}" if around else "part of a run"
            pick(beside, step, kind=kind, where=f"source {name!r}, {place()}")
            around = f"{around}.{step}" if around else step


def on_own_data(tree: dict[str, Any], dataset: Folder) -> dict[str, Any]:
    """What changes of a row where it is run on other images: the data set, and what its samples are compared with.

    Published statistics are of published data sets, so the images themselves become the reference; `none` would
    refuse images of another size, so it becomes `adm`, which leaves images of the right size as they are.

    Raises:
        UserError: a row that counts its reference's images, and too few of them.
    """
    data: dict[str, Any] = {"dataset": msgspec.to_builtins(dataset)}
    if tree.get("data", {}).get("transform") == "none":
        data["transform"] = "adm"
    reference: dict[str, Any] = {"kind": "dataset"}
    below = tree.get("evaluation", {}).get("reference")
    count = below.get("count") if isinstance(below, dict) else None
    if isinstance(count, int):
        if dataset.images < SMALLEST_REFERENCE:
            raise UserError(
                "too few images to compare samples with",
                found=f"--data: {dataset.images} in {dataset.name}",
                expected=f"{SMALLEST_REFERENCE} images or more",
                fix="name a folder or an archive with more of them",
            )
        reference["count"] = min(count, dataset.images)
    return {"data": data, "evaluation": {"reference": reference}}


def _derive(resolved: Resolved) -> Resolved:
    """model.resolution and model.classes follow from the data, unless the row says them itself."""
    tree = overlay({}, resolved.tree)
    sources = {**resolved.sources, "seed": "the replicate asked for"}
    external = tree.get("external")
    if isinstance(external, dict) and isinstance(tree.get("sampling"), dict) and "images" in external:
        tree["sampling"]["count"] = external["images"]
        sources["sampling.count"] = "the images that are measured"
    data, model = tree.get("data", {}), tree.get("model", {})
    dataset = data.get("dataset", {}) if isinstance(data, dict) else {}
    kind = dataset.get("kind", "") if isinstance(dataset, dict) else ""
    facts = DATASETS.get(kind) if isinstance(kind, str) else None
    classes = facts.classes if facts is not None else dataset.get("classes", 0) if kind == "folder" else None
    if isinstance(model, dict) and classes is not None and "resolution" in data:
        for field, value, why in (
            ("resolution", data["resolution"], "the data's resolution"),
            ("classes", classes, "the data's classes"),
        ):
            if field not in model:
                model[field] = value
                sources[f"model.{field}"] = why
    return Resolved(tree, sources)
