"""Samples against a law whose density is known, and what a score's error says about the distance beforehand.

With p exact and q the unknown law of the samples x_i:

    KL(q | p) = E_q log q - E_q log p.   The first term is Kozachenko and Leonenko's, from the distance e_i of x_i to
                its k-th neighbour: log q(x_i) ~ psi(k) - log((N - 1) V_d e_i^d), with psi(k) for log k so that the
                mean has no bias where q is flat within e_i; elsewhere it is of order N^(-2/d): up to 4 dimensions or
                so. Exact draws of p have the same bias to first order in q - p, and it is measured on them.
    TV(q, p)  = 1/2 int |q - p|, of which shares of cells see a part: TV over a partition is at most TV. The cells are
                around exact draws, each of about one share of p; the plug-in is too large by the noise of the shares,
                which is taken off as far as it is known.

Of a denoiser D under a law p with exact denoiser D*, the law q that the reverse SDE makes of N steps -> infinity obeys

    KL(p | q) <= KL(p_T | prior) + 1/2 int E |D - D*|^2 dSNR,      SNR = alpha^2 / sigma^2          (Girsanov)
    TV(p, q)  <= sqrt(KL(p | q) / 2)                                                                (Pinsker)

the integral being 1/2 int g^2 E|s - s*|^2 dt whatever the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from scipy import special, stats
from torch import Tensor

from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating, require_denoiser
from scorefield.distributions import Distribution
from scorefield.metrics.classifier import mode_weights
from scorefield.metrics.evidence import Evidence, normal
from scorefield.metrics.neighbours import nearest
from scorefield.metrics.pairs import generator, rank
from scorefield.randomness import Noise
from scorefield.tensors import require_batch


class ToDensity(NamedTuple):
    """How far samples are from an exact law."""

    kl: Evidence  # KL(q | p), nats; q that of the samples
    total_variation: Evidence  # over cells: at most that of the laws
    pinsker: float  # the bound on the total variation that the estimated KL gives, sqrt(KL / 2)


def to_density(
    x: Tensor, law: Distribution, *, k: int = 5, cells: int | None = None, tests: int = 39, seed: int = 0
) -> ToDensity:
    """KL(q | p) and total variation of samples `x` `(N, *event)` of q from the law p.

    The interval of the KL is Student's about the value less its floor. The floor is the mean of as many exact draws,
    `tests` sets of them: the estimator's bias, and its noise, since there log q - log p is 0 at every draw. Elsewhere
    that varies too, by what the spread of its estimates has beyond the psi'(k) of a distance to a k-th neighbour:

        error^2 = (var(log q^ - log p) - psi'(k)) / N + var(floor) (1 + 1 / tests).

    The interval of the total variation is that of `mode_weights`, between the shares of the samples and of 4 N exact
    draws.

    Args:
        k: neighbours.
        cells: of the partition; about sqrt(N) unless given.
        tests: exact sets for the floor, the interval and the p-value of the KL.

    Raises:
        ValueError: for less than 2 k + 2 samples, k below 1, or less than two cells or tests.

    References:
        Kozachenko & Leonenko 1987; Berrett, Samworth & Yuan 2019, Efficient multivariate entropy estimation.
    """
    require_batch("x", x)
    n, cells = len(x), max(2, round(len(x) ** 0.5)) if cells is None else cells
    if k < 1 or n < 2 * k + 2 or min(cells, tests) < 2:
        got = f"{k}, {n}, {cells}, {tests}"
        raise ValueError(f"k must be at least 1, x at least {2 * k + 2}, cells and tests 2; got {got}")
    excess = _excess(x, law, k)
    draw = generator(seed)

    def exact(size: int) -> Tensor:
        return law.sample(size, generator=draw).to(x)

    nulls: list[Tensor] = []

    def null() -> Tensor:
        if not nulls:
            nulls.append(torch.stack([_excess(exact(n), law, k).mean() for _ in range(tests)]))
        return nulls[0]

    def error() -> float:
        own = max(float(excess.var()) - float(special.polygamma(1, k)), 0.0) / n
        return math.sqrt(own + float(null().var()) * (1 + 1 / tests))

    value = float(excess.mean())
    kl = Evidence(
        name="kl",
        value=value,
        n=(n,),
        bounds=lambda level: normal(value - float(null().mean()), error(), low=0.0, degrees=tests - 1)(level),
        limit=lambda: value - float(null().mean()),
        null=lambda: (float(null().mean()), (n,)),
        p=lambda: rank(value, null()),
    )
    centres = exact(cells)
    own, theirs = (nearest(s, centres).index[:, 0] for s in (x, exact(4 * n)))
    variation = mode_weights(own, theirs, classes=cells, seed=seed).total_variation
    return ToDensity(kl, variation, math.sqrt(max(value, 0.0) / 2))


def _excess(x: Tensor, law: Distribution, k: int) -> Tensor:
    """log q(x_i) by neighbours, less log p(x_i), `(N,)` float64."""
    flat = x.detach().reshape(len(x), -1).double()
    n, d = flat.shape
    radius = nearest(flat, flat, k=k + 1).distance[:, -1]
    if not bool((radius > 0).all()):
        raise ValueError(f"x holds {k + 1} equal samples: it has no density")
    volume = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    log_q = float(special.digamma(k)) - math.log(n - 1) - volume - d * radius.log()
    with torch.no_grad():
        return (log_q - law.log_prob(x.detach()).double()).cpu()


class Girsanov(NamedTuple):
    """What the error of a score allows the law of the reverse SDE to be off by."""

    kl: Evidence  # the bound on KL(p | q), nats
    prior: float  # the part of the start at t = 1
    total_variation: float  # Pinsker's bound of it, at most 1


def girsanov(
    denoiser: Denoiser, law: Distribution, *, n: int = 2048, levels: int = 64, t_min: float = 1e-3, seed: int = 0
) -> Girsanov:
    """The bound on KL(p | q) of a denoiser's reverse SDE from its measured error, p the exact law noised at `t_min`.

        KL(p_T | prior) + 1/2 sum over levels of E |D - D*|^2 (SNR_i - SNR_{i-1})

    The expectation is over n draws, each at one level, in strata even in log-SNR; the interval is normal, of the mean
    of those draws. The part of the start is that of the Gaussian of p_T's mean and covariance, an approximation as good
    as p_T is Gaussian. Steps add to it: the bound is for the SDE itself.

    Args:
        levels: strata of log-SNR.
        t_min: where the integral ends, since at t = 0 the SNR is infinite.

    Raises:
        TypeError: for no denoiser.
        ValueError: for less than 2 draws a level.
    """
    require_denoiser("denoiser", denoiser)
    each = n // levels
    if levels < 1 or each < 2:
        raise ValueError(f"n must be at least 2 for each level; got {n} for {levels}")
    schedule = denoiser.schedule
    ends = torch.tensor([1.0, t_min], dtype=torch.float64, device="cpu")
    high, low = (float(schedule.log_snr(t)) for t in ends)
    first = max(high, float(schedule.log_snr(torch.tensor(1 - 1e-3, dtype=torch.float64, device="cpu"))))
    edges = torch.linspace(first, low, levels + 1, dtype=torch.float64, device="cpu")
    x0 = law.sample(levels * each, generator=generator(seed))
    noise = Noise(seed, torch.arange(len(x0), device=x0.device), tuple(law.event_shape), x0.dtype)
    eps, u = noise.normal(0), noise.uniform(1).reshape(len(x0), -1)[:, 0].double().cpu()
    total = torch.zeros(each, dtype=torch.float64, device="cpu")
    with torch.no_grad(), evaluating(denoiser):
        for i in range(levels):
            rows = slice(i * each, (i + 1) * each)
            half = edges[i] + (edges[i + 1] - edges[i]) * u[rows]
            t = schedule.time_of_log_snr(half)
            x_t = schedule.perturb(x0[rows], t, eps[rows])
            alpha, sigma = (v.to(x0) for v in schedule(t))
            gap = denoiser(x_t, t) - law.denoise(x_t, alpha, sigma)
            weight = torch.exp(2 * half) * (edges[i + 1] - edges[i])  # 1/2 dSNR = SNR d(log-SNR), half of it twice
            total += weight * gap.double().flatten(1).square().sum(1).cpu()
    value, prior = float(total.mean()), _prior_gap(denoiser, law, seed)
    kl = Evidence(
        name="girsanov",
        value=value + prior,
        n=(levels * each,),
        bounds=normal(value + prior, float(total.std()) / math.sqrt(each), low=0.0, degrees=each - 1),
        null=lambda: (prior, (levels * each,)),
    )
    return Girsanov(kl, prior, min(1.0, math.sqrt((value + prior) / 2)))


def _prior_gap(denoiser: Denoiser, law: Distribution, seed: int) -> float:
    """KL of the Gaussian of p_T's moments from where sampling starts."""
    start = denoiser.prior(1.0)
    alpha, sigma = (float(v) for v in denoiser.schedule(1.0))
    flat = law.sample(4096, generator=generator(seed)).double().flatten(1).cpu()
    d = flat.shape[1]
    covariance = alpha**2 * torch.cov(flat.T).reshape(d, d) + sigma**2 * torch.eye(d, dtype=torch.float64, device="cpu")
    mean = torch.as_tensor(start.mean, dtype=torch.float64, device="cpu").expand(law.event_shape).flatten()
    shift = alpha * law.mean.double().cpu().flatten() - mean
    variance = float(start.std) ** 2
    trace = float(covariance.trace()) / variance
    mismatch = trace - d + float(shift @ shift) / variance
    return max(0.0, (mismatch + d * math.log(variance) - float(torch.logdet(covariance))) / 2)


def fisher(score: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], x: Tensor) -> Evidence:
    """The Fisher divergence E_p |s_p - s_q|^2 of two scores, at samples `x` `(N, *event)` of p, the first one's law.

    It is not symmetric: the mean is under p, and F(q | p) is another number; 0 only where the scores agree on all of
    p's mass, which for separated modes does not fix their weights. The interval is Student's, of a mean of N.

    Raises:
        ValueError: for less than two samples, or scores that are not finite or of another shape than x.
    """
    require_batch("x", x)
    with torch.no_grad():
        one, two = score(x), other(x)
    if len(x) < 2 or one.shape != x.shape or two.shape != x.shape:
        raise ValueError(f"x and both scores must be of one shape, of 2 samples at least; got {tuple(x.shape)}")
    return _mean("fisher", (one - two).double().flatten(1).square().sum(1), low=0.0)


def likelihood_gap(log_prob: Tensor, other: Tensor) -> Evidence:
    """The mean of log p - log q of the same data under two models, `(N,)` each, in nats: positive where p is better.

    Paired: what makes a datum hard makes it hard for both, so the interval, Student's of the N differences, is far
    narrower than those of the two means. `.p_value` is two-sided, of the paired t-test; `.floor` is 0.

    Raises:
        ValueError: for two lengths, less than two data, or values that are not finite.
    """
    if log_prob.ndim != 1 or log_prob.shape != other.shape or len(other) < 2:
        raise ValueError(f"log_prob and other must be (N,), N >= 2; got {tuple(log_prob.shape)}, {tuple(other.shape)}")
    return _mean("likelihood_gap", (log_prob - other).detach().double(), test=True)


def held_out_likelihood(held: Tensor, trained: Tensor | None = None, *, off: float = 0.0) -> Evidence:
    """The mean log-likelihood of data a model has not seen, `(N,)`, beside that of the data it was trained on, `(M,)`.

    The interval is Student's, of a mean of N draws of the law, joined by `off`, what every value may be off by alike
    (the solver, the ends of the integral). `.floor` is the mean of `trained`, and `.p_value` the one-sided Welch test
    of whether held-out data have less: what a model knows by heart is likelier than what it does not.

    Raises:
        ValueError: for less than two data of either, or values that are not finite.
    """
    sets = [v.detach().double().cpu() for v in ((held,) if trained is None else (held, trained))]
    for name, values in zip(("held", "trained"), sets, strict=False):
        if values.ndim != 1 or len(values) < 2 or not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name} must be (N,), finite, N >= 2; got {tuple(values.shape)}")
    n, mean = len(sets[0]), float(sets[0].mean())
    floor = float(sets[-1].mean()) if len(sets) == 2 else math.nan

    def p() -> float:
        test: Any = stats.ttest_ind(*(v.numpy() for v in sets), equal_var=False, alternative="less")
        return float(test.pvalue)

    return Evidence(
        name="held_out_likelihood",
        value=mean,
        n=tuple(len(v) for v in sets),
        bounds=normal(mean, math.hypot(float(sets[0].std()) / math.sqrt(n), off), degrees=n - 1),
        null=lambda: (floor, tuple(len(v) for v in sets)),
        p=p if len(sets) == 2 else None,
    )


def _mean(name: str, values: Tensor, *, low: float = -math.inf, test: bool = False) -> Evidence:
    values = values.cpu()
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}: values must be finite; {int((~torch.isfinite(values)).sum())} are not")
    n, mean = len(values), float(values.mean())
    error = float(values.std()) / math.sqrt(n)

    def p() -> float:
        return 2 * float(special.stdtr(n - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)

    return Evidence(
        name=name,
        value=mean,
        n=(n,),
        bounds=normal(mean, error, low=low, degrees=n - 1),
        null=lambda: (0.0, (n,)),
        p=p if test else None,
    )
