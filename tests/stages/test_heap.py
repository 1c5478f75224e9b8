"""Freed memory is kept: counted in page faults and in the allocator's own books, in processes of their own."""

import ctypes
import json
import platform
import subprocess
import sys

import pytest

from hdit_repro.stages import heap

STEPS = """
import ctypes, json, resource, sys
import torch

class Books(ctypes.Structure):  # mallinfo2 of malloc.h
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

books = ctypes.CDLL(None).mallinfo2
books.restype = Books
if sys.argv[1] == "prepared":
    from hdit_repro.stages.device import prepare
    from hdit_repro.stages.settings import Settings
    prepare(Settings(device="cpu"))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
mapped = books().hblkhd
held = [torch.ones(2**22)]
mapped = books().hblkhd - mapped
for step in range(4):
    before = faults()
    held = [torch.ones(2**22) for _ in range(6)]  # 16 MiB each
    del held
print(json.dumps({"mapped": mapped, "heap": books().arena, "faults": faults() - before}))
"""


def steps(how: str) -> dict[str, int]:
    """Bytes mapped for the first block, of the heap in the end, and page faults of the last of a few equal steps."""
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc of 2.33 or newer"
)
def test_a_step_on_a_cpu_takes_the_pages_of_the_one_before():
    """Blocks come from the heap, which never shrinks; left alone, the first large one is mapped by itself."""
    found = steps("prepared")
    assert (found["mapped"], found["faults"] < 100) == (0, True)
    assert found["heap"] > 6 * 2**24
    assert steps("left alone")["mapped"] >= 2**24


def test_an_allocator_that_is_not_glibcs_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    assert not heap.keep_freed_memory()
