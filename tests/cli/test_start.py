"""What starting costs, and that output is the same in a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

QUICK = (
    "--help",
    "list",
    "show table1/E",
    "plan table1",
    "cost table1/E",
    "status",
    "submit table1 --scale smoke --dry-run",
)
DEAR = ("torch", "numpy", "pandas", "matplotlib", "submitit", "rich", "pydantic", "scipy", "PIL")
MODULES = 340
"""More than any of them imports, by a fifth. How long it takes is in `benchmarks/bench.py`, against a named peer."""

PROBE = f"""
import sys
from hdit_repro.cli import main
code = main(sys.argv[1:])
print(len(sys.modules), file=sys.stderr)
print("loaded", [name for name in {DEAR!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("line", QUICK)
def test_quick_commands_import_nothing_dear(line: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *line.split()], capture_output=True, encoding="utf-8", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    *_, modules, loaded = done.stderr.splitlines()
    assert loaded == "loaded []"
    assert int(modules) < MODULES
    assert "\x1b" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_failure(closed: str, tmp_path: Path) -> None:
    line = f"{quote(sys.executable)} -m hdit_repro.cli cost table1/E {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ("attention" in done.stdout) == (closed == "2>&-")


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    line = f"{quote(sys.executable)} -m hdit_repro.cli cost --json | head -c 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.stdout == "["
    assert "Traceback" not in done.stderr


def test_the_package_is_a_command_too(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "hdit_repro", "--version"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.startswith("hdit-repro ")


STOPPED = """
import builtins, sys
load = builtins.__import__

def interrupted(name, *others):
    if name == "typer":
        raise KeyboardInterrupt
    return load(name, *others)

builtins.__import__ = interrupted
from hdit_repro.cli import main
sys.exit(main(["list"]))
"""


def test_an_interrupt_while_the_command_is_loaded_is_told_and_not_traced() -> None:
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "stopped, and nothing was begun\n")
