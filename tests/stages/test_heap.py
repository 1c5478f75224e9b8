"""Freed memory is kept: counted in page faults, in processes of their own."""

import platform
import subprocess
import sys

import pytest

from hdit_repro.stages import heap

STEPS = """
import resource, sys
import torch
if sys.argv[1] == "prepared":
    from hdit_repro.stages.device import prepare
    from hdit_repro.stages.settings import Settings
    prepare(Settings(device="cpu"))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(4):
    before = faults()
    held = [torch.ones(2**22) for _ in range(6)]  # 16 MiB each
    del held
print(faults() - before)
"""


def faults(how: str) -> int:
    """Page faults of the last of a few steps that take 96 MiB and free it."""
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_a_step_on_a_cpu_takes_the_pages_of_the_one_before():
    assert faults("prepared") < 100 < faults("left alone")


def test_an_allocator_that_is_not_glibcs_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    assert not heap.keep_freed_memory()
