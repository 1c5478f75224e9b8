"""How samples are measured: the protocol. Plain values, no torch."""

from __future__ import annotations

from typing import Literal, get_args

from hdit_repro.spec.base import Choice, Spec, kind_of, require

# Feature networks. A Frechet distance is called FID on Inception's features only.


class Inception2015(Choice, tag="inception-2015"):
    """TensorFlow's Inception of 2015-12-05 with its in-graph resize: the paper's and ADM's protocol."""


class InceptionClean(Choice, tag="inception-clean"):
    """The same network behind clean-fid's resize: Pillow's bicubic with antialiasing, in float, not quantised."""


class InceptionLegacyTensorflow(Choice, tag="inception-legacy-tensorflow"):
    """clean-fid's `legacy_tensorflow`: the same network, with TensorFlow's resize as StyleGAN's TorchScript has it."""


class InceptionLegacyPytorch(Choice, tag="inception-legacy-pytorch"):
    """clean-fid's `legacy_pytorch`, which is pytorch-fid's: torch's bilinear resize, pixels to 2 x / 255 - 1."""


class InceptionKDiffusion(Choice, tag="inception-k-diffusion"):
    """The same network as the authors' trainer asks it: torch's bicubic with antialiasing, in float, clamped."""


class DinoV2Raw(Choice, tag="dinov2-vitl14-raw"):
    """DINOv2 ViT-L/14 as in dgm-eval (Stein et al., 2023): Pillow's bicubic to 224, features as they come."""


class DinoV2Normalised(Choice, tag="dinov2-vitl14-normalised"):
    """DINOv2 ViT-L/14 as in k-diffusion: torch's bicubic with antialiasing, features of length sqrt(1024)."""


class EfficientNetLite0(Choice, tag="efficientnet-lite0"):
    """EfficientNet-Lite0 (ImageNet), 1,280 pooled features; comes from the package index, needs no download."""


Extractor = (
    Inception2015
    | InceptionClean
    | InceptionLegacyTensorflow
    | InceptionLegacyPytorch
    | InceptionKDiffusion
    | DinoV2Raw
    | DinoV2Normalised
    | EfficientNetLite0
)

# What the samples are compared with.

REFERENCE_VERSION = 1
"""Raised when the numbers of a data set's reference change, so that none of before is used."""

SMALLEST_REFERENCE = 4
"""Images."""

REAL_IMAGES = 10_000
"""Real images, evenly spaced, that kernel distances, precision and recall compare with; ADM's files hold as many."""


class DatasetReference(Choice, tag="dataset"):
    """The run's own data set at its resolution, brought there by its transform; `count` of None is all of it."""

    count: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.count is None or self.count >= SMALLEST_REFERENCE,
            f"a reference has four images or more, and {self.count} are asked",
        )


ADM_SIDES = {
    "VIRTUAL_imagenet64_labeled": 64,
    "VIRTUAL_imagenet128_labeled": 128,
    "VIRTUAL_imagenet256_labeled": 256,
    "VIRTUAL_imagenet512": 512,
    "VIRTUAL_lsun_bedroom256": 256,
    "VIRTUAL_lsun_cat256": 256,
    "VIRTUAL_lsun_horse256": 256,
}
"""The files that ADM's authors publish (openai/guided-diffusion, evaluations), and their images' side in pixels."""


ADM_IMAGENET = "VIRTUAL_imagenet"
"""What the names of those of ImageNet begin with."""


class AdmReference(Choice, tag="adm"):
    """One of ADM's statistics files, by name: a published one (`ADM_SIDES`), or another that was added."""

    name: str


Reference = DatasetReference | AdmReference

MetricKind = Literal[
    "frechet",
    "spatial-frechet",
    "frechet-infinity",
    "inception-score",
    "inception-score-ten-parts",
    "kernel",
    "kernel-chunks",
    "precision-recall",
]
"""What can be asked for. One kind may give several numbers; `metric_names` says which."""


class Evaluation(Spec):
    """Metrics of one set of samples on one feature network against one reference."""

    extractor: Extractor
    reference: Reference
    metrics: tuple[MetricKind, ...] = ("frechet",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.metrics) >= 1, "an evaluation has at least one metric")
        require(len(set(self.metrics)) == len(self.metrics), f"each metric is named once, and {list(self.metrics)} are")
        name = kind_of(self.extractor)
        for kind in self.metrics:
            require(bool(metric_names(kind, name)), f"{kind} is not defined on {name}")
        require(
            not isinstance(self.reference, AdmReference) or isinstance(self.extractor, Inception2015),
            f"ADM's statistics are of inception-2015, and the extractor is {name}",
        )


FRECHET_NAMES = {
    "inception-2015": "fid",
    "inception-clean": "fid-clean",
    "inception-legacy-tensorflow": "fid-legacy-tensorflow",
    "inception-legacy-pytorch": "fid-legacy-pytorch",
    "inception-k-diffusion": "fid-k-diffusion",
    "dinov2-vitl14-raw": "fd-dinov2-raw",
    "dinov2-vitl14-normalised": "fd-dinov2-normalised",
    "efficientnet-lite0": "fd-efficientnet-lite0",
}
"""The Frechet distance's name on each extractor."""

KERNEL_NAMES = {extractor: name.replace("f", "k", 1) for extractor, name in FRECHET_NAMES.items()}
"""The kernel distance's name on each extractor: kid, kid-clean, kd-dinov2-raw."""


def metric_names(kind: MetricKind, extractor: str) -> tuple[str, ...]:
    """The names of the numbers that `kind` gives on `extractor`; none where it is not defined there.

    ADM's spatial FID and its Inception Score exist on `inception-2015` alone.
    """
    frechet = FRECHET_NAMES[extractor]
    suffix = frechet.partition("-")[2]
    end = f"-{suffix}" if suffix else ""
    adm = extractor == "inception-2015"
    return {
        "frechet": (frechet,),
        "frechet-infinity": (f"{frechet}-infinity",),
        "spatial-frechet": ("sfid",) if adm else (),
        "inception-score": ("inception-score",) if adm else (),
        "inception-score-ten-parts": ("inception-score-ten-parts",) if adm else (),
        "kernel": (KERNEL_NAMES[extractor],),
        "kernel-chunks": (f"{KERNEL_NAMES[extractor]}-chunks",),
        "precision-recall": (f"precision{end}", f"recall{end}"),
    }[kind]


KIND_OF = {name: kind for kind in get_args(MetricKind) for at in FRECHET_NAMES for name in metric_names(kind, at)}
"""The kind that gives a number of this name: "fid" is of "frechet"."""

EXTRACTOR_OF = {name: extractor for extractor, name in FRECHET_NAMES.items()}
"""The feature network on which a Frechet distance has this name: "fid" is on "inception-2015"."""
