"""Measurements by name: "radon:views=30" to an operator.

    name                            by itself, every option at its default
    name:option=value,option=value
    first+second                    one after another: blur:std=1+downsample:factor=2

This is what `scorefield reconstruct --operator` reads; in Python, make the operators themselves.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from scorefield.catalogue import OPERATORS
from scorefield.inverse import operators
from scorefield.inverse.operators import Operator
from scorefield.randomness import Noise
from scorefield.recipes.schema import part
from scorefield.recipes.tables import made

Shape = tuple[int, ...]


def parse(spec: str, event_shape: Shape) -> Operator:
    """The operator that `spec` names, on events of that shape.

    Raises:
        ValueError: in one line, for an unknown name or option (the nearest known one is given), a value of the wrong
            type or out of range, or an event it does not apply to.
    """
    operator: Operator | None = None
    for step in spec.split("+"):
        name, _, options = step.strip().partition(":")
        arguments = {}
        for option in filter(None, options.split(",")):
            key, equals, value = (text.strip() for text in option.partition("="))
            if not (key and equals and value):
                raise ValueError(f"operator {name!r}: options are written name=value; got {option!r}")
            if key in arguments:
                raise ValueError(f"operator {name!r}: {key} is given twice")
            if key in ("type", "event_shape"):  # ours to say
                raise ValueError(f"unknown key 'operator.{key}': {name} has no such argument")
            arguments[key] = value
        shape = tuple(event_shape if operator is None else operator.output_shape)
        following = made("operator", part(name, **arguments), OPERATORS, event_shape=shape)
        operator = following if operator is None else following @ operator
    assert operator is not None  # split gives at least one
    return operator


def denoise(event_shape: Shape) -> Operator:
    """x itself: what is measured is x and noise."""
    return operators.Diagonal(torch.ones((), device="cpu"), event_shape)


def inpaint(event_shape: Shape, *, missing: float = 0.5, seed: int = 0) -> Operator:
    """Pixels missing at random, all channels of a pixel alike.

    Raises:
        ValueError: for a share outside [0, 1), or events that are not images.
    """
    if not 0 <= missing < 1:
        raise ValueError(f"operator.missing: must lie in [0, 1); got {missing:g}")
    h, w = _image(event_shape)
    u = Noise(seed, torch.zeros(1, dtype=torch.int64, device="cpu"), (h, w), torch.float64).uniform(0)[0]
    return operators.Mask(u.flatten().argsort().argsort().reshape(h, w) >= round(missing * h * w), event_shape)


def inpaint_box(event_shape: Shape, *, size: float = 0.5) -> Operator:
    """A box in the middle is missing, its sides `size` times the image's.

    Raises:
        ValueError: for a size outside (0, 1), or events that are not images.
    """
    if not 0 < size < 1:
        raise ValueError(f"operator.size: must lie in (0, 1); got {size:g}")
    h, w = _image(event_shape)
    known = torch.ones(h, w, dtype=torch.bool, device="cpu")
    rows, columns = max(round(size * h), 1), max(round(size * w), 1)
    top, left = (h - rows) // 2, (w - columns) // 2
    known[top : top + rows, left : left + columns] = False
    return operators.Mask(known, event_shape)


def blur(
    event_shape: Shape, *, std: float = 1.5, padding: Literal["circular", "reflect", "zero"] = "reflect"
) -> Operator:
    """A Gaussian of `std` pixels."""
    return operators.Blur(operators.gaussian_kernel(std), event_shape, padding)


def motion(
    event_shape: Shape,
    *,
    length: float = 9.0,
    degrees: float = 30.0,
    padding: Literal["circular", "reflect", "zero"] = "reflect",
) -> Operator:
    """Along a straight line of `length` pixels."""
    return operators.Blur(operators.motion_kernel(length, math.radians(degrees)), event_shape, padding)


def downsample(event_shape: Shape, *, factor: int = 4, kernel: Literal["average", "bicubic"] = "average") -> Operator:
    """Super-resolution by `factor`."""
    return operators.Downsample(factor, event_shape, kernel)


def radon(
    event_shape: Shape,
    *,
    views: int = 30,
    start: float = 0.0,
    stop: float = 180.0,
    detectors: int | None = None,
    spacing: float = 1.0,
) -> Operator:
    """`views` parallel projections from `start` to `stop` degrees, the last left out.

    Raises:
        ValueError: for less than one view.
    """
    if views < 1:
        raise ValueError(f"operator.views: must be at least 1; got {views}")
    angles = start + (stop - start) * torch.arange(views, dtype=torch.float64, device="cpu") / views
    return operators.Radon(event_shape, torch.deg2rad(angles), detectors=detectors, spacing=spacing)


def mri(
    event_shape: Shape,
    *,
    acceleration: float = 4.0,
    centre: float = 0.08,
    kind: Literal["random", "equispaced", "radial"] = "random",
    coils: int = 1,
    seed: int = 0,
) -> Operator:
    """1 / `acceleration` of k-space: columns, or spokes (as many as cover that share); made-up sensitivities.

    Raises:
        ValueError: for events that are not images.
    """
    shape = _image(event_shape)
    if kind == "radial":
        wanted = math.prod(shape) / acceleration
        spokes = next(n for n in range(1, 4 * sum(shape)) if operators.radial_mask(shape, n + 1).sum() > wanted)
        mask = operators.radial_mask(shape, spokes)
    else:
        mask = operators.cartesian_mask(shape, acceleration, centre=centre, kind=kind, seed=seed)
    maps = operators.coil_maps(coils, shape) if coils > 1 else None
    return operators.Fourier(mask, event_shape, maps)


def phase(event_shape: Shape, *, oversampling: float = 2.0) -> Operator:
    """The modulus of the oversampled Fourier transform."""
    return operators.PhaseRetrieval(event_shape, oversampling)


def compressed(
    event_shape: Shape,
    *,
    ratio: float = 0.25,
    matrix: Literal["gaussian", "rademacher", "dct", "hadamard"] = "gaussian",
    seed: int = 0,
) -> Operator:
    """`ratio` times as many random projections as entries."""
    m = max(round(ratio * math.prod(event_shape)), 1)
    if matrix in ("dct", "hadamard"):
        return operators.SubsampledTransform(m, event_shape, transform=matrix, seed=seed)
    return operators.random_matrix(m, event_shape, law=matrix, seed=seed)


def colorize(event_shape: Shape) -> Operator:
    """The luminance of a colour image is measured."""
    return operators.Greyscale(event_shape)


def jpeg(event_shape: Shape, *, quality: int = 10, white: float = 255.0) -> Operator:
    """Compression; `white` is the raw value of white."""
    return operators.JPEG(event_shape, quality, white=white)


def _image(event_shape: Shape) -> tuple[int, int]:
    if len(event_shape) < 2:
        raise ValueError(f"operator: this one needs images, (..., H, W); the model's events are {event_shape}")
    return event_shape[-2], event_shape[-1]
