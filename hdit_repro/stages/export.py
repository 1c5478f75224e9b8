"""A run's samples as files that others' evaluators read: ADM's .npz, or a zip of PNGs. Both hold the same pixels."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from hdit_repro.data.journal import EPOCH, member_name
from hdit_repro.data.store import LABELS
from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.files import atomic_file
from hdit_repro.metrics.npz import ARRAY, write_npz
from hdit_repro.records.layout import RunFolder
from hdit_repro.stages.imagesets import open_images
from hdit_repro.stages.shards import Shard, read_tensors, refuse_missing, whole_shards


class SampleSet:
    """The kept samples of a run as an `ImageSet`, in the order of their numbers.

    Raises:
        RunError: samples are missing, or their images were not kept.
    """

    def __init__(self, folder: RunFolder, name: str, fix: str) -> None:
        self.folder, self.name = folder, name
        self.remarks: Counter[str] = Counter()
        self.skipped: list[tuple[str, str]] = []
        self.count = folder.run.sampling.count
        self.size = (folder.run.data.resolution, folder.run.data.resolution)
        self.digest = folder.run.sampling_id
        self._shards, damaged = whole_shards(folder)
        refuse_missing(self._shards, damaged, folder, fix)
        refuse_bare(self._shards, folder, name, fix)

    def batches(self, size: int) -> Iterator[Tensor]:
        """The samples in order: uint8 B 3 H W, B of `size` but for the last."""
        waiting: list[Tensor] = []
        for _, tensors in read_tensors(self.folder, self._shards, "image"):
            waiting.append(tensors["image"])
            held = torch.cat(waiting)
            whole = len(held) - len(held) % size
            for first in range(0, whole, size):
                yield held[first : first + size]
            waiting = [held[whole:]]
        if waiting and len(waiting[0]):
            yield waiting[0]

    def labels(self) -> list[int] | None:
        """The class of each sample, or None where there are no classes."""
        found = [tensors["label"] for _, tensors in read_tensors(self.folder, self._shards, "label") if tensors]
        return torch.cat(found).tolist() if found else None


def refuse_bare(shards: Sequence[Shard], folder: RunFolder, name: str, fix: str) -> None:
    """Refuse shards that hold features alone.

    Raises:
        RunError: there are some.
    """
    bare = [shard for shard in shards if not shard.images]
    if bare:
        raise RunError(
            f"the images of {name} were not kept",
            found=f"{counted(sum(shard.count for shard in bare), 'sample')} with features alone in {folder.samples}",
            expected="samples drawn with --keep-images zip or npz",
            fix=f"delete {folder.samples}, then: {fix} --keep-images zip",
        )


def is_whole(path: Path) -> bool:
    """Whether an exported file is there and every member matches its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def export(samples: SampleSet, path: Path, batch: int = 64) -> Path:
    """Write all samples to `path`, whole or not at all: .npz (uint8 N H W 3 as arr_0) or .zip (PNGs, dataset.json).

    Raises:
        UserError: another ending.
        RunError: the disk is full.
    """
    check_ending(path)
    if path.suffix == ".npz":
        write_npz(path, samples.count, samples.batches(batch))
    else:
        _write_zip(path, samples, batch)
    return path


def holds(path: Path, samples: SampleSet, batch: int = 64) -> bool:
    """Whether a file is what `export` writes of these samples: its members, pixels and labels. Looks no further than
    the first difference."""
    names = [f"{ARRAY}.npy"] if path.suffix == ".npz" else [*map(member_name, range(samples.count)), LABELS]
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.namelist() != names:
                return False
            listed = None if path.suffix == ".npz" else json.loads(archive.read(LABELS))
        if listed is not None and listed != _listed(names[:-1], samples):
            return False
        there = open_images(path)
        if (there.count, there.size) != (samples.count, samples.size):
            return False
        pairs = zip(there.batches(batch), samples.batches(batch), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)
    except (UserError, OSError, ValueError, zipfile.BadZipFile, zlib.error):
        return False


def check_ending(path: Path) -> None:
    """Refuse a file of another format than the two.

    Raises:
        UserError: it has another ending.
    """
    if path.suffix not in (".npz", ".zip"):
        raise UserError(
            "samples are exported to one of two formats",
            found=str(path),
            expected="a path to .npz or .zip",
            fix=f"name it {path.stem or 'samples'}.npz",
        )


def _write_zip(path: Path, samples: SampleSet, batch: int) -> None:
    """PNGs in folders of a thousand, and the labels, in the layout of StyleGAN, EDM and EDM2."""
    names: list[str] = []
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for pixels in samples.batches(batch):
            for picture in rearrange(pixels, "b c h w -> b h w c").contiguous().numpy():
                names.append(member_name(len(names)))
                data = io.BytesIO()
                Image.fromarray(picture).save(data, "PNG", compress_level=1)
                archive.writestr(zipfile.ZipInfo(names[-1], EPOCH), data.getvalue())
        archive.writestr(zipfile.ZipInfo(LABELS, EPOCH), json.dumps(_listed(names, samples)))


def _listed(names: Sequence[str], samples: SampleSet) -> dict[str, list[list[str | int]] | None]:
    """What dataset.json says of the samples under their names."""
    labels = samples.labels()
    return {"labels": None if labels is None else [list(pair) for pair in zip(names, labels, strict=True)]}
