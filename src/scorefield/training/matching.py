"""Distribution matching: a few-step model moved by the difference of two scores, its teacher's and its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scorefield import losses
from scorefield.data import Transform
from scorefield.denoisers import Denoiser, NetworkDenoiser
from scorefield.denoisers.base import evaluating, require
from scorefield.flowmaps import ConsistencyMap
from scorefield.flowmaps.circle import Circle
from scorefield.flowmaps.noising import drawn
from scorefield.losses import TimeLaw
from scorefield.randomness import Stream, randn_like
from scorefield.schedules import pad_right
from scorefield.training.denoising import Augment, DenoisingObjective
from scorefield.training.objective import Now, Turn
from scorefield.training.record import described


class DistributionMatching(DenoisingObjective):
    """Makes the law of what a `ConsistencyMap` draws that of its teacher, whichever way it draws it.

    With x drawn in `flow_map.jumps` jumps, q its law, p the teacher's, both noised to the level of t,

        grad KL(q_t || p_t) = E[(grad log q_t - grad log p_t)(x_t) dx_t],

    and the two scores are those of two denoisers: the teacher, and a `critic` that is trained beside the map on what
    it draws. The map is moved against (D_critic - D_teacher)(x_t), a sample's over the mean |x - D_teacher|, which
    weighs noise levels alike, through all of its jumps: what is matched is the law at the end. Nothing holds a sample
    to its path, so jumps need not be the ODE's; as the divergence is reverse, modes may be lost: see `sf.audit`.

    Args:
        flow_map: what is trained; begin with the teacher's weights, or with those of a student by `consistency`.
        teacher: frozen; it may be guided.
        critic: a denoiser of any process; a copy of the teacher, where that has a network, unless given.
        every: the map is moved in each `every`-th step, the critic in all of them.
        critic_lr_ratio: of the critic's learning rate to the map's.
        times, transform, augment, condition_dropout: as for `DenoisingObjective`; t is the critic's too.

    Raises:
        TypeError: for a flow_map that is no ConsistencyMap, or a teacher that has no network to be copied.
        ValueError: for a teacher or a critic without a score, or a number out of its range.

    References:
        Yin et al. 2024a (distribution matching distillation), 2024b (two time scales, several steps).
    """

    advice = "lower lr, or give the critic more steps: every=5"

    def __init__(
        self,
        flow_map: ConsistencyMap,
        teacher: Denoiser,
        critic: NetworkDenoiser | None = None,
        *,
        every: int = 2,
        critic_lr_ratio: float = 1.0,
        times: TimeLaw | None = None,
        transform: Transform | None = None,
        augment: Augment | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        if not isinstance(flow_map, ConsistencyMap):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"flow_map must be a ConsistencyMap; got {type(flow_map).__name__}")
        super().__init__(
            flow_map, times=times, transform=transform, augment=augment, condition_dropout=condition_dropout
        )
        if critic is None and not isinstance(teacher, NetworkDenoiser):
            raise TypeError(f"critic must be given: {type(teacher).__name__} has no network to begin with")
        self.teacher = teacher
        self.critic = copy.deepcopy(teacher) if critic is None else critic
        for model in (flow_map, self.critic):  # what `fit` returned asks for no gradient
            model.requires_grad_(True)
        for model in (teacher, self.critic):
            require(model, "score", type(self).__name__)
        self.turns: tuple[Turn, ...] = (
            Turn("critic", moves=("critic",), lr_ratio=critic_lr_ratio),
            Turn("map", moves=("denoiser",), every=every),
        )

    def frozen(self) -> Sequence[nn.Module]:
        return (self.teacher,)

    def record(self) -> dict[str, Any]:
        return {**super().record(), "critic": described(self.critic.net), "turns": described(self.turns)}

    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        cond = {name: value for name, value in batch.items() if name not in ("x0", "t")}
        x0, t = batch["x0"], batch["t"]
        flow_map: Any = self.denoiser
        if now.turn == "critic":
            with torch.no_grad():
                x = drawn(flow_map, x0, cond, draws)
            return {
                "loss": losses.denoising(self.critic, x, t=self._time_of(self.critic, t), generator=draws, cond=cond)
            }
        x = drawn(flow_map, x0, cond, draws)
        with torch.no_grad():
            noise = randn_like(x, draws)
            real, own = (self._denoised(model, x, noise, t, cond) for model in (self.teacher, self.critic))
            size = (x - real).abs().flatten(1).mean(1)
            sd = flow_map.data_std
            direction = (own - real) / pad_right(size.clamp(min=1e-3 * sd), x)
        loss = 0.5 * ((x - x.detach()) / sd + direction).square().flatten(1).mean(1)
        reference = ((own - real) / sd).square().flatten(1).mean(1)
        self.levels.update(-flow_map.schedule.log_snr(t), reference.cpu())
        return {"loss": loss, "reference": reference}

    def _denoised(self, model: Denoiser, x: Tensor, noise: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
        """E[x0 | x_t] of a model, of x noised to the level that t has in the map's process."""
        time = self._time_of(model, t)
        alpha, sigma = model.schedule(time)
        with evaluating(model):
            return model(pad_right(alpha, x) * x + pad_right(sigma, x) * noise, time, **cond)

    def _time_of(self, model: Denoiser, t: Tensor) -> Tensor:
        """The model's own time of that noise ratio, or its nearest."""
        if model.schedule == self.denoiser.schedule:
            return t
        its = Circle(model.schedule, 0.0, 1.0)
        return its.at(torch.atan(self.denoiser.schedule.noise_ratio(t))).t
