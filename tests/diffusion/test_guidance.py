"""Classifier-free guidance: the formula, one batch, DiT's three channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdit_repro.diffusion import guide
from hdit_repro.errors import UserError


class Network:
    """F = x + class + aug, with as many channels as asked; counts its calls and keeps their batch sizes."""

    def __init__(self, channels: int = 3) -> None:
        self.channels = channels
        self.batches: list[int] = []

    def __call__(
        self, x: Tensor, at: Tensor, class_cond: Tensor | None = None, aug_cond: Tensor | None = None
    ) -> Tensor:
        self.batches.append(len(x))
        out = x[:, :1].expand(-1, self.channels, -1, -1) * at.reshape(-1, 1, 1, 1)
        for cond in (class_cond, aug_cond):
            out = out if cond is None else out + cond.to(x.dtype).reshape(-1, 1, 1, 1)
        return out


X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
AT = torch.tensor([0.5, 2.0])
CLASSES = torch.tensor([3, 7])
DROPPED = 10


@pytest.mark.parametrize("weight", [0.0, 1.5, 4.0])
def test_guidance_is_the_formula_in_one_doubled_batch(weight: float) -> None:
    network = Network()
    aug = torch.tensor([0.25, -1.0])
    found = guide(network, weight, CLASSES, DROPPED, aug_cond=aug)(X, AT)
    with_class = network(X, AT, CLASSES, aug)
    without = network(X, AT, torch.tensor([DROPPED, DROPPED]), aug)
    torch.testing.assert_close(found, without + weight * (with_class - without))
    assert network.batches == [4, 2, 2]
    bare = guide(network, weight, CLASSES, DROPPED, aug_cond=None)(X, AT)
    torch.testing.assert_close(bare, guide(network, weight, CLASSES, DROPPED)(X, AT))


def test_without_guidance_the_network_is_called_once_on_the_batch_itself() -> None:
    network = Network()
    assert torch.equal(guide(network, 1.0, CLASSES, DROPPED)(X, AT), Network()(X, AT, CLASSES))
    assert network.batches == [2]
    assert torch.equal(guide(network, 1, None, 0)(X, AT), Network()(X, AT))


def test_only_the_leading_channels_are_guided_and_the_others_are_the_conditional_ones() -> None:
    found = guide(Network(6), 3.0, CLASSES, DROPPED, channels=3)(X, AT)
    whole = guide(Network(6), 3.0, CLASSES, DROPPED)(X, AT)
    assert torch.equal(found[:, :3], whole[:, :3])
    assert torch.equal(found[:, 3:], Network(6)(X, AT, CLASSES)[:, 3:])
    assert not torch.allclose(found[:, 3:], whole[:, 3:])


def test_guidance_without_classes_is_refused() -> None:
    with pytest.raises(UserError, match="needs a network with classes"):
        guide(Network(), 2.0, None, 0)
