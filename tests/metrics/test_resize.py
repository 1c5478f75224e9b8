"""Each resize against the code of the library whose protocol it is, to the last bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image

from hdit_repro.metrics.extractors import resize
from hdit_repro.metrics.torchvision_shim import import_torchvision

SIZES = [(16, 16), (40, 23), (299, 299), (512, 400)]


def pictures(size, count=2):
    generator = torch.Generator().manual_seed(size[0])
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def by_cleanfid(images, mode):
    import_torchvision()
    from cleanfid.resize import build_resizer

    with warnings.catch_warnings():  # clean-fid switches warnings off for the whole process
        function = build_resizer(mode)
        outputs = [function(picture) for picture in rearrange(images, "b c h w -> b h w c").numpy()]
    return rearrange(torch.from_numpy(np.stack(outputs)), "b h w c -> b c h w")


@pytest.mark.parametrize("size", SIZES)
def test_clean_is_clean_fids_to_the_last_bit(size):
    images = pictures(size)
    found = resize.pillow_bicubic(images, 299)
    assert found.dtype == torch.float32
    assert torch.equal(found, by_cleanfid(images, "clean"))


@pytest.mark.parametrize("size", SIZES)
def test_clean_is_pillows_bicubic_of_each_channel_in_float(size):
    images = pictures(size)
    for image, found in zip(images, resize.pillow_bicubic(images, 299), strict=True):
        for plane, small in zip(image, found, strict=True):
            picture = Image.fromarray(plane.numpy().astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
            assert np.array_equal(np.asarray(picture).clip(0, 255), small)


@pytest.mark.parametrize("size", SIZES)
def test_legacy_pytorch_is_clean_fids(size):
    images = pictures(size)
    assert torch.equal(resize.torch_bilinear(images, 299), by_cleanfid(images, "legacy_pytorch"))


@pytest.mark.parametrize("size", SIZES)
def test_k_diffusions_resize_of_images_around_zero_is_that_of_grey_values_but_for_rounding(size):
    images = pictures(size)
    around = torch.nn.functional.interpolate(images / 127.5 - 1, (299, 299), mode="bicubic", antialias=True)
    wanted = (around * 127.5 + 127.5).clamp(0, 255)
    found = resize.torch_bicubic_clamped(images, 299)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    assert found.min() == 0
    assert found.max() == 255


@pytest.mark.parametrize("size", SIZES)
def test_tensorflow1_is_torch_fidelitys_to_the_last_bit(size):
    import_torchvision()
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    images = pictures(size)
    wanted = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (299, 299), align_corners=False)
    assert torch.equal(resize.tensorflow1(images, 299), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_the_sampled_grid_is_tensorflows_but_for_rounding(size):
    images = pictures(size)
    assert (resize.sampled_grid(images, 299) - resize.tensorflow1(images, 299)).abs().max() < 0.05


def test_dgm_evals_resize_is_torchvisions_of_a_pillow_image():
    torchvision = import_torchvision()
    images = pictures((50, 70))
    transform = torchvision.transforms.Resize((224, 224), torchvision.transforms.InterpolationMode.BICUBIC)
    wanted = [np.asarray(transform(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    found = resize.pillow_bicubic_quantised(images, 224)
    assert torch.equal(found, torch.from_numpy(np.stack(wanted)).permute(0, 3, 1, 2).float())


@pytest.mark.parametrize("name", ["tensorflow1", "sampled_grid", "torch_bilinear", "torch_bicubic", "pillow_bicubic"])
def test_a_plain_picture_stays_plain(name):
    plain = torch.full((1, 3, 37, 51), 200, dtype=torch.uint8)
    found = getattr(resize, name)(plain, 224)
    assert found.shape == (1, 3, 224, 224)
    assert torch.allclose(found, torch.tensor(200.0), atol=1e-3)
