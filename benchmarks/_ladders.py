"""Other libraries' grids: ladders of noise ratios s = sigma / alpha, s_T = s_0 > ... > s_n = 0, there called sigmas."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Ladder = Callable[[float, int], np.ndarray]  # (s_T, n) -> (n + 1,)

VP_BETA = (0.1, 20.0)  # of the linear beta, whose t the 'linspace', 'leading' and 'trailing' ladders are uniform in


def karras(rho: float, s_min: float) -> Ladder:
    return lambda s, n: _end(np.linspace(s ** (1 / rho), s_min ** (1 / rho), n) ** rho)


def exponential(s_min: float, power: float = 1.0) -> Ladder:
    """k-diffusion's polyexponential; power 1 is the exponential one, and DPM-Solver's uniform lambda."""
    return lambda s, n: _end(s_min * (s / s_min) ** (np.linspace(1, 0, n) ** power))


def uniform_t(spacing: str) -> Ladder:
    """diffusers' timestep spacings on a chain of 1,000 steps that ends at s_T."""

    def ladder(s: float, n: int) -> np.ndarray:
        k = {
            "linspace": np.linspace(0, 999, n + 1).round()[::-1][:-1],
            "leading": (np.arange(n + 1) * (1000 // (n + 1)))[::-1][:-1],
            "trailing": np.arange(1000, 0, -1000 / n).round() - 1,
            "linspace-ddim": np.linspace(0, 999, n).round()[::-1],
        }[spacing]
        return _end(noise_ratio(time_of(s) * (k + 1) / 1000))

    return ladder


def vp_sigmas(eps: float) -> Ladder:
    """k-diffusion's get_sigmas_vp: uniform in t down to `eps`."""
    return lambda s, n: _end(noise_ratio(np.linspace(time_of(s), eps, n)))


def flow(shift: float) -> Ladder:
    """Uniform in u = s / (1 + s), shifted towards noise as in diffusers' flow-matching schedulers."""

    def ladder(s: float, n: int) -> np.ndarray:
        last = s / (1 + s)
        u = np.linspace(last / (shift - (shift - 1) * last), 0, n + 1)
        u = shift * u / (1 + (shift - 1) * u)
        return u / (1 - u)

    return ladder


def angle(s: float, n: int) -> np.ndarray:
    """Uniform in atan s: the cosine schedule's t."""
    return np.tan(np.linspace(math.atan(s), 0, n + 1))


def _end(ladder: np.ndarray) -> np.ndarray:
    return np.append(ladder, 0.0)


def time_of(s: float) -> float:
    low, high = VP_BETA
    return (math.sqrt(low**2 + 2 * (high - low) * math.log1p(s**2)) - low) / (high - low)


def noise_ratio(t: np.ndarray) -> np.ndarray:
    low, high = VP_BETA
    return np.sqrt(np.expm1(low * t + (high - low) * t**2 / 2))


LADDERS: dict[str, Ladder] = {
    **{f"karras rho={r:g} min={m:g}": karras(r, m) for r in (3, 5, 7, 10) for m in (0.002, 0.01, 0.03)},
    **{f"exponential min={m:g}": exponential(m) for m in (0.002, 0.01, 0.03, 0.06)},
    **{f"polyexponential {p:g} min={m:g}": exponential(m, p) for p in (0.7, 1.5) for m in (0.002, 0.03)},
    **{name: uniform_t(name) for name in ("linspace", "leading", "trailing", "linspace-ddim")},
    **{f"vp eps={e:g}": vp_sigmas(e) for e in (1e-3, 1e-2)},
    **{f"flow shift={k:g}": flow(k) for k in (0.3, 0.6, 1, 3)},
    "cosine": angle,
}
