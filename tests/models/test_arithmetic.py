"""TF32 and bfloat16 hold within their block and nowhere else."""

import msgspec
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hdit_repro import jobs
from hdit_repro.models.arithmetic import autocast, computes_bfloat16, products
from hdit_repro.models.build import build
from hdit_repro.models.layers import plus

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


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("precision", "inside"), [("float32", False), ("tf32", True), ("bfloat16", False)])
def test_convolutions_are_products_too(precision, inside, before):
    """Without this DiT's patches are multiplied in TF32 on a card, whatever is asked for."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, allow_tf32=before):
        with products(precision, CARD):
            assert cudnn.allow_tf32 == inside
        assert cudnn.allow_tf32 == before


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


class MixedSums(TorchDispatchMode):
    """Counts matrix products (of two axes), and their sums with something of another dtype."""

    def __init__(self):
        super().__init__()
        self.products, self.mixed = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mm.default:
            self.products.append(out)
        if function is torch.ops.aten.add.Tensor and all(isinstance(each, torch.Tensor) for each in args[:2]):
            one, other = args[:2]
            self.mixed += one.dtype != other.dtype and any(one is each or other is each for each in self.products)
        return out


def conditioned():
    """Row E at smoke scale, told of its augmentation and of a further condition, and what it is called with."""
    model = msgspec.structs.replace(jobs.find("table1/E", "smoke").run.model, mapping_cond=5, augmentation_cond=9)
    call = {
        "x": torch.randn(2, 3, model.resolution, model.resolution),
        "sigma": torch.tensor([0.3, 2.0]),
        "class_cond": torch.tensor([1, 0]),
        "aug_cond": torch.randn(2, 9),
        "mapping_cond": torch.randn(2, 5),
    }
    return build(model, seed=0), call


@pytest.mark.parametrize("row", ["E", "A", "R1", "R3", "R4"])
def test_no_product_is_added_to_another_dtype(row):
    """The compiler of torch 2.8 makes one operation of a product and a sum, whatever their dtypes, and that fails."""
    network, call = conditioned()
    if row != "E":
        model = jobs.find(f"table1/{row}", "smoke").run.model
        network = build(model, seed=0)
        call = {"x": torch.randn(2, 3, model.resolution, model.resolution), "class_cond": torch.tensor([1, 0])}
        call["t" if row == "R1" else "sigma"] = torch.tensor([0.3, 2.0])
    with MixedSums() as found, autocast("bfloat16", CPU):
        network(**call).float().square().mean().backward()
    assert found.products
    assert found.mixed == 0


@pytest.mark.parametrize(
    "dtypes", [("float32", "bfloat16"), ("bfloat16", "float32"), ("bfloat16",) * 2, ("float64",) * 2]
)
def test_plus_is_the_sum(dtypes):
    x, y = (torch.randn(3, 5).to(getattr(torch, dtype)) for dtype in dtypes)
    out = plus(x, y)
    assert out.dtype == (x + y).dtype
    assert torch.equal(out, x + y)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_conditions_compile_in_bfloat16():
    """Compiled, forward and backward: what eager gives, to the precision of bfloat16."""
    network, call = conditioned()
    torch.nn.init.normal_(network.mapping.blocks[0].down_proj.weight, std=0.1)
    torch._dynamo.reset()
    found, towards = [], torch.randn(2, network.mapping.out_norm.scale.numel())
    for way in (network.condition, torch.compile(network.condition, dynamic=False)):
        network.zero_grad(set_to_none=True)
        with autocast("bfloat16", CPU):
            out = way(**call)
        (out.float() * towards).sum().backward()  # no norm of it: the last RMSNorm makes that the same for all
        found.append((out.detach().float(), network.class_emb.weight.grad.clone()))
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=0.05, atol=0.02 * float(eager.abs().max()))


@pytest.mark.parametrize(
    ("known", "able"),
    [
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, False),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True}, True),
    ],
)
def test_a_processor_is_taken_to_multiply_in_bfloat16_unless_it_is_known_not_to(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], able: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert computes_bfloat16() == able
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert computes_bfloat16(), "an older torch does not know"
