"""From a run and a network to a sampler that knows sample numbers: uint8 images B 3 H W out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from msgspec import UNSET
from torch import Tensor, nn

from hdit_repro.diffusion import GaussianDiffusion, Precondition, as_keys, guide, normals, uniforms
from hdit_repro.errors import RunError
from hdit_repro.metrics.quantise import to_uint8
from hdit_repro.models.arithmetic import autocast, products
from hdit_repro.samplers import SAMPLERS
from hdit_repro.samplers.sigmas import karras_sigmas
from hdit_repro.seeds import derive
from hdit_repro.spec.base import fields_of, kind_of
from hdit_repro.spec.diffusion import Edm, Gaussian
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision

START, LABEL, FIRST_STEP = 0, 1, 16
"""Streams of a sample's key: start noise, label, and step j at FIRST_STEP + j. Never renumber."""


class Drawer:
    """Draws samples by number: sample i is the same image whatever the batch or the shard.

    Args:
        run: the run whose sampler, guidance, labels and seed count.
        network: F, on `device`, in evaluation mode.
        on_step: called after each solver step, for progress.
    """

    def __init__(self, run: Run, network: nn.Module, device: torch.device, on_step: Callable[[], None]) -> None:
        self.run, self.network, self.device, self.on_step = run, network, device, on_step
        self.shape = (run.model.channels, run.data.resolution, run.data.resolution)

    @torch.inference_mode()
    def __call__(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Samples `numbers`: uint8 images (B 3 H W, on the CPU), and their labels (B, int64) or None.

        Raises:
            RunError: a sample holds a NaN.
        """
        keys = sample_keys(self.run, numbers).to(self.device)
        labels = self.labels(keys, numbers)
        start = self.noise(keys, START)

        def noise(step: int) -> Tensor:
            return self.noise(keys, FIRST_STEP + step)

        precision = sampling_precision(self.run)
        with products(precision, self.device), autocast(precision, self.device):
            if isinstance(self.run.diffusion, Edm):
                images = self._edm(self.run.diffusion, start, noise, labels)
            else:
                images = self._gaussian(self.run.diffusion, start, noise, labels)
        _refuse_nan(images, numbers)
        return to_uint8(images.float()).cpu(), None if labels is None else labels.cpu()

    def noise(self, keys: Tensor, stream: int) -> Tensor:
        return normals(keys, stream, self.shape, torch.float32, self.device)

    def labels(self, keys: Tensor, numbers: Sequence[int]) -> Tensor | None:
        """Classes drawn at random by number, or dealt in turn when balanced."""
        classes = self.run.model.classes
        if not classes:
            return None
        if self.run.sampling.labels == "balanced":
            return torch.tensor([number % classes for number in numbers], device=self.device)
        return (uniforms(keys, LABEL, (), torch.float64) * classes).long()

    def _edm(self, edm: Edm, start: Tensor, noise: Callable[[int], Tensor], labels: Tensor | None) -> Tensor:
        sampling = self.run.sampling
        denoiser = Precondition(self.network, edm.sigma_data)
        denoise = self._counted(guide(denoiser, sampling.guidance, labels, self.run.model.classes))
        lowest, highest = self.run.sampled_sigmas
        sigmas = karras_sigmas(sampling.sampler.steps, lowest, highest, sampling.rho)
        keywords = {name: value for name, value in fields_of(sampling.sampler).items() if name != "steps"}
        if "eta" in keywords:
            keywords["noise"] = noise
        return SAMPLERS[kind_of(sampling.sampler)](denoise, start * highest, sigmas, **keywords)

    def _gaussian(
        self, gaussian: Gaussian, start: Tensor, noise: Callable[[int], Tensor], labels: Tensor | None
    ) -> Tensor:
        sampling, classes = self.run.sampling, self.run.model.classes
        network = self._counted(guide(self.network, sampling.guidance, labels, classes, channels=self.shape[0]))
        diffusion = GaussianDiffusion(gaussian.timesteps, sampling.sampler.steps, gaussian.data_scale)
        return diffusion.sample(network, start, noise)

    def _counted(self, call: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """`call`, with `on_step` told after each time."""

        def counted(x: Tensor, level: Tensor) -> Tensor:
            out = call(x, level)
            self.on_step()
            return out

        return counted


def _refuse_nan(images: Tensor, numbers: Sequence[int]) -> None:
    """Refuse samples that hold a NaN, and say which they are."""
    broken = images.isnan().flatten(1).any(dim=1)
    if broken.any():
        bad = [number for number, is_bad in zip(numbers, broken.tolist(), strict=True) if is_bad]
        raise RunError(
            "the network leaves samples that hold NaN",
            found=f"{len(bad)} of {len(numbers)} samples drawn at once, the first is number {bad[0]}",
            expected="images of finite values",
            fix="look at the training's losses and, of imported weights, at their values; where bfloat16 overflows, "
            'give the row sampling = { precision = "float32" }; with guidance, a lower weight',
        )


def sampling_precision(run: Run) -> Precision:
    """The arithmetic of the network's products while samples are drawn: the training's where nothing else is asked."""
    return run.training.precision if run.sampling.precision is UNSET else run.sampling.precision


def sample_keys(run: Run, numbers: Sequence[int]) -> Tensor:
    """One 64-bit key a sample, as int64: B.

    It hangs on both seeds: samples of another training are drawn with other noise and labels, so that repetitions are
    independent and their mean sheds the luck of sampling too. Rows at the same seeds share noise and labels.
    """
    seed = derive(run.seed, run.sampling.seed, "samples")
    return as_keys(derive(seed, number, "sample") for number in numbers)
