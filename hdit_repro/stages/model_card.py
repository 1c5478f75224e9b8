"""The card that goes with exported weights: what they are, of which images, by which recipe, with which numbers."""

from __future__ import annotations

from hdit_repro.cost import count
from hdit_repro.errors import UserError
from hdit_repro.files import read_json
from hdit_repro.jobs import Job
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder, facts_of


def model_card(job: Job, folder: RunFolder) -> str:
    """The card of a trained run in markdown. A number stands with its protocol, or there is none."""
    run, cost = job.run, count(job.run.model, job.run.data.resolution)
    dataset, facts, training = run.data.dataset, facts_of(run.data.dataset), run.training
    name = dataset.name if isinstance(dataset, Folder) else kind_of(dataset)
    recipe = f"{training.total_steps:,} steps, {training.samples_seen:,} images, {training.precision}"
    if isinstance(training.imported, str):
        recipe = f"trained elsewhere; imported from a file with SHA-256 {training.imported}"
    lines = [
        f"# {job.name}: {job.label}",
        "",
        f"- Network: {kind_of(run.model)}, {cost.parameters:,} parameters, {cost.macs:,} multiply-accumulates an image",
        f"- Images: {name}, {facts.images:,} of them, {facts.classes} classes, at {run.data.resolution} pixels by the "
        f"transform {run.data.transform}" + (f", digest {dataset.digest}" if isinstance(dataset, Folder) else ""),
        f"- Recipe: {recipe}; {job.scale} scale, seed {run.seed}, run {run.training_id}",
        "- Weights: the moving average, float32" + ("" if run.sampling.weights == "ema" else " (samples use the raw)"),
        *_numbers(folder),
        "- Licence: the code is Apache-2.0; the weights are bound by what the licence of the images allows",
        "",
    ]
    return "\n".join(lines)


def _numbers(folder: RunFolder) -> list[str]:
    """The measured numbers with the protocol that they were measured by."""
    try:
        record = read_json(folder.record)
        protocol = record["protocol"]
        how = (
            f"{protocol['samples']:,} samples, {protocol['sampler']} in {protocol['steps']} steps, "
            f"{protocol['extractor']}, against {protocol['reference']['name']} ({protocol['reference']['count']:,})"
        )
        return [f"- {name}: {metric['value']:.4g} ({how})" for name, metric in sorted(record["metrics"].items())]
    except (UserError, KeyError, TypeError):
        return ["- Numbers: not measured"]
