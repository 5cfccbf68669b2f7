"""What Langevin dynamics can't do at one noise level: a banana, a funnel, and two modes, beside the No-U-Turn sampler.

    OMP_NUM_THREADS=1 python benchmarks/geometry.py --peers [--picture FILE]     # (pip install blackjax)

Each law has draws of its own, so what a sampler misses is exact. 64 chains from standard normal starts and 20,000
gradients each, warm-up included, of which the second half is kept; the No-U-Turn sampler's gradients are counted as
they are spent. ULA has the step size that MALA's warm-up found. The last row is no chain: a denoiser trained on 20,000
draws of the law, sampled in 30 evaluations, whose 64,000 samples are independent.

`KS` is the distance of the hard coordinate's marginal from its exact one (independent draws: about .87 / sqrt(n)),
`tail` the mass where only a short step goes over the exact one, and `r-hat` that of the hard coordinate; nan: a chain
left for infinity.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import scorefield as sf
from scorefield import metrics, plots
from scorefield.plots.style import COLORS, figure

CHAINS, GRADIENTS = 64, 20_000


class Law(NamedTuple):
    """A density, draws, and the coordinate that is hard, with its law."""

    name: str
    log_density: Callable[[Tensor], Tensor]  # (B, d) -> (B,), up to a constant
    draw: Callable[[int, torch.Generator], Tensor]
    hard: int
    cdf: Callable[[np.ndarray], np.ndarray]
    tail: float  # the mass below this is `tail`


def banana() -> Law:
    """x ~ N(0, 10^2), y | x ~ N(.03 (x^2 - 100), 1): Haario, Saksman & Tamminen 1999."""

    def log_density(z: Tensor) -> Tensor:
        x, y = z.T
        return -(x**2) / 200 - (y - 0.03 * (x**2 - 100)) ** 2 / 2

    def draw(n: int, g: torch.Generator) -> Tensor:
        x, e = torch.randn(2, n, generator=g)
        return torch.stack([10 * x, 0.03 * (100 * x**2 - 100) + e], 1)

    return Law("banana", log_density, draw, 0, lambda x: stats.norm.cdf(x, scale=10), -15.0)


def funnel(d: int = 10) -> Law:
    """v ~ N(0, 3^2), x_i | v ~ N(0, e^v), i < d: Neal 2003."""

    def log_density(z: Tensor) -> Tensor:
        v, x = z[:, 0], z[:, 1:]
        return -(v**2) / 18 - (d - 1) * v / 2 - (x**2).sum(1) * torch.exp(-v) / 2

    def draw(n: int, g: torch.Generator) -> Tensor:
        v, x = 3 * torch.randn(n, 1, generator=g), torch.randn(n, d - 1, generator=g)
        return torch.cat([v, x * torch.exp(v / 2)], 1)

    return Law("funnel", log_density, draw, 0, lambda v: stats.norm.cdf(v, scale=3), -4.0)


def modes(gap: float = 10.0) -> Law:
    """.7 N(0, I) + .3 N((gap, 0), I)."""
    law = sf.GaussianMixture(torch.tensor([0.7, 0.3]), torch.tensor([[0.0, 0.0], [gap, 0.0]]), torch.ones(2, 2))
    both = lambda x: 0.7 * stats.norm.cdf(x) + 0.3 * stats.norm.cdf(x - gap)  # noqa: E731
    return Law("two modes", law.log_prob, lambda n, g: law.sample(n, generator=g).float(), 0, both, gap / 2)


def start(d: int, seed: int) -> Tensor:
    return torch.randn(CHAINS, d, generator=torch.Generator().manual_seed(seed))


def langevin(law: Law, d: int, seed: int) -> dict[str, Tensor]:
    """ULA and MALA, their second halves `(steps, chains, d)`."""
    half = GRADIENTS // 4
    chain = sf.mala(law.log_density, start(d, seed), steps=GRADIENTS - half, warmup=half, step_size=0.01,
                    seed=seed, trajectory=True)  # fmt: skip
    assert chain.trajectory is not None and chain.step_size is not None  # noqa: PT018

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(law.log_density(x).sum(), x)[0]

    plain = sf.ula(score, start(d, seed), steps=GRADIENTS, step_size=chain.step_size, seed=seed, trajectory=True)
    assert plain.trajectory is not None
    return {"ULA": plain.trajectory[-GRADIENTS // 2 :], "MALA": chain.trajectory[-GRADIENTS // 2 :]}


def nuts(law: Law, d: int, seed: int) -> Tensor:
    """blackjax's, with window adaptation, until its gradients are spent; the second half of its draws."""
    import blackjax  # type: ignore[reportMissingImports]
    import jax  # type: ignore[reportMissingImports]

    np_ = jax.numpy

    def density(z: jax.Array) -> jax.Array:
        if law.name == "banana":
            return -(z[0] ** 2) / 200 - (z[1] - 0.03 * (z[0] ** 2 - 100)) ** 2 / 2
        if law.name == "funnel":
            return -(z[0] ** 2) / 18 - (d - 1) * z[0] / 2 - (z[1:] ** 2).sum() * np_.exp(-z[0]) / 2
        at = np_.array([0.0, 10.0])
        return (
            np_.logaddexp(np_.log(0.7) - (z[0] - at[0]) ** 2 / 2, np_.log(0.3) - (z[0] - at[1]) ** 2 / 2)
            - z[1] ** 2 / 2
        )

    def one(key: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        warm, run = jax.random.split(key)
        (state, found), seen = blackjax.window_adaptation(blackjax.nuts, density).run(warm, z, 500)
        kernel = blackjax.nuts(density, **found)

        def step(carry: tuple, key: jax.Array) -> tuple:
            state, spent = carry
            new, info = kernel.step(key, state)
            spent = spent + info.num_integration_steps
            return (new, spent), (new.position, spent)

        warmed = seen.info.num_integration_steps.sum()
        _, (path, spent) = jax.lax.scan(step, (state, warmed), jax.random.split(run, 1500))
        return path, spent

    keys = jax.random.split(jax.random.key(seed), CHAINS)
    path, spent = jax.jit(jax.vmap(one))(keys, np_.asarray(start(d, seed).numpy()))
    within = int(np.median((np.asarray(spent) <= GRADIENTS).sum(1)))
    kept = torch.from_numpy(np.array(path)).transpose(0, 1)[: max(within, 4)]
    return kept[len(kept) // 2 :]


def denoised(law: Law, d: int, seed: int) -> Tensor:
    data = law.draw(20_000, torch.Generator().manual_seed(seed + 50))
    sd = float(data.std())
    schedule, kind = sf.EDM(sigma_max=max(20.0, 4 * sd)), sf.EDMPreconditioning(sd)
    torch.manual_seed(seed)
    begun = sf.NetworkDenoiser(sf.networks.MLP(d, 128), schedule, kind, data_mean=data.mean(0), data_std=sd)
    result = sf.training.fit(begun, data, steps=6000, batch_size=512, lr=2e-3, ema_decay=0.998, seed=seed)
    return sf.sample(result.denoiser, (1000 * CHAINS, d), nfe=30, seed=seed).x.reshape(1000, CHAINS, d)


def judged(law: Law, path: Tensor) -> tuple[float, float, float]:
    """KS of the hard coordinate, its mass in the tail over the exact one, r-hat."""
    hard = path[..., law.hard].double()
    if not bool(torch.isfinite(hard).all()):
        return math.nan, math.nan, math.nan
    flat = hard.flatten().numpy()
    ks = float(stats.kstest(flat, law.cdf).statistic)  # type: ignore[union-attr]
    share = float((flat < law.tail).mean()) / float(law.cdf(np.array(law.tail)))
    return ks, share, float(metrics.r_hat(hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| law | sampler | KS | tail / exact | r-hat | CPU seconds |\n| --- | --- | --- | --- | --- | --- |")
    shown: dict[str, dict[str, Tensor]] = {}
    for law in (banana(), funnel(), modes()):
        d = law.draw(2, torch.Generator()).shape[1]
        makers: dict[str, Callable[[], dict[str, Tensor]]] = {"": lambda law=law, d=d: langevin(law, d, args.seed)}
        if args.peers:
            makers["NUTS"] = lambda law=law, d=d: {"NUTS (blackjax)": nuts(law, d, args.seed)}
        makers["denoiser"] = lambda law=law, d=d: {"trained denoiser": denoised(law, d, args.seed)}
        shown[law.name] = {"exact": law.draw(3000, torch.Generator().manual_seed(9))}
        for make in makers.values():
            begun = time.process_time()
            for name, path in make().items():
                ks, tail, r = judged(law, path)
                seconds = time.process_time() - begun
                print(f"| {law.name} | {name} | {ks:.3f} | {tail:.2f} | {r:.2f} | {seconds:.0f} |", flush=True)
                path = path[:, torch.isfinite(path).all(2).all(0)]
                shown[law.name][name] = path.flatten(0, 1)[:: max(1, path[..., 0].numel() // 3000)]
    if args.picture is not None:
        draw(shown, args.picture)


def draw(shown: dict[str, dict[str, Tensor]], out: Path) -> None:
    """A row a law, a column a sampler, 3,000 points each over the exact ones."""
    columns = list(next(iter(shown.values())))
    fig = figure(2.4 * len(columns), 2.4 * len(shown))
    limits = {"banana": ((-35, 35), (-8, 25)), "funnel": ((-11, 11), (-25, 25)), "two modes": ((-4, 14), (-4, 4))}
    for row, (law, points) in enumerate(shown.items()):
        for place, (name, x) in enumerate(points.items()):
            ax = fig.add_subplot(len(shown), len(columns), row * len(columns) + place + 1)
            ax.plot(*points["exact"][:, :2].T, ".", color="#cbd5e1", markersize=1.5)
            ax.plot(*x[:, :2].T, ".", color=COLORS["truth" if name == "exact" else "first"], markersize=1.2, alpha=0.5)
            ax.set(xlim=limits[law][0], ylim=limits[law][1], xticks=[], yticks=[])
            if row == 0:
                ax.set_title(name, fontsize=9)
            if place == 0:
                ax.set_ylabel(law, fontsize=9)
    plots.save(fig, out)


if __name__ == "__main__":
    main()
