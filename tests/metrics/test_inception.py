"""Our Inception against torch-fidelity's own metrics, on the same random weights."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from hdit_repro.errors import UserError
from hdit_repro.metrics import frechet_distance, torchvision_shim, weights
from hdit_repro.metrics.extractors import build_extractor
from hdit_repro.metrics.extractors.inception import Inception2015Features
from hdit_repro.metrics.inception_score import inception_score
from hdit_repro.metrics.statistics import Statistics
from hdit_repro.metrics.torchvision_shim import import_torchvision
from hdit_repro.spec.evaluation import Inception2015

IMAGES = 5


class Pictures(Dataset):
    """uint8 3 H W, for torch-fidelity."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def random_state() -> dict[str, torch.Tensor]:
    """Random weights under torch-fidelity's names, drawn so that signals neither die nor explode, norms included."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, state, *args, **kwargs):
            assert state == {}

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    network = Unloaded("random", ["2048"], feature_extractor_weights_path=empty)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
        if isinstance(module, nn.BatchNorm2d):
            for tensor, shift in ((module.weight, 1.0), (module.running_var, 1.0), (module.bias, 0.1)):
                tensor.copy_(shift + 0.2 * torch.rand(tensor.shape, generator=generator))
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
        if isinstance(module, nn.Linear):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.01)
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return network.state_dict()


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(2, IMAGES, 3, 5, 5, generator=generator)
    smooth = nn.functional.interpolate(small.flatten(0, 1), (40, 48), mode="bilinear")
    return (smooth.reshape(2, IMAGES, 3, 40, 48) * torch.tensor([255.0, 180.0]).reshape(2, 1, 1, 1, 1)).to(torch.uint8)


def test_forward_is_torch_fidelitys(state, pictures, tmp_path, monkeypatch):
    from torch_fidelity import calculate_metrics

    path = tmp_path / "weights.pth"
    torch.save(state, path)
    theirs = calculate_metrics(
        input1=Pictures(pictures[0]),
        input2=Pictures(pictures[1]),
        fid=True,
        isc=True,
        isc_splits=1,
        batch_size=4,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(path),
        samples_find_deep=False,
        save_cpu_ram=True,
    )
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    known = weights.KNOWN["inception-2015"]._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(weights.KNOWN, "inception-2015", known)
    weights.add(path)
    extractor = build_extractor(Inception2015())
    assert extractor.digest == known.sha256
    sides = []
    for images in pictures:
        out = extractor.features(images)
        statistics = Statistics(extractor.width)
        statistics.update(out["features"])
        sides += [statistics.mean, statistics.cov]
        if len(sides) == 2:
            score = inception_score(out["logits"], 1)
            assert out["logits"].shape == (IMAGES, 1008)
    ours = frechet_distance(*sides)
    assert ours > 0.1
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert score.mean > 1.001
    assert score.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-4)


def test_other_tensors_are_refused(state):
    with pytest.raises(UserError, match="not Inception's"):
        Inception2015Features({k: v for k, v in state.items() if k != "fc.bias"}, "0" * 64, torch.device("cpu"))


def test_one_module_imports_torchvision_and_it_comes_first():
    package = Path(torchvision_shim.__file__).parents[1]
    for file in package.rglob("*.py"):
        text = file.read_text()
        if file.name != "torchvision_shim.py":
            assert "import torchvision" not in text
            assert "from torchvision" not in text
        for name in ("torch_fidelity", "cleanfid"):
            if f"from {name}" in text or f"import {name}" in text:
                assert text.index("    import_torchvision()") < text.index(f"from {name}")
