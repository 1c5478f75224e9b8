"""Memory on a CPU: what a step frees stays with the process, in large pages, for the next step asks for it again."""

from __future__ import annotations

import ctypes
import sys

LARGEST = 32 * 2**20
"""Bytes of the largest block that glibc agrees to keep (its DEFAULT_MMAP_THRESHOLD_MAX on 64 bits)."""
MOST = 2**31 - 1
"""Bytes that may lie unused at the end of the heap: the most that the setting can say."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
HUGE = 2**21
"""Bytes of a large page: of x86-64, and of ARM where small ones have 4 KiB."""
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # Linux, asm-generic/mman-common.h


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


class HugePages:
    """Brings what the heap grows by into large pages, so that the products of a step wait for addresses less often.

    Under the setting "madvise", which many systems have, Linux gives them to a heap only where it is asked to. No
    number depends on it. The heap as it is when this is made stays as it is.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if self._libc is not None:
            self._libc.sbrk.restype = ctypes.c_size_t
            self._libc.madvise.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
            self._first = -(-self._libc.sbrk(0) // HUGE)

    def look(self) -> int:
        """Ask for whole large pages of what has come since the last look.

        Returns:
            The bytes that were asked for; 0 where there is nothing new, or the system has no such pages.
        """
        if self._libc is None:
            return 0
        first, last = self._first, self._libc.sbrk(0) // HUGE
        if last <= first:
            return 0
        start, length = first * HUGE, int(last - first) * HUGE
        if self._libc.madvise(start, length, MADV_HUGEPAGE) != 0:
            self._libc = None
            return 0
        self._libc.madvise(start, length, MADV_COLLAPSE)  # at once, from Linux 6.1; older ones do it in their own time
        self._first = last
        return length
