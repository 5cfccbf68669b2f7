r"""
6. Reverse time
===============

A diffusion run backwards is a diffusion, and all it needs is the score (Anderson 1982):

.. math::

    dx = [f x - g^2 \nabla \log p_t]\, dt + g\, d\bar w .

It is one of a family with the same marginals. This lesson derives the family, runs three members of it from the same
noise, and finds that the ODE is not "the SDE without its noise".
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# A family with one set of marginals
# ----------------------------------
# The Fokker-Planck equation of :math:`dx = f x\, dt + g\, dw` is
#
# .. math::
#
#     \partial_t p = -\mathrm{div}(f x\, p) + \tfrac12 g^2 \Delta p,
#     \qquad \Delta p = \mathrm{div}(p \nabla \log p) .
#
# The second equality lets noise be traded for drift: for any :math:`\eta`, :math:`\frac12 g^2 \Delta p = \frac{1 +
# \eta^2}{2} g^2\, \mathrm{div}(p \nabla \log p) - \frac{\eta^2}{2} g^2 \Delta p`, which, read with time reversed, is
# the equation of
#
# .. math::
#
#     dx = \left[ f x - \tfrac{1 + \eta^2}{2} g^2 \nabla \log p_t \right] dt + \eta\, g\, d\bar w .
#
# :math:`\eta = 1` is Anderson's reverse SDE, :math:`\eta = 0` the probability-flow ODE, with *half* the score.

law = sf.GaussianMixture([0.7, 0.3], [[-1.0], [1.2]], [[0.04], [0.09]])
denoiser = sf.ExactDenoiser(law, sf.VP())
times = torch.linspace(1, 0.001, 401, dtype=torch.float64)
runs = {}
for eta in (0.0, 0.5, 1.0):
    runs[eta] = sf.sample(
        denoiser, (4000, 1), solver=sf.EulerMaruyama(eta), times=times, seed=0, trajectory=True, dtype=torch.float64
    ).trajectory[..., 0]

# the law at several times, by the exact distribution function of the mixture
normal = torch.distributions.Normal(0.0, 1.0)


def cdf(x, t):
    alpha, sigma = (float(v) for v in denoiser.schedule(t))
    spread = (alpha**2 * law.covariances[:, 0, 0].double() + sigma**2).sqrt()
    return (law.weights.double() * normal.cdf((x[:, None] - alpha * law.means[:, 0].double()) / spread)).sum(1)


n = 4000
ranks = torch.arange(1, n + 1) / n
for eta, path in runs.items():
    distances = [float((cdf(path[i].sort().values, times[i]) - ranks).abs().max()) for i in (100, 200, 300, 400)]
    print(f"eta = {eta}: largest distance of the distribution functions {max(distances):.4f}")
    # 1.95 / sqrt(n) has p = 0.001 (Kolmogorov); 12 comparisons, and a step of 1/400
    assert max(distances) < 1.95 / n**0.5 + 0.01

fig = plots.figure(10.5, 3.6)
for ax, (eta, path) in zip(fig.subplots(1, 3), runs.items(), strict=True):
    ax.plot(times, path[:, :40], linewidth=0.5, color=plots.COLORS["stochastic" if eta else "deterministic"], alpha=0.7)
    ax.invert_xaxis()
    ax.set_title(f"η = {eta:g}", fontsize=10)
    ax.set_xlabel("t, from noise to data")
plots.save(fig, Path("reverse-paths.png"))

# %%
# Leaving out the noise alone
# ---------------------------
# Take the reverse SDE and drop :math:`d\bar w`: the drift keeps the whole :math:`g^2 s`, and the law is another. For
# data N(0, 1) under VP, where :math:`p_t = N(0, 1)` for all t, the right ODE stands still. With the whole score
# :math:`dx = (-\frac\beta2 + \beta) x\, dt = \frac\beta2 x\, dt`, which run from 1 to 0 shrinks everything by
# :math:`e^{-B/2}`, to 0.007.

unit = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1), torch.eye(1)), sf.VP())
x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
velocity = sf.velocity(unit, x, 0.5)
assert float(velocity.abs().max()) < 1e-9  # f x - g^2 s / 2 = -beta x / 2 + beta x / 2
whole, dt = x.clone(), 1 / 800
for i in range(800, 0, -1):
    t = i * dt
    whole = whole - (unit.schedule.f(t) * whole - unit.schedule.g2(t) * sf.score(unit, whole, t)) * dt
shrunk = float(whole[-1, 0] / x[-1, 0])
exact = float(unit.schedule.alpha(torch.tensor(1.0)))  # e^(-B/2)
print(f"without noise but with the whole score everything is multiplied by {shrunk:.4f}, in the limit by {exact:.4f}")
assert abs(shrunk - exact) < 1e-3

# %%
# Noise repairs, drift does not
# -----------------------------
# Why noise at all, if the ODE has the same law? Start at a wrong place, off by 0.5 at t = 0.5: the SDE forgets it,
# the ODE carries it to the end.

middle = torch.linspace(0.5, 0.001, 401, dtype=torch.float64)
alpha, sigma = (float(v) for v in denoiser.schedule(0.5))
start = alpha * law.sample(4000, generator=torch.Generator().manual_seed(1)).double()
start = start + sigma * torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5
ends = {}
for eta in (0.0, 1.0):
    x = sf.sample(denoiser, start, solver=sf.EulerMaruyama(eta), times=middle, seed=3).x[:, 0]
    ends[eta] = float((cdf(x.sort().values, 0.001) - ranks).abs().max())
    print(f"eta = {eta:g} from a start off by 0.5: distance at the end {ends[eta]:.3f}")
assert ends[1.0] < 0.6 * ends[0.0]

# %%
# Exercise
# --------
# :math:`\eta = 2` has the right marginals as well. What is its drift for data N(0, 1) under VP, and what does a step
# of :math:`h` make of the variance?
#
# Answer: :math:`f x - \frac52 g^2 s = (-\frac\beta2 + \frac52\beta) x = 2 \beta x`, so backwards :math:`x \leftarrow
# (1 - 2\beta h) x + 2\sqrt{\beta h}\, z`, of variance :math:`1 - 4\beta h + 4\beta^2 h^2 + 4\beta h = 1 + 4 \beta^2
# h^2`: 1 to first order. More noise asks for smaller steps.

h, t = 0.01, 0.5
beta = float(unit.schedule.g2(t))
grid = torch.tensor([t, t - h], dtype=torch.float64)
start = torch.randn(200_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
moved = sf.sample(unit, start / start.std(), solver=sf.EulerMaruyama(2.0), times=grid, seed=5).x
print(f"variance after one step {float(moved.var()):.4f}, by the formula {1 + 4 * (beta * h) ** 2:.4f}")
assert abs(float(moved.var()) - 1 - 4 * (beta * h) ** 2) < 5 * (2 / 200_000) ** 0.5
