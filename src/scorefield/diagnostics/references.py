"""What any denoiser of these data must not fall behind: upper bounds of the least error there is.

At noise s, y = x0 + s eps, the least mean squared error of x0 is that of E[x0 | y]. It is not known of data, but what
does worse than one of these is proved not to be E[x0 | y]:

    Wiener      m + C (C + s^2)^-1 (y - m)            the best affine denoiser, from the data's mean and covariance
    kernel      E[x0 | y] of the data set itself, a Gaussian of width h around each datum
    noisier     [1 / e(s') + 1/s^2 - 1/s'^2]^-1       from the model's own error e(s') at a noisier level s' > s

The last holds since the least error m an entry obeys dm / d(s^-2) = -E tr Cov[x0 | y]^2 / d <= -m^2, so that 1/m - s^-2
never falls as s does: with less noise the error must fall at least as it does of a Gaussian (Guo et al. 2011).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.distributions import Empirical

WIDTHS = (0.03, 0.15)  # of the kernels, over the data's standard deviation
FULL = 1024  # entries up to which the covariance is taken whole


class Spectrum:
    """Mean, eigenvectors and variances along them of data `(N, *event)`; one variance for all above FULL entries."""

    def __init__(self, data: Tensor) -> None:
        x = data.flatten(1).double()
        self.mean = x.mean(0)
        centred = x - self.mean
        self.std = float(centred.square().mean().sqrt())
        self.std_about_one_mean = float(x.std(correction=0))  # as one states it of pictures
        self.vectors: Tensor | None = None
        self.variances = centred.square().mean().reshape(1)
        if x.shape[1] <= FULL and len(x) > 2:
            self.variances, self.vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
            self.variances = self.variances.clamp(min=0)

    def denoise(self, y: Tensor, s: float) -> Tensor:
        """The Wiener filter's E[x0 | y], for y `(n, *event)`."""
        gain = self.variances / (self.variances + s**2)
        centred = y.flatten(1).double() - self.mean
        out = gain * centred if self.vectors is None else (centred @ self.vectors * gain) @ self.vectors.T
        return (self.mean + out).reshape(y.shape)


class References:
    """The denoisers above, of one pool of data `(N, *event)` that are not among those they are judged on."""

    def __init__(self, pool: Tensor, exact: Denoiser | None = None) -> None:
        self.spectrum = Spectrum(pool)
        self._kernels = {f"kernel {w:g} sd": Empirical(pool, w * self.spectrum.std) for w in WIDTHS}
        self._exact = exact

    @property
    def names(self) -> tuple[str, ...]:
        """The exact one alone where it is known."""
        return ("Wiener", *self._kernels) if self._exact is None else ("exact",)

    def of(self, name: str, y: Tensor, s: float) -> Tensor:
        """What one of them predicts for y = x0 + s eps `(n, *event)`, float64."""
        if self._exact is not None:
            own = self._exact.schedule
            t = own.time_of_log_snr(-math.log(s))
            return self._exact(float(own(t)[0]) * y, t).double()
        if name == "Wiener":
            return self.spectrum.denoise(y, s)
        return self._kernels[name].denoise(y, 1.0, s).double()


def from_noisier(s: Tensor, error: Tensor) -> Tensor:
    """The bound from all noisier levels, `(L,)`, of errors an entry `(L,)` at increasing s; infinite at the last."""
    gap = 1 / s[:, None] ** 2 - 1 / s[None, :] ** 2
    bound = 1 / (1 / error[None, :] + gap)
    noisier = torch.ones_like(bound, dtype=torch.bool).triu(1)
    return torch.where(noisier, bound, torch.inf).amin(1)
