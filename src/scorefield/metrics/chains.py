"""Has a chain mixed, and how many independent draws is it worth?

Of C chains of N draws each, every chain split into halves, with W the mean variance within the 2C halves, B / N the
variance of their means and var+ = (N - 1) / N W + B / N,

    R-hat = sqrt(var+ / W)                            1 where the halves agree, above where they have not met
    ESS   = 2C N / (1 + 2 sum_t rho_t),               rho_t = 1 - (W - mean autocovariance at lag t) / var+

The sum ends where a pair rho_2k + rho_2k+1 is negative, and pairs are made to decrease, as those of a reversible chain
do (Geyer 1992). R-hat is that of normal scores of the pooled ranks, and of those of the distances from the median,
the larger of the two: so it sees tails and variances, and needs no moments.
"""

from __future__ import annotations

import torch
from torch import Tensor


def effective_sample_size(draws: Tensor) -> Tensor:
    """Independent draws that the mean of `draws` `(N, C, *event)` is worth, entry by entry, `(*event)`.

    NaN for an entry that never moves. Chains that disagree count for little, as they should.

    Raises:
        ValueError: for less than 8 draws, or some that are not finite.

    References:
        Vehtari et al. 2021, Rank-normalization, folding, and localization: an improved R-hat.
    """
    halves = _halves(draws)
    n, c = halves.shape[:2]
    centred = halves - halves.mean(0)
    size = 2 ** (2 * n - 1).bit_length()
    spectrum = torch.fft.rfft(centred, size, dim=0)
    autocovariance = torch.fft.irfft(spectrum * spectrum.conj(), size, dim=0)[:n].mean(1) / n
    within = autocovariance[0] * n / (n - 1)
    between = halves.mean(0).var(0) if c > 1 else torch.zeros_like(within)
    total = within * (n - 1) / n + between
    rho = 1 - (within - autocovariance * n / (n - 1)) / total
    rho[0] = 1
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, *rho.shape[1:]).sum(1)
    positive = (pairs > 0).to(pairs.dtype).cumprod(0)
    pairs = torch.where(positive > 0, pairs, torch.inf).cummin(0).values  # decreasing while positive
    time = 2 * torch.where(positive > 0, pairs, 0.0).sum(0) - 1
    found = n * c / time.clamp(min=1 / torch.log10(torch.tensor(float(n * c), device="cpu")).item())
    return torch.where(total > 0, found, torch.nan).reshape(draws.shape[2:])


def r_hat(draws: Tensor) -> Tensor:
    """The rank-normalised split R-hat of `draws` `(N, C, *event)`, entry by entry, `(*event)`; below 1.01 is mixed.

    NaN for an entry that never moves.

    Raises:
        ValueError: for less than 8 draws, or some that are not finite.

    References:
        Vehtari et al. 2021, Rank-normalization, folding, and localization: an improved R-hat.
    """
    halves = _halves(draws)
    folded = (halves - halves.flatten(0, 1).median(0).values).abs()
    found = torch.stack([_split(_scores(part)) for part in (halves, folded)])
    return found.amax(0).reshape(draws.shape[2:])


def _halves(draws: Tensor) -> Tensor:
    """The halves of all chains as chains, `(N // 2, 2 C, d)` in float64."""
    if draws.ndim < 2 or len(draws) < 8 or not bool(torch.isfinite(draws).all()):
        raise ValueError(f"draws must be finite, (N, C, *event) with N >= 8; got shape {tuple(draws.shape)}")
    n = len(draws) // 2
    flat = draws.detach().double().reshape(*draws.shape[:2], -1)
    return torch.cat([flat[:n], flat[-n:]], 1)


def _scores(x: Tensor) -> Tensor:
    """Normal scores of the ranks among all chains, ties by their mean rank."""
    flat = x.flatten(0, 1).T.contiguous()  # (d, S)
    ordered = flat.sort(1).values
    rank = (torch.searchsorted(ordered, flat) + torch.searchsorted(ordered, flat, right=True) + 1) / 2
    scores = torch.special.ndtri((rank.double() - 0.375) / (flat.shape[1] + 0.25))
    return scores.T.reshape(x.shape)


def _split(x: Tensor) -> Tensor:
    n = len(x)
    within, between = x.var(0).mean(0), x.mean(0).var(0)
    return torch.where(within > 0, ((n - 1) / n + between / within).sqrt(), torch.nan)
