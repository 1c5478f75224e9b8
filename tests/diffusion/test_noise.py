"""The counter-based generator: published vectors, a slow exact twin, moments, and independence of the batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdit_repro.diffusion import as_keys, normals, uniforms
from hdit_repro.diffusion.philox import philox4x32
from hdit_repro.errors import UserError
from hdit_repro.seeds import derive

ONES = 0xFFFFFFFF


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python integers, written from the paper's definition."""
    for r in range(10):
        left, right = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        round_key = [(key[0] + r * 0x9E3779B9) % 2**32, (key[1] + r * 0xBB67AE85) % 2**32]
        counter = [
            (right >> 32) ^ counter[1] ^ round_key[0],
            right % 2**32,
            (left >> 32) ^ counter[3] ^ round_key[1],
            left % 2**32,
        ]
    return counter


def slow_words(key: int, stream: int, count: int) -> list[int]:
    key, stream = key % 2**64, stream % 2**64
    words = []
    for block in range(-(-count // 4)):
        words += slow_philox([block, 0, stream % 2**32, stream >> 32], [key % 2**32, key >> 32])
    return words


def slow_normals(key: int, stream: int, count: int) -> list[float]:
    words, out = slow_words(key, stream, count), []
    for radius_word, angle_word in zip(words[::2], words[1::2], strict=True):
        radius = math.sqrt(-2 * math.log((radius_word + 0.5) / 2**32))
        angle = 2 * math.pi * angle_word / 2**32
        out += [radius * math.cos(angle), radius * math.sin(angle)]
    return out[:count]


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_published_vectors(counter: list[int], key: list[int], wanted: list[int]) -> None:
    c0, c1, c2, c3 = (torch.tensor([[word]]) for word in counter)
    k0, k1 = (torch.tensor([[word]]) for word in key)
    assert [word.item() for word in philox4x32((c0, c1, c2, c3), (k0, k1))] == wanted
    assert slow_philox(counter, key) == wanted


@settings(max_examples=30)
@given(
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
    stream=st.integers(-(2**63), 2**63 - 1),
    count=st.integers(1, 21),
)
def test_numbers_are_the_slow_twins(keys: list[int], stream: int, count: int) -> None:
    found = normals(as_keys(keys), stream, (count,), dtype=torch.float64)
    wanted = torch.tensor([slow_normals(key, stream, count) for key in keys], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)

    words = torch.tensor([slow_words(key, stream, count)[:count] for key in keys])
    assert torch.equal(uniforms(as_keys(keys), stream, (count,), dtype=torch.float64), words.double() / 2**32)
    assert torch.equal(uniforms(as_keys(keys), stream, (count,)), ((words >> 8).double() / 2**24).float())


def test_a_sample_depends_on_its_key_and_stream_alone() -> None:
    keys = as_keys(derive(0, i, "noise") for i in range(37))
    streams = torch.arange(37) % 5
    whole = normals(keys, streams, (3, 5, 7))
    for part in (slice(0, 1), slice(1, 8), slice(20, 37)):
        assert torch.equal(normals(keys[part], streams[part], (3, 5, 7)), whole[part])
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    assert torch.equal(normals(keys[order], streams[order], (3, 5, 7)), whole[order])
    for i in (0, 13):
        assert torch.equal(normals(keys[i : i + 1], int(streams[i]), (3, 5, 7))[0], whole[i])
    assert torch.equal(normals(keys, streams, (2, 5, 7)).flatten(1), whole.flatten(1)[:, :70])


def test_number_of_threads_changes_nothing() -> None:
    keys = as_keys(range(8))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = normals(keys, 3, (3, 64, 64))
        torch.set_num_threads(2)
        assert torch.equal(normals(keys, 3, (3, 64, 64)), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_are_roundings_of_the_same_numbers(dtype: torch.dtype) -> None:
    keys = as_keys(range(4))
    exact = normals(keys, 1, (100,), dtype=torch.float64)
    assert torch.equal(normals(keys, 1, (100,), dtype=dtype), exact.to(dtype))


def test_moments_and_tails_of_normals() -> None:
    z = normals(as_keys(derive(1, i, "noise") for i in range(64)), 0, (3, 64, 64), dtype=torch.float64)
    n = z.numel()  # 786,432
    for power, wanted, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert (z**power).mean().item() == pytest.approx(wanted, abs=4.5 * math.sqrt(variance / n))
    for level in (0.5, 1.0, 2.0, 3.0, 4.0):
        share = math.erfc(level / math.sqrt(2))
        assert (z.abs() > level).double().mean().item() == pytest.approx(share, abs=4.5 * math.sqrt(share / n))
    assert z.abs().max().item() < 6.77


def test_neighbours_keys_and_streams_are_uncorrelated() -> None:
    keys = as_keys(range(64))  # keys that differ by little, which derive would not give
    a, b = (normals(keys, stream, (4096,), dtype=torch.float64) for stream in (0, 1))
    limit = 4.5 / math.sqrt(a.numel())
    pairs = ((a, b), (a[1:], a[:-1]), (a[:, 1:], a[:, :-1]), (a[:, 2:], a[:, :-2]), (a[:, 4:], a[:, :-4]))
    for left, right in pairs:
        assert abs((left * right).mean().item()) < limit
        assert abs(((left**2 - 1) * (right**2 - 1)).mean().item()) < 2 * limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_fill_the_unit_interval(dtype: torch.dtype) -> None:
    u = uniforms(as_keys(derive(2, i, "level") for i in range(50)), 7, (4000,), dtype=dtype)
    assert u.dtype == dtype
    assert 0 <= u.min().item() < 1e-4
    assert 1 - 1e-4 < u.max().item() < 1
    counts = torch.histc(u.double(), bins=20, min=0, max=1)
    expected = u.numel() / 20
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 43.8  # 0.999 quantile at 19 degrees of freedom


def test_one_number_a_sample_and_none_at_all() -> None:
    keys = as_keys(range(3))
    assert uniforms(keys, 0, ()).shape == (3,)
    assert torch.equal(uniforms(keys, 0, ()), uniforms(keys, 0, (4,))[:, 0])
    assert normals(keys[:0], 0, (2, 3)).shape == (0, 2, 3)
    assert normals(keys, 0, (0, 3)).shape == (3, 0, 3)


def test_large_images_do_not_repeat_their_numbers() -> None:
    """An image of 1024^2 has 3 x 2^20: counters go beyond 16 bits."""
    (u,) = uniforms(as_keys([1]), 0, (3 << 20,), torch.float64)
    assert len(u.unique()) > 0.999 * len(u)


def test_uniforms_refuse_dtypes_in_which_they_would_reach_one() -> None:
    with pytest.raises(UserError, match="two dtypes"):
        uniforms(as_keys([1]), 0, (2,), dtype=torch.float16)


def test_keys_are_twos_complement() -> None:
    assert as_keys([0, 2**63 - 1, 2**63, 2**64 - 1, -1]).tolist() == [0, 2**63 - 1, -(2**63), -1, -1]
    for bad in (2**64, -(2**63) - 1):
        with pytest.raises(UserError, match="64 bits"):
            as_keys([bad])
