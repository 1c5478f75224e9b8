"""A unit's sbatch script as text: a pure function of profile, resources and places. Asks no scheduler; no torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.launch.slurm.graph import Kind, Resources
from hdit_repro.launch.slurm.profile import Slurm

SIGNAL = "USR2"
"""What tells a job that it is to leave; said in the script, whatever the submitter's environment tells submitit."""

OUTSIDE = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
"""How variables of the job begin that a submission may be made from: a job that inherits them takes itself for that
one, as an element of its array or on its nodes."""

MEETING = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Where processes of the submitter's meet, and not those of a job."""

OF_THE_SITE = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")

SPELLED = {"time": ("TIMELIMIT",), "requeue": ("REQUEUE", "NO_REQUEUE")}
"""sbatch's variables that are called otherwise than their parameter."""

INSTEAD = {"mem": {"mem-per-cpu", "mem-per-gpu"}, "requeue": {"no-requeue"}}
"""Parameters of the suite's own, and the raw ones that exclude them."""


class Places(NamedTuple):
    """Folders that a job needs: the submission's, the code's, the workplace's and its runs."""

    session: Path
    code: Path
    workplace: Path
    runs: Path


def parameters(
    profile: Slurm, kind: Kind, resources: Resources, name: str, places: Places, variables: Mapping[str, str]
) -> dict[str, Any]:
    """What submitit is told of a unit.

    Args:
        profile: the cluster.
        kind: of the unit; a render takes no GPU.
        resources: of each of its elements.
        name: the job's name, which no other job has.
        places: its folders.
        variables: the submitter's own variables that a job needs (caches, data).
    """
    cpus = cpus_of_a_task(profile, resources)
    wanted: dict[str, Any] = {
        "job_name": name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks,
        "cpus_per_task": cpus,
        "partition": profile.cpu_partition or profile.partition if kind == "render" else profile.partition,
        "account": profile.account or None,
        "qos": profile.qos or None,
        "constraint": (profile.constraint or None) if resources.gpus else None,
        "mem": _memory(profile, resources),
        "array_parallelism": profile.throttle,
        "wckey": None,
        "setup": setup(profile, places, variables, cpus),
        "srun_args": _srun(profile, kind, resources, cpus),
    }
    if resources.gpus and profile.gpu_request == "gres":
        wanted["gres"] = f"{profile.gres}:{resources.tasks * resources.gpus}"
    elif resources.gpus and profile.gpu_request == "gpus-per-node":
        wanted["gpus_per_node"] = resources.tasks * resources.gpus
    own = {"requeue": True, "chdir": str(places.session), "signal": f"{SIGNAL}@{profile.signal_seconds}"}
    raw = {_as_in(wanted, name): value for name, value in _raw(profile).items() if value is not False}
    return {**wanted, "additional_parameters": {**own, **raw}}


def cpus_of_a_task(profile: Slurm, resources: Resources) -> int:
    """CPUs of each process of a job: what the raw parameter says, else those of its GPU, or one where it has none."""
    return int(_raw(profile).get("cpus-per-task") or (profile.cpus_per_gpu if resources.gpus else 1))


def omitted(profile: Slurm) -> tuple[str, ...]:
    """Parameters to leave out: what the site forbids, what is false in `sbatch`, and what stands there otherwise."""
    raw = _raw(profile)
    false = (name for name, value in raw.items() if value is False)
    displaced = (name for name, others in INSTEAD.items() if others & {*raw})
    return (*profile.omit, *false, *displaced)


def setup(profile: Slurm, places: Places, variables: Mapping[str, str], cpus: int) -> list[str]:
    """The shell lines before a job: the site's, then where code and files lie, then the profile's variables."""
    own = {
        "HDIT_REPRO_WORKPLACE": str(places.workplace),
        "HDIT_REPRO_RUNS": str(places.runs),
        **variables,
        "OMP_NUM_THREADS": str(cpus),
        **{name: value.replace("$$", "$") for name, value in profile.environment.items()},
        "SUBMITIT_PREEMPT_SIGNAL": SIGNAL,
    }
    lines = list(profile.setup)
    lines += [f"export {name}={shlex.quote(value)}" for name, value in own.items()]
    lines.append(f"export PYTHONPATH={shlex.quote(str(places.code))}${{PYTHONPATH:+:$PYTHONPATH}}")
    if profile.scratch:
        lines += [f'export TMPDIR="{profile.scratch}"', 'mkdir -p "$TMPDIR"']
    return lines


def without(text: str, omitted: Sequence[str]) -> str:
    """A script without some parameters of sbatch."""
    names = {name.replace("_", "-") for name in omitted}
    kept = [line for line in text.splitlines(keepends=True) if _parameter(line) not in names]
    return "".join(kept)


def unwanted(text: str, environment: Mapping[str, str]) -> list[str]:
    """Variables that sbatch is not to see: of a job around the submission, and those of its own that would win over
    what the script says (`SBATCH_PARTITION`). What the script leaves open stays open to them (`SBATCH_ACCOUNT`).

    Args:
        text: the script.
        environment: the submitter's.
    """
    said = {"array", "wait"}  # no array where the script has none, and nobody waits for a job's end
    said |= {name for line in text.splitlines() if (name := _parameter(line))}
    ours = {"SBATCH_ARRAY_INX"}
    for name in said:
        ours |= {f"SBATCH_{word}" for word in SPELLED.get(name, (name.replace("-", "_").upper(),))}
    if any(name.startswith("mem") for name in said):
        ours |= {"SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"}
    inside = "SLURM_JOB_ID" in environment
    outer = {name for name in environment if inside and name.startswith(OUTSIDE)} - {*OF_THE_SITE}
    return sorted((ours | outer | {*MEETING}) & {*environment})


def dependency(how: str, ids: Sequence[str]) -> list[str]:
    """The arguments of sbatch for jobs that must have ended before; none where there are none."""
    return [f"--dependency={how}:{':'.join(ids)}", "--kill-on-invalid-dep=yes"] if ids else []


def whole_arrays(ids: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Ids with those of an array that are all there put into one: "7_0", "7_1" -> "7" where array 7 has two."""
    members: dict[str, list[str]] = {}
    for job_id in ids:
        members.setdefault(job_id.partition("_")[0], []).append(job_id)
    found: list[str] = []
    for array, inner in members.items():
        found += [array] if "_" in inner[0] and len(inner) == sizes.get(array) else inner
    return found


def _parameter(line: str) -> str | None:
    met = re.match(r"#SBATCH --([a-z-]+)", line)
    return met[1] if met else None


def _memory(profile: Slurm, resources: Resources) -> str | None:
    if not profile.memory_per_gpu_gb or not resources.gpus:
        return None
    return f"{round(profile.memory_per_gpu_gb * resources.tasks * 1024)}M"


def _srun(profile: Slurm, kind: Kind, resources: Resources, cpus: int) -> list[str]:
    """`--cpus-per-task` does not reach srun by itself since SLURM 22.05, nor does what the script exports where a site
    gives jobs no environment (`--export=NONE`); a rank that fails takes the others along, and a worker of a pack
    nobody."""
    many = [f"--kill-on-bad-exit={int(kind != 'pack')}"] if resources.nodes * resources.tasks > 1 else []
    left_out = {name.replace("_", "-") for name in omitted(profile)}
    told = [] if "cpus-per-task" in left_out else [f"--cpus-per-task={cpus}"]
    return ["--export=ALL", *told, *many, *profile.srun_args]


def _raw(profile: Slurm) -> dict[str, str | int | bool]:
    """The profile's raw parameters by the names that sbatch has for them."""
    return {name.replace("_", "-"): value for name, value in profile.sbatch.items()}


def _as_in(wanted: Mapping[str, Any], name: str) -> str:
    """A parameter's name as submitit spells it, by which a raw value takes the place of ours."""
    ours = name.replace("-", "_")
    return ours if ours in wanted else name
