"""Who sees whom: neighborhood and window attention against dense attention under an explicit mask."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from hdit_repro.models.attention import ATTENTION, Global, Neighborhood, ShiftedWindow, make_attention
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kinds


def dense(q, k, v, mask):
    """The slow twin: one masked attention over all tokens; mask (H W) (H W), True where a query (row) may look."""
    height = q.shape[1]
    q, k, v = (rearrange(x, "b h w n e -> b n (h w) e") for x in (q, k, v))
    logits = (q @ k.mT).masked_fill(~mask, -torch.inf)
    return rearrange(logits.softmax(dim=-1) @ v, "b n (h w) e -> b h w n e", h=height)


def grid_mask(height, width, sees):
    """The mask from a rule on (query row, query column, key row, key column), token by token."""
    tokens = [(row, column) for row in range(height) for column in range(width)]
    return torch.tensor([[sees(*query, *key) for key in tokens] for query in tokens])


def neighborhood_mask(height, width, kernel):
    """At a border the window moves inward and keeps its size (Hassani et al., 2023)."""

    def first(at, length):
        return min(max(at - kernel // 2, 0), length - kernel)

    def near(query, key, length):
        return first(query, length) <= key < first(query, length) + kernel

    return grid_mask(height, width, lambda a, b, c, d: near(a, c, height) and near(b, d, width))


def window_mask(height, width, window, shift):
    """Tokens see each other where the tiles, moved up and left by `shift`, hold both."""

    def same(a, b):
        return (a + shift) // window == (b + shift) // window

    return grid_mask(height, width, lambda a, b, c, d: same(a, c) and same(b, d))


def random_qkv(height, width, heads=2, head=8, batch=2, dtype=torch.float64):
    return [torch.randn(batch, height, width, heads, head, dtype=dtype, requires_grad=True) for _ in range(3)]


def assert_twins(attend, qkv, mask, tolerance=1e-12):
    """Same values, and the same gradients of a random projection."""
    out, expected = attend(*qkv), dense(*qkv, mask)
    assert out.shape == expected.shape
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)
    direction = torch.randn_like(out)
    found, wanted = torch.autograd.grad(out, qkv, direction), torch.autograd.grad(expected, qkv, direction)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=10 * tolerance)


def test_every_kind_of_the_spec_has_an_attention():
    assert tuple(ATTENTION) == kinds(spec.Attention)
    assert make_attention(spec.NoAttention(), 0) is None


GRIDS = [(7, 7, 3), (8, 8, 7), (9, 9, 5), (13, 9, 7), (16, 16, 3), (17, 11, 11), (13, 13, 13), (20, 15, 9), (3, 25, 3)]


@pytest.mark.parametrize(("height", "width", "kernel"), GRIDS)
def test_neighborhood_equals_its_dense_twin(height, width, kernel):
    assert_twins(Neighborhood(kernel), random_qkv(height, width), neighborhood_mask(height, width, kernel))


@settings(max_examples=20)
@given(st.integers(1, 19), st.integers(1, 19), st.integers(0, 5))
def test_neighborhood_equals_its_dense_twin_on_any_grid(height, width, half):
    kernel = min(2 * half + 1, *(side - 1 + side % 2 for side in (height, width)))
    assert_twins(Neighborhood(kernel), random_qkv(height, width, 1, 4, 1), neighborhood_mask(height, width, kernel))


def test_neighborhood_passes_gradcheck():
    assert torch.autograd.gradcheck(
        lambda q, k, v: Neighborhood(3)(q, k, v), random_qkv(5, 4, heads=1, head=4, batch=1)
    )


@pytest.mark.parametrize(("height", "width", "kernel"), [(9, 12, 5), (8, 8, 7), (17, 19, 13)])
def test_a_query_sees_exactly_kernel_squared_keys(height, width, kernel):
    q = torch.zeros(1, height, width, 1, height * width)
    v = torch.eye(height * width).reshape(1, height, width, 1, -1)
    weights = Neighborhood(kernel)(q, q, v).reshape(height * width, height * width)  # equal logits: uniform weights
    seen = weights > 1e-6
    assert (seen.sum(dim=1) == kernel**2).all()
    assert seen.diagonal().all()
    torch.testing.assert_close(weights[seen], torch.full_like(weights[seen], kernel**-2))
    assert torch.equal(seen, neighborhood_mask(height, width, kernel))


@pytest.mark.parametrize("side", [3, 7, 9, 13])
def test_a_kernel_as_large_as_the_grid_is_global(side):
    qkv = random_qkv(side, side)
    torch.testing.assert_close(Neighborhood(side)(*qkv), Global()(*qkv), rtol=0, atol=1e-12)


def test_a_kernel_of_one_sees_itself():
    q, k, v = random_qkv(6, 5)
    torch.testing.assert_close(Neighborhood(1)(q, k, v), v)


def test_neighborhood_memory_is_linear_in_tokens():
    """The largest tensor of a pass grows with the tokens, not with their square."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else (out,):
                if isinstance(each, torch.Tensor):
                    self.numel = max(self.numel, each.numel())
            return out

    sizes = []
    for side in (32, 64):
        with Largest() as largest:
            Neighborhood(7)(*random_qkv(side, side, 1, 8, 1, torch.float32))
        sizes.append(largest.numel)
    assert sizes[1] == 4 * sizes[0]


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 4), (8, 16, 8), (12, 6, 6), (10, 15, 5), (8, 8, 8)])
@pytest.mark.parametrize("index", [0, 1])
def test_windows_equal_their_dense_twin(height, width, window, index):
    attend = make_attention(spec.ShiftedWindowAttention(window=window), index)
    shift = window // 2 if index else 0
    # Tiles moved up and left by `shift` are the rolled grid's: token a lies in tile (a + shift) // window.
    assert_twins(attend, random_qkv(height, width), window_mask(height, width, window, shift))


def test_layers_on_the_way_up_are_numbered_on():
    windows = spec.ShiftedWindowAttention(window=4)
    assert [make_attention(windows, index) for index in (3, 4, 5)] == [
        ShiftedWindow(4, 2),
        ShiftedWindow(4, 0),
        ShiftedWindow(4, 2),
    ]


def test_global_is_attention_without_a_mask():
    qkv = random_qkv(5, 6)
    assert_twins(Global(), qkv, torch.ones(30, 30, dtype=torch.bool))


@pytest.mark.parametrize("attend", [Global(), Neighborhood(3), ShiftedWindow(4, 2)])
def test_narrow_precisions_stay_near(attend):
    qkv = [each.detach().float() for each in random_qkv(8, 8)]
    expected = attend(*qkv)
    out = attend(*(each.bfloat16() for each in qkv))
    assert out.dtype == torch.bfloat16
    assert F.mse_loss(out.float(), expected) < 1e-3


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_shifted_windows_compile():
    q, k, v = (each.detach().float() for each in random_qkv(8, 8))
    torch._dynamo.reset()
    compiled = torch.compile(ShiftedWindow(4, 2), fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(q, k, v), ShiftedWindow(4, 2)(q, k, v))
