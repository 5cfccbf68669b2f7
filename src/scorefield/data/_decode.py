"""One picture file to bytes (C, H, W), by rules that are the same for every format.

In this order: the size in the header is checked against a limit before anything is decoded; the first frame of an
animation is taken; the camera's EXIF orientation is applied; 16-bit grey becomes 8-bit by rounding v / 257, which is
exact for every v = 257 k, 0 and 65535 among them; transparency is laid over white; colours become RGB, or grey by the
ITU-R 601 luma 0.299 R + 0.587 G + 0.114 B; then the size is fitted. Colour profiles are not applied.

Resampling is Pillow's Lanczos (a = 3), whose kernel widens when it shrinks: it is antialiased.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Fit = Literal["crop", "resize", "pad"]

#: Decoders that are tried, whatever a file is called; none of them runs a program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")

_GREY = {"1", "L", "LA", "La"}
_WIDE = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"}


class Policy(NamedTuple):
    """How a picture of any kind becomes one of a known shape."""

    channels: int  # 1 or 3
    size: tuple[int, int]  # height, width
    fit: Fit
    max_pixels: int


class Header(NamedTuple):
    """What is known before decoding."""

    size: tuple[int, int]  # height, width, as seen: after the EXIF orientation
    grey: bool


def header(path: Path, max_pixels: int) -> Header:
    """Reads the first bytes of a file. Not to be called from several threads at once.

    Raises:
        ValueError: naming the file, if it is empty, no picture, too large, or of a depth other than 8 or 16 bits.
    """
    with _naming(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower, and refuses
        with _open(path, max_pixels) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size[::-1] if turned else image.size
            return Header((height, width), image.mode in _GREY | _WIDE)


def decode(path: Path, policy: Policy) -> NDArray[np.uint8]:
    """The picture, (C, H, W).

    Raises:
        ValueError: naming the file, if it cannot be decoded to its end.
    """
    with _naming(path), _open(path, policy.max_pixels) as image:
        image.load()
        flat = _flat(_eight_bit(ImageOps.exif_transpose(image)), "L" if policy.channels == 1 else "RGB")
        pixels = np.asarray(_fitted(flat, policy.size, policy.fit))
    return pixels[None] if policy.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises on a bad file into one line that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except Image.UnidentifiedImageError:
        raise ValueError(f"{path}: no picture in a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise many kinds: OSError, SyntaxError, struct.error, EOFError, ...
        raise ValueError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _open(path: Path, max_pixels: int) -> Image.Image:
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise ValueError(f"more than {limit:,} pixels") from None
    width, height = image.size
    if height * width > max_pixels:
        image.close()
        raise ValueError(f"{height} x {width} is more than {max_pixels:,} pixels: raise max_pixels if it is meant")
    if image.mode not in _GREY | _WIDE | _COLOUR:
        image.close()
        raise ValueError(f"pixels of kind {image.mode}; expected grey or colour of 8 or 16 bits")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey, rounded to 8 bits. (Pillow hands out the high bytes of 16-bit colour, at most one level off.)"""
    if image.mode not in _WIDE:
        return image
    wide = np.asarray(image).astype(np.int64)
    if int(wide.min()) < 0 or int(wide.max()) > 65535:
        raise ValueError(f"values {wide.min()}..{wide.max()}; expected 16 bits, 0..65535")
    if isinstance(clear := image.info.get("transparency"), int):  # the one grey value that stands for nothing
        wide[wide == clear] = 65535
    return Image.fromarray(((wide + 128) // 257).astype(np.uint8))


def _flat(image: Image.Image, mode: str) -> Image.Image:
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        straight = image.convert("LA" if image.mode == "La" else "RGBA")
        over = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(over, straight.convert("RGBA")).convert(mode)
    return image.convert(mode)


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    height, width = size
    if image.size == (width, height):
        return image
    w, h = image.size
    if fit == "pad":  # the longer side fills, the rest is black
        scale = min(width / w, height / h)
        inner = (max(1, round(w * scale)), max(1, round(h * scale)))
        canvas = Image.new(image.mode, (width, height))
        canvas.paste(image.resize(inner, Image.Resampling.LANCZOS), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    box = (0.0, 0.0, float(w), float(h))
    if fit == "crop":  # the shorter side fills: the same as scaling all of it, then cutting out the centre
        scale = min(w / width, h / height)
        dx, dy = (w - width * scale) / 2, (h - height * scale) / 2
        box = (dx, dy, w - dx, h - dy)
    return image.resize((width, height), Image.Resampling.LANCZOS, box)
