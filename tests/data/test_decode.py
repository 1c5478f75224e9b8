"""What is decoded, by which rule, and what is refused by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from hdit_repro.data import decode as module
from hdit_repro.data.decode import decode
from hdit_repro.errors import UserError


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def test_rgb_is_kept_to_the_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = decode(encoded(Image.fromarray(pixels)), "a.png")
    assert out.mode == "RGB"
    np.testing.assert_array_equal(np.array(out), pixels)


def test_transparency_is_laid_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = (0, 51, 255)
    out = np.array(decode(encoded(Image.fromarray(pixels, "RGBA")), "a.png")).astype(int)
    alpha = pixels[0, :, 3:].astype(float) / 255
    wanted = alpha * np.array([200, 0, 0]) + (1 - alpha) * 255
    assert np.abs(out[0] - wanted).max() <= 1


def test_palettes_grey_and_one_bit():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    assert list(np.array(decode(encoded(palette), "p.png"))[0, 1]) == [0, 0, 255]
    transparent = encoded(palette, transparency=0)
    assert list(np.array(decode(transparent, "p.png"))[0, 0]) == [255, 255, 255]
    assert list(np.array(decode(encoded(Image.new("L", (1, 1), 9)), "l.png"))[0, 0]) == [9, 9, 9]
    assert list(np.array(decode(encoded(Image.new("LA", (1, 1), (9, 0))), "l.png"))[0, 0]) == [255, 255, 255]
    assert list(np.array(decode(encoded(Image.new("1", (1, 1), 1)), "b.png"))[0, 0]) == [255, 255, 255]


@pytest.mark.parametrize(("mode", "clear", "other"), [("RGB", (1, 2, 3), (1, 2, 4)), ("L", 7, 8), ("1", 0, 255)])
def test_one_colour_of_a_file_can_be_the_transparent_one(mode, clear, other):
    """PNG's tRNS chunk, without an alpha channel: that colour is white, a neighbour of it stays what it is."""
    image = Image.new(mode, (2, 1), other)
    image.putpixel((0, 0), clear)
    out = np.array(decode(encoded(image, transparency=clear), "a.png"))
    assert out[0, 0].tolist() == [255, 255, 255]
    assert out[0, 1].tolist() == list(np.broadcast_to(other, 3))


def png_of(width: int, depth: int, kind: int, row: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A whole PNG of one row, of depths and with chunks that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), *more, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    body = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(
    ("depth", "row", "greys"), [(2, b"\x1b", [0, 85, 170, 255]), (4, b"\x04\x8f", [0, 68, 136, 255])]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_transparent_grey_of_few_bits_is_one_of_the_files_own(depth, row, greys, place):
    """PNG states it in the file's bits, and Pillow widens the pixels alone: 85 stayed 85 where 1 was to be clear."""
    clear = greys[place] * ((1 << depth) - 1) // 255
    data = png_of(4, depth, 0, row, (b"tRNS", struct.pack(">H", clear)))
    wanted = [255 if number == place else grey for number, grey in enumerate(greys)]
    assert np.array(decode(data, "a.png"))[0, :, 0].tolist() == wanted


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(np.array([[70000 % 65536]], np.uint16))),
        png_of(1, 16, 2, b"\1\2" * 3),  # which Pillow alone would cut down to 8 bits without a word
        encoded(Image.new("CMYK", (4, 4)), "JPEG"),
    ],
)
def test_refused_modes_are_named(data):
    with pytest.raises(UserError, match="format that is not taken") as caught:
        decode(data, "n01/odd-one.png")
    assert "n01/odd-one.png" in str(caught.value)
    assert ("--cmyk" in caught.value.fix) == ("CMYK" in str(caught.value.found))


def test_cmyk_where_a_data_set_has_some():
    assert decode(encoded(Image.new("CMYK", (4, 4)), "JPEG"), "a.jpg", cmyk=True).mode == "RGB"


@pytest.mark.parametrize("data", [b"", b"no image", encoded(Image.effect_noise((99, 99), 80))[:600]])
def test_damage_is_named(data):
    with pytest.raises(UserError, match="damaged") as caught:
        decode(data, "n01/broken.png")
    assert "n01/broken.png" in str(caught.value)


@pytest.mark.parametrize("form", ["TIFF", "JPEG2000", "AVIF", "EPS"])
def test_what_a_file_is_counts_and_not_its_name(form):
    """Lossy formats that nobody counts, and EPS, which is a program."""
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    with pytest.raises(UserError, match="of no format that is taken") as caught:
        decode(encoded(Image.new("RGB", (16, 16), "red"), form), "n01/odd.png")
    assert "n01/odd.png" in str(caught.value)


def outcome(data: bytes) -> str:
    try:
        return decode(data, "odd.png").mode
    except UserError as error:
        return str(error)


def test_every_cut_and_every_flipped_byte_is_decoded_or_refused_by_name():
    whole = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)))
    rng = np.random.default_rng(2)
    outcomes = [outcome(whole[:length]) for length in range(0, len(whole), 3)]
    for place in range(0, len(whole), 2):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        outcomes.append(outcome(bytes(damaged)))
    assert all(text == "RGB" or "odd.png" in text for text in outcomes)
    assert sum(text != "RGB" for text in outcomes) > len(outcomes) / 2


def test_an_absurd_size_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    decode(encoded(Image.new("RGB", (9, 11))), "a.png")
    with pytest.raises(UserError, match="absurd size"):
        decode(encoded(Image.new("RGB", (10, 10))), "a.png")


def test_an_animation_that_is_cut_off_is_damaged():
    """Wherever it ends behind its first picture: Pillow finds out when it counts the pictures."""
    first, second = (Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (0, 255))
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    second_at = data.index(b"\x2c", data.index(b"\x2c") + 1)  # what a picture's place and size begin with
    for end in range(second_at + 1, second_at + 11):
        with pytest.raises(UserError, match="damaged"):
            decode(data[:end], "a.gif")
