"""Shards of which the disk gives no byte back, and manifests that say other than what lies there."""

import errno
import json
import shutil

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.errors import RunError
from hdit_repro.files import write_json
from hdit_repro.launch.part import drawn
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages import shards


def test_a_shard_that_the_disk_does_not_give_back_is_named_and_nothing_is_struck_off(tmp_path):
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    for numbers in (range(4), range(4, 8)):
        shards.write_shard(folder, numbers, {"number": torch.tensor(list(numbers))})
    manifest, path = folder.manifest.read_bytes(), folder.samples / "shard-00000004-00000008.safetensors"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(RunError, match=r"shard-00000004-00000008.safetensors: Input/output error") as caught:
        shards.whole_shards(folder)
    assert "delete that file: its samples are drawn again" in caught.value.fix
    assert folder.manifest.read_bytes() == manifest
    path.unlink()
    whole, damaged = shards.whole_shards(folder)
    assert ([shard.numbers for shard in whole], damaged) == ([range(4)], [path.name])


def test_a_shard_that_is_kept_from_this_user_is_not_to_be_deleted(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shards, "sha256_file", refuse)
    with pytest.raises(PermissionError, match="shard-00000000"):
        shards.whole_shards(folder)


@pytest.fixture
def folder(tmp_path):
    """With all samples of a run, in two shards."""
    job = jobs.find("table1/E", "smoke")
    found = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    for numbers in (range(32), range(32, job.run.sampling.count)):
        shards.write_shard(found, numbers, {"number": torch.tensor(list(numbers))})
    assert found.done("sample")
    return found


def test_a_copy_of_another_set_of_samples_is_none_of_this_one(folder):
    """Its numbers would be recorded as of this run."""
    other = RunFolder(folder.roots, jobs.find("table1/E", "smoke", 1).run, folder.scale)
    shutil.copytree(folder.samples, other.samples)
    assert not other.done("sample")
    assert drawn(other) == set()
    assert shards.whole_shards(other) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [{"first": 0}, {"count": 16}, {"first": "32"}, {"count": None}, {"file": 3}, {"file": "grid.png"}, {"sha256": []}],
)
def test_an_entry_that_says_other_than_its_files_name_is_passed_over(folder, changes):
    manifest = json.loads(folder.manifest.read_bytes())
    manifest["shards"][1] |= changes
    write_json(folder.manifest, manifest)
    whole, _ = shards.whole_shards(folder)
    assert [shard.numbers for shard in whole] in ([range(32)], [])


@pytest.mark.parametrize("text", ["[]", "null", '{"shards": 3}', '{"complete": "no", "shards": []}', '{"complete": 1}'])
def test_a_manifest_of_another_shape_lists_no_samples(folder, text):
    folder.manifest.write_text(text)
    assert not folder.done("sample")
    assert drawn(folder) == set()
    assert shards.whole_shards(folder) == ([], [])


@pytest.mark.parametrize("complete", [None, False, "yes"])
def test_a_manifest_with_all_samples_that_does_not_say_so_is_closed(folder, complete):
    before = folder.manifest.read_bytes()
    write_json(folder.manifest, {**json.loads(before), "complete": complete})
    assert not folder.done("sample")
    whole, damaged = shards.whole_shards(folder)
    assert (len(whole), damaged) == (2, [])
    assert folder.manifest.read_bytes() == before
