"""Where an evaluation's time goes: the parts are measured, and shares are of the whole."""

from importlib import import_module

import pytest
import torch


@pytest.fixture
def parts(script):
    return script("evaluation_parts")


def test_every_part_is_measured(parts, monkeypatch):
    """With small pictures, and a distance of few features in the place of one that takes seconds."""
    loader = import_module("loader")
    monkeypatch.setattr(loader, "PIXELS", 1)
    plain = parts.statistics_of
    monkeypatch.setattr(parts, "statistics_of", lambda rows: plain(rows[:64, :8]))
    found = parts.measure(2, 32, "float32", 1)
    assert list(found) == ["decoding", "resizing", "network", "statistics", parts.ONCE]
    assert all(seconds > 0 for seconds in found.values())
    assert found["network"] == max(found[name] for name in ("decoding", "resizing", "network"))


def test_shares_are_of_an_evaluation_of_so_many_images(parts):
    found = {"decoding": 0.01, "network": 0.03, parts.ONCE: 4.0}
    assert parts.shares(found, 100) == {
        "decoding": pytest.approx(1 / 8), "network": pytest.approx(3 / 8), parts.ONCE: pytest.approx(0.5),
    }  # fmt: skip


def test_what_the_network_is_given_is_what_an_evaluation_gives_it(parts, small_inception):
    """Resizing and network, one after the other, are the extractor's features."""
    extractor = parts.InceptionFeatures(parts.random_state(), "0" * 64, parts.CPU)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        found = extractor.trunk(extractor.prepare(images))[0]
    torch.testing.assert_close(found, extractor.features(images)["features"])
