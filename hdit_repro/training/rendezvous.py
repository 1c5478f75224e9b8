"""Which of how many processes this one is, from the environment: torchrun's variables, or SLURM's. No torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from hdit_repro.errors import RunError, UserError
from hdit_repro.spec.training import Training

FIRST_PORT, PORTS = 20_000, 12_000
"""Below 32,768, from where Linux takes the ports of outgoing connections."""

LARGEST_PORT = 65_535

STRIDE = 1_009
"""Ports between two starts of a job: one that was taken by another is not tried again."""


class Lost(RunError):
    """Another process of the run is gone: it, and not this one, knows why."""


class Place(NamedTuple):
    """A process among `size`; `local_rank` numbers it on its node. All meet at `address`:`port`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = ""
    port: int = 0


ALONE = Place()


def place(mode: str = "auto", environment: Mapping[str, str] | None = None) -> Place:
    """This process's place.

    Args:
        mode: "auto" reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT where RANK is set (torchrun, or by
            hand); "slurm" reads SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID, the first node's name and a port from
            the job id and how often it was restarted; "none" is one process, whatever is set.
        environment: the variables; None is the process's own.

    Raises:
        UserError: a variable is missing, no number, or out of range.
    """
    found = os.environ if environment is None else environment
    if mode == "slurm":
        return _slurm(found)
    if mode == "auto" and "RANK" in found:
        rank, size = _number(found, "RANK"), _number(found, "WORLD_SIZE")
        local = _number(found, "LOCAL_RANK") if "LOCAL_RANK" in found else rank
        if size == 1 and "MASTER_ADDR" not in found:
            return _checked(Place(rank, size, local))
        return _checked(Place(rank, size, local, _text(found, "MASTER_ADDR"), _number(found, "MASTER_PORT")))
    if mode in ("auto", "none"):
        return ALONE
    raise UserError(
        "there is no such way to find the other processes",
        found=mode,
        expected="auto, slurm or none",
        fix="leave it out for auto",
    )


def check_size(training: Training, size: int, fix: str = "start") -> None:
    """Refuse a number of processes that does not divide every batch of the run: some would wait for the others.

    Args:
        fix: the words before the numbers that do.

    Raises:
        UserError: with the nearest numbers that do.
    """
    batches = sorted({span.batch for span in training.spans})
    common = math.gcd(*batches)
    if common % size:
        fitting = [number for number in range(1, common + 1) if common % number == 0]
        nearest = [max(n for n in fitting if n < size), *[n for n in fitting if n > size][:1]]
        raise UserError(
            "the processes of a training do not divide its batch",
            found=f"{size} processes, a batch of {', then '.join(map(str, batches))}",
            expected=f"a number of processes that divides {common}",
            fix=f"{fix} {' or '.join(map(str, nearest))}",
        )


def first_host(nodes: str) -> str:
    """The first name of a SLURM node list: `gpu[003-006,9],other` is gpu003."""
    depth, end = 0, len(nodes)
    for at, letter in enumerate(nodes):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            end = at
            break
    return re.sub(r"\[([^\]\-,]+)[^\]]*\]", r"\1", nodes[:end])


def _slurm(found: Mapping[str, str]) -> Place:
    if "SLURM_PROCID" not in found:
        raise UserError(
            "this process is none of a SLURM step, by which it would find the others",
            found="SLURM_PROCID is not set",
            expected="a process that srun started",
            fix="leave --distributed out, or start it with srun",
        )
    rank, size, local = (_number(found, name) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
    if size == 1:
        return _checked(Place(rank, size, local))
    nodes = found.get("SLURM_STEP_NODELIST") or found.get("SLURM_JOB_NODELIST") or ""
    address = found.get("MASTER_ADDR") or first_host(nodes) or _text(found, "SLURM_JOB_NODELIST")
    port = _number(found, "MASTER_PORT") if "MASTER_PORT" in found else _port(found)
    return _checked(Place(rank, size, local, address, port))


def _port(found: Mapping[str, str]) -> int:
    restarts = _number(found, "SLURM_RESTART_COUNT") if found.get("SLURM_RESTART_COUNT") else 0
    return FIRST_PORT + (_number(found, "SLURM_JOB_ID") + STRIDE * restarts) % PORTS


def _checked(place: Place) -> Place:
    if not (place.size >= 1 and 0 <= place.rank < place.size and place.local_rank >= 0):
        raise UserError(
            "the environment names an impossible process",
            found=f"process {place.rank} of {place.size}, number {place.local_rank} on its node",
            expected="0 <= rank < size",
            fix="start with torchrun or srun, or unset RANK and WORLD_SIZE",
        )
    if place.address and not 1 <= place.port <= LARGEST_PORT:
        raise UserError(
            "the processes of a run cannot meet at this port",
            found=f"{place.address}:{place.port}",
            expected=f"1 to {LARGEST_PORT}",
            fix="set MASTER_PORT to a free port, the same for all of them",
        )
    return place


def _text(found: Mapping[str, str], name: str) -> str:
    if not found.get(name):
        raise UserError(
            "the processes of a run cannot find each other",
            found=f"{name} is not set",
            expected="RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or those of SLURM",
            fix="start with torchrun or srun, or unset RANK",
        )
    return found[name]


def _number(found: Mapping[str, str], name: str) -> int:
    text = _text(found, name)
    try:
        return int(text)
    except ValueError as error:
        raise UserError(
            f"{name} is no number",
            found=text,
            expected="an integer",
            fix="start with torchrun or srun, which set it, or unset it",
        ) from error
