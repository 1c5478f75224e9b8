"""Peak speeds of cards, from their makers' data sheets: dense multiply-adds, without sparsity. No torch."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Arithmetic = Literal["bfloat16", "tf32", "float32"]


class Card(NamedTuple):
    """Peak in 1e12 floating-point operations a second, and memory in GiB as sold."""

    bfloat16: float
    tf32: float
    float32: float
    memory: float


CARDS: dict[str, Card] = {
    "A100-SXM4-40GB": Card(312.0, 156.0, 19.5, 40),
    "A100-PCIE-40GB": Card(312.0, 156.0, 19.5, 40),
    "A100": Card(312.0, 156.0, 19.5, 80),
    "A800": Card(312.0, 156.0, 19.5, 80),
    "A40": Card(149.7, 74.8, 37.4, 48),
    "A30": Card(165.0, 82.0, 10.3, 24),
    "A10": Card(125.0, 62.5, 31.2, 24),
    "RTX A6000": Card(154.8, 77.4, 38.7, 48),
    "H100 PCIe": Card(756.0, 378.0, 51.0, 80),
    "H100 NVL": Card(835.5, 417.5, 60.0, 94),
    "H100": Card(989.4, 494.7, 66.9, 80),
    "H200": Card(989.4, 494.7, 66.9, 141),
    "H200 NVL": Card(835.5, 417.5, 60.0, 141),
    "GH200": Card(989.4, 494.7, 66.9, 96),
    "H800": Card(989.4, 494.7, 66.9, 80),
    "B200": Card(2250.0, 1125.0, 75.0, 180),
    "L40S": Card(362.0, 183.0, 91.6, 48),
    "L40": Card(181.0, 90.5, 90.5, 48),
    "L4": Card(121.0, 60.0, 30.3, 24),
    "RTX 3090": Card(71.0, 35.6, 35.6, 24),
    "RTX 4090": Card(165.2, 82.6, 82.6, 24),
}
"""A name that is found in what the driver calls the card -> its peaks; the longest name that fits counts."""


def card_key(name: str) -> str | None:
    """What CARDS calls the card that the driver calls `name` ("NVIDIA A100-SXM4-80GB"), or None."""
    words = name.replace("_", " ").replace("-", " ").casefold().split()

    def fits(known: str) -> bool:
        wanted = known.replace("-", " ").casefold().split()
        return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))

    fitting = sorted((known for known in CARDS if fits(known)), key=len)
    return fitting[-1] if fitting else None


def find_card(name: str) -> Card | None:
    """The card that the driver, or a site, calls `name`, or None where it is unknown.

    Memory is the name's own where that is less ("A100-40GB", a slice's "MIG 1g.5gb"): a "GH200 480GB" has its host's.
    """
    key = card_key(name)
    if key is None:
        return None
    own = [float(size) for size in re.findall(r"(\d+) ?gb\b", name.replace("_", " ").casefold())]
    return CARDS[key]._replace(memory=min([CARDS[key].memory, *own]))


def peak(name: str, arithmetic: Arithmetic) -> float | None:
    """Floating-point operations a second at most, or None for a card that is not known."""
    card = find_card(name)
    return None if card is None else float(getattr(card, arithmetic)) * 1e12


def training_flops(macs: int) -> int:
    """Floating-point operations of one training step on one image: two a multiply-accumulate, and three passes' worth
    (forward once, backward twice)."""
    return macs * 2 * 3


def mfu(macs: int, images_per_second: float, peak_flops: float) -> float:
    """Model FLOPs utilisation, 0 to 1. Recomputed activations do not count as work.

    Args:
        macs: of one forward pass of one image (`cost.count`).
        images_per_second: of one card.
        peak_flops: of that card (`peak`).
    """
    return training_flops(macs) * images_per_second / peak_flops
