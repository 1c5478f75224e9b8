"""What is said of image files: formats that lose, what is converted, what is not followed."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from hdit_repro.data.decode import decode
from hdit_repro.data.jpeg import file_kind
from hdit_repro.data.notes import (
    CLEAR,
    CMYK,
    GREY,
    LOSSY,
    MOVING,
    NOTES,
    ORIENTATION,
    ORIENTED,
    PALETTE,
    PROFILED,
)
from tests.data.test_decode import encoded, png_of

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped(one: bytes, other: bytes) -> bytes:
    """sRGB's profile with the entries of two of its tags exchanged, so that it is of other colours."""
    entries = {SRGB[at : at + 4]: at + 4 for at in range(132, 132 + 12 * struct.unpack(">I", SRGB[128:132])[0], 12)}
    out = bytearray(SRGB)
    a, b = entries[one], entries[other]
    out[a : a + 8], out[b : b + 8] = SRGB[b : b + 8], SRGB[a : a + 8]
    return bytes(out)


def notes(data: bytes, **how: bool) -> tuple[str, ...]:
    found: tuple[str, ...] = decode(data, "a file", **how).info[NOTES]
    return found


def turned(place: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = place
    return exif


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def test_of_a_plain_png_nothing_is_said():
    assert notes(encoded(RGB)) == ()
    assert notes(encoded(RGB, exif=turned(1))) == ()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (RGB.convert("L"), (GREY,)),
        (RGB.convert("1"), (GREY,)),
        (RGB.convert("LA"), (GREY, CLEAR)),
        (RGB.convert("RGBA"), (CLEAR,)),
        (RGB.convert("P"), (PALETTE,)),
    ],
)
def test_what_is_converted(image, said):
    assert notes(encoded(image)) == said


def test_a_palette_with_a_clear_colour_and_cmyk():
    assert notes(encoded(RGB.convert("P"), transparency=0)) == (PALETTE, CLEAR)
    assert notes(encoded(RGB.convert("CMYK"), "JPEG"), cmyk=True) == (LOSSY["JPEG"], CMYK)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_orientation_is_told_where_it_is_not_followed(mode, form):
    data = encoded(RGB.convert(mode).crop((0, 0, 16, 8)), form, exif=turned())
    assert ORIENTED in notes(data)
    assert ORIENTED not in notes(data, upright=True)
    assert decode(data, "a", upright=True).size == (8, 16)


def test_an_orientation_in_xmp_alone_is_told():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    assert ORIENTED in notes(encoded(RGB, "JPEG", xmp=xmp))


def test_a_preview_in_a_cameras_file_is_no_animation():
    other = Image.new("RGB", (16, 16), "blue")
    assert notes(encoded(RGB, "MPO", save_all=True, append_images=[other])) == (LOSSY["JPEG"],)
    assert notes(encoded(RGB, save_all=True, append_images=[other])) == (MOVING,)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("more", [{}, {"exif": turned(1)}])  # tags need the extended form of the file
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_only_a_webp_that_lost_something_is_lossy(moving, more, mode):
    image = RGB.convert(mode)
    if mode == "RGBA":
        image.putalpha(RGB.convert("L"))
    frames = {"save_all": True, "append_images": [image.rotate(90)]} if moving else {}
    kinds = [file_kind(encoded(image, "WEBP", lossless=whole, **more, **frames)) for whole in (True, False)]
    assert kinds == ["", "WebP"]


def test_a_damaged_webp_ends_in_no_loop():
    whole = encoded(RGB, "WEBP", lossless=True, save_all=True, append_images=[RGB.rotate(90)])
    assert {file_kind(whole[:length] + bytes(40)) for length in range(len(whole))} <= {"", "WebP"}


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (SRGB, ()),
        (swapped(b"rXYZ", b"gXYZ"), (PROFILED,)),
        (SRGB[:200], ()),
        (b"no profile", ()),
    ],
)
def test_a_colour_profile_is_told_where_its_colours_are_others(profile, said):
    assert notes(encoded(RGB, icc_profile=profile)) == said


def test_a_profile_changes_no_pixel():
    other = swapped(b"rXYZ", b"gXYZ")
    assert np.array_equal(decode(encoded(RGB, icc_profile=other), "a"), RGB)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        (((b"gAMA", struct.pack(">I", 45455)),), ()),
        (((b"gAMA", struct.pack(">I", 100_000)),), (PROFILED,)),
        (((b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")), ()),
    ],
)
def test_a_png_of_another_gamma(chunks, said):
    data = png_of(1, 8, 2, b"abc", *chunks)
    assert notes(data) == said
    assert np.asarray(decode(data, "a")).tobytes() == b"abc"


def test_tags_that_cannot_be_read_ask_for_nothing():
    buffer = io.BytesIO()
    RGB.save(buffer, "JPEG", exif=turned())
    assert ORIENTED in notes(buffer.getvalue())
    assert ORIENTED not in notes(buffer.getvalue().replace(b"Exif\0\0MM", b"Exif\0\0\xffM"))
