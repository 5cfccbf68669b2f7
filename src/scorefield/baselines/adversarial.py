"""The objective of a GAN: a critic that tells data from draws, and the generator that it teaches, in two turns.

With c(x) the critic's number, a pair (x, y) of a datum and a draw, f(u) = log(1 + exp(-u)) = softplus(-u):

    relativistic      critic f(c(x) - c(y)) + g/2 (|grad c(x)|^2 + |grad c(y)|^2)      generator f(c(y) - c(x))
    non-saturating    critic f(c(x)) + f(-c(y)) + g/2 |grad c(x)|^2                     generator f(c(y))
    wasserstein       critic c(y) - c(x) + p (|grad c(u)| - 1)^2, u on the line x y     generator -c(y)

The first asks which of the two is the datum. Its best critic is log p_data / p_model up to a constant, as the
classifier of pairs is p(x) q(y) / (p(x) q(y) + q(x) p(y)); a generator that drops a mode is told so by the data of that
mode, which is why it covers modes that the second loses, and with both penalties it converges locally where the second
need not (Huang et al. 2024). The other two are its history: Goodfellow et al. 2014 with Mescheder et al. 2018's
penalty, and Gulrajani et al. 2017.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from scorefield.baselines.gan import GAN
from scorefield.baselines.variational import Latent
from scorefield.data import Source, Transform
from scorefield.randomness import Stream
from scorefield.training import Now, Turn


def slope_penalty(critic: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """(c(x), |grad c(x)|^2), `(B,)` each, both differentiable in the critic's weights.

    Args:
        critic: `(B, *event)` to `(B, 1)`, each row of its own row alone.
        x: `(B, *event)`.
    """
    x = x.detach().requires_grad_()
    value = critic(x)[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, slope.square().flatten(1).sum(1)


class AdversarialLoss(abc.ABC):
    """What a critic and its generator make small, each `(B,)`.

    Attributes:
        critic_steps: of the critic for one of the generator.
    """

    critic_steps: int = 1

    @abc.abstractmethod
    def critic(self, critic: nn.Module, real: Tensor, made: Tensor, draws: Stream) -> dict[str, Tensor]:
        """The critic's `loss`, and what is logged beside it."""

    @abc.abstractmethod
    def generator(self, critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        """The generator's loss."""


@dataclass(frozen=True)
class Relativistic(AdversarialLoss):
    """Pairs, with zero-centred gradient penalties on data (R1) and draws (R2).

    Args:
        penalty: g; of the order of the data's variance over what the critic should tell apart.

    Raises:
        ValueError: for a negative penalty.

    References:
        Jolicoeur-Martineau 2019 (relativistic GANs); Huang et al. 2024, "The GAN is dead; long live the GAN!" (R3GAN).
    """

    penalty: float = 1.0

    def __post_init__(self) -> None:
        _check(self.penalty)

    def critic(self, critic: nn.Module, real: Tensor, made: Tensor, draws: Stream) -> dict[str, Tensor]:
        (at_real, r1), (at_made, r2) = slope_penalty(critic, real), slope_penalty(critic, made)
        gap = at_real - at_made
        return {"loss": softplus(-gap) + self.penalty / 2 * (r1 + r2), "gap": gap, "r1": r1, "r2": r2}

    def generator(self, critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        return softplus(critic(real)[:, 0] - critic(made)[:, 0])


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """Data from draws, each by itself; the generator climbs log sigmoid(c).

    Args:
        penalty: g, of the gradient at the data (R1); 0 is the loss as first published.

    Raises:
        ValueError: for a negative penalty.
    """

    penalty: float = 0.0

    def __post_init__(self) -> None:
        _check(self.penalty)

    def critic(self, critic: nn.Module, real: Tensor, made: Tensor, draws: Stream) -> dict[str, Tensor]:
        if self.penalty:
            at_real, r1 = slope_penalty(critic, real)
        else:
            at_real, r1 = critic(real)[:, 0], None
        at_made = critic(made.detach())[:, 0]
        loss = softplus(-at_real) + softplus(at_made)
        gap = at_real - at_made
        if r1 is None:
            return {"loss": loss, "gap": gap}
        return {"loss": loss + self.penalty / 2 * r1, "gap": gap, "r1": r1}

    def generator(self, critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        return softplus(-critic(made)[:, 0])


@dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """The Kantorovich dual of W1, its critic held near slope 1 between data and draws (WGAN-GP).

    Args:
        penalty: p.
        critic_steps: of the critic for one of the generator.

    Raises:
        ValueError: for a negative penalty, or less than one step.
    """

    penalty: float = 10.0
    critic_steps: int = 5

    def __post_init__(self) -> None:
        _check(self.penalty)
        if self.critic_steps < 1:
            raise ValueError(f"critic_steps must be at least 1; got {self.critic_steps}")

    def critic(self, critic: nn.Module, real: Tensor, made: Tensor, draws: Stream) -> dict[str, Tensor]:
        u = draws.uniform((1,) * (real.ndim - 1), real.dtype).to(real.device)
        _, square = slope_penalty(critic, torch.lerp(real, made.detach(), u))
        away = ((square + 1e-12).sqrt() - 1).square()  # the root has no derivative at 0
        gap = critic(real)[:, 0] - critic(made.detach())[:, 0]
        return {"loss": self.penalty * away - gap, "gap": gap, "penalty": away}

    def generator(self, critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        return -critic(made)[:, 0]


class Adversarial(Latent):
    """A GAN and its critic: in each step the critic's turn, then, in every `loss.critic_steps`-th, the generator's.

    Args:
        model: the GAN.
        critic: `(B, *event)` to `(B, 1)`; its last weights are kept beside the model, and not averaged.
        loss: of the pair.
        transform: raw data to the model's units; it is kept in checkpoints.
    """

    advice = "lower lr, or raise the critic's penalty"

    def __init__(
        self, model: GAN, critic: nn.Module, loss: AdversarialLoss | None = None, *, transform: Transform | None = None
    ) -> None:
        super().__init__(model, transform)
        self.critic, self.loss = critic, loss or Relativistic()
        self.turns = (Turn("critic", ("critic",)), Turn("generator", ("model",), every=self.loss.critic_steps))

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model, "critic": self.critic}

    def averaged(self) -> tuple[str, ...]:
        return ("model",)

    def check(self, source: Source) -> None:
        """Refuses what `Latent` refuses, and a critic of another shape.

        Raises:
            ValueError: for those.
        """
        super().check(source)
        with torch.no_grad():
            value = self.critic(torch.zeros(2, *source.event_shape, dtype=self.dtype, device=self.device))
        if value.shape != (2, 1):
            raise ValueError(f"critic must return (B, 1), a number for each; got {tuple(value.shape)} for B = 2")

    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        real = batch["x0"]
        assert isinstance(self.model, GAN)
        made = self.model(draws.normal((self.model.latent,), real.dtype).to(real.device))
        if now.turn == "generator":
            return {"loss": self.loss.generator(self.critic, real, made)}
        return self.loss.critic(self.critic, real, made, draws)


def _check(penalty: float) -> None:
    if not penalty >= 0:
        raise ValueError(f"penalty must be at least 0; got {penalty}")
