"""Two sets of samples made ready for a metric, and what every two-sample statistic has in common.

The floor of a statistic S at sizes (n, m) is the mean of S between disjoint random parts, of n and of m, of real data.
The p-value is that of the permutation test: under the null the pooled samples are exchangeable, so among S and its
values at B random regroupings every rank is as likely as another,

    p = (1 + #{b : S_b >= S}) / (1 + B),      P(p <= a) <= a  at any sample size and for any S.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.metrics.features import Features, described
from scorefield.randomness import as_seed

Statistic = Callable[[Tensor, Tensor], float]

APART = 0x5EED_0F_3E7121C5


class Pair(NamedTuple):
    """Features of both sets, float64, `(n, d)` and `(m, d)`, and of further real data `(s, d)`."""

    x: Tensor
    y: Tensor
    spare: Tensor
    features: str  # name and hash

    @property
    def n(self) -> tuple[int, int]:
        return len(self.x), len(self.y)

    def floor(self, statistic: Statistic, *, repeats: int = 8, seed: int = 0) -> tuple[float, tuple[int, ...]]:
        """The mean of `statistic` between disjoint random parts of the real data, and the sizes of those parts."""
        real = torch.cat([self.y, self.spare])
        fits = min(1.0, len(real) / (len(self.x) + len(self.y)))
        n, m = (max(1, int(size * fits)) for size in self.n)
        draw = generator(seed)
        total = 0.0
        for _ in range(repeats):
            order = torch.randperm(len(real), generator=draw, device="cpu")
            total += statistic(real[order[:n]], real[order[n : n + m]])
        return total / repeats, (n, m)

    def bias(self, statistic: Statistic, *, groups: int = 20, seed: int = 0) -> float:
        """The bias of `statistic` of order 1/n and 1/m, by the grouped jackknife.

            sum over both sides of (K - 1) (mean_k S without group k of that side - S),     K groups

        Raises:
            ValueError: for less than two groups.
        """
        if groups < 2:
            raise ValueError(f"groups must be at least 2; got {groups}")
        whole, value, total = (self.x, self.y), statistic(self.x, self.y), 0.0
        for side in (0, 1):
            parts = torch.randperm(len(whole[side]), generator=generator(seed), device="cpu").tensor_split(
                min(groups, len(whole[side]))
            )
            for k in range(len(parts)):
                kept = whole[side][torch.cat([part for j, part in enumerate(parts) if j != k])]
                total += (len(parts) - 1) / len(parts) * (statistic(*((kept, self.y), (self.x, kept))[side]) - value)
        return total

    def permutations(self, repeats: int, seed: int) -> Iterator[Tensor]:
        """Random orders of the pooled samples, `(n + m,)` each."""
        draw = generator(seed)
        return (torch.randperm(sum(self.n), generator=draw, device="cpu") for _ in range(repeats))

    def permuted(self, statistic: Statistic, *, repeats: int = 199, seed: int = 0) -> float:
        """The p-value of `statistic`, large where the sets differ, among its values at random regroupings."""
        pooled, n = torch.cat([self.x, self.y]), len(self.x)
        value = statistic(self.x, self.y)
        others = [statistic(pooled[order[:n]], pooled[order[n:]]) for order in self.permutations(repeats, seed)]
        return rank(value, torch.tensor(others, dtype=torch.float64, device="cpu"))


def rank(value: float, others: Tensor) -> float:
    """(1 + #{others >= value}) / (1 + #others), values equal but for rounding counted as equal."""
    slack = 1e-12 * max(abs(value), float(others.abs().max()) if len(others) else 0.0)
    return (1 + int((others >= value - slack).sum())) / (1 + len(others))


def pair(
    x: Tensor, y: Tensor, features: Features | None = None, spare: Tensor | None = None, *, least: int = 2
) -> Pair:
    """`x` `(n, *event)`, `y` `(m, *event)` and `spare` as features on the CPU in float64.

    Raises:
        ValueError: for sets of less than `least` samples, of two event sizes, or with some that are not finite.
    """
    sets = {"x": x, "y": y} | ({} if spare is None else {"spare": spare})
    made = {name: as_features(name, s, features, least if name != "spare" else 0) for name, s in sets.items()}
    sizes = {s.shape[1] for s in made.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"{' and '.join(made)} must have the same event size; got {[s.shape[1] for s in made.values()]}"
        )
    return Pair(made["x"], made["y"], made.get("spare", made["y"][:0]), described(features, y))


def as_features(name: str, x: Tensor, features: Features | None, least: int) -> Tensor:
    """`features` of x, raw where None, `(n, d)` in float64 on the CPU.

    Raises:
        ValueError: for less than `least` samples, another shape of features than (n, d), or values not finite.
    """
    if x.ndim < 1 or len(x) < least:
        raise ValueError(f"{name} must hold at least {least} samples, (N, *event); got shape {tuple(x.shape)}")
    x = x.detach()
    if features is not None:
        with torch.no_grad():
            made = features(x)
        if made.ndim != 2 or len(made) != len(x):
            raise ValueError(f"features of {name} must be ({len(x)}, d); got {tuple(made.shape)}")
        x = made.detach()
    x = x.reshape(len(x), -1).to("cpu", torch.float64)
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} must be finite; {int((~torch.isfinite(x)).any(1).sum())} of {len(x)} samples are not")
    return x


def generator(seed: int) -> torch.Generator:
    """torch's, on the CPU, of a checked seed; not the stream that the same seed gives whoever drew the samples."""
    return torch.Generator(device="cpu").manual_seed(as_seed(seed) ^ APART)
