"""Measure a run's samples against a reference, and record the number with its protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hdit_repro import jobs
from hdit_repro.errors import RunError
from hdit_repro.jobs import Job
from hdit_repro.metrics.extractors import FeatureExtractor, build_extractor
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.records import implied, schema
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.provenance import collect
from hdit_repro.records.schema import Metric, Protocol, Record, asked_samples
from hdit_repro.records.store import write
from hdit_repro.spec.base import kind_of
from hdit_repro.stages.device import facts, prepare
from hdit_repro.stages.measure import Sides, measure
from hdit_repro.stages.model_card import write_card
from hdit_repro.stages.reference import LoadedReference, load_reference
from hdit_repro.stages.sample import features_of, show_first
from hdit_repro.stages.sample import run as draw
from hdit_repro.stages.settings import Progress, Report, Settings
from hdit_repro.stages.shards import read_tensors, refuse_missing, sample_command, whole_shards
from hdit_repro.stages.spent import by_device, drawn
from hdit_repro.stages.summary import training_summary
from hdit_repro.stages.untrained import untrained_statistics


def run(job: Job, folder: RunFolder, settings: Settings, report: Report) -> Path:
    """Measure `job`; returns its record. Samples whose shard is damaged are drawn again.

    Raises:
        RunError: samples are missing, or cannot be drawn again.
        UserError: the reference or the feature network's weights are missing.
    """
    if folder.done("evaluate"):
        return folder.record
    training_summary(folder)  # a damaged one is told before features are taken, and not after
    device, started, before = prepare(settings), time.monotonic(), drawn(folder).total
    extractor = build_extractor(job.run.evaluation.extractor, device)
    total = job.run.sampling.count

    def on_reference(done: int, of: int) -> None:
        report(Progress("evaluate", done, of, "features of the reference"))

    reference = load_reference(job.run, extractor, on_reference)

    def again(damaged: list[str]) -> None:
        report(Progress("evaluate", 0, total, f"damaged and drawn again: {', '.join(damaged)}"))
        draw(job, folder, settings, report)

    report(Progress("evaluate", 0, total, "features of the samples"))
    features = sample_features(job, folder, extractor, again)
    show_first(folder)
    asked = asked_samples(job.scale, total)  # type: ignore[arg-type]
    kind = kind_of(job.run.evaluation.extractor)
    metrics = measure(job.run.evaluation.metrics, kind, Sides(features, reference), asked, job.name)
    context = companions(job, folder, extractor, reference, settings, device, report)
    seconds = stage_seconds(folder)
    seconds["evaluate"] = time.monotonic() - started - (seconds["sample"] - before)  # without what was drawn again
    write(make_record(job, folder, extractor, reference, metrics, context, seconds, device), folder.record)
    write_card(job, folder)
    report(Progress("evaluate", total, total, ", ".join(f"{name} {m.value:.2f}" for name, m in metrics.items())))
    return folder.record


def sample_features(
    job: Job, folder: RunFolder, extractor: FeatureExtractor, again: Callable[[list[str]], None] = lambda _: None
) -> dict[str, Tensor]:
    """All samples' features by name, in the order of their numbers: each N x width, float32 on the CPU.

    Shards that were measured by another extractor are measured anew from their images. Where shards are damaged,
    `again` is called with their names first, and may draw them anew.

    Raises:
        RunError: samples are missing, or neither features nor images of them are there.
    """
    shards, damaged = whole_shards(folder)
    if damaged:
        again(damaged)
        shards, _ = whole_shards(folder)
    refuse_missing(shards, damaged, folder, sample_command(job))
    prefix, found = f"features.{extractor.name}.", []
    for shard, features in read_tensors(folder, shards, prefix):
        if not features:
            ((_, kept),) = read_tensors(folder, [shard], "image")
            if not kept:
                raise RunError(
                    f"samples were not measured by {extractor.name}, and their images were not kept",
                    found=f"samples {shard.first} to {shard.numbers.stop - 1} of {job.name}",
                    expected="features of this network, or the images",
                    fix=f"delete {folder.samples} and run: {sample_command(job)}",
                )
            features = features_of(extractor, kept["image"])
        found.append({name.removeprefix(prefix): value for name, value in features.items()})
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def companions(
    job: Job,
    folder: RunFolder,
    extractor: FeatureExtractor,
    reference: LoadedReference,
    settings: Settings,
    device: torch.device,
    report: Callable[[Progress], None],
) -> dict[str, float]:
    """What a number below paper scale is read against: untrained network and floor of a Fréchet distance, losses."""
    summary = training_summary(folder)
    found = {schema.LOSS_END: summary.loss_end, schema.LOSS_CONSTANT: summary.loss_constant}
    if job.scale != "paper" and "frechet" in job.run.evaluation.metrics:
        if not job.run.external:
            report(Progress("evaluate", 0, job.run.sampling.count, "samples of the untrained network"))
            raw = untrained_statistics(job, extractor, settings.batch, device)
            found[schema.UNTRAINED] = frechet_distance(raw.mean, raw.cov, reference.mean, reference.cov)
        if reference.floor is not None:
            found[schema.FLOOR] = reference.floor(job.run.sampling.count)
    return {name: float(value) for name, value in found.items() if value is not None}


def stage_seconds(folder: RunFolder) -> dict[str, float]:
    """Wall time of the stages before this one, as they noted it."""
    return {"train": training_summary(folder).seconds, "sample": drawn(folder).total}


def gpu_hours(folder: RunFolder, seconds: Mapping[str, float], device: str) -> dict[str, dict[str, float]]:
    """GPU-hours by stage and by what it ran on, 0 on a processor; training counts one a process.

    Args:
        seconds: of each stage.
        device: of the evaluation by name, and of stages that do not say theirs.
    """
    summary = training_summary(folder)
    trained = summary.process_seconds
    used = {
        "train": by_device(
            seconds["train"] * summary.processes if trained is None else trained, summary.device or device
        ),
        "sample": drawn(folder, device).seconds,
        "evaluate": {device: seconds["evaluate"]},
    }
    return {
        stage: {name: 0.0 if schema.on_processor(name) else value / 3600 for name, value in found.items() if value}
        for stage, found in used.items()
    }


def make_record(
    job: Job,
    folder: RunFolder,
    extractor: FeatureExtractor,
    reference: LoadedReference,
    metrics: dict[str, Metric],
    context: dict[str, float],
    seconds: dict[str, float],
    device: torch.device,
) -> Record:
    """The measurement with its protocol and provenance."""
    protocol = Protocol(
        weights_digest=extractor.digest,
        resize=extractor.protocol,
        reference=reference.described,
        **implied.protocol(job.run),
    )
    here = facts(device)
    summary = training_summary(folder)
    if summary.device:
        here |= {f"device{schema.TRAINING}": summary.device, f"processes{schema.TRAINING}": summary.processes}
    name = str(here.pop("device"))
    if ways := drawn(folder).network:
        here["network while sampling"] = ", ".join(ways)
    provenance = collect(
        device=name,
        seconds=seconds,
        gpu_hours=gpu_hours(folder, seconds, name),
        versions={name: str(value) for name, value in here.items()},
        snapshot=folder.description,
    )
    return schema.make(
        job.run,
        names=names_of(job),
        label=job.label,
        scale=job.scale,  # type: ignore[arg-type]
        metrics=metrics,
        protocol=protocol,
        provenance=provenance,
        context=context,
    )


def names_of(job: Job) -> tuple[str, ...]:
    """All rows that ask for this very measurement, the job's own first; seeds are the request's and no row's."""
    asked = job.run.row_id
    others = [other.name for other in jobs.standing(job.scale) if other.name != job.name and other.run.row_id == asked]
    return (job.name, *others)
