"""`cluster check`: a job on each of some nodes says what it sees, and what is wrong with that is said here."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.files import lock, read_json, write_text
from hdit_repro.launch.slurm import preflight, queue
from hdit_repro.launch.slurm.draft import handed_on
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.graph import Resources
from hdit_repro.launch.slurm.journal import last_said, turn
from hdit_repro.launch.slurm.probe import HELD, ProbeJob
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.script import Places, omitted, parameters
from hdit_repro.launch.slurm.snapshot import look, take
from hdit_repro.records.layout import Roots

MINUTES = 11
"""What the job asks for; it takes less than one. Below ten, submitit takes a preemption for a time-out."""

CLOCK = 5.0
"""Seconds by which a node's clock may differ."""


class Checked(NamedTuple):
    """What the nodes saw, and what is wrong, in words."""

    nodes: list[dict[str, Any]]
    wrong: list[str]


def check(profile: Slurm, roots: Roots, nodes: int, patience: float, busy: Callable[[], None] | None = None) -> Checked:
    """Hold the profile against the site, then submit a job on `nodes` nodes with one GPU each and wait for it.

    Args:
        profile: the cluster.
        roots: the workplace.
        nodes: how many.
        patience: seconds until the job is given up.
        busy: called where a submission from this workplace, which may make the same copy of the code, is waited for.

    Raises:
        UserError: the profile does not fit the site.
        RunError: sbatch refuses, or the job does not begin in time; it is cancelled then.
    """
    preflight.check_site(profile)
    preflight.make_folder(roots.runs)
    preflight.check_room(roots.runs, 0)
    code = look(roots, allow_dirty=True)
    with turn(roots, busy):
        take(code)
    folder = roots.runs / "submissions" / f"check-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    token = secrets.token_hex(8)
    write_text(folder / "token", token)
    places = Places(folder, code.path, roots.results.parent, roots.runs)
    resources = Resources(nodes, 1, 1, MINUTES, 0)
    wanted = parameters(profile, "sample", resources, folder.name, places, handed_on())
    executor = Executor(folder, wanted, 1, python=profile.python, omit=omitted(profile))
    preflight.try_script(executor.text)
    sent = time.time()
    with lock(folder / HELD):
        job_id = executor.submit_unit([ProbeJob(folder, token)])
        try:
            _wait(job_id, patience)
        except BaseException:  # Ctrl-C too: nobody is there to read what the job would say
            queue.scancel([job_id])
            raise
    seen = [read_json(path) for path in sorted(folder.glob("node-*.json"))]
    wrong = [problem for node in seen for problem in problems(node, profile, sent)]
    if len(seen) < nodes:
        wrong.insert(0, _lost(folder, job_id, nodes - len(seen)))
    return Checked(seen, wrong)


def problems(node: Mapping[str, Any], profile: Slurm, sent: float) -> list[str]:
    """What is wrong with what a node saw, with the mend.

    Args:
        node: what `ProbeJob` left.
        profile: the cluster.
        sent: when the job was submitted, by this machine's clock.
    """
    name, found = node["node"] or node["host"], []
    if not node["sees_runs"]:
        found.append(f"{name} does not see the folder of runs: name one that every node has (`runs`)")
    elif not node["sees_lock"]:
        found.append(
            f"{name} sees no lock that this machine holds on the folder of runs: mount it with flock, or `runs`"
        )
    if not node["requeues"]:
        found.append(f"jobs on {name} find no scontrol to requeue themselves: bind SLURM's commands into the container")
    if profile.gpu_request != "none" and not node["gpus"]:
        found.append(f"{name} was given no GPU: look at `gpu_request` and `gres`")
    if node["gpus"] and not node["torch_gpus"]:
        found.append(f"torch {node['torch']} on {name} cannot use its GPU: another build, or modules in `setup`")
    if not node["write_mb_per_second"]:
        found.append(f"{name} cannot write the folder of runs")
    if not node["writes_cache"]:
        found.append(
            f"{name} cannot write {node['cache']}, where statistics of references are kept: "
            "export HDIT_REPRO_CACHE=FOLDER, which submissions hand on"
        )
    if node["data"] and not node["data_there"]:
        found.append(f"{name} does not see HDIT_REPRO_DATA={node['data']}")
    if node["time"] < sent - CLOCK or node["time"] > time.time() + CLOCK:
        found.append(f"the clock of {name} differs by {node['time'] - sent:+.0f} s from this machine's")
    return found


def _wait(job_id: str, patience: float) -> None:
    """Until the job has left the queue; a controller that does not answer is asked again."""
    deadline, seen = time.monotonic() + patience, "SLURM does not answer"
    while True:
        with contextlib.suppress(RunError):
            job = queue.squeue().get(job_id)
            if job is None:
                return
            seen = f"{job.state.lower()} ({job.reason})"
        if time.monotonic() > deadline:
            raise RunError(
                "the check's job did not come to an end in time",
                found=f"job {job_id}: {seen}",
                expected=f"an end within {patience:g} s",
                fix="raise --patience, or look at `sinfo` and `squeue --start`",
            )
        time.sleep(0.5)


def _lost(folder: Path, job_id: str, count: int) -> str:
    """A job that left nothing: the folder is not seen, or Python did not start."""
    unseen = "the nodes may not see the folder of runs (name one that every node has: `runs` in the profile)"
    why = last_said(folder, job_id) or f"no output: {unseen}, or not the interpreter (`python`)"
    ended = queue.ended([job_id]).get(job_id, "unknown to the accounts")
    return f"{counted(count, 'task')} left no word (job {job_id}, {ended}): {why}"


def refuse_local(name: str) -> UserError:
    """A check of this machine is another command's business."""
    return UserError(
        f"{name} is no SLURM cluster, and there is no job to submit for a check",
        found=f'kind = "local" in jobs/clusters/{name}.toml',
        expected='a profile of kind "slurm"',
        fix="hdit-repro cluster list",
    )
