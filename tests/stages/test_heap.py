"""Freed memory is kept: counted in page faults and in the allocator's own books, in processes of their own."""

import ctypes
import json
import platform
import subprocess
import sys
from types import SimpleNamespace

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


PAGES = """
import json, re
import torch
from hdit_repro.stages.heap import HugePages, keep_freed_memory

def huge():
    with open("/proc/self/smaps") as file:
        parts = file.read().split("[heap]")[1:]
    sizes = (re.search(r"AnonHugePages: +(\\d+) kB", part).group(1) for part in parts)
    return 1024 * sum(map(int, sizes))

keep_freed_memory()
pages = HugePages()
held = [torch.full((2**20,), float(number)) for number in range(32)]  # 4 MiB each
first, again = pages.look(), pages.look()
values = [float(block.sum()) / 2**20 for block in held]
more = [torch.ones(2**20) for _ in range(8)]
print(json.dumps({"first": first, "again": again, "second": pages.look(), "huge": huge(), "values": values}))
"""


def pages_of_a_heap() -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="no Linux with glibc")
def test_what_the_heap_grew_by_is_asked_for_once_and_stays_what_it_was():
    found = pages_of_a_heap()
    assert found["values"] == list(range(32))
    if not found["first"]:
        pytest.skip("this kernel has no large pages")
    assert 2**26 <= found["first"] <= 2**28  # 128 MiB, less what fitted into room that imports had left
    assert found["first"] % heap.HUGE == found["second"] % heap.HUGE == 0
    assert found["again"] == 0
    assert 2**24 <= found["second"] <= 2**26
    if not found["huge"]:
        pytest.skip("no large page was free")
    assert found["huge"] <= found["first"] + found["second"]


def test_a_kernel_without_large_pages_is_asked_once(monkeypatch):
    ends, asked = iter([0, 2**23, 2**24]), []

    def refuse(first, length, advice):
        asked.append((first, length, advice))
        return -1

    libc = SimpleNamespace(sbrk=lambda _: next(ends), madvise=refuse)
    monkeypatch.setattr(heap.sys, "platform", "linux")
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: libc)
    pages = heap.HugePages()
    assert (pages.look(), pages.look()) == (0, 0)
    assert asked == [(0, 2**23, heap.MADV_HUGEPAGE)]


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    assert heap.HugePages().look() == 0
