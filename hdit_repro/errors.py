"""Errors that teach: what is wrong, what was found, what was expected, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UserError(Exception):
    """A request that cannot be carried out as it stands. The command line shows it and exits with 2.

    Args:
        problem: one sentence, lower case, that says what is wrong.
        found: what was met, with its place (file and key, path, shape).
        expected: what would have been right, or the list of what is allowed.
        fix: the command or the edit that mends it.
    """

    exit_code = 2

    def __init__(self, problem: str, *, found: object = None, expected: object = None, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.fix = fix

    def __str__(self) -> str:
        lines = [" ".join(self.problem.splitlines())]  # it may name what somebody wrote, a line break in it
        for name, text in (("found", self.found), ("expected", self.expected), ("fix", self.fix)):
            if text:
                first, *more = text.splitlines()
                lines += [f"  {name:<9} {first}", *(f"{'':<12}{line.strip()}" for line in more)]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword arguments survive pickling, so that an error crosses from a job to its submitter whole."""
        return _rebuild, (type(self), self.problem, self.found, self.expected, self.fix)


def _rebuild(kind: type[UserError], problem: str, found: object, expected: object, fix: str) -> UserError:
    return kind(problem, found=found, expected=expected, fix=fix)


class RunError(UserError):
    """The request was right and the run or the check failed. The command line exits with 1."""

    exit_code = 1


def escaped(text: str, kept: str = "\n\t") -> str:
    """A text with its control characters spelt out (`\\x1b`), which a terminal would obey: file names may hold any.

    Args:
        text: what is to be printed.
        kept: control characters that stay as they are.
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in kept else repr(found[0])[1:-1], text)


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things in words: "1 record", "2,000 records".

    Args:
        number: how many.
        one: what follows where there is one.
        many: what follows where there is another number; with an s where it is not said.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.55) -> str | None:
    """The known name closest to `name`, in other case first, or None when nothing comes near.

    Args:
        name: what was written.
        known: what there is.
        cutoff: how near a name has to come, of 1, which is the same.
    """
    names = list(known)
    same = [each for each in names if each.casefold() == name.casefold()]
    close = same or get_close_matches(name, names, n=1, cutoff=cutoff)
    return close[0] if close else None


def meant(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """What mends a name that is none: "did you mean 'x'?" of the nearest known one, or `otherwise`."""
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else otherwise


def pick(
    table: Mapping[str, T], name: str, *, kind: str, where: str = "", called: Mapping[str, str] | None = None
) -> T:  # fmt: skip
    """The one look-up behind every registry.

    Args:
        table: what there is, by name.
        name: what is asked for.
        kind: what it is, for the message.
        where: where it was asked for.
        called: names of `table` by what else they are called, which is offered and never taken.

    Raises:
        UserError: `name` is not in `table`; the message lists the names and offers the nearest.
    """
    if name in table:
        return table[name]
    close = (called or {}).get(name) or nearest(name, table)
    raise UserError(
        f"there is no {kind} called {name!r}",
        found=f"{name!r} in {where}" if where else repr(name),
        expected=", ".join(sorted(table)) or "(none are known here)",
        fix=f"did you mean {close!r}?" if close else "use one of the names above",
    )
