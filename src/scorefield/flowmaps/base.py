"""`FlowMap`: a network that is told where from and where to, and goes there in one evaluation.

In the angle theta of `flowmaps.circle`, with u the mean velocity on the way,

    X(z; theta, phi) = z - (theta - phi) u(z, theta, phi),      u(z, theta, theta) = dz/dtheta

so that X(z; theta, theta) = z whatever the network, and its diagonal is the velocity of the ODE: a denoiser. The exact
map has, along the ODE's own path, three faces (Boffi, Albergo & Vanden-Eijnden 2025):

    d/dphi X = velocity(X, phi)                          Lagrangian: its end moves as the ODE does
    d/dtheta X + (dX/dz) velocity(z, theta) = 0          Eulerian: where it starts on a path does not matter
    X(X(z; theta, psi); psi, phi) = X(z; theta, phi)     in two jumps or in one

and `flowmaps.objectives` makes the first two small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scorefield._caller import warn
from scorefield.denoisers import Denoiser, NetworkDenoiser
from scorefield.flowmaps.circle import Circle, Place
from scorefield.flowmaps.jump import Jump, angles
from scorefield.forward_mode import jvp
from scorefield.parameterizations import Parameterization
from scorefield.schedules import Schedule, pad_right
from scorefield.tensors import as_tensor

NO_DENSITY = (
    "samples of a few jumps have one, but it can't be had without inverting the map; the ODE of its diagonal, which it "
    "approximates, has one that can: log_prob(flow_map.field(), x)"
)
NO_FIELD = "its jumps end at a datum, not at the mean E[x0 | x_t] of them, so no direction follows from it"
STEP = 1e-5  # of central differences of coefficients, in float64: their error is 1e-10


class Moved(NamedTuple):
    """u, and how it changes along a direction."""

    u: Tensor
    rate: Tensor


class FlowMap(NetworkDenoiser):
    """`flow_map(x_t, t, s)` is x_s, as the probability-flow ODE would bring it there; `flow_map(x_t, t)` E[x0 | x_t].

    `sample` draws from it by jumps (`flowmaps.Jump`), two unless told otherwise. Its diagonal is a denoiser like any
    other, so solvers of ODEs and SDEs, scores and guidance work on it too. What few jumps draw has no density.

    Args:
        net: called as `net(c_in x_t, level, until=u, **cond)`, u `(B,)` the angle it goes to over pi / 2; the library's
            networks take it when built with `scalars=("until",)`.
        schedule, parameterization, level, data_mean, data_std: as for `NetworkDenoiser`; those of a teacher, where it
            begins with its weights.

    Raises:
        ValueError: for a network of the library that is not told where to go.
        TypeError: as `NetworkDenoiser`.
    """

    lacks = MappingProxyType({"density": NO_DENSITY})
    told: tuple[str, ...] = ("until",)  # what its network must take besides a denoiser's

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        *,
        level: Callable[[Tensor], Tensor] | None = None,
        data_mean: Tensor | float = Denoiser.data_mean,
        data_std: float = Denoiser.data_std,
    ) -> None:
        super().__init__(net, schedule, parameterization, level=level, data_mean=data_mean, data_std=data_std)
        if not set(self.told) <= set(getattr(net, "scalars", self.told)):
            raise ValueError(f"net must be told where to go: build {type(net).__name__} with scalars={self.told}")

    def forward(self, x_t: Tensor, t: Tensor | float, s: Tensor | float | None = None, **cond: Any) -> Tensor:
        circle = self.circle
        here = circle.place(t)
        if s is None:
            return self.parameterization.x0(self.schedule, x_t, self._told(x_t, here, here.theta, cond), here.t)
        there, z = circle.place(s), circle.z(x_t, here)
        u = circle.velocity(self.parameterization, x_t, self._told(x_t, here, there.theta, cond), here)
        return circle.x(z - pad_right(here.theta - there.theta, z) * u, there)

    @property
    def circle(self) -> Circle:
        return Circle.of(self)

    def field(self) -> NetworkDenoiser:
        """The diagonal alone, E[x0 | x_t] with the same weights: a denoiser, with the density of its ODE."""
        return _Diagonal(self)

    def method(self, nfe: int | None) -> tuple[Jump, Tensor]:
        """How `sample` draws where nobody says: `nfe` jumps, two unless told."""
        return Jump(), angles(self, 2 if nfe is None else nfe)

    def mean_velocity(self, z: Tensor, theta: Tensor, phi: Tensor, **cond: Any) -> Tensor:
        """u from `theta` to `phi` `(B,)`, float64 on the CPU, at `z` `(B, *event)`."""
        here = self.circle.at(theta)
        x = self.circle.x(z, here)
        return self.circle.velocity(self.parameterization, x, self._told(x, here, phi, cond), here)

    def moved(
        self, z: Tensor, theta: Tensor, phi: Tensor, dz: Tensor | None, dtheta: float, dphi: float, **cond: Any
    ) -> Moved:
        """u, and its derivative along (dz, dtheta, dphi), by one forward-mode pass of the network.

        What the schedule makes of theta is a few numbers for each sample, whose derivatives are central differences in
        float64. Where the network's kernels lack forward mode it fails: see `moved_by_differences`.
        """
        now, inside = self._coefficients(theta, z), self._inside(theta, STEP)
        before, after = (self._coefficients(inside + h, z) for h in (-STEP, STEP))
        rates = [dtheta * (b - a) / (2 * STEP) for a, b in zip(before, after, strict=True)]
        m = self.circle.mean(z)
        zero = torch.zeros_like(z)
        dz = zero if dz is None else dz
        inputs = now.scale * z + now.shift * m, now.level, 2 / math.pi * phi.to(z.device, z.dtype)
        tangents = (
            now.scale * dz + rates[0] * z + rates[1] * m,
            rates[2],
            torch.full_like(inputs[2], 2 / math.pi * dphi),
        )

        def net(x: Tensor, level: Tensor, until: Tensor) -> Tensor:
            return self.net(x, level, **self._heard(until, cond))

        out, d_out = jvp(net, inputs, tangents)
        u = now.of_z * z + now.of_mean * m + now.of_out * out
        return Moved(u, now.of_z * dz + rates[3] * z + rates[4] * m + rates[5] * out + now.of_out * d_out)

    def moved_by_differences(
        self,
        z: Tensor,
        theta: Tensor,
        phi: Tensor,
        dz: Tensor | None,
        dtheta: float,
        dphi: float,
        *,
        step: float = 5e-3,
        **cond: Any,
    ) -> Moved:
        """`moved` by two plain evaluations more: for any network; its error is step^2 / 6 times a third derivative, and
        that of rounding 1e-7 / step."""

        shift = self._inside(theta, step) - theta if dtheta else torch.zeros_like(theta)

        def along(h: float) -> Tensor:
            to = shift + h
            moved = z if dz is None else z + pad_right(to, z) * dz
            return self.mean_velocity(moved, theta + to * dtheta, phi + to * dphi, **cond)

        return Moved(self.mean_velocity(z, theta, phi, **cond), (along(step) - along(-step)) / (2 * step))

    def _inside(self, theta: Tensor, step: float) -> Tensor:
        """The nearest angle that lies a step within what the process covers."""
        return theta.clamp(step, self.circle.limit - step)

    def _told(self, x_t: Tensor, here: Place, phi: Tensor, cond: dict[str, Any]) -> Tensor:
        until = (2 / math.pi * phi).to(x_t.device, x_t.dtype).expand(len(x_t))
        return self.output(x_t, here.t, **self._heard(until, cond))

    def _heard(self, until: Tensor, cond: dict[str, Any]) -> dict[str, Any]:
        """What the network is told besides x and the level."""
        return {**_weighed(self.net, cond), "until": until}

    def _coefficients(self, theta: Tensor, z: Tensor) -> _Coefficients:
        """What theta means to the network and to its output, for each sample."""
        here, row, like = self.circle.at(theta), self.parameterization, z.flatten(1)[:, :1].double().cpu()
        bare = Circle(self.schedule, 0.0, self.data_std)
        zero, one = torch.zeros_like(like), torch.ones_like(like)
        # the velocity is linear in (x, output, mean): read its coefficients off
        of_x, of_out = bare.velocity(row, one, zero, here), bare.velocity(row, zero, one, here)
        of_mean = pad_right(torch.sin(here.theta) / self.data_std, one)
        fed, scale, alpha = (
            pad_right(as_tensor(v).expand(len(z)), one)
            for v in (row.input_scale(self.schedule, here.t), here.scale, here.alpha)
        )
        level = self.told_level(here.t)
        shaped = (fed * scale, fed * alpha, of_x * scale, of_x * alpha + of_mean, of_out)
        a, b, c, d, e = (v[:, 0].reshape(-1, *[1] * (z.ndim - 1)).to(z.device, z.dtype) for v in shaped)
        return _Coefficients(a, b, level.expand(len(z)).to(z.device, z.dtype), c, d, e)


class _Coefficients(NamedTuple):
    """u = of_z z + of_mean m + of_out net(scale z + shift m, level, until)."""

    scale: Tensor
    shift: Tensor
    level: Tensor
    of_z: Tensor
    of_mean: Tensor
    of_out: Tensor


class _Diagonal(NetworkDenoiser):
    def __init__(self, flow_map: FlowMap) -> None:
        super().__init__(
            flow_map.net,
            flow_map.schedule,
            flow_map.parameterization,
            level=flow_map.level,
            data_mean=flow_map.data_mean,
            data_std=flow_map.data_std,
        )
        self.data_range = flow_map.data_range

    def output(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        theta = Circle.of(self).place(t).theta
        until = (2 / math.pi * theta).to(x_t.device, x_t.dtype).expand(len(x_t))
        return super().output(x_t, t, **{**_weighed(self.net, cond), "until": until})


class ConsistencyMap(FlowMap):
    """A flow map that knows the jumps to the data alone: `consistency_map(x_t, t)` is where they lead.

    It has the network of a denoiser, which is told no second time, and is read as one: what was E[x0 | x_t] is now
    where the path through x_t ends. `sample` jumps to the data, adds the noise of a lower level, and jumps again.

    Args:
        net, schedule, parameterization, level, data_mean, data_std: as for `NetworkDenoiser`; those of a teacher, where
            it begins with its weights.
        jumps: how many it is to be drawn in, at equal angles, where its objective looks at samples (`drifting`,
            `training.DistributionMatching`): it is trained for these levels alone, and `sample` says so of another
            number. None: any number, as `consistency` makes it; two unless told.

    Raises:
        ValueError: for no jump; when called, for a jump that ends before the data.
        TypeError: as `NetworkDenoiser`.
    """

    lacks = MappingProxyType(
        {
            "density": "its samples have one, but it can't be had without inverting jumps; the teacher's ODE has one",
            **dict.fromkeys(("score", "velocity"), NO_FIELD),
        }
    )
    told = ()
    settings = ("jumps",)

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        *,
        level: Callable[[Tensor], Tensor] | None = None,
        data_mean: Tensor | float = Denoiser.data_mean,
        data_std: float = Denoiser.data_std,
        jumps: int | None = None,
    ) -> None:
        super().__init__(net, schedule, parameterization, level=level, data_mean=data_mean, data_std=data_std)
        if jumps is not None and jumps < 1:
            raise ValueError(f"jumps must be at least 1; got {jumps}")
        self.jumps = jumps

    def forward(self, x_t: Tensor, t: Tensor | float, s: Tensor | float | None = None, **cond: Any) -> Tensor:
        if s is not None and bool((as_tensor(s) > 0).any()):
            raise ValueError(f"{type(self).__name__} jumps to the data alone: s must be 0; got {s}")
        return NetworkDenoiser.forward(self, x_t, t, **_weighed(self.net, cond))

    def field(self) -> NetworkDenoiser:
        raise ValueError(f"{type(self).__name__} has no diagonal: {NO_FIELD}")

    def method(self, nfe: int | None) -> tuple[Jump, Tensor]:
        """How `sample` draws where nobody says."""
        count = nfe if nfe is not None else self.jumps or 2
        if self.jumps is not None and count != self.jumps:
            warn(
                f"this {type(self).__name__} was trained for {self.jumps} jumps, at their levels alone; got nfe={count}"
            )
        return Jump(renoise=1.0), angles(self, count)

    def _heard(self, until: Tensor, cond: dict[str, Any]) -> dict[str, Any]:
        return _weighed(self.net, cond)


def _weighed(net: nn.Module, cond: dict[str, Any]) -> dict[str, Any]:
    """A network that takes the weight of guidance is told 1, the plain conditional model, where nobody says."""
    given = {name: value for name, value in cond.items() if value is not None}
    return {"guidance": 1.0, **given} if "guidance" in getattr(net, "scalars", ()) else given
