"""Our Inception against torch-fidelity's own metrics and network, on the same random weights."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from hdit_repro.errors import UserError
from hdit_repro.metrics import torchvision_shim, weights
from hdit_repro.metrics.extractors import extractor_by_name
from hdit_repro.metrics.extractors.inception import PREPARATIONS, InceptionFeatures
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.inception_score import ten_parts_inception_score
from hdit_repro.metrics.kernel import kernel_distance
from hdit_repro.metrics.precision_recall import precision_recall
from hdit_repro.metrics.statistics import statistics_of
from hdit_repro.metrics.torchvision_shim import import_torchvision

CPU = torch.device("cpu")


class Pictures(Dataset):
    """uint8 3 H W, for torch-fidelity."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def theirs(state, outputs):
    """torch-fidelity's network as it is."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return FeatureExtractorInceptionV3("theirs", outputs, feature_extractor_weights_path=buffer)


@pytest.fixture(scope="module")
def saved(inception_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(inception_state, path)
    return path


def test_metrics_are_torch_fidelitys(saved, two_sets, tmp_path, monkeypatch, small_inception):
    """FID, KID, Inception Score, precision and recall, from pixels to numbers."""
    import_torchvision()
    from torch_fidelity import calculate_metrics

    said = calculate_metrics(
        input1=Pictures(two_sets[0]),
        input2=Pictures(two_sets[1]),
        fid=True,
        isc=True,
        kid=True,
        kid_subsets=5,
        kid_subset_size=9,
        prc=True,
        feature_extractor="inception-v3-compat",
        batch_size=7,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(saved),
        samples_find_deep=False,
        save_cpu_ram=True,
    )
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    known = weights.KNOWN["inception-2015"]._replace(sha256=hashlib.sha256(saved.read_bytes()).hexdigest())
    monkeypatch.setitem(weights.KNOWN, "inception-2015", known)
    weights.add(saved)
    extractor = extractor_by_name("inception-2015")
    assert extractor.digest == known.sha256
    a, b = (extractor.features(images) for images in two_sets)
    ours, real = (statistics_of(side["features"]) for side in (a, b))
    distance = frechet_distance(ours.mean, ours.cov, real.mean, real.cov)
    assert distance > 0.1
    assert distance == pytest.approx(said["frechet_inception_distance"], rel=1e-4)
    kernel = kernel_distance(a["features"], b["features"], subsets=5, size=9)
    assert kernel.mean == pytest.approx(said["kernel_inception_distance_mean"], rel=1e-4)
    assert kernel.std == pytest.approx(said["kernel_inception_distance_std"], rel=1e-3)
    score = ten_parts_inception_score(a["logits"])
    assert score.mean == pytest.approx(said["inception_score_mean"], rel=1e-4)
    found = precision_recall(a["features"], b["features"])
    assert (found.precision, found.recall) == pytest.approx((said["precision"], said["recall"]), rel=1e-4)
    assert 0 < found.precision + found.recall < 2


def test_the_merged_network_is_the_network(inception_state, two_sets):
    """Features, logits and ADM's spatial features against torch-fidelity's unmerged layers."""
    network = theirs(inception_state, ["2048", "logits_unbiased"])
    seen = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    images = two_sets[0, :5]
    with torch.no_grad():
        pooled, logits = network(images)
    spatial = seen[0][:, :7].permute(0, 2, 3, 1).reshape(5, -1)
    out = InceptionFeatures(inception_state, "0" * 64, CPU).features(images)
    assert out["spatial"].shape == (5, 2023)
    for name, wanted in (("features", pooled), ("logits", logits), ("spatial", spatial)):
        assert out[name].dtype == torch.float32
        assert (out[name] - wanted).norm() / wanted.norm() < 1e-5, name
    assert spatial.std() > 0.01


def test_bfloat16_is_near_and_has_a_name_of_its_own(inception_state, two_sets, small_inception):
    exact = InceptionFeatures(inception_state, "0" * 64, CPU)
    rough = InceptionFeatures(inception_state, "0" * 64, CPU, precision="bfloat16")
    assert rough.name == "inception-2015-bfloat16"
    assert rough.protocol.endswith("bfloat16")
    a, b = (network.features(two_sets[0, :3])["features"] for network in (exact, rough))
    assert 1e-5 < (a - b).norm() / a.norm() < 0.02


@pytest.mark.parametrize("name", PREPARATIONS)
def test_pixels_reach_the_network_in_the_range_that_the_protocol_names(name):
    flat = torch.tensor([0, 64, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 32, 32).contiguous()
    seen = PREPARATIONS[name].prepare(flat)
    assert (seen.shape, seen.dtype) == ((3, 3, 299, 299), torch.float32)
    wanted = [-1.0, 2 * 64 / 255 - 1, 1.0] if name == "inception-legacy-pytorch" else [-1.0, -0.5, 127 / 128]
    for image, level in zip(seen, wanted, strict=True):
        assert torch.allclose(image, torch.full_like(image, level), atol=1e-6)


def test_protocols_differ_by_their_resize_alone(inception_state, two_sets, small_inception):
    """One network, five numbers; the two TensorFlow resizes are one but for rounding."""
    images = two_sets[0, :2]
    found = {name: InceptionFeatures(inception_state, "0" * 64, CPU, name) for name in PREPARATIONS}
    assert len({extractor.protocol for extractor in found.values()}) == 5
    out = {name: extractor.features(images)["features"] for name, extractor in found.items()}
    base = out["inception-2015"]
    assert (out["inception-legacy-tensorflow"] - base).norm() / base.norm() < 1e-3
    for name in ("inception-clean", "inception-legacy-pytorch", "inception-k-diffusion"):
        assert (out[name] - base).norm() / base.norm() > 1e-3


def test_the_batch_cannot_move_a_bit(inception_state, two_sets):
    extractor = InceptionFeatures(inception_state, "0" * 64, CPU, "inception-clean")
    images = two_sets[0, :6]
    whole = extractor.features(images)["features"]
    parts = torch.cat([extractor.features(part)["features"] for part in images.split([1, 5])])
    assert torch.equal(whole, parts)


def test_other_tensors_are_refused(inception_state):
    with pytest.raises(UserError, match="not Inception's"):
        InceptionFeatures({k: v for k, v in inception_state.items() if k != "fc.bias"}, "0" * 64, CPU)
    with pytest.raises(UserError, match="float32 only"):
        extractor_by_name("efficientnet-lite0", "cpu", "bfloat16")


def test_one_module_imports_torchvision_and_it_comes_first():
    package = Path(torchvision_shim.__file__).parents[1]
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "torchvision_shim.py":
            assert not re.search(r"(import|from) torchvision\b", text), file
        for name in ("torch_fidelity", "cleanfid"):
            if f"from {name}" in text or f"import {name}" in text:
                assert text.index("    import_torchvision()") < text.index(f"from {name}")
