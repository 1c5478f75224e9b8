"""What would make a submission fail, found before it is made: partition, GPUs, caps, room. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hdit_repro.errors import RunError, UserError, counted, meant, pick
from hdit_repro.files import write_bytes
from hdit_repro.launch.slurm import queue
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.script import unwanted

PROBE_BYTES = 1 << 20

MEANING = "%:\\\n"
"""What a path of runs cannot have: names of output fill in "%j", a colon parts PYTHONPATH, and the rest ends a line."""


def check_site(profile: Slurm) -> None:
    """Hold a profile against what the site says of itself.

    Raises:
        UserError: no SLURM here, a partition that the site does not know or that takes no jobs or none so long, GPUs
            that no node has.
    """
    where = f"jobs/clusters/{profile.name}.toml"
    try:
        known = queue.partitions()
    except RunError as error:
        raise UserError(
            "SLURM's commands are here, and no cluster answers them",
            found=error.found,
            expected="a site with partitions",
            fix="where `scontrol ping` finds the controller, wait and run the same command again; else run it on the "
            "cluster's login node, or use --cluster local",
        ) from error
    asked = _names(profile.partition)
    for name in dict.fromkeys((*asked, *_names(profile.cpu_partition))):
        partition = pick(known, name, kind="partition at this site", where=where)
        if not partition.up or not partition.nodes:
            raise UserError(
                f"partition {name} takes no jobs",
                found="it is down" if not partition.up else "none of its nodes is up",
                expected="a partition that is up",
                fix=f"`sinfo -p {name}` says why; another partition goes into {where}",
            )
    if profile.gpu_request != "none":
        # Which partition is the site's own, sinfo does not tell by this name: then any may have the GPUs.
        _check_gpus(profile, [entry for name in asked or known for entry in known[name].gres], where)
    if asked:
        _check_time(profile, max(known[name].minutes for name in asked), where)


def _names(partition: str) -> list[str]:
    """ "a100,debug" names two partitions; SLURM takes the one that is free first. Empty is the site's own."""
    return [name.strip() for name in partition.split(",") if name.strip()]


def _check_gpus(profile: Slurm, gres: Sequence[str], where: str) -> None:
    """Refuse GPUs that no node of the partitions has: of another type, or fewer than a job takes."""
    partition = f"partition {profile.partition}" if profile.partition else "any partition"
    wanted = profile.gres if profile.gpu_request == "gres" else "gpu"
    counts: dict[str, int] = {}
    for kind, count in map(_split, gres):  # nodes differ, and a job goes to one that has enough
        counts[kind] = max(count, counts.get(kind, 0))
    plain = wanted.partition(":")[0]
    fitting = [
        count for kind, count in counts.items() if kind == wanted or (wanted == plain and kind.split(":")[0] == plain)
    ]
    if not fitting:
        raise UserError(
            f"no node of {partition} has {wanted}",
            found=f"gres = {wanted!r} in {where}",
            expected=", ".join(sorted(counts)) or "(its nodes list no gres)",
            fix=meant(wanted, counts, "`sinfo -o '%R %G'` shows what the nodes of each partition have"),
        )
    if max(fitting) < profile.gpus_per_node:
        raise UserError(
            f"no node of {partition} has {counted(profile.gpus_per_node, 'GPU')}",
            found=f"gpus_per_node = {profile.gpus_per_node} in {where}",
            expected=f"{max(fitting)} at most",
            fix=f"set gpus_per_node = {max(fitting)}",
        )


def _check_time(profile: Slurm, most: float, where: str) -> None:
    """Refuse jobs that are longer than their partition takes. Most sites queue them all the same, and never start them.
    A QOS may lift the limit, and a raw parameter may say another time or place."""
    raw = {name.replace("_", "-") for name in (*profile.sbatch, *profile.omit)}
    if most >= int(profile.time_limit_hours * 60) or profile.qos or raw & {"time", "partition", "qos"}:
        return
    if "SBATCH_QOS" in os.environ:
        return
    raise UserError(
        f"jobs may be longer than partition {profile.partition} takes",
        found=f"time_limit_hours = {profile.time_limit_hours:g} in {where}",
        expected=f"{most / 60:g} at most",
        fix=f"set time_limit_hours = {math.floor(100 * most / 60) / 100:g}; or name the QOS that lifts it (`qos`)",
    )


def _split(entry: str) -> tuple[str, int]:
    """ "gpu:a100:8" -> ("gpu:a100", 8); a count is the last part if it is a number."""
    kind, _, count = entry.rpartition(":")
    return (kind, int(count)) if count.isdigit() else (entry, 1)


def make_folder(runs: Path) -> None:
    """The folder of runs, made where it is missing.

    Raises:
        UserError: it cannot be made, or its path has signs that mean something else to SLURM or in PYTHONPATH.
    """
    if odd := sorted({*str(runs)} & {*MEANING}):
        raise UserError(
            "jobs cannot be told of this folder of runs",
            found=f"{str(runs)!r} with {' and '.join(map(repr, odd))}",
            expected=f"a path without {', '.join(map(repr, MEANING))}",
            fix="name another one: `runs` in the cluster's profile",
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(runs, error) from error


def check_room(runs: Path, planned: int) -> None:
    """Refuse a folder of runs that cannot be written, is over its quota, or has less room than is planned.

    Raises:
        UserError: with the mend.
        RunError: the disk or the quota is full.
    """
    probe = runs / f".room-{os.getpid()}"
    try:
        write_bytes(probe, b"\0" * PROBE_BYTES)
    except OSError as error:
        raise _unwritable(runs, error) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be taken away
            probe.unlink(missing_ok=True)
    free = shutil.disk_usage(runs).free
    if free < planned:
        raise UserError(
            "there is not enough room for what is planned",
            found=f"{free / 1e9:,.1f} GB free at {runs}",
            expected=f"{planned / 1e9:,.1f} GB",
            fix="`hdit-repro gc` lists what may go; or name another folder: `runs` in the cluster's profile",
        )


def _unwritable(runs: Path, error: OSError) -> UserError:
    return UserError(
        "the folder of runs cannot be written",
        found=f"{runs}: {error.strerror}",
        expected="a folder that this machine and every node can write",
        fix="name another one: `runs` in the cluster's profile",
    )


def check_cap(profile: Slurm, queued: int, new: int) -> None:
    """Refuse more jobs than the site lets into the queue, before the first is submitted.

    Raises:
        UserError: with the counts.
    """
    if profile.submit_cap and queued + new > profile.submit_cap:
        raise UserError(
            "the site does not take so many jobs at once",
            found=f"{new} to be submitted, {queued} in the queue",
            expected=f"{profile.submit_cap} in all (submit_cap of {profile.name})",
            fix="name fewer rows with --rows, raise shard_hours or pack_hours, or come back when some are done",
        )


def try_script(text: str) -> None:
    """Have SLURM judge a script without submitting it: account, QOS, limits.

    Raises:
        UserError: it refuses, with its own words.
        RunError: it does not answer.
    """
    hidden = unwanted(text, os.environ)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        queue.ask("sbatch", "--test-only", text=text, environment=environment)
    except RunError as error:
        if isinstance(error.__cause__, subprocess.TimeoutExpired):
            raise
        raise UserError(
            "SLURM would not take a job of this profile",
            found=" ".join(str(error.found).split()),
            expected="a script that sbatch --test-only accepts",
            fix="`submit --dry-run` prints the script; raw values go into `sbatch`, forbidden ones into `omit`",
        ) from error
