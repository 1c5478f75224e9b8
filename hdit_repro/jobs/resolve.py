"""From a row as written to a run: what it extends, [base], the scale, what follows from the data set."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import UserError, pick
from hdit_repro.jobs.explain import explain
from hdit_repro.jobs.files import PARTS, read_experiment
from hdit_repro.jobs.merge import drop_under, flatten, leaves, overlay
from hdit_repro.jobs.scales import scale_overlays
from hdit_repro.jobs.types import Job
from hdit_repro.spec.data import DATASETS
from hdit_repro.spec.run import Run


class Resolved(NamedTuple):
    """A row's tree of values and the remark on each."""

    tree: dict[str, Any]
    sources: dict[str, str]


def resolve(experiment: str, row: str, scale: str = "paper", seed: int = 0) -> Job:
    """A row of an experiment as a checked run at a scale.

    Raises:
        UserError: unknown names, wrong types, impossible combinations, a circle of `extends`; with file and key.
    """
    source = read_experiment(experiment)
    body = pick(source.rows, row, kind=f"row of {experiment}", where=str(source.path))
    resolved = _lineage(experiment, row, ())
    for table in scale_overlays(scale, experiment, row, resolved.tree.get("model", {})):
        resolved = _lay(resolved, table, {}, f"{scale} scale")
    tree = _derive(resolved)
    where = f"{source.path}, row {row}" + ("" if scale == "paper" else f", at {scale} scale")
    try:
        run = msgspec.convert({**tree.tree, "seed": seed}, Run, strict=True)
    except msgspec.ValidationError as error:
        raise explain(error, tree.tree, where) from error
    return Job(
        experiment=experiment,
        row=row,
        label=str(body.get("label", row)),
        group=str(body.get("group", "")),
        note=str(body.get("note", "")),
        title=source.title,
        paper=source.paper,
        run=run,
        scale=scale,
        sources=tree.sources,
    )


def _lineage(experiment: str, row: str, seen: tuple[str, ...]) -> Resolved:
    """What a row says, laid over what it extends, or over [base] of its own file."""
    name = f"{experiment}/{row}"
    if name in seen:
        raise UserError(
            "a row extends itself in a circle", found=" -> ".join((*seen, name)), expected="a row that ends in [base]"
        )
    source = read_experiment(experiment)
    body = pick(source.rows, row, kind=f"row of {experiment}", where=str(source.path))
    parent = body.get("extends")
    if parent is None:
        remarks = source.base.get("source", {})
        under = _lay(Resolved({}, {}), _values(source.base), remarks, "")
    elif isinstance(parent, str):
        other, _, other_row = parent.rpartition("/")
        under = _lineage(other or experiment, other_row, (*seen, name))
    else:
        raise UserError("`extends` names a row", found=f"{parent!r} in {source.path}, [row.{row}]", expected='"E"')
    return _lay(under, _values(body), body.get("source", {}), f"row {row}")


def _values(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in PARTS}


def _lay(under: Resolved, table: dict[str, Any], remarks: dict[str, Any], default: str) -> Resolved:
    """Lay values and their remarks over a row; a changed value loses the remark it had and takes `default`."""
    flat = {key: str(remark) for key, remark in flatten(remarks).items()}
    tree = overlay(under.tree, table)
    _refuse_idle(flat, tree)
    changed = leaves(table)
    sources = drop_under(under.sources, [*changed, *flat])
    if default:
        sources |= dict.fromkeys(changed, default)
        sources = {key: text for key, text in sources.items() if key not in flat}
        sources = {k: v for k, v in sources.items() if v != default or not _covered(k, flat)}
    return Resolved(tree, sources | flat)


def _covered(name: str, remarks: dict[str, str]) -> bool:
    return any(name.startswith(f"{key}.") for key in remarks)


def _refuse_idle(remarks: dict[str, str], tree: dict[str, Any]) -> None:
    """A remark on a part that no row has is a misspelling."""
    for name in remarks:
        if name.split(".")[0] not in PARTS:
            pick(dict.fromkeys(PARTS), name.split(".")[0], kind="part of a run", where=f"source {name!r}")


def _derive(resolved: Resolved) -> Resolved:
    """model.resolution and model.classes follow from the data, unless the row says them itself."""
    tree = overlay({}, resolved.tree)
    sources = {**resolved.sources, "seed": "the replicate asked for"}
    data, model = tree.get("data", {}), tree.get("model", {})
    dataset = data.get("dataset", {}) if isinstance(data, dict) else {}
    facts = DATASETS.get(dataset.get("kind", "") if isinstance(dataset, dict) else "")
    if isinstance(model, dict) and facts is not None and "resolution" in data:
        for field, value, why in (
            ("resolution", data["resolution"], "the data's resolution"),
            ("classes", facts.classes, "the data's classes"),
        ):
            if field not in model:
                model[field] = value
                sources[f"model.{field}"] = why
    return Resolved(tree, sources)
