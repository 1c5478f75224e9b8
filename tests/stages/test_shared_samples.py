"""Samples that lie in another user's folder, which may be read and not be written to."""

from contextlib import contextmanager

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages import shards


def test_whole_shards_are_read_without_the_lock(tmp_path, monkeypatch):
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    for numbers in (range(4, 8), range(4)):
        shards.write_shard(folder, numbers, {"number": torch.tensor(list(numbers))})

    @contextmanager
    def refused(path):
        raise PermissionError(path)
        yield

    monkeypatch.setattr(shards, "lock", refused)
    whole, damaged = shards.whole_shards(folder)
    assert ([shard.numbers for shard in whole], damaged) == ([range(4), range(4, 8)], [])
    (folder.samples / whole[0].file).write_bytes(b"")
    with pytest.raises(PermissionError):
        shards.whole_shards(folder)
