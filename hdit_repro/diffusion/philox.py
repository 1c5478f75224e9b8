"""Philox4x32-10 (Salmon et al., 2011): 128 random bits from a counter and a key, with no state between them.

Words are 32 bits in int64 tensors: torch multiplies those on every device, and the low 64 bits of a product are the
same signed or unsigned.
"""

from __future__ import annotations

from torch import Tensor

MASK = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox4x32(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four words for each counter.

    Args:
        counter: four int64 tensors of 32-bit words, which broadcast with each other and with the key.
        key: two int64 tensors of 32-bit words.

    Returns:
        Four int64 tensors of 32-bit words in the broadcast shape.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIER[0], c2 * MULTIPLIER[1]
        # c1 and c3 keep their high halves: they meet only exclusive ors, after which the mask takes all high bits.
        c0, c2 = _high(p1, c1, k0), _high(p0, c3, k1)
        c1, c3 = p1, p0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1 & MASK, c2, c3 & MASK


def _high(product: Tensor, word: Tensor, key: Tensor) -> Tensor:
    """The product's high word, mixed with a word and a key. In place once both have their full shape."""
    mixed = word ^ key
    high = product >> 32
    high = high.bitwise_xor_(mixed) if high.shape == mixed.shape else high ^ mixed
    return high.bitwise_and_(MASK)
