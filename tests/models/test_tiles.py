"""Tiles and back, against einops' patterns for the same axes, on made-up sides and batches."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.models.tiles import cut, grid_of, joined, pairs, sequences

SIDES = st.integers(1, 4)


def counted(*shape: int) -> torch.Tensor:
    """Numbers that are all different."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


@given(SIDES, SIDES, SIDES, SIDES, SIDES, SIDES, SIDES)
def test_tiles_are_einops(b: int, y: int, h: int, x: int, w: int, n: int, e: int) -> None:
    whole = counted(b, y * h, x * w, n, e)
    assert torch.equal(cut(whole, h, w), rearrange(whole, "b (y h) (x w) n e -> b y h x w n e", h=h, w=w))
    assert torch.equal(joined(cut(whole, h, w)), whole)
    found = sequences(whole, h, w)
    assert torch.equal(found, rearrange(whole, "b (y h) (x w) n e -> (y x) (b n) (h w) e", h=h, w=w))
    assert torch.equal(grid_of(found, h, w, x, b), whole)


@given(SIDES, SIDES, SIDES, SIDES, SIDES, SIDES)
def test_a_pair_is_seen_where_both_of_its_axes_say_so(y: int, x: int, q: int, k: int, p: int, m: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.rand(shape, generator=generator) < 0.5 for shape in ((y, q, k), (x, p, m)))
    both = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    assert torch.equal(pairs(rows, columns), rearrange(both, "y x q p k m -> (y x) 1 (q p) (k m)"))


def test_no_value_moves_where_tiles_are_cut() -> None:
    whole = counted(2, 6, 8, 3).transpose(0, 3)
    assert cut(whole, 2, 4).data_ptr() == whole.data_ptr()


def test_a_grid_of_no_whole_tiles_is_refused() -> None:
    with pytest.raises(RuntimeError, match="invalid"):
        cut(counted(1, 7, 8, 3), 2, 4)
