"""What a step of MALA costs beside the same step written by hand in bare torch, and what a warm-up gains.

    OMP_NUM_THREADS=1 python benchmarks/chains.py
    OMP_NUM_THREADS=1 python benchmarks/chains.py --peers     # blackjax beside it (pip install blackjax)

blackjax's compiled step is called from Python, as its examples do, and once with the loop compiled too.

Process time of 300 steps, the least of 7 interleaved rounds, on a standard Gaussian, whose density costs next to
nothing: the overhead at its largest. Then effective samples a step of a Gaussian in 10 dimensions with standard
deviations from 0.5 to 2, from a first step of 0.01.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor

import scorefield as sf
from scorefield import metrics

STEPS, ROUNDS = 300, 7


def log_density(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(1)


def bare(x: Tensor, h: float) -> Tensor:
    def value_and_score(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        value = log_density(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    value, gradient = value_and_score(x)
    for _ in range(STEPS):
        z = torch.randn_like(x) * h**0.5
        moved = h / 2 * gradient + z
        y = x + moved
        y_value, y_gradient = value_and_score(y)
        ratio = y_value - value + (z.square() - (moved + h / 2 * y_gradient).square()).sum(1) / (2 * h)
        accept = torch.rand(len(x)).log() < ratio
        x, gradient = (torch.where(accept[:, None], a, b) for a, b in ((y, x), (y_gradient, gradient)))
        value = torch.where(accept, y_value, value)
    return x


def blackjax_mala(x: Tensor, h: float, *, looped: bool) -> Callable[[], object]:
    """Its step for all chains at once, compiled beforehand; its step size is a variance of 2 per unit, ours of 1."""
    import blackjax  # type: ignore[reportMissingImports]
    import jax  # type: ignore[reportMissingImports]

    kernel = blackjax.mala(lambda x: -0.5 * (x**2).sum(), h / 2)
    begun = jax.vmap(kernel.init)(jax.numpy.asarray(x.numpy()))
    step = jax.vmap(kernel.step)

    def moved(state: object, key: object) -> tuple[object, None]:
        return step(jax.random.split(key, len(x)), state)[0], None

    keys = jax.random.split(jax.random.key(0), STEPS)
    if looped:
        whole = jax.jit(lambda: jax.lax.scan(moved, begun, keys)[0])
        jax.block_until_ready(whole())
        return lambda: jax.block_until_ready(whole())
    one = jax.jit(moved)
    jax.block_until_ready(one(begun, keys[0]))

    def run() -> object:
        state = begun
        for key in keys:
            state, _ = one(state, key)
        return jax.block_until_ready(state)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    peers = parser.parse_args().peers
    named = ["ours", "bare torch"] + ["blackjax", "blackjax, loop compiled"] * peers
    print(f"us a step\n\n| chains x dimensions | {' | '.join(named)} |\n| --- |{' ---: |' * len(named)}")
    for chains, d in ((1, 2), (64, 2), (1000, 2), (64, 64), (1000, 64)):
        x = torch.randn(chains, d, generator=torch.Generator().manual_seed(0))
        least = [float("inf")] * len(named)
        ours = functools.partial(sf.mala, log_density, x, steps=STEPS, step_size=0.1)
        runs = [ours, functools.partial(bare, x, 0.1)]
        if peers:
            runs += [blackjax_mala(x, 0.1, looped=looped) for looped in (False, True)]
        for _ in range(ROUNDS):
            for i, run in enumerate(runs):
                start = time.process_time()
                run()
                least[i] = min(least[i], (time.process_time() - start) / STEPS * 1e6)
        print(f"| {chains} x {d} | {' | '.join(f'{us:.0f}' for us in least)} |", flush=True)
    sd = torch.logspace(-0.3, 0.3, 10)
    start = sd * torch.randn(32, 10, generator=torch.Generator().manual_seed(0))
    print("\n| warm-up | acceptance | effective samples a step and chain, least entry |\n| ---: | ---: | ---: |")
    for warmup in (0, 100, 500):
        chain = sf.mala(
            lambda x: -0.5 * (x / sd).square().sum(1), start, steps=2000, step_size=0.01, warmup=warmup, trajectory=True
        )
        assert chain.trajectory is not None and chain.acceptance is not None  # noqa: PT018
        size = float(metrics.effective_sample_size(chain.trajectory[1:]).min()) / (2000 * 32)
        print(f"| {warmup} | {float(chain.acceptance.mean()):.3f} | {size:.5f} |", flush=True)


if __name__ == "__main__":
    main()
