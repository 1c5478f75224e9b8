"""Turns a refusal of the type checker into a message that names the key, what is allowed, and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import UserError, nearest
from hdit_repro.jobs.values import as_written, fits, in_words, items, members, mended, tags
from hdit_repro.spec.evaluation import KIND_OF
from hdit_repro.spec.run import Run

CANNOT_BE = "a job file asks for what cannot be"
"""Of values that are of their types and go together with no other."""

_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>[^`]+)`")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_VALUE = re.compile(r"^Invalid (?:value|enum value) (?P<value>.+?)(?: - at|$)")
_TYPE = re.compile(r"^Expected `[^`]+`, got `[^`]+`$")
_LENGTH = re.compile(r"^Expected `array` of length (?P<length>\d+), got \d+$")
_POSITION = re.compile(r"\[\d+\]")
_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")

ANY_KEY = "[...]"
"""What msgspec says in place of the key where a table has keys of one's own."""

CLOSE = 0.6
"""How near a name has to come that is offered beside a field of the very name that was written."""


class Shape(NamedTuple):
    """What a table is read as: its type, what to call it, where its fields belong, where one that stands is seen."""

    type: Any
    name: str
    home: str
    example: str


ROW = Shape(Run, "the row", "the row or to [base]", "`hdit-repro show table1/E` prints a row that stands")


def explain(
    error: msgspec.ValidationError, tree: dict[str, Any], place_of: Callable[[str], str], shape: Shape = ROW
) -> UserError:  # fmt: skip
    """The error for a person: file and key, what was found, what is allowed, the nearest name.

    Args:
        error: what msgspec said of `tree`.
        tree: the resolved row, or another table of that shape.
        place_of: from a dotted field to the file, line and row where it stands.
        shape: what `tree` was read as.
    """
    text = str(error)
    place = _PLACE.search(text)
    path = _with_keys(tree, place["path"].lstrip("."), shape) if place else ""
    message = _PLACE.sub("", text)
    unknown = _UNKNOWN.match(message)
    where = place_of(f"{path}.{unknown['field']}".lstrip(".") if unknown else path)
    if unknown:
        name = unknown["field"]
        elsewhere = fields_called(name, path, shape.type)
        return _named("field", name, path or f"the top of {shape.name}", _fields(tree, path, shape), where, elsewhere)
    if match := _VALUE.match(message):
        name = match["value"].strip("'\"")
        called = [repr(KIND_OF[name])] if path.startswith("evaluation.metrics") and name in KIND_OF else []
        return _named("value", name, path, _allowed(tree, path, shape), where, called)
    if match := _MISSING.match(message):
        inner = f"{path}.{match['field']}"
        return UserError(
            f"the field {match['field']!r} is missing",
            found=f"{where}: {path or shape.name} has no {match['field']!r}",
            expected=", ".join(
                _allowed(tree, inner, shape) if match["field"] == "kind" else _fields(tree, path, shape)
            ),
            fix=f"add {match['field']!r} to {shape.home}",
        )
    if _TYPE.match(message):
        return _typed(tree, path, where, shape)
    if match := _LENGTH.match(message):
        kind, value = _walk(tree, path, shape)
        return UserError(
            f"a list has {match['length']} values, no more and no fewer",
            found=f"{where}: {path} = {as_written(value)}",
            expected=in_words(kind),
            fix=f"write {match['length']} of them; {shape.example}",
        )
    return UserError(
        CANNOT_BE,
        found=f"{where}: {path + ': ' if path else ''}{message}",
        expected="values that go together",
        fix=getattr(error.__cause__, "fix", "") or f"change the key named above; {shape.example}",
    )


def _typed(tree: dict[str, Any], path: str, where: str, shape: Shape) -> UserError:
    kind, value = _walk(tree, path, shape)
    key = path.rpartition(".")[2]
    allowed = _allowed(tree, path, shape) if key == "kind" else []
    return UserError(
        "a value has another type than its field",
        found=f"{where}: {path} = {as_written(value)}",
        expected=f"one of: {', '.join(allowed)}" if allowed else in_words(kind),
        fix=mended(key, value, kind) or f"change it; {shape.example}",
    )


def fields_called(name: str, path: str = "", shape: Any = Run) -> list[str]:
    """Where else there is a field of this name: inside of `path`, else anywhere; in lists where nowhere else."""
    here = f"{_POSITION.sub('[]', path)}.{name}"
    for start in (f"{path}.", ""):
        for names in _field_names(shape):
            known = (field for field in names if field.startswith(start) and field != here)
            if found := sorted(field for field in known if field.endswith(f".{name}")):
                return [_in_words(field) for field in found]
    return []


def _in_words(field: str) -> str:
    """A field as a hint names it: "training.steps", or "kernel in an item of model.attention"."""
    around, in_list, inner = field.partition("[].")
    return f"{inner} in an item of {around}" if in_list else field


def offered(name: str, allowed: Iterable[str], elsewhere: list[str]) -> str:
    """What was probably meant by a name that is none, as a question; empty where nothing comes near.

    Args:
        name: what was written.
        allowed: what may stand there.
        elsewhere: what is called just so and stands somewhere else.
    """
    close = nearest(name, allowed, CLOSE) if elsewhere else nearest(name, allowed)
    meant = ([repr(close)] if close else []) + elsewhere
    return f"did you mean {', or '.join(meant)}?" if meant else ""


def _named(
    what: str, name: str, path: str, allowed: list[str], where: str, elsewhere: list[str] | None = None
) -> UserError:  # fmt: skip
    return UserError(
        f"there is no {what} called {name!r} here",
        found=f"{name!r} at {path} in {where}",
        expected=", ".join(allowed) or "something else",
        fix=offered(name, allowed, elsewhere or []) or "use one of the names above",
    )


def field_names() -> frozenset[str]:
    """Dotted names of all fields that a run of any kind has ("model.mapping.width"), and of what holds them."""
    return _field_names(Run)[0]


@lru_cache(maxsize=4)
def _field_names(shape: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Dotted names of all fields of a shape, and of those of what its lists hold ("model.attention[].kernel")."""

    def names(kind: Any, prefix: str) -> set[str]:
        found: set[str] = set()
        for member in members(kind):
            found |= {f"{prefix}kind"} if getattr(member, "tag", None) is not None else set()
            found |= names(items(member), f"{prefix.removesuffix('.')}[].") if items(member) is not None else set()
            for field in getattr(member, "fields", ()):
                name = f"{prefix}{field.encode_name}"
                found |= {name} | names(field.type, f"{name}.")
        return found

    found = names(_described(shape), "")
    in_lists = {name for name in found if "[]." in name}
    return frozenset(found - in_lists), frozenset(in_lists)


@lru_cache(maxsize=4)
def _described(shape: Any) -> Any:
    """A type as msgspec tells of it, which takes longer than all else of a message."""
    from msgspec import inspect

    return inspect.type_info(shape)


def _with_keys(tree: dict[str, Any], path: str, shape: Shape) -> str:
    """A path with the key of the first value that does not fit, in place of the dots that stand for any."""
    around, dots, _ = path.partition(ANY_KEY)
    if not dots:
        return path
    kind, value = _walk(tree, around, shape)
    wrong = [key for key in value if not fits(value[key], kind.value_type)] if isinstance(value, dict) else []
    return f"{around}.{wrong[0]}" if wrong else path


def _steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]


def _walk(tree: Any, path: str, shape: Shape) -> tuple[Any, Any]:
    """The type and the value at a path of the resolved row, following the tags that the row names."""
    kind: Any = _described(shape.type)
    value = tree
    for step in _steps(path):
        kind = _choose(kind, value)
        if isinstance(step, int):
            kind = items(kind)
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            kind = _inner(kind, step)
            value = value.get(step) if isinstance(value, dict) else None
    return kind, value


def _inner(kind: Any, step: str) -> Any:
    """The type of a field, or of what any key of a table of one's own keys holds; None where there is no such field."""
    fields = {field.encode_name: field.type for field in getattr(kind, "fields", ())}
    return fields.get(step, getattr(kind, "value_type", None))


def _choose(kind: Any, value: Any) -> Any:
    """Of a union, the struct whose tag the value names; a list type for a list."""
    for member in members(kind):
        if isinstance(value, dict) and getattr(member, "tag", None) == value.get("kind", getattr(member, "tag", None)):
            return member
        if isinstance(value, list) and (hasattr(member, "item_type") or hasattr(member, "item_types")):
            return member
    return kind


def _fields(tree: dict[str, Any], path: str, shape: Shape) -> list[str]:
    kind, value = _walk(tree, path, shape)
    names = [field.encode_name for field in getattr(_choose(kind, value), "fields", ())]
    return (["kind"] if isinstance(value, dict) and "kind" in value else []) + names


def _allowed(tree: dict[str, Any], path: str, shape: Shape) -> list[str]:
    """The tags of the union whose `kind` was refused, or the values of a list of literals."""
    if path.endswith("kind"):
        kind, _ = _walk(tree, path.removesuffix("kind").rstrip("."), shape)
        return tags(kind)
    kind, _ = _walk(tree, path, shape)
    return [str(value) for member in members(kind) for value in getattr(member, "values", ())]
