"""A SLURM cluster, declared: what its profile in `jobs/clusters/` may say. No torch."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from hdit_repro.spec.base import Choice, require
from hdit_repro.stages.settings import MAX_THREADS, HowToSample, HowToTrain

OURS = ("HDIT_REPRO_WORKPLACE", "HDIT_REPRO_RUNS", "SUBMITIT_PREEMPT_SIGNAL")
"""Variables that the suite itself sets in each job, whose profile must not say otherwise: `runs` names the folder."""

WRITTEN = (
    "account", "chdir", "constraint", "cpus-per-task", "gpus-per-node", "gres", "mem", "nodes", "ntasks-per-node",
    "open-mode", "partition", "qos", "requeue", "signal", "time",
)  # fmt: skip
"""Parameters of sbatch that a script may have and a site may forbid."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Slurm(Choice, tag="slurm", frozen=True, kw_only=True):
    """A partition of GPU nodes under SLURM.

    What the graph needs:
        gpu, speed, speed_basis: a GPU's name, how many A100 it is worth, and where from.
        gpus_per_node: how many of a node's GPUs a job may take.
        train_gpus, train_gpus_below_paper: GPUs of a training job at paper scale and below it.
        time_limit_hours: the longest job. Longer stages are requeued and go on.
        shard_hours: how long one job of a sampling array is to take, about.
        pack_hours: rows that take less in all share an allocation instead of having jobs of their own; 0 packs none.
        sample_batch: images a forward pass of sampling; shards are cut at its multiples.
        max_array_size, throttle: elements of an array job, and how many of them run at once.
        submit_cap: jobs of yours, array elements counted singly, that the site lets into the queue; 0 is no cap.
        price_per_gpu_hour, ask_above_gpu_hours: in US dollars, and from how much on a submission is asked about.

    What the site wants to be told, each left out where it is empty or 0:
        partition, cpu_partition, account, qos, constraint; `cpu_partition` is where the render goes.
        gpu_request, gres: how GPUs are asked for: `--gres=GRES:N`, `--gpus-per-node=N`, or not at all.
        cpus_per_gpu, memory_per_gpu_gb.
        sbatch: raw parameters of sbatch, which win over all others; true is a flag without a value,
        false leaves one out.
        omit: parameters of sbatch that the site forbids and that are left out.
        srun_args: more arguments of srun.

    What surrounds a job:
        setup: shell lines before everything else (modules). python: what starts Python, a container included; empty is
        the interpreter that submits. environment: variables of every job (NCCL's, those of offline nodes), as they are
        but for `$$`, which is a dollar sign.
        signal_seconds: how long before the end of its time a job is told: for a step and two checkpoints.
        runs: the folder of runs, where it is not that of the workplace. scratch: TMPDIR of the jobs, made when missing.
        training: how trainings run (`stages.settings.HowToTrain`).
        sampling: how samples are drawn (`stages.settings.HowToSample`).
    """

    name: str
    gpu: str
    speed: float
    speed_basis: str
    partition: str
    gpus_per_node: int
    train_gpus: int
    train_gpus_below_paper: int = 1
    time_limit_hours: float
    price_per_gpu_hour: float
    ask_above_gpu_hours: float = 100.0
    cpu_partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpu_request: Literal["gres", "gpus-per-node", "none"] = "gres"
    gres: str = "gpu"
    cpus_per_gpu: int = 8
    memory_per_gpu_gb: float = 0.0
    shard_hours: float = 2.0
    pack_hours: float = 1.0
    sample_batch: int = 64
    max_array_size: int = 1_000
    throttle: int = 16
    submit_cap: int = 0
    signal_seconds: int = 300
    setup: tuple[str, ...] = ()
    python: str = ""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    srun_args: tuple[str, ...] = ()
    sbatch: dict[str, str | int | bool] = msgspec.field(default_factory=dict)
    omit: tuple[str, ...] = ()
    runs: str = ""
    scratch: str = ""
    training: HowToTrain = msgspec.field(default_factory=HowToTrain)
    sampling: HowToSample = msgspec.field(default_factory=HowToSample)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.speed > 0 and self.time_limit_hours > 0, "speed and time_limit_hours must be positive")
        gpus = (self.gpus_per_node, self.train_gpus, self.train_gpus_below_paper)
        require(min(gpus) >= 1, "GPUs start at 1")
        require(
            all(count <= self.gpus_per_node or count % self.gpus_per_node == 0 for count in gpus),
            f"training on more GPUs than a node has takes a multiple of gpus_per_node = {self.gpus_per_node}",
        )
        require(min(self.price_per_gpu_hour, self.ask_above_gpu_hours) >= 0, "a price is not negative")
        require(1 <= self.cpus_per_gpu <= MAX_THREADS, f"a GPU has 1 to {MAX_THREADS} CPUs")
        require(self.memory_per_gpu_gb >= 0, "memory is not negative")
        require(self.gres == "gpu" or self.gpu_request == "gres", 'gres goes with gpu_request = "gres" and no other')
        require(self.shard_hours > 0 and self.pack_hours >= 0, "shard_hours is positive, pack_hours 0 or more")
        counts = (self.sample_batch, self.max_array_size, self.throttle)
        require(min(counts) >= 1, "sample_batch, max_array_size and throttle start at 1")
        require(self.submit_cap >= 0, "submit_cap is 0 (none) or more")
        require(self.signal_seconds >= 10, "a job needs 10 seconds or more between the signal and its end")
        require(
            int(self.time_limit_hours * 60) * 60 > self.signal_seconds,
            f"time_limit_hours, in whole minutes, is longer than signal_seconds = {self.signal_seconds}",
        )
        wrong = [name for name in self.environment if not _VARIABLE.fullmatch(name)]
        require(not wrong, f"no name of an environment variable: {', '.join(wrong)}")
        ours = [name for name in OURS if name in self.environment]
        require(
            not ours, f"the suite itself sets these variables of a job (`runs` names its folder): {', '.join(ours)}"
        )
        for name, value in self.environment.items():
            require(
                "$" not in value.replace("$$", "") and not value.startswith("~"),
                f'environment is taken as it is, and nothing fills in {value}: say "export {name}={value}" in setup; '
                "$$ is a dollar sign",
            )
        require(
            not self.scratch or self.scratch.startswith(("/", "$")),
            f"scratch begins with / or a variable of the job ($HOME), and {self.scratch} does not",
        )
        require(
            not self.scratch or "TMPDIR" not in self.environment, "scratch is TMPDIR, so environment must not say it"
        )
        self._check_sbatch()

    def _check_sbatch(self) -> None:
        """`sbatch` and `omit`: names that scripts may have, and one word on each."""
        for name in (*self.sbatch, *self.omit):
            require(not name.startswith("-"), f"parameters of sbatch are named without dashes, and {name!r} is found")
        raw, omitted = ([name.replace("_", "-") for name in names] for names in (self.sbatch, self.omit))
        set_here = sorted({"array", "dependency", "output", "error", "job-name"} & {*raw, *omitted})
        require(not set_here, f"the suite itself sets these parameters of sbatch: {', '.join(set_here)}")
        twice = sorted({name for name in raw if raw.count(name) > 1} | ({*raw} & {*omitted}))
        require(not twice, f"sbatch and omit say two things of these parameters: {', '.join(twice)}")
        cpus = [value for name, value in self.sbatch.items() if name in ("cpus-per-task", "cpus_per_task")]
        require(
            all(value is False or re.fullmatch(r"[1-9][0-9]*", str(value)) for value in cpus),
            f"cpus-per-task is a whole number from 1 on, or false, and {cpus} is found",
        )
        none = [name for name in omitted if name not in WRITTEN]
        require(
            not none, f"no script has these parameters to omit: {', '.join(none)}; it may have {', '.join(WRITTEN)}"
        )
