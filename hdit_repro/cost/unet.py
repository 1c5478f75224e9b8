"""Cost of ADM's U-Net, block by block. A convolution is in * out * kernel^2 MACs a pixel of what it puts out."""

from __future__ import annotations

from hdit_repro.cost.tally import Cost, Tally
from hdit_repro.spec.unet import UNet

EMBEDDING = 4
"""Width of the embedding of noise level and class, in base channels."""


class _Sum(Tally):
    """Adds up convolutions and blocks."""

    order = ("embedding", "convolutions", "norms", "attention projections", "attention", "skips")

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.embedding = embedding

    def conv(self, part: str, inputs: int, outputs: int, pixels: int, kernel: int = 3) -> None:
        """A convolution with bias; a linear layer is one with kernel 1 on one pixel."""
        self.linear(part, inputs * kernel * kernel, outputs, pixels, bias=True)

    def residual(self, inputs: int, outputs: int, side: int) -> None:
        """Norm, convolution, scale and shift from the embedding, norm, convolution, and the skip past them.

        `side` is that of the grid it puts out; the grid is halved or doubled before the first convolution.
        """
        pixels = side * side
        self.parameters("norms", 2 * inputs + 2 * outputs)
        self.conv("convolutions", inputs, outputs, pixels)
        self.conv("embedding", self.embedding, 2 * outputs, 1, kernel=1)
        self.conv("convolutions", outputs, outputs, pixels)
        if inputs != outputs:
            self.conv("skips", inputs, outputs, pixels, kernel=1)

    def attend(self, width: int, side: int) -> None:
        """Every pixel attends to every pixel."""
        pixels = side * side
        self.parameters("norms", 2 * width)
        self.conv("attention projections", width, 3 * width, pixels, kernel=1)
        self.attention(pixels, pixels, width)
        self.conv("attention projections", width, width, pixels, kernel=1)


def unet(spec: UNet) -> Cost:
    """One forward pass of one image of the network's own resolution, and its trainable parameters."""
    embedding, side, width = EMBEDDING * spec.base, spec.resolution, spec.widths[0]
    total = _Sum(embedding)
    total.conv("embedding", spec.base, embedding, 1, kernel=1)
    total.conv("embedding", embedding, embedding, 1, kernel=1)
    total.parameters("embedding", spec.classes * embedding)
    total.conv("convolutions", spec.channels, width, side * side)
    kept, last = [width], len(spec.widths) - 1

    for level, outputs in enumerate(spec.widths):
        for _ in range(spec.blocks):
            _block(total, spec, width, outputs, side)
            width = outputs
            kept.append(width)
        if level < last:
            side //= 2
            total.residual(width, width, side)
            kept.append(width)

    total.residual(width, width, side)
    total.attend(width, side)
    total.residual(width, width, side)

    for level, outputs in reversed(list(enumerate(spec.widths))):
        for _ in range(spec.blocks + 1):
            _block(total, spec, width + kept.pop(), outputs, side)
            width = outputs
        if level > 0:
            side *= 2
            total.residual(width, width, side)

    total.parameters("norms", 2 * width)
    total.conv("convolutions", width, spec.out_channels, side * side)
    return total.close()


def _block(total: _Sum, spec: UNet, inputs: int, outputs: int, side: int) -> None:
    total.residual(inputs, outputs, side)
    if side in spec.attention:
        total.attend(outputs, side)
