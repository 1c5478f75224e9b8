"""One training, measured at several steps and with several averages: rows that differ in `sampling` alone."""

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.files import read_json
from hdit_repro.launch.describe import describe
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.job import settings_for
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.run import Run
from hdit_repro.stages import sample, train
from hdit_repro.stages.sample import trained_network
from hdit_repro.stages.settings import Settings

CPU = torch.device("cpu")
SETTINGS = Settings(device="cpu", threads=1, batch=2)


def row(**sampling):
    """Row E in miniature: four steps, two samples."""
    job = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(job.run)
    tree["training"] |= {"steps": 4, "batch": 2}
    tree["sampling"] |= {"count": 2, **sampling}
    return msgspec.structs.replace(job, run=msgspec.convert(tree, Run))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder of runs, and four rows of one training, which was told what they need."""
    folder = tmp_path_factory.mktemp("work")
    roots = Roots(folder / "runs", folder / "results")
    rows = [row(), row(at_step=2), row(ema_decay=0.1), row(at_step=2, ema_decay=0.1)]
    folders = [RunFolder(roots, job.run, job.scale) for job in rows]
    tasks = [task for task in tasks_for(rows, roots) if task.stage == "train"]
    assert len(tasks) == 1, "one training serves them all"
    settings = settings_for(tasks[0], SETTINGS)
    assert (settings.training.snapshots, settings.training.ema_decays) == ((2,), (0.1,))
    train.run(tasks[0].job, tasks[0].folder, settings, lambda _: None)
    return roots, rows, folders


def test_a_training_keeps_what_was_asked_of_it_at_any_time(tmp_path):
    """Rows that are not asked for again are still those that it began with."""
    roots, rows = Roots(tmp_path / "runs", tmp_path / "results"), [row(), row(at_step=2), row(ema_decay=0.1)]
    rows = [msgspec.structs.replace(job, row=f"E{number}") for number, job in enumerate(rows)]
    describe(rows[1:], roots)
    plain = tasks_for(rows[:1], roots)[0]
    how = settings_for(plain, SETTINGS).training
    assert (how.snapshots, how.ema_decays) == ((2,), (0.1,))


def weights(job, folder):
    return {name: value.detach() for name, value in trained_network(job.run, folder, CPU).named_parameters()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_row_gets_the_average_of_its_step_and_decay(work):
    _, rows, folders = work
    found = [weights(job, folder) for job, folder in zip(rows, folders, strict=True)]
    for a in range(4):
        for b in range(a):
            assert not same(found[a], found[b]), (a, b)
    assert len({folder.samples for folder in folders}) == 4
    assert len({folder.final_marker for folder in folders}) == 1


def test_samples_are_drawn_without_dropout(work):
    """FFHQ's network drops values while it is trained."""
    _, rows, folders = work
    for job, folder in zip(rows, folders, strict=True):
        assert not any(module.training for module in trained_network(job.run, folder, CPU).modules())


def test_a_row_is_drawn_from_the_average_or_from_the_weights_as_they_are(work):
    roots, _, _ = work
    for chosen, prefix in (("ema", "ema."), ("raw", "network.")):
        job = row(weights=chosen)
        folder = RunFolder(roots, job.run, job.scale)
        kept = load_file(folder.checkpoints / read_json(folder.final_marker)["file"])
        found = weights(job, folder)
        assert same(found, {name.removeprefix(prefix): kept[name] for name in kept if name.startswith(prefix)}), chosen


def test_the_average_at_a_step_is_that_of_the_run_at_that_step(work):
    """A training of half the steps with the same draws ends with it."""
    roots, rows, folders = work
    tree = msgspec.to_builtins(rows[2].run)
    tree["training"]["steps"] = 2
    short = msgspec.structs.replace(rows[2], run=msgspec.convert(tree, Run))
    folder = RunFolder(roots, short.run, short.scale)
    settings = msgspec.structs.replace(SETTINGS.training, ema_decays=(0.1,))
    train.run(short, folder, Settings(device="cpu", threads=1, training=settings), lambda _: None)
    assert same(weights(short, folder), weights(rows[3], folders[3]))


def test_a_row_at_a_step_is_sampled_into_its_own_folder(work):
    _, rows, folders = work
    sample.run(rows[1], folders[1], SETTINGS, lambda _: None)
    assert folders[1].done("sample")
    assert not folders[0].done("sample")


def test_what_the_training_did_not_keep_is_named(work):
    roots, _, _ = work
    for job, words in ((row(at_step=3), "steps 2 in"), (row(ema_decay=0.25), "--ema-decay 0.25")):
        folder = RunFolder(roots, job.run, job.scale)
        with pytest.raises(UserError, match=words):
            trained_network(job.run, folder, CPU)


def test_ids_of_rows_that_ask_for_neither_are_what_they_were():
    plain = row()
    assert "at_step" not in msgspec.json.encode(plain.run).decode()
    assert plain.run.training_id == row(at_step=2).run.training_id
    assert plain.run.sampling_id != row(at_step=2).run.sampling_id


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"at_step": 5}, "beyond the last step, 4"),
        ({"at_step": 0}, "at_step starts at 1"),
        ({"ema_decay": 1.0}, r"must be in \[0, 1\)"),
        ({"at_step": 2, "weights": "raw"}, "weights must be"),
    ],
)
def test_impossible_ones_are_refused(sampling, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        row(**sampling)
