"""Progress on a terminal: nothing of it is cut off, however narrow."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace

import pytest

from hdit_repro.launch import follow
from hdit_repro.launch.follow import Bars, Plain, Telling
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.status import Row
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("run", ["table1/E", "alternatives/imagenet256-sigma-1000"])
def test_bars_say_all_at_any_width(width: int, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    bars = Bars(stream)
    bars.update([running(run)], "3 of 30 stages done, about 12 min left", 0.1)
    bars.close()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert ("━" in "".join(lines)) is (width >= 80)
    assert len(re.findall(r"\d:\d\d:\d\d", "\n".join(lines))) >= 2
    shown = "".join(re.sub(r"\d:\d\d:\d\d", "", "".join(lines)).split())
    for word in ("120/240,", "0.412,", "images/s,", "2", "min", "left", "30", "stages", "12"):
        assert word in shown


def test_a_stage_that_ends_is_said_once(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nothing was said before."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, time=time.time)
    monkeypatch.setattr(follow, "time", clock)
    stream = io.StringIO()
    tell = Telling(tasks_for(wanted("table1", "smoke", ["E"]), roots)[0], Plain(stream))
    clock.now = 60.0
    tell(Progress("train", 64, 64))
    assert len(stream.getvalue().splitlines()) == 1


def running(run: str) -> Row:
    """A training half-way."""
    return Row(run, (run,), "smoke", "0" * 12, "train", "running", 120, 240, {"loss": 0.412}, 153.0, 120.0, "", 0.0)
