"""What SLURM says, and the few things that it is told. Only this module and submitit call its commands. No torch."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hdit_repro.errors import RunError, UserError

PATIENCE = 60.0
"""Seconds that a command of SLURM may take."""

POLITE = 10.0
"""Seconds between two questions of a command that goes on asking: the controller has a whole site to answer."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
"""States of a job that waits. All others that squeue shows have begun."""

ENDING = "COMPLETING"

OPEN = (*WAITING, "RUNNING", "RESIZING", "SUSPENDED")
"""States in the accounts of a job that is gone: an end that they never heard of, or another job under its id."""

DENIED = "ermission denied"
"""What scancel says of a job that is not this user's."""

NEVER = "DependencyNeverSatisfied"

FILTERS = ("SACCT_", "SCANCEL_", "SINFO_", "SQUEUE_")
"""How variables begin by which a user has SLURM's commands show less (`SQUEUE_PARTITION`), or ask back
(`SCANCEL_INTERACTIVE`): what is hidden would be submitted again."""


class Queued(NamedTuple):
    """A job, or an element of an array, that SLURM has not forgotten: "12" or "12_3", its state, why it waits."""

    id: str
    state: str
    reason: str
    name: str

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def held(self) -> bool:
        """Whether it waits until somebody releases it: by hand, or after a start that SLURM could not make."""
        return self.waits and "held" in self.reason.lower()

    @property
    def ends(self) -> bool:
        """Whether it makes nothing any more: its processes are being ended, for as long as they are given."""
        return self.state == ENDING


class Partition(NamedTuple):
    """A partition's name, whether it takes jobs, its nodes that are up, the gres of its nodes ("gpu:a100:8"), and the
    minutes of its longest job."""

    name: str
    up: bool
    nodes: int
    gres: tuple[str, ...]
    minutes: float = math.inf


def site() -> str:
    """What the SLURM that answers here calls its cluster; empty where it does not say."""
    try:
        lines = ask("scontrol", "show", "config").splitlines()
    except UserError:
        return ""
    return next((line.partition("=")[2].strip() for line in lines if line.startswith("ClusterName ")), "")


def present() -> bool:
    """Whether this machine has SLURM's commands."""
    return all(shutil.which(command) for command in ("sbatch", "squeue", "scancel", "sinfo"))


def ask(*command: str, text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a command of SLURM prints.

    Args:
        command: with its arguments.
        text: what it reads.
        environment: its variables; None is the process's own. `FILTERS` are left out.

    Raises:
        UserError: there is no such command here.
        RunError: it fails, or does not know this user; the message has its own.
    """
    seen = os.environ if environment is None else environment
    try:
        done = subprocess.run(
            command,
            input=text,
            env={name: value for name, value in seen.items() if not name.startswith(FILTERS)},
            capture_output=True,
            text=True,
            errors="replace",  # a job's name, or a greeting, in another encoding
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError(
            "there is no SLURM on this machine",
            found=f"no command {command[0]}",
            expected="sbatch, squeue, scancel and sinfo on PATH",
            fix="run this on the cluster's login node, or use --cluster local",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunError(
            "SLURM does not answer",
            found=f"{command[0]} took more than {PATIENCE:g} s",
            expected="an answer",
            fix="wait a little and run the same command again; `sinfo` shows whether the controller is up",
        ) from error
    unknown = f"Invalid user: {os.getuid()}"  # squeue says so, lists nothing, and calls it a success
    if done.returncode or any(line.endswith(unknown) for line in done.stderr.splitlines()):
        raise RunError(
            f"{command[0]} failed",
            found=done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}",
            expected="an answer from SLURM",
            fix=f"try it by hand: {shlex.join(command)}",
        )
    return done.stdout


def squeue(users: Iterable[int] = ()) -> dict[str, Queued]:
    """The jobs of this user, and of others by their numbers: elements of arrays one by one, by id."""
    asked = ",".join(map(str, sorted({os.getuid(), *users})))
    lines = ask("squeue", "-h", "-r", "-u", asked, "-a", "-o", "%i|%T|%r|%M|%j").splitlines()
    jobs = (_queued(*line.split("|", 4)) for line in lines if line.count("|") >= 4)
    return {job.id: job for job in jobs}


def _queued(job_id: str, state: str, reason: str, used: str, name: str) -> Queued:
    """A job that was requeued while its processes are being ended is COMPLETING too, but has used no time: it waits."""
    return Queued(job_id, "REQUEUED" if state == ENDING and used == "0:00" else state, reason, name)


def ended(ids: Iterable[str]) -> dict[str, str]:
    """How jobs ended by the accounts ("NODE_FAIL", "TIMEOUT", "CANCELLED by 0"), as far as they know of it."""
    wanted = sorted({job_id.partition("_")[0] for job_id in ids})
    if not wanted or shutil.which("sacct") is None:
        return {}
    try:
        lines = ask("sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(wanted)).splitlines()
    except RunError:
        return {}
    found = dict(line.split("|", 1) for line in lines if "|" in line)
    return {job_id: state for name, state in found.items() if state not in OPEN for job_id in _members(name)}


def _members(name: str) -> list[str]:
    """Elements that never began are one line of the accounts: "12_[0,2-6:2%4]" -> ["12_0", "12_2", "12_4", "12_6"]."""
    met = re.fullmatch(r"(\d+)_\[([\d,:-]+)(%\d+)?\]", name)
    if met is None:
        return [name]
    found: list[str] = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", met[2]):
        found += [f"{met[1]}_{place}" for place in range(int(first), int(last or first) + 1, int(step or 1))]
    return found


def scancel(ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended meanwhile are no error.

    Raises:
        RunError: SLURM does not answer, or some of them are another user's; the others are cancelled then.
    """
    denied: list[str] = []
    for start in range(0, len(ids), 200):
        try:
            ask("scancel", "-Q", *ids[start : start + 200])
        except RunError as error:
            if DENIED not in str(error.found):
                raise
            denied.append(str(error.found))
    if denied:
        raise RunError(
            "jobs of another user were not cancelled",
            found="\n".join(denied),
            expected="jobs of your own",
            fix="ask whoever submitted them, whom `squeue -o '%i %u'` names; yours are cancelled",
        )


def own(ids: Iterable[str]) -> list[str]:
    """Of some jobs those that are this user's, and in the queue: who shares a folder of runs may cancel no others'."""
    wanted = list(ids)
    mine = {job_id.partition("_")[0] for job_id in squeue()} if wanted else set()
    return [job_id for job_id in wanted if job_id.partition("_")[0] in mine]


def partitions() -> dict[str, Partition]:
    """The partitions by name, those too that a site hides from lists: they take jobs all the same."""
    found: dict[str, Partition] = {}
    lines = ask("sinfo", "-h", "-a", "-o", "%R|%a|%D|%G|%T|%l").splitlines()
    for line in (line for line in lines if line.count("|") >= 4):  # a wrapper's greeting is no partition
        name, available, nodes, gres, state, *limit = line.split("|")
        met = found.get(name, Partition(name, available == "up", 0, (), _minutes("".join(limit))))
        count = 0 if state.startswith(("down", "drain", "fail", "unknown")) else int(nodes)
        found[name] = met._replace(nodes=met.nodes + count, gres=tuple(dict.fromkeys((*met.gres, *_gres(gres)))))
    return found


def _minutes(text: str) -> float:
    """ "2-12:00:00" -> 3600; "infinite", or what is no time, is no limit."""
    met = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if met is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in met.groups())
    return 60 * (24 * days + hours) + minutes + seconds / 60


def _gres(text: str) -> list[str]:
    """ "gpu:a100:8(S:0-1),shard:2" -> ["gpu:a100:8", "shard:2"]."""
    plain = re.sub(r"\([^)]*\)", "", text)
    return [] if plain == "null" else [part for part in plain.split(",") if part]
