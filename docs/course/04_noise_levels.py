r"""
4. Noise-conditional networks
=============================

One noise level is not enough: little noise leaves the modes apart, much noise blurs them. So one network learns the
score at *all* levels, and sampling walks down them (NCSN; Song & Ermon 2019). At the top there is one mode and
Langevin dynamics mixes at once; every level hands the next one particles with the right weights.

.. scene:: annealed
   :title: annealed Langevin dynamics from the largest noise to the smallest
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# A ladder of levels
# ------------------
# L levels from :math:`\sigma_1` down to :math:`\sigma_L`, each the same factor below the one before:
#
# .. math::
#
#     \sigma_i = \sigma_1 \left( \sigma_L / \sigma_1 \right)^{(i-1)/(L-1)}
#
# (:math:`\sigma_1^{i/L}`, which some texts print, rises when :math:`\sigma_1 > 1`, and never ends at
# :math:`\sigma_L`). A grid that is uniform in :math:`\lambda = \log(\alpha/\sigma)` is such a ladder.

law = sf.GaussianMixture([0.8, 0.2], [[-2.0, 0.0], [2.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]])
schedule = sf.VE(sigma_min=0.01, sigma_max=8.0)
times = sf.grids.uniform_log_snr(schedule, 40, s_max=8.0, s_min=0.1)
sigmas = schedule.sigma(times)[:-1]  # the last is 0: one denoising step
ladder = sigmas[0] * (sigmas[-1] / sigmas[0]) ** (torch.arange(len(sigmas), dtype=torch.float64) / (len(sigmas) - 1))
assert torch.allclose(ladder, sigmas, rtol=1e-6)
factor = float(sigmas[0] / sigmas[1])
print(f"{len(sigmas)} levels from {float(sigmas[0]):.2f} to {float(sigmas[-1]):.2f}, each a factor {factor:.3f} lower")

# %%
# One network for all levels
# --------------------------
# NCSN's loss is denoising score matching weighted by :math:`\sigma^2`, so that every level counts alike:
#
# .. math::
#
#     \frac1L \sum_i \sigma_i^2\, \frac12 E \left\| s_\theta(x_t, \sigma_i) + \frac{\varepsilon}{\sigma_i} \right\|^2
#     = \frac1{2L} \sum_i E \| \varepsilon - \hat\varepsilon \|^2 .
#
# The two are one since :math:`s = -\varepsilon/\sigma`: NCSN and DDPM train alike. Here the network has EDM's
# preconditioning, which makes its input and its target of one size at every level.

data = law.sample(20_000, generator=torch.Generator().manual_seed(0)).float()
torch.manual_seed(0)
model = sf.NetworkDenoiser(sf.networks.MLP(2, 64), schedule, sf.EDMPreconditioning(2.0), data_mean=0.0, data_std=1.5)
fit = sf.training.fit(
    model, data, times=sf.losses.UniformAngle(schedule, 1.5), steps=400, batch_size=256, lr=4e-3, ema_decay=0.99
)
trained, exact = fit.denoiser, sf.ExactDenoiser(law, schedule)

# its error at every level, where the exact score is known
generator = torch.Generator().manual_seed(1)
fresh = law.sample(4000, generator=generator).float()
errors = []
with torch.no_grad():
    for t in times[:-1]:
        x_t = schedule.perturb(fresh, t, torch.randn(fresh.shape, generator=generator))
        wrong = trained(x_t, t) - exact(x_t, t)
        errors.append(float(wrong.square().sum(1).mean() / fresh.var(0).sum()))
print(f"mean square error of E[x0 | x_t] over the variance of the data: {max(errors):.2%} at the worst level")
assert max(errors) < 0.02

# %%
# Annealed Langevin
# -----------------
# At level i a few Langevin steps of size :math:`h_i \propto \sigma_i^2`; then the next level; at the end one
# denoising step. Plain Langevin kept the shares of its start, 1/2 and 1/2. Now:

solver = sf.AnnealedLangevin(steps_per_level=5)
found = {}
for name, denoiser in (("exact score", exact), ("trained network", trained)):
    x = sf.sample(denoiser, (4000, 2), solver=solver, times=times, seed=2).x
    found[name] = x
    share = float((x[:, 0] < 0).float().mean())
    print(f"{name}: share of the left mode {share:.3f}, the truth is 0.8")
    assert abs(share - 0.8) < 0.05
floor = sf.metrics.sliced_wasserstein(fresh, data[:4000])
distance = sf.metrics.sliced_wasserstein(found["trained network"], fresh)
print(f"sliced W2 of the network's samples to data {distance:.3f}, of data to other data {floor:.3f}")
assert distance < 0.3

fig = plots.figure(10.5, 3.6)
left, middle, right = fig.subplots(1, 3)
left.loglog(sigmas, errors, marker="o", markersize=3, color=plots.COLORS["first"])
left.set_xlabel("σ")
left.set_title("mean square error, of the data's variance", fontsize=10)
for ax, (name, x) in zip((middle, right), found.items(), strict=True):
    plots.particles(ax, x[:1500], color=plots.COLORS["repaired"], size=3, alpha=0.5)
    plots.square(ax, 4.0)
    plots.clean(ax, frame=True)
    ax.set_title(f"annealed, {name}: {float((x[:, 0] < 0).float().mean()):.0%} left", fontsize=10)
plots.save(fig, Path("annealed.png"))

# %%
# Exercise
# --------
# In D dimensions noise of :math:`\sigma` lies in a shell of radius :math:`\sigma\sqrt D` and thickness
# :math:`\sigma/\sqrt 2`. How large may the factor between two levels be for their shells to touch at one thickness
# each?
#
# Answer: :math:`(\sigma_{i-1} - \sigma_i)\sqrt D = (\sigma_{i-1} + \sigma_i)/\sqrt 2`, so with :math:`g =
# \sigma_{i-1}/\sigma_i`, :math:`(g - 1)/(g + 1) = 1/\sqrt{2D}`. For pictures of 3072 numbers g = 1.026: hundreds of
# levels. (Song & Ermon 2020 make half of a shell overlap; `sf.losses.ladder_of` computes theirs.)

D = 3072
g = (1 + (2 * D) ** -0.5) / (1 - (2 * D) ** -0.5)
radii = torch.randn(400, D, generator=generator).norm(dim=1)
assert abs(float(radii.mean()) / D**0.5 - 1) < 0.01
assert abs(float(radii.std()) - 0.5**0.5) < 5 * 0.5**0.5 / 800**0.5
levels = torch.log(torch.tensor(50 / 0.01)) / torch.log(torch.tensor(g))
print(f"g = {g:.3f}: {float(levels):.0f} levels from 50 to 0.01")
assert abs((g - 1) / (g + 1) - (2 * D) ** -0.5) < 1e-12
