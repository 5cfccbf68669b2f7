r"""
1. The score
============

The score of a density is the gradient of its logarithm with respect to the *data*,

.. math::

    s(x) = \nabla_x \log p(x).

It points to where data are likelier, and it does not know the normalising constant: the gradient of :math:`\log (p /
Z)` is that of :math:`\log p`. This lesson derives the score of a mixture of Gaussians, sees what noise does to it,
and why a network that removes noise knows it.

.. scene:: field
   :title: the score of a mixture as arrows, at any noise; drag the components
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# The score of a mixture
# ----------------------
# For one Gaussian :math:`N(m, v)` the score is :math:`-(x - m)/v`. For a mixture :math:`p = \sum_k \pi_k p_k`,
#
# .. math::
#
#     \nabla \log p = \frac{\sum_k \pi_k \nabla p_k}{p} = \sum_k \frac{\pi_k p_k}{p} \nabla \log p_k
#     = \sum_k \rho_k(x)\, \nabla \log p_k ,
#
# since :math:`\nabla p_k = p_k \nabla \log p_k`. The weights are the *responsibilities* :math:`\rho_k(x)`, the
# posterior probability that x came from component k: they depend on x. The mixture's own weights :math:`\pi_k` in
# their place give a straight line, which is the score of one broad Gaussian.

law = sf.GaussianMixture([0.7, 0.3], [[-1.0], [1.0]], [[0.09], [0.09]])
x = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)[:, None]

own = torch.stack([-(x - m) / 0.09 for m in (-1.0, 1.0)], 1)  # (401, 2, 1): each component's score
by_hand = (law.responsibilities(x)[..., None] * own).sum(1)
naive = 0.7 * own[:, 0] + 0.3 * own[:, 1]
assert torch.allclose(by_hand, law.score(x))

# the same from the definition, by automatic differentiation
y = x.clone().requires_grad_()
(gradient,) = torch.autograd.grad(law.log_prob(y).sum(), y)
assert torch.allclose(gradient, law.score(x))
print(f"largest difference of the naive weights from the score: {float((naive - by_hand).abs().max()):.1f}")

# %%
# What noise does
# ---------------
# Add noise, :math:`x_t = \alpha x_0 + \sigma \varepsilon`, and the law becomes smooth: :math:`p_t` is the data's law
# scaled by :math:`\alpha` and convolved with :math:`N(0, \sigma^2)`. Its score is defined where that of the data may
# not be, and it reaches further: at little noise it is strong near the data and says nothing of what is far.

eight = sf.distributions.eight_gaussians()
denoiser = sf.ExactDenoiser(eight, sf.EDM(sigma_max=2.0))  # alpha = 1, sigma = 2 t
half = 2.4
fig = plots.figure(12, 4.2)
for ax, sigma in zip(fig.subplots(1, 3), (0.8, 0.35, 0.12), strict=True):
    fine, coarse = torch.from_numpy(plots.mesh(half, 90)), torch.from_numpy(plots.mesh(half, 19))
    plots.density(ax, plots.shades(eight.log_prob_at(fine, 1.0, sigma).exp()), half)
    plots.quiver(ax, sf.score(denoiser, coarse, sigma / 2), half)
    plots.square(ax, half)
    plots.clean(ax, frame=True)
    ax.set_title(f"σ = {sigma}")
plots.save(fig, Path("score-and-noise.png"))

# %%
# A denoiser is a score
# ---------------------
# Tweedie's formula (Robbins 1956; Efron 2011): the best guess of the clean datum is a step along the score,
#
# .. math::
#
#     E[x_0 \mid x_t] = \frac{x_t + \sigma^2\, \nabla \log p_t(x_t)}{\alpha} .
#
# To see it, differentiate :math:`p_t(x) = \int p(x_0) N(x; \alpha x_0, \sigma^2 I)\, dx_0` under the integral. So
# whoever learns to remove noise by least squares has learned the score, and everything in this library is a function
# of a denoiser. Here its two sides come from different formulas:

schedule = sf.VP()
exact = sf.ExactDenoiser(eight, schedule)
x_t = 1.5 * torch.randn(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
alpha, sigma = (float(v) for v in schedule(0.4))
tweedie = (x_t + sigma**2 * eight.score_at(x_t, alpha, sigma)) / alpha
assert torch.allclose(tweedie, exact(x_t, 0.4))
print(f"Tweedie's formula holds to {float((tweedie - exact(x_t, 0.4)).abs().max()):.0e}")

# %%
# Exercise
# --------
# Two modes at :math:`\pm a`, each :math:`N(\pm a, v)` with weight 1/2. From which noise :math:`\sigma` on (with
# :math:`\alpha = 1`) does :math:`p_t` have one mode only? Think first, then run the check.
#
# Answer: at x = 0 both responsibilities are 1/2 and the score is 0; its slope there is :math:`a^2 / (v + \sigma^2)^2
# - 1 / (v + \sigma^2)`, which turns negative, so that 0 becomes a mode, at :math:`\sigma^2 = a^2 - v`.

a, v = 1.0, 0.09
modes = sf.GaussianMixture([0.5, 0.5], [[-a], [a]], [[v], [v]])
turn = (a**2 - v) ** 0.5
line = torch.linspace(-2, 2, 2000, dtype=torch.float64)[:, None]
zeros = {}
for sigma in (0.98 * turn, 1.02 * turn):
    signs = modes.score_at(line, 1.0, sigma).sign()[:, 0]
    zeros[sigma] = int((signs[1:] != signs[:-1]).sum())
assert list(zeros.values()) == [3, 1]  # two modes and the valley between them, then one mode
print(f"one mode from sigma = {turn:.3f} on; the zeros of the score just below and above: {list(zeros.values())}")
