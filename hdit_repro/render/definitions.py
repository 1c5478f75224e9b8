"""The tables, declared: which print, which columns, where each comes from."""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.jobs import SCALES
from hdit_repro.records.schema import FLOOR, LOSS_CONSTANT, LOSS_END, UNTRAINED
from hdit_repro.render.columns import Column, Difference, FromLedger, Guidance, Label, Ours
from hdit_repro.render.companions import Context, Ratio, Smaller
from hdit_repro.render.costs import Complexity, Counted, Parameters
from hdit_repro.render.rows import INCEPTION_SCORE, PRECISION, RECALL
from hdit_repro.render.settled import Doubted, Settled, Spent

FORMATS = ("md", "tex", "csv")
DHARIWAL_NICHOL = "FID by the implementation of Dhariwal & Nichol, 2021 (Section 5.1)"
"""What the paper says of its FID; it does not name the reference file."""

PAPER_SCALE = " (paper scale)"
"""Added, below paper scale, to the headings of what is not of that scale."""

OTHERS = "Rows of other methods are as the paper prints them; they have no job here (–)."


class Table(NamedTuple):
    """A table.

    `ledger` is its name in tables/paper, empty where print has no such table; `experiment` is the one whose job file
    may have further rows; `protocol` is what the paper says of how its numbers were measured, empty where nothing is.
    `references` names jobs that are one of its rows but for what the images are compared with; the notes say both.
    """

    name: str
    ledger: str
    columns: tuple[Column, ...]
    experiment: str = ""
    protocol: str = ""
    title: str = ""
    scales: tuple[str, ...] = SCALES
    formats: tuple[str, ...] = FORMATS
    notes: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


CONFIGURATION = Column("label", "", "Configuration", Label(), left=True)
LETTERED = Column("label", "", "Configuration", Label(keyed=True), left=True)
PARAMETER = Column("label", "", "Parameter", Label(), left=True)
METHOD = Column("label", "", "Method", Label(), left=True)


def fid_columns(*, ranked: bool) -> tuple[Column, ...]:
    """Printed, ours, and how far apart."""
    return (
        Column("fid_printed", "FID", "printed", FromLedger("fid"), below=PAPER_SCALE),
        Column("ours", "{metric}", "ours", Ours(), below=", {scale}", better="lower" if ranked else None),
        Column("difference", "FID", "ours − printed", Difference("fid"), scales=("paper",)),
    )


def cost_columns(resolution: int) -> tuple[Column, Column]:
    """Printed and counted cost at a resolution (side in pixels)."""
    upper, key = f"GFLOP@{resolution}²", f"gflop-{resolution}"
    return (
        Column(f"gflop_{resolution}_printed", upper, "printed", FromLedger(key), below=PAPER_SCALE),
        Column(f"macs_{resolution}", upper, "counted", Counted(key, resolution), below=PAPER_SCALE),
    )


def settled_columns(key: str, upper: str, computed: str) -> tuple[Column, Column]:
    """Printed, and what the audit computes for the same cell."""
    return (
        Column(f"{key}_printed", upper, "printed", FromLedger(key), below=PAPER_SCALE),
        Column(key, upper, computed, Settled(key), below=PAPER_SCALE),
    )


TABLE_1 = Table(
    name="table1",
    ledger="table1",
    experiment="table1",
    protocol=DHARIWAL_NICHOL,
    columns=(
        LETTERED,
        *fid_columns(ranked=True),
        *cost_columns(128),
        Column("complexity_printed", "Complexity", "printed", FromLedger("complexity"), below=PAPER_SCALE),
        Column("complexity", "Complexity", "counted", Complexity("complexity"), below=PAPER_SCALE),
        *cost_columns(256),
        *cost_columns(512),
        Column("parameters", "Parameters", "counted", Parameters(), below=PAPER_SCALE),
    ),
    notes=(
        "R1 is sampled in 250 DDPM steps with learned σ(t), as its original publication has it, and all other rows in "
        "50 steps of DPM++.",
    ),
)

TABLE_1_CHECKS = Table(
    name="table1-checks",
    ledger="table1",
    experiment="table1",
    title="did training do anything?",
    scales=("mini", "smoke"),
    formats=("md",),
    columns=(
        LETTERED,
        Column("trained", "{metric}, {scale}", "trained", Ours(), better="lower"),
        Column("untrained", "{metric}, {scale}", "untrained", Context(UNTRAINED)),
        Column("ratio", "{metric}, {scale}", "trained / untrained", Ratio(UNTRAINED)),
        Column("floor", "{metric}, {scale}", "floor", Context(FLOOR)),
        Column("loss_end", "Training loss", "end", Context(LOSS_END)),
        Column("loss_constant", "Training loss", "best constant", Context(LOSS_CONSTANT)),
        Column("loss_below", "Training loss", "below?", Smaller(LOSS_END, LOSS_CONSTANT)),
    ),
    notes=(
        "untrained: the Fréchet distance of samples of the run's initial weights.",
        "floor: that distance of as many real images as there are samples.",
        "best constant: the training loss of the best predictor that ignores its input.",
    ),
)

TABLE_2 = Table(
    name="table2",
    ledger="table2",
    experiment="table2",
    protocol=DHARIWAL_NICHOL,
    columns=(CONFIGURATION, *fid_columns(ranked=True)),
    notes=("Learnable linear interpolation is Table 1's E: one run.",),
)

TABLE_3 = Table(
    name="table3",
    ledger="table3",
    protocol=f"{DHARIWAL_NICHOL}, of 50,000 samples unless a row says otherwise; the paper names no reference",
    columns=(METHOD, *fid_columns(ranked=False)),
    notes=(OTHERS,),
    references=("alternatives/ffhq1024-50k-reference",),
)

TABLE_4 = Table(
    name="table4",
    ledger="table4",
    protocol=f"FID and IS of 50,000 samples, without classifier-free guidance; {DHARIWAL_NICHOL}",
    columns=(
        METHOD,
        *settled_columns("params", "Params", "counted"),
        *settled_columns("images", "It. × BS", "computed"),
        *settled_columns("steps", "Steps", "computed"),
        *fid_columns(ranked=False),
        Column("is_printed", "IS", "printed", Doubted("is"), below=PAPER_SCALE),
        Column("is", "IS", "ours", Ours(INCEPTION_SCORE, digits=1, prefix="is"), scales=("paper",)),
        Column("is_difference", "IS", "ours − printed", Difference("is", INCEPTION_SCORE, 1), scales=("paper",)),
    ),
    notes=(OTHERS, "Steps are calls of the network a sample; a·b is a steps of b calls each."),
)

TABLE_5 = Table(
    name="table5",
    ledger="table5",
    experiment="table5",
    protocol=DHARIWAL_NICHOL,
    columns=(CONFIGURATION, *fid_columns(ranked=True)),
    notes=("SNR is Table 1's D and Soft-Min-SNR its E: the same runs.",),
)


def _job_columns(key: str, upper: str) -> tuple[Column, Column]:
    """A job of Table 6: print beside what its file says, or its records."""
    return (
        Column(f"{key}_printed", upper, "printed", FromLedger(key)),
        Column(key, upper, "job", Spent(key)),
    )


TABLE_6 = Table(
    name="table6",
    ledger="table6",
    scales=("paper",),
    columns=(
        PARAMETER,
        *_job_columns("ablation", "ImageNet-128² (Ablation E)"),
        *_job_columns("ffhq", "FFHQ-1024²"),
        *_job_columns("imagenet256", "ImageNet-256²"),
    ),
    notes=(
        "job: what the job files say, and what is counted from them. GFLOP in the paper means 10⁹ multiply-accumulates "
        "(MACs). Hardware and time are those of our records; a dagger marks what print and job disagree on.",
    ),
)

EDITION_2_TABLE_1 = Table(
    name="edition2-table1",
    ledger="edition2-table1",
    scales=("paper",),
    columns=(
        LETTERED,
        *settled_columns("relative-256", "GFLOP@256² relative to R1", "counted"),
        *settled_columns("relative-512", "GFLOP@512² relative to R1", "counted"),
    ),
    notes=("Only what the second edition's Table 1 has beyond the first edition's.",),
)

EDITION_2_TABLE_3 = Table(
    name="edition2-table3",
    ledger="edition2-table3",
    protocol=TABLE_3.protocol,
    columns=(
        METHOD,
        *fid_columns(ranked=False),
        Column("fd_dinov2_printed", "FD-DINOv2", "printed", FromLedger("fd-dinov2"), below=PAPER_SCALE),
        Column("kd_dinov2_printed", "KD-DINOv2", "printed", FromLedger("kd-dinov2"), below=PAPER_SCALE),
        *settled_columns("params", "Params", "counted"),
    ),
    notes=(OTHERS, "Distances on DINOv2 are not measured here: printed only."),
    references=TABLE_3.references,
)

EDITION_2_TABLE_5 = Table(
    name="edition2-table5",
    ledger="edition2-table5",
    experiment="edition2",
    protocol=DHARIWAL_NICHOL,
    columns=(
        LETTERED,
        *fid_columns(ranked=True),
        Column("parameters", "Parameters", "counted", Parameters(), below=PAPER_SCALE),
    ),
    notes=("E2 and E3 are rows of the first edition's Table 5, F1 and F2 of its Table 2; G and H are new.",),
)

EDITION_2_TABLE_6 = Table(
    name="edition2-table6",
    ledger="edition2-table6",
    experiment="scaling",
    protocol=DHARIWAL_NICHOL,
    columns=(
        CONFIGURATION,
        *fid_columns(ranked=True),
        Column("params_printed", "Parameters", "printed", FromLedger("params"), below=PAPER_SCALE),
        Column("parameters", "Parameters", "counted", Parameters("params"), below=PAPER_SCALE),
        Column("gflop_printed", "GFLOP@256²", "printed", FromLedger("gflop"), below=PAPER_SCALE),
        Column("macs", "GFLOP@256²", "counted", Counted("gflop"), below=PAPER_SCALE),
    ),
)

EDITION_2_TABLE_7 = TABLE_6._replace(name="edition2-table7", ledger="edition2-table7")

SWEEP = tuple(f"{patch}-{size}" for patch in ("p16", "p8", "p4") for size in ("s", "m", "l"))

EDITION_2_TABLE_8 = Table(
    name="edition2-table8",
    ledger="edition2-table8",
    scales=("paper",),
    columns=(PARAMETER, *(column for name in SWEEP for column in _job_columns(name, name))),
    notes=(*TABLE_6.notes, "Columns are named after the jobs of the sweep: patch size, then small, medium or large."),
)

GUIDANCE = Table(
    name="guidance",
    ledger="",
    experiment="guidance",
    title="Guidance sweep",
    scales=("mini", "smoke"),
    columns=(
        CONFIGURATION,
        Column("guidance", "", "w", Guidance()),
        Column("ours", "{metric}, {scale}", "ours", Ours(), better="lower"),
        Column("untrained", "{metric}, {scale}", "untrained", Context(UNTRAINED)),
        Column(
            "precision",
            "Precision and recall, {scale}",
            "precision",
            Ours(PRECISION, digits=3, prefix="precision"),
            better="higher",
        ),
        Column(
            "recall",
            "Precision and recall, {scale}",
            "recall",
            Ours(RECALL, digits=3, prefix="recall"),
            better="higher",
        ),
    ),
    notes=(
        "Figure 9 sets FID against Inception Score, which are measured at paper scale only. Below it the sweep stands "
        "under the names of the metrics that it has: `guidance.svg` draws what is measured of them over the weight w.",
        "untrained: the Fréchet distance of samples of the run's initial weights.",
        "Precision and recall are of the row's feature network (k = 3).",
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        TABLE_1,
        TABLE_1_CHECKS,
        TABLE_2,
        TABLE_3,
        TABLE_4,
        TABLE_5,
        TABLE_6,
        EDITION_2_TABLE_1,
        EDITION_2_TABLE_3,
        EDITION_2_TABLE_5,
        EDITION_2_TABLE_6,
        EDITION_2_TABLE_7,
        EDITION_2_TABLE_8,
        GUIDANCE,
    )
}
