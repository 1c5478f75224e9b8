"""One run's samples under several protocols, so that their difference is seen: `hdit-repro eval --protocol all`."""

from __future__ import annotations

from collections.abc import Sequence

from hdit_repro.errors import UserError
from hdit_repro.jobs import Job
from hdit_repro.metrics.extractors import FeatureExtractor, extractor_by_name
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.schema import asked_samples
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import AdmReference, MetricKind, metric_names
from hdit_repro.stages.compare import Progress, Row, gather
from hdit_repro.stages.device import prepare
from hdit_repro.stages.export import SampleSet
from hdit_repro.stages.external import images_of
from hdit_repro.stages.imagesets import ImageSet
from hdit_repro.stages.measure import Sides, measure
from hdit_repro.stages.reference import LoadedReference, load_reference, of_dataset
from hdit_repro.stages.settings import Settings
from hdit_repro.stages.shards import sample_command


def by_protocol(
    job: Job,
    folder: RunFolder,
    settings: Settings,
    protocols: Sequence[str],
    kinds: Sequence[MetricKind],
    progress: Progress,
) -> list[Row]:
    """The metrics `kinds` of a run's kept samples on each feature network; writes nothing but cached references.

    The reference is the one that the run's job names, on its own network; on others, where ADM's statistics do not
    exist, the run's data set. A network whose weights are missing has a note for its values, and so has a metric that
    these samples or this reference cannot give.

    Raises:
        RunError: samples are missing or were not kept.
        UserError: the data set is missing.
    """
    device = prepare(settings)
    samples: ImageSet = images_of(job.run) if job.run.external else SampleSet(folder, job.name, sample_command(job))
    asked = asked_samples(job.scale, job.run.sampling.count)  # type: ignore[arg-type]
    rows: list[Row] = []
    for protocol in protocols:
        names = [name for kind in kinds for name in metric_names(kind, protocol)]
        try:
            extractor = extractor_by_name(protocol, device)
        except UserError as error:
            rows += [Row(protocol, name, None, f"{error.problem}; {error.fix}") for name in names]
            continue
        reference = _reference(job, extractor, progress)
        features = gather(samples, extractor, settings.batch, progress)
        for kind in kinds:
            rows += _rows(kind, protocol, Sides(features, reference), asked, job.name)
    return rows


def _rows(kind: MetricKind, protocol: str, sides: Sides, asked: int, base: str) -> list[Row]:
    """The rows of one kind of metric; a note where these samples or this reference cannot give it."""
    names = metric_names(kind, protocol)
    if not names:
        return []
    try:
        found = measure([kind], protocol, sides, asked, base)
    except UserError as error:
        return [Row(protocol, name, None, error.problem) for name in names]
    count = len(next(iter(sides.samples.values())))
    note = f"{count:,} samples against {_said(sides.reference)}"
    return [Row(protocol, name, metric, note) for name, metric in found.items()]


def _reference(job: Job, extractor: FeatureExtractor, progress: Progress) -> LoadedReference:
    def on_reference(done: int, of: int) -> None:
        progress("reference", done, of)

    spec = job.run.evaluation.reference
    if kind_of(job.run.evaluation.extractor) == extractor.name or not isinstance(spec, AdmReference):
        return load_reference(job.run, extractor, on_reference)
    return of_dataset(job.run, extractor, None, on_reference)


def _said(reference: LoadedReference) -> str:
    described = reference.described
    return f"{described.name}, {described.count:,} images" if described.count else described.name
