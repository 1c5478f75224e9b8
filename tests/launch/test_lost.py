"""Imported checkpoints that are not here: no stage that needs one is begun or priced as a training."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hdit_repro.errors import UserError
from hdit_repro.files import write_json
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import required, tasks_for
from hdit_repro.launch.images import unseen
from hdit_repro.launch.lost import lost_words, refuse_lost
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.slow import on_cpus
from hdit_repro.launch.slurm.draft import draft
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.submit import submit
from hdit_repro.records.layout import Roots, RunFolder

DIGEST = "5" * 64


@pytest.fixture(autouse=True)
def two_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of weights of others, and beside it one that is trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HDIT_REPRO_DATA", raising=False)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "two.toml").write_text(
        'experiment = "two"\ntitle = "Two"\n[row.ours]\nextends = "table1/D"\n'
        f'[row.theirs]\nextends = "table1/E"\ntraining = {{ imported = "{DIGEST}" }}\n'
    )


def bring(roots: Roots) -> None:
    """What an import leaves."""
    (job,) = wanted("two/theirs", "paper")
    folder = RunFolder(roots, job.run, job.scale)
    write_json(folder.final_marker, {"file": "step.safetensors", "run": job.run.training_id})
    (folder.checkpoints / "step.safetensors").touch()


def test_a_plan_shows_the_other_rows_and_prices_no_training_of_what_was_imported(roots: Roots) -> None:
    asked, cluster = wanted("two", "paper"), read_cluster("a100")
    ours, theirs = (stage for stage in make_plan(asked, roots, cluster) if stage.stage == "train")
    assert (theirs.run, theirs.state, theirs.gpus, theirs.gpu_hours, theirs.hours) == ("two/theirs", "missing", 0, 0, 0)
    assert theirs.room.memory == 0
    assert 0 < theirs.disk < ours.disk
    assert "import" in theirs.basis
    assert ours.gpu_hours > 0
    left = required(tasks_for(asked, roots))
    (line,) = lost_words(left)
    assert all(word in line for word in ("two/theirs", DIGEST, "hdit-repro import --from k-diffusion"))
    bring(roots)
    assert lost_words(required(tasks_for(asked, roots))) == []


def test_what_cannot_be_trained_wants_no_data_set_and_no_card(roots: Roots) -> None:
    (train, *_) = required(tasks_for(wanted("two/theirs", "paper"), roots))
    ours = required(tasks_for(wanted("two/ours", "paper"), roots))[0]
    local = read_cluster("local")
    assert (unseen([train], local), bool(unseen([ours], local))) == ([], True)
    assert (on_cpus([train], local, "cpu"), bool(on_cpus([ours], local, "cpu"))) == ("", True)


def test_a_submission_is_refused_before_anything_of_it_is_written(roots: Roots) -> None:
    asked, slurm, local = wanted("two", "paper"), read_cluster("a100"), read_cluster("local")
    assert isinstance(slurm, Slurm)
    with pytest.raises(UserError) as here:
        submit(asked, roots, local)
    with pytest.raises(UserError) as there:
        draft(asked, roots, slurm, {}, allow_dirty=True)
    for caught in (here, there):
        assert caught.value.problem == "this run's weights were trained elsewhere, and they are not here"
        assert "two/theirs: no " in str(caught.value.found)
        assert DIGEST in str(caught.value.expected)
        assert caught.value.fix.endswith("ask for the other rows alone")
    assert list(roots.runs.iterdir()) == []
    bring(roots)
    assert draft(asked, roots, slurm, {}, allow_dirty=True).left


def test_all_that_are_lost_are_named_at_once(roots: Roots) -> None:
    (job,) = wanted("two/theirs", "paper")
    training = msgspec.structs.replace(job.run.training, imported="6" * 64)
    other = msgspec.structs.replace(job, row="others", run=msgspec.structs.replace(job.run, training=training))
    with pytest.raises(UserError) as caught:
        refuse_lost(required(tasks_for([job, other], roots)))
    assert [line.partition(":")[0] for line in str(caught.value.found).splitlines()] == ["two/theirs", "two/others"]
    assert str(caught.value.expected).splitlines() == [f"the file with SHA-256 {digit * 64}" for digit in "56"]
    assert "other rows" not in caught.value.fix
