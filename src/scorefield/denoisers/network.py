"""Networks that are told the level of the noise in their input, and what becomes a denoiser of one.

    output = net(c_in(t) x_t, level(t), **cond),    E[x0 | x_t] = c_skip(t) x_t + c_out(t) output

`parameterizations` says what the output is a prediction of, a x0 + b eps, and so all four: c_in and the level are its
`input_scale` and `noise_level`, c_skip and c_out its `solve`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from scorefield.catalogue import known
from scorefield.denoisers.base import Denoiser, shaped
from scorefield.denoisers.levels import LEVELS
from scorefield.parameterizations import Parameterization
from scorefield.schedules import Schedule, as_time, pad_right


class NoiseConditional(nn.Module):
    """A network, the schedule of the noise in its input, and how it is told of it.

    Args:
        net: called as `net(c_in x_t, level, **cond)`, `level` of shape `(B,)` in the dtype of `x_t`.
        schedule: the noise it was trained on.
        parameterization: what its output means, how its input is scaled and what `level` is.
        level: replaces the parameterisation's noise level, for networks that expect another number: a word of
            `denoisers.levels`, such as "k" for DDPM's integer steps, or a function of t, `lambda t: 1000 * t - 1`.
        data_mean, data_std: of the data it was trained on; 0 and 1 unless given, and `training.fit` measures them.

    Raises:
        ValueError: for a level of another name; when called, for times that are not one for all, or one for each of
            x_t.
        TypeError: for a net, a schedule or a parameterization that is none; when called, where the
            network fails on an x_t of another dtype than its parameters.
    """

    settings: tuple[str, ...] = ()  # further arguments of the constructor, plain values, which checkpoints keep

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        *,
        level: str | Callable[[Tensor], Tensor] | None = None,
        data_mean: Tensor | float = Denoiser.data_mean,
        data_std: float = Denoiser.data_std,
    ) -> None:
        super().__init__()
        for name, value, kind in (
            ("net", net, nn.Module),
            ("schedule", schedule, Schedule),
            ("parameterization", parameterization, Parameterization),
        ):
            if not isinstance(value, kind):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"{name} must be a {kind.__name__}; got {getattr(value, '__name__', type(value).__name__)}"
                )
        self.net = net
        self.schedule = schedule
        self.parameterization = parameterization
        if isinstance(level, str):
            known("level", level, LEVELS)
        self.level = level
        self.data_mean = data_mean  # a plain attribute, moved to x's device where it is used
        self.data_std = data_std

    def told_level(self, t: Tensor) -> Tensor:
        """The number that tells the network how noisy x_t is, of the shape of `t`."""
        if isinstance(self.level, str):
            return LEVELS[self.level](self.schedule, t)
        return self.level(t) if self.level else self.parameterization.noise_level(self.schedule, t)

    def output(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        """The network's raw output: what training losses compare with the target.

        Raises:
            ValueError: for times that are not one for all, or one for each of x_t.
            TypeError: where the network fails on an x_t of another dtype than its parameters.
        """
        t = as_time(t)
        if t.ndim and t.shape != x_t.shape[:1]:
            raise ValueError(f"t must have shape () or ({len(x_t)},), one time for each of x_t; got {tuple(t.shape)}")
        level = (
            self.told_level(t).to(x_t.device, x_t.dtype).expand(x_t.shape[0])
        )  # len() is a constant in a traced program
        try:
            return self.net(pad_right(self.parameterization.input_scale(self.schedule, t), x_t) * x_t, level, **cond)
        except RuntimeError as error:
            own = next((p.dtype for p in self.net.parameters() if p.is_floating_point()), x_t.dtype)
            if own == x_t.dtype:
                raise
            raise TypeError(
                f"x_t is {x_t.dtype} and the parameters of {type(self.net).__name__} are {own}: convert one of them"
            ) from error


class NetworkDenoiser(NoiseConditional, Denoiser):
    """Any network, trained on any schedule and target, as a denoiser: `output` is a prediction of the target.

    Args:
        net, schedule, parameterization, level, data_mean, data_std: see `NoiseConditional`.
        channels: of a network that predicts more than the target, a variance say: the first so many are the target.

    Raises:
        ValueError: for fewer than one channel.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        *,
        level: str | Callable[[Tensor], Tensor] | None = None,
        channels: int | None = None,
        data_mean: Tensor | float = Denoiser.data_mean,
        data_std: float = Denoiser.data_std,
    ) -> None:
        super().__init__(net, schedule, parameterization, level=level, data_mean=data_mean, data_std=data_std)
        if channels is not None and channels < 1:
            raise ValueError(f"channels must be at least 1, or None for all; got {channels}")
        self.channels = channels

    def output(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        """The network's raw output, `(B, *event)`: what training losses compare with the target.

        Raises:
            ValueError: for an output of another shape than x_t's, or times that are not one for each of x_t.
            TypeError: for an output that is no tensor, or an x_t of another dtype than the network's parameters.
        """
        return shaped(type(self.net).__name__, super().output(x_t, t, **cond), x_t, self.channels)

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        return self.parameterization.x0(self.schedule, x_t, self.output(x_t, t, **cond), t)
