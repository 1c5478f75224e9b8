"""A dotted path into a run: "training.optimizer.betas", "model.levels.head_width", "sampling.sampler.kind"."""

from __future__ import annotations

import contextlib

import msgspec

from hdit_repro.audit.computed import Impossible, Value, say
from hdit_repro.errors import UserError, meant
from hdit_repro.spec.base import Choice, kind_of
from hdit_repro.spec.run import Run


def look(run: Run, path: str) -> object:
    """The value at a path: through attributes and properties, and through lists.

    A number is a position in a list; any other name is taken of every member that has it. `kind` is the tag of a
    choice, or the name of a type that has no alternatives ("AdamW").

    Raises:
        Impossible: the job's choice has no such field (a global attention has no kernel), or its list is shorter.
        UserError: no run has such a field.
    """
    value: object = run
    walked = "run"
    names = path.split(".")
    for place, name in enumerate(names):
        if _is_list(value) and not name.isdigit():
            return _of_members(value, names[place:], walked)
        value = _step(value, name, walked)
        walked = f"{walked}.{name}"
    return value


def plain(value: object, path: str) -> tuple[Value, tuple[Value, ...] | None]:
    """A value as the audit compares it, and its members where it is a list. True is "true", as in a job file.

    Raises:
        UserError: it is a whole part of the run, or nothing at all.
    """
    if _is_list(value):
        assert isinstance(value, tuple)
        members = tuple(plain(member, path)[0] for member in value)
        return say(members), members
    if isinstance(value, bool):
        return say(value), None
    if isinstance(value, int | float | str):
        return value, None
    raise UserError(
        f"{path!r} is no single value",
        found="nothing" if value is None else type(value).__name__,
        expected="a number, a word, a truth or a list of them",
        fix="name a field further down; `hdit-repro show RUN` lists all",
    )


def _of_members(members: object, names: list[str], walked: str) -> tuple[object, ...]:
    assert isinstance(members, tuple)
    first = names[0]
    having = [member for member in members if first == "kind" or _has(member, first)]
    if not having:
        raise Impossible(f"no member of {walked} has a field {first!r}", found=say(tuple(map(_name, members))))
    found = []
    for member in having:
        value: object = member
        for name in names:
            value = _step(value, name, walked)
        found.append(value)
    return tuple(found)


def _step(value: object, name: str, walked: str) -> object:
    if _is_list(value) and name.isdigit():
        assert isinstance(value, tuple)
        if int(name) < len(value):
            return value[int(name)]
        raise Impossible(f"{walked} has no member {name}", found=f"{len(value)} members, counted from 0")
    if name == "kind" and isinstance(value, msgspec.Struct):
        return _name(value)
    if not name.startswith("_"):
        with contextlib.suppress(AttributeError, TypeError):
            return getattr(value, name)
    known = [field for field in dir(value) if not field.startswith("_")]
    kind = Impossible if isinstance(value, Choice) else UserError
    raise kind(
        f"{walked} has no field {name!r}",
        found=f"{name!r} in {_name(value)}",
        expected=", ".join(getattr(type(value), "__struct_fields__", ())) or None,
        fix=meant(name, known),
    )


def _has(value: object, name: str) -> bool:
    with contextlib.suppress(TypeError):
        return hasattr(value, name)
    return False


def _name(value: object) -> str:
    tagged = isinstance(value, msgspec.Struct) and value.__struct_config__.tag
    return kind_of(value) if tagged and isinstance(value, msgspec.Struct) else type(value).__name__


def _is_list(value: object) -> bool:
    """A list of the spec; a named tuple is one value with fields."""
    return isinstance(value, tuple) and not hasattr(value, "_fields")
