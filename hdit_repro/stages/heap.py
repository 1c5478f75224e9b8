"""Memory on a CPU: what a step frees stays with the process, for the next step asks for it again."""

from __future__ import annotations

import ctypes

LARGEST = 32 * 2**20
"""Bytes of the largest block that glibc agrees to keep (its DEFAULT_MMAP_THRESHOLD_MAX on 64 bits)."""
MOST = 2**31 - 1
"""Bytes that may lie unused at the end of the heap: the most that the setting can say."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep freed blocks of up to `LARGEST` bytes, for as long as the process lives.

    Left alone it gives the end of its heap back to the system after a step and asks for it anew, page by page, in the
    next: thousands of page faults a step, more or fewer by how the blocks happen to lie. No number depends on it. The
    process holds what it held at most.

    Returns:
        Whether it was agreed to; False where the allocator is not glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, MOST))
