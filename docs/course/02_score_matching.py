r"""
2. Score matching
=================

How does one learn :math:`\nabla \log p` from samples of p alone? The natural distance is the Fisher divergence,

.. math::

    F(p \| q) = E_p \| s_p(x) - s_q(x) \|^2 ,

but it asks for :math:`s_p`, which nobody knows. Three ways round that: integrate by parts, do so along random
directions, or add noise. All have one minimiser. (F is *not* symmetric: the expectation is under p.)

.. scene:: matching
   :title: a datum, its noisy copies, and the score as the mean of their ways back
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots
from scorefield.losses import integrands, projections

# %%
# Four objectives, one curve
# --------------------------
# Explicit score matching is half of F. Expand the square; the cross term is
#
# .. math::
#
#     E_p[s_\theta \cdot \nabla \log p] = \int s_\theta \cdot \nabla p = -\int p\, \mathrm{div}\, s_\theta
#     = -E_p[\mathrm{div}\, s_\theta] ,
#
# if :math:`p\, s_\theta` vanishes at infinity. So, up to the constant :math:`\frac12 E_p \|s_p\|^2`,
#
# .. math::
#
#     \mathrm{ESM} = \frac12 E_p \|s_\theta - s_p\|^2
#     \;\longrightarrow\; \mathrm{ISM} = E_p\left[ \mathrm{div}\, s_\theta + \frac12 \|s_\theta\|^2 \right]
#
# (Hyvärinen 2005). Without the :math:`\|s\|^2` term, as some texts print it, there is no minimum. The divergence
# costs a backward pass for each dimension; sliced score matching (Song et al. 2019) has :math:`v^T \nabla s\, v` for
# a random v instead, one pass whatever the dimension, and finite differences (Pang et al. 2020) two plain
# evaluations.
#
# We look at a family where all is known: :math:`s_\theta(x) = -\theta C^{-1} x` on data from :math:`N(0, C)`.

law = sf.Gaussian(torch.zeros(3), torch.diag(torch.tensor([4.0, 1.0, 0.25]))).to(torch.float64)
generator = torch.Generator().manual_seed(0)
x = law.sample(20_000, generator=generator)
v = projections.rademacher(x, generator)
thetas = torch.linspace(0, 2, 21)
lines = {"explicit": [], "implicit": [], "sliced": [], "finite differences": []}
constant = float(0.5 * law.score(x).square().sum(1).mean())
for theta in thetas:

    def model(y, theta=theta):
        return theta * law.score(y)

    lines["explicit"].append(integrands.explicit(model, x, law.score).mean().item())
    lines["implicit"].append(integrands.implicit(model, x).mean().item() + constant)
    lines["sliced"].append(integrands.sliced(model, x, v).mean().item() + constant)
    lines["finite differences"].append(integrands.finite_difference(model, x, v, 0.1).mean().item() + constant)

for name, values in lines.items():
    best = float(thetas[int(torch.tensor(values).argmin())])
    print(f"{name:18} smallest at theta = {best:.1f}")
    assert abs(best - 1) < 1e-6
    assert max(abs(a - b) for a, b in zip(values, lines["explicit"], strict=True)) < 0.15  # 5 standard errors

fig = plots.figure(6.4, 3.6)
plots.curves(fig.add_subplot(), thetas, lines, x_label="θ", y_label="objective, less its constant")
plots.save(fig, Path("four-objectives.png"))

# %%
# What each costs
# ---------------
# Counted, not timed: how often the score is evaluated, and how often differentiated, for one datum.

for d in (2, 100, 1000):
    y, calls = torch.randn(4, d, dtype=torch.float64, generator=generator), 0

    def counted(z):
        global calls
        calls += 1
        return -z

    integrands.finite_difference(counted, y, torch.ones_like(y), 0.1)
    assert calls == 2
    print(f"d = {d:4}: implicit 1 evaluation and {d} gradients; sliced 1 and 1; finite differences {calls} and 0")

# %%
# Denoising
# ---------
# Add noise, :math:`x_t = \alpha x_0 + \sigma \varepsilon`. The score of the *noised* law is the mean of the scores of
# the kernel (Vincent 2011):
#
# .. math::
#
#     \nabla \log p_t(x_t) = E[\nabla \log p(x_t \mid x_0) \mid x_t] = E[-\varepsilon / \sigma \mid x_t] ,
#
# so a regression on :math:`-\varepsilon/\sigma` finds it: no derivative of the network at all, and any data, also
# those without a density. The price: it is the score of :math:`p_t`, not of p. On one scale (the weight of `losses`),
# for the exact denoiser of a mixture, implicit and sliced matching of :math:`p_t` have the *same* mean as denoising,
# the variance of :math:`x_0` given :math:`x_t`, which no network can remove:

mixture = sf.distributions.eight_gaussians(dtype=torch.float64)
denoiser = sf.ExactDenoiser(mixture, sf.VP())
x0 = mixture.sample(40_000, generator=generator)
t = torch.full((len(x0),), 0.3, dtype=torch.float64)
eps = torch.randn(x0.shape, dtype=torch.float64, generator=generator)
means = {}
for name in ("denoising", "implicit", "sliced", "finite_difference"):
    value = getattr(sf.losses, name)(denoiser, x0, t=t, eps=eps, generator=torch.Generator().manual_seed(1)).detach()
    means[name] = (float(value.mean()), float(value.std()) / len(x0) ** 0.5)
    print(f"{name:18} {means[name][0]:.4f} ± {means[name][1]:.4f}")
explicit = sf.losses.explicit(denoiser, x0, exact=denoiser, t=t, eps=eps)
assert float(explicit.abs().max()) < 1e-20
for name, (mean, error) in means.items():
    assert abs(mean - means["denoising"][0]) < 5 * (error + means["denoising"][1]), name

# %%
# Exercise
# --------
# What is the smallest value of ISM on data from :math:`N(0, C)`, :math:`C = \mathrm{diag}(4, 1, 1/4)`? And of the
# mistaken :math:`E[\mathrm{div}\, s]` without the square?
#
# Answer: ISM = ESM less the constant, so :math:`-\frac12 E\|s_p\|^2 = -\frac12 \mathrm{tr}\, C^{-1} = -2.625`. The
# other has none: with :math:`s_\theta` it is :math:`-\theta\, \mathrm{tr}\, C^{-1}`, and falls for ever.

smallest = integrands.implicit(law.score, x).mean().item()
assert abs(smallest + 0.5 * (1 / 4 + 1 + 4)) < 0.1
divergence = {}
for theta in (1.0, 10.0, 100.0):
    square = 0.5 * theta**2 * law.score(x).square().sum(1)
    divergence[theta] = (integrands.implicit(lambda y, c=theta: c * law.score(y), x) - square).mean().item()
    assert abs(divergence[theta] + theta * 5.25) < 1e-6 * theta
print(f"smallest ISM {smallest:.3f}; without the square: {', '.join(f'{v:.1f}' for v in divergence.values())}, ...")
