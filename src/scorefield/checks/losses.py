"""What a loss owes whoever trains with it, and an objective `training.fit`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scorefield.checks.base import Check, close, listed, require, run
from scorefield.denoisers import Denoiser, ExactDenoiser, NetworkDenoiser
from scorefield.distributions import Distribution, Gaussian
from scorefield.flowmaps import FlowMap
from scorefield.networks import MLP
from scorefield.parameterizations import V
from scorefield.randomness import Stream
from scorefield.schedules import VP, Schedule
from scorefield.training import Now, Objective

f64 = torch.float64
Loss = Callable[..., Tensor | Mapping[str, Tensor]]


def of_loss(
    loss: Loss,
    *,
    distribution: Distribution | None = None,
    schedule: Schedule | None = None,
    of: type[NetworkDenoiser] = NetworkDenoiser,
) -> list[Check]:
    """The clauses of `check_loss`, each by itself; for a loss of few-step models all but the last.

    Args:
        loss, distribution, schedule: as for `check_loss`.
        of: what it trains: a `FlowMap`, as `flowmaps.lagrangian` does, or a `ConsistencyMap`.
    """
    data = distribution or Gaussian(
        torch.tensor([0.6, -0.3], dtype=f64, device="cpu"), torch.tensor([0.5, 0.2], dtype=f64, device="cpu")
    )
    schedule = schedule or VP()
    small = functools.cache(lambda: _small(loss, data, schedule, of))
    clauses: dict[str, Callable[[], None]] = {
        "one finite number a sample": lambda: _shapes(small()),
        "a gradient for every weight": lambda: _gradients(small()),
        "no gradients asked for": lambda: _plain(small()),
        "no sample sees its batch": lambda: _alone(small()),
        "seeds": lambda: _seeds(small()),
        "empty batches": lambda: _empty(small()),
    }
    if not issubclass(of, FlowMap):
        clauses["least at the exact denoiser"] = lambda: _least(loss, data, schedule)
    return listed(loss, clauses)


def check_loss(
    loss: Callable[..., Tensor], *, distribution: Distribution | None = None, schedule: Schedule | None = None
) -> None:
    """Shape, dtype, seeds, batch independence, empty batches; a gradient for every parameter; the exact minimum.

    `loss(denoiser, x0, *, t, eps, generator)` must return `(B,)`, each entry a function of its own sample and draws,
    and be smaller on average at the exact denoiser of `distribution` than at shifted, scaled and bent ones: 16,384
    samples, the same draws for both, and an excess beyond 4 standard errors of the difference.

    Args:
        loss: bind a weight, a law of t or whatever it needs with functools.partial.
        distribution: of the data, on vectors: a Gaussian on the plane unless given. A loss that knows the exact answer
            (`losses.explicit`) must know this one's.
        schedule: VP() unless given.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_loss(loss, distribution=distribution, schedule=schedule))


class _Small(NamedTuple):
    """A small network that has every kind of parameter, and five data."""

    denoiser: NetworkDenoiser
    x0: Tensor
    index: Tensor
    t: Tensor
    eps: Tensor
    loss: Callable[..., Tensor]


def _small(loss: Loss, data: Distribution, schedule: Schedule, of: type[NetworkDenoiser]) -> _Small:
    scalars = of.told if issubclass(of, FlowMap) else ()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP(math.prod(data.event_shape), hidden=16, depth=2, scalars=scalars).double()
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.3)
    x0 = data.sample(5, generator=torch.Generator().manual_seed(0)).to(f64)
    t = torch.tensor([0.2, 0.35, 0.5, 0.65, 0.8], dtype=f64, device="cpu")
    eps = torch.linspace(-2, 2, x0.numel(), dtype=f64, device="cpu").reshape(x0.shape)

    def value(*args: Any, **options: Any) -> Tensor:
        found = loss(*args, **options)
        return found["loss"] if isinstance(found, Mapping) else found

    index = torch.tensor([7, 0, 3, 2**40, 12], device="cpu")
    return _Small(of(net, schedule, V()), x0, index, t, eps, value)


def _shapes(s: _Small) -> None:
    value = s.loss(s.denoiser, s.x0, generator=Stream(0, s.index))
    require(value.shape == (5,) and value.dtype == f64, "the loss must be (B,), of x0's dtype", value)
    require(bool(torch.isfinite(value).all()), "the loss must be finite", value)


def _gradients(s: _Small) -> None:
    s.denoiser.zero_grad()
    s.loss(s.denoiser, s.x0, generator=Stream(0, s.index)).mean().backward()
    for name, p in s.denoiser.named_parameters():
        reached = p.grad is not None and bool(torch.isfinite(p.grad).all() and (p.grad != 0).any())
        require(reached, f"the gradient must reach {name}, finite and not zero", p.grad)


def _plain(s: _Small) -> None:
    value = s.loss(s.denoiser, s.x0, generator=Stream(0, s.index))
    with torch.no_grad():
        again = s.loss(s.denoiser, s.x0, generator=Stream(0, s.index))
    close(again, value, "the loss must not need gradients enabled", 1e-12)


def _alone(s: _Small) -> None:
    value = s.loss(s.denoiser, s.x0, generator=Stream(0, s.index))
    fixed = s.loss(s.denoiser, s.x0, t=s.t, eps=s.eps, generator=Stream(0, s.index))
    for i in range(5):
        row = slice(i, i + 1)
        require(value.shape == (5,), "the loss must be (B,)", tuple(value.shape))
        alone = s.loss(s.denoiser, s.x0[row], generator=Stream(0, s.index[row]))
        close(alone, value[row], "a sample's loss must not depend on its batch, its Stream given", 1e-9)
        alone = s.loss(s.denoiser, s.x0[row], t=s.t[row], eps=s.eps[row], generator=Stream(0, s.index[row]))
        close(alone, fixed[row], "a sample's loss must not depend on its batch, t and eps given", 1e-9)


def _seeds(s: _Small) -> None:
    one, same, other = (
        s.loss(s.denoiser, s.x0, generator=torch.Generator().manual_seed(seed)).detach() for seed in (0, 0, 1)
    )
    require(torch.equal(one, same), "the same seed must give the same loss", (one - same).abs().max())
    require(not torch.equal(one, other), "another seed must give another loss", other)


def _empty(s: _Small) -> None:
    empty = s.loss(s.denoiser, s.x0[:0], generator=Stream(0, s.index[:0]))
    require(empty.shape == (0,), "an empty batch must give an empty loss", empty)


def _least(loss: Loss, data: Distribution, schedule: Schedule) -> None:
    exact: Any = ExactDenoiser(data, schedule)
    x0 = data.sample(16_384, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.4, len(x0), dtype=f64, device="cpu")
    stream = functools.partial(Stream, 1, torch.arange(len(x0), device="cpu"))

    def value(denoiser: Denoiser) -> Tensor:
        found = loss(denoiser, x0, t=t, generator=stream())
        return (found["loss"] if isinstance(found, Mapping) else found).detach()

    best = value(exact)
    for name, change in _CHANGES.items():
        excess = value(_Changed(exact, change)) - best
        beyond = float(excess.mean()) * len(x0) ** 0.5 / float(excess.std())
        require(
            beyond > 4, f"a {name} denoiser must cost more than the exact one, by 4 standard errors", f"{beyond:.3g}"
        )


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "shifted": lambda x0: x0 + 0.3,
    "shrunk": lambda x0: 0.7 * x0,
    "stretched": lambda x0: 1.3 * x0,
    "bent": lambda x0: x0 + 0.3 * torch.sin(3 * x0),
}


class _Changed(Denoiser):
    """change(D)."""

    def __init__(self, denoiser: Denoiser, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.denoiser, self.change, self.schedule = denoiser, change, denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return self.change(self.denoiser(x_t, t, **cond))


# Objectives


def of_objective(objective: Objective, raw: Tensor, *, cond: Mapping[str, Tensor] | None = None) -> list[Check]:
    """The clauses of `check_objective`, each by itself."""
    index = torch.arange(len(raw), device="cpu") * 3 + 1

    def losses(turn: str, rows: slice = slice(None)) -> Tensor:
        told = {name: value[rows] for name, value in (cond or {}).items()}
        draws = Stream(0, index[rows].to(objective.device))
        batch = objective.batch(raw[rows], told, draws)
        return objective(batch, draws, Now(turn, 0, 10))["loss"]

    def turns() -> None:
        known = dict(objective.named_modules())
        names = [turn.name for turn in objective.turns]
        require(len(set(names)) == len(names) > 0, "turns must have names of their own", names)
        moved: dict[str, int] = {}
        for turn in objective.turns:
            for name in turn.moves:
                require(name in known, f"turn {turn.name!r} must move a module of the objective", name)
                for p in known[name].parameters():
                    moved[str(id(p))] = moved.get(str(id(p)), 0) + p.requires_grad
        for name, p in objective.named_parameters():
            if p.requires_grad and not _frozen(objective, p):
                require(moved.get(str(id(p)), 0) == 1, f"{name} must be moved by one turn", moved.get(str(id(p)), 0))

    def shapes() -> None:
        for turn in objective.turns:
            value = losses(turn.name)
            require(value.shape == (len(raw),), f"the loss of turn {turn.name!r} must be (B,)", tuple(value.shape))
            require(bool(torch.isfinite(value).all()), f"the loss of turn {turn.name!r} must be finite", value)

    def gradients() -> None:
        known = dict(objective.named_modules())
        for turn in objective.turns:
            objective.zero_grad()
            losses(turn.name).mean().backward()
            reached = [p for name in turn.moves for p in known[name].parameters() if p.grad is not None]
            require(bool(reached), f"turn {turn.name!r} must have a gradient for what it moves", len(reached))
            for module in objective.frozen():
                held = [name for name, p in module.named_parameters() if p.grad is not None]
                require(not held, "what is frozen must get no gradient", held)
        objective.zero_grad()

    def repeatable() -> None:
        for turn in objective.turns:
            one, two = losses(turn.name).detach(), losses(turn.name).detach()
            require(torch.equal(one, two), "the same Stream must give the same loss", (one - two).abs().max())

    def alone() -> None:
        for turn in objective.turns:
            whole = losses(turn.name).detach()
            for i in range(len(raw)):
                one = losses(turn.name, slice(i, i + 1)).detach()
                close(one, whole[i : i + 1], "a sample's loss must not depend on its batch", 1e-4)

    def models() -> None:
        named = objective.models()
        require(bool(named) and all(isinstance(m, nn.Module) for m in named.values()), "models must be modules", named)
        unknown = set(objective.averaged()) - set(named)
        require(not unknown, "what is averaged must be one of the models", unknown)

    return listed(
        objective,
        {
            "models": models, "turns move every weight once": turns, "one finite number a sample": shapes,
            "gradients": gradients, "seeds": repeatable, "no sample sees its batch": alone,
        },
    )  # fmt: skip


def check_objective(objective: Objective, raw: Tensor, *, cond: Mapping[str, Tensor] | None = None) -> None:
    """Its turns move every weight once; losses are `(B,)`, finite, functions of each sample and its draws alone.

    Args:
        raw: some data `(B, *event)`, as `training.fit` would read them.
        cond: their conditions, a row each.

    Raises:
        AssertionError: for the clause that fails, with the numbers.
    """
    run(of_objective(objective, raw, cond=cond))


def _frozen(objective: Objective, p: nn.Parameter) -> bool:
    return any(p is q for module in objective.frozen() for q in module.parameters())
