"""What a feature network is, and how images are put through one so that a batch cannot move its features.

Axes: B batch, H W pixels, F width of the features, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hdit_repro.ahead import ahead

CPU_GROUP = 4
GPU_GROUP = 64

FEATURES = "features"
LOGITS = "logits"
SPATIAL = "spatial"


class FeatureExtractor(Protocol):
    """A frozen feature network.

    name: its tag in `spec.evaluation`. width: F. digest: SHA-256 of its weights. protocol: what happens to an image
    before the network sees it, in words; part of the key of cached statistics. device: where it computes.
    """

    name: str
    width: int
    digest: str
    protocol: str
    device: torch.device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images.

        Args:
            images: uint8 B 3 H W, on any device.

        Returns:
            float32 on the extractor's device: "features" B F; where the network has them "logits" B K, of which each
            protocol says whether they have their bias, and "spatial" B 2023, ADM's.

        Raises:
            ValueError: another type or shape.
        """


@contextlib.contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Inference in float32: no TF32 in convolutions and products, no autocast, deterministic algorithms, no gradients.

    NVIDIA's containers turn TF32 on for products, by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE.
    """
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with flags, torch.autocast(device.type, enabled=False), torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_groups(
    images: Tensor,
    device: torch.device,
    network: Callable[[Tensor], dict[str, Tensor]],
    before: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Put images through `network` in groups of one fixed size; the last group is filled up with its last image.

    Kernels are chosen by shape, and round differently. With one shape, an image's features do not depend on what it is
    batched with. Small groups are also the faster ones on a CPU, where a group's activations then stay in its cache.

    Args:
        images: uint8 B 3 H W.
        device: where `network` computes.
        network: uint8 N 3 H W on `device` to tensors N ...; what `before` makes of them, where that is given.
        before: what processors do to a group before the network has it, such as Pillow's resize: the next group's is
            done in a thread while the network works on one.

    Raises:
        ValueError: another type or shape, or no image.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are uint8 B 3 H W, found {images.dtype} {tuple(images.shape)}")
    size = CPU_GROUP if device.type == "cpu" else GPU_GROUP
    parts: list[dict[str, Tensor]] = []
    with exact_float32(device):
        for count, group in _groups(images, size, before):
            out = network(_moved(group, device))
            parts.append({name: value[:count] for name, value in out.items()})
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: value.clone() for name, value in joined.items()}  # ordinary tensors, outside inference mode


def _groups(images: Tensor, size: int, before: Callable[[Tensor], Tensor] | None) -> Iterator[tuple[int, Tensor]]:
    """How many images of each group count, and the group of `size`, through `before` where that is given."""
    groups = torch.split(images, size)
    full = (_full(group, size) for group in groups)
    made = full if before is None else ahead(before, full, 1, name="resize")
    yield from zip(map(len, groups), made, strict=True)


def _full(group: Tensor, size: int) -> Tensor:
    """The group, filled up with its last image."""
    missing = size - len(group)
    return torch.cat([group, group[-1:].expand(missing, -1, -1, -1)]) if missing else group


def _moved(group: Tensor, device: torch.device) -> Tensor:
    """`group` on `device`; to a GPU through pinned memory, so that copying overlaps with what the GPU does."""
    if device.type == "cuda" and group.device.type == "cpu":
        return group.pin_memory().to(device, non_blocking=True)
    return group.to(device)


def fold_norm(parent: nn.Module, convolution: str, norm: str) -> None:
    """Put a frozen batch norm into the convolution before it, and an identity in its place.

    Exact but for rounding (about 1e-6 relative), and up to half as fast again on a CPU.
    """
    folded = fuse_conv_bn_eval(getattr(parent, convolution), getattr(parent, norm))
    setattr(parent, convolution, folded)
    setattr(parent, norm, nn.Identity())
