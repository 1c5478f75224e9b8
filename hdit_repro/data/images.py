"""A data set as the stages see it: batches of square uint8 tensors by image number."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.data.store import FolderStore, ZipStore
from hdit_repro.data.transforms import TRANSFORMS
from hdit_repro.errors import UserError, pick
from hdit_repro.machine import cpus_here

CACHE_BYTES = 1 << 30
DECODERS = 32
"""Threads at most that decode, however many CPUs there are."""

Indices = Sequence[int] | NDArray[np.int64] | Tensor


class Images:
    """Images at one resolution, by number.

    Decoded images stay in memory where all of them fit in 1 GiB. What is missing is decoded by a pool of threads
    (Pillow releases the interpreter while it decodes and resizes). Safe for threads, forks and pickling.

    Args:
        store: where the images lie.
        resolution: side in pixels.
        transform: its name, of `spec.data.Data`.
        cache: keep decoded images.
        name: of the data set, for messages and references.
        decoders: threads that decode; 0 is one a CPU that this process may use, at most 32.

    Raises:
        UserError: the transform is unknown.
    """

    def __init__(
        self,
        store: ZipStore | FolderStore,
        resolution: int,
        transform: str,
        *,
        cache: bool = True,
        name: str = "",
        decoders: int = 0,
    ) -> None:
        self.store, self.resolution, self.transform = store, resolution, transform
        self.name = name or store.path.name
        self.cache = cache and len(store) * 3 * resolution**2 <= CACHE_BYTES
        self.decoders = decoders or min(DECODERS, cpus_here())
        self._transform = pick(TRANSFORMS, transform, kind="transform")
        self._forget()

    def _forget(self) -> None:
        kept = len(self.store) if self.cache else 0
        self._kept = np.zeros((kept, 3, self.resolution, self.resolution), np.uint8)  # takes no memory until written
        self._have = np.zeros(kept, bool)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_of = -1

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_kept", "_have", "_pool", "_pool_of")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.store)

    @property
    def classes(self) -> int:
        """Number of classes, 0 without labels."""
        return self.store.classes

    @property
    def digest(self) -> str:
        """SHA-256 of the store, whatever the resolution."""
        return self.store.digest

    def batch(self, indices: Indices) -> Tensor:
        """Images `indices`, transformed: uint8 B 3 H W.

        Raises:
            IndexError: a number outside 0 ... len - 1.
            UserError: an image is damaged or cannot be taken; the message names it.
        """
        wanted = self._numbers(indices)
        if self.cache:
            missing = np.unique(wanted[~self._have[wanted]])
            return torch.from_numpy(self._keep(missing)[wanted])
        out = np.empty((len(wanted), 3, self.resolution, self.resolution), np.uint8)
        self._fill(out, range(len(wanted)), wanted)
        return torch.from_numpy(out)

    def labels(self, indices: Indices) -> Tensor | None:
        """Classes of the images `indices`: int64 B, or None where the data set has no labels.

        Raises:
            IndexError: as `batch`.
        """
        wanted = self._numbers(indices)
        return None if self.store.labels is None else torch.from_numpy(self.store.labels[wanted])

    def _numbers(self, indices: Indices) -> NDArray[np.int64]:
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"image numbers run from 0 to {len(self) - 1}, found {wanted.min()} to {wanted.max()}")
        return wanted

    def _keep(self, missing: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The array of decoded images, with `missing` filled in. Two threads may decode one image: same bytes."""
        self._fill(self._kept, missing, missing)
        self._have[missing] = True
        return self._kept

    def _fill(self, out: NDArray[np.uint8], rows: Sequence[int] | NDArray[np.int64], wanted: NDArray[np.int64]) -> None:
        """Decode `wanted` into `rows` of `out`, a few images at a time in each thread: handing one over costs too."""
        few = max(1, len(wanted) // (4 * self.decoders))

        def put(first: int) -> None:
            for row, index in zip(rows[first : first + few], wanted[first : first + few], strict=True):
                out[row] = rearrange(self._decoded(int(index)), "h w c -> c h w")

        list(self._threads().map(put, range(0, len(wanted), few)))

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        try:
            return self._transform(self.store.image(index), self.resolution)
        except UserError as error:
            name = self.store.names[index]
            if name in (error.found or ""):
                raise
            found = f"{name} in {self.store.path}: {error.found}"
            raise UserError(error.problem, found=found, expected=error.expected, fix=error.fix) from error

    def _threads(self) -> ThreadPoolExecutor:
        """The pool of this process; a forked process makes its own."""
        if self._pool is None or self._pool_of != os.getpid():
            self._pool = ThreadPoolExecutor(self.decoders, thread_name_prefix="decode")
            self._pool_of = os.getpid()
        return self._pool
