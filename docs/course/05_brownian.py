r"""
5. Brownian motion and stochastic differential equations
========================================================

Adding noise in ever more and ever smaller steps becomes a stochastic process, :math:`dx = f x\, dt + g\, dw`. This
lesson looks at :math:`w` itself, at what an SDE with linear drift does to a law, and why the pair :math:`(\alpha,
\sigma)` says everything about it.
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield.demos import schedules as demo

# %%
# Eight trajectories
# ------------------
# Brownian motion: increments independent, :math:`w(t) - w(s) \sim N(0, t - s)`. Its spread is :math:`\sqrt t`; it has
# no derivative, for :math:`(w(t + h) - w(t))/h` has variance 1/h; and its quadratic variation is t, whatever the
# path: :math:`\sum (\Delta w)^2 \to t`. That is why :math:`dw^2 = dt` and why calculus gets a second-order term
# (Itô).

brownian = sf.Brownian(1.0)
times = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:]
generator = torch.Generator().manual_seed(0)
paths = brownian.simulate(torch.zeros(2000, 1, dtype=torch.float64), times, generator=generator)[..., 0]  # (1000, 2000)
variation = torch.cat([paths[:1], paths.diff(dim=0)]).square().sum(0)
print(f"variance at t = 1: {float(paths[-1].var()):.3f}; quadratic variation {float(variation.mean()):.4f}")
assert abs(float(paths[-1].var()) - 1) < 5 * (2 / 2000) ** 0.5
assert abs(float(variation.mean()) - 1) < 5 * (2 / 1000 / 2000) ** 0.5
assert float(variation.std()) < 0.06  # the same on every path: its spread is sqrt(2 / 1000)

demo.brownian(Path("brownian.png"), seed=0)

# %%
# A linear SDE is (alpha, sigma)
# ------------------------------
# The solution of :math:`dx = f x\, dt + g\, dw` from :math:`x_0` is Gaussian, :math:`N(\alpha x_0, \sigma^2)`, with
#
# .. math::
#
#     \alpha' = f \alpha, \qquad (\sigma^2)' = 2 f \sigma^2 + g^2 ,
#
# the second by Itô's formula for :math:`x^2`. Read backwards, :math:`f = \alpha'/\alpha` and :math:`g^2 = (\sigma^2)'
# - 2 f \sigma^2`: the library is given :math:`\alpha, \sigma` and derives the rest. For VP, :math:`f = -\beta/2` and
# :math:`g^2 = \beta`; for VE, f = 0 and :math:`dx = \sqrt{(\sigma^2)'}\, dw`. There is no ":math:`dw/dg`" in it.

vp, ve, sub = sf.VP(), sf.VE(), sf.SubVP()
for t in (0.1, 0.5, 0.9):
    beta = 0.1 + 19.9 * t
    assert abs(float(vp.f(t)) + beta / 2) < 1e-6
    assert abs(float(vp.g2(t)) - beta) < 1e-6
    assert abs(float(ve.f(t))) < 1e-12
    assert float(sub.sigma(torch.tensor(t))) < float(vp.sigma(torch.tensor(t)))  # sub-VP: less noise, always
print("f = -beta/2 and g^2 = beta for VP; sub-VP's variance lies below VP's")

# Euler-Maruyama on the forward SDE, against the transition that is known exactly
steps, x = 500, torch.full((20_000,), 1.5, dtype=torch.float64)
for i in range(steps):
    t = torch.tensor(i / steps, dtype=torch.float64)
    z = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    x = x + vp.f(t) * x / steps + vp.g2(t).sqrt() * z / steps**0.5
    if i + 1 in (100, 250):
        alpha, sigma = (float(v) for v in vp((i + 1) / steps))
        mean, std = float(x.mean()), float(x.std())
        print(f"t = {(i + 1) / steps}: mean {mean:.3f}, std {std:.3f}; exact {1.5 * alpha:.3f}, {sigma:.3f}")
        assert abs(float(x.mean()) - 1.5 * alpha) < 0.03
        assert abs(float(x.std()) - sigma) < 0.02

# %%
# Seven processes are one
# -----------------------
# Divide by :math:`\alpha`: :math:`x_t/\alpha = x_0 + s\, \varepsilon` with the noise ratio :math:`s = \sigma/\alpha`.
# All processes visit the same laws, each with a scale and a clock of its own. What differs is where they end: VE ends
# at the data blurred by :math:`\sigma_{max}`, not at N(0, I), and how far from a Gaussian that is must be looked at.

law = sf.distributions.eight_gaussians(dtype=torch.float64)
y = 2 * torch.randn(500, 2, dtype=torch.float64, generator=generator)
denoised = []
for schedule in (vp, sub, ve, sf.EDM(), sf.Cosine(), sf.Rectified()):
    t = schedule.time_of_log_snr(-torch.log(torch.tensor(0.7, dtype=torch.float64)))  # where s = 0.7
    alpha = schedule.alpha(t)
    denoised.append(sf.ExactDenoiser(law, schedule)(alpha * y, t))
    prior = schedule.prior(1.0, std=1.0)
    print(f"{type(schedule).__name__:10} reaches s = 0.7 at t = {float(t):.4f}; ends with std {float(prior.std):.3g}")
assert all(torch.allclose(d, denoised[0], atol=1e-8) for d in denoised)
demo.forward_paths(Path("forward-paths.png"), seed=0)  # eight processes on data with two modes

# %%
# Exercise
# --------
# Which :math:`\sigma(t)` has the process :math:`dx = 25^t\, dw`, and how large is the data's share
# :math:`\alpha^2/\sigma^2` left at t = 1?
#
# Answer: :math:`\sigma^2 = \int_0^t 25^{2u} du = (25^{2t} - 1)/(2 \log 25)`, at t = 1 9.85², so SNR = 0.0103.

power = sf.VEPower(25.0)
expected = ((25**2 - 1) / (2 * torch.log(torch.tensor(25.0)))).sqrt()
assert abs(float(power.sigma(torch.tensor(1.0, dtype=torch.float64))) / float(expected) - 1) < 1e-6
assert abs(float(power.g2(0.5)) / 25 - 1) < 1e-6
print(f"sigma(1) = {float(expected):.2f}, terminal SNR {power.terminal_snr:.4f}")
assert abs(power.terminal_snr - 1 / float(expected) ** 2) < 1e-6
