"""How much memory a step of training takes in one process, before it is run. No torch.

Weights, gradients, moments and averages are counted; activations are estimated: what autograd keeps for the backward
pass was counted with torch's saved-tensor hooks and is linear in width, hidden width and heads, token by token. Tests
hold it to what autograd keeps within a tenth, and to the peak of a whole step, every live tensor counted, within a
fifth. The kernels' own scratch and the allocator's slack come on top: `fit` leaves room for them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hdit_repro.cost import count
from hdit_repro.spec.model import GEGLU, AdaRMSNorm, CosineSimilarity, DiT, Hourglass, Model, NoAttention, NoGate
from hdit_repro.spec.training import Precision

Stored = Literal["float32", "bfloat16"]
"""How activations lie in memory; TF32 is a way of multiplying float32."""


class Kept(NamedTuple):
    """Bytes that autograd keeps, a token.

    Attributes:
        layer: of a layer with attention, a channel.
        head: of its attention, a head; `cosine` more where similarity is cosine.
        hidden: of its feed-forward, a hidden channel; `geglu` with GEGLU, whose value and gate are kept as one.
        gate: more with a gate, a channel.
        layer_norm: more of a branch with LayerNorm and not RMSNorm, a channel: the normalised input.
        input: of a layer's input alone, a channel.
        dit: of a DiT's block, a channel; `dit_head`, a head.
        ends: around all layers, a channel of the outermost level; `pixel`, a value of a patch.
        merge: around a level, a channel of the outer one.
    """

    layer: float
    head: float
    cosine: float
    hidden: float
    geglu: float
    gate: float
    layer_norm: float
    input: float
    dit: float
    dit_head: float
    ends: float
    pixel: float
    merge: float


KEPT: dict[Stored, Kept] = {
    "float32": Kept(
        layer=39, head=4, cosine=4, hidden=8, geglu=12, gate=8, layer_norm=4, input=4, dit=80, dit_head=7.45,
        ends=12, pixel=8.6, merge=14,
    ),
    "bfloat16": Kept(
        layer=20, head=5.4, cosine=8, hidden=4, geglu=6, gate=4, layer_norm=6, input=4, dit=48, dit_head=7.45,
        ends=4, pixel=6.5, merge=7,
    ),
}  # fmt: skip
POINTWISE = 0.2
"""Share of `layer` that a layer without attention keeps: its norm and its residual."""

ROOM = 0.85
"""Share of a card's memory that a step may be planned to take; the rest is the kernels' scratch, the allocator's slack
and what else lives on the card."""


class Memory(NamedTuple):
    """Bytes in one process. `copies`: weights in bfloat16 while a step lasts; `sums`: gradients on their way to other
    processes."""

    weights: int
    gradients: int
    moments: int
    averages: int
    copies: int
    sums: int
    activations: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(self)


class Fit(NamedTuple):
    """How a step fits: at most `microbatch` draws at once, activations recomputed or not, and the memory it takes."""

    microbatch: int
    recompute: bool
    memory: Memory


def training_memory(
    model: Model,
    batch: int,
    precision: Precision = "float32",
    *,
    averages: int = 1,
    processes: int = 1,
    recompute: bool = False,
) -> Memory:
    """Memory of a training step.

    Args:
        model: the network, at its own resolution.
        batch: draws that go through the network at once in one process (the microbatch, where there is one).
        precision: of the activations; weights, gradients, moments and averages are float32.
        averages: how many averages of the weights are kept.
        processes: of the training.
        recompute: only each layer's input is kept.
    """
    parameters = count(model, model.resolution).parameters
    full = 4 * parameters
    return Memory(
        weights=full,
        gradients=full,
        moments=2 * full,
        averages=averages * full,
        copies=2 * parameters if precision == "bfloat16" else 0,
        sums=full if processes > 1 else 0,
        activations=round(batch * activation_bytes(model, precision, recompute=recompute)),
    )


def largest_batch(model: Model, memory: int, precision: Precision = "float32", **how: bool | int) -> int:
    """How many draws at once fit into `memory` bytes, by the estimate; 0 where not even the weights do."""
    empty = training_memory(model, 0, precision, **how).total  # type: ignore[arg-type]
    one = training_memory(model, 1, precision, **how).total - empty  # type: ignore[arg-type]
    return max(0, (memory - empty) // one)


def fit(
    model: Model, batch: int, memory: int, precision: Precision = "float32", *, averages: int = 1, processes: int = 1
) -> Fit | None:
    """How `batch` draws a process fit into `memory` bytes of a card, of which `ROOM` is used: whole if they do, else in
    the fewest equal pieces; recomputed, which costs a third more time, only where not even one draw fits without.

    Returns:
        None where nothing fits.
    """
    for recompute in (False, True):
        how = {"averages": averages, "processes": processes, "recompute": recompute}
        most = min(batch, largest_batch(model, int(memory * ROOM), precision, **how))
        if most >= 1:
            pieces = -(-batch // most)
            microbatch = -(-batch // pieces)
            return Fit(microbatch, recompute, training_memory(model, microbatch, precision, **how))  # type: ignore[arg-type]
    return None


def activation_bytes(model: Model, precision: Precision, *, recompute: bool = False) -> float:
    """What autograd keeps for one image."""
    kept = KEPT["bfloat16" if precision == "bfloat16" else "float32"]
    if isinstance(model, DiT):
        tokens = (model.resolution // model.patch) ** 2
        layer = tokens * (kept.dit * model.width + kept.dit_head * model.heads)
        layers, largest = layer * model.depth, layer
        inputs = tokens * kept.input * model.width * model.depth
        rest = tokens * (kept.ends * model.width + kept.pixel * model.channels * model.patch**2)
    else:
        layers, largest, inputs = _layers(model, kept)
        rest = _ends(model, kept)
    return rest + (inputs + largest if recompute else layers)


def _layers(model: Hourglass, kept: Kept) -> tuple[float, float, float]:
    """Bytes of all layers, of the largest one, and of all layers' inputs alone."""
    grid = (model.resolution // model.patch_height) * (model.resolution // model.patch_width)
    head = kept.head + (kept.cosine if isinstance(model.similarity, CosineSimilarity) else 0.0)
    channel = kept.layer + (0.0 if isinstance(model.gate, NoGate) else kept.gate)
    branch = 0.0 if isinstance(model.norm, AdaRMSNorm) else kept.layer_norm
    hidden = kept.geglu if isinstance(model.feed_forward, GEGLU) else kept.hidden
    total = largest = inputs = 0.0
    for level in model.levels:
        tokens = grid >> (2 * level.index)
        attends = not isinstance(level.attention, NoAttention)
        width = level.width * (channel * (1.0 if attends else POINTWISE) + branch * (2 if attends else 1))
        layer = tokens * (width + hidden * level.d_ff + (head * level.heads if attends else 0.0))
        times = level.depth * (1 if level.index == len(model.levels) - 1 else 2)
        total, largest = total + times * layer, max(largest, layer)
        inputs += times * tokens * level.width * kept.input
    return total, largest, inputs


def _ends(model: Hourglass, kept: Kept) -> float:
    """Bytes around the layers: patches in and out, merges, splits and skips."""
    patch = model.patch_height * model.patch_width
    grid = model.resolution**2 // patch
    total = grid * (kept.ends * model.widths[0] + kept.pixel * model.channels * patch)
    for level in model.levels[:-1]:
        total += (grid >> (2 * level.index)) * kept.merge * level.width
    return total
