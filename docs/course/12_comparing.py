r"""
12. Comparing generative models
===============================

Which of two models is better? A number alone cannot say: it needs what real data would score against real data (the
floor), an interval, and the knowledge of what it is blind to. Four models of one law on the plane, each with a fault
of its own, and the metrics that see it.
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import metrics, plots

# %%
# Four models
# -----------
# A Gaussian with the right moments; the training data themselves; a model that lost two of eight modes; a diffusion
# model's samples with the exact score.

law = sf.distributions.eight_gaussians()
draw = {
    name: law.sample(500, generator=torch.Generator().manual_seed(k))
    for k, name in enumerate(("train", "real", "spare"))
}
train, real, spare = draw.values()
generator = torch.Generator().manual_seed(9)
six = sf.GaussianMixture(torch.full((6,), 1 / 6), law.means[:6], law.covariances[:6])
models = {
    "Gaussian": real.mean(0) + torch.randn(500, 2, generator=generator) @ torch.linalg.cholesky(real.T.cov()).T,
    "copies": train[torch.randint(500, (500,), generator=generator)] + 0.001 * torch.randn(500, 2, generator=generator),
    "lost modes": six.sample(500, generator=generator),
    "diffusion": sf.sample(sf.ExactDenoiser(law, sf.VP()), (500, 2), nfe=30, seed=1).x,
}

fig = plots.figure(12, 3.4)
for ax, (name, x) in zip(fig.subplots(1, 4), models.items(), strict=True):
    plots.particles(ax, x, color=plots.COLORS["first"], size=4, alpha=0.5)
    plots.square(ax, 2.6)
    plots.clean(ax, frame=True)
    ax.set_title(name, fontsize=10)
plots.save(fig, Path("four-models.png"))

# %%
# What each metric sees
# ---------------------
# A distance is small or large only beside its floor, the same distance between real data and other real data; its
# p-value says how often as large a value comes about where nothing differs. Lower is better for all of them: a higher
# Fréchet distance is a worse model.

print(f"{'model':12} {'Frechet':>18} {'sliced W2':>18} {'recall':>7} {'copies':>7}")
seen = {}
for name, x in models.items():
    frechet = metrics.frechet(x, real, spare=spare, permutations=99)
    sliced = metrics.sliced(x, real, spare=spare, permutations=99)
    recall = metrics.precision_recall(real=real, generated=x).recall
    copied = metrics.memorization(x, train, spare, permutations=99)
    seen[name] = (frechet.p_value, sliced.p_value, recall.value, copied.value)
    print(
        f"{name:12} {frechet.value:7.3f} (p = {frechet.p_value:.2f}) {sliced.value:7.3f} (p = {sliced.p_value:.2f})"
        f" {recall.value:7.2f} {copied.value:7.2f}"
    )
frechet_floor = metrics.frechet(real, train, spare=spare).floor
print(f"floor of the Fréchet distance {frechet_floor:.3f}; copies: 0.5 is right")

# %%
# Fréchet's distance compares two means and two covariances: the Gaussian in the middle is perfect for it. The sliced
# Wasserstein distance sees it at once. Neither sees copies, which are a sample of the law in every other respect:
# there the question is whether samples are nearer to the training data than to held-out data.

assert seen["Gaussian"][0] > 0.05  # Frechet is blind
assert seen["Gaussian"][1] <= 0.02
assert seen["lost modes"][1] <= 0.02
assert seen["lost modes"][2] < 0.9
assert seen["copies"][1] > 0.02
assert seen["copies"][3] > 0.9
assert seen["diffusion"][1] > 0.02
assert abs(seen["diffusion"][3] - 0.5) < 0.15

# %%
# How many samples
# ----------------
# A distance between two samples of one law is not 0, and falls with their size: compare at equal sizes only.

for n in (100, 400, 1600):
    x, y = (law.sample(n, generator=torch.Generator().manual_seed(s)) for s in (20, 21))
    print(f"n = {n:4}: Fréchet {metrics.frechet_distance(x, y):.4f}, sliced W2 {metrics.sliced_wasserstein(x, y):.4f}")

# %%
# Exercise
# --------
# Model A is at 0.10 ± 0.02, model B at 0.07 ± 0.02 (standard errors, independent). Is B better? And what would a
# *paired* comparison change?
#
# Answer: the difference is 0.03 ± 0.028, which chance gives in one case of seven (one side): not shown. Judged on the
# same data, both errors have a part in common, which the difference has not. Two densities on the same 200 data:

data = law.sample(200, generator=torch.Generator().manual_seed(30))
a = sf.distributions.eight_gaussians(std=0.12).log_prob(data)
b = sf.distributions.eight_gaussians(std=0.11).log_prob(data)
gap = metrics.likelihood_gap(b, a)
unpaired = float((a.var() / 200 + b.var() / 200).sqrt())
low, high = gap.interval(0.95)
print(f"gap {gap.value:.4f} nats, paired interval [{low:.4f}, {high:.4f}]; unpaired ± {1.96 * unpaired:.4f}")
assert low > 0
assert gap.value < 1.96 * unpaired
chance = 1 - float(torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(0.03 / (2 * 0.02**2) ** 0.5)))
assert abs(chance - 1 / 7) < 0.01
