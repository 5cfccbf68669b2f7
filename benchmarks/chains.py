"""What a step of MALA costs beside the same step written by hand in bare torch, and what a warm-up gains.

    OMP_NUM_THREADS=1 python benchmarks/chains.py

Process time of 300 steps, the least of 7 interleaved rounds, on a standard Gaussian, whose density costs next to
nothing: the overhead at its largest. Then effective samples a step of a Gaussian in 10 dimensions with standard
deviations from 0.5 to 2, from a first step of 0.01.
"""

from __future__ import annotations

import functools
import time

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


def main() -> None:
    print("| chains x dimensions | ours, us a step | bare torch | ratio |\n| --- | ---: | ---: | ---: |")
    for chains, d in ((1, 2), (64, 2), (1000, 2), (64, 64), (1000, 64)):
        x = torch.randn(chains, d, generator=torch.Generator().manual_seed(0))
        least = [float("inf")] * 2
        ours = functools.partial(sf.mala, log_density, x, steps=STEPS, step_size=0.1)
        for _ in range(ROUNDS):
            for i, run in enumerate((ours, functools.partial(bare, x, 0.1))):
                start = time.process_time()
                run()
                least[i] = min(least[i], (time.process_time() - start) / STEPS * 1e6)
        print(f"| {chains} x {d} | {least[0]:.0f} | {least[1]:.0f} | {least[0] / least[1]:.2f} |", flush=True)
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
