"""Averages of the weights along training: the networks to sample from.

After the k-th update, with w_k the weights at that moment,

    average_k = (1 - s_k) average_(k-1) + s_k w_k

    classic         s_k = 1 - d                               an exponential memory of about 1 / (1 - d) updates
    power function  s_k = 1 - (1 - 1/k)^(gamma + 1)           a memory of a fixed share of the training so far

The second is the mean of w under the density p(tau) = (gamma + 1) tau^gamma / n^(gamma + 1) on [0, n], where w is w_k
for tau in (k - 1, k]: exactly, since the shares telescope to (k/n)^(gamma + 1) - ((k - 1)/n)^(gamma + 1). Its width
relative to n,

    sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2),

says what 0.05 or 0.1 of training means. Averages are linear in their densities, so what combines a few densities into
another one combines the stored averages into the other average: `posthoc_ema`.

References:
    Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.1, appendix C.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

M = TypeVar("M", bound=nn.Module)

WIDEST = 12**-0.5  # sigma_rel of a plain mean, gamma = 0

StateDict = Mapping[str, Tensor]


class _Average(Generic[M]):
    """A copy of a module, `.module`, that moves a share of the way to the original at each `update`.

    The copy of weights in half precision is in float32.
    """

    def __init__(self, module: M) -> None:
        self.module: M = copy.deepcopy(module).eval().requires_grad_(False)
        for tensor in self.module.parameters():
            if tensor.dtype in (torch.float16, torch.bfloat16):  # 8 bits would not notice a thousandth of the way
                tensor.data = tensor.data.float()
        self.updates = 0
        self.follow(module)

    def share(self, update: int) -> float:
        """s_k of the `update`-th update, from 1: what the present weights count."""
        raise NotImplementedError

    def follow(self, module: nn.Module) -> None:
        """Averages the tensors that `module` has now; to be called again where they were replaced, as by sharding."""
        self._average, self._weights = _floating(self.module), _floating(module)
        self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the module's present weights; buffers are copied, not averaged."""
        self.updates += 1
        if self._average:
            share = self.share(self.updates)
            present = [w.to(a.dtype) for a, w in zip(self._average, self._weights, strict=True)]
            torch._foreach_lerp_(self._average, present, share)  # type: ignore[reportPrivateImportUsage]
        for kept, present in self._buffers:
            kept.copy_(present)

    def state(self) -> dict[str, Any]:
        """What is to be kept beside `module`'s state dict, as plain values."""
        return {"updates": self.updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned; `module`'s weights are loaded by the caller.

        Raises:
            ValueError: if it is not the state of an average of this kind.
        """
        updates = state.get("updates")
        if not isinstance(updates, int) or updates < 0:
            raise ValueError(f"state must hold the number of updates; got {dict(state)}")
        self.updates = updates


class EMA(_Average[M]):
    """average <- d average + (1 - d) weights at each update, with d = min(decay, (k + 1) / (k + 10)) at the k-th.

    The ramp forgets the random initial weights: after k updates the average looks back over about a tenth of them,
    until that is the decay's own length. `ramp=False` uses `decay` from the start. Buffers are copied, not averaged.

    Raises:
        ValueError: for a decay outside [0, 1).
    """

    def __init__(self, module: M, decay: float = 0.999, *, ramp: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1); got {decay}")
        super().__init__(module)
        self.decay, self.ramp = decay, ramp

    def share(self, update: int) -> float:
        return 1 - (min(self.decay, (update + 1) / (update + 10)) if self.ramp else self.decay)


class PowerEMA(_Average[M]):
    """average <- d average + (1 - d) weights at each update, with d = (1 - 1/k)^(gamma + 1) at the k-th.

    Args:
        sigma_rel: the average's width as a share of the training so far, in (0, 0.2887); EDM2 tracks 0.05 and 0.1.

    Raises:
        ValueError: for a sigma_rel outside (0, 0.2887); in `load_state`, for the state of another width.
    """

    def __init__(self, module: M, sigma_rel: float = 0.1) -> None:
        self.sigma_rel, self.gamma = sigma_rel, gamma_of(sigma_rel)
        super().__init__(module)

    def share(self, update: int) -> float:
        if update == 1:
            return 1.0
        return -math.expm1((self.gamma + 1) * math.log1p(-1 / update))  # 1 - d, without losing its digits as d nears 1

    def state(self) -> dict[str, Any]:
        return {**super().state(), "sigma_rel": self.sigma_rel}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state.get("sigma_rel") != self.sigma_rel:
            raise ValueError(
                f"state must be of an average with sigma_rel {self.sigma_rel}; got {state.get('sigma_rel')}"
            )
        super().load_state(state)


def gamma_of(sigma_rel: float) -> float:
    """The gamma whose profile has the relative width `sigma_rel`: (gamma + 2)^2 (gamma + 3) sigma_rel^2 = gamma + 1.

    Raises:
        ValueError: outside (0, 12^(-1/2)): a plain mean, gamma = 0, is the widest average.
    """
    if not 0 < sigma_rel < WIDEST:
        raise ValueError(f"sigma_rel must lie in (0, 0.2887), the upper end being a plain mean; got {sigma_rel}")
    # In u = gamma + 2 the cubic is u^3 + u^2 - (u - 1) / sigma_rel^2: one root above 2, where u^2 dominates.
    roots = np.roots([1, 1, -(sigma_rel**-2), sigma_rel**-2])
    return float(roots.real.max()) - 2


class Snapshot(NamedTuple):
    """A power-function average as it was after `step` updates."""

    step: int
    sigma_rel: float
    state_dict: StateDict


def posthoc_ema(
    snapshots: Sequence[tuple[int, float, StateDict]], sigma_rel: float, step: int | None = None
) -> dict[str, Tensor]:
    """The power-function average of width `sigma_rel` after `step` updates, from snapshots of other widths and steps.

    Args:
        snapshots: `(step, sigma_rel, state_dict)` of each, as `Snapshot`; two widths at 16 steps are plenty for any
            width between them.
        sigma_rel: in (0, 0.2887).
        step: the last snapshot's unless given.

    Returns:
        A state dict. What is not floating-point is taken from the last snapshot.

    Raises:
        ValueError: without snapshots, for a width out of range, or for snapshots of different networks.
    """
    if not snapshots:
        raise ValueError("snapshots must not be empty")
    ordered = sorted(snapshots, key=lambda snapshot: snapshot[0])
    profiles = [(steps, width) for steps, width, _ in ordered]
    shares = coefficients(profiles, sigma_rel, profiles[-1][0] if step is None else step)
    return _combine([state_dict for *_, state_dict in ordered], shares)


def coefficients(profiles: Sequence[tuple[int, float]], sigma_rel: float, step: int) -> list[float]:
    """x_i, adding up to 1, with sum_i x_i p_i nearest to the profile of `sigma_rel` at `step`, in the L2 norm.

    Inner products are in closed form. The sum is held at 1 so that a weight that does not move is reconstructed
    exactly: what error there is, is proportional to how much weights changed.

    Args:
        profiles: `(step, sigma_rel)` of each.

    Raises:
        ValueError: for a step below 1.
    """
    if min(step, *(steps for steps, _ in profiles)) < 1:
        raise ValueError(f"steps of profiles must be at least 1; got {min(step, *(steps for steps, _ in profiles))}")
    known = [(steps, gamma_of(width)) for steps, width in profiles]
    aim = (step, gamma_of(sigma_rel))
    scale = np.array([_inner(p, p) ** -0.5 for p in known])  # unit profiles: short ones are as good as long ones
    gram = np.array([[_inner(p, q) for q in known] for p in known]) * scale[:, None] * scale
    right = np.array([_inner(p, aim) for p in known]) * scale
    # least squares, not a solve: the same profile may be there twice. x = free + l gram^-1 1 is the constrained optimum
    free, ones = (np.linalg.lstsq(gram, np.stack([right, scale], axis=1), rcond=None)[0] * scale[:, None]).T
    return (free + ones * (1 - free.sum()) / ones.sum()).tolist()


def _inner(one: tuple[float, float], two: tuple[float, float]) -> float:
    """The integral of p_one p_two, with p(tau) = (g + 1) tau^g / n^(g + 1) on [0, n] for (n, g)."""
    (n, g), (m, h) = sorted((one, two))
    return (g + 1) * (h + 1) / (g + h + 1) * (n / m) ** h / m


def average(state_dicts: Sequence[StateDict], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """sum_i w_i state_i / sum_i w_i, added up in float64; a plain mean unless `weights` are given.

    What is not floating-point is taken from the last.

    Raises:
        ValueError: for none at all, other than one weight for each, weights that add up to 0, or state dicts of
            different networks.
    """
    if not state_dicts:
        raise ValueError("state_dicts must not be empty")
    weights = [1.0] * len(state_dicts) if weights is None else weights
    total = math.fsum(weights)
    if len(weights) != len(state_dicts) or not math.isfinite(total) or total == 0:
        raise ValueError(
            f"weights must be {len(state_dicts)} numbers, one for each state dict, that do not add up to 0; "
            f"got {list(weights)}"
        )
    return _combine(state_dicts, [weight / total for weight in weights])


def _combine(state_dicts: Sequence[StateDict], shares: Sequence[float]) -> dict[str, Tensor]:
    last = state_dicts[-1]
    for i, state_dict in enumerate(state_dicts):
        if different := state_dict.keys() ^ last.keys():
            raise ValueError(f"state dicts must have the same names; {min(different)!r} is not in all ({i} and last)")
        for name, tensor in state_dict.items():
            if tensor.shape != last[name].shape:
                raise ValueError(
                    f"state dicts must have the same shapes; {name!r} is {tuple(tensor.shape)} in number {i} and "
                    f"{tuple(last[name].shape)} in the last"
                )
    return {
        name: _sum([state_dict[name] for state_dict in state_dicts], shares)
        if like.is_floating_point() or like.is_complex()
        else like.clone()
        for name, like in last.items()
    }


def _sum(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = torch.zeros_like(tensors[-1], dtype=torch.promote_types(tensors[-1].dtype, torch.float64))
    for tensor, share in zip(tensors, shares, strict=True):
        total += share * tensor.to(total)
    return total.to(tensors[-1].dtype)


def _floating(module: nn.Module) -> list[Tensor]:
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    return [p.to_local() if isinstance(p, DTensor) else p for p in parameters]
