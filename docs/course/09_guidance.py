r"""
9. Guidance
===========

To draw from one class, or more of it than there is, one adds scores. Bayes' rule makes that exact at weight 1; beyond
it the popular recipe samples a law that has no name. This lesson finds out how far it is from the one it is taken
for, and samples that one.

.. scene:: guidance
   :title: guided samples beside the tilted law, by weight
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import guidance, plots

# %%
# Bayes' rule for scores
# ----------------------
# .. math::
#
#     \nabla \log p_t(x \mid y) = \nabla \log p_t(x) + \nabla \log p_t(y \mid x)
#
# holds at every noise level: the classifier has to be one of noisy data. Its exact form for Gaussian classes is a
# part of the library; with it, classifier guidance of weight 1 *is* the conditional model.

means = ([[-1.0, 0.0]], [[1.0, 0.0]])
classes = [sf.GaussianMixture([1.0], m, [[0.36, 0.36]]) for m in means]
both = sf.GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [[0.36, 0.36], [0.36, 0.36]])
schedule = sf.VP()
marginal = sf.ExactDenoiser(both, schedule)
conditional = [sf.ExactDenoiser(law, schedule) for law in classes]
classifier = guidance.ExactClassifier(classes, [0.5, 0.5], schedule)
by_bayes = sf.ClassifierGuidance(marginal, classifier, 1.0)
x = 2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
for t in (0.1, 0.5, 0.9):
    difference = float((by_bayes(x, t, label=1) - conditional[1](x, t)).abs().max())
    print(f"t = {t}: classifier guidance of weight 1 is the conditional model within {difference:.0e}")
    assert difference < 1e-4

# %%
# Beyond 1
# --------
# With weight w the score is :math:`\nabla \log p_t(x) + w\, \nabla \log p_t(y \mid x) = (1 - w) \nabla \log p_t(x) +
# w\, \nabla \log p_t(x \mid y)`: classifier-free guidance (Ho & Salimans 2022) without the classifier. At each level
# it is the score of the normalised :math:`p_t(x)^{1-w} p_t(x \mid y)^w`. But these are *not* the noised versions of
# one law: noising the product of powers is not the product of powers of the noised. So following them from noise to
# data ends at neither.
#
# The tilted law :math:`p(x)^{1-w} p(x \mid y)^w / Z` is known here on a grid; weighted particles (`feynman_kac`)
# sample it.

w = 2.0
guided = guidance.ProductOfExperts([marginal, conditional[1]], [1 - w, w])
plain = sf.sample(guided, (4000, 2), nfe=60, seed=1).x
groups = guidance.feynman_kac(guided, (16, 2), particles_each=512, steps=100, seed=2)  # independent of each other
weighted = groups.x.reshape(-1, 2)

line = torch.linspace(-1, 5, 3001, dtype=torch.float64)
points = torch.stack([line, torch.zeros_like(line)], 1)  # the laws factorise: the second coordinate is the same in both
log_tilted = (1 - w) * both.log_prob(points) + w * classes[1].log_prob(points)
density = (log_tilted - log_tilted.max()).exp()
density = density / density.sum()
mean = float((density * line).sum())
std = float((density * (line - mean) ** 2).sum().sqrt())
print(f"the tilted law: mean {mean:.3f}, std {std:.3f}")
errors = {}
for name, sample in (("guidance", plain), ("weighted particles", weighted)):
    print(f"{name}: mean {float(sample[:, 0].mean()):.3f}, std {float(sample[:, 0].std()):.3f}")
    errors[name] = abs(float(sample[:, 0].mean()) - mean)
standard_error = float(groups.x[..., 0].mean(1).std()) / 4  # of 16 groups
print(f"standard error of the particles' mean {standard_error:.3f}; their bias falls as their number grows")
assert errors["weighted particles"] < 4 * standard_error
assert errors["guidance"] > 10 * standard_error

fig = plots.figure(8, 3.6)
ax = fig.add_subplot()
ax.plot(line, density / float(line[1] - line[0]), color=plots.COLORS["truth"], linewidth=2, label="p(x)^(1-w) p(x|y)^w")
for (name, sample), color in zip(
    (("guidance", plain), ("weighted particles", weighted)), ("wrong", "repaired"), strict=True
):
    ax.hist(sample[:, 0], bins=80, range=(-1, 5), density=True, histtype="step", color=plots.COLORS[color], label=name)
ax.legend(frameon=False)
ax.set_title(f"guidance of weight {w:g}", fontsize=10)
plots.save(fig, Path("guidance.png"))

# %%
# What the weight buys
# --------------------
# More weight, less variety, and a classifier that is more sure: that trade is why it is used.

for weight in (0.0, 1.0, 3.0):
    model = guidance.ProductOfExperts([marginal, conditional[1]], [1 - weight, weight])
    x = sf.sample(model, (2000, 2), nfe=40, seed=3).x
    sure = classifier(x, 0.0).softmax(1)[:, 1] if weight else classifier(x, 0.0).softmax(1).max(1).values
    print(f"weight {weight:g}: std {float(x[:, 0].std()):.2f}, the classifier's certainty {float(sure.mean()):.3f}")

# %%
# Exercise
# --------
# Let :math:`p(x) = N(0, 1)` and :math:`p(x \mid y) = N(m, v)` with v < 1. Which law is :math:`p(x)^{1-w} p(x \mid
# y)^w`?
#
# Answer: precisions add, :math:`1/V = (1 - w) + w / v`, and the mean is :math:`V w m / v`. With w = 2, v = 1/4, m =
# 1: V = 1/7, mean 8/7. The particles' `log_normalizer` is even :math:`\log Z`: :math:`\frac12 \log(V / v^w) + \frac12
# (M^2/V - w m^2/v)`.

unit = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1), torch.eye(1)), schedule)
narrow = sf.ExactDenoiser(sf.Gaussian(torch.ones(1), torch.eye(1) / 4), schedule)
product = guidance.ProductOfExperts([unit, narrow], [-1.0, 2.0])
drawn = guidance.feynman_kac(product, (50, 1), particles_each=256, steps=300, seed=4)
V, M = 1 / 7, 8 / 7
log_z = 0.5 * torch.log(torch.tensor(V / 0.25**2)) + 0.5 * (M**2 / V - 2 * 1 / 0.25)
found = drawn.log_normalizer.exp().mean().log()
print(f"mean {float(drawn.x.mean()):.3f} ({M:.3f}), variance {float(drawn.x.var()):.3f} ({V:.3f}), "
      f"log Z {float(found):.3f} ({float(log_z):.3f})")  # fmt: skip
assert abs(float(drawn.x.mean()) - M) < 0.02
assert abs(float(drawn.x.var()) - V) < 0.02
assert abs(float(found) - float(log_z)) < 0.1
