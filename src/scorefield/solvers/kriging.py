"""A multistep method for a field of which more is known than that it is smooth.

On the circle z = cos(theta) x0 / sd + sin(theta) eps, tan theta = s = sigma / (alpha sd), the field F = dz/dtheta is 0
for Gaussian data. Adams' methods put a polynomial through its last values; here it is a Gaussian process, and a step
adds the expectation of its integral given those values (kriging, Bayesian quadrature):

    z_s = z_t + sum_j w_j F_j,    v_j w_j = sum_k [(K + nugget I)^-1]_jk int v(phi) rho(phi - phi_k) dtheta,
    K_jk = rho(phi_j - phi_k),    rho(d) = (1 + d^2 / (2 tail width^2))^-tail,
    phi = log((s + near) / (s + far)),    log v = a polynomial in phi.

phi is log s where data have their scales, so that every scale looks alike, and goes with theta at both ends. Where
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
from scorefield.solvers.base import Coordinate, finite
from scorefield.solvers.fields import NODES, WEIGHTS
from scorefield.solvers.multistep import RowSolver, rows
from scorefield.solvers.tuned import CIRCLE


@dataclass(frozen=True)
class Kriging(RowSolver):
    """See above; one evaluation a step, on any grid. Gaussian data of data_std keep mean and variance exactly.

    Args:
        near, far: where phi leaves log s, in units of data_std.
        width, tail: of the correlation rho: in phi, and how slowly it falls beyond.
        amplitude: coefficients of phi, phi^2, ... in log v.
        nugget: what of a value is not of the process, as a fraction of its variance.
        nodes: values the predictor reads; the corrector reads one more.

    Raises:
        ValueError: for a near that is not positive or not below far, a width, tail or nugget that is not positive, no
            node.
    """

    near: float
    far: float
    width: float
    tail: float
    amplitude: tuple[float, ...]
    nugget: float
    nodes: int = 4

    def __post_init__(self) -> None:
        if not (0 < self.near < self.far and min(self.width, self.tail, self.nugget) > 0 and self.nodes >= 1):
            raise ValueError(
                "Kriging: near must be positive and below far; width, tail, nugget positive; nodes at least 1; got "
                f"{self.near}, {self.far}; {self.width}, {self.tail}, {self.nugget}; {self.nodes}"
            )

    @property
    def memory(self) -> int:
        return self.nodes

    def coefficients(self, denoiser: Denoiser, t: Tensor, s: Tensor) -> Sequence[Any]:
        times = torch.cat([t, s[-1:]])
        at = Coordinate.of(CIRCLE, denoiser, times)
        of_x, of_x0 = at.slope(denoiser)  # of dz/du, u = 2 theta / pi
        keep, weights = at.scale[:-1] / at.scale[1:], self.weights(at.u) / at.scale[1:, None]
        finite(self, t, x=keep, field=weights.sum(1))
        return rows(denoiser, times, of_x[:-1], of_x0[:-1], keep, weights, torch.zeros_like(keep))

    def weights(self, u: Tensor) -> Tensor:
        """w of F = dz/du for the steps of `u` `(N + 1,)`, `(N, nodes + 1)`: column j belongs to the node j before."""
        predictor = self._weights(u, 0, self.nodes)
        correction = self._weights(u, 1, self.nodes + 1)
        correction = correction - torch.nn.functional.pad(predictor, (1, 0))
        # the correction of step i - 1 is made in step i, as in Multistep
        return torch.nn.functional.pad(predictor, (0, 1)) + torch.nn.functional.pad(correction[:-1], (0, 0, 1, 0))

    def _weights(self, u: Tensor, ahead: int, width: int) -> Tensor:
        """w of each step `(N, width)`: column j belongs to the node `j - ahead` steps before its start."""
        n = len(u) - 1
        index = torch.arange(n, device="cpu")[:, None] + ahead - torch.arange(width, device="cpu")
        used = (index >= 0) & (index < n)
        phi = self._phi(u[:-1])[index.clamp(0, n - 1)]  # (N, width)
        unit = torch.eye(width, dtype=torch.float64, device="cpu")
        between = self._correlation(phi[:, :, None] - phi[:, None, :]) + self.nugget * unit
        between = torch.where(used[:, :, None] & used[:, None, :], between, unit)
        h = u.diff()[:, None]
        points = self._phi(u[:-1, None] + h * (1 + NODES) / 2)  # (N, Q)
        seen = self._correlation(points[:, None, :] - phi[:, :, None]) * self._v(points)[:, None, :]
        integral = torch.where(used, (seen * WEIGHTS).sum(2) * h / 2, 0.0)
        weights = torch.linalg.solve(between, integral[..., None])[..., 0] / self._v(phi)
        return torch.where(used, weights, 0.0)

    def _phi(self, u: Tensor) -> Tensor:
        a, b = CIRCLE.alpha(u), CIRCLE.sigma(u)
        return torch.log((b + self.near * a) / (b + self.far * a))

    def _v(self, phi: Tensor) -> Tensor:
        log_v = torch.zeros_like(phi)
        for c in reversed(self.amplitude):
            log_v = (log_v + c) * phi
        return torch.exp(log_v)

    def _correlation(self, d: Tensor) -> Tensor:
        return (1 + d**2 / (2 * self.tail * self.width**2)) ** -self.tail
