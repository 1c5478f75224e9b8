"""Which parts of references were measured before: they are kept, and cost nothing. No torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder
from hdit_repro.launch.work import reference_work
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder
from hdit_repro.spec.evaluation import REFERENCE_VERSION, AdmReference
from hdit_repro.spec.run import Run

TOLD = ("version", "dataset", "resolution", "transform", "count", "extractor", "output", "kind")
"""Of the facts in a kept file, those that a run's spec says too. It has the digest of the user's own images alone."""


def kept_facts(folder: Path | None = None) -> list[dict[str, Any]]:
    """What each kept file says that it was computed from.

    Args:
        folder: where they lie; None is the cache.
    """
    with contextlib.suppress(UserError, OSError):  # no home, or another's: then nothing is known to be kept
        where = cache_folder() / "references" if folder is None else folder
        return [facts for path in sorted(where.glob("*.safetensors")) if (facts := facts_in(path))]
    return []


def facts_in(path: Path) -> dict[str, Any]:
    """What a kept file says of itself; nothing where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def kept_parts(run: Run, facts: Iterable[Mapping[str, Any]]) -> set[Hashable]:
    """The parts of `reference_work` that are kept."""
    found = list(facts)
    return {
        part for part, images in reference_work(run).items() if any(_tells(each, run, part, images) for each in found)
    }


def _tells(facts: Mapping[str, Any], run: Run, part: Hashable, images: int) -> bool:
    """Whether a kept file is of this part of a run's reference."""
    assert isinstance(part, tuple)
    spec, data = run.evaluation.reference, run.data
    wanted: dict[str, Any] = {"resolution": data.resolution, "extractor": kind_of(run.evaluation.extractor)}
    if isinstance(spec, AdmReference):
        wanted |= {"dataset": spec.name, "kind": "features"}
        return wanted.items() <= facts.items()
    own = data.dataset if isinstance(data.dataset, Folder) else None
    wanted |= {"version": REFERENCE_VERSION, "transform": data.transform, "count": images}
    wanted["dataset"] = own.name if own else kind_of(data.dataset)
    wanted |= {"single": {"kind": "features"}, "spatial": {"output": "spatial"}}.get(str(part[0]), {})
    if own is not None and facts.get("dataset_digest") != own.digest:
        return False
    return all(facts.get(name) == wanted.get(name) for name in TOLD)
