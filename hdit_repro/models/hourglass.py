"""The Hourglass Diffusion Transformer (Section 4, Figure 3): levels down, a core, levels up, skips across."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.inputs import check_level, check_positive
from hdit_repro.models.arithmetic import wide
from hdit_repro.models.blocks import LayerStack
from hdit_repro.models.conditions import check_dtype, check_image, check_labels, check_vector
from hdit_repro.models.layers import Embedding, Linear, RMSNorm, plus
from hdit_repro.models.mapping import Blocks, FourierFeatures
from hdit_repro.models.positions import make_position
from hdit_repro.models.rope import Places, places
from hdit_repro.models.tokens import SkipSplit, TokenMerge, TokenSplit
from hdit_repro.spec import model as spec


class Hourglass(nn.Module):
    """F(x, sigma), the network inside the preconditioner; it takes log(sigma) / 4 itself.

    Parameters carry the names of the released code, but for those in `interop.py`'s map. Everything starts in
    `init.py`; a network made here by hand holds no values yet (`build` fills it).
    """

    def __init__(self, network: spec.Hourglass) -> None:
        super().__init__()
        levels, width = network.levels, network.mapping.width
        self.channels = network.channels
        self.labels = network.classes + 1 if network.classes else 0
        self.augmentation, self.extra = network.augmentation_cond, network.mapping_cond
        self.sizes = network.sizes
        patch = (network.patch_height, network.patch_width)

        self.patch_in = TokenMerge(network.channels, levels[0].width, patch)
        self.position = make_position(network)

        self.time_emb = FourierFeatures(1, width)
        self.time_in_proj = Linear(width, width, decays=False)
        if self.augmentation:
            self.aug_emb = FourierFeatures(self.augmentation, width)
            self.aug_in_proj = Linear(width, width, decays=False)
        if self.labels:
            self.class_emb = Embedding(self.labels, width)
        if self.extra:
            self.mapping_cond_in_proj = Linear(self.extra, width, decays=False)
        self.mapping = Blocks(network.mapping)

        outer, pairs = levels[:-1], list(pairwise(levels))
        self.down_levels = nn.ModuleList([LayerStack(network, level) for level in outer])
        self.merges = nn.ModuleList([TokenMerge(near.width, far.width) for near, far in pairs])
        self.mid_level = LayerStack(network, levels[-1])
        self.splits = nn.ModuleList([SkipSplit(far.width, near.width, network.skip) for near, far in pairs])
        self.up_levels = nn.ModuleList([LayerStack(network, level, first=level.depth) for level in outer])

        self.out_norm = RMSNorm(levels[0].width)
        self.patch_out = TokenSplit(levels[0].width, network.channels, patch)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        class_cond: Tensor | None = None,
        aug_cond: Tensor | None = None,
        mapping_cond: Tensor | None = None,
    ) -> Tensor:
        """F at a batch of noise levels.

        Args:
            x: B C H W, in the dtype of the weights (under autocast any but float64), already scaled by c_in.
            sigma: B, positive.
            class_cond: B, integers; index `classes` is the dropped class. Needed where the network has classes.
            aug_cond: B x 9, the augmentation's parameters; zeros where it is missing.
            mapping_cond: B x mapping_cond. Needed where the network takes it.

        Returns:
            B C H W.

        Raises:
            UserError: a shape does not fit, sigma is not positive (looked at where that is free), a condition is
                missing, or one is given that the network does not take.
        """
        check_image(x, self.channels)
        check_dtype(x, self.patch_in.proj.weight)
        self._check_size(x.shape[2], x.shape[3])
        cond = self.condition(x, sigma, class_cond, aug_cond, mapping_cond)
        x = self.patch_in(x.permute(0, 2, 3, 1))
        x = self.position(x)

        skips = []
        for level, merge in zip(self.down_levels, self.merges, strict=True):
            x = level(x, self._places(x), cond)
            skips.append(x)
            x = merge(x)
        x = self.mid_level(x, self._places(x), cond)
        # A list before the first layer: the compiler loses count of iterators that go on past a flex_attention.
        for level, split, skip in list(zip(self.up_levels, self.splits, skips, strict=True))[::-1]:
            x = split(x, skip)
            x = level(x, self._places(x), cond)

        x = self.patch_out(self.out_norm(x))
        return x.permute(0, 3, 1, 2)

    def condition(
        self,
        x: Tensor,
        sigma: Tensor,
        class_cond: Tensor | None = None,
        aug_cond: Tensor | None = None,
        mapping_cond: Tensor | None = None,
    ) -> Tensor:
        """The mapping network's output, B C: Fourier features of log(sigma) / 4 and of the augmentation, and labels.

        Raises:
            UserError: as `forward`, for a condition.
        """
        batch, weight = len(x), self.time_in_proj.weight
        check_level(sigma, batch, "sigma")
        check_positive(sigma)
        check_labels(class_cond, batch, self.labels)
        check_vector(aug_cond, batch, self.augmentation, "aug_cond", optional=True)
        check_vector(mapping_cond, batch, self.extra, "mapping_cond", optional=False)

        noise = (sigma.log() / 4).to(weight.dtype)
        total: Tensor = self.time_in_proj(self.time_emb(noise[:, None]))
        if self.augmentation:
            aug = weight.new_zeros(batch, self.augmentation) if aug_cond is None else aug_cond.to(weight.dtype)
            total = plus(total, self.aug_in_proj(self.aug_emb(aug)))
        if class_cond is not None:
            total = plus(total, self.class_emb(class_cond))
        if mapping_cond is not None:
            total = plus(total, self.mapping_cond_in_proj(mapping_cond.to(weight.dtype)))
        out: Tensor = self.mapping(total)
        return out

    def _places(self, x: Tensor) -> Places:
        return places(x.shape[1], x.shape[2], x.device, wide(x.dtype))

    def _check_size(self, height: int, width: int) -> None:
        if not self.sizes.hold(height, width):
            raise UserError(
                f"an image of {height} x {width} pixels does not fit this network",
                found=f"{height} x {width}",
                expected=self.sizes.words(),
                fix="resize or pad the images, or change patch, window or kernel",
            )
