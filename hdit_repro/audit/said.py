"""Checks that read what the jobs say: one value of a run, or whether several runs agree in it. No torch."""

from __future__ import annotations

import msgspec

from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed, Value, say
from hdit_repro.audit.fields import look, plain
from hdit_repro.jobs.merge import flatten
from hdit_repro.paper import checks

INFERRED, FORK = "inferred", "fork"
"""How a remark of a job begins where the paper leaves the value open, and where the authors' fork settles it."""


def field(check: checks.Field, bench: Bench) -> Computed:
    """The job's value at a path; at several paths, the list of them."""
    paths = (check.field,) if isinstance(check.field, str) else check.field
    run, job = bench.run(check.run), bench.job(check.run)
    found = [plain(look(run, path), path) for path in paths]
    steps, opened = [], []
    for path, (value, _) in zip(paths, found, strict=True):
        remark = job.source_of(path)
        steps.append(f"{job.name}: {path} = {say(value)}{f' ({remark})' if remark else ''}")
        if remark.startswith((INFERRED, FORK)):
            opened.append(remark.replace(FORK, "the fork's", 1) if remark.startswith(FORK) else remark)
    value, members = found[0]
    if len(found) > 1:
        members = tuple(single for single, _ in found)
        value = say(members)
    return Computed(value, tuple(steps), members=members, remark=_remark(opened))


def _remark(opened: list[str]) -> str:
    return f"the job's value is {'; '.join(dict.fromkeys(opened))}" if opened else ""


def same(check: checks.Same, bench: Bench) -> Computed:
    """Whether all runs have the same value, and where they differ."""
    first, *others = check.runs
    wanted = look(bench.run(first), check.field)
    steps = [f"{first}: {check.field} = {_words(wanted)}"]
    holds = True
    for name in others:
        value = look(bench.run(name), check.field)
        holds &= value == wanted
        differences = _differences(wanted, value, check.field)
        steps.append(f"{name}: {'the same' if value == wanted else '; '.join(differences)}")
    return Computed("the same" if holds else "different", tuple(steps), holds=holds)


def _differences(one: object, other: object, path: str) -> list[str]:
    left, right = (flatten(msgspec.to_builtins({path: value})) for value in (one, other))
    return [
        f"{key} is {say(right.get(key))} and not {say(left.get(key))}"
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key)
    ]


def _words(value: object) -> str:
    leaves: dict[str, Value] = flatten(msgspec.to_builtins({"": value}))
    return ", ".join(f"{key.lstrip('.')} {say(leaf)}".strip() for key, leaf in leaves.items())
