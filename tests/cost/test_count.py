"""Costs against print, against the authors' code, and against themselves."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro import jobs
from hdit_repro.cost import CORE, PARTS, at_resolution, count, innermost
from hdit_repro.spec.model import DiT, GlobalAttention, Hourglass, NeighborhoodAttention

REFERENCE = Path(__file__).parents[1] / "reference"
HOURGLASSES = ("global", "neighborhood", "shifted-window", "shifted-window-odd", "mapping-cond")
PRINTED = {  # Table 1, GFLOP at 128^2, 256^2 and 512^2
    "R1": (106, 657, 6341),
    "R2": (106, 657, 6341),
    "R3": (106, 657, 6341),
    "R4": (106, 657, 6341),
    "A": (32, 114, 1060),
    "B1": (29, 60, 185),
    "B2": (29, 60, 184),
    "C": (31, 65, 198),
    "D": (31, 65, 198),
    "E": (31, 65, 198),
}


def gmacs(model, resolution):
    return count(at_resolution(model, resolution), resolution).macs / 1e9


def test_29_of_the_30_costs_of_table_1_are_as_printed_and_r1_at_256_is_not():
    found = {
        (row, size): round(gmacs(jobs.find(f"table1/{row}").run.model, size))
        for row in PRINTED
        for size in (128, 256, 512)
    }
    printed = {
        (row, size): value for row, line in PRINTED.items() for size, value in zip((128, 256, 512), line, strict=True)
    }
    assert {cell for cell in printed if printed[cell] != found[cell]} == {("R1", 256)}
    assert found["R1", 256] == 658  # six channels out for the learned sigma: 657.6


def test_the_learned_sigma_is_what_makes_r1_dearer_than_r2():
    r1 = jobs.find("table1/R1").run.model
    assert isinstance(r1, DiT)
    plain = msgspec.structs.replace(r1, learn_sigma=False)
    tokens = (256 // 4) ** 2
    assert count(r1, 256).macs - count(plain, 256).macs == tokens * 768 * 48
    assert round(gmacs(plain, 256)) == 657


@pytest.mark.parametrize(
    ("run", "millions"),
    [("table1/E", 117.0), ("ffhq1024", 85.1), ("imagenet256", 557.4), ("table1/R1", 130.4), ("table1/R2", 130.4)],
)
def test_parameters_as_printed(run, millions):
    model = jobs.find(run).run.model
    assert round(count(model, model.resolution).parameters / 1e6, 1) == millions


def test_what_norms_gates_and_mapping_of_the_second_editions_rows_add_up_to():
    """Fifteen layers of two branches, four of them 384 wide; the mapping network is 768 wide, its d_ff 2304."""
    e, g, h = (jobs.find(name).run.model for name in ("table1/E", "edition2/G", "edition2/H"))
    outputs = 2 * (4 * 384 + 11 * 768)
    cost, plain, gated = count(g, 128), count(e, 128), count(h, 128)
    assert cost.parameters - plain.parameters == outputs * 768 + 2 * outputs  # twice the outputs, and their biases
    assert cost.macs - plain.macs == outputs * 768
    assert gated.parts["gates"] == (outputs * 768, outputs * 768 + outputs)
    for row, inputs in (("table1/A", 1), ("table1/R4", 1), ("edition2/H", 1), ("table1/C", 2), ("ffhq1024", 2)):
        model = jobs.find(row).run.model
        width, block = model.mapping.width, (inputs + 1) * model.mapping.width * model.mapping.d_ff
        macs = 2 * width * width + model.mapping.depth * block
        labels = (model.classes + 1) * width if model.classes else 0
        norms = (model.mapping.depth + 2) * width
        assert count(model, model.resolution).parts["mapping"] == (macs, macs + labels + norms), row


@pytest.mark.parametrize(
    ("row", "millions", "printed"),
    [("p16-s", 116, 29), ("p16-m", 267, 68), ("p16-l", 507, 129), ("p8-s", 134, 44), ("p8-m", 294, 91),
     ("p8-l", 547, 163), ("p4-s", 139, 60), ("p4-m", 302, 115), ("p4-l", 557, 198)],
)  # fmt: skip
def test_the_nine_networks_of_the_sweep(row, millions, printed):
    cost = count(jobs.find(f"scaling/{row}").run.model, 256)
    assert (round(cost.parameters / 1e6), round(cost.macs / 1e9)) == (millions, printed)


def test_ffhq_and_imagenet256_cost_what_is_printed():
    assert round(gmacs(jobs.find("ffhq1024").run.model, 1024)) == 206
    assert round(gmacs(jobs.find("imagenet256").run.model, 256)) == 198


def spec_of(folder):
    """A k-diffusion config as a spec, by hand: only what the reference networks use."""
    config = json.loads((REFERENCE / folder / "config.json").read_text())
    model = config["model"]
    kinds = {
        "global": lambda a: {"kind": "global"},
        "neighborhood": lambda a: {"kind": "neighborhood", "kernel": a["kernel_size"]},
        "shifted-window": lambda a: {"kind": "shifted-window", "window": a["window_size"]},
    }
    tree = {
        "resolution": min(model["input_size"]),
        "patch": model["patch_size"][0],
        "widths": model["widths"],
        "depths": model["depths"],
        "d_ffs": model["d_ffs"],
        "heads": [width // a["d_head"] for width, a in zip(model["widths"], model["self_attns"], strict=True)],
        "attention": [kinds[a["type"]](a) for a in model["self_attns"]],
        "mapping": {"depth": model["mapping_depth"], "width": model["mapping_width"], "d_ff": model["mapping_d_ff"]},
        "classes": config["dataset"]["num_classes"],
        "mapping_cond": model.get("mapping_cond_dim", 0),
    }
    return msgspec.convert({"kind": "hourglass", **tree}, Hourglass), model["input_size"], config["_facts"]


@pytest.mark.parametrize("name", HOURGLASSES)
def test_macs_and_parameters_equal_the_authors_counter(name):
    spec, size, facts = spec_of(f"hdit-{name}")
    cost = count(spec, *size)
    assert cost.macs == facts["macs_per_forward_batch1"]
    assert cost.parameters == facts["parameters"]


def test_parts_add_up_and_have_their_names():
    for job in jobs.all_jobs():
        cost = count(job.run.model, job.run.model.resolution)
        assert sum(part.macs for part in cost.parts.values()) == cost.macs
        assert sum(part.parameters for part in cost.parts.values()) == cost.parameters
        assert list(cost.parts) == [part for part in PARTS if part in cost.parts]
        assert cost.flops == 2 * cost.macs


@given(st.integers(1, 5))
def test_every_doubling_adds_one_outer_level_and_keeps_the_core(doublings):
    model = jobs.find("table1/E").run.model
    grown = at_resolution(model, 128 << doublings)
    assert grown.widths == (384,) * doublings + model.widths
    assert grown.depths == (2,) * doublings + model.depths
    assert grown.attention == (NeighborhoodAttention(kernel=7),) * (doublings + 1) + (GlobalAttention(),)
    assert grown.resolution >> (len(grown.widths) - 1) == 64


def test_the_rule_leaves_single_levels_and_lower_resolutions_alone():
    for row in ("R1", "R3"):
        model = jobs.find(f"table1/{row}").run.model
        assert at_resolution(model, 512) == msgspec.structs.replace(model, resolution=512)
    model = jobs.find("table1/A").run.model
    assert at_resolution(model, 64).widths == model.widths
    assert at_resolution(model, 128) == model


def test_the_innermost_grid_is_section_4_1s_from_the_rows_own_size_up_and_smaller_below():
    for name, own, below in (("ffhq1024", 1024, 256), ("imagenet256", 256, 128), ("table1/A", 128, 64)):
        model = jobs.find(name).run.model
        assert {innermost(at_resolution(model, own << doublings)) for doublings in range(4)} == {(CORE, CORE)}, name
        small = CORE * below // own
        assert innermost(at_resolution(model, below)) == (small, small), name
    assert innermost(jobs.find("table1/R1").run.model) == innermost(jobs.find("table1/R3").run.model) == (32, 32)
    tall = msgspec.structs.replace(jobs.find("table1/A").run.model, patch=(2, 4))
    assert innermost(tall) == (32, 16)


@pytest.mark.parametrize(("width", "depth"), [(192, 2), (320, 2), (448, 2), (384, 1), (384, 3)])
def test_an_added_level_of_another_width_or_depth_would_not_cost_what_is_printed(width, depth):
    """What the inference of `at_resolution` rests on: E at 256² with another outer level than its outermost one."""
    grown = at_resolution(jobs.find("table1/E").run.model, 256)
    other = msgspec.structs.replace(
        grown,
        widths=(width, *grown.widths[1:]),
        depths=(depth, *grown.depths[1:]),
        heads=(width // 64, *grown.heads[1:]),
    )
    assert round(count(grown, 256).macs / 1e9) == 65
    assert round(count(other, 256).macs / 1e9) != 65


def test_between_powers_of_two_nothing_is_added():
    model = jobs.find("table1/E").run.model
    assert at_resolution(model, 192).widths == model.widths


def test_local_attention_is_affine_in_tokens_and_global_is_not():
    e, a = (jobs.find(f"table1/{row}").run.model for row in "EA")
    steps_e = [gmacs(e, 256 << i) - gmacs(e, 128 << i) for i in range(3)]
    assert steps_e[1] / steps_e[0] == pytest.approx(4, rel=1e-4)
    assert steps_e[2] / steps_e[1] == pytest.approx(4, rel=1e-4)
    steps_a = [gmacs(a, 256 << i) - gmacs(a, 128 << i) for i in range(3)]
    assert steps_a[2] / steps_a[1] > 10


@pytest.mark.parametrize("size", [100, 4, 130, 0])
def test_a_size_that_cannot_be_cut_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 8 x 8"):
        count(jobs.find("table1/E").run.model, size)


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least 28 x 28"):
        count(jobs.find("table1/E").run.model, 24)


def test_a_rectangle_costs_its_tokens():
    model = jobs.find("table1/R4").run.model
    assert count(model, 64, 256).macs == count(model, 128).macs
