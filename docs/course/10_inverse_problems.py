r"""
10. Inverse problems
====================

A measurement :math:`y = A x_0 + n` and a prior make a posterior. The prior is a denoiser; the likelihood says what
was measured; no training. The catch: at noise level t one needs :math:`p_t(y \mid x_t)`, an average over all clean
data that :math:`x_t` may come from. This lesson has a case where that is known, and holds the usual approximations to
it.
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import inverse, metrics, plots

# %%
# Where everything is known
# -------------------------
# For a mixture of Gaussians and a linear measurement with Gaussian noise, the posterior is again a mixture: each
# component is conditioned as a Gaussian is, and weighted by how well it foretold y,
#
# .. math::
#
#     E[x_0 \mid y] = m + K (y - A m), \quad K = C A^T (A C A^T + R)^{-1}, \qquad
#     w_k \propto \pi_k\, N(y; A m_k, A C_k A^T + R) .

law = sf.GaussianMixture([0.5, 0.5], [[1.0, 1.0], [-1.0, 1.0]], [[0.04, 0.04], [0.04, 0.04]])
A, y, noise = torch.tensor([[0.2, 1.0]]), torch.tensor([[1.1]]), 0.1
exact = law.posterior(A, y[0], noise)
print(f"posterior weights of the two modes: {float(exact.weights[0]):.3f}, {float(exact.weights[1]):.3f}")

by_hand = []
for k in range(2):
    evidence_var = float(A @ law.covariances[k] @ A.T) + noise**2
    by_hand.append(
        0.5 * torch.distributions.Normal(float(A[0] @ law.means[k]), evidence_var**0.5).log_prob(y[0, 0]).exp()
    )
assert torch.allclose(torch.stack(by_hand) / sum(by_hand), exact.weights, atol=1e-5)

# %%
# Three ways to draw
# ------------------
# All follow :math:`\nabla \log p_t(x) + \nabla \log p_t(y \mid x)` with an approximation of the second term.
#
# - DPS (Chung et al. 2023) takes :math:`p(y \mid \hat x_0(x_t))`: as if :math:`x_0` given :math:`x_t` had no spread.
# - Moment matching has :math:`N(y; A \hat x_0, R + A\, \mathrm{Cov}[x_0 \mid x_t] A^T)`, the covariance by Tweedie's
#   second formula, :math:`\frac{\sigma^2}{\alpha} \partial \hat x_0 / \partial x_t`: exact for a Gaussian prior.
# - `Bridge` proposes so, and corrects with weights what is left: right as its particles grow.

prior = sf.ExactDenoiser(law, sf.EDM(sigma_max=20.0))
likelihood = inverse.GaussianNoise(inverse.operators.Dense(A), y, noise)
reference = exact.sample(2000, generator=torch.Generator().manual_seed(0)).float()
floor = metrics.sliced_wasserstein(reference, exact.sample(2000, generator=torch.Generator().manual_seed(1)).float())
drawn, distances = {}, {}
for name, method in (
    ("DPS", inverse.DPS()),
    ("moment matching", inverse.MomentMatching.method()),
    ("Bridge", inverse.Bridge()),
):
    found = inverse.condition(prior, likelihood, method).sample(2000, nfe=30, seed=2)
    drawn[name] = found.x.reshape(-1, 2)
    distances[name] = metrics.sliced_wasserstein(drawn[name], reference)
    share = float((drawn[name][:, 0] > 0).float().mean())
    print(f"{name:16} sliced W2 {distances[name]:.3f} (floor {floor:.3f}); share of the right mode {share:.2f}")
assert distances["Bridge"] < min(distances["DPS"], 0.25)

fig = plots.figure(12, 3.4)
for ax, (name, x) in zip(fig.subplots(1, 4), {"exact": reference, **drawn}.items(), strict=True):
    plots.particles(ax, x, color=plots.COLORS["truth" if name == "exact" else "first"], size=3, alpha=0.4)
    ax.set_xlim(-1.8, 1.8)
    ax.set_ylim(0.2, 1.9)
    plots.clean(ax, frame=True)
    ax.set_title(name, fontsize=10)
plots.save(fig, Path("posteriors.png"))

# %%
# Who means what they say
# -----------------------
# One picture proves little. Draw the truth from the prior, measure it, draw the posterior; if it is right, the truth
# is one more draw, and its rank among them uniform (simulation-based calibration). Its 80 % interval holds the truth
# 80 times of 100.

truths = law.sample(60, generator=torch.Generator().manual_seed(3)).float()
calibration = inverse.calibration(prior, inverse.operators.Dense(A), noise, truths, n=39, nfe=15, seed=4)
for name, value in calibration.table().items():
    print(f"{name:24} {value:.3f}")
assert calibration.table()["SBC p-value"] > 0.001
assert calibration.table()["TARP p-value"] > 0.001

# %%
# Exercise
# --------
# How likely was the measurement, :math:`p(y)`? The exact evidence is :math:`\sum_k \pi_k N(y; A m_k, A C_k A^T + R)`.
# Which of the three methods can tell it?
#
# Answer: only the one with weights, whose mean estimates it.

log_evidence = float(torch.stack(by_hand).sum().log())
found = inverse.condition(prior, likelihood, inverse.Bridge()).sample(2000, nfe=30, seed=5)
estimate = float(found.log_evidence[0])
print(f"log p(y) = {log_evidence:.3f}; by the particles {estimate:.3f}")
assert abs(estimate - log_evidence) < 0.1
