"""Checks that count: cost, parameters, growth with the number of pixels, levels. No torch."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed, say
from hdit_repro.cost import Cost, count
from hdit_repro.cost.complexity import fit, sides
from hdit_repro.errors import UserError
from hdit_repro.paper import checks
from hdit_repro.paper.types import GFLOP
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.model import DiT, Hourglass, Model

CLASSES = ("O(1)", "O(n)", "O(n^2)")
"""The ledger's words for the orders of growth."""


def cost(check: checks.Cost, bench: Bench) -> Computed:
    """10^9 MACs of one forward pass of one image, part by part."""
    counted = bench.cost(check.run, check.resolution)
    parts = [f"{name}: {say(part.macs)} MACs" for name, part in counted.parts.items() if part.macs]
    whole = f"together {say(counted.macs)} MACs = {say(counted.macs / GFLOP)} · 10⁹"
    return Computed(counted.macs / GFLOP, (outline(check.run, bench.model(check.run, check.resolution)), *parts, whole))


def parameters(check: checks.Parameters, bench: Bench) -> Computed:
    """Trainable parameters, part by part, of a job's network or of one that the ledger describes.

    Raises:
        UserError: the described network cannot be.
    """
    if check.model is None:
        model, name = bench.model(check.run, check.resolution), check.run
        counted = bench.cost(check.run, check.resolution)
    else:
        model, name = _described(check.model), "as published"
        counted = count(model, model.resolution)
    return Computed(counted.parameters, (outline(name, model), *_parameters(counted)))


def complexity(check: checks.Complexity, bench: Bench) -> Computed:
    """The highest power of n that matters in a + b n + c n^2 through the counted costs."""
    points = [(side, bench.cost(check.run, side).macs) for side in sides(bench.run(check.run).model)]
    found = fit([(side**2, macs) for side, macs in points])
    last, _ = points[-1]
    largest = last**2
    terms = (found.constant, found.linear * largest, found.quadratic * largest**2)
    total = sum(terms)
    value = CLASSES[found.order]
    return Computed(
        value,
        (
            *(f"{side}²: {say(macs)} MACs" for side, macs in points),
            f"differences, in 10⁹ MACs: {_differences([macs for _, macs in points])}",
            f"a + b n + c n², n in pixels: a = {found.constant:.6g}, b = {found.linear:.6g}, c = {found.quadratic:.6g}",
            f"their shares at {last}²: {', '.join(f'{100 * term / total:.3g}%' for term in terms)}; "
            f"a term counts from 1% on, so {value}",
        ),
    )


def levels(check: checks.Levels, bench: Bench) -> Computed:
    """Levels with local attention + levels with global attention."""
    model = bench.model(check.run, check.resolution)
    found = attention_kinds(model)
    local = [kind for kind in found if kind not in ("global", "none")]
    value = f"{len(local)} + {found.count('global')}"
    return Computed(
        value, (outline(check.run, model), f"attention, outermost level first: {', '.join(found)}; so {value}")
    )


def attention_kinds(model: Model) -> list[str]:
    """The kind of each level's attention, outermost first; a DiT is one level of global attention."""
    return [kind_of(attention) for attention in model.attention] if isinstance(model, Hourglass) else ["global"]


def outline(name: str, model: Model) -> str:
    """A network in a line."""
    if isinstance(model, DiT):
        return (
            f"{name} at {model.resolution}²: DiT of depth {model.depth}, width {model.width}, patch {model.patch}, "
            f"{model.out_channels} channels out"
        )
    return (
        f"{name} at {model.resolution}²: widths {say(model.widths)}, depths {say(model.depths)}, "
        f"{', '.join(attention_kinds(model))} attention, patch {say(model.patch)}, "
        f"mapping of width {model.mapping.width} and depth {model.mapping.depth}"
    )


def _parameters(counted: Cost) -> list[str]:
    parts = [f"{name}: {say(part.parameters)} parameters" for name, part in counted.parts.items() if part.parameters]
    return [*parts, f"together {say(counted.parameters)} parameters"]


def _differences(costs: list[int]) -> str:
    return ", ".join(f"{(after - before) / GFLOP:,.4g}" for before, after in pairwise(costs))


def _described(plain: dict[str, checks.Value | bool]) -> Model:
    try:
        model: Model = msgspec.convert(plain, Model)
    except msgspec.ValidationError as error:
        raise UserError(
            "a network of the ledger cannot be",
            found=str(error),
            expected="a model of a job",
            fix="correct the claim's network in tables/paper/",
        ) from error
    return model
