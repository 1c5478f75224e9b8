"""Sides of a benchmark in processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def turns(script):
    return script("turns")


def test_a_side_lives_in_a_process_of_its_own_and_keeps_its_state(turns):
    side = turns.OwnProcess(list, [3, 1, 2])
    try:
        assert side.later("pop").result() == 2
        assert side.ask("__len__") == 2
        (pid,) = side._process._processes
        assert pid != os.getpid()
    finally:
        side.end()


def test_what_goes_wrong_there_is_raised_here(turns):
    side, unmade = turns.OwnProcess(list), turns.OwnProcess(int, "two")
    try:
        with pytest.raises(IndexError, match="pop from empty list"):
            side.ask("pop")
        assert side.ask("__len__") == 0
        with pytest.raises(ValueError, match="invalid literal"):
            unmade.ask("bit_length")
    finally:
        side.end()
        unmade.end()


def test_a_benchmark_that_is_killed_takes_its_sides_along(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import time\nfrom turns import OwnProcess\n"
        "if __name__ == '__main__':\n"
        "    side = OwnProcess(list)\n    side.ask('__len__')\n"
        "    print(*side._process._processes, flush=True)\n    time.sleep(600)\n"
    )
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "benchmarks")}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=there) as bench:
        pid = int(bench.stdout.readline())
        bench.kill()
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}/exe").exists()


def test_all_take_their_turn_and_medians_count(turns):
    asked = []

    def seconds(side):
        asked.append(side)
        return [float(len(asked)), 100.0] if side == "slow" else [1.0]

    assert turns.in_turns({"a": "fast", "b": "slow"}, 3, seconds) == {"a": 1.0, "b": 53.0}
    assert asked == ["fast", "slow"] * 3
