"""Whatever stands in place of a value of a job file or a profile, it is refused in four parts, or it can be planned."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.jobs.files import PARTS
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import make_plan
from hdit_repro.launch.slurm.bill import planned_idle
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots

WRONG = (None, True, -1, 0, 2**63, 1e-320, math.nan, math.inf, "", "24:00:00", [], [1, 2], {"kind": "x"})
"""None leaves the key out."""

AT_EACH = 3
"""Of these, so that no minutes pass: the next ones at the next place."""

Place = tuple[str | int, ...]


def places(tree: Any, at: Place = ()) -> Iterator[Place]:
    """Every value of a tree, tables and lists too."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def others(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tree with other values at each place, and in words which."""
    wrong = itertools.cycle(WRONG)
    for place, value in ((place, next(wrong)) for place in places(tree) for _ in range(AT_EACH)):
        other = copy.deepcopy(tree)
        around = other
        for key in place[:-1]:
            around = around[key]  # type: ignore[index]
        if value is None:
            del around[place[-1]]  # type: ignore[arg-type]
        else:
            around[place[-1]] = value  # type: ignore[index]
        yield f"{'.'.join(map(str, place))} = {value!r}", other


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, float) else json.dumps(value)


def plain(value: Any) -> Any:
    """A value as TOML can hold it: without None, and lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def broken(path: Path, tree: dict[str, Any], head: str, try_it: Callable[[], object]) -> dict[str, str]:
    """What other values do that is neither a refusal in four parts nor a plan, in words; each is written to `path`."""
    found: dict[str, str] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, (words, other) in enumerate([("nothing else", tree), *others(tree)]):
        path.write_text(head + "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in other.items()))
        os.utime(path, (number, number))  # files are read once for each time of change
        try:
            try_it()
        except UserError as error:
            if not (error.found and error.expected and error.fix) or not number:
                found[words] = str(error)
        except Exception as error:
            found[words] = repr(error)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    monkeypatch.chdir(tmp_path)
    return Roots(tmp_path / "runs", tmp_path / "results")


def test_a_row(here: Roots) -> None:
    run = plain(msgspec.to_builtins(jobs.find("table1/E").run))
    tree = {part: run[part] for part in PARTS if part in run} | {"label": "x", "source": {"model.kind": "me"}}
    cluster = read_cluster("a100")

    def plan() -> object:
        return make_plan(jobs.load("mine"), here, cluster)

    assert broken(Path("jobs/mine.toml"), tree, "[row.x]\n", plan) == {}


@pytest.mark.parametrize("name", ["a100", "local"])
def test_a_profile(name: str, here: Roots) -> None:
    shipped = Path(jobs.__file__).parents[2] / "jobs" / "clusters" / f"{name}.toml"
    tree = plain(msgspec.to_builtins(read_cluster(name))) | tomllib.loads(shipped.read_text())
    del tree["name"]
    rows = [jobs.find("table1/E", scale) for scale in ("paper", "smoke")]

    def plan() -> object:
        profile = read_cluster("mine")
        stages = make_plan(rows, here, profile)
        return planned_idle(rows, here, stages, profile) if isinstance(profile, Slurm) else stages

    assert broken(Path("jobs/clusters/mine.toml"), tree, "", plan) == {}
