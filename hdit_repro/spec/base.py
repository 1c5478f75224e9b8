"""The two kinds of spec: plain structs, and members of a tagged union (`kind = "..."` in a job file)."""

from __future__ import annotations

from typing import Any

import msgspec

LARGEST = 2**63 - 1
"""Of whole numbers: what int64 holds."""

LEAST_REAL, LARGEST_REAL = 1.2e-38, 3.4e38
"""Of numbers with a point, but for 0: what float32 holds, below which many processors take 0."""


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, typed value. Unknown fields and wrong types are refused when it is read."""

    def __post_init__(self) -> None:
        require_sizes(self)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=""):
    """A member of a tagged union; `kind` says which."""

    def __post_init__(self) -> None:
        require_sizes(self)


def kind_of(choice: msgspec.Struct) -> str:
    """The tag under which a choice stands in job files ("neighborhood", "dpmpp_3m_sde")."""
    return str(choice.__struct_config__.tag)


def fields_of(choice: msgspec.Struct) -> dict[str, Any]:
    """What a choice says besides its kind, by field."""
    return {name: getattr(choice, name) for name in choice.__struct_fields__}


def kinds(union: Any) -> tuple[str, ...]:
    """The tags of a union of choices, in the order of its definition."""
    members = getattr(union, "__args__", (union,))
    return tuple(str(member.__struct_config__.tag) for member in members)


class Impossible(ValueError):
    """A value that cannot be, and what mends it; empty where the message says enough."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


def require(holds: bool, message: str, fix: str = "") -> None:
    """Refuse an impossible value. The reader of job files adds the file and the key.

    Raises:
        Impossible: with `message` and `fix`, if `holds` is false.
    """
    if not holds:
        raise Impossible(message, fix)


def require_digest(name: str, digest: str) -> None:
    """Refuse what is no SHA-256.

    Raises:
        ValueError: with `name`, the field.
    """
    require(
        len(digest) == 64 and set(digest) <= set("0123456789abcdef"),
        f"{name} is SHA-256 in 64 hexadecimal digits, and {digest!r} is not",
    )


def require_sizes(spec: msgspec.Struct) -> None:
    """Refuse numbers that are not finite, or that no computation here can hold.

    Raises:
        ValueError: with the field and the bound.
    """
    for name in spec.__struct_fields__:
        value = getattr(spec, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float):  # NaN is below nothing
                require(
                    number == 0 or LEAST_REAL <= abs(number) <= LARGEST_REAL,
                    f"{name} must be finite and fit float32, and {number} does not",
                )
            elif isinstance(number, int):
                require(abs(number) <= LARGEST, f"{name} must fit int64, and {number} does not")
