"""Every value of a cluster's profile changes what is submitted: scripts, what jobs are told, what is said of it. No
scheduler, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
from msgspec import inspect

from hdit_repro.cli.plan import print_plan
from hdit_repro.cli.slurm import confirmed
from hdit_repro.errors import UserError
from hdit_repro.launch.clusters import Cluster, read_cluster, workplace
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import submit as submit_to_slurm
from hdit_repro.launch.submit import submit

FILE = ("name",)
"""What the name of the profile's file says."""

LIMITS = ("ask_above_gpu_hours", "submit_cap")
"""What can do no more than refuse a submission."""

WORDS_AND_PRICES = ("gpu", "speed_basis", "price_per_gpu_hour", "cpu_macs_per_second", "cpu_features_per_second")
"""What a plan and a bill say, and no job needs to know."""

WORDS = ("debug", "gpu:a100", "mem", "/local")
"""A partition, a gres and a parameter of sbatch that the site below has, and a folder; any is a word elsewhere."""


def fields(kind: type[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], inspect.Type]]:
    """Every field of a struct, and of the structs within it."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        if isinstance(field.type, inspect.StructType):
            yield from fields(field.type.cls, (*path, field.name))
        else:
            yield (*path, field.name), field.type


def others(kind: inspect.Type, value: Any = None) -> list[Any]:
    """Values of a type that might stand in place of one."""
    match kind:
        case inspect.BoolType():
            return [not value]
        case inspect.IntType():
            return [value + 1, 2 * value, value // 2, value + 1000] if value else [1, 1000]
        case inspect.FloatType():
            return [2 * value, value / 2, 0.0] if value else [0.5, 60.0]
        case inspect.StrType():
            return [*WORDS]
        case inspect.LiteralType():
            return [word for word in kind.values if word != value]
        case inspect.VarTupleType():
            return [[item] for item in others(kind.item_type)]
        case inspect.DictType():
            return [{"comment": item} for item in WORDS]
    raise AssertionError(f"no other value is known of {kind}")


class Seen(NamedTuple):
    """What a submission hands over (scripts, stages, settings), what the plan and it say, and why it is refused."""

    handed: list[str]
    said: list[str]
    refused: str = ""

    def differs(self, other: Seen, field: str) -> bool:
        """Whether the field that makes the difference does what it is for."""
        if field in LIMITS:
            return self.refused != other.refused
        if self.refused or other.refused:
            return False
        return self.said != other.said if field in WORDS_AND_PRICES else self.handed != other.handed


def told(function: Any) -> str:
    """What a job or a worker is handed: its stages and how they run."""
    names = ("settings", "gpus", "numbers", "packed", "environment", "command")
    stages = [(task.key, task.folder.path) for task in getattr(function, "tasks", ())]
    return str((stages, [getattr(function, name, None) for name in names]))


def without_effect(profile: Cluster, seen: Callable[[Cluster], Seen]) -> dict[str, str]:
    """Fields of which no other value changes what is seen as it should, each with the last refusal of one."""
    before = seen(profile)
    assert before == seen(profile)
    assert not before.refused
    found: dict[str, str] = {}
    for path, kind in fields(type(profile)):
        if path[0] in FILE:
            continue
        tree = at = msgspec.to_builtins(profile)
        for name in path[:-1]:
            at = at[name]
        refused = ""
        for other in others(kind, at[path[-1]]):
            at[path[-1]] = other
            try:
                now = seen(msgspec.convert(tree, type(profile)))
            except msgspec.ValidationError as error:
                refused = str(error)
                continue
            if now.differs(before, path[-1]):
                break
            refused = now.refused
        else:
            found[".".join(path)] = refused
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of_a_cluster(
    here: Path, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of Table 1 at two scales, as they are submitted to a site of two partitions."""
    (fake.here / "sinfo").write_text("#!/bin/bash\nprintf '%s|up|2|gpu:a100:8|idle\\n' a100 debug\n")
    monkeypatch.setattr("os.fsync", lambda file: None)  # hundreds of submissions
    handed: list[str] = []

    def hand(executor: Executor, functions: Sequence[Any]) -> str:
        handed.extend([executor.text, f"{executor.after} {executor.max_num_timeout}", *map(told, functions)])
        return str(len(handed))

    monkeypatch.setattr(Executor, "submit_unit", hand)
    profile = msgspec.structs.replace(
        read_cluster("h100"),
        partition="a100",
        gres="gpu",
        train_gpus=8,
        shard_hours=0.1,
        time_limit_hours=4.0,
        max_array_size=2,
        throttle=1,
        ask_above_gpu_hours=1e9,
    )

    def seen(profile: Cluster) -> Seen:
        assert isinstance(profile, Slurm)
        roots = workplace(cluster=profile)
        found = Seen([], [])
        for scale in ("paper", "mini"):
            handed.clear()
            jobs = wanted("table1", scale, ["A", "E"])
            print_plan(make_plan(jobs, roots, profile), profile)
            ask = confirmed(False)
            try:
                made = submit_to_slurm(jobs, roots, profile, render=("this",), allow_dirty=True, confirm=ask)
            except UserError as error:
                return found._replace(refused=f"{capsys.readouterr()} {error}")
            found.handed.extend(text.replace(made.session, "") for text in handed)
            found.said.extend(capsys.readouterr())
        return found

    assert without_effect(profile, seen) == {}


class Noting:
    """submitit's local executor, which hires nobody and notes what it is given."""

    given: ClassVar[list[str]] = []

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def update_parameters(self, timeout_min: int) -> None:
        pass

    def submit(self, function: Any) -> Any:
        Noting.given.append(told(function))
        return SimpleNamespace(job_id=len(Noting.given))


def test_of_this_machine(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of Table 1 as their workers are hired."""
    monkeypatch.setattr("submitit.LocalExecutor", Noting)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    profile = msgspec.structs.replace(read_cluster("local"), jobs_at_once=1)

    def seen(profile: Cluster) -> Seen:
        Noting.given = []
        roots, jobs = workplace(cluster=profile), wanted("table1", "smoke", ["A", "E"])
        print_plan(make_plan(jobs, roots, profile), profile)
        submit(jobs, roots, profile)
        return Seen(Noting.given, [*capsys.readouterr()])

    assert without_effect(profile, seen) == {}
