"""How often each metric's 90% interval holds the truth, and whether p-values are uniform where nothing differs.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py [--repeats 400] [--only NAME ...] [--null]

Laws that differ, drawn `repeats` times. The truth is a closed form, or, where the interval is about the statistic's
mean at its sizes, the mean of twice as many further draws. A share of 400 has a standard error of 1.5%. With --null
both sets are of one law, and the table shows how far the p-values are from uniform (Kolmogorov and Smirnov), and how
many are below 0.05 and 0.1.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import scorefield as sf
from scorefield import metrics
from scorefield.metrics import Evidence

f64 = torch.float64
Draw = Callable[[int], Evidence]


class Case(NamedTuple):
    name: str
    draw: Draw
    truth: float | None = None  # unless given, the mean of further draws
    order: float = 1  # of the power whose mean is meant
    truths: Callable[[int], float] | None = None  # where each draw has its own


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(seed: int, d: int, n: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return shift + scale * torch.randn(n, d, dtype=f64, generator=generator(seed))


def two(seed: int, d: int, n: int, m: int, shift: float, scale: float) -> tuple[Tensor, Tensor]:
    """N(shift, scale^2) in each entry, and N(0, 1)."""
    return normals(2 * seed, d, n, shift, scale), normals(2 * seed + 1, d, m)


def frechet_case(d: int, n: int, shift: float, scale: float) -> Case:
    truth = d * (shift**2 + (scale - 1) ** 2)
    return Case(f"frechet, d = {d}, n = {n}", lambda s: metrics.frechet(*two(s, d, n, n, shift, scale)), truth)


def bootstrap_case(d: int, n: int, shift: float, scale: float) -> Case:
    """What everybody writes first."""

    def draw(seed: int) -> Evidence:
        x, y = two(seed, d, n, n, shift, scale)
        g = generator(seed)
        values = [
            metrics.frechet_distance(*(z[torch.randint(n, (n,), generator=g)] for z in (x, y))) for _ in range(100)
        ]
        ends = lambda level: tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))  # noqa: E731
        return Evidence(name="percentile", value=metrics.frechet_distance(x, y), n=(n, n), bounds=ends)

    return Case(f"  percentile bootstrap, d = {d}, n = {n}", draw, d * (shift**2 + (scale - 1) ** 2))


def sliced_case(d: int, n: int, m: int, shift: float, scale: float) -> Case:
    theta = torch.randn(200_000, d, dtype=f64, generator=generator(9))
    along = shift * (theta / theta.norm(dim=1, keepdim=True)).sum(1)
    truth = math.sqrt(float((along.square() + (scale - 1) ** 2).mean()))
    return Case(f"sliced, d = {d}, n = {n}, {m}", lambda s: metrics.sliced(*two(s, d, n, m, shift, scale)), truth)


def cases() -> list[Case]:
    found = [frechet_case(8, 500, 0.2, 1.2), frechet_case(8, 1000, 0.2, 1.2)]
    found += [frechet_case(32, 500, 0.2, 1.2), frechet_case(32, 1000, 0.2, 1.2), frechet_case(64, 500, 0.2, 1.2)]
    found += [bootstrap_case(8, 500, 0.1, 1.0), bootstrap_case(32, 500, 0.1, 1.0)]
    found += [Case("kernel_distance, d = 8", lambda s: metrics.kernel_distance(*two(s, 8, 400, 300, 0.3, 1.0)))]
    found += [Case("kernel_distance, d = 64", lambda s: metrics.kernel_distance(*two(s, 64, 300, 300, 0.2, 1.0)))]
    found += [Case("mmd, d = 2", lambda s: metrics.mmd(*two(s, 2, 300, 400, 0.4, 1.0)))]
    found += [Case("mmd, d = 16", lambda s: metrics.mmd(*two(s, 16, 300, 300, 0.2, 1.1)))]
    found += [sliced_case(2, 400, 400, 0.4, 1.2), sliced_case(16, 400, 300, 0.4, 1.3)]
    for d, shift in ((2, 0.7), (8, 0.5)):
        found.append(
            Case(
                f"wasserstein, d = {d}",
                lambda s, d=d, shift=shift: metrics.wasserstein(*two(s, d, 200, 200, shift, 1.2)),
                order=2,
            )
        )
    for i, name in enumerate(("precision", "recall", "density", "coverage")):
        for d, shift, scale in ((2, 1.0, 0.8), (8, 0.4, 0.9)):

            def draw(seed: int, i: int = i, d: int = d, shift: float = shift, scale: float = scale) -> Evidence:
                x, y = two(seed, d, 400, 400, shift, scale)
                return metrics.precision_recall(real=y, generated=x)[i]

            found.append(Case(f"{name}, d = {d}", draw))
    found += [two_sample_case(), weight_case(), variation_case(), stein_case(False), stein_case(True)]
    found += [memorization_case(), *density_cases()]
    found += [Case("auroc", lambda s: metrics.auroc(*scores(s)), float(stats.norm.cdf(1 / math.sqrt(2))))]
    found += [
        Case("average_precision", lambda s: metrics.average_precision(*scores(s), resamples=300), average_truth())
    ]
    return found


def average_truth() -> float:
    """At infinite samples, of which 400,000 are near."""
    draw = np.random.default_rng(0)
    sets = draw.normal(size=200_000), 1 + draw.normal(size=160_000)
    return metrics.average_precision(*sets, resamples=1).value


def scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=100), 1 + draw.normal(size=80)


def two_sample_case() -> Case:
    kept: dict[int, float] = {}

    def draw(seed: int) -> Evidence:
        from sklearn.linear_model import LogisticRegression

        by = LogisticRegression()
        found = metrics.two_sample(*two(seed, 8, 300, 300, 0.25, 1.0), classifier=by)
        w = by.coef_[0]  # the score is w . x: N(0, |w|^2) for the real, N(0.25 sum w, |w|^2) for the generated
        kept[seed] = float(stats.norm.cdf(-0.25 * w.sum() / (np.linalg.norm(w) * math.sqrt(2))))
        return found

    return Case("two_sample, the area of its classifier", draw, truths=lambda seed: kept[seed])


P = np.array([0.02, 0.05, 0.08, 0.1, 0.1, 0.1, 0.1, 0.15, 0.15, 0.15])
Q = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])


def labels(seed: int, p: np.ndarray, n: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice(len(p), n, p=p))


def weight_case() -> Case:
    def draw(seed: int) -> Evidence:
        return metrics.mode_weights(labels(2 * seed, P, 500), labels(2 * seed + 1, Q, 500)).weights[0]

    return Case("mode_weights, a class of 2%", draw, 0.02)


def variation_case() -> Case:
    def draw(seed: int) -> Evidence:
        return metrics.mode_weights(labels(2 * seed, P, 500), labels(2 * seed + 1, Q, 500)).total_variation

    return Case("total variation of 10 classes, 4 alike", draw, float(np.abs(P - Q).sum() / 2))


def stein_case(smoothed: bool) -> Case:
    law = sf.Gaussian(torch.zeros(4, dtype=f64), torch.eye(4, dtype=f64))
    ratios = (0.5, 1.0) if smoothed else ()
    name = "kernel_stein, smoothed" if smoothed else "kernel_stein"
    return Case(
        f"{name}, d = 4",
        lambda s: metrics.kernel_stein(normals(s, 4, 300, 0.3, 1.1), law, noise_ratios=ratios, bandwidth=2.0, seed=s),
    )


def memorization_case() -> Case:
    def draw(seed: int) -> Evidence:
        train, held_out, new = (normals(3 * seed + i, 4, 300) for i in range(3))
        copied = torch.rand(300, generator=generator(seed)) < 0.2
        near = train[torch.randperm(300, generator=generator(seed))] + 0.01
        return metrics.memorization(torch.where(copied[:, None], near, new), train, held_out)

    return Case("memorization, 20% copied", draw)


def density_cases() -> list[Case]:
    """Against laws and between scores, where all is known: N(m, 1) in each entry, and N(0, 1)."""
    m = 0.4

    def standard(d: int) -> sf.Gaussian:
        return sf.Gaussian(torch.zeros(d, dtype=f64), torch.eye(d, dtype=f64))

    def gap(seed: int) -> Evidence:
        x = normals(seed, 1, 200)[:, 0].numpy()
        return metrics.likelihood_gap(*(torch.from_numpy(stats.norm.logpdf(x, at)) for at in (0.0, m)))

    def held(seed: int) -> Evidence:
        return metrics.held_out_likelihood(torch.from_numpy(stats.norm.logpdf(normals(seed, 1, 200)[:, 0].numpy())))

    wide = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), 2 * torch.eye(1, dtype=f64)), sf.VP())
    return [
        *(
            Case(
                f"to_density, KL, d = {d}",
                lambda s, d=d: metrics.to_density(normals(s, d, 300, 0.6), standard(d), tests=12, seed=s).kl,
                d * 0.18,
            )
            for d in (1, 2, 4)
        ),
        Case("fisher", lambda s: metrics.fisher(lambda x: -x, lambda x: -x / 4, normals(s, 1, 200)), 9 / 16),
        Case("likelihood_gap", gap, m**2 / 2),
        Case("held_out_likelihood", held, -0.5 * math.log(2 * math.pi * math.e)),
        Case("girsanov, a wrong variance", lambda s: metrics.girsanov(wide, standard(1), n=1024, seed=s).kl),
    ]


def nulls() -> list[tuple[str, Draw]]:
    law = sf.Gaussian(torch.zeros(4, dtype=f64), torch.eye(4, dtype=f64))

    def same(seed: int, n: int = 60, d: int = 4) -> tuple[Tensor, Tensor]:
        return two(seed, d, n, n, 0.0, 1.0)

    def weights(seed: int) -> Evidence:
        return metrics.mode_weights(labels(2 * seed, Q, 300), labels(2 * seed + 1, Q, 300)).total_variation

    return [
        ("frechet", lambda s: metrics.frechet(*same(s), seed=s)),
        ("kernel_distance", lambda s: metrics.kernel_distance(*same(s), seed=s)),
        ("mmd", lambda s: metrics.mmd(*same(s), seed=s)),
        ("sliced", lambda s: metrics.sliced(*same(s), projections=16, seed=s)),
        ("wasserstein", lambda s: metrics.wasserstein(*same(s), seed=s)),
        ("two_sample", lambda s: metrics.two_sample(*same(s), seed=s)),
        *(
            (name, lambda s, i=i: metrics.precision_recall(generated=(z := same(s))[0], real=z[1], k=3, seed=s)[i])
            for i, name in enumerate(("precision", "recall", "density", "coverage"))
        ),
        ("total variation", weights),
        ("kernel_stein, bootstrap", lambda s: metrics.kernel_stein(normals(s, 4, 200), law, seed=s)),
        (
            "kernel_stein, smoothed",
            lambda s: metrics.kernel_stein(normals(s, 4, 200), law, noise_ratios=(0.5, 1.0), seed=s),
        ),
        (
            "kernel_stein, sampler",
            lambda s: metrics.kernel_stein(normals(s, 4, 40), law, sampler=law.sample, resamples=99, seed=s),
        ),
        ("memorization", lambda s: metrics.memorization(*(normals(3 * s + i, 4, 100) for i in range(3)), seed=s)),
    ]


def coverage(case: Case, repeats: int, level: float = 0.9) -> dict[str, Any]:
    """The share of intervals that hold the truth, and how they miss."""
    truth = case.truth
    if truth is None and case.truths is None:
        further = [case.draw(10**6 + seed).value ** case.order for seed in range(2 * repeats)]
        truth = float(np.mean(further)) ** (1 / case.order)
    below = above = 0
    widths = []
    for seed in range(repeats):
        low, high = (found := case.draw(seed)).interval(level)
        own = case.truths(seed) if case.truths else truth
        assert own is not None
        below, above = below + (high < own), above + (low > own)
        widths.append((high - low) / max(abs(found.value), 1e-12))
    return {
        "coverage": 1 - (below + above) / repeats,
        "below": below / repeats,
        "above": above / repeats,
        "width": float(np.median(widths)),
    }


def uniform(draw: Draw, repeats: int) -> dict[str, float]:
    p = np.array([draw(seed).p_value for seed in range(repeats)])
    # p-values of B regroupings are multiples of 1 / (B + 1): spread within their step before they are tested
    steps = np.diff(np.unique(p)).min() if len(np.unique(p)) > 1 else 1.0
    spread = p - np.random.default_rng(0).uniform(0, steps, len(p))
    ks = float(stats.kstest(spread, "uniform").pvalue)  # type: ignore[union-attr]
    return {"ks": ks, "0.05": float((p <= 0.05).mean()), "0.1": float((p <= 0.1).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--only", nargs="*", default=[""], help="names that begin so")
    parser.add_argument("--null", action="store_true")
    args = parser.parse_args()
    head = ("KS p", "<= 0.05", "<= 0.1") if args.null else ("coverage", "below", "above", "width")
    print(f"| 90% interval, or null | {' | '.join(head)} | seconds |\n| --- |{' ---: |' * (len(head) + 1)}")
    rows: list[tuple[str, Callable[[], dict[str, Any]]]] = (
        [(name, lambda draw=draw: uniform(draw, args.repeats)) for name, draw in nulls()]
        if args.null
        else [(case.name, lambda case=case: coverage(case, args.repeats)) for case in cases()]
    )
    for name, row in rows:
        if not any(name.strip().startswith(only) for only in args.only):
            continue
        start = time.perf_counter()
        shown = " | ".join(f"{value:.3f}" for value in row().values())
        print(f"| {name} | {shown} | {time.perf_counter() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
