"""Every value that cannot be is refused when a run is read, with a word of why."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.spec.data import Folder
from hdit_repro.spec.external import External
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Phase
from hdit_repro.spec.unet import UNet

NEVER = -1

REFUSED: dict[str, list[tuple[str, Any, str]]] = {
    "E": [
        ("data.resolution", 0, "side of 1 to"),
        ("data.resolution", 64, "is not data.resolution 64"),
        ("diffusion.sigma_min", 0.0, "0 < sigma_min"),
        ("diffusion.sigma_max", 1e-3, "0 < sigma_min"),
        ("diffusion.sigma_data", 0.0, "0 < sigma_min"),
        ("diffusion.weighting.gamma", 0.0, "gamma"),
        ("diffusion.density.noise_d_low", 0.0, "noise_d_low"),
        ("diffusion.density.noise_d_high", NEVER, "noise_d_high"),
        ("model.widths", [], "at least one level"),
        ("model.depths", [2], "depths names 1 levels"),
        ("model.heads", [6], "heads names 1 levels"),
        ("model.dropout", [0.0], "dropout names 1 levels"),
        ("model.dropout", [0.0, 1.0], "dropout must be in"),
        ("model.d_ffs", [3], "d_ffs names 1 levels"),
        ("model.depths", [0, 11], "sizes start at 1"),
        ("model.depths", [2, 2**31], "sizes of a network end at"),
        ("model.d_ffs", [1152, 2**31], "sizes of a network end at"),
        ("model.classes", 2**31, "sizes of a network end at"),
        ("model.mapping_cond", 2**31, "sizes of a network end at"),
        ("model.mapping.d_ff", 2**31, "sizes of a network end at"),
        ("model.feed_forward.ratio", 0, "hidden widths of the feed-forward start at 1"),
        ("model.feed_forward.ratio", NEVER, "hidden widths of the feed-forward start at 1"),
        ("model.d_ffs", [1152, 0], "hidden widths of the feed-forward start at 1"),
        ("model.augmentation_cond", NEVER, "conditions start at 0"),
        ("model.mapping_cond", NEVER, "conditions start at 0"),
        ("model.mapping_cond", 4, "all that a run conditions on"),
        ("model.patch", [4, 4], "one number"),
        ("model.heads", [5, 12], "no multiple of 5 heads"),
        ("model.heads", [96, 12], "no multiple of 8"),
        ("model.classes", 999, "is not the 1000"),
        ("model.similarity.initial_scale", 0.0, "initial_scale"),
        ("model.mapping.depth", 0, "must be positive"),
        ("model.mapping.width", 769, "must be even"),
        ("model.mapping.dropout", 1.0, "dropout must be in"),
        ("model.attention", [{"kind": "neighborhood", "kernel": 6}, {"kind": "global"}], "kernel must be odd"),
        ("model.attention", [{"kind": "shifted-window", "window": 1}, {"kind": "global"}], "at least 2"),
        ("training.imported", "abc", "imported is SHA-256"),
        ("training.steps", 0, "start at 1"),
        ("training.batch", 0, "start at 1"),
        ("training.clip", NEVER, "clip"),
        ("training.class_dropout", 1.1, "class_dropout is a probability"),
        ("training.augmentation", NEVER, "augmentation is a probability"),
        ("training.ema.decay", 1.0, "decay must be in"),
        ("training.ema.warmup_power", NEVER, "warmup_power"),
        ("training.optimizer.learning_rate", 0.0, "learning_rate"),
        ("training.optimizer.betas", [0.9, 1.0], "betas"),
        ("training.optimizer.weight_decay", NEVER, "weight_decay"),
        ("training.optimizer.eps", 0.0, "eps"),
        ("training.optimizer.groups.mapping_rate", NEVER, "mapping_rate"),
        ("sampling.sampler.steps", 0, "steps start at 1"),
        ("sampling.sampler.eta", NEVER, "eta"),
        ("sampling.sampler", {"kind": "ancestral", "steps": 50}, "does not go with edm"),
        ("sampling.count", 1, "two samples"),
        ("sampling.rho", 0.0, "rho"),
        ("sampling.at_step", 0, "at_step starts at 1"),
        ("sampling.sigma_min", 0.0, "0 < sampling.sigma_min < sampling.sigma_max"),
        ("sampling.sigma_max", 1e-3, "0 < sampling.sigma_min < sampling.sigma_max"),
        ("sampling.sigma_max", inf, "sigma_max must be finite"),
        ("sampling.at_step", 400_001, "beyond the last step"),
        ("sampling.ema_decay", 1.0, "ema_decay must be in"),
        ("seed", NEVER, "seed starts at 0"),
        ("seed", 2**63, "seed must fit int64"),
        ("data.resolution", 2**40, "side of 1 to 65535"),
        ("diffusion.sigma_max", inf, "sigma_max must be finite"),
        ("diffusion.weighting.gamma", nan, "gamma must be finite"),
        ("model.channels", 4, "3 channels"),
        ("model.dropout", [0.0, nan], "dropout must be finite"),
        ("model.similarity.initial_scale", inf, "initial_scale must be finite"),
        ("training.steps", 99999999999999999999999, "steps must fit int64"),
        ("training.batch", 10_000_000_000, "batch is at most"),
        ("training.growth", [{"steps": 2**62, "batch": 4}], "steps times batch"),
        ("training.optimizer.learning_rate", inf, "learning_rate must be finite"),
        ("training.optimizer.betas", [0.9, nan], "betas must be finite"),
        ("training.optimizer.eps", 1e39, "eps must be finite"),
        ("training.optimizer.eps", 1e-40, "eps must be finite"),
        ("training.ema.warmup_power", inf, "warmup_power must be finite"),
        ("sampling.guidance", nan, "guidance must be finite"),
        ("sampling.guidance", -inf, "guidance must be finite"),
        ("sampling.rho", inf, "rho must be finite"),
        ("sampling.seed", NEVER, "seed starts at 0"),
        ("sampling.ema_decay", nan, "ema_decay must be finite"),
        ("sampling.sampler.eta", nan, "eta must be finite"),
        ("evaluation.metrics", ["frechet", "frechet"], "each metric is named once"),
        ("evaluation.metrics", [], "at least one metric"),
        ("evaluation.extractor", {"kind": "efficientnet-lite0"}, "inception-score is not defined"),
        ("evaluation.reference", {"kind": "dataset", "count": 3}, "four images"),
        ("evaluation.reference", {"kind": "dataset", "count": 1_281_168}, "more than the 1281167 images of imagenet"),
        ("evaluation.reference", {"kind": "adm", "name": "VIRTUAL_imagenet256_labeled"}, "is of 256², and data.res"),
    ],
    "R1": [
        ("diffusion.timesteps", 20, "21 timesteps"),
        ("diffusion.timesteps", 249, "more steps than the diffusion"),
        ("diffusion.data_scale", 0.0, "data_scale"),
        ("diffusion.data_scale", inf, "data_scale must be finite"),
        ("model.ratio", nan, "ratio must be finite"),
        ("model.ratio", 0.001, "hidden width starts at 1"),
        ("model.depth", 0, "sizes start at 1"),
        ("model.channels", -1, "sizes start at 1"),
        ("model.classes", -1, "classes start at 0"),
        ("model.heads", 5, "no multiple of 5 heads"),
        ("model.patch", 3, "cut into patches of 3"),
        ("model.class_dropout", 2.0, "class_dropout is a probability"),
        ("model.class_dropout", 0.0, "a class that stands for none"),
        ("model.class_dropout", 0.2, "training.class_dropout 0.1, which is how often"),
        ("training.class_dropout", 0.2, "model.class_dropout 0.1 is not training.class_dropout 0.2"),
        ("model.learn_sigma", False, "learn_sigma must be true"),
        ("model.time", {"kind": "log-sigma"}, "do not go together"),
        ("training.augmentation", 0.1, "nine-value condition"),
        ("sampling.sampler.steps", 1, "2 steps or more"),
        ("sampling.sigma_max", 160.0, "gaussian diffusion has its own"),
        ("sampling.rho", 3.0, "gaussian diffusion has its own"),
    ],
    "R3": [
        ("model.skip", {"kind": "concat"}, "a network of one level has none to join"),
        ("model.skip", {"kind": "add"}, "a network of one level has none to join"),
    ],
    "R2": [("model.learn_sigma", True, "learn_sigma must be false")],
}


@pytest.mark.parametrize(("row", "path", "value", "why"), [(row, *case) for row in REFUSED for case in REFUSED[row]])
def test_a_run_with_a_value_that_cannot_be_is_refused(row: str, path: str, value: Any, why: str) -> None:
    tree = msgspec.to_builtins(jobs.find(f"table1/{row}").run)
    msgspec.convert(tree, Run)
    *parents, last = path.split(".")
    at = tree
    for name in parents:
        at = at[name]
    at[last] = value
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert(tree, Run)


@pytest.mark.parametrize(("field", "value"), [("guidance", 1.5), ("guidance", 0.0), ("labels", "balanced")])
def test_what_is_of_classes_is_refused_of_a_network_without_any(field: str, value: Any) -> None:
    """Guidance had been refused once the samples were to be drawn, and labels never."""
    tree = msgspec.to_builtins(jobs.find("ffhq1024").run)
    tree["sampling"][field] = value
    with pytest.raises(msgspec.ValidationError, match="without labels a network has none"):
        msgspec.convert(tree, Run)


def test_an_imported_network_needs_no_dropped_class_unless_it_is_guided() -> None:
    tree = msgspec.to_builtins(jobs.find("table1/R1").run)
    tree["model"]["class_dropout"], tree["training"]["imported"] = 0.0, "0" * 64
    msgspec.convert(tree, Run)
    tree["sampling"]["guidance"] = 2.0
    with pytest.raises(msgspec.ValidationError, match="a class that stands for none"):
        msgspec.convert(tree, Run)


def test_a_ratio_beside_the_hidden_widths_that_it_would_give_is_refused() -> None:
    tree = msgspec.to_builtins(jobs.find("table1/E").run)
    tree["model"]["d_ffs"] = [1152, 2304]
    msgspec.convert(tree, Run)
    tree["model"]["feed_forward"]["ratio"] = 4
    with pytest.raises(msgspec.ValidationError, match=r"feed_forward.ratio says nothing: leave it at 3"):
        msgspec.convert(tree, Run)


@pytest.mark.parametrize(("field", "value"), [("weights", "raw"), ("at_step", 3), ("ema_decay", 0.9)])
def test_an_imported_network_has_no_other_weights(field: str, value: Any) -> None:
    """`raw` gave the same samples under another id, and the others failed when they were to be drawn."""
    tree = msgspec.to_builtins(jobs.find("table1/E").run)
    tree["sampling"][field] = value
    msgspec.convert(tree, Run)
    tree["training"]["imported"] = "0" * 64
    with pytest.raises(msgspec.ValidationError, match="an imported checkpoint has one set of weights"):
        msgspec.convert(tree, Run)


def test_labels_of_a_dit_may_be_dropped_never() -> None:
    tree = msgspec.to_builtins(jobs.find("table1/R1").run)
    tree["training"]["class_dropout"] = 0.0
    msgspec.convert(tree, Run)


def test_adms_statistics_are_of_one_network() -> None:
    """It had been refused once the samples were there."""
    tree = msgspec.to_builtins(jobs.find("table1/E").run)
    tree["evaluation"] |= {"extractor": {"kind": "inception-clean"}, "metrics": ["frechet"]}
    with pytest.raises(msgspec.ValidationError, match=r"ADM's statistics are of inception-2015"):
        msgspec.convert(tree, Run)


def test_averages_are_not_raw_weights() -> None:
    tree = msgspec.to_builtins(jobs.find("table1/E").run)
    tree["sampling"] |= {"weights": "raw", "at_step": 10}
    with pytest.raises(msgspec.ValidationError, match="weights must be"):
        msgspec.convert(tree, Run)


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (Folder, {"name": "x", "digest": "0" * 63, "images": 2, "classes": 0}, "64 hexadecimal digits"),
        (Folder, {"name": "x", "digest": "g" * 64, "images": 2, "classes": 0}, "64 hexadecimal digits"),
        (Folder, {"name": "x", "digest": "0" * 64, "images": 0, "classes": 0}, "at least one image"),
        (External, {"name": "x", "digest": "0" * 63, "images": 2}, "64 hexadecimal digits"),
        (External, {"name": "x", "digest": "g" * 64, "images": 2}, "64 hexadecimal digits"),
        (External, {"name": "x", "digest": "0" * 64, "images": 1}, "two images"),
        (Phase, {"steps": 0, "batch": 1}, "start at 1"),
        (Phase, {"steps": 1, "batch": 0}, "start at 1"),
        (UNet, {"resolution": 10, "base": 8, "widths": [1, 2, 4], "blocks": 1, "attention": []}, "a side that 4"),
        (UNet, {"resolution": 16, "base": 8, "widths": [], "blocks": 1, "attention": []}, "at least one level"),
        (UNet, {"resolution": 16, "base": 0, "widths": [1], "blocks": 1, "attention": []}, "sizes start at 1"),
    ],
)
def test_a_part_that_cannot_be_is_refused(kind: type, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kind(**fields)


@pytest.mark.parametrize(
    ("dataset", "classes"),
    [
        ({"kind": "folder", "name": "x", "digest": "0" * 64, "images": 5_000, "classes": 3}, 3),
        ({"kind": "ffhq"}, 0),
    ],
)
def test_imagenets_statistics_go_with_no_other_images(dataset: dict[str, Any], classes: int) -> None:
    """Samples of one's own images were compared with ImageNet's."""
    tree = msgspec.to_builtins(jobs.find("table1/E").run)
    tree["data"]["dataset"], tree["model"]["classes"] = dataset, classes
    for reference in ({"kind": "dataset"}, {"kind": "adm", "name": "VIRTUAL_mine"}):
        tree["evaluation"]["reference"] = reference
        msgspec.convert(tree, Run)
    for name in ("VIRTUAL_imagenet128_labeled", "VIRTUAL_imagenet_of_a_site"):
        tree["evaluation"]["reference"] = {"kind": "adm", "name": name}
        with pytest.raises(
            msgspec.ValidationError, match=rf"{name} is of ImageNet's images, and data.dataset is {dataset['kind']}"
        ):
            msgspec.convert(tree, Run)


def test_a_folder_may_have_any_size() -> None:
    tree = msgspec.to_builtins(jobs.find("ffhq1024").run.data)
    folder = {"kind": "folder", "name": "x", "digest": "0" * 64, "images": 2, "classes": 0}
    found = msgspec.convert({**tree, "dataset": folder, "resolution": 4096}, type(jobs.find("ffhq1024").run.data))
    assert found.resolution == 4096
