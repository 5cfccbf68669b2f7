"""The turns of an objective at work: their weights, the optimisers of these, and how what they did is undone."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.training import distributed
from scorefield.training.objective import Objective, Turn
from scorefield.training.optimizers import Optimizer


class Mover:
    """One turn: `weights` are what it moves, `forward` is the objective as it is called in it.

    Raises:
        ValueError: if it moves what is no module of the objective, or nothing in it can be trained.
    """

    def __init__(self, turn: Turn, objective: Objective, optimizer: Optimizer, lr: float) -> None:
        known = dict(objective.named_modules())
        if missing := [name for name in turn.moves if name not in known]:
            raise ValueError(
                f"turn {turn.name!r} moves {missing[0]!r}, which is no module of {type(objective).__name__}"
            )
        modules = nn.ModuleList(known[name] for name in turn.moves)
        self.turn = turn
        self.weights = [p for p in modules.parameters() if p.requires_grad]
        if not self.weights:
            whose = f"turn {turn.name!r}" if turn.name else type(objective).__name__
            raise ValueError(f"{whose} has no weight to train: none requires a gradient")
        self.optimizers = (turn.optimizer or optimizer).build(modules, turn.lr_ratio * lr)
        for group in self._groups():
            group["peak"] = group["lr"]
        self.others: list[nn.Parameter] = []  # weights of the other turns
        self.forward: nn.Module = objective

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For the length of the block no weight of another turn asks for a gradient."""
        for p in self.others:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in self.others:
                p.requires_grad_(True)
            if self.others:
                distributed.reshard(self.forward)

    def without_sync(self) -> contextlib.AbstractContextManager[None]:
        """Gradients of the block stay in this process until those after it."""
        return self.forward.no_sync() if hasattr(self.forward, "no_sync") else contextlib.nullcontext()  # type: ignore[operator,return-value]

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def move(self, factor: float) -> None:
        """Steps of the optimisers at `factor` times their peak learning rates."""
        for group in self._groups():
            group["lr"] = factor * group["peak"]
        for optimizer in self.optimizers:
            optimizer.step()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]


def movers(objective: Objective, optimizer: Optimizer, lr: float, *, sharded: bool) -> list[Mover]:
    """The objective's turns, with optimisers where they bring none, ready to run on all processes.

    Raises:
        ValueError: if a weight is in no turn or in two, two turns have one name, or the first is not in every step.
    """
    names = [turn.name for turn in objective.turns]
    if not names or len(set(names)) < len(names) or objective.turns[0].every != 1:
        raise ValueError(f"turns must have names of their own, and the first run in every step; got {objective.turns}")
    made = [Mover(turn, objective, optimizer, lr) for turn in objective.turns]
    moved = Counter(id(p) for mover in made for p in mover.weights)
    for name, p in objective.named_parameters():
        if p.requires_grad and moved[id(p)] != 1:
            raise ValueError(f"every weight must be moved by one turn; {name!r} is moved by {moved[id(p)]}")
    for mover in made:
        mover.others = [p for other in made if other is not mover for p in other.weights]
        with mover.alone():  # what averages gradients over processes waits for the weights that ask for one now
            mover.forward = distributed.wrap(objective, sharded=sharded)
    return made


class Undo:
    """Brings back what a step has changed: `buffers`, and the weights and optimisers of turns that it was told of."""

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        self._tensors: list[tuple[Tensor, Tensor]] = [(b, b.clone()) for b in buffers]
        self._states: list[tuple[torch.optim.Optimizer, nn.Parameter, dict[str, Any]]] = []

    def keep(self, mover: Mover) -> None:
        """To be called before the turn moves its weights."""
        self._tensors += [(p, p.detach().clone()) for p in mover.weights]
        for optimizer in mover.optimizers:
            for p in (p for group in optimizer.param_groups for p in group["params"]):
                state = optimizer.state.get(p, {})
                copied = {key: v.clone() if isinstance(v, Tensor) else v for key, v in state.items()}
                self._states.append((optimizer, p, copied))

    @torch.no_grad()
    def __call__(self) -> None:
        for tensor, before in self._tensors:
            tensor.copy_(before)
        for optimizer, p, state in self._states:
            optimizer.state[p] = state
