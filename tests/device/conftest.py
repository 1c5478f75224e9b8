"""The devices of this machine: every test here runs on the CPU, and on a card where there is one."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"there is no card that torch {torch.__version__} can use")
    return torch.device(request.param)
