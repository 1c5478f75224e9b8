"""ADM's U-Net (Dhariwal & Nichol, 2021), which the second edition's cost curve has besides (its
Figure 8; our Figure 2). What its cost rests on; plain values, no torch.

It is counted and not run: nothing here builds or trains one.
"""

from __future__ import annotations

from hdit_repro.spec.base import Spec, require


class UNet(Spec):
    """A U-Net of residual blocks, with self-attention on some grids.

    `resolution` is the image's side in pixels; `widths` are the channels of each level, outermost first, `base` those
    that the noise level's embedding grows from; every level has `blocks` residual blocks on the way down and one more
    on the way up; `attention` are the sides in pixels of the grids with attention behind each block. Between levels a
    residual block halves or doubles the grid. Heads change neither cost nor parameters.
    """

    resolution: int
    base: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    classes: int = 0
    channels: int = 3
    learn_sigma: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.widths) >= 1, "widths must name at least one level")
        require(min(self.resolution, self.base, self.blocks, self.channels, *self.widths) >= 1, "sizes start at 1")
        step = 1 << (len(self.widths) - 1)
        require(self.resolution % step == 0, f"{len(self.widths)} levels need a side that {step} divides")

    @property
    def out_channels(self) -> int:
        """Of what the network gives: twice as many where it learns sigma."""
        return 2 * self.channels if self.learn_sigma else self.channels


def _adm(resolution: int, base: int, multipliers: tuple[float, ...], blocks: int) -> UNet:
    return UNet(
        resolution=resolution,
        base=base,
        widths=tuple(int(base * multiplier) for multiplier in multipliers),
        blocks=blocks,
        attention=(32, 16, 8),
        classes=1000,
    )


ADM: dict[int, UNet] = {
    64: _adm(64, 192, (1, 2, 3, 4), 3),
    128: _adm(128, 256, (1, 1, 2, 3, 4), 2),
    256: _adm(256, 256, (1, 1, 2, 2, 4, 4), 2),
    512: _adm(512, 256, (0.5, 1, 1, 2, 2, 4, 4), 2),
}
"""The class-conditional ImageNet networks by resolution: the flags that the guided-diffusion repository's README gives
for its checkpoints, with the multipliers that its code chooses for each size."""
