"""Job files: what they say, what follows, and what is refused."""

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.jobs.merge import flatten, overlay
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.diffusion import Gaussian

TABLE1 = ["R1", "R2", "R3", "R4", "A", "B1", "B2", "C", "D", "E"]


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


@pytest.mark.parametrize(("scale", "most"), [("mini", 6_000), ("smoke", 500)])
def test_no_row_of_a_smaller_scale_has_the_papers_growth(scale, most):
    assert all(job.run.training.total_steps <= most for job in jobs.all_jobs(scale))


def test_a_row_that_differs_in_sampling_alone_shares_its_training_at_every_scale():
    for scale in jobs.SCALES:
        base, other = (jobs.find(name, scale).run for name in ("imagenet256", "alternatives/imagenet256-sigma-1000"))
        assert other.training_id == base.training_id
        assert other.evaluation == base.evaluation


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
        '[smoke.row."mine/wide"]\nevaluation = { metrics = ["frechet", "kernel"] }\ntraining = { batch = 8 }\n',
        encoding="utf-8",
    )
    mine = jobs.find("mine", "smoke").run
    assert (mine.training.steps, mine.training.batch) == (7, 8)
    assert mine.evaluation.metrics == ("frechet", "kernel")
    assert (mine.model.widths, mine.data, mine.sampling) == (theirs.model.widths, theirs.data, theirs.sampling)
    assert jobs.find("table1/E", "smoke").run.training.batch == theirs.training.batch
    assert jobs.find("mine").run.training.steps == jobs.find("table1/E").run.training.steps
    (tmp_path / "jobs" / "scales.toml").write_text("[smoke.all]\ntrainin = { steps = 7 }\n", encoding="utf-8")
    with pytest.raises(UserError, match="did you mean 'training'"):
        jobs.find("mine", "smoke")


def test_a_folder_of_the_users_comes_first(folder):
    folder("mine", '[row.wide]\nextends = "table1/E"\nmodel = { depths = [2, 12] }\n')
    assert "mine" in jobs.experiments()
    assert jobs.find("mine").run.model.depths == (2, 12)


def test_a_remark_may_be_on_a_field_of_another_kind_of_network(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\nsource = { "model.patch" = "me", "model.ratio" = "me" }\n')
    assert jobs.find("mine/x").run.model == jobs.find("table1/E").run.model


def test_a_chain_of_extends_may_be_long(folder):
    last = 1_500
    rows = [f'[row.r{i}]\nextends = "{f"r{i - 1}" if i else "table1/E"}"\n' for i in range(last + 1)]
    folder("mine", "".join(rows) + "training = { batch = 8 }\n")
    found = jobs.find(f"mine/r{last}")
    assert found.run.training.batch == 8
    assert found.run.model == jobs.find("table1/E").run.model


def test_a_byte_order_mark_is_no_part_of_a_file(folder):
    path = folder("mine", '[row.x]\nextends = "table1/E"\nmodel = { depths = [2, 12] }\n')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert jobs.find("mine/x").run.model.depths == (2, 12)
    path.write_bytes(path.read_bytes().replace(b"depths", b"depthz"))
    with pytest.raises(UserError, match=r"mine\.toml:4, row x"):
        jobs.find("mine/x")
    path.write_text('\ufeff[row.x]\nextends = "table1/E"\nmodel = { depthz = [2, 12] }\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.toml:3, row x"):
        jobs.find("mine/x")


@pytest.mark.parametrize("name", ["w1.0", "E+aug", "a b", "é", "x_2-y", "γ=4"])
def test_other_names_of_rows_stand(folder, name):
    folder("mine", f'[row."{name}"]\nextends = "table1/E"\n[row.other]\nextends = "{name}"\n')
    assert [job.row for job in jobs.load("mine")] == [name, "other"]
    assert jobs.find(f"mine/{name}").row == name


def test_a_base_that_one_row_uses_stands(folder):
    assert jobs.read("table1").base
    folder("mine", '[base]\n[row.x]\nextends = "table1/E"\n')  # says nothing
    assert jobs.find("mine").row == "x"


def test_a_row_is_worked_out_once_for_each_state_of_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    own, scales = tmp_path / "jobs" / "own.toml", tmp_path / "jobs" / "scales.toml"
    own.write_text('experiment = "own"\ntitle = "Own"\n[row.own]\nextends = "table1/E"\n')
    first = jobs.find("own", "smoke")
    assert jobs.find("own", "smoke") is first
    assert jobs.find("own", "smoke", seed=1).run.seed == 1
    scales.write_text("[smoke.all]\ntraining = { steps = 7 }\n")
    assert jobs.find("own", "smoke").run.training.steps == 7
    own.write_text(own.read_text() + "training = { batch = 12 }\n")
    assert jobs.find("own").run.training.batch == 12
    scales.unlink()
    assert jobs.find("own", "smoke").run.training.steps == first.run.training.steps
