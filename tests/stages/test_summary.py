"""What a training notes at its end: what of it is read, and what is refused by name."""

import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.files import write_json
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages import evaluate
from hdit_repro.stages.settings import Settings
from hdit_repro.stages.summary import Summary, training_summary


@pytest.fixture
def job():
    return jobs.find("table1/E", "smoke")


@pytest.fixture
def folder(job, tmp_path):
    return RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)


def test_what_an_earlier_version_or_an_import_noted_is_read(folder):
    write_json(folder.final_marker, {"file": "step.safetensors", "summary": {}})
    assert training_summary(folder) == Summary()
    write_json(folder.final_marker, {"summary": {"seconds": 7, "loss_end": None, "of_another_version": [1]}})
    assert training_summary(folder) == Summary(seconds=7.0)


@pytest.mark.parametrize(
    "text",
    [
        '{"summary": {"seconds": "7"}}',
        '{"summary": {"seconds": -7}}',
        '{"summary": {"process_seconds": [7]}}',
        '{"summary": {"process_seconds": {"cpu": "7"}}}',
        '{"summary": {"process_seconds": {"cpu": 1e999}}}',
        '{"summary": {"processes": 0}}',
        '{"summary": {"processes": 1.5}}',
        '{"summary": {"device": 7}}',
        '{"summary": {"loss_end": 1e999}}',
        '{"summary": {"loss_constant": {}}}',
        '{"summary": 7}',
        '{"summary": null}',
        "[1, 2]",
        "7",
    ],
)
def test_one_that_is_spoilt_is_refused_before_anything_is_measured(job, folder, text):
    """It ended in a traceback behind the features of all samples."""
    folder.checkpoints.mkdir(parents=True)
    folder.final_marker.write_text(text)
    with pytest.raises(UserError, match="noted at its end cannot be read") as caught:
        evaluate.run(job, folder, Settings(device="cpu"), lambda _: None)
    assert str(folder.final_marker) in caught.value.found
    assert f"delete {folder.final_marker}" in caught.value.fix
