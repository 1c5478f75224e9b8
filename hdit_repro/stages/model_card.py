"""The card of a run: what it is, of which images, by which recipe, with which numbers, under which licence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from hdit_repro.cost import count
from hdit_repro.files import read_text, write_text
from hdit_repro.jobs import Job
from hdit_repro.records import store
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.schema import MADE_ELSEWHERE, Metric, Protocol, Record
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder, facts_of
from hdit_repro.spec.diffusion import Edm
from hdit_repro.spec.external import External
from hdit_repro.spec.model import Hourglass
from hdit_repro.spec.run import Run

TERMS = {
    "emoji": "the emoji are Google's Noto emoji, Apache-2.0 but for flags, which are free of copyright",
    "imagenet": "ImageNet's terms of access allow research and teaching that are not commercial",
    "ffhq": "FFHQ is published under CC BY-NC-SA 4.0, each photograph under the licence that its metadata names",
    "folder": "the weights are bound by what the licence of the images allows",
}
"""Of each kind of data set, what its images allow."""


def write_card(job: Job, folder: RunFolder) -> Path:
    """Write the card into the run's folder, in place of the one before; returns its path."""
    write_text(folder.card, model_card(job, folder))
    return folder.card


def mend_card(job: Job, folder: RunFolder) -> None:
    """Write the card of a run that is trained where it is missing or lacks a number: what wrote the last of them was
    ended, or failed, before it came to the card."""
    if folder.done("train") and "\n".join(_numbers(folder)) not in _card_there(folder):
        write_card(job, folder)


def _card_there(folder: RunFolder) -> str:
    return read_text(folder.card, errors="replace") if folder.card.exists() else ""


def model_card(job: Job, folder: RunFolder) -> str:
    """The card of a run in markdown. A number stands with its protocol, or there is none."""
    run = job.run
    if isinstance(run.external, External):
        return _external_card(job, run.external, folder)
    lines = [
        f"# {job.name}: {job.label}",
        "",
        f"Run {run.training_id} at {job.scale} scale, seed {run.seed}.",
        "",
        f"- Network: {_network(run)}",
        f"- Images: {_images(run)}",
        f"- Recipe: {_recipe(run)}",
        f"- Weights: samples are drawn by {'the moving average' if run.sampling.weights == 'ema' else 'the raw ones'}",
        *_numbers(folder),
        f"- Licence: {_licence(run)}",
        "",
    ]
    return "\n".join(lines)


def _external_card(job: Job, external: External, folder: RunFolder) -> str:
    """The card of somebody's images: what they are, and their numbers; nothing of how they were made."""
    size = f"{external.images:,} at {job.run.data.resolution} pixels"
    lines = [
        f"# {job.name}: {job.label}",
        "",
        f"Images {external.name}, run {job.run.training_id} at {job.scale} scale.",
        "",
        f"- Images: {size}, {MADE_ELSEWHERE}; digest {external.digest}",
        *_numbers(folder),
        "- Licence: the images stay under the licence that they were published with",
        "",
    ]
    return "\n".join(lines)


def _network(run: Run) -> str:
    cost = count(run.model, run.data.resolution)
    size = f"{cost.parameters:,} parameters, {cost.macs:,} multiply-accumulates an image"
    if not isinstance(run.model, Hourglass):
        return f"{kind_of(run.model)} of width {run.model.width} and depth {run.model.depth}, {size}"
    levels = (f"{level.width} x {level.depth} {kind_of(level.attention)}" for level in run.model.levels)
    return f"hourglass, levels from the outermost ({', '.join(levels)}), {size}"


def _images(run: Run) -> str:
    dataset, facts = run.data.dataset, facts_of(run.data.dataset)
    name = dataset.name if isinstance(dataset, Folder) else kind_of(dataset)
    words = [
        f"{name}, {facts.images:,} of them",
        f"{facts.classes} classes" if facts.classes else "no classes",
        f"at {run.data.resolution} pixels by the transform {run.data.transform}",
    ]
    if run.data.flip:
        words.append("half of them mirrored")
    if isinstance(dataset, Folder):
        words.append(f"digest {dataset.digest}")
    return ", ".join(words)


def _recipe(run: Run) -> str:
    training = run.training
    if isinstance(training.imported, str):
        return f"trained elsewhere; imported from a file with SHA-256 {training.imported}"
    batches = [training.batch, *(phase.batch for phase in training.growth)]
    optimizer = training.optimizer
    words = [
        f"{kind_of(run.diffusion)} diffusion" + _loss(run),
        f"{training.total_steps:,} steps of {', then '.join(map(str, batches))} images ({training.samples_seen:,})",
        f"AdamW at {optimizer.learning_rate:g}, betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}, "
        f"weight decay {optimizer.weight_decay:g}",
        f"moving average {training.ema.decay:g}",
        training.precision,
    ]
    if training.class_dropout and run.model.classes:
        words.append(f"{100 * training.class_dropout:g} % of labels dropped")
    if training.augmentation:
        words.append(f"augmentation with probability {training.augmentation:g}")
    return ", ".join(words)


def _loss(run: Run) -> str:
    if not isinstance(run.diffusion, Edm):
        return ""
    return f", loss weight {kind_of(run.diffusion.weighting)}, sigma_data {run.diffusion.sigma_data:g}"


def _numbers(folder: RunFolder) -> Iterator[str]:
    """Each measured number of this training, whatever its samples, with the protocol that it was measured by."""
    records, _ = store.load(folder.record.parent)
    if not records:
        yield "- Numbers: not measured"
        return
    yield "- Numbers:"
    for record in records:
        how = _protocol(record.protocol) + _made(record)
        for name, metric in sorted(record.metrics.items()):
            yield f"  - {name}: {_value(metric)} ({how})"


def _value(metric: Metric) -> str:
    if metric.interval is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g}, interval {metric.low:.4g} to {metric.high:.4g} ({metric.interval})"


def _protocol(protocol: Protocol) -> str:
    against = protocol.reference
    return (
        f"{protocol.samples:,} samples, {protocol.sampling_words()}, {protocol.extractor}, against "
        f"{against.name}, {against.split}, {against.count:,} images at {against.resolution} pixels"
    )


def _made(record: Record) -> str:
    """By which code the number was measured."""
    commit = record.provenance.commit
    return f"; commit {commit}" + (", changed" if record.provenance.dirty else "") if commit else ""


def _licence(run: Run) -> str:
    words = ["the code is Apache-2.0", TERMS[kind_of(run.data.dataset)]]
    if run.training.imported is not msgspec.UNSET:
        words.append("the weights stay under the licence that they were published with")
    return "; ".join(words)
