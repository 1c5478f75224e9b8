"""All backends of neighborhood attention that run here, against attention under a dense mask; and which is chosen."""

import shutil
import sys
from functools import partial
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
import torch
from einops import rearrange

from hdit_repro import jobs, machine
from hdit_repro.errors import UserError
from hdit_repro.models import attention, backends, flex_backend, natten_backend, neighborhood
from hdit_repro.models.attention import Neighborhood
from hdit_repro.models.build import build
from hdit_repro.spec import model as spec
from hdit_repro.stages.device import facts

GRIDS = [(7, 7, 3), (9, 13, 5), (8, 16, 7), (17, 11, 9), (19, 33, 11), (13, 13, 13), (15, 40, 13), (26, 50, 7)]

DTYPES = [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 5e-2)]


def near(length, kernel):
    at = torch.arange(length)
    first = (at - kernel // 2).clamp(0, length - kernel)[:, None]
    return (at >= first) & (at < first + kernel)


def dense(q, k, v, kernel):
    """The twin: all tokens x tokens logits."""
    height, width = q.shape[1:3]
    mask = (near(height, kernel)[:, None, :, None] & near(width, kernel)[None, :, None, :]).flatten(2).flatten(0, 1)
    q, k, v = (rearrange(x, "b h w n e -> b n (h w) e") for x in (q, k, v))
    logits = (q @ k.mT).masked_fill(~mask, -torch.inf)
    return rearrange(logits.softmax(dim=-1) @ v, "b n (h w) e -> b h w n e", h=height)


def qkv(height, width, head=16, dtype=torch.float64, batch=2):
    return [torch.randn(batch, height, width, 2, head, dtype=dtype, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize(("height", "width", "kernel"), GRIDS)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("strip", [1, 1 << 21])
def test_tiled_forward_and_backward(monkeypatch, height, width, kernel, dtype, tolerance, strip):
    monkeypatch.setattr("hdit_repro.models.neighborhood.STRIP", strip)
    inputs = [(0.5 * each.detach()).to(dtype).requires_grad_() for each in qkv(height, width)]
    wide = [each.detach().double().requires_grad_() for each in inputs]
    out, expected = Neighborhood(kernel)(*inputs), dense(*wide, kernel)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=tolerance)
    direction = torch.randn_like(expected).to(dtype)
    found = torch.autograd.grad(out, inputs, direction)
    for a, b in zip(found, torch.autograd.grad(expected, wide, direction.double()), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=5 * tolerance)


def test_the_way_of_other_devices_gives_the_same(monkeypatch):
    """Cards take one masked attention over all tiles instead of strips."""
    inputs = qkv(13, 9)
    expected = Neighborhood(5)(*inputs)
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, inputs, direction)

    class Elsewhere:
        type = "other"

    monkeypatch.setattr("hdit_repro.models.neighborhood.device_of", lambda _: Elsewhere())
    monkeypatch.setattr("hdit_repro.models.neighborhood.Strips.apply", lambda *_: pytest.fail("strips"))
    out = Neighborhood(5)(*inputs)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    for a, b in zip(torch.autograd.grad(out, inputs, direction), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", [3, 5])
def test_tiled_passes_gradcheck(monkeypatch, kernel):
    monkeypatch.setattr("hdit_repro.models.neighborhood.TILE", 3)
    monkeypatch.setattr("hdit_repro.models.neighborhood.STRIP", 1)
    assert torch.autograd.gradcheck(lambda q, k, v: Neighborhood(kernel)(q, k, v), qkv(7, 5, head=3, batch=1))


@pytest.mark.parametrize("limit", [1, 100_000, 1 << 21, 1 << 40])
def test_strips_gather_as_much_as_they_may_and_take_every_row_once(monkeypatch, limit):
    monkeypatch.setattr(neighborhood, "STRIP", limit)
    q, cpu = torch.empty(2, 61, 30, 3, 16), torch.device("cpu")
    rows, columns = neighborhood.cut_axis(61, 7, cpu), neighborhood.cut_axis(30, 7, cpu)
    strips = list(neighborhood._strips(rows, columns, q))
    row = neighborhood._halo(q, strips[0][0]._replace(keys=rows.keys[:1]), columns).numel()
    most = min(max(1, limit // row), rows.tiles)
    assert [strip.tiles for strip, _ in strips[:-1]] == [most] * (len(strips) - 1)
    assert 1 <= strips[-1][0].tiles <= most
    taken = [index for _, at in strips for index in range(at.start, at.stop)]
    assert taken == list(range(rows.tiles * rows.tile))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("height", "width", "kernel"), GRIDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_flex_forward(height, width, kernel, dtype, tolerance):
    from torch.nn.attention.flex_attention import flex_attention

    fast = flex_backend.TorchFlex(flex_attention)
    inputs = [(0.5 * each.detach()).to(dtype) for each in qkv(height, width)]
    assert fast.takes(inputs[0], kernel)
    expected = dense(*(each.double() for each in inputs), kernel)
    out = Neighborhood(kernel, fast)(*inputs)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("height", "width", "kernel"), [*GRIDS, (64, 64, 7)])
def test_the_block_mask_holds_every_block_that_is_needed_and_no_other(height, width, kernel):
    mask = flex_backend.block_mask(height, width, kernel, torch.device("cpu"))
    above, left = (flex_backend._ahead(n, t, kernel) for n, t in zip((height, width), flex_backend.TILE, strict=True))
    down, across = -(-height // 8), -(-width // 16)
    key_down, key_across = -(-(height + above) // 8), -(-(width + left) // 16)
    some = torch.zeros(down * across, key_down * key_across, dtype=torch.bool)
    rows, columns = near(height, kernel), near(width, kernel)
    for query in range(height):
        for other in range(width):
            for y in set(((rows[query].nonzero().flatten() + above) // 8).tolist()):
                seen = (columns[other].nonzero().flatten() + left) // 16
                some[query // 8 * across + other // 16, y * key_across + seen] = True
    assert torch.equal(mask.to_dense()[0, 0].bool(), some)


@pytest.mark.parametrize("side", [16, 24, 32, 48, 64, 96])
@pytest.mark.parametrize("kernel", [3, 7, 13])
def test_keys_begin_where_the_fewest_blocks_are_needed(monkeypatch, side, kernel):
    """A tile of 8 x 16 queries and what kernels of 7 reach around it is 14 x 22: four blocks of keys, not nine."""

    def most():
        return int(flex_backend.block_mask(side, side, kernel, torch.device("cpu")).kv_num_blocks.max())

    found = most()
    assert kernel != 7 or found <= 4
    monkeypatch.setattr(flex_backend, "_ahead", lambda *_: 0)
    assert found <= most()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU by g++")
@pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="torch cannot read its own templates here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # the compiler's own
def test_the_compiler_makes_code_of_the_block_mask():
    """On a card a compiled network makes its masks within; the compiler of torch 2.13 fails where it may not divide."""

    def blocks(x):
        mask = flex_backend.block_mask(32, 32, 7, x.device)
        return x + mask.kv_num_blocks + mask.kv_indices.sum(-1)

    made = torch.compile(blocks, fullgraph=True)
    x = torch.zeros(8)
    assert torch.equal(made(x), blocks(x))


def test_blocks_of_the_mask_grow_with_tokens():
    counts = [
        int(flex_backend.block_mask(side, side, 7, torch.device("cpu")).kv_num_blocks.sum()) for side in (64, 128)
    ]
    assert counts[1] < 4.7 * counts[0]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_flex_forward():
    inputs = [each.detach().float() for each in qkv(32, 32)]
    out = Neighborhood(7, flex_backend.flex())(*inputs)
    torch.testing.assert_close(out.double(), dense(*(each.double() for each in inputs), 7), rtol=0, atol=1e-4)


@pytest.fixture
def flex_on_a_cpu(monkeypatch):
    """Flex as it is on a card, compiled down to torch's own operations; the compiler starts anew."""
    module = import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)
    compile = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(flex_backend.TorchFlex, "takes", lambda *_: True)
    flex_backend._compiled.cache_clear()
    flex_backend.kept_mask.cache_clear()
    torch.compiler.reset()
    yield flex_backend.flex()
    flex_backend._compiled.cache_clear()
    torch.compiler.reset()


@pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="torch cannot read its own templates here")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own
@pytest.mark.parametrize("whole", [False, True])
def test_who_has_drawn_samples_can_train(flex_on_a_cpu, whole):
    """A mask that inference mode made could not be kept for a gradient; nor does a compiled network compile within."""

    attend = Neighborhood(3, flex_on_a_cpu)

    def network(x):
        return attend(x, x, x)

    called = torch.compile(network, fullgraph=True) if whole else network
    x = torch.randn(1, 9, 9, 1, 16)
    with torch.inference_mode():
        drawn = called(x)
    torch.testing.assert_close(drawn, dense(x, x, x, 3))
    x.requires_grad_()
    gradient = torch.autograd.grad(called(x).square().sum(), x)[0]
    wanted = torch.autograd.grad(dense(x, x, x, 3).square().sum(), x)[0]
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="torch cannot read its own templates here")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")  # torch's own, while it traces
def test_levels_with_flex_are_one_compiled_network(flex_on_a_cpu, monkeypatch, vary, inputs, awaken):
    """The compiler loses count of iterators that go on past a flex_attention, and would call all levels one by one."""
    local = spec.NeighborhoodAttention(kernel=3)
    each = vary(widths=(16,) * 3, depths=(1,) * 3, heads=(1,) * 3, attention=(local, local, spec.GlobalAttention()))
    tiled, call = awaken(build(each)), inputs(each)
    monkeypatch.setattr(attention, "choose", lambda: backends.Backend("torch-flex", "a test", flex_on_a_cpu))
    network = torch.compile(awaken(build(each)), backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(network(**call), tiled(**call), rtol=1e-4, atol=1e-4)


def test_the_compiler_does_not_give_up_on_the_ninth_grid(flex_on_a_cpu):
    """Past its own limit all logits would be kept; torch then warns that it was not compiled."""
    with torch._dynamo.config.patch(recompile_limit=1):
        for side in (3, 4):
            x = torch.randn(1, side, side, 1, 16)
            Neighborhood(3, flex_on_a_cpu)(x, x, x)
        assert torch._dynamo.config.recompile_limit == 1


def test_flex_on_a_cpu_leaves_gradients_to_tiled():
    fast = flex_backend.TorchFlex(lambda *_, **__: pytest.fail("called for gradients"))
    inputs = [each.detach().float().requires_grad_() for each in qkv(8, 8)]
    torch.testing.assert_close(Neighborhood(3, fast)(*inputs), Neighborhood(3)(*inputs))
    assert not fast.takes(inputs[0].detach().double(), 3)
    assert not fast.takes(inputs[0].detach().to("meta"), 3)


def test_flex_that_a_card_chose_leaves_the_cpu_to_tiled(monkeypatch):
    inputs = [each.detach().float() for each in qkv(8, 8)]
    fast = flex_backend.TorchFlex(lambda *_, **__: pytest.fail("compiled for the CPU"))
    assert fast.takes(inputs[0], 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.testing.assert_close(Neighborhood(3, fast)(*inputs), Neighborhood(3)(*inputs))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("height", "width", "kernel"), GRIDS)
def test_nattens_flex_forward(height, width, kernel):
    fast = natten_backend.flex()
    if isinstance(fast, str):
        pytest.skip(fast)
    inputs = [(0.5 * each.detach()).float() for each in qkv(height, width)]
    assert fast.takes(inputs[0], kernel)
    expected = dense(*(each.double() for each in inputs), kernel)
    torch.testing.assert_close(Neighborhood(kernel, fast)(*inputs).double(), expected, rtol=0, atol=1e-4)


def test_a_kernel_larger_than_the_grid_is_refused():
    q = torch.randn(1, 8, 5, 1, 8)
    with pytest.raises(UserError, match="does not fit") as caught:
        Neighborhood(7)(q, q, q)
    assert "kernel 7 on 8 x 5 tokens" in str(caught.value)


class Never:
    """A backend that takes everything and must not be asked."""

    def takes(self, q, kernel):
        return True

    def attend(self, q, k, v, kernel):
        pytest.fail("asked")


EVERY_WAY = [
    lambda q, k, v, kernel: Neighborhood(kernel)(q, k, v),
    lambda q, k, v, kernel: Neighborhood(kernel, Never())(q, k, v),
    neighborhood.neighborhood_attention,
]


@pytest.mark.parametrize("attend", EVERY_WAY)
@pytest.mark.parametrize(
    ("changed", "kernel", "problem"),
    [
        ({"k": (1, 8, 5, 2, 8), "v": (1, 8, 5, 2, 8)}, 3, "not of one grid"),  # took images for grouped heads
        ({"k": (2, 9, 7, 2, 8), "v": (2, 9, 7, 2, 8)}, 3, "not of one grid"),  # took its upper left part
        ({"v": (2, 8, 5, 2, 16)}, 3, "not of one grid"),
        (dict.fromkeys("qkv", (8, 5, 2, 8)), 3, "not of one grid"),
        ({}, 4, "in the middle"),
        ({}, 0, "in the middle"),
        ({}, -1, "in the middle"),
        ({}, 7, "does not fit"),
    ],
)
def test_what_is_no_neighborhood_is_refused_before_a_backend_is_asked(attend, changed, kernel, problem):
    qkv = {name: torch.zeros(changed.get(name, (2, 8, 5, 2, 8))) for name in "qkv"}
    with pytest.raises(UserError, match=problem):
        attend(**qkv, kernel=kernel)


@pytest.mark.parametrize("attend", EVERY_WAY)
def test_no_images_attend_to_nothing(attend):
    inputs = qkv(8, 5, batch=0)
    out = attend(*inputs, 3)
    assert (out.shape, out.dtype) == (inputs[0].shape, inputs[0].dtype)
    assert [each.shape for each in torch.autograd.grad(out.sum(), inputs)] == [out.shape] * 3


def test_here_tiled_is_chosen(monkeypatch):
    monkeypatch.delenv(machine.NEIGHBORHOOD, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backends.probe() == backends.Backend("tiled", "there is no CUDA device")


@pytest.fixture
def triton(monkeypatch):
    """Says that there is a card; the call makes a Triton of what it does when it is asked for it."""
    monkeypatch.delenv(machine.NEIGHBORHOOD, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def made(asked):
        active = SimpleNamespace(get_current_target=asked)
        for name in ("triton", "triton.runtime"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        driver = SimpleNamespace(driver=SimpleNamespace(active=active))
        monkeypatch.setitem(sys.modules, "triton.runtime.driver", driver)
        flex_backend.no_triton.cache_clear()

    yield made
    flex_backend.no_triton.cache_clear()


def test_a_card_without_a_c_compiler_takes_plain_torch(monkeypatch, triton):
    def asked():
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    triton(asked)
    monkeypatch.setitem(backends.BACKENDS, "natten", lambda: "natten is not installed")
    found = backends.probe()
    assert (found.name, found.fast) == ("tiled", None)
    assert found.reason.startswith("natten is not installed; Triton needs a C compiler")
    assert found.reason.endswith("RuntimeError: Failed to find C compiler.")
    monkeypatch.setenv(machine.NEIGHBORHOOD, "torch-flex")
    with pytest.raises(UserError, match="Failed to find C compiler"):
        backends.probe()


def test_on_cuda_the_kernels_and_without_them_flex(monkeypatch, triton):
    triton(lambda: "sm90")
    fast = natten_backend.Fast(na2d=max)
    monkeypatch.setitem(backends.BACKENDS, "natten", lambda: fast)
    assert (backends.probe().name, backends.probe().fast) == ("natten", fast)
    monkeypatch.setitem(backends.BACKENDS, "natten", lambda: "natten is not installed")
    found = backends.probe()
    assert (found.name, found.reason) == ("torch-flex", "natten is not installed")
    assert isinstance(found.fast, flex_backend.TorchFlex)


@pytest.mark.parametrize("name", ["tiled", "torch-flex"])
def test_the_variable_chooses(monkeypatch, name):
    monkeypatch.setenv(machine.NEIGHBORHOOD, name)
    assert backends.probe().name == name
    assert machine.NEIGHBORHOOD in str(backends.probe())


@pytest.mark.parametrize("name", ["cuda", "natten"])
def test_a_variable_that_cannot_be_obeyed_is_refused(monkeypatch, name):
    monkeypatch.setenv(machine.NEIGHBORHOOD, name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=machine.NEIGHBORHOOD):
        backends.probe()


def test_the_choice_is_provenance_and_no_identity(monkeypatch):
    before = jobs.find("table1/E", "smoke").run
    ids = before.training_id, before.sampling_id, before.evaluation_id
    monkeypatch.setenv(machine.NEIGHBORHOOD, "torch-flex")
    backends.choose.cache_clear()
    after = jobs.find("table1/E", "smoke").run
    assert (after.training_id, after.sampling_id, after.evaluation_id) == ids
    assert facts(torch.device("cpu"))["neighborhood attention"] == "torch-flex"
    backends.choose.cache_clear()


def test_the_names_that_are_known_without_torch_are_the_backends():
    assert tuple(backends.BACKENDS) == machine.BACKENDS
