"""Checkpoints of others in, ours out. Only tensors are ever read: safetensors, or torch files with `weights_only`."""

from __future__ import annotations

import json
import re
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.serialization import safe_globals

from hdit_repro.errors import UserError
from hdit_repro.files import lock, refuse_other, sha256_file, write_bytes, write_json
from hdit_repro.jobs import Job
from hdit_repro.models.export import k_diffusion_config
from hdit_repro.models.interop import fill_dit, fill_k_diffusion, to_k_diffusion
from hdit_repro.models.released import check_square, configuration, dit, k_diffusion, k_diffusion_sigmas
from hdit_repro.records.imported import remedy
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.model import Hourglass, Model
from hdit_repro.stages.model_card import write_card
from hdit_repro.training.checkpoint import read_final, save_checkpoint

Origin = Literal["k-diffusion", "dit"]
AVERAGES = ("model_ema", "ema")
"""Under which keys released training files keep the averaged weights: k-diffusion's, DiT's."""


class Released(NamedTuple):
    """A network of others: its spec, itself (float32, CPU), the file's digest, and what the file says of its diffusion
    and of its sampling (fields of `spec.diffusion.Edm` and `spec.sampling.Sampling`)."""

    model: Model
    network: nn.Module
    sha256: str
    diffusion: dict[str, float]
    sampling: dict[str, float]


def read_released(origin: Origin, path: Path, config: Path | None = None) -> Released:
    """Read a released checkpoint.

    Args:
        origin: whose file it is.
        path: .safetensors, or a torch file (.pth, .pt) with a state dict or a training state that holds averages.
        config: its configuration; None takes the one that k-diffusion keeps in the file itself.

    Raises:
        UserError: missing, damaged, more than tensors in it, no configuration, or one that does not fit the tensors.
    """
    if path.is_dir():
        raise UserError(
            "a checkpoint is a folder",
            found=str(path),
            expected="one file of weights",
            fix="name the file in it; what torch.distributed.checkpoint wrote in parts becomes a file by: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt",
        )
    if not path.is_file():
        raise UserError(
            "a checkpoint is missing",
            found=str(path),
            expected="a file of weights",
            fix="check the path; relative ones are taken from the current folder",
        )
    tensors, own = _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path)
    said, source = (own, path) if config is None else (configuration(config), config)
    if said is None:
        raise UserError(
            "a checkpoint comes without its configuration",
            found=str(path),
            expected="a configuration inside (k-diffusion), or in a file",
            fix="--config CONFIG.json",
        )
    if config is None and isinstance(said, dict) and "evaluation" in said:
        raise UserError(
            "these weights have the names and the configuration of this project, not the released code's",
            found=f"{path}, as `export-weights --to safetensors` writes it",
            expected=f"a checkpoint of {origin}",
            fix="hdit-repro export-weights --run RUN --to k-diffusion FILE, and import that; or bring the run's own "
            "folder, runs/ID, which needs no import",
        )
    weights = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}  # no two share their memory
    if origin == "dit":
        spec = dit(said, source)
        return _of_runs_here(Released(spec, fill_dit(spec, weights, path), sha256_file(path), {}, {}), path)
    model = k_diffusion(said, source)
    network = fill_k_diffusion(model, weights, path)
    sampling = k_diffusion_sigmas(said, source)
    diffusion = {"sigma_data": sampling.pop("sigma_data")}
    released = _of_runs_here(Released(model, network, sha256_file(path), diffusion, sampling), path)
    check_square(said, source)
    return released


def _of_runs_here(released: Released, path: Path) -> Released:
    """The published DiT checkpoints work on the four channels of an autoencoder's latents, which no data set here has.

    Raises:
        UserError: the network's images are not RGB, or it takes a condition that no run has.
    """
    if released.model.channels != 3:
        raise UserError(
            "a network does not work on pixels",
            found=f"{path}: {released.model.channels} channels",
            expected="3 channels, red, green and blue; latents of an autoencoder cannot be sampled or evaluated here",
            fix="measure its decoded images: hdit-repro import --from images",
        )
    if isinstance(released.model, Hourglass) and released.model.mapping_cond:
        raise UserError(
            "a network takes a condition that no data set here has",
            found=f"{path}: mapping_cond_dim {released.model.mapping_cond}",
            expected="classes and augmentation at most",
            fix="measure images that its own code draws: hdit-repro import --from images",
        )
    return released


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        open(path, "rb").close()  # safetensors says of a file that may not be read that there is none
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("config")
        return load_file(path), None if text is None else json.loads(text)
    except PermissionError:
        raise
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(
            "a checkpoint is damaged",
            found=f"{path}: {error}",
            expected="a safetensors file",
            fix="get or export it again",
        ) from error


def _torch(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        # Of odd pickles it warns before it refuses them. DiT's training keeps its command line as a Namespace.
        with warnings.catch_warnings(action="ignore"), safe_globals([Namespace]):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a file of any bytes: the unpickler raises KeyError, IndexError and more
        raise UserError(
            "a checkpoint is damaged, or holds more than tensors and plain values",
            found=f"{path}: {_refused(error)}",
            expected="a file that torch.load(weights_only=True) takes",
            fix="save its state dict as safetensors where it comes from",
        ) from error
    held = value if isinstance(value, dict) else {}
    state = next((held[key] for key in AVERAGES if key in held), value)
    if not _is_state(state):
        raise _no_state(path, value)
    config = held.get("config")
    return {str(name): tensor for name, tensor in state.items()}, config if isinstance(config, dict) else None


def _refused(error: Exception) -> str:
    """What torch did not take of a file, in a line: what it would run there, where it says so. Its advice to run that
    after all is left out."""
    if run := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
        return f"{run[1]} in it"
    if "weights_only" in str(error):
        return "bytes that torch.save does not write"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _no_state(path: Path, value: object) -> UserError:
    """The error of a file that is no state dict and has no averages; where one of its parts is a state dict, how to
    take that out, which nobody does unasked: it may be the weights without their average."""
    held = value if isinstance(value, dict) else {}
    parts = {key: len(part) if _is_state(part) else 0 for key, part in held.items()}
    shown = ", ".join(f"{key!r} ({count} tensors)" if count else repr(key) for key, count in parts.items())
    whole = sorted((key for key, count in parts.items() if count), key=lambda key: "ema" not in str(key))
    fix = "save its state dict as safetensors where it comes from"
    if whole:
        load = f"torch.load({str(path)!r}, weights_only=True)[{whole[0]!r}]"
        fix = f"where {whole[0]!r} is the average that is to be measured, take it out and import weights.pt: "
        fix += f"python -c \"import torch; torch.save({load}, 'weights.pt')\""
    return UserError(
        "a checkpoint holds no state dict" + (" where it is looked for" if whole else ""),
        found=f"{path}: {shown[:200] or type(value).__name__}",
        expected=f"tensors by name, or such a dict under {' or '.join(map(repr, AVERAGES))}",
        fix=fix,
    )


def _is_state(value: object) -> bool:
    """Whether it is tensors by name, one at least."""
    return isinstance(value, dict) and bool(value) and all(map(_is_whole, value.values()))


def _is_whole(value: object) -> bool:
    """Whether it is a tensor with all its values: sparse ones and those of torch's "meta" device have none, or few."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta


def put(job: Job, folder: RunFolder, released: Released) -> Path:
    """Make a released network the finished training of a run; returns its final marker.

    Raises:
        UserError: the run's network is another, or the run is of other weights.
    """
    if job.run.training.imported != released.sha256 or job.run.model != released.model:
        raise UserError(
            "a run is of other weights",
            found=f"{job.name}: {job.run.training.imported}",
            expected=released.sha256,
            fix="import under another --name, or delete the run's folder",
        )
    tensors = {f"network.{name}": value.detach().contiguous() for name, value in released.network.state_dict().items()}
    parameters = released.network.named_parameters()
    tensors |= {f"ema.{name}": value.detach().clone().contiguous() for name, value in parameters}
    with lock(folder.lock("train")):
        marker = save_checkpoint(folder.checkpoints, tensors, 0, job.run.training_id)
        write_json(folder.final_marker, {**marker, "summary": {}})
        write_card(job, folder)
    return folder.final_marker


def export_weights(job: Job, folder: RunFolder, form: Literal["k-diffusion", "safetensors"], path: Path) -> Path:
    """Write the averaged weights of a trained run, its configuration in the file's metadata.

    `k-diffusion` writes its names and its configuration under `config`, where its own loader looks; `safetensors`
    writes our names and the run's spec.

    Raises:
        UserError: k-diffusion's code has no such network, or another file stands there.
        RunError: the run is not trained, or its checkpoint is damaged.
    """
    run = job.run
    metadata = {"run": run.training_id, "name": job.name, "scale": job.scale}
    if form == "k-diffusion":
        metadata["config"] = json.dumps(k_diffusion_config(run), sort_keys=True)
    else:
        metadata["config"] = msgspec.json.encode(run).decode()
    trained = read_final(folder.checkpoints, run.training_id, remedy(run))
    state = trained.under("network.") | trained.under("ema.")
    if form == "k-diffusion":
        state = to_k_diffusion(state)
    data = save({name: value.contiguous() for name, value in state.items()}, metadata)
    refuse_other(path, "the weights", lambda: _parts(path.read_bytes()) == _parts(data))
    write_bytes(path, data)
    return path


def _parts(data: bytes) -> tuple[object, bytes]:
    """The header and the tensors of a file of weights: the library writes the header's keys in any order."""
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8:end]), data[end:]
    except ValueError:  # none of its files
        return None, data
