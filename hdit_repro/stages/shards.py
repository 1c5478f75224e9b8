"""Shards of samples: features by number, and images where they are kept. Each is whole or redone.

samples/<sampling id>/shard-00000000-00000064.safetensors
    number (B, int64), label (B, int64, where there are classes), features.<extractor>.<name> (B, width, float32),
    image (B 3 H W, uint8, where kept)
samples/<sampling id>/manifest.json
    {"sampling", "count", "complete", "shards": [{"file", "first", "count", "sha256", "images"}]}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.files import lock, read_json, sha256_file, write_bytes, write_json
from hdit_repro.jobs import Job
from hdit_repro.records.layout import RunFolder

_NAME = re.compile(r"shard-(\d{8,})-(\d{8,})\.safetensors")


@dataclass(frozen=True)
class Shard:
    """One shard as the manifest knows it: samples first ... first + count - 1."""

    file: str
    first: int
    count: int
    sha256: str
    images: bool

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


def write_shard(folder: RunFolder, numbers: range, tensors: dict[str, Tensor]) -> None:
    """Write samples `numbers` and enter them in the manifest, but for those that another process has entered."""
    with lock(folder.samples / "manifest.lock"):
        listed = _listed(folder)
        for part in chunks(missing_numbers(listed, numbers), max(1, numbers.stop)):
            name = f"shard-{part.start:08d}-{part.stop:08d}.safetensors"
            rows = slice(part.start - numbers.start, part.stop - numbers.start)
            own = {key: value[rows].contiguous() for key, value in tensors.items()}
            write_bytes(folder.samples / name, save(own, {"sampling": folder.run.sampling_id}))
            digest = sha256_file(folder.samples / name)
            listed.append(Shard(name, part.start, len(part), digest, "image" in tensors))
        _write_manifest(folder, listed)


def whole_shards(folder: RunFolder) -> tuple[list[Shard], list[str]]:
    """Shards that match their digests, and the names of those that do not. Damaged ones leave the manifest, and those
    that hold a sample a second time; where nothing has to leave, nothing is written, so that reading is enough. A
    manifest that lists all samples and does not say so is closed.

    Raises:
        RunError: the disk does not give one back.
    """
    listed = _listed(folder)
    if all(_matches(folder.samples / shard.file, shard.sha256) for shard in listed) and _once(listed) == listed:
        if not folder.done("sample") and not missing_numbers(listed, range(folder.run.sampling.count)):
            with lock(folder.samples / "manifest.lock"):
                _write_manifest(folder, listed)
        return listed, []
    with lock(folder.samples / "manifest.lock"):
        listed = _listed(folder)
        whole = [shard for shard in listed if _matches(folder.samples / shard.file, shard.sha256)]
        damaged = [shard.file for shard in listed if shard not in whole]
        once = _once(whole)
        if once != listed:
            _write_manifest(folder, once)
    return once, damaged


def missing_numbers(shards: list[Shard], wanted: range) -> list[int]:
    """The sample numbers of `wanted` that no whole shard holds."""
    held = {number for shard in shards for number in shard.numbers}
    return [number for number in wanted if number not in held]


def refuse_missing(shards: list[Shard], damaged: list[str], folder: RunFolder, fix: str) -> None:
    """Refuse shards that do not hold all samples of a run.

    Raises:
        RunError: some are missing.
    """
    count = folder.run.sampling.count
    missing = missing_numbers(shards, range(count))
    if missing:
        raise RunError(
            f"{counted(len(missing), 'sample')} missing",
            found=f"{folder.samples}" + (f", damaged: {', '.join(damaged)}" if damaged else ""),
            expected=counted(count, "sample"),
            fix=fix,
        )


def sample_command(job: Job) -> str:
    """What draws the samples of a run."""
    return f"hdit-repro sample --run {quote(job.name)} --scale {job.scale}{job.on_data}"


def chunks(numbers: list[int], size: int) -> Iterator[range]:
    """Consecutive runs of `numbers` (ascending), each of at most `size`, cut at multiples of `size`."""
    start = 0
    for at in range(1, len(numbers) + 1):
        ends = at == len(numbers) or numbers[at] != numbers[at - 1] + 1 or numbers[at] % size == 0
        if ends:
            yield range(numbers[start], numbers[at - 1] + 1)
            start = at


def read_tensors(folder: RunFolder, shards: list[Shard], prefix: str) -> Iterator[tuple[Shard, dict[str, Tensor]]]:
    """For each shard in order of its numbers, the tensors whose names begin with `prefix`, one shard at a time."""
    for shard in sorted(shards, key=lambda shard: shard.first):
        with safe_open(folder.samples / shard.file, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            yield shard, {name: file.get_tensor(name) for name in names}


def _once(shards: list[Shard]) -> list[Shard]:
    """Shards without those that share a sample with one before."""
    kept: list[Shard] = []
    for shard in sorted(shards, key=lambda shard: (shard.first, -shard.count)):
        if not kept or shard.first >= kept[-1].numbers.stop:
            kept.append(shard)
    return kept


def _matches(path: Path, digest: str) -> bool:
    """Whether a shard is there and unchanged. One that cannot be read is not damaged: it may be there the next time.

    Raises:
        RunError: the disk does not give it back.
        PermissionError: it is kept from this user, and nothing is wrong with it.
    """
    try:
        return path.is_file() and sha256_file(path) == digest
    except PermissionError:
        raise
    except OSError as error:
        raise RunError(
            "a shard of samples cannot be read",
            found=f"{path}: {error.strerror}",
            expected="a disk that gives back what was written to it",
            fix="run the same command again; where this comes back, delete that file: its samples are drawn again",
        ) from error


def _listed(folder: RunFolder) -> list[Shard]:
    """The manifest's shards; one that is missing, damaged or of another set lists none, so that they are made again.
    Neither does a shard count whose numbers are not those of its name."""
    try:
        manifest: dict[str, Any] = read_json(folder.manifest)
        shards = msgspec.convert(manifest["shards"], list[Shard])
        own = manifest.get("sampling", folder.run.sampling_id) == folder.run.sampling_id
    except (UserError, KeyError, TypeError, msgspec.ValidationError):
        return []
    return [shard for shard in shards if own and shard.numbers == _named(shard.file)]


def _named(file: str) -> range | None:
    """The numbers in a shard's name; None where it is no shard's."""
    found = _NAME.fullmatch(file)
    return range(int(found[1]), int(found[2])) if found else None


def _write_manifest(folder: RunFolder, shards: list[Shard]) -> None:
    ordered = sorted(shards, key=lambda shard: shard.first)
    count = folder.run.sampling.count
    write_json(
        folder.manifest,
        {
            "sampling": folder.run.sampling_id,
            "count": count,
            "complete": not missing_numbers(ordered, range(count)),
            "shards": [asdict(shard) for shard in ordered],
        },
    )
