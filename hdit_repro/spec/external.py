"""Somebody's images in place of samples of our own. Plain values, no torch."""

from __future__ import annotations

from hdit_repro.spec.base import Spec, require, require_digest


class External(Spec):
    """A folder, zip or .npz of `images` images that others' networks made: what it holds, never where it lies.

    `digest` is SHA-256 of the file, or over names and contents of a folder's images (64 hexadecimal digits).
    """

    name: str
    digest: str
    images: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_digest("digest", self.digest)
        require(self.images >= 2, f"at least two images are needed for a covariance, and {self.images} is found")
