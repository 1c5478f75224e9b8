"""What is looked at of a tensor that is given, and where no one looks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.inputs import check_pixels, extremes


class Outline(Tensor):
    """A tensor of another kind, as torch's fake ones are."""


def test_extremes_are_the_least_and_the_largest() -> None:
    assert extremes(torch.tensor([3, -2, 7])) == (-2, 7)
    assert extremes(torch.tensor([0.5], requires_grad=True)) == (0.5, 0.5)
    assert extremes(torch.ones(3).bfloat16()) == (1.0, 1.0)


def test_no_one_looks_where_it_is_not_free() -> None:
    assert extremes(torch.ones(0)) is None
    assert extremes(torch.ones(2, device="meta")) is None
    assert extremes(torch.ones(2).as_subclass(Outline)) is None


def test_no_one_looks_into_one_of_many() -> None:
    seen: list[object] = []

    def looked(x: Tensor) -> Tensor:
        seen.append(extremes(x))
        return x

    torch.func.vmap(looked)(torch.ones(2, 3))
    assert seen == [None]


def test_a_compiler_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert extremes(torch.ones(2)) is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_bytes_are_told_how_to_become_images(dtype: torch.dtype) -> None:
    with pytest.raises(UserError) as told:
        check_pixels(torch.zeros(1, 3, 2, 2, dtype=dtype))
    assert told.value.fix == "image.float() / 127.5 - 1 of bytes"
    assert told.value.found == str(dtype)
