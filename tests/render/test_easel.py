"""Drawing beside: the same files, errors that come through, and a process that cannot be had or dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from hdit_repro import paper
from hdit_repro.errors import RunError, UserError
from hdit_repro.records.layout import Roots
from hdit_repro.render.everything import render
from hdit_repro.render.figures import FIGURES, Easel, easel, render_figures
from hdit_repro.render.figures.easel import paint

NAMES = ["figure9", "figure8"]
SVG = ("svg",)
"""Fonts of a PDF take most of a figure's time; all formats are drawn where a workplace is rendered."""


def put_all(drawing: Easel) -> None:
    for name in NAMES:
        drawing.put(name, FIGURES[name].material(paper.read(), {}, "paper"))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easel, "cpus_here", lambda: 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The figures, drawn in this process."""
    return contents(render_figures(tmp_path_factory.mktemp("alone"), {}, NAMES, kinds=SVG))


def contents(paths: list[Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


def test_beside_gives_the_same_bytes_in_the_order_of_asking(
    tmp_path: Path, two: None, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        monkeypatch.setattr(easel, "save", refuse)  # nothing is drawn here
        assert list(contents(drawing.take()).items()) == list(alone.items())


def refuse(*_: object) -> list[Path]:
    raise AssertionError("drawn in the process that asked")


def test_one_processor_draws_by_itself(
    tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(easel, "cpus_here", lambda: 1)
    monkeypatch.setattr(easel, "ProcessPoolExecutor", refuse)
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        assert contents(drawing.take()) == alone


@pytest.mark.parametrize("problem", [OSError("no more processes"), BrokenProcessPool("died")])
def test_a_process_that_cannot_be_had_is_done_without(
    tmp_path: Path, two: None, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    class Refused:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise problem

    monkeypatch.setattr(easel, "ProcessPoolExecutor", Refused)
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        assert contents(drawing.take()) == alone


def test_a_process_that_dies_is_done_without(
    tmp_path: Path, two: None, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(easel, "paint", die_beside)
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        assert contents(drawing.take()) == alone


def die_beside(*arguments: Any) -> list[Path]:
    """`paint`, but for the process beside."""
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return paint(*arguments)


def test_ctrl_c_reaches_the_process_that_asked_and_not_the_one_beside(
    tmp_path: Path, two: None, alone: dict[str, bytes]
) -> None:
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        for process in multiprocessing.active_children():
            os.kill(int(process.pid or 0), signal.SIGINT)
        assert contents(drawing.take()) == alone
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_errors_come_through_whole(tmp_path: Path, two: None) -> None:
    (tmp_path / "file").touch()
    with Easel(tmp_path / "file", SVG, beside=True) as drawing:
        put_all(drawing)
        with pytest.raises(FileExistsError):
            drawing.take()


def test_a_full_disk_is_told_by_the_other_process_too(
    tmp_path: Path, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(easel, "paint", no_room)
    with Easel(tmp_path, SVG, beside=True) as drawing:
        put_all(drawing)
        with pytest.raises(RunError, match="no space left") as told:
            drawing.take()
    assert (told.value.found, told.value.expected, told.value.fix) == ("a", "b", "c")


def no_room(*_: object) -> list[Path]:
    raise RunError("no space left to write figure9.svg", found="a", expected="b", fix="c")


def test_an_error_of_the_tables_leaves_nothing_half_drawn(tmp_path: Path, two: None) -> None:
    def fail() -> None:
        with Easel(tmp_path, SVG, beside=True) as drawing:
            put_all(drawing)
            raise UserError("the tables failed")

    with pytest.raises(UserError, match="tables failed"):
        fail()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_rendering_beside_writes_what_rendering_alone_does(roots: Roots, tmp_path: Path, two: None, measure) -> None:
    measure("guidance/w1.0", "paper", 7.0, score=130.0)
    measure("table1/E", "paper", 27.0)
    asked = ["table1", "figure9"]
    alone, beside = (render("paper", roots, tmp_path / str(flag), asked, beside=flag) for flag in (False, True))
    assert [(item.kind, item.path.name) for item in alone] == [(item.kind, item.path.name) for item in beside]
    assert contents([item.path for item in alone]) == contents([item.path for item in beside])
