"""The resizes that feature networks are fed by. Each is a protocol: two of them give two different FIDs.

All take uint8 B 3 H W on any device, and give float32 B 3 side side in grey values, 0 ... 255.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hdit_repro.metrics.torchvision_shim import import_torchvision

THREADS = 4
"""For Pillow, which releases the interpreter while it resizes."""


def tensorflow1(images: Tensor, side: int) -> Tensor:
    """TensorFlow 1's bilinear resize, corners not aligned, no antialiasing: output i lies at input i * length / side.

    Equal to torch-fidelity's to the last bit: the same sums in the same order, along the rows first.
    """
    height, width = images.shape[2:]
    low, high, part = (axis.to(images.device) for axis in _tensorflow1_axis(width, side))
    x = images.float()
    left = x[..., low]
    x = left + (x[..., high] - left) * part
    low, high, part = (axis.to(images.device) for axis in _tensorflow1_axis(height, side))
    top = x[:, :, low]
    return top + (x[:, :, high] - top) * part[:, None]


@lru_cache(maxsize=16)
def _tensorflow1_axis(length: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each output place the two inputs next to it, and how far it lies between them: int64, int64, float32."""
    place = torch.arange(side, dtype=torch.float32) * torch.tensor(length / side, dtype=torch.float32)
    low = place.long()
    return low, (low + 1).clamp_max(length - 1), place - low.float()


def sampled_grid(images: Tensor, side: int) -> Tensor:
    """The same points as `tensorflow1`, by an affine grid, as the TorchScript Inception of StyleGAN2-ADA samples them.

    clean-fid's `legacy_tensorflow` runs that file; the two resizes differ by rounding.
    """
    height, width = images.shape[2:]
    theta = torch.eye(2, 3, device=images.device)
    theta[0, 2] = 1 / width - 1 / side
    theta[1, 2] = 1 / height - 1 / side
    grid = F.affine_grid(theta.expand(len(images), 2, 3), [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def torch_bilinear(images: Tensor, side: int) -> Tensor:
    """torch's bilinear resize, half-pixel centres, no antialiasing: clean-fid's `legacy_pytorch`, pytorch-fid's."""
    return F.interpolate(images.float(), (side, side), mode="bilinear", align_corners=False).clamp(0, 255)


def torch_bicubic(images: Tensor, side: int) -> Tensor:
    """torch's bicubic resize with antialiasing, not clamped: k-diffusion's, for DINOv2."""
    return F.interpolate(images.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)


def torch_bicubic_clamped(images: Tensor, side: int) -> Tensor:
    """The same, clamped: k-diffusion's, for Inception."""
    return torch_bicubic(images, side).clamp(0, 255)


def pillow_bicubic(images: Tensor, side: int) -> Tensor:
    """clean-fid's own: Pillow's bicubic resize of each channel in float, clamped (Parmar et al., 2022)."""
    import_torchvision()
    from cleanfid.resize import make_resizer

    return _each(images, make_resizer("PIL", False, "bicubic", (side, side)))


def pillow_bicubic_quantised(images: Tensor, side: int) -> Tensor:
    """Pillow's bicubic resize of an RGB picture in 8 bits: torchvision's Resize of a Pillow image, dgm-eval's."""

    def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))

    return _each(images, small)


def _each(images: Tensor, small: Callable[[NDArray[np.uint8]], NDArray[Any]]) -> Tensor:
    """Every image by a function of one picture, uint8 H W 3 to side side 3 of any type."""
    pictures = rearrange(images, "b c h w -> b h w c").contiguous().cpu().numpy()
    with ThreadPoolExecutor(THREADS) as pool:
        resized = torch.from_numpy(np.stack(list(pool.map(small, pictures))))
    return rearrange(resized, "b h w c -> b c h w").contiguous().to(images.device).float()
