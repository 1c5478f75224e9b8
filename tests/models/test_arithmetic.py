"""TF32 and bfloat16 hold within their block and nowhere else."""

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.models.arithmetic import autocast, products

CARD, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(("precision", "inside"), [("float32", "highest"), ("tf32", "high"), ("bfloat16", "highest")])
@pytest.mark.parametrize("before", ["highest", "high"])
def test_products_set_and_put_back(precision, inside, before):
    kept = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with products(precision, CARD):
            assert torch.get_float32_matmul_precision() == inside
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(kept)


def test_a_cpu_has_no_tf32():
    before = torch.get_float32_matmul_precision()
    with products("tf32", CPU):
        assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("tf32", torch.float32)])
def test_only_bfloat16_casts(precision, dtype):
    x = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (x @ x).dtype == dtype
    with autocast("bfloat16", CPU):
        assert (x @ x).dtype == torch.bfloat16


def test_which_rows_take_which():
    """Only DiT's own trainer (R1) multiplies in TF32."""
    rows = {row: jobs.find(f"table1/{row}").run.training.precision for row in ("R1", "R2", "R3", "R4", "A", "E")}
    assert rows == {"R1": "tf32"} | dict.fromkeys(("R2", "R3", "R4", "A", "E"), "bfloat16")
