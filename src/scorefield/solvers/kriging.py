"""A multistep method for a field of which more is known than that it is smooth.

With s = sigma / (alpha sd), sd = scale data_std, the paths

    z = a x0 / sd + b eps,    b / a = s,    a^2 + 2 tilt a b + b^2 = 1,    dz = F dtau,    dtau = a^2 ds,
    F = (a + tilt b) eps - (b + tilt a) x0 / sd

are the circle for tilt = 0, where F = 0 for Gaussian data of standard deviation sd, and the straight line of flow
matching for tilt = 1, where F is constant for a single datum. Adams' methods put a polynomial through the last values
of F; here it is a Gaussian process, and a step adds the expectation of its integral given those values (kriging,
Bayesian quadrature):

    z_s = z_t + sum_j w_j F_j,    v_j w_j = sum_k [(K + nugget I)^-1]_jk int v(phi) rho(phi - phi_k) dtau,
    K_jk = rho(phi_j - phi_k),    rho(d) = (1 + d^2 / (2 tail width^2))^-tail,
    phi = log((s + near) / (s + far)),    log v = a polynomial in phi.

phi is log s where data have their scales, so that every scale looks alike, and goes with s and 1 / s at the ends. Where
steps are small against `width` the weights are those of a polynomial in phi, of a degree that the nugget limits; where
they are not, they are what serves on average. As in `multistep` the corrector repeats each step with the value at its
end, which the next step computes anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.solvers.base import finite
from scorefield.solvers.fields import NODES, WEIGHTS
from scorefield.solvers.multistep import RowSolver, rows


@dataclass(frozen=True)
class Kriging(RowSolver):
    """See above; one evaluation a step, on any grid. With tilt 0 and scale 1 Gaussian data keep mean and std exactly.

    Args:
        near, far: where phi leaves log s.
        width, tail: of the correlation rho: in phi, and how slowly it falls beyond.
        amplitude: coefficients of phi, phi^2, ... in log v.
        nugget: what of a value is not of the process, as a fraction of its variance.
        tilt, scale: of the path.
        nodes: values the predictor reads; the corrector reads one more.

    Raises:
        ValueError: for a near that is not positive or not below far, a width, tail, nugget or scale that is not
            positive, a tilt that is not above -1 and at most 1, no node.
    """

    near: float
    far: float
    width: float
    tail: float
    amplitude: tuple[float, ...]
    nugget: float
    tilt: float = 0.0
    scale: float = 1.0
    nodes: int = 4

    def __post_init__(self) -> None:
        positive = min(self.width, self.tail, self.nugget, self.scale) > 0
        if not (0 < self.near < self.far and positive and -1 < self.tilt <= 1 and self.nodes >= 1):
            raise ValueError(
                "Kriging: near must be positive and below far; width, tail, nugget, scale positive; tilt above -1 and "
                f"at most 1; nodes at least 1; got {self.near}, {self.far}; {self.width}, {self.tail}, {self.nugget}, "
                f"{self.scale}; {self.tilt}; {self.nodes}"
            )

    @property
    def memory(self) -> int:
        return self.nodes

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        times = torch.cat([t, s[-1:]])
        alpha, sigma = denoiser.schedule(times)
        sd = self.scale * denoiser.data_std
        size = self.size(alpha * sd, sigma)  # x / z
        of_eps = (alpha * sd + self.tilt * sigma) / size
        of_x = of_eps[:-1] / sigma[:-1]
        of_x0 = -((sigma / sd + self.tilt * alpha) / size)[:-1] - alpha[:-1] * of_x
        keep = size[1:] / size[:-1]
        weights = self.weights(sigma / (alpha * sd + sigma)) * size[1:, None]
        finite(self, t, x=keep, field=weights.sum(1))
        return rows(denoiser, times, of_x, of_x0, keep, weights, torch.zeros_like(keep))

    def size(self, signal: Tensor, noise: Tensor) -> Tensor:
        """The length of signal x0 / sd + noise eps that a path gives as 1."""
        return torch.sqrt(signal**2 + 2 * self.tilt * signal * noise + noise**2)

    def weights(self, u: Tensor) -> Tensor:
        """w of F for the steps of u = s / (1 + s) `(N + 1,)`, `(N, nodes + 1)`: column j belongs to the node j before."""
        predictor = self._weights(u, 0, self.nodes)
        correction = self._weights(u, 1, self.nodes + 1)
        correction = correction - torch.nn.functional.pad(predictor, (1, 0))
        # the correction of step i - 1 is made in step i, as in Multistep
        return torch.nn.functional.pad(predictor, (0, 1)) + torch.nn.functional.pad(correction[:-1], (0, 0, 1, 0))

    def _weights(self, u: Tensor, ahead: int, width: int) -> Tensor:
        """w of each step `(N, width)`: column j belongs to the node `j - ahead` steps before its start."""
        n = len(u) - 1
        index = torch.arange(n)[:, None] + ahead - torch.arange(width)
        used = (index >= 0) & (index < n)
        phi = self._phi(u[:-1])[index.clamp(0, n - 1)]  # (N, width)
        unit = torch.eye(width, dtype=torch.float64)
        between = self._correlation(phi[:, :, None] - phi[:, None, :]) + self.nugget * unit
        between = torch.where(used[:, :, None] & used[:, None, :], between, unit)
        h = u.diff()[:, None]
        points = u[:-1, None] + h * (1 + NODES) / 2  # (N, Q)
        rate = self.size(1 - points, points) ** -2  # dtau / du
        at = self._phi(points)
        seen = self._correlation(at[:, None, :] - phi[:, :, None]) * (self._v(at) * rate)[:, None, :]
        integral = torch.where(used, (seen * WEIGHTS).sum(2) * h / 2, 0.0)
        weights = torch.linalg.solve(between, integral[..., None])[..., 0] / self._v(phi)
        return torch.where(used, weights, 0.0)

    def _phi(self, u: Tensor) -> Tensor:
        return torch.log((u + self.near * (1 - u)) / (u + self.far * (1 - u)))

    def _v(self, phi: Tensor) -> Tensor:
        log_v = torch.zeros_like(phi)
        for c in reversed(self.amplitude):
            log_v = (log_v + c) * phi
        return torch.exp(log_v)

    def _correlation(self, d: Tensor) -> Tensor:
        return (1 + d**2 / (2 * self.tail * self.width**2)) ** -self.tail
