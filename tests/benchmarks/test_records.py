"""The made-up records that commands are timed on."""

import pytest

from hdit_repro.records.store import load


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_every_made_up_record_counts(script, tmp_path, scale):
    roots = script("records").fill(tmp_path, scale, 150)
    records, problems = load(roots.records(scale))
    assert problems == []
    assert len(records) == 150
