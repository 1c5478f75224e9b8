"""What there is: `list` and `show`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, count, data, fitted, group, hanging, left_out, remark, table, width
from hdit_repro.cli.replaced import say_replaced
from hdit_repro.errors import UserError, counted
from hdit_repro.files import shipped

if TYPE_CHECKING:
    from hdit_repro.jobs import Job

app = group()

FORK = "the third author's configurations, github.com/Birch-san/k-diffusion at 6a9200d"
"""What `fork:` in front of a source means."""


@app.command("list")
def list_(as_objects: options.Json = False) -> None:
    """List every experiment and its rows, with parameters and cost; of rows that cannot be it says why.

    Example: hdit-repro list
    """
    from hdit_repro import cost, jobs

    rows: list[dict[str, Any]] = []
    found, refused = jobs.survey()
    for job in found:
        counts = None if job.run.external else cost.count(job.run.model, job.run.data.resolution)
        rows.append(
            {
                "run": job.name,
                "experiment": job.experiment,
                "row": job.row,
                "title": job.title,
                "label": job.label,
                "group": job.group,
                "resolution": job.run.data.resolution,
                "macs": counts.macs if counts else None,
                "parameters": counts.parameters if counts else None,
                "id": job.run.id,
            }
        )
    if as_objects:
        as_json(rows)
        left_out(refused)
        return
    cells: Sequence[Sequence[str]] = [
        (
            str(r["run"]),
            f"{r['resolution']}²",
            *("-" if r[name] is None else count(r[name]) for name in ("parameters", "macs")),
            _line(r["label"]),
        )
        for r in rows
    ]
    names: Sequence[str] = ("run", "pixels", "parameters", "MACs", "label")
    numbers = names[1:-1]
    table(names, cells, right=numbers, spare=numbers)
    whole = len({job.experiment for job in found})
    remark(f"{counted(len(rows), 'row')} of {counted(whole, 'experiment')}; MACs of one forward pass of one image")
    left_out(refused)


@app.command("show")
def show(
    run: options.Run,
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    as_objects: options.Json = False,
) -> None:
    """Show a run whole: every value with where it comes from, ids, parameters and cost.

    Example: hdit-repro show table1/E
    """
    import msgspec

    from hdit_repro import cost, jobs
    from hdit_repro.jobs.merge import flatten

    job = jobs.find(run, scale, dataset=options.own_data(own, note=False))
    say_replaced([job])
    if as_objects:
        as_json(msgspec.to_builtins(job.run))
        return
    external = bool(job.run.external)
    counts = cost.count(job.run.model, job.run.data.resolution)
    facts = {
        "run": job.name,
        "label": job.label,
        "experiment": job.title,
        "note": job.note,
        "scale": job.scale,
        "training id": job.run.training_id,
        "sampling id": job.run.sampling_id,
        "evaluation id": job.run.evaluation_id,
        "parameters": "" if external else f"{counts.parameters:,}",
        "MACs": "" if external else f"{counts.macs:,} (one forward pass of one image)",
        "samples seen": "" if external else f"{job.run.training.samples_seen:,}",
        **(_to_be_met(job, options.on_data(own)) if scale == "paper" and not external else {}),
    }
    columns = width(sys.stdout)
    for name, text in facts.items():
        if text:
            data("\n".join(hanging(f"{name:<14} ", _line(text), columns)))
    data("")
    tree = msgspec.to_builtins(job.run)
    fields = flatten({part: tree[part] for part in ("external", "data", "evaluation")} if external else tree)
    sources = [(name, _words(value), _line(job.source_of(name) or _silent(name))) for name, value in fields.items()]
    for line in fitted(("field", "value", "source"), sources, columns):
        data(line)
    inferred, fork = (sum(job.source_of(name).startswith(mark) for name in fields) for mark in ("inferred", "fork"))
    remark(f"marked inferred, since the paper leaves them open: {inferred} of {len(fields)} values")
    if fork:
        remark(f"marked fork, after {FORK}: {fork} of {len(fields)}")


def _to_be_met(job: Job, on_data: str) -> dict[str, str]:
    """What the paper prints for a run, what the run costs, and the command; a row of one's own has no print, nor has
    one that is changed."""
    from hdit_repro import paper
    from hdit_repro.jobs.submitting import submitting
    from hdit_repro.launch.clusters import Slurm, read_cluster
    from hdit_repro.launch.price import price
    from hdit_repro.records.layout import STAGES

    name = f"{job.experiment}/{job.row}"
    claims = [
        claim
        for claim in paper.read()
        if claim.run == name and claim.needs and claim.unit in (paper.Unit.FID, paper.Unit.IS)
    ]
    if claims and not _is_as_shipped(job):
        claims = []
    clusters = [cluster for cluster in map(read_cluster, ("a100", "h100")) if isinstance(cluster, Slurm)]
    hours = {c.gpu: sum(price(job.run, stage, job.scale, c).gpu_hours for stage in STAGES) for c in clusters}
    return {
        "printed": "; ".join(f"{claim.text} ({claim.place})" for claim in sorted(claims, key=lambda c: c.edition)),
        "price": " or ".join(f"about {number:,.0f} {gpu}-hours" for gpu, number in hours.items()),
        "command": submitting(job.name, "paper", on_data),
    }


def _is_as_shipped(job: Job) -> bool:
    """Whether a row is the project's own, and not changed by a file of the current folder or by --data."""
    from hdit_repro import jobs

    with contextlib.chdir(shipped("jobs").parent), contextlib.suppress(UserError):
        return jobs.find(job.name, job.scale).run == job.run
    return False


def _line(text: str) -> str:
    """A text of a job file, which may be in several lines there, in one."""
    return " ".join(text.split())


def _silent(name: str) -> str:
    return "--seeds" if name == "seed" else "default"


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_words(item) for item in value)}]"
    if isinstance(value, dict):
        rest = ", ".join(f"{key} = {_words(item)}" for key, item in value.items() if key != "kind")
        kind = str(value.get("kind", ""))  # a phase of a batch schedule has none
        return f"{kind}({rest})" if rest else kind
    return value if isinstance(value, str) else json.dumps(value)
