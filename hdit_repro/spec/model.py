"""What a network IS: the hourglass of the paper and the DiT it is compared with. Plain values, no torch.

Per-level fields are parallel lists, outermost level first, as in Table 6 of the paper:
`widths = [384, 768]`, `depths = [2, 11]`, `heads = [6, 12]`, `attention = [{...}, {...}]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from hdit_repro.spec.base import Choice, Spec, require
from hdit_repro.spec.data import LARGEST_SIDE

LARGEST_SIZE = 2**24
"""Of a width, a depth, a patch's numbers and the like: a matrix of two of them has a length that int64 holds."""


def require_network(resolution: int, *sizes: int) -> None:
    """Refuse a network that no machine can hold.

    Raises:
        ValueError: a size above the largest.
    """
    require(resolution <= LARGEST_SIDE, f"images have at most {LARGEST_SIDE} pixels a side, and not {resolution}")
    require(max(sizes) <= LARGEST_SIZE, f"sizes of a network end at {LARGEST_SIZE}, and {max(sizes)} is asked for")


# Attention (Section 4.3). How far a token sees.


class GlobalAttention(Choice, tag="global"):
    """Every token attends to every token."""


class NeighborhoodAttention(Choice, tag="neighborhood"):
    """Every token attends to the `kernel` x `kernel` tokens around it; at the border the window moves inward."""

    kernel: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.kernel >= 1 and self.kernel % 2 == 1, f"kernel must be odd and at least 1, and {self.kernel} is not"
        )


class ShiftedWindowAttention(Choice, tag="shifted-window"):
    """Tokens attend within `window` x `window` tiles; odd layers shift the tiles by half a window
    (Swin), rounded down."""

    window: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window >= 2, f"window must be at least 2, and {self.window} is not")


class NoAttention(Choice, tag="none"):
    """The level's layers are feed-forward only. Its `heads` and the kind of `similarity` say nothing there."""


Attention = GlobalAttention | NeighborhoodAttention | ShiftedWindowAttention | NoAttention

# How queries and keys are compared (Appendix C).


class CosineSimilarity(Choice, tag="cosine"):
    """Cosine of query and key times a learned scale per head, which starts at `initial_scale`."""

    initial_scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.initial_scale > 0, f"initial_scale must be positive, and {self.initial_scale} is not")


class DotProduct(Choice, tag="dot"):
    """Scaled dot product, Equation 10."""


Similarity = CosineSimilarity | DotProduct

# Where tokens are (Section 4.2).


class AxialRoPE(Choice, tag="axial-rope"):
    """Rotary positions on half of each head: a quarter for rows, a quarter for columns."""


class LearnedPosition(Choice, tag="learned"):
    """One learned vector per token of the outermost grid, added after the patches are embedded; starts as sin-cos."""


class SinCosPosition(Choice, tag="sin-cos"):
    """Fixed two-dimensional sines and cosines, added after the patches are embedded."""


Position = AxialRoPE | LearnedPosition | SinCosPosition

# The pointwise part (Section 4.2, Figure 5).


class GEGLU(Choice, tag="geglu"):
    """Gated by the data: d_ff = ratio * width, two input matrices."""

    ratio: int = 3


class GELU(Choice, tag="gelu"):
    """The ordinary feed-forward: d_ff = ratio * width, one input matrix."""

    ratio: int = 4


FeedForward = GEGLU | GELU

# Normalisation and gates, driven by the mapping network.


class AdaRMSNorm(Choice, tag="ada-rms-norm"):
    """RMSNorm whose scale is 1 + linear(mapping), starting at 1 (Section 4.2)."""


class AdaLayerNorm(Choice, tag="ada-layer-norm"):
    """LayerNorm whose scale and shift are a linear layer of the mapping network's output, as AdaRMSNorm's scale is."""


class DiTLayerNorm(Choice, tag="dit-layer-norm"):
    """LayerNorm whose scale and shift are linear(SiLU(mapping)) with a bias, as in DiT (second edition, row G)."""


Norm = AdaRMSNorm | AdaLayerNorm | DiTLayerNorm


class NoGate(Choice, tag="none"):
    """Output projections start at zero and are added as they are."""


class MappingGate(Choice, tag="mapping"):
    """Each branch is multiplied by linear(mapping), which starts at zero."""


class DiTGate(Choice, tag="dit"):
    """Each branch is multiplied by linear(SiLU(mapping)) with a bias, which starts at zero, as in DiT (row H)."""


Gate = NoGate | MappingGate | DiTGate

# Where the skip meets the upsampled branch (Section 4.1, Table 2).


class LerpSkip(Choice, tag="lerp"):
    """Equation 6 with one learned coefficient per skip, starting at one half."""


class AddSkip(Choice, tag="add"):
    """The upsampled branch and the skip are added."""


class ConcatSkip(Choice, tag="concat"):
    """Concatenated, then projected back to the level's width by a pointwise linear layer."""


Skip = LerpSkip | AddSkip | ConcatSkip


class Mapping(Spec):
    """The mapping network: `depth` blocks of `width`, each with hidden width `d_ff`. Unset, `activation` is GEGLU.

    "geglu" is the same as unset, and is kept so: one network has one identity.
    """

    depth: int
    width: int
    d_ff: int
    dropout: float = 0.0
    activation: Literal["geglu", "gelu"] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation == "geglu":
            msgspec.structs.force_setattr(self, "activation", msgspec.UNSET)
        require(self.depth >= 1 and self.width >= 2 and self.d_ff >= 1, "depth, width and d_ff must be positive")
        require_network(1, self.depth, self.width, self.d_ff)
        require(self.width % 2 == 0, f"width must be even for the Fourier features, and {self.width} is odd")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), and {self.dropout} is not")


@dataclass(frozen=True)
class Level:
    """One level of the hourglass, as the builders read it. `d_ff` is the hidden width of its feed-forward."""

    index: int
    width: int
    depth: int
    heads: int
    d_ff: int
    attention: Attention
    dropout: float

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads


@dataclass(frozen=True)
class Sizes:
    """Which images (height, width, in pixels) patches, merges, windows and kernels fit: of multiples of `step`, and no
    smaller than `least`, which `why` names."""

    step: tuple[int, int]
    least: tuple[int, int]
    why: str

    def hold(self, height: int, width: int) -> bool:
        """Whether an image of this size is among them."""
        (step_h, step_w), (least_h, least_w) = self.step, self.least
        return height % step_h == 0 and width % step_w == 0 and height >= least_h and width >= least_w

    def words(self) -> str:
        """In words: "multiples of 8 x 8 (patches, merges and windows), at least 28 x 28 (kernel 7 of attention[0])"."""
        (step_h, step_w), (least_h, least_w) = self.step, self.least
        why = f" ({self.why})" if self.least != self.step else ""
        multiples = f"multiples of {step_h} x {step_w} (patches, merges and windows)"
        return f"{multiples}, at least {least_h} x {least_w}{why}"


class Hourglass(Choice, tag="hourglass"):
    """The Hourglass Diffusion Transformer. One level is a plain transformer of the same blocks (R3, R4).

    `resolution` is the side of the image in pixels that the row is made for; `classes` is 0 without labels, else the
    number of classes (the embedding has one more, for the dropped label). `d_ffs` overrides ratio * width.
    """

    resolution: int
    patch: int | tuple[int, int]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    attention: tuple[Attention, ...]
    mapping: Mapping
    classes: int = 0
    channels: int = 3
    similarity: Similarity = msgspec.field(default_factory=CosineSimilarity)
    position: Position = msgspec.field(default_factory=AxialRoPE)
    feed_forward: FeedForward = msgspec.field(default_factory=GEGLU)
    norm: Norm = msgspec.field(default_factory=AdaRMSNorm)
    gate: Gate = msgspec.field(default_factory=NoGate)
    skip: Skip = msgspec.field(default_factory=LerpSkip)
    dropout: tuple[float, ...] = ()
    d_ffs: tuple[int, ...] = ()
    augmentation_cond: int = 9
    mapping_cond: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = len(self.widths)
        require(levels >= 1, "widths must name at least one level")
        for name in ("depths", "heads", "attention"):
            found = len(getattr(self, name))
            require(found == levels, f"{name} names {found} levels and widths {levels}")
        for name in ("dropout", "d_ffs"):
            found = len(getattr(self, name))
            require(found in (0, levels), f"{name} names {found} levels and widths {levels}")
        require(self.patch != (self.patch_height, self.patch_height), "write a square patch as one number")
        sizes = (*self.widths, *self.depths, *self.heads, self.patch_height, self.patch_width, self.channels)
        require(min(sizes) >= 1, "sizes start at 1")
        require(self.classes >= 0, f"classes start at 0, and {self.classes} are asked for")
        hidden = [level.d_ff for level in self.levels]
        require(min(hidden) >= 1, f"hidden widths of the feed-forward start at 1, and {hidden} are asked for")
        require(min(self.augmentation_cond, self.mapping_cond) >= 0, "sizes of conditions start at 0")
        numbers = self.patch_height * self.patch_width * self.channels
        conditions = (self.classes, self.augmentation_cond, self.mapping_cond)
        require_network(self.resolution, *sizes, *hidden, *conditions, numbers)
        require(all(0 <= p < 1 for p in self.dropout), f"dropout must be in [0, 1), and {list(self.dropout)} are not")
        for width, heads, attention in zip(self.widths, self.heads, self.attention, strict=True):
            require(width % heads == 0, f"width {width} is no multiple of {heads} heads")
            if isinstance(self.position, AxialRoPE) and not isinstance(attention, NoAttention):
                require(
                    (width // heads) % 8 == 0,
                    f"axial RoPE turns pairs on two axes of half a head: {width // heads} is no multiple of 8",
                )
        require(
            isinstance(self.position, AxialRoPE) or self.widths[0] % 4 == 0,
            f"sin-cos positions need an outermost width that 4 divides, and {self.widths[0]} is not",
        )
        if isinstance(self.patch, int):
            self.check_size(self.resolution, self.resolution)

    @property
    def patch_height(self) -> int:
        """Pixels."""
        return self.patch if isinstance(self.patch, int) else self.patch[0]

    @property
    def patch_width(self) -> int:
        """Pixels."""
        return self.patch if isinstance(self.patch, int) else self.patch[1]

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, outermost first; the last is the core."""
        d_ffs = self.d_ffs or tuple(self.feed_forward.ratio * width for width in self.widths)
        dropout = self.dropout or (0.0,) * len(self.widths)
        rows = zip(self.widths, self.depths, self.heads, d_ffs, self.attention, dropout, strict=True)
        return tuple(Level(index, *row) for index, row in enumerate(rows))

    @property
    def sizes(self) -> Sizes:
        """The image sizes that it can be given."""
        windows, kernel, why = 1, 1, ""
        for level in self.levels:
            if isinstance(level.attention, ShiftedWindowAttention):
                windows = math.lcm(windows, level.attention.window << level.index)
            if isinstance(level.attention, NeighborhoodAttention) and level.attention.kernel << level.index > kernel:
                kernel = level.attention.kernel << level.index
                why = f"kernel {level.attention.kernel} of attention[{level.index}]"
        tokens = math.lcm(1 << (len(self.widths) - 1), windows)
        height, width = self.patch_height, self.patch_width
        least = max(tokens, kernel)
        return Sizes((height * tokens, width * tokens), (height * least, width * least), why)

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image size (pixels) that patches, merges, kernels or windows do not fit.

        Raises:
            ValueError: with the size and those that fit.
        """
        sizes = self.sizes
        require(
            sizes.hold(height, width),
            f"an image of {height} x {width} pixels does not fit this network, which takes {sizes.words()}",
        )


# What a DiT makes of the noise level.


class Timestep(Choice, tag="timestep"):
    """The number of the discrete diffusion step, 0 to 999, as in DiT itself."""


class LogSigma(Choice, tag="log-sigma"):
    """scale * log(sigma) + offset, for a DiT under the EDM preconditioner."""

    scale: float = 0.25
    offset: float = 0.0


class NestedDdpm(Choice, tag="nested-ddpm"):
    """DiT as the noise predictor of its own chain, nested in the EDM preconditioner: it is told the step at which the
    chain has the noise level sigma, and F is the image that it takes for denoised (Table 1, R2)."""


TimeInput = Timestep | LogSigma | NestedDdpm


class DiT(Choice, tag="dit"):
    """The Diffusion Transformer of Peebles & Xie (2023) in pixel space: adaLN-Zero blocks, sin-cos positions.

    `class_dropout` above 0 gives the network a class for dropped labels; how often labels are dropped is
    `training.class_dropout`, which a run says alike, or as 0 for never.
    """

    resolution: int
    patch: int
    width: int
    depth: int
    heads: int
    classes: int = 0
    channels: int = 3
    ratio: float = 4.0
    learn_sigma: bool = True
    class_dropout: float = 0.1
    time: TimeInput = msgspec.field(default_factory=Timestep)

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.patch, self.width, self.depth, self.heads, self.resolution, self.channels)
        require(min(sizes) >= 1, "sizes start at 1")
        require(self.classes >= 0, f"classes start at 0, and {self.classes} are asked for")
        require(self.d_ff >= 1, f"the feed-forward's hidden width starts at 1, and {self.d_ff} is asked for")
        require_network(self.resolution, *sizes[:4], self.classes, self.d_ff, self.patch**2 * self.channels)
        require(0 <= self.class_dropout <= 1, f"class_dropout is a probability, and {self.class_dropout} is not")
        require(self.width % self.heads == 0, f"width {self.width} is no multiple of {self.heads} heads")
        require(
            not (self.learn_sigma and isinstance(self.time, NestedDdpm)),
            "a nested noise predictor gives an image and no variance, so learn_sigma must be false",
        )
        require(self.width % 4 == 0, f"sin-cos positions need a width that 4 divides, and {self.width} is not")
        self.check_size(self.resolution, self.resolution)

    @property
    def out_channels(self) -> int:
        """Of what the network gives: twice as many where it learns sigma."""
        return self.channels * 2 if self.learn_sigma else self.channels

    @property
    def d_ff(self) -> int:
        """Inner width of the feed-forward."""
        return int(self.width * self.ratio)

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image size (pixels) that the patches do not divide.

        Raises:
            ValueError: with the size and the patch.
        """
        require(
            height % self.patch == 0 and width % self.patch == 0 and min(height, width) > 0,
            f"an image of {height} x {width} pixels cannot be cut into patches of {self.patch}",
        )


Model = Hourglass | DiT
