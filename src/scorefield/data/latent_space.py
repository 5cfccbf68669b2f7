"""Models in the latent space of an autoencoder, decoded to data (Vahdat et al. 2021; Rombach et al. 2022).

    z = encode(y),      x = scale (z - shift),      y' = decode(x / scale + shift)

A model of x is trained and sampled like any other; `LatentSpace` is the data's `Transform`, so `fit` encodes what it
trains on, a checkpoint carries the autoencoder, and samples come back decoded. `measured` finds the scale and shift
that give x mean 0 and standard deviation 1, which is what sigma_data then is.

The density of x is none of y: decoded samples lie on the image of the decoder, a set of measure zero where the latent
has fewer dimensions, and log p(y) = log p(x) + log|det dx/dy| needs an invertible encoder. Only where it is one, with
a determinant that is known and the same everywhere, has a latent model a likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from scorefield.data._moments import moments
from scorefield.data.sources import Arrays, Source, chunks, rows_at_a_time
from scorefield.data.transforms import Transform
from scorefield.randomness import Randomness


class Autoencoder(Protocol):
    """An `nn.Module` with these two; whatever else it has is its own."""

    def encode(self, y: Tensor, /) -> Tensor:
        """(B, *event) to (B, *latent)."""
        ...

    def decode(self, z: Tensor, /) -> Tensor:
        """(B, *latent) to (B, *event)."""
        ...


class LatentSpace(nn.Module):
    """The transform from data to a model's latent units and back; see the module's text for the equations.

    Args:
        autoencoder: an `nn.Module` with `encode` and `decode`, left in eval mode and without gradients. To travel in a
            checkpoint it keeps each argument of its constructor as an attribute of the same name, like a network.
        scale, shift: of the latent.
        before: the transform from raw data to what the autoencoder takes: bytes to [-1, 1], say. None: raw data.
        mean, sigma_data: of the latents in model units, over all entries.
        log_det: log|det dz/dy| of an encoder that is invertible and has the same determinant everywhere, nats. None,
            where it is not, and likelihoods are refused.
        encoded: the source holds z already (`latents`), so that training does not encode a datum again in each epoch.

    Raises:
        ValueError: for a scale that is 0 or not finite, a shift that is not finite, a sigma_data that is not positive,
            or an autoencoder without `encode` or `decode`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        scale: float = 1.0,
        shift: float = 0.0,
        *,
        before: Transform | None = None,
        mean: float = 0.0,
        sigma_data: float = 1.0,
        log_det: float | None = None,
        encoded: bool = False,
    ) -> None:
        super().__init__()
        for name in ("encode", "decode"):
            if not callable(getattr(autoencoder, name, None)):
                raise ValueError(f"LatentSpace: autoencoder must have a method {name!r}; got {type(autoencoder)}")
        if not (math.isfinite(scale) and scale != 0 and math.isfinite(shift)):
            raise ValueError(f"LatentSpace: scale must be finite and not 0, shift finite; got {scale} and {shift}")
        if not sigma_data > 0:
            raise ValueError(f"LatentSpace: sigma_data must be positive; got {sigma_data}")
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.scale, self.shift, self.before, self.encoded = float(scale), float(shift), before, encoded
        self.mean, self.sigma_data, self.log_det = float(mean), float(sigma_data), log_det

    @classmethod
    def measured(
        cls,
        autoencoder: nn.Module,
        x_raw: Tensor | Source,
        *,
        before: Transform | None = None,
        log_det: float | None = None,
    ) -> LatentSpace:
        """The latent space in which `x_raw`, encoded in pieces, has mean 0 and standard deviation 1 over all entries.

        Raises:
            ValueError: for latents that are not finite, or do not vary.
        """
        bare = cls(autoencoder, before=before)
        m = moments(bare.latents(x_raw))
        mean, std = float(m.mean), float(m.var) ** 0.5
        if not std > 0:
            raise ValueError(f"LatentSpace needs latents that vary; every entry is {mean:g}")
        return cls(autoencoder, 1 / std, mean, before=before, log_det=log_det)

    @property
    def levels(self) -> int | None:
        """Of the decoded data, where `before` has levels."""
        return None if self.before is None else self.before.levels

    @property
    def noise(self) -> bool:
        """Whether integers are dequantised by noise before they are encoded."""
        return getattr(self.before, "noise", True)

    @torch.no_grad()
    def encode(self, y: Tensor) -> Tensor:
        """z = encode(y) of raw, continuous data `(B, *event)`: before scale and shift."""
        return self.autoencoder.encode(y if self.before is None else self.before(y))  # type: ignore[operator]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Raw data of z `(B, *latent)`."""
        y = self.autoencoder.decode(z)  # type: ignore[operator]
        return y if self.before is None else self.before.inverse(y)

    def __call__(self, y: Tensor) -> Tensor:
        """x, in model units, of raw data (or of z, where `encoded`)."""
        return self.scale * ((y if self.encoded else self.encode(y)) - self.shift)

    def inverse(self, x: Tensor) -> Tensor:
        """Raw data, decoded from model units in pieces, of any device and dtype the autoencoder takes."""
        z = x / self.scale + self.shift
        return torch.cat([self.decode(part) for part in z.split(rows_at_a_time(z.shape[1:]))]) if len(z) else z

    def log_jacobian(self, dims: int) -> float:
        """log|det dx/dy| of an event of `dims` entries, nats.

        Raises:
            ValueError: unless the encoder is known to be invertible (`log_det`).
        """
        if self.log_det is None:
            raise ValueError(
                "a latent model has no density in data space: decoded samples lie on the decoder's image. Give "
                "LatentSpace(log_det=...) if the encoder is invertible, or score latents, with transform=None"
            )
        raw = 0.0 if self.before is None else self.before.log_jacobian(dims)
        return self.log_det + dims * math.log(abs(self.scale)) + raw

    def dequantize(self, x_raw: Tensor, generator: Randomness = None) -> Tensor:
        """x of raw data; integers with the noise that `before` gives them."""
        if self.encoded or self.before is None:
            return self(x_raw)
        with torch.no_grad():
            z = self.autoencoder.encode(self.before.dequantize(x_raw, generator))  # type: ignore[operator]
        return self.scale * (z - self.shift)

    def latents(self, source: Tensor | Source) -> Arrays:
        """z of all data, encoded once, with their conditions: train on them with `LatentSpace(..., encoded=True)`."""
        source = Arrays(source) if isinstance(source, Tensor) else source
        parts, conds = [], []
        for rows in _pieces(source):
            x, cond = source.batch(rows)
            # integers at the middle of their bin, where `before` would spread them over it
            middle = 0.5 if self.before is not None and source.levels is not None else 0.0
            parts.append(self.encode(x.float() + middle))
            conds.append(cond)
        cond = {name: torch.cat([c[name] for c in conds]) for name in conds[0]}
        return Arrays(torch.cat(parts), cond.pop("label", None), cond=cond, num_classes=source.num_classes)


class PCA(nn.Module):
    """The linear autoencoder of least squared error: z = U^T (y - m), y' = m + U z with U orthonormal, (d, k).

    U holds the k leading eigenvectors of the data's covariance. With k = d it is a rotation: invertible, log_det = 0.

    Args:
        event_shape: of a datum; d is its number of entries.
        k: latent dimensions, 1 .. d.

    Raises:
        ValueError: for a k outside 1 .. d.
    """

    basis: Tensor
    centre: Tensor

    def __init__(self, event_shape: tuple[int, ...], k: int) -> None:
        super().__init__()
        self.event_shape, self.k = tuple(event_shape), k
        d = math.prod(self.event_shape)
        if not 1 <= k <= d:
            raise ValueError(f"PCA: k must lie in 1..{d}, the entries of {self.event_shape}; got {k}")
        self.register_buffer("basis", torch.eye(d, k, device=torch.get_default_device()))
        self.register_buffer("centre", torch.zeros(d, device=torch.get_default_device()))

    @classmethod
    def fitted(cls, y: Tensor, k: int) -> PCA:
        """Of data `(N, *event)`, by the eigenvectors of their covariance in float64."""
        own = cls(tuple(y.shape[1:]), k)
        flat = y.reshape(len(y), -1).double()
        centre = flat.mean(0)
        covariance = (flat - centre).T @ (flat - centre) / len(flat)
        vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :k]
        own.basis, own.centre = vectors.to(y.dtype).contiguous(), centre.to(y.dtype)
        return own

    def encode(self, y: Tensor) -> Tensor:
        """(B, *event) to (B, k)."""
        return (y.reshape(len(y), -1) - self.centre) @ self.basis

    def decode(self, z: Tensor) -> Tensor:
        """(B, k) to (B, *event)."""
        return (self.centre + z @ self.basis.T).reshape(-1, *self.event_shape)


def _pieces(source: Source) -> Iterator[Tensor]:
    """Rows, a few hundred at a time: networks need many times the memory of a datum."""
    for rows in chunks(source):
        yield from rows.split(256)
