"""What samples leave on disk, by hand: features of all, images of all or of those that the grid shows."""

from __future__ import annotations

import msgspec

from hdit_repro import jobs
from hdit_repro.launch.price import KEPT_IMAGE_BYTES, SHOWN_IMAGES, disk
from hdit_repro.stages import sample

INCEPTION = 4 * (2048 + 1008 + 2023)


def test_the_first_images_of_a_large_set_are_kept_and_all_of_a_small_one() -> None:
    assert (SHOWN_IMAGES, KEPT_IMAGE_BYTES) == (sample.GRID, sample.KEEP_BYTES)
    run = jobs.find("ffhq1024").run
    assert disk(run, "sample") == 50_000 * INCEPTION + 64 * 3 * 1024**2
    for count in (85, 10):
        few = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, count=count))
        assert disk(few, "sample") == count * (INCEPTION + 3 * 1024**2), "under 256 MiB, all are kept"
    more = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, count=86))
    assert disk(more, "sample") == 86 * INCEPTION + 64 * 3 * 1024**2
