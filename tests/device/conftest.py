"""The devices of this machine: every test here runs on the CPU, and on a card where there is one."""

from __future__ import annotations

import os

import pytest
import torch

# cuBLAS reads it at the first call of the process, whichever test that is.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# A card's compilers warn of what may be faster, in words that change from version to version; those are no errors.
ON_A_CARD = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_A_CARD)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"there is no card that torch {torch.__version__} can use")
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def compile_anew() -> None:
    """What earlier tests compiled counts among the variants at which the compiler gives up."""
    torch.compiler.reset()
