"""What a command line that cannot be read is told: the same four lines as every other wrong request."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

import typer

from hdit_repro.errors import UserError, meant

Usage: Any = typer.BadParameter.__base__
"""The parser's own error; typer gives a name to its subclass only."""

EXAMPLE = "Example: "


NO_NUMBER = re.compile(r"is not a valid (int|float)\w*( range)?$")
"""How the parser says that a text is no number."""


def _number(said: re.Match[str]) -> str:
    return "is no whole number" if said[1] == "int" else "is no number"


def shows_help(error: Any) -> bool:
    """Whether the parser only wants to print the help of a group that was called without a command."""
    return type(error).__name__ == "NoArgsIsHelpError"


def teach(error: Any) -> UserError:
    """The parser's error as the project's own, with the nearest name or an example that works.

    Args:
        error: a `Usage`, with the context of the command that was called.
    """
    context = error.ctx
    if context is None:  # the parser met an option without its value
        name = str(getattr(error, "option_name", "an option"))
        return UserError(
            f"{name} needs a value", found=f"nothing after {name}", expected="a value", fix=f"{name} VALUE"
        )
    command, path = context.command, context.command_path
    if error.message.startswith("No such command"):
        return _unknown("command", error.message.split("'")[1], command.list_commands(context), path)
    if hasattr(error, "possibilities"):
        known = [name for each in command.get_params(context) for name in each.opts if name.startswith("-")]
        return _unknown("option", str(error.option_name), known, path)
    parameter = getattr(error, "param", None)
    if parameter is None:
        return UserError(
            f"`{path}` does not take that", found=_plain(error), expected=_usage(context), fix=_example(command, path)
        )
    argument = parameter.param_type_name == "argument"
    name = parameter.make_metavar(context).strip("{}[]") if argument else parameter.opts[0]
    missing = type(error).__name__ == "MissingParameter"
    return UserError(
        f"`{path}` needs {name}" if missing else f"{name} cannot be that",
        found="nothing in its place" if missing else NO_NUMBER.sub(_number, error.message.rstrip(".")),
        expected=parameter.help,
        fix=_example(command, path),
    )


def unreadable(error: Any) -> PermissionError | None:
    """What the system says where the parser found a path that may not be read."""
    found = re.fullmatch(r"\w+ '(.*)' is not readable\.", error.message, re.DOTALL)
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), found[1]) if found else None


def _unknown(kind: str, name: str, known: list[str], path: str) -> UserError:
    return UserError(
        f"`{path}` has no {kind} {name!r}",
        found=repr(name),
        expected=", ".join(known),
        fix=meant(name, known, f"`{path} --help` says what each is for"),
    )


def _plain(error: Any) -> str:
    text = str(error.format_message()).rstrip(".")
    return text[:1].lower() + text[1:]


def _usage(context: Any) -> str:
    return str(context.get_usage()).removeprefix("Usage: ")


def _example(command: Any, path: str) -> str:
    """The example in the help of a command, which a test runs."""
    text = command.help or ""
    return text.split(EXAMPLE)[-1].strip() if EXAMPLE in text else f"{path} --help"
