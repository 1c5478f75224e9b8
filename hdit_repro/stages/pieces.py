"""Samples in pieces that the card holds: sample i is the same image whatever the batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from hdit_repro.errors import RunError
from hdit_repro.stages.calling import Padded
from hdit_repro.stages.denoiser import Drawer


class FewerAtOnce(UserWarning):
    """The card does not hold a batch of samples, and they are drawn in pieces."""


class InPieces:
    """Draws what it is asked for; once a batch was too much for the card, in pieces of half as many.

    Args:
        drawer: draws samples by number.
    """

    def __init__(self, drawer: Drawer) -> None:
        self.drawer, self.most = drawer, 0

    def __call__(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Samples `numbers`, as `Drawer` gives them.

        Raises:
            RunError: the card does not hold one, or not the one size that a compiled or captured network is called at.
        """
        found: list[tuple[Tensor, Tensor | None]] = []
        at = 0
        while at < len(numbers):
            piece = numbers[at : at + (self.most or len(numbers))]
            drawn = self._try(piece)
            if drawn is None:  # here the failed pass has let go of its memory
                torch.cuda.empty_cache()
                continue
            found.append(drawn)
            at += len(piece)
        labels = [each for _, each in found if each is not None]
        return torch.cat([images for images, _ in found]), torch.cat(labels) if labels else None

    def _try(self, piece: Sequence[int]) -> tuple[Tensor, Tensor | None] | None:
        """The samples of a piece, or None where it was too large; the next one is smaller."""
        try:
            return self.drawer(piece)
        except torch.OutOfMemoryError as error:
            if len(piece) == 1 or isinstance(self.drawer.network, Padded):
                raise _full(error, len(piece)) from error
        self.most = -(-len(piece) // 2)
        told = f"the card does not hold {len(piece)} samples at once: {self.most} are drawn at a time"
        warnings.warn(FewerAtOnce(told), stacklevel=2)
        return None


def _full(error: torch.OutOfMemoryError, count: int) -> RunError:
    one = count == 1
    return RunError(
        "the card's memory does not hold " + ("a sample" if one else "a batch of samples"),
        found=str(error),
        expected=f"room for {count} at once",
        fix="take a larger card; `nvidia-smi` says what else is on this one"
        if one
        else "--network eager, which draws fewer at once",
    )
