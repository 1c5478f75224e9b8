"""The hourglass and the DiT as wholes: every ablation point builds, starts as it should, and learns everywhere."""

import copy
import math
from typing import get_type_hints

import msgspec
import pytest
import torch

from hdit_repro.cost import count
from hdit_repro.errors import UserError
from hdit_repro.models import build
from hdit_repro.models.attention import Global, ShiftedWindow
from hdit_repro.models.blocks import LayerStack
from hdit_repro.models.build import NETWORKS
from hdit_repro.models.dit import Block
from hdit_repro.models.hourglass import Hourglass
from hdit_repro.models.init import initialise
from hdit_repro.models.positions import sin_cos
from hdit_repro.models.rope import AxialRoPE, frequencies, places
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of, kinds


def test_networks_are_the_specs():
    assert tuple(NETWORKS) == kinds(spec.Model)


def test_a_kind_without_a_network_is_named_beside_those_that_have_one(monkeypatch):
    monkeypatch.delitem(NETWORKS, "dit")
    with pytest.raises(UserError, match="no network called 'dit'") as told:
        build(spec.DiT(resolution=4, patch=2, width=4, depth=1, heads=1))
    assert told.value.expected == "hourglass"


@pytest.mark.parametrize("union", ["attention", "similarity", "position", "feed_forward", "norm", "gate", "skip"])
def test_every_kind_is_among_the_variants(union, variants):
    """So that whatever is asked of variants is asked of each kind: that it builds, is counted, learns."""
    asked = kinds({**get_type_hints(spec.Hourglass), "attention": spec.Attention}[union])
    found = [getattr(each, union) for each in variants]
    found = [level for levels in found for level in levels] if union == "attention" else found
    assert {kind_of(value) for value in found} == set(asked), "VARIANTS in tests/models/conftest.py"


def test_every_variant_builds_runs_and_counts(variant, inputs):
    network = build(variant)
    call = inputs(variant)
    assert network(**call).shape == call["x"].shape
    assert sum(each.numel() for each in network.parameters()) == count(variant, variant.resolution).parameters


def test_a_batch_of_no_images_is_refused_by_every_network(variant, inputs):
    """Windows and strips of a neighborhood ended in a division by zero."""
    empty = {name: value[:0] for name, value in inputs(variant).items()}
    with pytest.raises(UserError, match="no batch of images"):
        build(variant)(**empty)


def test_every_level_starts_as_the_identity(variant):
    network, cond = build(variant), torch.randn(2, variant.mapping.width)
    stacks = [*network.down_levels, network.mid_level, *network.up_levels]
    assert all(isinstance(stack, LayerStack) for stack in stacks)
    at = places(8, 8, torch.device("cpu"), torch.float32)
    for level, width in zip(stacks, [*variant.widths[:-1], variant.widths[-1], *variant.widths[:-1]], strict=True):
        x = torch.randn(2, 8, 8, width)
        assert torch.equal(level(x, at, cond), x)


def test_the_output_starts_at_zero(variant, inputs):
    assert (build(variant)(**inputs(variant)) == 0).all()


def test_every_parameter_gets_a_gradient(variant, inputs, awaken):
    network = awaken(build(variant))
    network(**inputs(variant, batch=6)).square().mean().backward()
    assert not [name for name, each in network.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]


def test_variants_differ(small, vary, inputs, awaken):
    """Ablations that share all shapes still compute different functions."""
    outputs = [
        awaken(build(each))(**inputs(small))
        for each in (
            small,
            vary(attention=(spec.NeighborhoodAttention(kernel=5), spec.GlobalAttention())),
            vary(attention=(spec.GlobalAttention(), spec.GlobalAttention())),
            vary(attention=(spec.ShiftedWindowAttention(window=4), spec.GlobalAttention())),
            vary(position=spec.SinCosPosition()),
        )
    ]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert not torch.allclose(a, b, atol=1e-4)


def test_a_sample_does_not_depend_on_its_batch(variant, inputs, awaken):
    network, call = awaken(build(variant)).double(), inputs(variant, dtype=torch.float64)
    alone = network(**{name: value[1:] for name, value in call.items()})
    torch.testing.assert_close(network(**call)[1:], alone, rtol=0, atol=1e-10)


def test_what_the_network_listens_to(small, inputs, awaken):
    network, call = awaken(build(small)), inputs(small)
    base = network(**call)
    changes = {"sigma": call["sigma"] * 2, "aug_cond": call["aug_cond"] + 1, "class_cond": call["class_cond"] + 1}
    for name, value in changes.items():
        assert not torch.allclose(network(**{**call, name: value}), base, atol=1e-5), name


def test_it_starts_the_same_from_a_seed_and_leaves_the_global_generator(variant):
    before = torch.get_rng_state()
    one, same, other = build(variant, seed=3), build(variant, seed=3), build(variant, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(one.patch_in.proj.weight, other.patch_in.proj.weight)
    assert not torch.equal(one.time_emb.weight, other.time_emb.weight)


def test_parameters_that_start_at_random_start_apart(small, small_dit):
    for network in (build(small), build(small_dit)):
        drawn = [each.flatten().tolist() for each in network.parameters() if each.unique().numel() > 99]
        assert len(drawn) > 10
        ratios = {round(weights[1] / weights[0], 4) for weights in drawn}
        assert len(ratios) == len(drawn)


def test_rows_share_what_they_have_in_common(small, vary):
    one, other = build(small).state_dict(), build(vary(skip=spec.ConcatSkip())).state_dict()
    shared = one.keys() & other.keys()
    assert len(shared) > 30
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_starts_are_those_of_the_table(small, vary):
    network = build(vary(widths=(64, 128), depths=(1, 1), heads=(2, 2), mapping={"depth": 1, "width": 64, "d_ff": 96}))
    layer = network.mid_level[0]
    assert layer.self_attn.similarity.scale.tolist() == [10.0, 10.0]
    assert network.splits[0].join.fac.tolist() == [0.5]
    weight = layer.self_attn.qkv_proj.weight
    assert weight.abs().max() <= 128**-0.5
    assert weight.std().item() == pytest.approx((128 * 3) ** -0.5, rel=0.02)
    assert network.class_emb.weight.std().item() == pytest.approx(1, rel=0.15)
    assert network.aug_emb.weight.std().item() == pytest.approx(1, rel=0.15)
    mapping = network.mapping.blocks[0].down_proj
    for zero in (layer.self_attn.out_proj, layer.ff.down_proj, network.patch_out.proj, layer.ff.norm.linear, mapping):
        assert (zero.weight == 0).all()
    assert torch.equal(layer.self_attn.pos_emb.freqs, frequencies(2, 8))
    learned = build(vary(position=spec.LearnedPosition())).position
    torch.testing.assert_close(learned.weight.detach().double(), sin_cos(8, 8, 16), rtol=0, atol=1e-7)
    gated = build(vary(gate=spec.MappingGate())).mid_level[0]
    assert (gated.ff.gate.linear.weight == 0).all()
    assert (gated.ff.down_proj.weight != 0).any()
    as_dit = build(vary(norm=spec.DiTLayerNorm(), gate=spec.DiTGate())).mid_level[0]
    for branch, last in ((as_dit.self_attn, "out_proj"), (as_dit.ff, "down_proj")):
        assert not any(each.any() for part in (branch.norm, branch.gate) for each in part.parameters())
        assert getattr(branch, last).weight.std().item() == pytest.approx(
            (getattr(branch, last).in_features * 3) ** -0.5, rel=0.1
        )


def test_a_module_without_a_start_is_noticed(small):
    network = build(small)
    network.stranger = torch.nn.PReLU()
    with pytest.raises(AssertionError, match="PReLU"):
        initialise(network, 0)


def test_on_meta_it_has_shapes_and_no_storage(variant, small_dit):
    for each in (variant, small_dit):
        with torch.device("meta"):
            outline = build(each)
        assert all(tensor.is_meta for tensor in outline.state_dict().values())
        whole = build(each).state_dict()
        assert {name: tensor.shape for name, tensor in outline.state_dict().items()} == {
            name: tensor.shape for name, tensor in whole.items()
        }


def test_bfloat16_autocast_stays_near(variant, inputs, awaken):
    network, call = awaken(build(variant)), inputs(variant)
    expected = network(**call)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(**call)
        out.float().square().mean().backward()
    assert (out - expected).norm() < 0.1 * expected.norm()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


def test_autocast_rounds_neither_fourier_features_nor_angles(vary, inputs, awaken, monkeypatch):
    """The released code lets both be rounded to bfloat16, angles where attention is global."""
    whole = spec.GlobalAttention()
    each = vary(position=spec.AxialRoPE(), attention=(whole, whole))
    network, call, seen = awaken(build(each)), inputs(each), []
    for features in (network.time_emb, network.aug_emb):
        features.register_forward_hook(lambda module, given, out: seen.append(out))
    angles = AxialRoPE.angles

    def noted(self, *arguments):
        found = angles(self, *arguments)
        seen.extend(found)
        return found

    monkeypatch.setattr(AxialRoPE, "angles", noted)
    network(**call)
    plain = [seen.pop(0) for _ in range(len(seen))]
    with torch.autocast("cpu", torch.bfloat16):
        network(**call)
    assert len(plain) == len(seen) > 4
    assert all(one.dtype == torch.float32 and torch.equal(one, other) for one, other in zip(seen, plain, strict=True))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")  # torch's own, while it traces
def test_it_compiles_without_a_break(vary, inputs, awaken):
    """One layer of neighborhood attention, all conditions in; the other kinds of attention by themselves."""
    each = vary(resolution=12, widths=(16,), depths=(1,), heads=(2,), attention=(spec.NeighborhoodAttention(kernel=3),))
    network, call = awaken(build(each)), inputs(each)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(**call), network(**call))
    qkv = torch.randn(3, 1, 8, 8, 1, 8).unbind(0)
    for attend in (ShiftedWindow(4, 2), Global()):
        torch.testing.assert_close(torch.compile(attend, backend="eager", fullgraph=True)(*qkv), attend(*qkv))


def test_copies_are_their_own(small, inputs, awaken):
    network = awaken(build(small))
    twin, call = copy.deepcopy(network), inputs(small)
    assert torch.equal(twin(**call), network(**call))
    awaken(twin, seed=2)
    assert not torch.equal(twin(**call), network(**call))


def test_sizes_other_than_the_specs_run(small, vary, inputs, awaken):
    network = awaken(build(vary(patch=(4, 2), widths=(16, 32), classes=0)))
    call = {"sigma": torch.ones(1), "x": torch.randn(1, 3, 24, 20)}
    assert network(**call).shape == (1, 3, 24, 20)


def test_a_resolution_moves_with_its_grid(small, awaken):
    """Local layers know relative places only up to the border; far from it a shifted image gives a shifted output."""
    local = msgspec.structs.replace(
        small, widths=(16,), depths=(1,), heads=(2,), attention=(spec.NeighborhoodAttention(kernel=3),), classes=0
    )
    network = awaken(build(local)).double()
    x, sigma = torch.randn(1, 3, 32, 32, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    moved = network(x.roll((4, 6), dims=(2, 3)), sigma)
    torch.testing.assert_close(moved[..., 8:-8, 10:-10], network(x, sigma).roll((4, 6), dims=(2, 3))[..., 8:-8, 10:-10])


BAD_SIZES = [
    ({}, (18, 16), "multiples of 4 x 4"),
    ({}, (16, 4), "at least 6 x 6"),
    ({"attention": (spec.ShiftedWindowAttention(window=4), spec.GlobalAttention())}, (16, 20), "multiples of 8 x 8"),
    ({"attention": (spec.GlobalAttention(), spec.ShiftedWindowAttention(window=4))}, (24, 16), "multiples of 16 x 16"),
    (
        {"resolution": 24, "attention": (spec.ShiftedWindowAttention(window=3), spec.GlobalAttention())},
        (18, 12),
        "multiples of 12 x 12",
    ),
    ({"attention": (spec.GlobalAttention(), spec.NeighborhoodAttention(kernel=3))}, (8, 16), "at least 12 x 12"),
    (
        {"resolution": 24, "attention": (spec.ShiftedWindowAttention(window=6), spec.ShiftedWindowAttention(window=3))},
        (24, 16),
        "multiples of 12 x 12",
    ),
]


@pytest.mark.parametrize(("changes", "size", "expected"), BAD_SIZES)
def test_an_image_that_does_not_fit_is_refused(vary, changes, size, expected):
    network = build(vary(**changes, classes=0))
    with pytest.raises(UserError) as caught:
        network(torch.zeros(1, 3, *size), torch.ones(1))
    assert f"{size[0]} x {size[1]}" in str(caught.value)
    assert expected in str(caught.value)


BAD_CALLS = [
    ({"x": torch.zeros(2, 1, 16, 16)}, "batch of images"),
    ({"x": torch.zeros(3, 16, 16)}, "batch of images"),
    ({"x": torch.zeros(2, 3, 16, 16, dtype=torch.uint8)}, "must be floating point"),
    ({"sigma": torch.ones(())}, "sigma must be one number a sample"),
    ({"sigma": torch.ones(3)}, "sigma must be one number a sample"),
    ({"sigma": torch.tensor([1.0, 0.0])}, "sigma must be above 0"),
    ({"sigma": torch.tensor([-1.0, 1.0])}, "sigma must be above 0"),
    ({"class_cond": None}, "class_cond is missing"),
    ({"class_cond": torch.zeros(3, dtype=torch.int64)}, "one integer a sample"),
    ({"class_cond": torch.zeros(2)}, "one integer a sample"),
    ({"class_cond": torch.tensor([0, 5])}, "out of range"),
    ({"class_cond": torch.tensor([-1, 0])}, "out of range"),
    ({"aug_cond": torch.zeros(2, 8)}, "aug_cond has another shape"),
    ({"mapping_cond": torch.zeros(2, 3)}, "mapping_cond would be ignored"),
]


@pytest.mark.parametrize(("changes", "problem"), BAD_CALLS)
def test_a_wrong_call_is_refused(small, inputs, changes, problem):
    with pytest.raises(UserError, match=problem):
        build(small)(**{**inputs(small), **changes})


WIDE, PLAIN, NARROW = torch.float64, torch.float32, torch.bfloat16


@pytest.mark.parametrize("kind", ["small", "small_dit"])
@pytest.mark.parametrize(
    ("images", "weights", "cast"),
    [
        (WIDE, PLAIN, False),
        (PLAIN, WIDE, False),
        (NARROW, PLAIN, False),
        (PLAIN, NARROW, False),
        (WIDE, PLAIN, True),
        (PLAIN, WIDE, True),
    ],
)
def test_images_of_another_dtype_than_the_weights_are_refused(request, kind, images, weights, cast):
    """Autocast leaves float64 as it is."""
    model = request.getfixturevalue(kind)
    x = torch.zeros(1, 3, model.resolution, model.resolution, dtype=images)
    with torch.autocast("cpu", NARROW, enabled=cast), pytest.raises(UserError, match="another dtype") as told:
        build(model).to(weights)(x, torch.ones(1), torch.zeros(1, dtype=torch.int64))
    assert told.value.found == f"images of {images}, weights of {weights}"
    assert told.value.fix.startswith(f"x.to({weights})")


@pytest.mark.parametrize("kind", ["small", "small_dit"])
@pytest.mark.parametrize(
    ("images", "weights", "cast"),
    [(WIDE, WIDE, False), (NARROW, NARROW, False), (NARROW, PLAIN, True), (PLAIN, NARROW, True)],
)
def test_a_network_cast_as_a_whole_and_autocast_take_their_images(request, kind, images, weights, cast):
    model = request.getfixturevalue(kind)
    x = torch.zeros(1, 3, model.resolution, model.resolution, dtype=images)
    with torch.no_grad(), torch.autocast("cpu", NARROW, enabled=cast):
        assert build(model).to(weights)(x, torch.ones(1), torch.zeros(1, dtype=torch.int64)).isfinite().all()


def test_conditions_that_a_network_lacks_or_takes(vary, inputs):
    without, extra = vary(classes=0, augmentation_cond=0), vary(mapping_cond=3)
    call = inputs(without)
    for name, value in (("class_cond", torch.zeros(2, dtype=torch.int64)), ("aug_cond", torch.zeros(2, 9))):
        with pytest.raises(UserError, match=f"{name} would be ignored"):
            build(without)(**call, **{name: value})
    call = inputs(extra)
    del call["mapping_cond"]
    with pytest.raises(UserError, match="mapping_cond is missing"):
        build(extra)(**call)


def test_learned_positions_know_one_size(vary, inputs):
    network = build(vary(position=spec.LearnedPosition(), classes=0))
    with pytest.raises(UserError, match="one image size") as caught:
        network(torch.zeros(1, 3, 20, 16), torch.ones(1))
    assert (caught.value.found, caught.value.expected) == ("20 x 16 pixels", "16 x 16 pixels")


def test_learned_positions_of_oblong_patches_lie_on_their_grid(vary):
    network = build(vary(position=spec.LearnedPosition(), patch=(2, 1), classes=0))
    assert network.position.weight.shape == (8, 16, 16)
    assert network(torch.zeros(1, 3, 16, 16), torch.ones(1)).shape == (1, 3, 16, 16)


def test_dit_starts_as_the_released_code_starts_it(small_dit):
    """Xavier's bound for linear layers and for the patches as one, 0.02 for labels and the time's MLP, biases 0."""
    network = build(msgspec.structs.replace(small_dit, width=96, classes=100))
    block, time = network.blocks[1], network.t_embedder.mlp
    for layer, wide_in, wide_out in (
        (block.attn.qkv, 96, 288), (block.attn.proj, 96, 96), (block.mlp.fc1, 96, 384), (block.mlp.fc2, 384, 96),
        (network.x_embedder.proj, 12, 96),
    ):  # fmt: skip
        bound = math.sqrt(6 / (wide_in + wide_out))
        assert 0.98 * bound < layer.weight.abs().max().item() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    for weight in (time[0].weight, time[2].weight, network.y_embedder.embedding_table.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert 0.06 < weight.abs().max().item() < 0.12, "a normal distribution"
    biases = {name: value for name, value in network.named_parameters() if name.endswith("bias")}
    assert len(biases) == 3 + 2 * 5 + 2
    assert all((value == 0).all() for value in biases.values())


def test_dit_blocks_start_as_the_identity_and_the_output_at_zero(small_dit):
    network = build(small_dit)
    x, cond = torch.randn(2, 16, 16), torch.randn(2, 16)
    for block in network.blocks:
        assert isinstance(block, Block)
        assert torch.equal(block(x, cond), x)
    out = network(torch.randn(2, 3, 8, 8), torch.tensor([0, 999]), torch.tensor([0, 4]))
    assert out.shape == (2, 3, 8, 8)
    assert (out == 0).all()


@pytest.mark.parametrize(
    "changes", [{}, {"learn_sigma": True}, {"classes": 0}, {"class_dropout": 0.0}, {"channels": 1}]
)
def test_dit_variants_learn_everywhere_and_count(small_dit, awaken, changes):
    each = msgspec.structs.replace(small_dit, **changes)
    network = awaken(build(each))
    assert sum(each.numel() for each in network.parameters()) == count(each, each.resolution).parameters
    labels = torch.tensor([0, 1, 2]) if each.classes else None
    out = network(torch.randn(3, each.channels, 8, 8), torch.tensor([0, 10, 999]), labels)
    assert out.shape == (3, each.out_channels, 8, 8)
    out.square().mean().backward()
    assert all(each.grad.abs().sum() > 0 for each in network.parameters())


def test_dit_at_log_sigma_is_dit_at_that_time(small_dit, awaken):
    by_sigma = msgspec.structs.replace(small_dit, time=spec.LogSigma(scale=100.0, offset=500.0))
    network, twin = awaken(build(small_dit)).double(), awaken(build(by_sigma)).double()
    sigma = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    x, labels = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 4])
    torch.testing.assert_close(twin(x, sigma, labels), network(x, 100 * sigma.log() + 500, labels))


def test_dit_autocasts(small_dit, awaken):
    network = awaken(build(small_dit))
    call = (torch.randn(2, 3, 8, 8), torch.tensor([3, 600]), torch.tensor([0, 4]))
    expected = network(*call)
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(*call) - expected).norm() < 0.1 * expected.norm()


def test_dit_refuses_what_it_cannot_take(small_dit):
    network, t, y = build(small_dit), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    x = torch.zeros(1, 3, 8, 8)
    for call, problem in (
        ({"x": torch.zeros(1, 3, 16, 8), "t": t, "class_cond": y}, "one image size"),
        ({"x": x, "t": t}, "class_cond is missing"),
        ({"x": x, "t": t[0], "class_cond": y}, "t must be one number"),
        ({"x": x, "t": t, "class_cond": y, "aug_cond": torch.zeros(1, 9)}, "aug_cond would be ignored"),
    ):
        with pytest.raises(UserError, match=problem):
            network(**call)


def test_dit_without_classes_takes_its_one_label_or_none(small_dit, awaken):
    network = awaken(build(msgspec.structs.replace(small_dit, classes=0)))
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
    assert torch.equal(network(x, t), network(x, t, torch.zeros(2, dtype=torch.int64)))


def test_the_hourglass_takes_one_name_for_each_condition():
    """The order of arguments is the seam's: class, augmentation, mapping."""
    names = Hourglass.forward.__code__.co_varnames[1:6]
    assert names == ("x", "sigma", "class_cond", "aug_cond", "mapping_cond")
