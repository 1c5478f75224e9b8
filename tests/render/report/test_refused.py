"""What a report does with files of runs that the system refuses, and with a disk that is full."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro import jobs
from hdit_repro.errors import RunError
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.render.compare import compare, write_page
from hdit_repro.render.report import build

Measure = Callable[..., Path]


def pictures(folder: Path) -> set[str]:
    """Kinds of what a report shows of runs."""
    return {path.suffix for path in folder.rglob("images/*")}


def test_files_of_a_run_that_are_refused_cost_the_report_no_more(
    roots: Roots, measure: Measure, remains: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Curves and samples of another user's run are left out, with a warning each; they ended the report."""
    for row in ("table1/D", "table1/E"):
        measure(row, "smoke", 200.0)
    folder = RunFolder(roots, jobs.find("table1/E", "smoke").run, "smoke")
    remains(roots, "table1/E", "smoke")
    opened = builtins.open
    hidden = {str(folder.metrics), str(folder.grid)}

    def refuse(path: Any, *others: Any, **named: Any) -> Any:
        if str(path) in hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *others, **named)

    assert pictures(build("smoke", roots).folder) == {".svg", ".png"}
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.warns(UserWarning, match=r"cannot be read \(Permission denied\), and is not shown") as told:
        made = build("smoke", roots)
    assert hidden <= {str(one.message).partition(" ")[0] for one in told}
    assert made.records == 2
    assert pictures(made.folder) == set()
    with pytest.warns(UserWarning, match="is not shown"):
        write_page(compare("table1/D", "table1/E", "smoke", roots), roots, roots.runs / "page")


def test_a_pipe_in_the_place_of_a_curve_or_of_samples_is_not_waited_for(
    roots: Roots, measure: Measure, remains: Callable[..., None]
) -> None:
    """Opening one that nobody writes to would never come back."""
    measure("table1/E", "smoke", 200.0)
    folder = RunFolder(roots, jobs.find("table1/E", "smoke").run, "smoke")
    remains(roots, "table1/E", "smoke")
    for path in (folder.metrics, folder.grid):
        path.unlink()
        os.mkfifo(path)
    with pytest.warns(UserWarning, match="a pipe, a device or a socket, and no file") as told:
        made = build("smoke", roots)
    assert {str(folder.metrics), str(folder.grid)} <= {str(one.message).partition(" ")[0] for one in told}
    assert (made.records, pictures(made.folder)) == (1, set())


def test_a_full_disk_is_told_with_the_report_and_leaves_the_one_before(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build("smoke", roots).first.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match="no space left to write smoke") as told:
            build("smoke", roots)
    assert str(roots.runs / "report" / "smoke") in str(told.value.found)
    assert (roots.runs / "report" / "smoke" / "index.html").read_bytes() == before
    assert [path.name for path in (roots.runs / "report").iterdir()] == ["smoke"]
