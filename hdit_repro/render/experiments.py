"""The table of one experiment that print has no table of: a user's own job file, or one of the project's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from shlex import quote
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.summary import summarise
from hdit_repro.errors import UserError
from hdit_repro.jobs import Job
from hdit_repro.jobs.submitting import submitting
from hdit_repro.paper import Ledger
from hdit_repro.records.rows import of_row
from hdit_repro.records.schema import METRICS, asked_samples, metric_name
from hdit_repro.render import measured
from hdit_repro.render.cells import decimals
from hdit_repro.render.columns import MEASURED_DIGITS, Column
from hdit_repro.render.contrasts import Contrast, contrasts
from hdit_repro.render.definitions import LETTERED, TABLES, Table
from hdit_repro.render.experiment_columns import Change, Extends, Macs, Named, Samples, Seeds, Size
from hdit_repro.render.notes import left_out
from hdit_repro.render.rows import Row, row_of
from hdit_repro.render.sheet import DISPLAY, Sheet, build
from hdit_repro.render.tables import Material
from hdit_repro.spec.data import Folder
from hdit_repro.spec.run import Run

PREFIX = "experiment-"
"""Before an experiment's name, so that its table lies over none of the paper's, whatever it is called."""

BASELINES = "Baselines"
"""Over the rows of other files that the experiment's extend."""


class Own(NamedTuple):
    """An experiment's rows in the order of its file, then those of other files that they extend.

    `extended` is by row: the key of what it extends, where that stands in the table. `contrasts` are by row, each
    against what it extends. `refused` are rows that cannot be at the scale: the experiment's, and what its rows extend.
    """

    rows: tuple[Row, ...]
    extended: Mapping[str, str]
    contrasts: Mapping[str, Sequence[Contrast]]
    refused: tuple[tuple[str, str], ...]


def sheet_of_experiment(experiment: str, given: Material, dataset: Folder | None = None) -> Sheet:
    """The table of an experiment at the scale of what is given, from its job file and its records. Rows that cannot be
    at this scale are left out, and the notes name them.

    Args:
        experiment: its name.
        given: records and ledger.
        dataset: the user's own images, which its runs are on; the table's name has theirs behind it.

    Raises:
        UserError: an unknown experiment, or one of which no row can be at this scale.
    """
    own = _own(experiment, given, dataset)
    table = Table(
        name=file_name(experiment, dataset),
        ledger="",
        experiment=experiment,
        title=_title(experiment, dataset),
        columns=tuple(_columns(own, experiment)),
        notes=tuple(_notes(own, experiment, given.scale, dataset)),
    )
    return build(table, None, own.rows, given.scale, given.problems, given.folder)


def file_name(experiment: str, dataset: Folder | None = None) -> str:
    """What the table of an experiment is called, on the project's images or on the user's own."""
    return PREFIX + experiment + (f"-{dataset.name}" if dataset else "")


def measured_experiments(given: Material) -> list[tuple[str, Folder | None]]:
    """The experiments with records that no table of the paper shows, and those with records of the user's own images:
    of two folders of one name the one that was measured last."""
    folders: dict[str, Folder] = {}
    for record in sorted(given.records, key=lambda record: record.provenance.time):
        if isinstance(record.spec.data.dataset, Folder) and not record.spec.external:
            folders[record.spec.data.dataset.name] = record.spec.data.dataset
    asked: list[tuple[str, Folder | None]] = [(name, None) for name in _unprinted(given.ledger)]
    asked += [(name, folder) for folder in folders.values() for name in jobs.experiments()]
    found = []
    for experiment, dataset in asked:
        with contextlib.suppress(UserError):
            runs = [job.run for job in jobs.rows_of(experiment, given.scale, dataset)[0]]
            if any(of_row(given.source.records, given.scale, run) for run in runs if _on(run, dataset)):
                found.append((experiment, dataset))
    return found


def _on(run: Run, dataset: Folder | None) -> bool:
    """Whether a run is on those images: images that others made are on none but their own."""
    return dataset is None or (run.data.dataset == dataset and not run.external)


def _unprinted(ledger: Ledger) -> list[str]:
    printed = {row.run.partition("/")[0] for table in ledger.tables.values() for row in table.rows if row.run}
    printed |= {table.experiment for table in TABLES.values()}
    return [name for name in jobs.experiments() if name not in printed]


def _title(experiment: str, dataset: Folder | None) -> str:
    """With the experiment's name in front, so that no title of a user's reads as one of the paper's tables."""
    title = jobs.read(experiment).title
    images = f" on {dataset.name}, {dataset.images:,} images" if dataset else ""
    return f"Experiment {experiment}{images}" + ("" if title == experiment else f": {title}")


def _own(experiment: str, given: Material, dataset: Folder | None) -> Own:
    declared, errors = jobs.rows_of(experiment, given.scale, dataset)
    if errors and not declared:
        raise errors[0]
    rows = {job.row: row_of(given.source, job, job.row) for job in declared}
    refused = [(experiment, row) for row in jobs.read(experiment).rows if row not in rows]
    measurements = Measurements(given.records, given.scale)  # type: ignore[arg-type]
    extended: dict[str, str] = {}
    found: dict[str, Sequence[Contrast]] = {}
    for job in declared:
        name = jobs.parent(experiment, job.row)
        if name is None:
            continue
        try:
            (baseline,) = jobs.load(name[0], given.scale, [name[1]], dataset=dataset)
        except UserError:
            refused.append(name)
            continue
        key = baseline.row if baseline.experiment == experiment else baseline.name
        rows.setdefault(key, row_of(given.source, baseline, key)._replace(group=BASELINES))
        extended[job.row] = key
        found[job.row] = contrasts((job, baseline), measurements)
    return Own(tuple(rows.values()), extended, found, tuple(dict.fromkeys(refused)))


def _columns(own: Own, experiment: str) -> Iterator[Column]:
    yield LETTERED
    if own.extended:
        yield Column("extends", "", "Extends", Extends(own.extended), left=True)
    yield Column("parameters", "", "Parameters", Size())
    yield Column("macs", "", "10⁹ MACs", Macs())
    yield Column("seeds", "", "Seeds", Seeds())
    yield Column("samples", "", "Samples", Samples())
    for name in _metrics(own.rows, experiment):
        base, _, samples = name.partition("@")
        upper = DISPLAY.get(base, base) + (f"@{samples}" if samples else "")
        source = Named(name, _digits(own.rows, name), name)
        yield Column(name, upper, "ours", source, below=", {scale}", better=METRICS[base])
        changes = {row: one for row, all_ in own.contrasts.items() for one in all_ if one.metric == name}
        if changes:
            yield Column(f"{name}_change", upper, "from what it extends", Change(name, changes), below=", {scale}")


def _metrics(rows: Sequence[Row], experiment: str) -> list[str]:
    """Those of the experiment's records; where it has none, of its baselines'; without either, the one it asks for."""
    mine = [row for row in rows if row.job and row.job.experiment == experiment]
    for some in (mine, rows):
        if names := dict.fromkeys(name for row in some for record in row.records for name in record.metrics):
            return list(names)
    return list(dict.fromkeys(_asked(row.job) for row in mine if row.job))


def _asked(job: Job) -> str:
    count = job.run.sampling.count
    return metric_name(measured.frechet_name(job.run), count, asked_samples(job.scale, count))  # type: ignore[arg-type]


def _digits(rows: Sequence[Row], metric: str) -> int:
    """Decimals at which each number of a column shows three digits."""
    numbers = [number.mean for row in rows if (number := summarise(row.records, metric))]
    return max((decimals(number, MEASURED_DIGITS) for number in numbers), default=MEASURED_DIGITS)


def _notes(own: Own, experiment: str, scale: str, dataset: Folder | None) -> Iterator[str]:
    sides = sorted({row.job.run.data.resolution for row in own.rows if row.job and not row.job.run.external})
    if sides:
        yield (
            f"Parameters and MACs are counted from the configurations at {scale} scale. MACs are multiply-accumulates, "
            f"of one forward pass of one image at {', '.join(f'{side}²' for side in sides)}; a MAC is two "
            "floating-point operations."
        )
    yield from left_out(own.refused, scale, " --data PATH" if dataset else "")
    some = any(row.records for row in own.rows)
    for row in own.rows:
        if some and row.job and row.job.experiment != experiment and not row.records:
            missing = f"{quote(row.job.experiment)} --rows {quote(row.job.row)}"
            yield f"{row.key} is not measured at {scale} scale: `{submitting(missing, scale, row.job.on_data)}`."
    tests: dict[str, list[str]] = {}
    for name, contrast in chain(*([(name, one) for one in found] for name, found in own.contrasts.items())):
        if contrast.otherwise:
            yield (
                f"Not set against each other ({name}, {own.extended[name]}): {contrast.metric} was measured otherwise "
                f"({contrast.otherwise})."
            )
        elif contrast.same:
            yield f"{name} and {own.extended[name]} are one run at {scale} scale, and are not set against each other."
        else:
            tests.setdefault(contrast.test or contrast.words(), []).append(f"{name}: {contrast.metric}")
    if tests:
        yield (
            "From what it extends: the row's mean less that of the row it extends, relative, as `hdit-repro compare` "
            "has it, with a 95 % interval where luck is known; an interval that holds 0 tells nothing from luck. Each "
            "is tested alone."
        )
    for test, names in tests.items():
        yield f"Test ({', '.join(names)}): {test}."
