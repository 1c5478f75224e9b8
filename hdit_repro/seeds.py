"""From (seed, number, purpose) to one integer seed, the same everywhere and for ever. No torch.

Every random choice of the suite hangs on such a key and not on a generator that somebody advanced before, so that
sample i and draw k are what they are whatever the batch, the shard, the number of processes or a restart.
"""

from __future__ import annotations

import hashlib

BITS = 64


def derive(seed: int, number: int, purpose: str) -> int:
    """An integer in [0, 2**64): the first eight bytes of SHA-256 over the three, little-endian.

    Args:
        seed: the run's seed (any integer).
        number: what is counted: a step, an epoch, a draw, a sample.
        purpose: what it is for ("noise", "order", "init"); other purposes give independent values.
    """
    text = f"hdit-repro/{purpose}/{int(seed)}/{int(number)}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
