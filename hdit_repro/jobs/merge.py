"""How one table of a job file is laid over another. No torch."""

from __future__ import annotations

from itertools import accumulate
from typing import Any


def overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: tables merge key by key, everything else is replaced.

    A table that names another `kind` than the one below replaces it whole, since its fields are other fields.
    Neither argument is changed.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if (
            isinstance(value, dict)
            and isinstance(below, dict)
            and value.get("kind", below.get("kind")) == below.get("kind")
        ):
            merged[key] = overlay(below, value)
        else:
            merged[key] = overlay({}, value) if isinstance(value, dict) else value
    return merged


def new_kinds(under: dict[str, Any], over: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name -> kind, of the tables that `over` laid on `under` makes another kind, or adds with one."""
    found: dict[str, Any] = {}
    for key, value in over.items():
        if isinstance(value, dict):
            below = under.get(key)
            below = below if isinstance(below, dict) else {}
            if value.get("kind", below.get("kind")) != below.get("kind"):
                found[f"{prefix}{key}"] = value["kind"]
                below = {}
            found |= new_kinds(below, value, f"{prefix}{key}.")
    return found


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value, of all values that are no tables ("training.optimizer.betas")."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def drop_under(sources: dict[str, str], names: list[str]) -> dict[str, str]:
    """`sources` without remarks on `names` or on anything inside them: a value that was replaced loses its remark."""
    gone = set(names)
    return {key: remark for key, remark in sources.items() if gone.isdisjoint(_prefixes(key))}


def _prefixes(name: str) -> list[str]:
    """ "a.b.c" -> ["a", "a.b", "a.b.c"]."""
    return list(accumulate(name.split("."), lambda outer, inner: f"{outer}.{inner}"))
