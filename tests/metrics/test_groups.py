"""Groups of one size through a network, and what is done to the next group while the network works."""

from __future__ import annotations

from threading import Event

import pytest
import torch
from torch import Tensor

from hdit_repro.metrics.extractors.base import CPU_GROUP, in_groups
from hdit_repro.metrics.extractors.dinov2 import DinoV2Features, Shape, VisionTransformer
from hdit_repro.metrics.extractors.inception import PREPARATIONS, InceptionFeatures

CPU = torch.device("cpu")
WAIT = 30.0
"""Seconds after which nothing will come any more."""


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [1, CPU_GROUP - 1, CPU_GROUP, CPU_GROUP + 1, 3 * CPU_GROUP])
def test_ahead_or_not_is_the_same(count: int) -> None:
    images, seen = pictures(count), []

    def network(given: Tensor) -> dict[str, Tensor]:
        seen.append(len(given))
        return {"features": given.float().mean((2, 3))}

    def halved(group: Tensor) -> Tensor:
        return group.float() / 2

    plain = in_groups(images, CPU, lambda group: network(halved(group)))["features"]
    ahead = in_groups(images, CPU, network, halved)["features"]
    assert torch.equal(plain, ahead)
    assert torch.equal(ahead, (images.float() / 2).mean((2, 3)))
    assert set(seen) == {CPU_GROUP}
    assert not ahead.is_inference()


def test_the_next_group_is_made_while_the_network_works() -> None:
    made = [Event() for _ in range(3)]

    def ahead(group: Tensor) -> Tensor:
        next(event for event in made if not event.is_set()).set()
        return group

    calls = iter(range(3))

    def network(given: Tensor) -> dict[str, Tensor]:
        after = next(calls) + 1
        assert after == len(made) or made[after].wait(WAIT), "nothing was made of the next group"
        assert not any(event.is_set() for event in made[after + 1 :]), "more than one group is held"
        return {"features": given.float()}

    in_groups(pictures(3 * CPU_GROUP), CPU, network, ahead)


def test_an_error_in_the_thread_comes_out() -> None:
    def ahead(group: Tensor) -> Tensor:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        in_groups(pictures(2), CPU, lambda given: {"features": given}, ahead)


def test_pillows_resizes_are_the_ones_done_ahead() -> None:
    assert [name for name, one in PREPARATIONS.items() if one.ahead] == ["inception-clean"]


def test_features_are_those_of_what_is_prepared(inception_state: dict[str, Tensor], small_inception: None) -> None:
    """Whichever side of the thread a resize is on: the network sees the very tensor that `prepare` gives."""
    images = pictures(CPU_GROUP)
    extractor = InceptionFeatures(inception_state, "0" * 64, CPU)
    for name, extractor.preparation in PREPARATIONS.items():
        with torch.inference_mode():
            wanted = extractor.trunk(extractor.prepare(images))[0]
        assert torch.equal(extractor.features(images)["features"], wanted), name


@pytest.mark.parametrize("name", ["dinov2-vitl14-raw", "dinov2-vitl14-normalised"])
def test_features_of_a_small_dinov2_are_those_of_what_is_prepared(name: str) -> None:
    torch.manual_seed(0)
    shape = Shape(width=32, depth=1, heads=2, grid=5)
    state = VisionTransformer(shape).state_dict()
    extractor = DinoV2Features(state, "0" * 64, CPU, name, shape)
    images = pictures(CPU_GROUP)
    with torch.inference_mode():
        wanted = extractor.network(extractor.prepare(images))
        wanted = torch.nn.functional.normalize(wanted) * 32**0.5 if extractor.scaled else wanted
    assert torch.equal(extractor.features(images)["features"], wanted)
