r"""
11. Flow matching and few steps
===============================

A thousand steps became fifty, then ten. Flow matching regresses on a velocity along straight lines from noise to
data; how data and noise are *paired* decides how straight the paths of the ODE are, and so how few steps suffice. A
flow map learns the end of the path itself.
"""

from pathlib import Path

import torch
from matplotlib.collections import LineCollection

import scorefield as sf
from scorefield import plots
from scorefield.auditing import straightness
from scorefield.losses import couplings

# %%
# A velocity is a denoiser
# ------------------------
# On the path :math:`x_t = (1 - t)\, x_0 + t\, x_1` the velocity of a pair is :math:`x_1 - x_0`, and the least-squares
# fit is its mean given :math:`x_t`. With :math:`x_1 = \varepsilon` independent of the data this is a diffusion like
# any other: :math:`\alpha = 1 - t, \sigma = t`, and
#
# .. math::
#
#     v(x, t) = E[\varepsilon - x_0 \mid x_t = x] = \alpha' \hat x_0 + \sigma' \hat\varepsilon ,
#
# the velocity of its probability-flow ODE. Straight lines between pairs do not make straight paths: where lines
# cross, the mean bends.

law = sf.GaussianMixture([0.5, 0.3, 0.2], [[1.0, 0.0], [-0.8, 0.9], [-0.3, -1.1]], [[0.04, 0.04]] * 3)
exact = sf.ExactDenoiser(law, sf.Rectified())
x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
for t in (0.2, 0.7):
    v = sf.velocity(exact, x, t)
    assert torch.allclose(v, sf.eps(exact, x, t) - exact(x, t), atol=1e-4)

path = sf.sample(exact, (2000, 2), solver=sf.Euler(), times=torch.linspace(1, 0, 101), trajectory=True, seed=1)
bent = straightness(path.trajectory, path.times)
print(f"paths of the exact flow with independent pairs: bent by {bent:.2f} (0 is straight)")
assert bent > 0.1

# %%
# Pairs that do not cross
# -----------------------
# Pair each datum with noise near it instead: in pools of a thousand, by optimal assignment. The law of the pairs'
# ends is the same, so the ODE still carries noise to data; it is no diffusion any more and has no score, but its
# paths are nearly straight.

data = law.sample(8000, generator=torch.Generator().manual_seed(2))
real = law.sample(2000, generator=torch.Generator().manual_seed(3))
pairs = {"independent pairs": couplings.Independent(), "assigned pairs": couplings.Assignment(size=512, reuse=25)}
flows, bends, few = {}, {}, {}
for name, coupling in pairs.items():
    torch.manual_seed(0)
    flow = sf.Flow(sf.networks.MLP(2, 64, conditioning="add"))
    flows[name] = sf.training.fit(
        flow, data, coupling=coupling, steps=500, batch_size=256, lr=3e-3, ema_decay=0.99
    ).denoiser
    path = sf.sample(flows[name], (2000, 2), solver=sf.Euler(), times=torch.linspace(1, 0, 41), trajectory=True, seed=4)
    bends[name] = straightness(path.trajectory, path.times)
    few[name] = {}
    for n in (1, 2, 4, 16):
        x = sf.sample(flows[name], (2000, 2), solver=sf.Euler(), times=torch.linspace(1, 0, n + 1), seed=4).x
        few[name][n] = sf.metrics.sliced_wasserstein(x, real)
    numbers = ", ".join(f"{n}: {d:.3f}" for n, d in few[name].items())
    print(f"{name}: bent by {bends[name]:.3f}; sliced W2 in Euler steps {numbers}")
assert bends["assigned pairs"] < 0.3 * bends["independent pairs"]
assert few["assigned pairs"][2] < 0.6 * few["independent pairs"][2]

fig = plots.figure(9.6, 4.6)
for ax, (name, flow) in zip(fig.subplots(1, 2), flows.items(), strict=True):
    path = sf.sample(
        flow, (120, 2), solver=sf.Euler(), times=torch.linspace(1, 0, 41), trajectory=True, seed=5
    ).trajectory
    ax.add_collection(LineCollection(list(path.transpose(0, 1).numpy()), colors=plots.COLORS["first"], linewidths=0.5))
    plots.particles(ax, path[-1], color=plots.COLORS["second"], size=6)
    plots.square(ax, 3.0)
    plots.clean(ax, frame=True)
    ax.set_title(f"{name}: bent by {bends[name]:.2g}", fontsize=10)
plots.save(fig, Path("flow-paths.png"))

# %%
# Steps, and order
# ----------------
# Before distilling anything, take a better solver: the same exact field, ten evaluations.

truth = sf.sample(exact, (2000, 2), nfe=200, seed=6).x
for name, solver, times in (
    ("Euler, which on this path is DDIM", sf.Euler(), torch.linspace(1, 0, 11)),
    ("the default", None, None),
):
    x = sf.sample(exact, (2000, 2), solver=solver, times=times, nfe=None if solver else 10, seed=6).x
    error = float((x - truth).norm(dim=1).median())
    print(f"{name}: median distance to the path's end after 10 evaluations {error:.4f}")
assert error < 0.01

# %%
# Exercise
# --------
# Data N(0, I), noise N(0, I), independent pairs on :math:`x_t = (1 - t) x_0 + t\, \varepsilon`. What is v, where does
# the flow take a point, and how far is one Euler step off?
#
# Answer: all is Gaussian, :math:`x_t \sim N(0, n^2)` with :math:`n^2 = (1 - t)^2 + t^2`, and :math:`v = \frac{t - (1
# - t)}{n^2} x = \frac{n'}{n} x`: so :math:`x_t \propto n(t)`, and it ends where it began, :math:`x_0 = x_1`, by way
# of 0.71 of it. At t = 1, v = x: one Euler step lands at 0. It is all off.

unit = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.Rectified())
start = torch.randn(50, 2, generator=torch.Generator().manual_seed(7))
path = sf.sample(unit, start, nfe=40, trajectory=True).trajectory
one = sf.sample(unit, start, solver=sf.Euler(), times=torch.tensor([1.0, 0.0])).x
ratios = [float((x / start).mean()) for x in (path[-1], one)]
print(f"the flow's end over its start {ratios[0]:.3f}; one Euler step {ratios[1]:.3f}")
assert torch.allclose(path[-1], start, atol=0.02)
assert float(one.abs().max()) < 1e-5
for t in (0.25, 0.5):
    n = ((1 - t) ** 2 + t**2) ** 0.5
    assert torch.allclose(sf.velocity(unit, start, t), (2 * t - 1) / n**2 * start, atol=1e-5)
