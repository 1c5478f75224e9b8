"""What a DiT makes of the noise level: what its embedding is told, and whether its input and output are scaled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hdit_repro.inputs import check_positive
from hdit_repro.spec import model as spec
from hdit_repro.spec.diffusion import LINEAR_BETAS


class Timestep(nn.Module):
    """The step number as it is; images go in and come out as they are."""

    def __init__(self, choice: spec.Timestep) -> None:
        super().__init__()

    def before(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks are given for images B C H W at levels B: images, and times B for the embedding."""
        return x, t

    def after(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """What the network gives, of what its last layer gave, B C' H W."""
        return out


class LogSigma(Timestep):
    """The embedding is told scale * log(sigma) + offset."""

    def __init__(self, choice: spec.LogSigma) -> None:
        nn.Module.__init__(self)
        self.scale, self.offset = choice.scale, choice.offset

    def before(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        check_positive(t)
        return x, self.scale * t.log() + self.offset


class NestedDdpm(Timestep):
    """The blocks are the noise predictor of DiT's own chain, and F is what it takes for the denoised image:

        F(x, sigma) = x - sigma eps(x / sqrt(sigma^2 + 1), t(sigma)),

    with x already scaled by the preconditioner's c_in (DiTDenoiser of the third author's fork). t is the step of the
    chain of linear betas whose sqrt((1 - abar_t) / abar_t) is sigma, with log sigma interpolated between steps, and the
    first or last step beyond them.
    """

    log_sigmas: Tensor

    def __init__(self, choice: spec.NestedDdpm) -> None:
        nn.Module.__init__(self)
        self.register_buffer("log_sigmas", torch.empty(LINEAR_BETAS[2]))

    def before(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        check_positive(t)
        return (x * _per_image((t**2 + 1).rsqrt(), x)).to(x.dtype), self.step(t)

    def after(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return (x - _per_image(t, x) * out.to(x.dtype)).to(x.dtype)

    def step(self, sigma: Tensor) -> Tensor:
        """The place of noise levels B in the chain: B, 0 ... 999 with fractions, in sigma's dtype, float32 or wider."""
        log = sigma.to(torch.promote_types(sigma.dtype, torch.float32)).log()
        table = self.log_sigmas.to(log.dtype)
        low = (torch.bucketize(log, table, right=True) - 1).clamp(0, len(table) - 2)
        part = (log - table[low]) / (table[low + 1] - table[low])
        return low + part.clamp(0, 1)


def chain_log_sigmas() -> Tensor:
    """log sqrt((1 - abar_t) / abar_t) of the steps of DiT's chain: 1000, float64, rising."""
    kept = (1 - torch.linspace(*LINEAR_BETAS, dtype=torch.float64)).cumprod(0)
    return ((1 - kept) / kept).sqrt().log()


def _per_image(value: Tensor, x: Tensor) -> Tensor:
    """One value an image, B, as B 1 1 1."""
    return value.reshape(len(x), *[1] * (x.ndim - 1))


TIMES: dict[str, Callable[..., Timestep]] = {
    "timestep": Timestep,
    "log-sigma": LogSigma,
    "nested-ddpm": NestedDdpm,
}
