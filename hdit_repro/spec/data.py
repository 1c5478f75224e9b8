"""Which images. Plain values, no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple

from hdit_repro.spec.base import Choice, Spec, kind_of, require, require_digest

LARGEST_SIDE = 65_535
"""Pixels a side of an image: what JPEG's header can say."""


class ImageNet(Choice, tag="imagenet"):
    """ILSVRC2012's training set, classes in the order of their WordNet ids."""


class FFHQ(Choice, tag="ffhq"):
    """Flickr-Faces-HQ at 1024^2, no labels."""


class Emoji(Choice, tag="emoji"):
    """The emoji that come with the project: 64^2, for exercising the pipeline, never a benchmark."""


class Folder(Choice, tag="folder"):
    """Images of the user's own, a folder or an archive: what they are, never where they lie.

    `digest` is SHA-256 of the archive, or over names and contents of the folder's images (64 hexadecimal digits);
    `images` and `classes` (0 without labels) are counted in it.
    """

    name: str
    digest: str
    images: int
    classes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_digest("digest", self.digest)
        require(self.images >= 1 and self.classes >= 0, "a data set has at least one image")


Dataset = ImageNet | FFHQ | Emoji | Folder


class DatasetFacts(NamedTuple):
    """Published facts of a data set: images, classes (0 without labels), side in pixels (0 where it varies)."""

    images: int
    classes: int
    side: int


DATASETS: dict[str, DatasetFacts] = {
    "imagenet": DatasetFacts(1_281_167, 1000, 0),
    "ffhq": DatasetFacts(70_000, 0, 1024),
    "emoji": DatasetFacts(3_781, 9, 64),
}
"""The data sets that are known by name; a `folder` states its own facts."""

IMAGENET_CLASS_SIZES = (732, 1300)
"""Fewest and most images of a class of ILSVRC2012's training set (Russakovsky et al., 2015, Table 2)."""


def facts_of(dataset: Dataset) -> DatasetFacts:
    """Images, classes and side of a data set: published, or as a folder states them."""
    if isinstance(dataset, Folder):
        return DatasetFacts(dataset.images, dataset.classes, 0)
    return DATASETS[kind_of(dataset)]


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
        super().__post_init__()
        require(
            1 <= self.resolution <= LARGEST_SIDE,
            f"resolution is a side of 1 to {LARGEST_SIDE} pixels, and {self.resolution} is not",
        )
        side = facts_of(self.dataset).side
        require(
            not side or self.resolution <= side,
            f"images of {kind_of(self.dataset)} have {side} pixels a side, and {self.resolution} would enlarge them",
        )
