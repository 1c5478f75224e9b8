"""EDM's preconditioner: what makes a network F a denoiser D."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hdit_repro.diffusion.batch import per_sample
from hdit_repro.inputs import check_positive

Network = Callable[..., Tensor]  # F(x: B C H W, sigma: B, class_cond=..., aug_cond=..., mapping_cond=...) -> B C' H W


class Scalings(NamedTuple):
    """Karras et al. (2022), Table 1, last column; each has the shape and dtype of sigma."""

    skip: Tensor
    out: Tensor
    into: Tensor


def scalings(sigma: Tensor, sigma_data: float) -> Scalings:
    """c_skip, c_out and c_in at noise level sigma.

    c_skip = sigma_data^2 / (sigma^2 + sigma_data^2), c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2),
    c_in = 1 / sqrt(sigma^2 + sigma_data^2).
    """
    total = sigma**2 + sigma_data**2
    return Scalings(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), total.rsqrt())


class Precondition(nn.Module):
    """D(x, sigma, **cond) = c_skip x + c_out F(c_in x, sigma, **cond).

    Args:
        network: F; it is given sigma itself.
        sigma_data: standard deviation of the data (0.5 for images in [-1, 1]).
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, **cond: Tensor | None) -> Tensor:
        """x: B C H W, sigma: B, positive -> the denoised image, B C H W, in x's dtype even where F computes in another.

        The scalings are computed in sigma's dtype; F is given sigma in x's, and neither in less than float32.

        Raises:
            UserError: sigma is not positive, looked at where that is free.
        """
        check_positive(sigma)
        c = scalings(sigma.to(working_dtype(sigma)), self.sigma_data)
        output = cast(Tensor, self.network(x * per_sample(c.into, x), sigma.to(working_dtype(x)), **cond))
        return x * per_sample(c.skip, x) + output.to(x.dtype) * per_sample(c.out, x)

    def extra_repr(self) -> str:
        return f"sigma_data={self.sigma_data}"


def working_dtype(x: Tensor) -> torch.dtype:
    """float32, or x's own dtype where that is wider: half precision is for the network, not for sums and scalings."""
    return torch.promote_types(x.dtype, torch.float32)
