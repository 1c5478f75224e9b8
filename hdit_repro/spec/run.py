"""A run whole, and its identity. Plain values, no torch."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

import msgspec

from hdit_repro.spec.base import Spec, kind_of, require
from hdit_repro.spec.data import Data, ImageNet, facts_of
from hdit_repro.spec.diffusion import Diffusion, Edm, Gaussian
from hdit_repro.spec.evaluation import ADM_IMAGENET, ADM_SIDES, AdmReference, DatasetReference, Evaluation
from hdit_repro.spec.external import External
from hdit_repro.spec.model import DiT, Hourglass, LerpSkip, Model, Timestep
from hdit_repro.spec.numerics import NUMERICS
from hdit_repro.spec.sampling import RHO, Ancestral, Sampling
from hdit_repro.spec.training import Training

ID_DIGITS = 12

SHARED = ("_trained_text", "_evaluated_text", "row_id")
"""What is the same for all repetitions of a run, once it was worked out."""


class Run(Spec, dict=True):
    """Everything that can change a run's numbers, and nothing else.

    Three nested ids: training in sampling in evaluation, so that one checkpoint serves many samplers and one set of
    samples many metrics. Cluster, workers, logging and labels are no part of them.

    A run with `external` is of kind external: its samples are somebody's images. Data and evaluation are its protocol;
    model, diffusion, training and how samples are drawn are those of the row that it extends, say nothing of it and
    are no part of its ids.
    """

    model: Model
    data: Data
    diffusion: Diffusion
    training: Training
    sampling: Sampling
    evaluation: Evaluation
    seed: int = 0
    external: External | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        facts = facts_of(self.data.dataset)
        require(self.seed >= 0, f"seed starts at 0, and {self.seed} is found")
        require(self.model.channels == 3, f"images have 3 channels, and model.channels is {self.model.channels}")
        require(
            self.model.resolution == self.data.resolution,
            f"model.resolution {self.model.resolution} is not data.resolution {self.data.resolution}",
        )
        self.model.check_size(self.data.resolution, self.data.resolution)  # patches may be of other images than square
        require(
            self.model.classes in (0, facts.classes),
            f"model.classes {self.model.classes} is not the {facts.classes} of {kind_of(self.data.dataset)}",
        )
        require(
            self.sampling.at_step is msgspec.UNSET or self.sampling.at_step <= self.training.total_steps,
            f"sampling.at_step {self.sampling.at_step} lies beyond the last step, {self.training.total_steps}",
        )
        require(
            not self.external or self.sampling.count == self.external.images,
            "an external run has as many samples as there are images, so sampling.count must not say otherwise",
        )
        self._check_reference()
        self._check_conditions()
        self._check_diffusion()
        self._check_idle()

    def _check_reference(self) -> None:
        """What the samples are compared with, beside the data."""
        reference, dataset = self.evaluation.reference, self.data.dataset
        count = reference.count if isinstance(reference, DatasetReference) else None
        images = facts_of(dataset).images
        require(
            (count or 0) <= images,
            f"evaluation.reference.count {count} is more than the {images} images of {kind_of(dataset)}",
        )
        name = reference.name if isinstance(reference, AdmReference) else ""
        require(
            ADM_SIDES.get(name) in (None, self.data.resolution),
            f"evaluation.reference {name} is of {ADM_SIDES.get(name)}², and data.resolution is {self.data.resolution}",
        )
        require(
            not name.startswith(ADM_IMAGENET) or isinstance(dataset, ImageNet),
            f"evaluation.reference {name} is of ImageNet's images, and data.dataset is {kind_of(dataset)}",
            fix='compare with the images of the data set: evaluation = { reference = { kind = "dataset" } }',
        )

    def _check_conditions(self) -> None:
        """Classes, guidance towards them, augmentation."""
        require(
            not isinstance(self.model, Hourglass) or self.model.mapping_cond == 0,
            "classes and augmentation are all that a run conditions on, so model.mapping_cond must be 0",
        )
        require(
            self.model.classes > 0 or self.sampling.guidance == 1,
            f"sampling.guidance {self.sampling.guidance} leads to a class, and without labels a network has none",
        )
        require(
            self.model.classes > 0 or self.sampling.labels == "random",
            'sampling.labels deals classes, and without labels a network has none: leave it "random"',
        )
        drops = (self.training.class_dropout > 0 and not self.training.imported) or self.sampling.guidance != 1
        require(
            not (drops and self.model.classes and isinstance(self.model, DiT) and self.model.class_dropout == 0),
            "training.class_dropout and guidance need a class that stands for none: model.class_dropout must not be 0",
        )
        require(
            not self.training.augmentation or (isinstance(self.model, Hourglass) and self.model.augmentation_cond == 9),
            "augmentation needs a network that takes its nine-value condition",
        )

    def _check_diffusion(self) -> None:
        """The diffusion, what the network is told of it, and the sampler."""
        discrete = isinstance(self.diffusion, Gaussian)
        require(
            discrete == isinstance(self.sampling.sampler, Ancestral),
            f"sampler {kind_of(self.sampling.sampler)} does not go with {kind_of(self.diffusion)} diffusion",
        )
        takes_steps = isinstance(self.model, DiT) and isinstance(self.model.time, Timestep)
        require(
            discrete == takes_steps,
            f"{kind_of(self.diffusion)} diffusion and what the network is fed as time do not go together",
        )
        require(
            not discrete or (isinstance(self.model, DiT) and self.model.learn_sigma),
            "gaussian diffusion learns its variance, so model.learn_sigma must be true",
        )
        require(
            discrete or not (isinstance(self.model, DiT) and self.model.learn_sigma),
            "edm diffusion has no use for a learned sigma, so model.learn_sigma must be false",
        )
        require(
            not discrete or self.sampling.sampler.steps <= self.diffusion.timesteps,  # type: ignore[union-attr]
            "a respaced chain cannot have more steps than the diffusion",
        )
        require(
            not discrete or self.sampling.sigma_min is self.sampling.sigma_max is msgspec.UNSET,
            "sampling.sigma_min and sigma_max are ends of edm's noise levels, and gaussian diffusion has its own",
        )
        require(
            not discrete or self.sampling.rho == RHO,
            f"sampling.rho spaces edm's noise levels, and gaussian diffusion has its own: leave it at {RHO:g}",
        )
        require(
            discrete or 0 < self.sampled_sigmas[0] < self.sampled_sigmas[1],
            "0 < sampling.sigma_min < sampling.sigma_max must hold",
        )

    def _check_idle(self) -> None:
        """Values that nothing reads beside the others, and that contradict them."""
        model, drawn = self.model, self.sampling
        if isinstance(model, Hourglass):
            require(
                len(model.widths) > 1 or isinstance(model.skip, LerpSkip) or bool(self.training.imported),
                "model.skip joins levels, and a network of one level has none to join: leave it at lerp",
            )
            usual = type(model.feed_forward)().ratio
            require(
                not model.d_ffs or model.feed_forward.ratio == usual,
                f"model.d_ffs are the hidden widths, and model.feed_forward.ratio says nothing: leave it at {usual}",
            )
        elif model.classes and not self.training.imported:
            require(
                not self.training.class_dropout or self.training.class_dropout == model.class_dropout,
                f"model.class_dropout {model.class_dropout} is not training.class_dropout "
                f"{self.training.class_dropout}, which is how often labels are dropped: say the same twice",
            )
        own = drawn.weights == "ema" and drawn.at_step is drawn.ema_decay is msgspec.UNSET
        require(
            own or not self.training.imported,
            "an imported checkpoint has one set of weights: leave out sampling.weights, at_step and ema_decay",
        )

    @cached_property
    def training_id(self) -> str:
        """Identity of the checkpoint: model, data, diffusion, training, seed, and the version of training.

        Of an external run, of its images and data alone.
        """
        if self.external:
            return _digest("external", self.external.digest, self.external.images, self.data)
        return _digest_of(_text(NUMERICS["train"]), self._trained_text, _text(self.seed))

    @cached_property
    def sampling_id(self) -> str:
        """Identity of the samples: the checkpoint's, and how they are drawn."""
        if self.external:
            return _digest(NUMERICS["sample"], self.training_id)
        return _digest(NUMERICS["sample"], self.training_id, self.sampling)

    @cached_property
    def evaluation_id(self) -> str:
        """Identity of the measurement: the samples', and how they are measured."""
        return _digest_of(_text(NUMERICS["evaluate"], self.sampling_id), self._evaluated_text)

    @cached_property
    def _trained_text(self) -> str:
        return _text(self.model, self.data, self.diffusion, self.training)

    @cached_property
    def _evaluated_text(self) -> str:
        return _text(self.evaluation)

    @cached_property
    def row_id(self) -> str:
        """The evaluation's id with both seeds zero: what repetitions of one row share."""
        return self.repeated(0, 0).evaluation_id

    def repeated(self, seed: int, sampling_seed: int) -> Run:
        """The same run with other seeds. What its ids share with this one's is not worked out again."""
        sampling = msgspec.structs.replace(self.sampling, seed=sampling_seed)
        run = msgspec.structs.replace(self, seed=seed, sampling=sampling)
        run.__dict__.update({name: vars(self)[name] for name in SHARED if name in vars(self)})
        return run

    @property
    def sampled_sigmas(self) -> tuple[float, float]:
        """The lowest and the highest noise level of sampling, where the diffusion is EDM's."""
        low, high, edm = self.sampling.sigma_min, self.sampling.sigma_max, self.edm
        return (
            edm.sigma_min if low is msgspec.UNSET else low,
            edm.sigma_max if high is msgspec.UNSET else high,
        )

    @property
    def id(self) -> str:
        """The run's id: the name of its folder under runs/ and results/."""
        return self.training_id

    @property
    def edm(self) -> Edm:
        """The diffusion, where it is EDM's.

        Raises:
            TypeError: it is the discrete Gaussian one.
        """
        if not isinstance(self.diffusion, Edm):
            raise TypeError("this run's diffusion is the discrete Gaussian one")
        return self.diffusion


def _digest(*parts: object) -> str:
    """SHA-256 over canonical JSON, tags included; its first 12 hexadecimal digits."""
    return _digest_of(_text(*parts))


def _text(*parts: object) -> str:
    """Canonical JSON of the parts, tags included, with commas between."""
    return json.dumps(msgspec.to_builtins(parts), sort_keys=True, separators=(",", ":"))[1:-1]


def _digest_of(*texts: str) -> str:
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()[:ID_DIGITS]
