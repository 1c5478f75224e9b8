"""Data sets that are needed and not to be seen from here: told by `plan` and `submit`, and refused by neither."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import Task, required, tasks_for
from hdit_repro.launch.images import unseen
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots
from hdit_repro.spec.data import Folder
from hdit_repro.spec.external import External

VARIABLE = "HDIT_REPRO_DATA"
LOCAL = read_cluster("local")


def left(roots: Roots, *names: str, scale: str = "paper") -> list[Task]:
    return required(tasks_for([job for name in names for job in wanted(name, scale)], roots))


def test_each_data_set_is_told_once_with_where_it_was_looked_for(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = left(roots, "table1", "ffhq1024")
    trainings = len([task for task in asked if task.job.experiment == "table1" and task.stage == "train"])
    imagenet, ffhq = unseen(asked, LOCAL)
    assert imagenet.startswith(f"the data set 'imagenet' is not found from here (the environment variable {VARIABLE}")
    assert f"; {trainings} stages to be run need it; `hdit-repro doctor --for table1 --scale paper`" in imagenet
    assert "--for ffhq1024" in ffhq
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert str(tmp_path / "imagenet-128.zip") in unseen(asked, LOCAL)[0]
    (tmp_path / "imagenet-128.zip").touch()
    (tmp_path / "ffhq").mkdir()
    assert unseen(asked, LOCAL) == []


def test_what_comes_along_or_is_the_users_own_is_not_looked_for(roots: Roots) -> None:
    assert unseen(left(roots, "table1", scale="smoke"), LOCAL) == []
    own = wanted("table1/E", "smoke", dataset=Folder(name="pets", digest="0" * 64, images=9))
    assert unseen(tasks_for(own, roots), LOCAL) == []


def test_stages_that_are_done_or_open_no_images_need_none(roots: Roots, made_up: ModuleType) -> None:
    """ADM's reference is a file of its own; FFHQ's is the data set, which evaluation opens too."""
    for name, lines in (("table1/E", 0), ("ffhq1024", 1)):
        tasks = left(roots, name)
        assert len(unseen(tasks, LOCAL)) == 1
        made_up.leave_output(tasks[0].folder, "train")
        assert len(unseen(left(roots, name), LOCAL)) == lines
        made_up.leave_output(tasks[0].folder, "evaluate")
        assert unseen(left(roots, name), LOCAL) == []


def test_images_of_others_are_not_trained_on(roots: Roots) -> None:
    job = jobs.find("table1/E")
    run = msgspec.structs.replace(job.run, external=External(name="theirs", digest="0" * 64, images=50_000))
    task = tasks_for([msgspec.structs.replace(job, run=run)], roots)[0]
    assert unseen([task], LOCAL) == []


def test_a_job_looks_where_its_profile_says(roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    there = msgspec.structs.replace(profile, environment={VARIABLE: str(tmp_path / "there")})
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / "imagenet.zip").touch()
    asked = left(roots, "table1/E")
    assert unseen(asked, profile) == []
    (line,) = unseen(asked, there)
    assert str(tmp_path / "there" / "imagenet.zip") in line
    assert "1 stage to be run needs it, on nodes that may see more;" in line


def test_a_folder_that_the_system_refuses_is_told(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    task = tasks_for([jobs.find("table1/E")], roots)[0]
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(Path, "exists", refused)
    (line,) = unseen([task], LOCAL)
    assert f"cannot be looked for from here ({tmp_path / 'imagenet-128.zip'}: Permission denied)" in line


@pytest.mark.parametrize(
    "line",
    [
        "plan table1/E --cluster a100",
        "plan table1/E",
        "submit table1/E --cluster a100 --dry-run",
        "submit table1/E --cluster a100 --allow-dirty --yes",
    ],
)
def test_a_command_tells_and_goes_on(
    roots: Roots, fake: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """A job found it out after its wait in the queue."""
    monkeypatch.chdir(roots.runs.parent)
    assert main(line.split()) == 0
    assert capsys.readouterr().err.count("the data set 'imagenet' is not found from here") == 1
