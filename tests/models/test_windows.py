"""Tokens into shifted windows and back: against rolling and cutting the grid, in values and gradients."""

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from hdit_repro.models import windows
from hdit_repro.models.windows import Grid, constant, into_windows, out_of_windows, same_side, seam

CPU = torch.device("cpu")


def rolled(x, grid):
    """The slow twin: roll the grid, then cut it."""
    x = torch.roll(x, shifts=(grid.shift, grid.shift), dims=(1, 2))
    return rearrange(x, "b (y h) (x w) n e -> (y x) (b n) (h w) e", h=grid.window, w=grid.window)


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), st.data())
def test_windows_are_those_of_a_rolled_grid_and_go_back(batch, down, across, heads, window, data):
    shift = data.draw(st.integers(0, window - 1))
    grid = Grid(batch, down * window, across * window, heads, window, shift, CPU)
    x = torch.randn(*grid.facts[:4], 2, dtype=torch.float64, requires_grad=True)
    cut = into_windows(x, grid)
    assert torch.equal(cut, rolled(x, grid))
    assert torch.equal(out_of_windows(cut, grid), x)
    direction = torch.randn_like(cut)
    (found,) = torch.autograd.grad(cut, x, direction)
    assert torch.equal(found, out_of_windows(direction, grid))
    (wanted,) = torch.autograd.grad(rolled(x, grid), x, direction)
    assert torch.equal(found, wanted)


def test_what_lies_strided_is_taken_too():
    grid = Grid(2, 8, 4, 2, 4, 1, CPU)
    x = torch.randn(2, 8, 4, 3, 2, 5).select(3, 1)
    assert torch.equal(into_windows(x, grid), rolled(x, grid))


def test_gradients_have_gradients():
    grid = Grid(1, 4, 4, 1, 2, 1, CPU)
    x = torch.randn(1, 4, 4, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: into_windows(x, grid).square(), x)


def test_the_seam_is_what_same_side_says():
    sees = same_side(2, 3, 4, 2)
    assert sees.shape == (6, 1, 16, 16)
    bias = seam(2, 3, 4, 2, torch.bfloat16, CPU)
    assert bias.dtype == torch.bfloat16
    assert torch.equal(bias == 0, sees)
    assert torch.equal(bias == -torch.inf, ~sees)


@pytest.mark.parametrize("cached", [windows._tokens_of, windows._places_of, windows._seam])
def test_what_sampling_asked_for_first_serves_training(cached):
    """Tensors made in inference mode could not be kept for a backward pass."""
    cached.cache_clear()
    grid = Grid(1, 4, 4, 1, 2, 1, CPU)
    with torch.inference_mode():
        seam(2, 2, 2, 1, torch.float32, CPU)
        out_of_windows(into_windows(torch.randn(1, 4, 4, 1, 2), grid), grid)
    x = torch.randn(1, 4, 4, 1, 2, requires_grad=True)
    (into_windows(x, grid) + x.sum() * seam(2, 2, 2, 1, torch.float32, CPU).exp().sum()).sum().backward()
    assert x.grad is not None
    assert cached.cache_info().hits


def test_constants_are_marked_as_torch_marks_them():
    """Without its function, which imports the compiler."""

    def one():
        return 1

    def two():
        return 2

    assert vars(constant(one)) == vars(torch.compiler.assume_constant_result(two))
