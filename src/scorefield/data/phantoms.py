"""Ellipse phantoms: piecewise constant images whose line integrals are known in closed form.

An ellipse with centre c, semi-axes a and b, turned by phi, is the set of (x, y) in the square [-1, 1]^2 (y up) with

    (u cos phi + v sin phi)^2 / a^2 + (v cos phi - u sin phi)^2 / b^2 <= 1,    (u, v) = (x, y) - c,

and the integral of its indicator along the line x cos theta + y sin theta = s is

    2 a b sqrt(r^2 - d^2) / r^2,    r^2 = a^2 cos^2(theta - phi) + b^2 sin^2(theta - phi),
    d = s - c_x cos theta - c_y sin theta.

A pixel holds the share of its area that is covered: chords are exact along x and sampled along y, so edges are smooth
and the same phantom can be had at any size.

References:
    Shepp & Logan 1974, The Fourier reconstruction of a head section. Toft 1996, The Radon transform, appendix B.
    Kak & Slaney 1988, Principles of computerized tomographic imaging, ch. 3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.randomness import Noise

_ROWS = 8  # chords in a row of pixels
_INNER = 12  # ellipses inside a body, at most
_NUMBERS = 6  # drawn for each


class Ellipse(NamedTuple):
    """In units of half the image's width; `angle` in radians, from the x axis towards y, which points up."""

    value: float
    a: float
    b: float
    x: float
    y: float
    angle: float = 0.0


#: Values are added up. Toft's, whose contrasts can be seen: 0.1 and 0.2 where the original has 0.01 and 0.02.
SHEPP_LOGAN = (
    Ellipse(1.0, 0.69, 0.92, 0.0, 0.0),
    Ellipse(-0.8, 0.6624, 0.874, 0.0, -0.0184),
    Ellipse(-0.2, 0.11, 0.31, 0.22, 0.0, math.radians(-18)),
    Ellipse(-0.2, 0.16, 0.41, -0.22, 0.0, math.radians(18)),
    Ellipse(0.1, 0.21, 0.25, 0.0, 0.35),
    Ellipse(0.1, 0.046, 0.046, 0.0, 0.1),
    Ellipse(0.1, 0.046, 0.046, 0.0, -0.1),
    Ellipse(0.1, 0.046, 0.023, -0.08, -0.605),
    Ellipse(0.1, 0.023, 0.023, 0.0, -0.606),
    Ellipse(0.1, 0.023, 0.046, 0.06, -0.605),
)


def shepp_logan(size: int = 128) -> Tensor:
    """The modified Shepp-Logan head, `(1, 1, size, size)` float32 in [0, 1].

    Raises:
        ValueError: for a size below 1.
    """
    image = np.zeros((_checked("size", size, 1), size))
    for ellipse in SHEPP_LOGAN:
        rows, columns, covered = coverage(ellipse, size)
        image[rows, columns] += ellipse.value * covered
    return _tensor(image)[None, None]


def ellipses(n: int, size: int = 128, seed: int = 0, *, start: int = 0) -> Tensor:
    """Random bodies with ellipses inside, `(n, 1, size, size)` float32 in [0, 1]: phantoms start .. start + n - 1.

    A body fills most of the image, every second one has a rim of another value, and 3 to 12 ellipses of sizes from 0.02
    to 0.4 are painted into it, one over another. Values are uniform in [0, 1]; outside the body is 0. Phantom i
    depends on the seed and i alone: fewer are the first of more, and a smaller size is the same phantom.

    Raises:
        ValueError: for a negative n or start, or a size below 1.
    """
    for name, value, least in (("n", n, 0), ("size", size, 1), ("start", start, 0)):
        _checked(name, value, least)
    images = torch.empty(n, 1, size, size, device="cpu")
    for row in range(n):
        images[row, 0] = _tensor(_painted(seed, start + row, size))
    return images


def coverage(ellipse: Ellipse, size: int) -> tuple[slice, slice, np.ndarray]:
    """The share of each pixel's area inside, where it is not 0: rows, columns, and the values there, float64."""
    _, a, b, x, y, angle = ellipse
    cos, sin = math.cos(angle), math.sin(angle)
    width, height = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)  # half the bounding box
    rows = _span(-y - height, -y + height, size)  # row 0 is the top
    columns = _span(x - width, x + width, size)
    pixel = 2 / size
    v = 1 - (np.arange(rows.start * _ROWS, rows.stop * _ROWS) + 0.5) * pixel / _ROWS - y
    q = (cos / a) ** 2 + (sin / b) ** 2
    centre = x - v * cos * sin * (1 / a**2 - 1 / b**2) / q
    half = np.sqrt(np.maximum(q - (v / (a * b)) ** 2, 0)) / q
    left = -1 + np.arange(columns.start, columns.stop) * pixel
    low, high = (centre - half)[:, None], (centre + half)[:, None]
    inside = np.maximum(np.minimum(high, left + pixel) - np.maximum(low, left), 0) / pixel
    return rows, columns, inside.reshape(-1, _ROWS, len(left)).mean(1)


def line_integrals(ellipses: tuple[Ellipse, ...], angles: Tensor, offsets: Tensor) -> Tensor:
    """Of the sum of ellipses, along x cos theta + y sin theta = s: `(len(angles), len(offsets))` float64.

    Args:
        angles: theta, radians.
        offsets: s, in units of half the image's width, as is the result.
    """
    theta, s = angles.double()[:, None], offsets.double()
    total = torch.zeros(len(theta), len(s), dtype=torch.float64, device="cpu")
    for value, a, b, x, y, angle in ellipses:
        r2 = (a * torch.cos(theta - angle)) ** 2 + (b * torch.sin(theta - angle)) ** 2
        d = s - (x * torch.cos(theta) + y * torch.sin(theta))
        total += value * 2 * a * b * (r2 - d**2).clamp(min=0).sqrt() / r2
    return total


def _painted(seed: int, i: int, size: int) -> np.ndarray:
    index = torch.tensor([i], device="cpu")
    u = Noise(seed, index, (2 + _INNER, _NUMBERS), torch.float64).uniform(0)[0].tolist()
    (value, a, b, x, y, angle), (rim, rim_value, thickness, count, *_), *inner = u
    body = Ellipse(value, 0.6 + 0.35 * a, 0.6 + 0.35 * b, 0.1 * (x - 0.5), 0.1 * (y - 0.5), math.pi * angle)
    image = np.zeros((size, size))
    whole = np.zeros((size, size))
    rows, columns, covered = coverage(body, size)
    whole[rows, columns] = covered
    layers = []
    if rim < 0.5:
        image[:] = rim_value
        thickness = 0.02 + 0.08 * thickness
        layers.append(body._replace(a=body.a - thickness, b=body.b - thickness))
    else:
        image[:] = value
    for value, a, b, x, y, angle in inner[: 3 + int(count * (_INNER - 2))]:
        radius, turn = 0.85 * math.sqrt(x), 2 * math.pi * y  # uniform over the disk that becomes the body
        u, v = radius * body.a * math.cos(turn), radius * body.b * math.sin(turn)
        cos, sin = math.cos(body.angle), math.sin(body.angle)
        layers.append(
            Ellipse(
                value,
                0.02 * 20**a,
                0.02 * 20**b,
                body.x + u * cos - v * sin,
                body.y + u * sin + v * cos,
                math.pi * angle,
            )
        )
    for layer in layers:
        rows, columns, covered = coverage(layer, size)
        under = image[rows, columns]
        image[rows, columns] = under + covered * (layer.value - under)
    return image * whole


def _span(low: float, high: float, size: int) -> slice:
    """The pixels that [low, high] in [-1, 1] touches."""
    first = min(max(math.floor((low + 1) / 2 * size), 0), size)
    return slice(first, max(min(math.ceil((high + 1) / 2 * size), size), first))


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.clip(0, 1).astype(np.float32))


def _checked(name: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    return value
