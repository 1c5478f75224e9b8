"""From the bytes of one image file to an RGB picture, by a stated rule, or a refusal that names the file."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from hdit_repro.data.notes import DAMAGED, NOTES, notes_of
from hdit_repro.errors import UserError

MAX_PIXELS = 80_000_000
"""A picture with more pixels than this is refused before it is decoded (a megabyte can unpack to a gigabyte)."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What is looked for in a file, whatever its name says (a JPEG may turn out an MPO). Pillow opens forty more, lossy
ones that nobody counts among them (AVIF, JPEG 2000), and hands EPS to Ghostscript, which runs it as a program."""

GREY = frozenset({"1", "L"})
ON_WHITE = frozenset({"P", "PA", "LA", "La", "RGBA", "RGBa"})
WITHOUT = (
    "`hdit-repro data verify PATH --full` lists all such images,\n"
    "and `hdit-repro data prepare PATH NAME.zip --resolution N` makes an archive of your own images without them"
)
"""What mends a whole data set, where one image of it is refused."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode(data: bytes, name: str, *, cmyk: bool = False, upright: bool = False) -> Image.Image:
    """The picture in `data` as a loaded Pillow image of mode RGB, 8 bits a channel.

    The rule: grey is repeated over the channels; palettes and transparency are laid on white; orientation tags are
    ignored, as ADM's and k-diffusion's loaders, clean-fid and torch-fidelity do, unless `upright` is asked for; colour
    profiles and gAMA are ignored, as they do; of an animation the first picture is taken; 16 bits a channel and all
    other modes are refused. What of this a file met stands in the picture's `info`, under `notes.NOTES`.

    Args:
        data: the bytes of the file.
        name: where they come from, for messages.
        cmyk: convert CMYK by Pillow's rule in place of refusing it. ImageNet has a few such JPEG files.
        upright: turn the picture as its orientation tag says.

    Raises:
        UserError: no image, a damaged one, one of an absurd size, or of a mode that the rule does not cover.
    """
    if data[: len(PNG_SIGNATURE)] == PNG_SIGNATURE and data[24:25] == b"\x10":
        raise _unsuitable(name, "16 bits a channel")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, name)
            image.load()
            _widen(image, data)
            picture = to_rgb(ImageOps.exif_transpose(image) if upright else image, name, cmyk=cmyk)
            picture.info[NOTES] = notes_of(image, data, upright=upright)
            return picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _absurd(f"{name}: {error}") from error
    except DAMAGED as error:
        unknown = isinstance(error, UnidentifiedImageError)
        raise UserError(
            "an image is damaged or no image",
            found=f"{name}: {'its first bytes are of no format that is taken' if unknown else error}",
            expected="a whole PNG, JPEG, WebP or BMP file",
            fix=f"get or export the file again, or take it out; {WITHOUT}",
        ) from error


def to_rgb(image: Image.Image, name: str, *, cmyk: bool) -> Image.Image:
    """A loaded Pillow image in mode RGB, by the rule of `decode`.

    Raises:
        UserError: the mode is not covered by the rule.
    """
    if image.mode in ON_WHITE or "transparency" in image.info:
        above = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, above).convert("RGB")
    if image.mode == "RGB":
        return image.copy()
    if image.mode in GREY or (cmyk and image.mode == "CMYK"):
        return image.convert("RGB")
    by_option = " (`data prepare` with --cmyk does)" if image.mode == "CMYK" else ""
    raise _unsuitable(name, f"Pillow's mode {image.mode}", by_option)


def _widen(image: Image.Image, data: bytes) -> None:
    """The transparent grey of a PNG of 2 or 4 bits, as Pillow has its pixels: 0 to 255. It leaves the tag as it is."""
    if image.format == "PNG" and image.mode == "L" and isinstance(clear := image.info.get("transparency"), int):
        image.info["transparency"] = clear * 255 // ((1 << data[24]) - 1)


def _check_size(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise _absurd(f"{name}: {size[0]} x {size[1]} pixels")


def _absurd(found: str) -> UserError:
    return UserError(
        "an image has an absurd size",
        found=found,
        expected=f"at most {MAX_PIXELS:,} pixels",
        fix=f"take it out, or bring it to a sane size first; {WITHOUT}",
    )


def _unsuitable(name: str, what: str, by_option: str = "") -> UserError:
    return UserError(
        "an image has a format that is not taken",
        found=f"{name}: {what}",
        expected="8 bits a channel: RGB, grey, a palette, or one of these with transparency",
        fix=f"convert the image to 8-bit RGB and state how{by_option}; {WITHOUT}",
    )
