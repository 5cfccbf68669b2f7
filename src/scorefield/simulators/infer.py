"""Learning p(theta | y) from simulated pairs: a denoiser of u, theta's latent, told y.

theta enters as u ~ N(0, I) (`priors`) and y standardised by its mean and standard deviation. A share of the pairs is
held out. The averaged weights of the last look whose held-out loss is within a standard error of the least, pair by
pair, are kept (most of that loss is noise that no model predicts: the least by itself is found too early), and training
ends when that is long ago.

References: Sharrock et al. 2022, Sequential neural score estimation; Geffner et al. 2023, Compositional score modeling
for simulation-based inference (several observations).
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from scorefield.data import Arrays
from scorefield.denoisers import NetworkDenoiser
from scorefield.guidance import feynman_kac
from scorefield.losses import LogNormal, denoising
from scorefield.networks import MLP
from scorefield.parameterizations import EDMPreconditioning
from scorefield.sampling import sample
from scorefield.schedules import EDM
from scorefield.simulators.priors import Prior
from scorefield.simulators.together import Together
from scorefield.training import fit
from scorefield.training.progress import Progress

LEVELS = LogNormal(EDM(sigma_min=0.001, sigma_max=20.0), mean=-1.6, std=1.6)
EVERY = 250  # steps between two looks at the held-out pairs
REPEATS = 8  # noises for each of them, the same every time
DECAY = 0.998  # of the averaged weights


@dataclass(frozen=True, eq=False)
class Learned:
    """p(theta | y) for any y."""

    prior: Prior
    denoiser: NetworkDenoiser  # of u, told `vector`, y standardised
    mean: Tensor  # (K,), of y
    std: Tensor
    held_out: list[tuple[int, float]] = field(default_factory=list)  # (step, loss)
    step: int = 0  # whose weights were kept

    def vector(self, y: Tensor) -> Tensor:
        """y `(N, K)` as the network is told it."""
        return ((y.double() - self.mean) / self.std).to(next(self.denoiser.parameters()))

    def sample(self, y: Tensor, n: int, *, nfe: int = 30, seed: int = 0) -> Tensor:
        """n draws of theta for each y: `(n, D)` for a y `(K,)`, `(B, n, D)` for `(B, K)`. Draw j is of (seed, j)."""
        ys = self._observed(y)
        rows = self.vector(ys).repeat_interleave(n, 0)
        u = sample(self.denoiser, (len(rows), self.prior.dim), nfe=nfe, seed=seed, cond={"vector": rows}).x
        theta = self.prior.theta(u).reshape(len(ys), n, self.prior.dim)
        return theta[0] if y.ndim == 1 else theta

    def sample_together(self, y: Tensor, n: int, *, particles: int = 512, steps: int = 200, seed: int = 0) -> Tensor:
        """n draws `(n, D)` of the one theta that made all of y `(N, K)`, independently.

        Args:
            particles: in a group; draws of a group share ancestors.
            steps: of the reverse process, each of N + 1 experts.
        """
        together = Together(self.denoiser, self.vector(self._observed(y)))
        groups = -(-n // particles)
        shape = (groups, self.prior.dim)
        made = feynman_kac(together, shape, particles_each=particles, steps=steps, seed=seed)
        return self.prior.theta(made.x.reshape(-1, self.prior.dim)[:n])

    def _observed(self, y: Tensor) -> Tensor:
        k = len(self.mean)
        if y.ndim not in (1, 2) or y.shape[-1] != k or not bool(torch.isfinite(y).all()):
            raise ValueError(f"y must be finite, of shape ({k},) or (N, {k}); got {tuple(y.shape)}")
        return torch.atleast_2d(y)


class _Enough(Exception):
    """Training has nothing more to gain."""


def infer(
    prior: Prior,
    theta: Tensor,
    y: Tensor,
    *,
    net: nn.Module | None = None,
    steps: int = 6_000,
    patience: int = 2_000,
    held_out: float = 0.1,
    batch_size: int = 512,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> Learned:
    """Learns p(theta | y) from N pairs: theta `(N, D)` drawn from `prior`, y `(N, K)` simulated from it.

    Args:
        net: called as `net(x, level, vector=...)`; an MLP unless given.
        steps: at most.
        patience: training ends after as many steps for which the held-out loss was worse than its least by more than
            chance.
        held_out: share of the pairs.

    Raises:
        ValueError: for pairs of other shapes or not finite, theta outside the prior, a share outside (0, 1).
    """
    if theta.ndim != 2 or y.ndim != 2 or len(theta) != len(y) or theta.shape[1] != prior.dim:
        raise ValueError(f"theta must be (N, {prior.dim}) and y (N, K); got {tuple(theta.shape)} and {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y must be finite; got NaN or infinity: leave such simulations out, or say them otherwise")
    apart = round(held_out * len(y))
    if not 0 < apart < len(y):
        raise ValueError(f"held_out must leave pairs on both sides; got {held_out:g} of {len(y)}")
    std = y.double().std(0)
    found = Learned(
        prior, _denoiser(net, prior.dim, y.shape[1], seed), y.double().mean(0), torch.where(std > 0, std, 1.0)
    )
    told = found.vector(y)
    u = prior.latent(theta).to(told)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed), device="cpu")
    ours, theirs = order[apart:], order[:apart]
    learning = found.denoiser
    averaged = copy.deepcopy(learning).eval()
    least: Tensor | None = None  # of each held-out pair, at the look of the least mean
    kept: tuple[int, dict[str, Tensor]] = (0, averaged.state_dict())

    @torch.no_grad()
    def look(now: Progress) -> None:
        nonlocal kept, least
        decay = min(DECAY, now.step / (10 + now.step))
        for mine, its in zip(averaged.parameters(), learning.parameters(), strict=True):
            mine.lerp_(its, 1 - decay)
        if now.step % EVERY and now.step != now.steps:
            return
        rows = theirs.repeat(REPEATS)
        noise = torch.Generator().manual_seed(seed)
        told_rows = {"vector": told[rows]}
        losses = denoising(averaged, u[rows], times=LEVELS, generator=noise, cond=told_rows).double()
        each = losses.reshape(REPEATS, -1).mean(0)
        found.held_out.append((now.step, float(each.mean())))
        worse = each - (each if least is None else least)
        if least is None or float(worse.mean()) < 0:
            least = each
        if float(worse.mean()) <= float(worse.std(correction=0)) / len(each) ** 0.5:
            kept = now.step, copy.deepcopy(averaged.state_dict())
        elif now.step - kept[0] >= patience:
            raise _Enough

    pairs = Arrays(u[ours].cpu(), cond={"vector": told[ours].cpu()})
    options = {"steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed, "ema_decay": 0.0}
    with contextlib.suppress(_Enough):
        fit(learning, pairs, times=LEVELS, condition_dropout=0.0, progress=progress, on_step=look, **options)
    learning.load_state_dict(kept[1])
    learning.eval()
    return replace(found, step=kept[0])


def _denoiser(net: nn.Module | None, dim: int, told: int, seed: int) -> NetworkDenoiser:
    if net is None:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            net = MLP(dim, 128, 5, vector_dim=told)
    schedule = EDM(sigma_min=0.001, sigma_max=20.0)
    return NetworkDenoiser(net, schedule, EDMPreconditioning(sigma_data=1.0), data_mean=0.0, data_std=1.0)
