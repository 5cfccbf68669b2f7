r"""
8. Probability flow and likelihood
==================================

The probability-flow ODE carries the data's law to a Gaussian and back, one to one. So a score model has an exact
density, by the change of variables; a normalising flow that nobody had to design. This lesson computes it, holds it
to the truth, and says what a number in bits per dimension means.

.. scene:: paths
   :title: paths of the forward SDE, the reverse SDE and the probability-flow ODE
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# The change of variables
# -----------------------
# Along :math:`\dot x = v(x, t)` the density obeys :math:`\frac{d}{dt} \log p_t(x) = -\mathrm{div}\, v`, so
#
# .. math::
#
#     \log p_0(x_0) = \log p_1(x_1) + \int_0^1 \mathrm{div}\, v(x_t, t)\, dt .
#
# With the exact score of a mixture the left side is known:

law = sf.GaussianMixture([0.6, 0.4], [[-1.0, 0.5], [1.0, -0.5]], [[0.3, 0.1], [0.1, 0.4]])
denoiser = sf.ExactDenoiser(law, sf.VP())
x = law.sample(200, generator=torch.Generator().manual_seed(0))
found = sf.log_prob(denoiser, x, tolerance=1e-3)
truth = law.log_prob(x)
error = (found.log_prob - truth).abs()
print(f"largest error {float(error.max()):.1e} nats, asked for 1e-3, in {found.nfe} evaluations of a sample")
assert float(error.max()) < 5e-3

# by hand, with Euler's method and an exact divergence: the same, slowly
steps, y, logp = 300, x[:20].double(), torch.zeros(20, dtype=torch.float64)
for i in range(steps):
    t = (i + 0.5) / steps
    div = sum(
        (sf.velocity(denoiser, y + d, t) - sf.velocity(denoiser, y - d, t))[:, j] / 2e-4
        for j, d in enumerate(1e-4 * torch.eye(2, dtype=torch.float64))
    )
    logp = logp + div / steps
    y = y + sf.velocity(denoiser, y, t) / steps
logp = logp + torch.distributions.Normal(0.0, 1.0).log_prob(y).sum(1)
print(f"Euler, {steps} steps: largest error {float((logp - truth[:20]).abs().max()):.3f}")
assert float((logp - truth[:20]).abs().max()) < 0.05

# %%
# Hutchinson's trace
# ------------------
# In high dimension the divergence costs one derivative for each dimension. :math:`E[v^T J v] = \mathrm{tr}\, J` for
# random v of unit variance costs one, and its spread is reported: of a density it is a standard error, of a sum over
# data it averages out.

J = torch.randn(50, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
v = torch.randint(0, 2, (20_000, 50), generator=torch.Generator().manual_seed(2)).double() * 2 - 1  # signs: Rademacher
estimates = torch.einsum("ni,ij,nj->n", v, J, v)
symmetric = (J + J.T) / 2
variance = 2 * float(symmetric.square().sum() - symmetric.diagonal().square().sum())  # the diagonal costs nothing
spread = (variance / len(v)) ** 0.5
print(f"trace {float(J.trace()):.2f}, by random signs {float(estimates.mean()):.2f} ± {spread:.2f}")
assert abs(float(estimates.mean() - J.trace())) < 5 * spread
assert abs(float(estimates.var()) / variance - 1) < 0.05

# `log_prob(..., probes=k)` does this along the path; the k directions are orthogonal, so with as many as there are
# dimensions nothing is left to chance
estimated = sf.log_prob(denoiser, x, probes=2, seed=1)
assert float((estimated.log_prob - truth).abs().max()) < 0.01

# %%
# DDIM has no likelihood of its own
# ---------------------------------
# The ODE has one. A DDIM grid of S steps is a first-order discretisation of it, whose samples have a density that is
# not the ODE's. And what `sample` draws starts from the model's Gaussian at t = 1, not from :math:`p_1`; where the
# terminal SNR is not small the two differ, and `log_prob` is that of what is drawn.

lost = {}
for sigma_max in (0.5, 1.0, 8.0):  # at 0.5 the two modes can still be told apart
    drawn = sf.log_prob(sf.ExactDenoiser(law, sf.VE(sigma_max=sigma_max)), x).log_prob
    lost[sigma_max] = float((truth - drawn).mean())  # an estimate of KL(p | what is drawn)
    print(f"a process that ends at sigma = {sigma_max:g}: {lost[sigma_max]:.4f} nats are lost at its start")
assert lost[0.5] > lost[1.0] > abs(lost[8.0])

grid = plots.mesh(3.0, 40)
fig = plots.figure(9.6, 4.2)
maps = {"the law": law.log_prob(torch.from_numpy(grid)).exp()}
maps["the density of the ODE"] = sf.log_prob(denoiser, torch.from_numpy(grid), tolerance=1e-2).log_prob.exp()
for ax, (name, p) in zip(fig.subplots(1, 2), maps.items(), strict=True):
    plots.density(ax, plots.shades(p), 3.0, levels=10)
    plots.square(ax, 3.0)
    plots.clean(ax, frame=True)
    ax.set_title(name, fontsize=10)
plots.save(fig, Path("densities.png"))

# %%
# Exercise
# --------
# Pictures are bytes. A model that knows only that each pixel is one of 256 values has how many bits per dimension?
# And how many, if pixels are normal with a standard deviation of 20 grey levels (far from the ends)?
#
# Answer: :math:`\log_2 256 = 8`. Dequantised, y = k + u with u uniform on [0, 1), the density of N(m, 20²) has an
# entropy of :math:`\frac12 \log_2(2\pi e\, 20^2) = 6.37` bits. In the model's units, x = y / 20, it is 2.05: a number
# in other units means nothing until :math:`\log_2 20` is added. `sf.bits_per_dim` does it, and refuses data that were
# not dequantised, whose density is a row of spikes.

raw = (128 + 20 * torch.randn(400, 4, generator=torch.Generator().manual_seed(2))).round().clamp(0, 255).to(torch.uint8)
transform = sf.data.Scale(scale=1 / 20, shift=-128.5 / 20, levels=256)
unit = sf.ExactDenoiser(sf.Gaussian(torch.zeros(4), torch.eye(4)), sf.VP())
bits = sf.bits_per_dim(unit, raw, transform)
expected = 0.5 * torch.log2(2 * torch.pi * torch.e * torch.tensor(400.0))
print(f"{bits.mean:.3f} ± {bits.stderr:.3f} bits per dimension; by the formula {float(expected):.3f}")
assert abs(bits.mean - float(expected)) < 4 * bits.stderr
