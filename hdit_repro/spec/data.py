"""Which images. Plain values, no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple

from hdit_repro.spec.base import Choice, Spec, require


class ImageNet(Choice, tag="imagenet"):
    """ILSVRC2012's training set, classes in the order of their WordNet ids."""


class FFHQ(Choice, tag="ffhq"):
    """Flickr-Faces-HQ at 1024^2, no labels."""


class Emoji(Choice, tag="emoji"):
    """The emoji that come with the project: 64^2, for exercising the pipeline, never a benchmark."""


Dataset = ImageNet | FFHQ | Emoji


class DatasetFacts(NamedTuple):
    """Published facts of a data set: images, classes (0 without labels), largest useful side in pixels."""

    images: int
    classes: int
    side: int


DATASETS: dict[str, DatasetFacts] = {
    "imagenet": DatasetFacts(1_281_167, 1000, 0),
    "ffhq": DatasetFacts(70_000, 0, 1024),
    "emoji": DatasetFacts(3_781, 9, 64),
}


class Data(Spec):
    """A data set at a resolution (side in pixels), brought there by a named transform.

    `adm`: box halvings, then bicubic, centre crop. `k-diffusion`: bicubic to the short side, centre crop.
    `none`: the images have that size already, or are refused.
    """

    dataset: Dataset
    resolution: int
    transform: Literal["adm", "k-diffusion", "none"] = "k-diffusion"
    flip: bool = False

    def __post_init__(self) -> None:
        require(self.resolution >= 1, f"resolution is a side in pixels, and {self.resolution} is not")
