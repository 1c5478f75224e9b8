"""How fast a run goes, read once the next step is under way."""

import pytest

from hdit_repro.cost.cards import mfu
from hdit_repro.training.distributed import World
from hdit_repro.training.meter import Meter


@pytest.mark.parametrize("every", [1, 2, 5])
def test_the_pace_is_one_to_the_last_line(tiny, monkeypatch, every):
    """Seven steps of two seconds and four images: what came of each is known at the end of the next."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    meter, rates = Meter(tiny(), World()), []
    for begun in range(1, 9):
        if begun < 8:
            with meter.waiting():
                now[0] += 0.5
            now[0] += 1.5
        if (ended := begun - 1) >= 1:
            meter.add(4)
            if ended % every == 0 or ended > 4:
                rates.append(meter.read())
    assert [one["images_per_s"] for one in rates] == pytest.approx([2.0] * len(rates))
    assert [one["data_wait"] for one in rates] == pytest.approx([0.25] * len(rates))


def test_utilisation_is_of_one_card_and_the_pace_of_all(tiny, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("hdit_repro.training.meter.card_peak", lambda device, precision: 1e12)
    meter = Meter(tiny(), World(rank=1, size=4))
    with meter.waiting():
        now[0] += 2.0
    meter.add(8)
    found = meter.read()
    assert found["images_per_s"] == pytest.approx(4.0)
    assert found["mfu"] == pytest.approx(mfu(meter.macs, 1.0, 1e12))
