"""The loss of EDM's denoiser."""

from __future__ import annotations

from torch import Tensor

from hdit_repro.diffusion.batch import per_sample
from hdit_repro.diffusion.precondition import Network, scalings, working_dtype
from hdit_repro.diffusion.weighting import loss_weight
from hdit_repro.inputs import check_level, check_noise, check_pixels, check_positive
from hdit_repro.spec.diffusion import Edm


def edm_loss(network: Network, image: Tensor, noise: Tensor, sigma: Tensor, edm: Edm, **cond: Tensor | None) -> Tensor:
    """w_F(sigma) times the mean over channels and pixels of (F(c_in x, sigma) - target)^2, x = image + sigma noise.

    The target (image - c_skip x) / c_out is taken in the form (sigma image / sigma_data - sigma_data noise) /
    sqrt(sigma^2 + sigma_data^2), its equal, in which nothing cancels at small sigma.

    Args:
        network: F itself, not the preconditioned denoiser.
        image: B C H W, on the scale of [-1, 1].
        noise: B C H W, unit.
        sigma: B, positive; the weight and scalings are computed in its dtype, and the network is given it in image's;
            both at least float32.
        edm: the weighting and sigma_data.
        cond: passed on to the network.

    Returns:
        (B), in float32 or, where image is, float64; error and mean are taken in that dtype whatever F computes in.

    Raises:
        UserError: images are whole numbers, noise is of another shape, or sigma is not one number a sample, or not
            positive (looked at where that is free).
    """
    check_pixels(image)
    check_noise(image, noise)
    check_level(sigma, len(image), "sigma")
    check_positive(sigma)
    sigma_data = edm.sigma_data
    level = sigma.to(working_dtype(sigma))
    c_in = scalings(level, sigma_data).into
    wide = image.to(working_dtype(image))
    noise = noise.to(wide.dtype)
    noised = wide + noise * per_sample(level, wide)
    output = network(noised * per_sample(c_in, wide), sigma.to(wide.dtype), **cond)
    target = wide * per_sample(c_in * level / sigma_data, wide) - noise * per_sample(c_in * sigma_data, wide)
    error = (output.to(wide.dtype) - target).square().flatten(1).mean(1)
    return error * loss_weight(edm.weighting, level, sigma_data).to(error)
