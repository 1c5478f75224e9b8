"""The named transforms against straightforward twins, and against torchvision's own Resize and CenterCrop."""

from __future__ import annotations

import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hdit_repro.data.transforms import TRANSFORMS, adm, k_diffusion, none
from hdit_repro.errors import UserError
from hdit_repro.metrics.torchvision_shim import import_torchvision
from hdit_repro.spec.data import Data

SIZES = [(64, 64), (100, 70), (70, 100), (257, 130), (33, 200), (64, 65), (30, 41), (41, 30)]


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_registry_is_the_specs():
    assert set(TRANSFORMS) == set(typing.get_args(typing.get_type_hints(Data)["transform"]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [16, 32, 64])
def test_k_diffusion_is_torchvisions_resize_and_crop(size, side):
    import_torchvision()
    from torchvision import transforms as T

    twin = T.Compose([T.Resize(side, interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop(side)])
    image = picture(*size)
    np.testing.assert_array_equal(k_diffusion(image, side), np.array(twin(image)))


def halved(pixels: np.ndarray) -> np.ndarray:
    """A box halving of even sides by hand: the mean of two along the rows, then along the columns, halves up."""
    wide = pixels.astype(int)
    wide = (wide[:, ::2] + wide[:, 1::2] + 1) // 2
    return ((wide[::2] + wide[1::2] + 1) // 2).astype(np.uint8)


def test_adm_of_a_power_of_two_is_box_halvings_alone():
    image = picture(128, 64)
    np.testing.assert_array_equal(adm(image, 16), halved(halved(np.array(image)))[:, 8:24])


@pytest.mark.parametrize("size", SIZES)
def test_adm_twin(size):
    side, image = 24, picture(*size)
    twin = image
    halvings = int(np.floor(np.log2(min(size) / side)))
    for _ in range(halvings):
        twin = twin.resize((twin.size[0] // 2, twin.size[1] // 2), Image.Resampling.BOX)
    scale = side / min(twin.size)
    twin = twin.resize(tuple(round(s * scale) for s in twin.size), Image.Resampling.BICUBIC)
    pixels = np.array(twin)
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    np.testing.assert_array_equal(adm(image, side), pixels[top : top + side, left : left + side])


def test_the_two_differ_where_they_should():
    image = picture(256, 256)
    assert (adm(image, 32) != k_diffusion(image, 32)).any()


@settings(max_examples=40)
@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(1, 40))
def test_shape_and_constant_images(width, height, side):
    image = Image.new("RGB", (width, height), (10, 200, 77))
    for transform in (adm, k_diffusion):
        out = transform(image, side)
        assert out.shape == (side, side, 3)
        assert out.dtype == np.uint8
        assert (out == (10, 200, 77)).all()


@pytest.mark.parametrize("transform", [adm, k_diffusion, none])
def test_an_image_of_the_right_size_stays_as_it_is(transform):
    image = picture(40, 40)
    np.testing.assert_array_equal(transform(image, 40), np.array(image))


@pytest.mark.parametrize("transform", [adm, k_diffusion])
def test_what_would_be_too_large_before_the_crop_is_refused(transform, monkeypatch):
    monkeypatch.setattr("hdit_repro.data.transforms.MAX_PIXELS", 32 * 48)
    assert transform(Image.new("RGB", (96, 64)), 32).shape == (32, 32, 3)
    with pytest.raises(UserError, match="too long for its width"):
        transform(Image.new("RGB", (98, 64)), 32)


def test_none_refuses_another_size():
    with pytest.raises(UserError, match="40 x 41 pixels"):
        none(picture(40, 41), 40)
