"""Which device a stage runs on, and what records say of it."""

from __future__ import annotations

import os
import re

import torch

from hdit_repro.errors import UserError, counted
from hdit_repro.models.backends import choose
from hdit_repro.records.schema import PROCESSOR
from hdit_repro.stages.heap import keep_freed_memory
from hdit_repro.stages.settings import Settings


def prepare(settings: Settings) -> torch.device:
    """Choose the device and set the process's threads; on a CPU, let it keep the memory that it frees.

    Raises:
        UserError: no device has that name, or a GPU is asked for and is not here.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(
            f"there is no device called {name!r}",
            found=f"--device {name}",
            expected="auto, cpu, cuda, or a GPU by its number: cuda:1",
            fix="leave --device out: a GPU is taken where there is one",
        )
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "there is no GPU that torch can use",
            found=f"--device {settings.device}, torch {torch.__version__}",
            expected="a CUDA build of torch and a GPU",
            fix="use --device cpu, or install another build of torch (make setup TORCH_INDEX=...)",
        )
    device = torch.device(name)
    if device.type == "cpu":
        keep_freed_memory()
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise UserError(
            f"there is no GPU number {device.index}",
            found=f"--device {name}, {counted(torch.cuda.device_count(), 'GPU')}",
            expected=f"cuda:0 to cuda:{torch.cuda.device_count() - 1}",
            fix="nvidia-smi lists them; CUDA_VISIBLE_DEVICES hides some",
        )
    if device.index is not None:
        torch.cuda.set_device(device)  # what names no card would go to the first, which may be another's
    return device


def device_name(device: torch.device) -> str:
    """What records call it: the driver's name of a card, or the processor with its cores."""
    card = device.type == "cuda"
    return torch.cuda.get_device_name(device) if card else f"{PROCESSOR} ({os.cpu_count()} cores)"


def facts(device: torch.device) -> dict[str, str | int]:
    """What a record says of the hardware, as plain values."""
    return {
        "device": device_name(device),
        **({"cuda": str(torch.version.cuda)} if device.type == "cuda" else {}),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "neighborhood attention": choose().name,
    }
