"""What a field of a job file takes, in words, and how a value of another type is mended."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from msgspec import inspect

WORDS: dict[type, str] = {
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StrType: "a text",
}

FITTING: dict[type, tuple[type, ...]] = {
    inspect.BoolType: (bool,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, float),
    inspect.StrType: (str,),
}
"""What TOML's values of a plain type are read as."""


def as_written(value: Any) -> str:
    """A value about as a job file has it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def members(kind: Any) -> list[Any]:
    """The types of a union; of any other type, itself."""
    return list(getattr(kind, "types", ())) or [kind]


def tags(kind: Any) -> list[str]:
    """The values that `kind` may have in a tagged union; none where it is no such union."""
    return [str(member.tag) for member in members(kind) if getattr(member, "tag", None) is not None]


def items(kind: Any) -> Any:
    """The type of what a list holds; None where it is no list."""
    return getattr(kind, "item_type", None) or next(iter(getattr(kind, "item_types", ())), None)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of one of the plain types that a field takes; true and false are no numbers."""
    fitting = [FITTING.get(type(member), ()) for member in members(kind)]
    return any(isinstance(value, types) and (bool in types or not isinstance(value, bool)) for types in fitting)


def in_words(kind: Any) -> str:
    """What a type takes: "a whole number", "a list, each a whole number", "a table with a kind of: heun, euler"."""
    if names := tags(kind):
        return f"a table with a kind of: {', '.join(names)}"
    if len(members(kind)) > 1:
        return ", or ".join(in_words(member) for member in members(kind))
    if (item := items(kind)) is not None:
        return f"a list, each {in_words(item)}"
    if fields := getattr(kind, "fields", ()):
        return f"a table of: {', '.join(field.encode_name for field in fields)}"
    if values := getattr(kind, "values", ()):
        return f"one of: {', '.join(map(str, values))}"
    return WORDS.get(type(kind), "a value of another type")


def mended(key: str, value: Any, kind: Any) -> str:
    """What was probably meant ("steps = 400_000"), or "" where the words of `in_words` must do."""
    meant = _meant(value, kind)
    return meant if not meant or key.endswith("]") else f"{key} = {meant}"


def _meant(value: Any, kind: Any) -> str:
    if isinstance(value, str) and value in tags(kind):
        return f'{{ kind = "{value}" }}'
    if items(kind) is not None and not isinstance(value, list):
        return "[{ ... }]" if isinstance(value, dict) else f"[{_meant(value, items(kind)) or as_written(value)}]"
    if isinstance(kind, inspect.StrType) and fits(value, inspect.FloatType()):
        return f'"{as_written(value)}"'
    number = value
    if isinstance(value, str):
        if isinstance(kind, inspect.BoolType):
            return value.lower() if value.lower() in ("true", "false") else ""
        with contextlib.suppress(ValueError):
            number = float(value)
    if not isinstance(number, float):
        return ""
    if isinstance(kind, inspect.IntType):
        return f"{int(number):_}" if number.is_integer() else ""
    return f"{number:g}" if isinstance(kind, inspect.FloatType) else ""
