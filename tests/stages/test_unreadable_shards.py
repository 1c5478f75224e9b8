"""A shard that opens, and of which the disk gives no byte back."""

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.errors import RunError
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
