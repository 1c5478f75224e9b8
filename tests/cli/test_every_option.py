"""Every option of every command is read, whichever way the command comes to its end: none is taken in vain."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

import hdit_repro.cli
from hdit_repro.cli.app import COMMANDS, app

Read = frozenset[str]
"""Names that were read on the way to a place."""

WITHOUT = {
    "submit": {"yes": "--dry-run asks nothing"},
    "retry": dict.fromkeys(("allow_dirty", "yes"), "where nothing failed, nothing is submitted"),
}
"""What a command does not read on one of its ways, and why that is right."""

OF_OTHERS = {
    "app._warning": "the signature is that of warnings.formatwarning",
    "app.root": "typer calls `_version` with it",
    "protocols.quiet": "the signature is that of a progress",
}
"""Functions around the commands that take what they do not need."""


def every_command() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    group = typer.main.get_group(app)
    for name in COMMANDS:
        command = group.get_command(None, name)  # type: ignore[arg-type]
        inner = getattr(command, "commands", {})
        found += [(f"{name} {word}", child) for word, child in inner.items()] if inner else [(name, command)]
    return found


def read_in(nodes: Iterable[ast.AST | None]) -> Read:
    inside = (inner for node in nodes if node is not None for inner in ast.walk(node))
    return frozenset(node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def ways(body: Sequence[ast.stmt], before: set[Read], ends: list[Read]) -> set[Read]:
    """What was read on each way through some statements; those that return are put to `ends`, and an error is none."""
    for statement in body:
        match statement:
            case ast.Raise():
                return set()
            case ast.Return(value=value):
                ends += [read | read_in([value]) for read in before]
                return set()
            case ast.If(test=test, body=then, orelse=otherwise):
                before = {read | read_in([test]) for read in before}
                before = ways(then, before, ends) | ways(otherwise, before, ends)
            case ast.While(test=ast.Constant(value=True), body=inner):
                before = ways(inner, before, ends)
            case ast.For(body=inner) | ast.While(body=inner):
                head = statement.iter if isinstance(statement, ast.For) else statement.test
                before = {read | read_in([head]) for read in before}
                before |= ways(inner, before, ends)
            case ast.With(items=items, body=inner):
                before = ways(inner, {read | read_in(items) for read in before}, ends)
            case ast.Try(body=inner, handlers=handlers, orelse=otherwise, finalbody=last):
                done = ways(otherwise, ways(inner, before, ends), ends)
                for handler in handlers:
                    done |= ways(handler.body, before, ends)
                before = ways(last, done, ends)
            case _:
                before = {read | read_in([statement]) for read in before}
    return before


def unread(function: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """The names that are not read on some way through a function."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    ends: list[Read] = []
    last = ways(tree.body, {frozenset()}, ends)
    return [name for name in names if any(name not in read for read in (*ends, *last))]


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_option_is_read_whatever_the_way(name: str, command: Any) -> None:
    function = inspect.unwrap(command.callback)
    names = [parameter.name for parameter in command.params if parameter.name != "help"]
    assert [*inspect.signature(function).parameters] == names
    assert unread(function, names) == [*WITHOUT.get(name, ())]


def test_what_commands_hand_on_is_read_there() -> None:
    found: list[str] = []
    for path in sorted(Path(hdit_repro.cli.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            where = f"{path.stem}.{getattr(node, 'name', '')}"
            if isinstance(node, ast.FunctionDef) and where not in OF_OTHERS:
                given = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
                found += [f"{where}: {name}" for name in given if name not in read_in(node.body)]
    assert found == []


def test_an_option_that_one_way_forgets_would_be_found() -> None:
    def command(one: int, two: int, three: int) -> int:
        for _ in range(one):
            if three:
                return two
        with open(str(one)):
            pass
        return one

    assert unread(command, ("one", "two", "three")) == ["two", "three"]
