"""The sbatch text of each profile, as text; no scheduler, and nothing is submitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro.errors import UserError
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.draft import draft, scripts
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.graph import Kind, Resources
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.script import Places, dependency, omitted, parameters, whole_arrays, without
from hdit_repro.records.layout import Roots

PLACES = Places(Path("/runs/submissions/s"), Path("/runs/code/abc"), Path("/home/me/work"), Path("/runs"))

FOUR = Resources(1, 4, 1, 60, 3)


def text(profile: Slurm, resources: Resources = FOUR, kind: Kind = "train", size: int = 1) -> str:
    told = parameters(profile, kind, resources, "name", PLACES, {"HDIT_REPRO_DATA": "/data/a b"})
    return Executor(PLACES.session, told, size, python=profile.python or "/venv/bin/python", omit=omitted(profile)).text


def profile(name: str = "a100", **changes: Any) -> Slurm:
    found = read_cluster(name)
    assert isinstance(found, Slurm)
    return msgspec.structs.replace(found, **changes)


A100 = """#!/bin/bash

# Parameters
#SBATCH --chdir=/runs/submissions/s
#SBATCH --cpus-per-task=8
#SBATCH --error=/runs/submissions/s/%j_0_log.err
#SBATCH --gres=gpu:a100:4
#SBATCH --job-name=name
#SBATCH --mem=262144M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/runs/submissions/s/%j_0_log.out
#SBATCH --partition=a100
#SBATCH --requeue
#SBATCH --signal=USR2@300
#SBATCH --time=60

# setup
export HDIT_REPRO_WORKPLACE=/home/me/work
export HDIT_REPRO_RUNS=/runs
export HDIT_REPRO_DATA='/data/a b'
export OMP_NUM_THREADS=8
export HF_HUB_OFFLINE=1
export TORCH_NCCL_ASYNC_ERROR_HANDLING=1
export SUBMITIT_PREEMPT_SIGNAL=USR2
export PYTHONPATH=/runs/code/abc${PYTHONPATH:+:$PYTHONPATH}

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/submissions/s/%j_%t_log.out --error /runs/submissions/s/%j_%t_log.err \
--export=ALL --cpus-per-task=8 --kill-on-bad-exit=1 /venv/bin/python -u -m submitit.core._submit /runs/submissions/s
"""


def test_the_script_of_a_training_on_four_a100() -> None:
    assert text(profile()) == A100


def test_an_h100_differs_where_its_profile_does() -> None:
    found = text(profile("h100"))
    different = [line for line in found.splitlines() if line not in A100.splitlines()]
    assert [line for line in different if line.startswith("#SBATCH")] == [
        "#SBATCH --cpus-per-task=12", "#SBATCH --gres=gpu:h100:4", "#SBATCH --mem=393216M", "#SBATCH --partition=h100",
    ]  # fmt: skip


def test_a_rank_that_fails_takes_the_others_along_and_a_worker_of_a_pack_nobody() -> None:
    assert "--kill-on-bad-exit=1" in text(profile(), Resources(1, 4, 1, 60, 3), "train")
    assert "--kill-on-bad-exit=0" in text(profile(), Resources(1, 4, 1, 60, 3), "pack")
    assert "--kill-on-bad-exit" not in text(profile(), Resources(1, 1, 1, 60, 3), "pack")


def test_an_array_is_throttled_and_a_render_takes_no_gpu() -> None:
    found = text(profile(throttle=5), Resources(1, 1, 1, 60, 3), "sample", 12)
    assert "#SBATCH --array=0-11%5" in found
    assert "%A_%a_%t_log.err" in found
    render = text(profile(cpu_partition="cpu", constraint="ib"), Resources(1, 1, 0, 30, 3), "render")
    assert "#SBATCH --partition=cpu" in render
    for absent in ("gres", "mem", "constraint", "array"):
        assert f"#SBATCH --{absent}" not in render


def test_every_value_of_a_site_reaches_the_script() -> None:
    site = profile(
        account="acc", qos="long", constraint="a100_80g", gpu_request="gpus-per-node", gres="gpu",
        sbatch={"mail-type": "END", "exclusive": True, "time": 99, "hint": False}, omit=("signal", "open_mode"),
        setup=("module load cuda",), scratch="$SCRATCH/$SLURM_JOB_ID", python="apptainer exec --nv x.sif python",
        environment={"NCCL_SOCKET_IFNAME": "ib0", "HTTPS_PROXY": "http://me:a$$$$b@proxy"}, srun_args=("--mpi=none",),
        signal_seconds=200, memory_per_gpu_gb=0.0,
    )  # fmt: skip
    found = text(site, Resources(2, 8, 1, 60, 3))
    for line in (
        "#SBATCH --account=acc", "#SBATCH --qos=long", "#SBATCH --constraint=a100_80g", "#SBATCH --gpus-per-node=8",
        "#SBATCH --nodes=2", "#SBATCH --mail-type=END", "#SBATCH --exclusive", "#SBATCH --time=99",
        "module load cuda", "export NCCL_SOCKET_IFNAME=ib0", "export HTTPS_PROXY='http://me:a$$b@proxy'",
        'export TMPDIR="$SCRATCH/$SLURM_JOB_ID"', 'mkdir -p "$TMPDIR"',
    ):  # fmt: skip
        assert line in found.splitlines()
    for absent in ("--signal", "--open-mode", "--gres", "--mem", "--hint"):
        assert f"#SBATCH {absent}" not in found
    assert "--mpi=none apptainer exec --nv x.sif python -u -m submitit" in found
    assert found.index("module load cuda") < found.index("export PYTHONPATH")
    assert "#SBATCH --signal=USR2@200" in text(msgspec.structs.replace(site, omit=()))
    assert "gpus" not in text(profile(gpu_request="none", gres="gpu"))


def lines_of(profile: Slurm, *names: str) -> list[str]:
    """The script's lines of these parameters."""
    found = [line.removeprefix("#SBATCH --") for line in text(profile).splitlines() if line.startswith("#SBATCH --")]
    return [line for line in found if line.partition("=")[0] in names]


@pytest.mark.parametrize("dash", ["-", "_"])
def test_a_raw_parameter_wins_with_dashes_and_with_underscores(dash: str) -> None:
    raw = {"cpus-per-task": 4, "ntasks-per-node": 1, "open-mode": "truncate", "time": "48:00:00"}
    found = profile(sbatch={name.replace("-", dash): value for name, value in raw.items()})
    assert lines_of(found, *raw) == [
        "cpus-per-task=4", "ntasks-per-node=1", "open-mode=truncate", "time=48:00:00",
    ]  # fmt: skip
    assert " --cpus-per-task=4 " in text(found)
    assert "OMP_NUM_THREADS=4" in text(found)


def test_a_raw_parameter_that_is_false_or_excludes_ours_leaves_it_out() -> None:
    assert lines_of(profile(sbatch={"requeue": False}), "requeue") == []
    assert lines_of(profile(sbatch={"no_requeue": True}), "requeue", "no-requeue") == ["no-requeue"]
    assert lines_of(profile(sbatch={"mem_per_gpu": "32G"}), "mem", "mem-per-gpu") == ["mem-per-gpu=32G"]
    for left_out in (profile(omit=("cpus_per_task",)), profile(sbatch={"cpus_per_task": False})):
        assert "--cpus-per-task" not in text(left_out)
        assert "OMP_NUM_THREADS=8" in text(left_out)


def test_the_signal_of_the_script_is_the_one_that_jobs_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.slurm.slurm.SlurmJobEnvironment.USR_SIG", "USR1")  # the submitter's own variable
    assert text(profile()) == A100
    assert [line for line in text(profile()).splitlines() if "PREEMPT" in line] == [
        "export SUBMITIT_PREEMPT_SIGNAL=USR2"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        'sbatch = { "--time" = 3 }', 'sbatch = { array = "1-3" }', 'omit = ["dependency"]', "signal_seconds = 1",
        "gpus_per_node = 3", "throttle = 0", "partitions = 'a'", '[environment]\n"A B" = "1"', "submit_cap = -1",
        'gpu_request = "cards"', "time_limit_hours = 0.01", "signal_seconds = 3600",
        "time_limit_hours = inf", "memory_per_gpu_gb = inf", "price_per_gpu_hour = inf", "speed = 1e-320",
        "cpus_per_gpu = 2048",
        'sbatch = { job_name = "mine" }', 'omit = ["job-name"]', 'gpu_request = "gpus-per-node"\ngres = "gpu:a100"',
        'environment = { SUBMITIT_PREEMPT_SIGNAL = "USR1" }', 'environment = { HDIT_REPRO_RUNS = "/elsewhere" }',
        'scratch = "/scratch"\nenvironment = { TMPDIR = "/tmp" }', 'omit = ["memm"]',
        'scratch = "~/x"', 'scratch = "tmp"', 'environment = { HF_HOME = "$DISK/hf" }', 'environment = { A = "~/a" }',
        'environment = { A = "$$$A" }',
        "sbatch = { cpus-per-task = true }", 'sbatch = { cpus_per_task = "many" }',
        'sbatch = { mem = "1G" }\nomit = ["mem"]', 'sbatch = { mail-type = "END", mail_type = "FAIL" }',
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_is_refused(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jobs" / "clusters"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    body = {
        "kind": '"slurm"', "gpu": '"A"', "speed": "1.0", "speed_basis": '"b"', "partition": '"p"', "gpus_per_node": "8",
        "train_gpus": "4", "time_limit_hours": "1.0", "price_per_gpu_hour": "1.0",
    }  # fmt: skip
    lines = [f"{key} = {value}" for key, value in body.items() if not wrong.startswith(f"{key} ")]
    (folder / "mine.toml").write_text("\n".join(lines))
    if wrong.split()[0] not in body:
        assert isinstance(read_cluster("mine"), Slurm)
    (folder / "mine.toml").write_text("\n".join([*lines, wrong]))
    with pytest.raises(UserError, match="profile is not understood"):
        read_cluster("mine")


def test_dependencies_are_arguments_and_whole_arrays_are_one() -> None:
    assert dependency("afterok", []) == []
    assert dependency("afterok", ["7_0", "9"]) == ["--dependency=afterok:7_0:9", "--kill-on-invalid-dep=yes"]
    assert whole_arrays(["7_0", "7_1", "8_0", "9"], {"7": 2, "8": 2}) == ["7", "8_0", "9"]
    assert without("#SBATCH --mem=3\n#SBATCH --mem-per-cpu=3\nx\n", ["mem"]) == "#SBATCH --mem-per-cpu=3\nx\n"


def test_the_interpreter_that_submits_may_lie_in_a_path_with_spaces(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/my home/bin/python")
    planned = draft(wanted("table1", "paper", ["E"]), roots, profile(), {}, allow_dirty=True)
    lines = [script.text.splitlines()[-1] for script in scripts(planned)]
    assert all(" '/my home/bin/python' -u -m submitit.core._submit " in line for line in lines), lines
