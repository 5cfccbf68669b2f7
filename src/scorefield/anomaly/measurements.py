"""What is measured of a datum before it is judged: `measurement(denoiser, x) -> (B, L)`, float64 on the CPU.

In d dimensions:

    NegativeLogLikelihood   -log p(x) / d                                     nats per dimension
    NegativeElbo            -ELBO(x) / d                                      the same from above, no divergence
    CodeLength              the bits of a lossless coder, times log(2) / d    needs no model
    Difference              of two measurements: a log-likelihood ratio
    Under, Density          the first argument's model replaced by another: a background

and score norms and denoising errors in `anomaly.levels`.
"""

from __future__ import annotations

import abc
import dataclasses
import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from scorefield import data
from scorefield.conditions import Conditions
from scorefield.data import Transform
from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating
from scorefield.distributions import Distribution
from scorefield.likelihood import elbo, log_prob
from scorefield.likelihood.divergence import FIRST_DRAW
from scorefield.randomness import Stream
from scorefield.sampling.parts import bar

CHUNK_ELEMENTS = 2**16  # numbers in x at a time


class Given(NamedTuple):
    """Some data, and all that a measurement may need to know of them."""

    x: Tensor  # (B, *event), the model's units, integers dequantised
    raw: Tensor  # as they came
    transform: Transform | None
    seed: int
    first_index: int
    cond: Conditions

    @property
    def dims(self) -> int:
        return math.prod(self.x.shape[1:])


class Measurement(abc.ABC):
    """A value; two that are equal measure the same."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """L, the numbers for each datum."""

    @abc.abstractmethod
    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        """`(B, L)` of one chunk."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        *,
        transform: Transform | None = None,
        seed: int = 0,
        first_index: int = 0,
        cond: Mapping[str, Any] | None = None,
        chunk: int | None = None,
        progress: bool = False,
    ) -> Tensor:
        """`(B, L)` float64 on the CPU.

        Args:
            x: `(B, *event)`, in the units the model was trained on; with a `transform`, in the data's: integers where
                it has levels, which get dequantisation noise of their own.
            seed, first_index: all noise of datum i is a function of (seed, first_index + i) alone.
            cond: keyword arguments of the denoiser, each sample's own or for all: see `scorefield.conditions`.
            chunk: data at a time; chosen by size unless given.

        Raises:
            ValueError: for x that is not finite, or not integers where the transform has levels; for a condition of
                another length than x.
        """
        if x.ndim < 1 or not bool(torch.isfinite(x).all()):
            raise ValueError(f"x must be finite, of shape (B, *event); got NaN, infinity or shape {tuple(x.shape)}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1; got {chunk}")
        batch = len(x)
        told = Conditions.of(cond, batch, what="data")
        size = chunk or max(1, CHUNK_ELEMENTS // max(1, math.prod(x.shape[1:])))
        parts = [torch.empty(0, self.size, dtype=torch.float64, device="cpu")]
        with evaluating(denoiser), torch.no_grad(), bar(progress, -(-batch // size), "measuring") as advance:
            for low in range(0, batch, size):
                rows = slice(low, low + size)
                index = torch.arange(first_index + low, first_index + min(low + size, batch), device=x.device)
                seen = in_model_units(x[rows], transform, seed, index)
                own = Conditions.of(told.rows(rows), len(seen), seen.dtype, seen.device)
                given = Given(seen, x[rows], transform, seed, first_index + low, own)
                parts.append(self.measure(denoiser, given).to("cpu", torch.float64))
                advance()
        return torch.cat(parts)


def in_model_units(x: Tensor, transform: Transform | None, seed: int, index: Tensor) -> Tensor:
    """`x` as a model sees it; dequantisation noise as in `likelihood.bits_per_dim`, draw 0.

    Raises:
        ValueError: without a transform, for an x that is not floating point; with one that has levels, for an x of
            anything but these integers.
    """
    if transform is None:
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point without a transform; got {x.dtype}")
        return x
    if transform.levels is None:
        return transform(x)
    _check_integers(x, transform.levels)
    stream = Stream(seed, index)
    stream.draw = FIRST_DRAW + 1
    return transform.dequantize(x, stream)


def _check_integers(x: Tensor, levels: int) -> None:
    low, high = (float(end) for end in torch.aminmax(x)) if x.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= levels - 1) or (x.is_floating_point() and bool((x % 1 != 0).any())):
        raise ValueError(f"x must be integers in 0..{levels - 1}; got values in {low:g}..{high:g}")


@dataclass(frozen=True)
class NegativeLogLikelihood(Measurement):
    """-log p(x) / d through the probability-flow ODE, in the data's units where there is a transform.

    Data differ by far more than one probe and this tolerance are off by: for numbers to publish use `log_prob`.

    Args:
        probes, tolerance: as for `log_prob`; None takes the exact trace.
    """

    probes: int | None = 1
    tolerance: float = 1e-2

    @property
    def size(self) -> int:
        return 1

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        jacobian = _log_jacobian(given)
        result = log_prob(
            denoiser,
            given.x,
            tolerance=self.tolerance,
            probes=self.probes,
            seed=given.seed,
            first_index=given.first_index,
            cond=given.cond,
        )
        return -(result.log_prob[:, None] + jacobian) / given.dims


@dataclass(frozen=True)
class NegativeElbo(Measurement):
    """-ELBO(x) / d: `draws` evaluations and no derivative, so several times cheaper than the likelihood it bounds."""

    draws: int = 32

    @property
    def size(self) -> int:
        return 1

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        jacobian = _log_jacobian(given)
        bound = elbo(
            denoiser, given.x, draws=self.draws, seed=given.seed, first_index=given.first_index, cond=given.cond
        )
        return -(bound.elbo[:, None] + jacobian) / given.dims


def _log_jacobian(given: Given) -> float:
    if given.transform is None:
        return 0.0
    if given.transform.levels is not None:
        data.bits_per_dim(torch.zeros(1, device="cpu"), given.transform, given.dims)  # refuses a model of bare integers
    return given.transform.log_jacobian(given.dims)


@dataclass(frozen=True)
class CodeLength(Measurement):
    """What a general-purpose lossless coder makes of integers up to 255, headers included: nats per dimension.

    Args:
        coder: "png", for images with 1 or 3 channels, or "zlib", for bytes in the order of memory.

    Raises:
        ValueError: for another coder; in measuring, without a transform of at most 256 levels.
    """

    coder: Literal["png", "zlib"] = "png"

    def __post_init__(self) -> None:
        if self.coder not in ("png", "zlib"):
            raise ValueError(f"coder must be 'png' or 'zlib'; got {self.coder!r}")

    @property
    def size(self) -> int:
        return 1

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        levels = None if given.transform is None else given.transform.levels
        if levels is None or levels > 256:
            raise ValueError(f"a code length is of integers in 0..255: it needs a transform with levels; got {levels}")
        pixels = given.raw.to("cpu", torch.uint8)
        encode = _png if self.coder == "png" else _zlib
        return torch.tensor(
            [[8 * encode(p) * math.log(2) / given.dims] for p in pixels], dtype=torch.float64, device="cpu"
        )


def _png(pixels: Tensor) -> int:
    if pixels.ndim != 3 or len(pixels) not in (1, 3):
        raise ValueError(f"PNG is for events (1, H, W) and (3, H, W); got {tuple(pixels.shape)}: use 'zlib'")
    image = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(image.numpy()).save(file, format="png", optimize=True)
    return len(file.getvalue())


def _zlib(pixels: Tensor) -> int:
    return len(zlib.compress(pixels.contiguous().numpy().tobytes(), 9))


@dataclass(frozen=True)
class Difference(Measurement):
    """`first` - `second`, of equal sizes. With a background second: minus a log-likelihood ratio, per dimension.

    Raises:
        ValueError: for two that measure unequal numbers.
    """

    first: Measurement
    second: Measurement

    def __post_init__(self) -> None:
        if self.first.size != self.second.size:
            raise ValueError(
                f"first and second must measure as many numbers; got {self.first.size} and {self.second.size}"
            )

    @property
    def size(self) -> int:
        return self.first.size

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        return self.first.measure(denoiser, given).cpu() - self.second.measure(denoiser, given).cpu()


@dataclass(frozen=True)
class Under(Measurement):
    """`measurement` under a denoiser of its own, whatever it is called with; it sees no condition."""

    denoiser: Denoiser
    measurement: Measurement = dataclasses.field(default_factory=NegativeLogLikelihood)

    @property
    def size(self) -> int:
        return self.measurement.size

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        with evaluating(self.denoiser):
            return self.measurement.measure(self.denoiser, given._replace(cond=Conditions()))


@dataclass(frozen=True)
class Density(Measurement):
    """-log p(x) / d of a distribution in closed form, over the flattened event, in the data's units."""

    distribution: Distribution

    @property
    def size(self) -> int:
        return 1

    def measure(self, denoiser: Denoiser, given: Given) -> Tensor:
        x = given.x.reshape(len(given.x), *self.distribution.event_shape)
        return -(self.distribution.log_prob(x)[:, None].double() + _log_jacobian(given)) / given.dims
