"""Where a value comes from: a remark speaks of the table that it was written on, and not of another kind's."""

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.jobs.files import PARTS, read_experiment
from hdit_repro.jobs.merge import flatten
from hdit_repro.jobs.resolve import parent
from hdit_repro.jobs.scales import scale_overlays
from hdit_repro.spec.base import kind_of


def layers(job):
    """What is laid over another for a job, lowest first: values by dotted name, and the texts that may stand there."""
    rows, below = [], (job.experiment, job.row)
    while below is not None:
        rows.insert(0, below)
        below = parent(*below)
    base = read_experiment(rows[0][0]).base
    bodies = [(base, "")] + [(read_experiment(file).rows[row], f"row {row}") for file, row in rows]
    found = [
        (flatten({k: v for k, v in body.items() if k in PARTS}), body.get("source", {}), name) for body, name in bodies
    ]
    model = msgspec.to_builtins(jobs.find(job.name).run.model)
    overlays = scale_overlays(job.scale, job.experiment, job.row, model)
    found += [(flatten(overlay.table), {}, f"{job.scale} scale") for overlay in overlays]
    return [(values, {*map(str, flatten(remarks).values()), name}) for values, remarks, name in found]


def deciding(values_of_layers):
    """Dotted name of each table with a kind -> the layer that made it of that kind."""
    kinds, found = {}, {}
    for number, values in enumerate(values_of_layers):
        for name, kind in sorted(values.items()):
            table, _, key = name.rpartition(".")
            if key == "kind" and kinds.get(table) != kind:
                for inner in [known for known in kinds if f"{known}.".startswith(f"{table}.")]:
                    if found[inner] < number:
                        del kinds[inner], found[inner]
                kinds[table], found[table] = kind, number
    return kinds, found


FOLLOWS = {"the data's resolution", "the data's classes", "the replicate asked for", "the images that are measured"}


@pytest.mark.parametrize("scale", jobs.SCALES)
def test_no_source_is_older_than_the_kind_of_the_table_that_it_speaks_of(scale):
    checked = 0
    for job in jobs.all_jobs(scale):
        written = layers(job)
        kinds, found = deciding([values for values, _ in written])
        for field in flatten(msgspec.to_builtins(job.run)):
            source = job.source_of(field)
            around = [table for table in kinds if field.startswith(f"{table}.")]
            if source in FOLLOWS or not around:
                continue
            table = max(around, key=lambda name: found[name])
            allowed = set().union(*(texts for _, texts in written[found[table] :]))
            allowed |= {f"default of {kinds[name]}" for name in around}
            assert source in allowed, f"{job.name} at {scale} scale: {field}: {source}"
            checked += 1
    assert checked > 500


@pytest.mark.parametrize(
    ("body", "field", "default"),
    [
        (
            'extends = "table1/E"\ndiffusion = { weighting = { kind = "min_snr" } }',
            "diffusion.weighting.gamma",
            "min_snr",
        ),
        ('extends = "table1/E"\nmodel = { feed_forward = { kind = "gelu" } }', "model.feed_forward.ratio", "gelu"),
        ('extends = "table1/A"\nmodel = { feed_forward = { kind = "geglu" } }', "model.feed_forward.ratio", "geglu"),
        (
            'extends = "table1/E"\nsampling = { sampler = { kind = "dpmpp_2m_sde", steps = 18 } }',
            "sampling.sampler.eta",
            "dpmpp_2m_sde",
        ),
    ],
)
def test_what_a_row_leaves_unsaid_of_another_kind_is_that_kinds_default(folder, body, field, default):
    folder("mine", f"[row.x]\n{body}\n")
    table = field.rpartition(".")[0]
    job = jobs.find("mine/x")
    assert job.source_of(field) == f"default of {default}"
    assert job.source_of(f"{table}.kind") == "row x"
    folder(
        "mine",
        f'[row.x]\n{body}\nsource = {{ "{table}" = "me" }}\n[row.y]\nextends = "x"\ntraining = {{ batch = 8 }}\n',
    )
    assert jobs.find("mine/x").source_of(field) == jobs.find("mine/y").source_of(field) == "me"


def test_the_reference_of_a_scale_has_no_source_of_the_papers(folder):
    for name in ("table1/E", "imagenet256"):
        job = jobs.find(name, "mini")
        assert job.source_of("evaluation.reference.kind") == "mini scale", name
        assert job.source_of("evaluation.reference.count") == "default of dataset", name
    assert kind_of(jobs.find("ffhq1024").run.evaluation.reference) == "dataset"
    for scale in ("paper", "mini"):  # the row's own kind, whose remark holds of other images too
        assert "whole data set" in jobs.find("ffhq1024", scale).source_of("evaluation.reference.count")


def test_a_remark_further_out_speaks_of_the_kind_where_its_row_says_both(folder):
    folder(
        "mine",
        """
        [row.x]
        extends = "table1/E"
        diffusion = { weighting = { kind = "min_snr" } }
        source = { "diffusion" = "all of it mine" }
        [row.y]
        extends = "table1/E"
        source = { "evaluation" = "me", "evaluation.reference" = "me too" }
        [row.z]
        extends = "y"
        evaluation = { reference = { kind = "dataset" } }
        """,
    )
    x, y, z = (jobs.find(f"mine/{row}") for row in "xyz")
    assert x.source_of("diffusion.weighting.gamma") == x.source_of("diffusion.weighting.kind") == "all of it mine"
    assert y.source_of("evaluation.reference.name") == "me too"
    assert z.source_of("evaluation.reference.count") == "default of dataset"
    assert z.source_of("evaluation.metrics") == "me"
