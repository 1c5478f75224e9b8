"""What is said of an imported checkpoint that is not here, and of a training that is not at its end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.files import write_json
from hdit_repro.records.imported import is_imported, lost
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.run import Run


def theirs(name: str) -> Run:
    """A row as an import would leave it, with weights of others."""
    run = jobs.find(name).run
    return msgspec.structs.replace(run, training=msgspec.structs.replace(run.training, imported="5" * 64))


@pytest.mark.parametrize(("like", "origin"), [("table1/E", "k-diffusion"), ("alternatives/R1-unscaled", "dit")])
def test_an_import_is_advised_by_whose_code_wrote_the_file(tmp_path: Path, like: str, origin: str) -> None:
    run = theirs(like)
    error = lost({"them": RunFolder(Roots(tmp_path, tmp_path), run, "paper")})
    assert f"hdit-repro import --from {origin} --name NAME FILE" in error.fix
    assert error.expected == f"the file with SHA-256 {'5' * 64}"
    assert (is_imported(run), is_imported(jobs.find(like).run)) == (True, False)


def test_below_paper_scale_no_import_helps(tmp_path: Path) -> None:
    error = lost({"them": RunFolder(Roots(tmp_path, tmp_path), theirs("table1/E"), "mini")})
    assert "hdit-repro import" not in error.fix
    assert "without --scale mini" in error.fix


def test_a_training_says_what_its_end_lacks(tmp_path: Path) -> None:
    folder = RunFolder(Roots(tmp_path, tmp_path), jobs.find("table1/E").run, "paper")
    assert folder.unfinished == f"no {folder.final_marker}"
    write_json(folder.final_marker, {"file": "step.safetensors", "run": "another"})
    assert "damaged or of another run" in folder.unfinished
    write_json(folder.final_marker, {"file": "step.safetensors", "run": folder.run.training_id})
    assert folder.unfinished == f"no {folder.checkpoints / 'step.safetensors'}, which final.json beside it names"
    assert not folder.done("train")
    (folder.checkpoints / "step.safetensors").touch()
    assert (folder.unfinished, folder.done("train")) == ("", True)
