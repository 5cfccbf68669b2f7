r"""
7. DDPM and DDIM on a mixture
=============================

The chain that made diffusion popular: K = 1000 small steps of noise, a network that predicts the noise, and two ways
back. DDPM (Ho et al. 2020) draws noise at each step, DDIM (Song et al. 2021) none. Here on the plane, where the exact
answer stands beside the network's; then DDIM backwards, which turns data into their own noise.
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# The chain
# ---------
# :math:`x_k = \sqrt{1 - \beta_k}\, x_{k-1} + \sqrt{\beta_k}\, z`, so :math:`x_k = \sqrt{\bar\alpha_k}\, x_0 + \sqrt{1
# - \bar\alpha_k}\, \varepsilon` with :math:`\bar\alpha_k = \prod (1 - \beta_i)`. Step k = 0, ..., 999 of K stands at
# :math:`t = (k + 1)/K` here; between the steps :math:`\lambda` is interpolated.

chain = sf.Discrete.linear(1000)
betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
abar = torch.cumprod(1 - betas, 0)
alpha, sigma = chain(torch.arange(1, 1001, dtype=torch.float64) / 1000)
assert torch.allclose(alpha, abar.sqrt(), atol=1e-9)
assert torch.allclose(sigma, (1 - abar).sqrt(), atol=1e-9)
print(f"terminal SNR {chain.terminal_snr:.1e}: what is left of the data after 1000 steps")

# %%
# Noise prediction
# ----------------
# DDPM's loss is :math:`E \|\varepsilon - \varepsilon_\theta(x_t, t)\|^2`. Its minimiser is :math:`E[\varepsilon \mid
# x_t] = -\sigma\, \nabla \log p_t`: with a minus, and times :math:`\sigma`, not :math:`(x - s)/\sigma`.

means = [[1.0, 0.0], [-0.8, 0.9], [-0.3, -1.1]]
law = sf.GaussianMixture([0.5, 0.3, 0.2], means, [[0.04, 0.04]] * 3)
data = law.sample(20_000, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
network = sf.NetworkDenoiser(sf.networks.MLP(2, 128, conditioning="add"), chain, sf.Eps(), data_mean=0.0, data_std=1.0)
trained = sf.training.fit(
    network, data, times=sf.losses.Stratified(sf.losses.Uniform()), steps=600, batch_size=256, lr=3e-3, ema_decay=0.99
).denoiser
exact = sf.ExactDenoiser(law, chain)

x0 = law.sample(4000, generator=torch.Generator().manual_seed(1))
for t in (0.1, 0.4, 0.8):
    x_t = chain.perturb(x0, t, torch.randn(x0.shape, generator=torch.Generator().manual_seed(2)))
    with torch.no_grad():
        error = float((sf.eps(trained, x_t, t) - sf.eps(exact, x_t, t)).square().mean().sqrt())
    assert torch.allclose(sf.eps(exact, x_t, t), -chain(t)[1].float() * sf.score(exact, x_t, t), atol=1e-5)
    print(f"t = {t}: the network's noise is off by {error:.3f} (rms; the noise itself is 1)")
    assert error < 0.3

# %%
# Two ways back
# -------------
# Both are one formula, with :math:`\sigma_\eta^2 = \eta^2 \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} (1 - \bar\alpha_t
# / \bar\alpha_s)`:
#
# .. math::
#
#     x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma_\eta^2}\; \hat\varepsilon + \sigma_\eta z .

# There is a trap at the top. :math:`\hat x_0 = (x_t - \sigma \hat\varepsilon)/\alpha`, and :math:`\alpha(1) = 0.006`:
# an error of 0.01 in the noise is one of 1.6 in the datum. DDPM forgets it; DDIM, which forgets nothing, carries some
# samples far out. Hence the clipping of :math:`\hat x_0` in everybody's code, prediction of v, or a start at a little
# less noise.

floor = sf.metrics.sliced_wasserstein(x0[:2000], data[:2000])
clipped = sf.ClippedDenoiser(trained, (-2.5, 2.5))
shown, strayed, distances = {}, {}, {}
cases = {
    "DDPM, network": (trained, sf.DDPM(), 200),
    "DDIM, network": (trained, sf.DDIM(), 50),
    "DDIM, clipped": (clipped, sf.DDIM(), 50),
    "DDIM, exact": (exact, sf.DDIM(), 50),
}
for name, (denoiser, solver, nfe) in cases.items():
    x = sf.sample(denoiser, (2000, 2), solver=solver, nfe=nfe, seed=3).x
    strayed[name] = float((torch.cdist(x, law.means).min(1).values > 0.6).float().mean())  # 3 deviations from any mode
    distance = sf.metrics.sliced_wasserstein(x, x0[:2000])
    shares = torch.bincount(torch.cdist(x, law.means).argmin(1), minlength=3) / len(x)
    print(f"{name} in {nfe} steps: sliced W2 {distance:.3f} (floor {floor:.3f}), {strayed[name]:.1%} astray")
    assert name == "DDIM, network" or distance < 0.25
    assert float((shares - law.weights).abs().max()) < 0.05
    shown[name], distances[name] = x, distance

assert distances["DDIM, clipped"] < 0.2 * distances["DDIM, network"]

fig = plots.figure(12, 3.4)
for ax, (name, x) in zip(fig.subplots(1, 4), shown.items(), strict=True):
    color = plots.COLORS["stochastic" if "DDPM" in name else "deterministic"]
    plots.particles(ax, x, color=color, size=3, alpha=0.4)
    plots.square(ax, 2.2)
    plots.clean(ax, frame=True)
    ax.set_title(name, fontsize=9)
plots.save(fig, Path("ddpm-ddim.png"))

# %%
# Inversion
# ---------
# DDIM is a solver of an ODE, so it runs backwards too: data to noise and, from that noise, the same data again. With
# :math:`\eta > 0` there is nothing to run back.

points = law.sample(200, generator=torch.Generator().manual_seed(4))
for nfe in (16, 64):
    latent = sf.encode(trained, points, nfe=nfe).z
    back = sf.decode(trained, latent, nfe=nfe)
    print(f"{nfe} evaluations each way: comes back within {float((back - points).norm(dim=1).mean()):.4f}")
assert float((back - points).norm(dim=1).mean()) < 0.02
assert 0.7 < float(latent.var()) < 1.4  # its own noise is noise

# %%
# Exercise
# --------
# Show that DDIM with :math:`\eta = 1` is DDPM's step, from the formulas, and check the coefficients.
#
# Answer: DDPM draws from :math:`q(x_s \mid x_t, \hat x_0)`, whose variance is :math:`\sigma_1^2`. Both means are
# :math:`\sqrt{\bar\alpha_s}\, \hat x_0` and a multiple of :math:`x_t - \sqrt{\bar\alpha_t}\, \hat x_0`; so that
# :math:`x_s` has variance :math:`1 - \bar\alpha_s` about its mean, the multiple is :math:`\sqrt{1 - \bar\alpha_s -
# \sigma_1^2} / \sqrt{1 - \bar\alpha_t}` for both.

times = torch.linspace(1, 0.1, 10, dtype=torch.float64)
ddpm, ddim = sf.DDPM().weights(exact, times[:-1], times[1:]), sf.DDIM(1.0).weights(exact, times[:-1], times[1:])
difference = max(float((a - b).abs().max()) for a, b in zip(ddpm, ddim, strict=True))
print(f"largest difference of the coefficients of DDPM and of DDIM with eta = 1: {difference:.0e}")
assert difference < 1e-9
