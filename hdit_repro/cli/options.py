"""Options that several commands share, declared once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.spec.data import Folder

RUN_HELP = "A run by its name, as `hdit-repro list` prints it: experiment/row, or an experiment with one row."
EXPERIMENT_HELP = "An experiment, as `hdit-repro list` prints it, or one row of it."

Run = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)]
RunOption = Annotated[str, typer.Option("--run", metavar="RUN", help=RUN_HELP)]
Experiment = Annotated[str, typer.Argument(metavar="EXPERIMENT", help=EXPERIMENT_HELP)]
Scale = Annotated[str, typer.Option("--scale", metavar="SCALE", help="paper, mini (one GPU) or smoke (a CPU).")]
Cluster = Annotated[
    str,
    typer.Option("--cluster", metavar="NAME", envvar="HDIT_REPRO_CLUSTER", help="A profile of jobs/clusters/."),
]
Place = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="NAME",
        envvar="HDIT_REPRO_CLUSTER",
        help="A profile of jobs/clusters/: look where it keeps runs. All that was submitted there counts, to whatever "
        "cluster.",
    ),
]
Rows = Annotated[str | None, typer.Option("--rows", metavar="A,E", help="Only these rows.")]
Seeds = Annotated[int, typer.Option("--seeds", metavar="N", help="Run seeds 0 to N - 1.")]
SamplingSeeds = Annotated[
    int, typer.Option("--sampling-seeds", metavar="N", help="Draw and measure N sets of samples of each network.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, whatever it costs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

OwnData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Run on a folder or an archive of images; its name and contents are part of the run.",
    ),
]


def own_data(path: Path | None, note: bool = True) -> Folder | None:
    """The data set under a path, by what it holds; None where no path is given.

    Args:
        path: a folder or an archive.
        note: remember where it lies, for the stages that will look for it.
    """
    if path is None:
        return None
    from hdit_repro.cli.output import remark
    from hdit_repro.data.places import describe, remember

    dataset = describe(path, remark)
    if note:
        remember(dataset, path)
    return dataset


def large_enough(path: Path | None, jobs: Iterable[Job]) -> None:
    """Of the archive under a path, that no run would enlarge its images. A folder says nothing of their size, and
    is not listed for it.

    Raises:
        UserError: one would.
    """
    if path is not None and path.is_file():
        from hdit_repro.data.places import refuse_enlarging
        from hdit_repro.data.store import open_store

        refuse_enlarging(open_store(path), max(job.run.data.resolution for job in jobs))


def on_data(path: Path | None) -> str:
    """What a command that can be pasted needs besides, for the data set under a path; empty where none is given."""
    return "" if path is None else f" --data {quote(str(path))}"


def names(text: str | None) -> list[str] | None:
    """The names in "A,E"; None where nothing was said."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
