"""Draw a run's samples, measure their features as they come, and keep images where asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from msgspec import UNSET
from torch import Tensor, nn

from hdit_repro.data.grid import save_grid
from hdit_repro.errors import UserError
from hdit_repro.jobs import Job
from hdit_repro.metrics.extractors import FeatureExtractor, build_extractor
from hdit_repro.models.build import build
from hdit_repro.records.imported import remedy
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.run import Run
from hdit_repro.stages import external
from hdit_repro.stages.calling import called, way_gone, way_here
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.stages.device import device_name, prepare
from hdit_repro.stages.export import SampleSet, export, is_whole, refuse_bare
from hdit_repro.stages.pieces import InPieces
from hdit_repro.stages.settings import Progress, Report, Settings
from hdit_repro.stages.shards import (
    Shard,
    chunks,
    missing_numbers,
    read_tensors,
    sample_command,
    whole_shards,
    write_shard,
)
from hdit_repro.stages.spent import add_drawn
from hdit_repro.training.checkpoint import read_final, read_snapshot
from hdit_repro.training.ema import written
from hdit_repro.training.state import load_exactly

KEEP_BYTES = 256 << 20
"""Up to how many bytes of images are kept when nobody says."""
GRID = 64
"""How many of the first samples are shown in grid.png, and always kept as images."""

Told = Callable[..., None]
"""Called with how many of the missing samples are there, a note, and values by name."""


def run(job: Job, folder: RunFolder, settings: Settings, report: Report, numbers: range | None = None) -> Path:
    """Draw the samples of `job` that are missing, all or those of `numbers`; returns the manifest.

    Raises:
        RunError: the run is not trained, its network is damaged, or the card does not hold a sample.
        UserError: the feature network's weights are missing.
    """
    device = prepare(settings)
    wanted = range(job.run.sampling.count) if numbers is None else numbers
    folder.samples.mkdir(parents=True, exist_ok=True)
    shards, damaged = whole_shards(folder)
    todo = missing_numbers(shards, wanted)
    keep = keeps_images(job.run, settings, shards)
    if settings.keep_images in ("zip", "npz"):  # before hours are spent on samples that cannot be written whole
        refuse_bare(shards, folder, job.name, sample_command(job))
    if damaged:
        report(Progress("sample", 0, len(wanted), f"damaged and redone: {', '.join(damaged)}"))

    def told(drawn: int, note: str, **values: float) -> None:
        report(Progress("sample", len(wanted) - len(todo) + drawn, len(wanted), note, values))

    if todo:
        extractor = build_extractor(job.run.evaluation.extractor, device)
        if job.run.external:
            _take(job.run, folder, extractor, todo, keep, settings, told)
        else:
            network = trained_network(job.run, folder, device)
            _draw(job.run, folder, network, extractor, todo, keep, settings, told)
    show_first(folder)
    if settings.keep_images in ("zip", "npz") and folder.done("sample"):
        write_images(job, folder, settings.keep_images)
    return folder.manifest


def show_first(folder: RunFolder) -> None:
    """Draw the first samples as one PNG, where all samples are there and it is not: a process that was killed after its
    last shard leaves it to whoever comes next."""
    if folder.done("sample") and not folder.grid.exists() and len(images := first_images(folder, GRID)):
        save_grid(images, folder.grid, columns=8)


def write_images(job: Job, folder: RunFolder, kind: str) -> Path:
    """The samples as one file, "zip" or "npz", beside their shards; returns it. One that is there and whole stays: one
    sampling id has one set of images. A damaged one is written again.

    Raises:
        RunError: their images were not kept when they were drawn.
    """
    path = folder.samples / f"images.{kind}"
    if not is_whole(path):
        export(SampleSet(folder, job.name, sample_command(job)), path)
    return path


def trained_network(run: Run, folder: RunFolder, device: torch.device) -> nn.Module:
    """The network of the final checkpoint, or of an earlier step, with the weights that samples are drawn from.

    Raises:
        RunError: there is no such checkpoint, or it is damaged.
        UserError: it belongs to another configuration, or the average that is asked for was not kept.
    """
    network, step, decay = build(run.model, seed=run.seed), run.sampling.at_step, run.sampling.ema_decay
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    if step is UNSET:
        kept = read_final(folder.checkpoints, run.training_id, remedy(run))
        load_exactly(dict(network.state_dict()), kept.under("network."))
    else:
        kept = read_snapshot(folder.checkpoints, step, run.training_id)
        load_exactly(dict(network.named_buffers()), kept.under("network."))
    if run.sampling.weights == "ema":
        other = "" if decay is UNSET else written(decay)
        average = kept.under(f"ema@{other}." if other else "ema.")
        if not average:
            raise UserError(
                "the training did not keep the average that samples are asked of",
                found=f"none of decay {other} in {folder.checkpoints}",
                expected="an average that was kept from the first step",
                fix=f"delete {folder.path} and train again with --ema-decay {other}",
            )
        load_exactly(parameters, average)
    return network.to(device).eval()


def _draw(
    run: Run,
    folder: RunFolder,
    network: nn.Module,
    extractor: FeatureExtractor,
    todo: list[int],
    keep: bool,
    settings: Settings,
    told: Told,
) -> None:
    """Draw `todo` in shards of one batch each, and write each as it is done."""
    device = next(network.parameters()).device
    done, steps, calls, started = 0, 0, run.sampling.sampler.calls, time.monotonic()

    def on_step() -> None:
        nonlocal steps
        steps += 1
        part = int(len(numbers) * min(1.0, steps / calls))
        told(done + part, f"{kind_of(run.sampling.sampler)} step {steps} of {calls}")

    parts, way = list(chunks(todo, settings.batch)), way_here(settings.sampling.network, device)
    rows = max(map(len, parts)) * (1 if run.sampling.guidance == 1 else 2)
    call = called(network, way, rows)
    drawer, numbers = InPieces(Drawer(run, call, device, on_step)), range(0)
    for numbers in parts:
        steps, began = 0, time.monotonic()
        images, labels = drawer(list(numbers))
        tensors = _measured(extractor, numbers, images, keep)
        if labels is not None:
            tensors["label"] = labels
        add_drawn(folder, time.monotonic() - began, device_name(extractor.device), way_gone(call, way))
        write_shard(folder, numbers, tensors)
        done += len(numbers)
        rate = done / (time.monotonic() - started)
        told(done, f"{rate:.2f} images/s", images_per_s=rate)


def _take(
    run: Run,
    folder: RunFolder,
    extractor: FeatureExtractor,
    todo: list[int],
    keep: bool,
    settings: Settings,
    told: Told,
) -> None:
    """Measure somebody's images of the numbers `todo`, and write each shard as it is done."""
    done, began = 0, time.monotonic()
    for numbers, images in external.batches(external.images_of(run), todo, settings.batch):
        tensors = _measured(extractor, numbers, images, keep)
        add_drawn(folder, time.monotonic() - began, device_name(extractor.device))
        began = time.monotonic()
        write_shard(folder, numbers, tensors)
        done += len(numbers)
        told(done, "features of the images")


def _measured(extractor: FeatureExtractor, numbers: range, images: Tensor, keep: bool) -> dict[str, Tensor]:
    """What a shard holds of the images of `numbers`, but for their labels."""
    tensors = features_of(extractor, images)
    tensors["number"] = torch.tensor(list(numbers), dtype=torch.int64)
    if numbers.start < GRID or keep:
        tensors["image"] = images
    return tensors


def keeps_images(run: Run, settings: Settings, shards: Sequence[Shard] = ()) -> bool:
    """Whether images are kept beside their features. "auto" goes on with a set whose images were kept so far."""
    size = run.sampling.count * run.model.channels * run.data.resolution**2
    so_far = any(shard.images and shard.first >= GRID for shard in shards)
    return settings.keep_images in ("zip", "npz") or (settings.keep_images == "auto" and (size <= KEEP_BYTES or so_far))


def features_of(extractor: FeatureExtractor, images: Tensor) -> dict[str, Tensor]:
    """Features of uint8 images (B 3 H W) under the names that shards use, float32 on the CPU."""
    found = extractor.features(images)
    return {f"features.{extractor.name}.{name}": value.float().cpu().contiguous() for name, value in found.items()}


def first_images(folder: RunFolder, count: int) -> Tensor:
    """The first `count` samples as uint8, B 3 H W, fewer where the run has fewer or their images are not there."""
    shards, _ = whole_shards(folder)
    early = [shard for shard in shards if shard.first < count and shard.images]
    found = [tensors["image"] for _, tensors in read_tensors(folder, early, "image")]
    return torch.cat(found)[:count] if found else torch.empty(0, dtype=torch.uint8)
