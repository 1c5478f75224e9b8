"""Every kind of check against a computation by hand."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed
from hdit_repro.audit.evaluate import EVALUATORS, compute
from hdit_repro.audit.formulas import functions
from hdit_repro.errors import UserError
from hdit_repro.paper import Ledger, checks, formula
from hdit_repro.spec.base import kinds


def test_every_kind_has_its_evaluator() -> None:
    assert set(EVALUATORS) == set(kinds(checks.Check))


def test_every_function_of_the_language_has_its_meaning(bench: Bench) -> None:
    assert set(functions(bench)) == set(formula.FUNCTIONS)


def test_cost_of_dit_by_hand(bench: Bench) -> None:
    """R1 at 128²: 32² tokens of width 768, twelve layers, six channels out."""
    n, d, depth = 32 * 32, 768, 12
    layer = n * (4 * d * d + 8 * d * d) + 2 * n * n * d + 6 * d * d
    ends = n * 48 * d + n * d * 96 + 2 * d * d
    by_hand = depth * layer + ends + (256 * d + d * d)
    found = compute(checks.Cost(run="table1/R1"), bench)
    assert found.value == by_hand / 1e9
    assert f"{by_hand:,}" in found.steps[-1]
    assert found.value == compute(checks.Cost(run="table1/R1", resolution=128), bench).value


def test_a_level_more_by_hand(bench: Bench) -> None:
    """E from 128² to 256²: four more neighborhood layers of width 384 on 64² tokens, merge, split, patches, norms."""
    n, d, mapping = 64 * 64, 384, 768
    layer = n * (4 * d * d + 9 * d * d) + 2 * n * 49 * d + 2 * mapping * d
    merge_and_split = 2 * (n // 4) * 4 * d * d
    patches = 2 * (n - n // 4) * 48 * d
    by_hand = 4 * layer + merge_and_split + patches
    grown, own = (compute(checks.Cost(run="table1/E", resolution=side), bench).value for side in (256, 128))
    assert isinstance(grown, float)
    assert isinstance(own, float)
    # All 49 keys are seen at the border too. What was outermost moves inward and costs the same there.
    assert grown - own == pytest.approx(by_hand / 1e9, rel=1e-12)


def test_parameters_of_a_described_network_by_hand(bench: Bench) -> None:
    """A DiT of one layer: patches, time and class embeddings, one block, the last layer, biases included."""
    d, patch = 8, 2 * 2 * 4
    block = (d * 6 * d + 6 * d) + (d * 3 * d + 3 * d) + (d * d + d) + (d * 4 * d + 4 * d) + (4 * d * d + d)
    ends = (patch * d + d) + (d * 2 * d + 2 * d) + (d * 2 * patch + 2 * patch)
    embeddings = (256 * d + d) + (d * d + d) + 11 * d
    described = {"kind": "dit", "resolution": 8, "patch": 2, "width": d, "depth": 1, "heads": 1, "channels": 4}
    found = compute(checks.Parameters(model={**described, "classes": 10}), bench)
    assert found.value == block + ends + embeddings


def test_a_described_network_that_cannot_be(bench: Bench) -> None:
    with pytest.raises(UserError, match="cannot be"):
        compute(checks.Parameters(model={"kind": "dit", "resolution": 7}), bench)


@pytest.mark.parametrize(
    ("run", "value"),
    [("table1/R1", "O(n^2)"), ("table1/R4", "O(n^2)"), ("table1/A", "O(n^2)")]
    + [(run, "O(n)") for run in ("table1/B1", "table1/B2", "table1/E", "ffhq1024", "imagenet256")],
)
def test_complexity(bench: Bench, run: str, value: str) -> None:
    assert compute(checks.Complexity(run=run), bench).value == value


def test_complexity_shows_the_increments(bench: Bench) -> None:
    """E's costs grow by 33.35, 133.4 and 533.5 for each four times the pixels: affine."""
    steps = "\n".join(compute(checks.Complexity(run="table1/E"), bench).steps)
    assert "33.35, 133.4, 533.5" in steps
    assert "128²: 31,369,003,008 MACs" in steps


def test_field(bench: Bench) -> None:
    found = compute(checks.Field(run="table1/E", field="training.optimizer.betas"), bench)
    assert (found.value, found.members, found.remark) == ("[0.9, 0.95]", (0.9, 0.95), "")
    assert found.steps == ("table1/E: training.optimizer.betas = [0.9, 0.95] (Table 6)",)
    two = compute(checks.Field(run="table1/E", field=("diffusion.sigma_min", "diffusion.sigma_max")), bench)
    assert two.members == (1e-3, 1e3)
    low = compute(checks.Field(run="table1/E", field="diffusion.density.noise_d_low"), bench)
    assert low.remark.startswith("the job's value is the fork's: k_diffusion/config.py")
    weight = compute(checks.Field(run="table1/E", field="sampling.guidance"), bench)
    assert weight.remark.startswith("the job's value is inferred: Section 5.2 names none")


@pytest.mark.parametrize(
    ("run", "resolution", "value"),
    [
        ("table1/R1", None, "0 + 1"),
        ("table1/A", 512, "0 + 4"),
        ("table1/E", 512, "3 + 1"),
        ("ffhq1024", None, "3 + 2"),
        ("ffhq1024", 2048, "4 + 2"),
    ],
)
def test_levels(bench: Bench, run: str, resolution: int | None, value: str) -> None:
    assert compute(checks.Levels(run=run, resolution=resolution), bench).value == value


def test_same(bench: Bench) -> None:
    yes = compute(checks.Same(runs=("table1/A", "table1/D", "table1/E"), field="training"), bench)
    assert (yes.value, yes.holds) == ("the same", True)
    no = compute(checks.Same(runs=("table1/D", "table1/E"), field="diffusion"), bench)
    assert (no.value, no.holds) == ("different", False)
    assert "diffusion.weighting.kind is soft_min_snr and not snr" in no.steps[1]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('grid("ffhq1024", 0)', 256),
        ('grid("ffhq1024", -1)', 16),
        ('grid("table1/E", -1, 1024)', 16),
        ('grid("table1/E", 1, 256)', 32),
        ('grid("table1/R1", 0, 256)', 64),
        ('levels("table1/E", 1024)', 5),
        ('widening("ffhq1024")', 1024 / 768),
        ('widening("imagenet256")', 2),
        ('widening("table1/E")', 2),
        ('widening("table1/E", 256)', 1),
        ('calls("table1/R1")', 250),
        ('calls("guidance/w1.3")', 100),
        ('calls("imagenet256")', 50),
        ('field("table1/E", "training.class_dropout") * 100', 10),
        ('parameters("table1/E") - parameters("table1/D")', 0),
        ('printed("table1/E/fid") / printed("table2/lerp/fid")', 1),
        ('cost("table1/E", 256) - cost("table1/E", 128)', 33_347_076_096),
    ],
)
def test_formula(bench: Bench, expression: str, value: float) -> None:
    found = compute(checks.Formula(expression=expression), bench)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.steps[-1].startswith(f"{expression} = ")


def test_formula_shows_what_each_function_gives_once(bench: Bench) -> None:
    found = compute(checks.Formula(expression='calls("table1/E") + calls("table1/E") + x', at={"x": 2.0}), bench)
    assert found.steps == ('calls("table1/E") = 50', 'calls("table1/E") + calls("table1/E") + x = 102 at x = 2')


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('1 / (cost("table1/E") - cost("table1/D"))', "division by zero"),
        ('field("table1/E", "model.skip.kind") + 1', "reckon with the words"),
        ('grid("table1/E", 2)', "no level 2"),
        ('widening("table1/R1")', "no level outside another"),
        ('widening("table1/R3", 256)', "no level outside another"),
        ('printed("table4/vdm-pp/images")', "prints no number"),
        ("(0 - 8) ** 0.5", "no finite number"),
        ("log(0 - 1)", "cannot be computed"),
        ('cost("table1/Z")', "no row of table1 called 'Z'"),
        ('cost("table1/E", 100)', "cannot be made for images of 100 x 100"),
    ],
)
def test_formulas_without_a_value(bench: Bench, expression: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        compute(checks.Formula(expression=expression), bench)
    assert message in str(caught.value)


def test_equation(bench: Bench) -> None:
    """c_out² = σ² σ_data² / (σ² + σ_data²): multiplied and divided by, at σ = 0.05 and γ = 5, 0.0124 and 2,020."""
    square = "(sigma ** 2 * 0.25 / (sigma ** 2 + 0.25))"
    at = {"sigma": (0.05,), "gamma": (5.0,)}
    wrong = compute(
        checks.Equation(left=f"min(1 / sigma ** 2, gamma) * {square}", right=f"gamma / {square}", at=at), bench
    )
    assert wrong.holds is False
    assert wrong.steps[1].endswith("= 0.0123762")
    assert wrong.steps[2].endswith("= 2,020")
    assert wrong.value == pytest.approx(1 - 0.0123762 / 2020, rel=1e-6)
    right = compute(checks.Equation(left="gamma ** 2", right="gamma * gamma", at={"gamma": (0.0, 3.0, 7.0)}), bench)
    assert (right.holds, right.value) == (True, 0)


def test_equation_reports_its_worst_point(bench: Bench) -> None:
    found = compute(checks.Equation(left="x", right="2", at={"x": (2.0, 1.0, 4.0, 3.0)}), bench)
    assert found.value == 0.5
    assert found.steps[0] == "furthest apart at x = 1:"
    loose = checks.Equation(left="x", right="2", at={"x": (2.0, 1.0)}, tolerance=0.5)
    assert compute(loose, bench).holds


ORDERED = """
[[claim]]
id = "one"
place = "P"
text = "1.5"
unit = "FID"
needs = "citation"
cites = "Somebody"

[[claim]]
id = "two"
place = "P"
text = "2.5"
unit = "FID"
needs = "citation"
cites = "Somebody"

[[claim]]
id = "none"
place = "P"
text = "-"
unit = "FID"
needs = "citation"
cites = "Somebody"
"""


def test_order(small: Callable[[str], Ledger]) -> None:
    bench = Bench(small(ORDERED))
    up = compute(checks.Order(lower="one", higher="two"), bench)
    assert (up.value, up.holds) == ("1.5 < 2.5", True)
    down = compute(checks.Order(lower="two", higher="one"), bench)
    assert (down.value, down.holds) == ("2.5 > 1.5", False)
    assert compute(checks.Order(lower="one", higher="one"), bench).holds is False
    with pytest.raises(UserError, match="compares numbers"):
        compute(checks.Order(lower="one", higher="none"), bench)


def test_cited(bench: Bench) -> None:
    found = compute(checks.Cited(value=103.49, source="their table"), bench)
    assert found.value == 103.49
    assert "their table" in found.steps[0]


MAPPED = """
[[claim]]
id = "parameters"
place = "P"
text = "{text}"
unit = "parameters"
run = "ffhq1024"
check = {{ kind = "parameters" }}

[[claim]]
id = "width"
place = "P"
text = "768"
unit = "width"
run = "ffhq1024"

[claim.check]
kind = "reading"
targets = ["parameters"]
candidates = [
    {{ value = 256, set = {{ "model.mapping.width" = 256, "model.mapping.d_ff" = 768 }} }},
    {{ value = 768, set = {{ "model.mapping.width" = 768, "model.mapping.d_ff" = 2304 }} }},
    {{ value = 7, set = {{ "model.mapping.width" = 7 }} }},
]
"""


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [("85M", 256, None), ("104M", 768, None), ("9M", "none", False)],
)
def test_reading(small: Callable[[str], Ledger], text: str, value: object, holds: bool | None) -> None:
    """FFHQ has 85.1M parameters with a mapping network of width 256 and 104.0M with 768."""
    bench = Bench(small(MAPPED.format(text=text)))
    found = _reading(bench)
    assert (found.value, found.holds) == (value, holds)
    assert "85,079,300" in found.steps[0]
    assert "103,955,716" in found.steps[1]
    assert found.steps[2].startswith("7: cannot be, width must be even")
    assert bench.run("ffhq1024").model == jobs.find("ffhq1024").run.model, "the bench keeps the job's own"


def test_reading_that_several_candidates_satisfy(small: Callable[[str], Ledger]) -> None:
    text = MAPPED.format(text="94M").replace(
        'check = { kind = "parameters" }', 'check = { kind = "parameters" }\nagree = { kind = "near", within = 0.2 }'
    )
    found = _reading(Bench(small(text)))
    assert (found.value, found.holds) == ("several: 256, 768", False)


def test_reading_refuses_a_field_that_is_not_there(bench: Bench) -> None:
    candidates = tuple(checks.Candidate(value=value, set={"model.maping.width": value}) for value in (1, 2))
    with pytest.raises(UserError, match="does not have") as caught:
        compute(checks.Reading(run="ffhq1024", candidates=candidates, targets=("table6/parameters/ffhq",)), bench)
    assert "model.maping.width" in str(caught.value)


def _reading(bench: Bench) -> Computed:
    check = bench.ledger.claim("width").check
    assert check is not None
    return compute(check, bench)


def test_a_bench_with_another_run_counts_it(bench: Bench) -> None:
    run = jobs.find("table1/E").run
    deeper = msgspec.structs.replace(run, model=msgspec.structs.replace(run.model, depths=(2, 12)))
    changed = bench.with_run("table1/E", deeper)
    assert changed.cost("table1/E").parameters > bench.cost("table1/E").parameters
    assert changed.cost("table1/D") == bench.cost("table1/D")
