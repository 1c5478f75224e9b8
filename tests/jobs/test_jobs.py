"""Job files: what they say, what follows, and what is refused."""

import textwrap
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.jobs.merge import flatten, overlay
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder
from hdit_repro.spec.diffusion import Gaussian
from hdit_repro.stages.evaluate import names_of

TABLE1 = ["R1", "R2", "R3", "R4", "A", "B1", "B2", "C", "D", "E"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a `jobs/` of its own; write(name, text) puts a file there."""
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / "jobs" / f"{name}.toml"
        path.write_text(f'experiment = "{name}"\n' + textwrap.dedent(text))
        return path

    return write


def test_table_1_has_its_ten_rows_in_the_papers_order():
    assert [job.row for job in jobs.load("table1")] == TABLE1


def test_each_row_changes_what_its_label_says():
    def change(row, of):
        new, old = (flatten(msgspec.to_builtins(jobs.find(f"table1/{name}").run)) for name in (row, of))
        return {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}

    assert change("B1", "A") == {"model.attention"}
    assert change("B2", "A") == {"model.attention"}
    assert change("C", "B2") == {"model.feed_forward.kind", "model.feed_forward.ratio", "model.mapping.activation"}
    assert change("D", "C") == {"model.position.kind"}
    assert change("E", "D") == {"diffusion.weighting.kind", "diffusion.weighting.gamma"}
    assert change("R4", "R3") == {"diffusion.weighting.kind", "diffusion.weighting.gamma"}
    assert change("R3", "A") == {"model.widths", "model.depths", "model.heads", "model.attention", "model.dropout"}


def test_rows_that_are_the_same_run_have_one_id():
    e, d = jobs.find("table1/E").run, jobs.find("table1/D").run
    assert jobs.find("table2/lerp").run.evaluation_id == e.evaluation_id
    assert jobs.find("table5/soft-min-snr").run.evaluation_id == e.evaluation_id
    assert jobs.find("table5/snr").run.evaluation_id == d.evaluation_id
    assert jobs.find("guidance/w1.0").run.evaluation_id == jobs.find("imagenet256").run.evaluation_id
    assert jobs.find("ffhq1024-5k").run.training_id == jobs.find("ffhq1024").run.training_id
    assert jobs.find("ffhq1024-5k").run.sampling_id != jobs.find("ffhq1024").run.sampling_id


def test_different_runs_have_different_ids():
    found = [(job.run.training_id, flatten(msgspec.to_builtins(job.run))) for job in jobs.all_jobs()]
    for number, (run_id, tree) in enumerate(found):
        for other_id, other in found[:number]:
            same = {k: v for k, v in tree.items() if not k.startswith(("sampling.", "evaluation."))} == {
                k: v for k, v in other.items() if not k.startswith(("sampling.", "evaluation."))
            }
            assert (run_id == other_id) == same


@pytest.mark.parametrize("scale", jobs.SCALES)
def test_every_job_stands_at_every_scale(scale):
    assert len(jobs.all_jobs(scale)) >= 40


@pytest.mark.parametrize("scale", ["mini", "smoke"])
def test_a_scale_keeps_what_the_experiment_is_about(scale):
    for paper in jobs.all_jobs():
        small = jobs.find(f"{paper.experiment}/{paper.row}", scale)
        assert small.run.sampling.sampler == paper.run.sampling.sampler
        if not isinstance(paper.run.diffusion, Gaussian):
            assert small.run.sampled_sigmas == paper.run.sampled_sigmas
        assert small.run.sampling.guidance == paper.run.sampling.guidance
        assert small.run.diffusion == paper.run.diffusion
        assert len(small.run.training.spans) == len(paper.run.training.spans)
        if hasattr(paper.run.model, "attention"):
            for field in ("attention", "position", "feed_forward", "norm", "gate", "skip", "similarity"):
                assert getattr(small.run.model, field) == getattr(paper.run.model, field)
            assert small.run.model.mapping.activation == paper.run.model.mapping.activation


def test_every_field_of_every_job_has_a_source():
    for job in jobs.all_jobs():
        missing = [field for field in flatten(msgspec.to_builtins(job.run)) if not job.source_of(field)]
        assert not missing, f"{job.name}: {missing}"


def test_what_the_paper_leaves_open_is_marked():
    a = jobs.find("table1/A")
    for field in ("model.position.kind", "model.similarity.kind", "training.ema.warmup_power", "sampling.sampler.eta"):
        assert a.source_of(field).startswith("fork: "), field
    for field in ("sampling.guidance", "evaluation.reference.kind"):
        assert a.source_of(field).startswith("inferred: "), field
    # R1 is DiT's own code, which the fork does not have.
    r1 = jobs.find("table1/R1")
    assert not [field for field, text in r1.sources.items() if text.startswith("fork")]
    assert a.source_of("model.widths") == "Table 6"
    assert jobs.find("table1/B2").source_of("model.attention") == "Table 6: kernel size 7"
    assert jobs.find("table1/E", "smoke").source_of("model.widths") == "smoke scale"


def test_sampling_begins_and_ends_where_the_fork_says_and_training_where_the_paper_does():
    ends = {"ffhq1024": (0.01, 640.0), "ffhq1024-5k": (0.01, 640.0), "table1/R2": (0.01, 157.4073)}
    for job in jobs.all_jobs():
        name = f"{job.experiment}/{job.row}"
        if isinstance(job.run.diffusion, Gaussian):
            assert job.run.sampling.sigma_min is job.run.sampling.sigma_max is msgspec.UNSET
        elif job.experiment != "alternatives":
            assert job.run.sampled_sigmas == ends.get(name, ends.get(job.experiment, (0.01, 160.0))), name
            assert (job.run.edm.sigma_min, job.run.edm.sigma_max) == (1e-3, 1e3), name
    for row in ("E", "ffhq1024", "imagenet256"):
        assert jobs.find(f"alternatives/{row}-sigma-1000").run.sampled_sigmas == (1e-3, 1e3)


def test_what_the_fork_settles_is_the_default_and_the_rest_an_alternative():
    def value(name, field):
        return flatten(msgspec.to_builtins(jobs.find(name).run))[field]

    for row in ("A", "B1", "B2", "C", "R3", "R4"):
        assert value(f"table1/{row}", "model.position.kind") == "sin-cos", row
    assert value("alternatives/A-learned", "model.position.kind") == "learned"
    for job in jobs.all_jobs():
        if not isinstance(job.run.diffusion, Gaussian) and job.experiment != "alternatives":
            assert job.run.training.ema.warmup_power == 0.75, job.name
        if job.experiment == "scaling":
            assert (kind_of(job.run.sampling.sampler), job.run.sampling.sampler.eta) == ("dpmpp_2m_sde_heun", 0)
    for row in ("E", "ffhq1024", "imagenet256"):
        assert value(f"alternatives/{row}-warmup-23", "training.ema.warmup_power") == 2 / 3
    for row, kind in (("3m", "dpmpp_3m_sde"), ("2m-midpoint", "dpmpp_2m_sde")):
        assert value(f"alternatives/p4-l-{row}", "sampling.sampler.kind") == kind


def test_a_seed_is_another_run():
    assert jobs.find("table1/E", seed=1).run.training_id != jobs.find("table1/E").run.training_id


def test_a_table_of_another_kind_replaces_the_one_below():
    below = {"w": {"kind": "min_snr", "gamma": 5.0}, "x": 1}
    assert overlay(below, {"w": {"kind": "snr"}}) == {"w": {"kind": "snr"}, "x": 1}
    assert overlay(below, {"w": {"gamma": 4.0}}) == {"w": {"kind": "min_snr", "gamma": 4.0}, "x": 1}
    assert below == {"w": {"kind": "min_snr", "gamma": 5.0}, "x": 1}


def test_the_users_scales_lie_over_the_projects(folder, tmp_path):
    theirs = jobs.find("table1/E", "smoke").run
    folder("mine", '[row.wide]\nextends = "table1/E"\n')
    (tmp_path / "jobs" / "scales.toml").write_text(
        "[smoke.all]\ntraining = { steps = 7 }\n"
        '[smoke.row."mine/wide"]\nevaluation = { metrics = ["frechet", "kernel"] }\ntraining = { batch = 8 }\n'
    )
    mine = jobs.find("mine", "smoke").run
    assert (mine.training.steps, mine.training.batch) == (7, 8)
    assert mine.evaluation.metrics == ("frechet", "kernel")
    assert (mine.model.widths, mine.data, mine.sampling) == (theirs.model.widths, theirs.data, theirs.sampling)
    assert jobs.find("table1/E", "smoke").run.training.batch == theirs.training.batch
    assert jobs.find("mine").run.training.steps == jobs.find("table1/E").run.training.steps
    (tmp_path / "jobs" / "scales.toml").write_text("[smoke.all]\ntrainin = { steps = 7 }\n")
    with pytest.raises(UserError, match="did you mean 'training'"):
        jobs.find("mine", "smoke")


def test_a_folder_of_the_users_comes_first(folder):
    folder("mine", '[row.wide]\nextends = "table1/E"\nmodel = { depths = [2, 12] }\n')
    assert "mine" in jobs.experiments()
    assert jobs.find("mine").run.model.depths == (2, 12)


REFUSED = {
    "a misspelt part": ("modle = { patch = 4 }", ["'modle'", "did you mean 'model'"]),
    "a misspelt key": ("model = { depthz = [1] }", ["'depthz'", "did you mean 'depths'", "mine.toml:4, row x"]),
    "a misspelt kind": (
        'model = { attention = [{ kind = "neighbourhood" }, { kind = "global" }] }',
        ["'neighbourhood'", "did you mean 'neighborhood'", "shifted-window"],
    ),
    "a misspelt choice": ('data = { transform = "admm" }', ["'admm'", "did you mean 'adm'"]),
    "a key of another kind": ('diffusion = { weighting = { kind = "snr", gamma = 5.0 } }', ["'gamma'"]),
    "a wrong type": ("training = { steps = 1.5 }", ["training.steps", "int", "float"]),
    "a wrong type of table": ("training = 3", ["training"]),
    "a misspelt data set": ('data = { dataset = { kind = "imagnet" } }', ["'imagnet'", "did you mean 'imagenet'"]),
    "a resolution that is no number": (
        'data = { resolution = "128" }',
        ["data.resolution: Expected `int`", "mine.toml:4"],
    ),
    "a wrong type of kind": ("data = { dataset = { kind = [] } }", ["data.dataset.kind", "str", "mine.toml:4"]),
    "a missing field": ('model = { kind = "dit", patch = 4, depth = 2 }', ["'width' is missing"]),
    "heads that do not divide": ("model = { heads = [5, 12] }", ["384", "no multiple of 5 heads"]),
    "levels that do not agree": ("model = { depths = [2] }", ["depths names 1 levels and widths 2"]),
    "a kernel too large": (
        'model = { attention = [{ kind = "neighborhood", kernel = 33 }, { kind = "global" }] }',
        ["kernel 33", "32 x 32"],
    ),
    "a window that does not divide": (
        'model = { attention = [{ kind = "shifted-window", window = 6 }, { kind = "global" }] }',
        ["window 6", "32 x 32"],
    ),
    "a resolution that does not divide": ("data = { resolution = 100 }", ["100 x 100", "multiples of 8"]),
    "images that would be enlarged": (
        'data = { dataset = { kind = "ffhq" }, resolution = 2048 }',
        ["data", "images of ffhq have 1024 pixels a side", "2048 would enlarge them"],
    ),
    "a sampler of another diffusion": ('sampling = { sampler = { kind = "ancestral" } }', ["ancestral", "edm"]),
    "a probability": ("training = { class_dropout = 1.5 }", ["class_dropout", "1.5"]),
    "a model that is no table": ("model = 3", ["model is a table", "model = 3", "mine.toml"]),
    "a source that is no table": ('source = "me"', ["source is a table"]),
    "a label that is no text": ("label = 3", ["label is a text"]),
    "a note that is no text": ("note = [1]", ["note is a text"]),
    "a group that is no text": ("group = 3", ["group is a text"]),
    "extends that is no name": ("extends = 3", ["extends", "3"]),
    "a parent that is not": ('extends = "table1/F"', ["row of table1", "'F'"]),
    "a source of no part": ('source = { "modl.widths" = "Table 6" }', ["modl", "did you mean 'model'"]),
    "a source of no field": (
        'source = { "model.widhts" = "Table 6" }',
        ["no field of model called 'widhts'", "source 'model.widhts'", "mine.toml:4", "did you mean 'widths'"],
    ),
    "a source of no field within a field": (
        "source = { training = { optimizer = { learning_rat = 'Table 6' } } }",
        ["no field of training.optimizer called 'learning_rat'", "did you mean 'learning_rate'"],
    ),
    "a source of no field within a value": ('source = { "model.widths.first" = "Table 6" }', ["'first'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder, name):
    text, wanted = REFUSED[name]
    folder(
        "mine",
        ("" if "extends" in text else '[row.x]\nextends = "table1/E"\n')
        + ("[row.x]\n" if "extends" in text else "")
        + text,
    )
    with pytest.raises(UserError) as caught:
        jobs.load("mine")
    for part in wanted:
        assert part in str(caught.value), str(caught.value)
    assert caught.value.exit_code == 2


def test_a_remark_in_base_on_no_field_is_refused(folder):
    folder("mine", '[base.source]\n"model.depthz" = "me"\n[row.x]\n')
    with pytest.raises(UserError, match=r"field of model called 'depthz'(.|\n)*mine\.toml, \[base\]"):
        jobs.load("mine")


def test_a_remark_may_be_on_a_field_of_another_kind_of_network(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\nsource = { "model.patch" = "me", "model.ratio" = "me" }\n')
    assert jobs.find("mine/x").run.model == jobs.find("table1/E").run.model


def test_a_circle_of_extends_is_refused(folder):
    folder("mine", '[row.x]\nextends = "y"\n[row.y]\nextends = "mine/x"\n')
    with pytest.raises(UserError, match=r"circle(.|\n)*mine\.toml:3"):
        jobs.load("mine")


def test_a_chain_of_extends_may_be_long(folder):
    last = 1_500
    rows = [f'[row.r{i}]\nextends = "{f"r{i - 1}" if i else "table1/E"}"\n' for i in range(last + 1)]
    folder("mine", "".join(rows) + "training = { batch = 8 }\n")
    found = jobs.find(f"mine/r{last}")
    assert found.run.training.batch == 8
    assert found.run.model == jobs.find("table1/E").run.model


def test_an_error_names_the_line(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\n\n[row.x.model]\nwidths = [384, 768]\ndepthz = [2, 11]\n')
    with pytest.raises(UserError, match=r"mine\.toml:7"):
        jobs.load("mine")
    folder("mine", '[row.y]\n[row.x]\nextends = "table1/EE"\n')
    with pytest.raises(UserError, match=r"table1/EE(.|\n)*mine\.toml:4"):
        jobs.load("mine", rows=["x"])


def test_a_file_that_is_no_toml_is_refused_with_its_line(folder):
    folder("mine", "[row.x\n")
    with pytest.raises(UserError, match="line 2"):
        jobs.load("mine")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"training = {{ steps = {'9' * 5000} }}", "digits"),
        (f"model = {{ widths = {'[' * 2000}{']' * 2000} }}", "recursion"),
    ],
    ids=["a number of thousands of digits", "lists too deep"],
)
def test_what_no_reader_of_toml_can_hold_is_refused(folder, text, why):
    folder("mine", f'[row.x]\nextends = "table1/E"\n{text}\n')
    with pytest.raises(UserError, match=rf"is no TOML(.|\n)*mine\.toml: .*{why}"):
        jobs.load("mine")


def test_a_byte_order_mark_is_no_part_of_a_file(folder):
    path = folder("mine", '[row.x]\nextends = "table1/E"\nmodel = { depths = [2, 12] }\n')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert jobs.find("mine/x").run.model.depths == (2, 12)
    path.write_bytes(path.read_bytes().replace(b"depths", b"depthz"))
    with pytest.raises(UserError, match=r"mine\.toml:4, row x"):
        jobs.find("mine/x")


def test_a_file_in_another_encoding_is_refused_with_what_mends_it(folder):
    path = folder("mine", '[row.x]\nextends = "table1/E"\n')
    path.write_bytes(path.read_bytes() + "# é\n".encode("latin-1"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        jobs.load("mine")


def test_a_file_that_says_another_name_is_refused(folder, tmp_path):
    folder("mine", '[row.x]\nextends = "table1/E"\n').rename(tmp_path / "jobs" / "yours.toml")
    with pytest.raises(UserError, match="own name"):
        jobs.load("yours")


@pytest.mark.parametrize("name", ["table1/F", "tabel1/E", "ffhq", "table1"])
def test_unknown_runs_are_refused_with_what_there_is(name):
    with pytest.raises(UserError) as caught:
        jobs.find(name)
    assert caught.value.expected


def test_a_broken_file_is_not_what_a_misspelt_run_is_refused_for(folder):
    folder("mine", "[row.x\n")
    with pytest.raises(UserError, match=r"no run called 'tabel1/E'(.|\n)*did you mean 'table1/E'"):
        jobs.find("tabel1/E")


def test_an_unknown_scale_is_refused():
    with pytest.raises(UserError, match="scale"):
        jobs.load("table1", "smok")


def test_rows_that_cannot_be_do_not_stand_in_the_way_of_others(folder, tmp_path):
    whole = {job.name for job in jobs.all_jobs("smoke")}
    folder(
        "deep", '[row.deep]\nextends = "table1/E"\nmodel = { dropout = [0.0, 0.0, 0.0] }\n[row.good]\nextends = "D"\n'
    )
    folder("ten", '[row.bad]\nextends = "table1/E"\nmodel = { classes = 10 }\n[row.good]\nextends = "table1/D"\n')
    folder("cut", "[row.x\n")
    with pytest.raises(UserError):
        jobs.all_jobs("smoke")
    assert {job.name for job in jobs.standing("smoke")} == whole | {"ten/good"}
    assert names_of(jobs.find("table1/E", "smoke"))[0] == "table1/E"


def test_a_link_that_leads_nowhere_is_no_job_file(folder, tmp_path):
    (tmp_path / "jobs" / "gone.toml").symlink_to(tmp_path / "nowhere.toml")
    assert "gone" not in jobs.experiments()
    assert jobs.find("table1/E").name == "table1/E"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('base = 3\n[row.x]\nextends = "table1/E"\n', "base is a table"),
        ('base = "model"\n[row.x]\nextends = "table1/E"\n', "base is a table"),
        ('title = 3\n[row.x]\nextends = "table1/E"\n', "title is a text"),
        ("[base]\ntraining = 3\n[row.x]\n", "training is a table"),
        ('[base.training]\nstepz = 3\n[row.x]\nextends = "table1/E"\n', "base. is used by no row"),
    ],
)
@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_a_file_of_wrong_types_is_refused(folder, text, wanted, scale):
    folder("mine", text)
    with pytest.raises(UserError, match=wanted):
        jobs.load("mine", scale)


@pytest.mark.parametrize("name", ["", "a/b", "p,q", "-r", " x", "new\\nline", "nul\\u0000"])
def test_a_row_that_no_command_can_name_is_refused(folder, name):
    folder("mine", f'[row."{name}"]\nextends = "table1/E"\n')
    with pytest.raises(UserError, match="name that no command can say"):
        jobs.load("mine")


@pytest.mark.parametrize("name", ["w1.0", "E+aug", "a b", "é", "x_2-y", "γ=4"])
def test_other_names_of_rows_stand(folder, name):
    folder("mine", f'[row."{name}"]\nextends = "table1/E"\n[row.other]\nextends = "{name}"\n')
    assert [job.row for job in jobs.load("mine")] == [name, "other"]
    assert jobs.find(f"mine/{name}").row == name


def test_levels_that_are_no_list_are_refused_at_every_scale(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\nmodel = { widths = 3 }\n')
    for scale in jobs.SCALES:
        with pytest.raises(UserError, match=r"mine\.toml:4(.|\n)*model\.widths"):
            jobs.load("mine", scale)


def test_a_base_that_one_row_uses_stands(folder):
    assert jobs.read("table1").base
    folder("mine", '[base]\n[row.x]\nextends = "table1/E"\n')  # says nothing
    assert jobs.find("mine").row == "x"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("smoke = 3", "smoke is a table"),
        ("[smoke]\nall = 3", "all is a table"),
        ("[smoke.shape]\nhourglass-2 = 3", "hourglass-2 is a table"),
        ("[smoke.all]\ntraining = 3", "training is a table"),
        ("[paper.all]\ntraining = { steps = 3 }", "no key called 'paper'"),
        ("[smoke.al]\ntraining = { steps = 3 }", "did you mean 'all'"),
        ("[smoke.shape.hourglas-2]\ntraining = { steps = 3 }", "did you mean 'hourglass-2'"),
        ("[smoke.experiment.tabel1]\ntraining = { steps = 3 }", "did you mean 'table1'"),
        ('[smoke.row."table1/EE"]\ntraining = { steps = 3 }', "row of table1 called 'EE'"),
        ('[mini.row."table11/E"]\ntraining = { steps = 3 }', "did you mean 'table1'"),
        ('\n[smoke.row."table1/E"]\ntraining = { stepz = 3 }', r'scales\.toml:3, \[smoke\.row\."table1/E"\]'),
        ("[smoke.all]\ntraining = { steps = 1.5 }", r"scales\.toml:2, \[smoke\.all\]: training\.steps"),
    ],
)
def test_scales_that_nobody_understands_are_refused(folder, tmp_path, text, wanted):
    (tmp_path / "jobs" / "scales.toml").write_text(text + "\n")
    with pytest.raises(UserError, match=wanted):
        jobs.find("table1/E", "smoke")


def test_a_broken_file_does_not_make_its_rows_scales_unknown(folder, tmp_path):
    folder("mine", "[row.x\n")
    (tmp_path / "jobs" / "scales.toml").write_text('[smoke.row."mine/x"]\ntraining = { steps = 3 }\n')
    assert jobs.find("table1/E", "smoke").row == "E"


def test_too_few_images_of_ones_own_are_no_fault_of_a_job_file():
    few = Folder(name="two", digest="0" * 64, images=2)
    with pytest.raises(UserError, match=r"too few images(.|\n)*--data: 2 in two"):
        jobs.find("table1/E", "smoke", dataset=few)
