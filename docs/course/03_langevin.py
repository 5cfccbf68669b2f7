r"""
3. Langevin dynamics, and why it fails
======================================

With the score one can sample: Langevin dynamics

.. math::

    x \leftarrow x + \frac h2 \nabla \log p(x) + \sqrt{h}\, z, \qquad z \sim N(0, I)

has p as its stationary law as :math:`h \to 0`. This lesson measures two things that are wrong with it: a finite h
biases the law, which an accept step repairs; and between separated modes it does not move, which nothing at one noise
level repairs.

.. scene:: langevin
   :title: particles of Langevin dynamics on a mixture, with the step you choose
"""

from pathlib import Path

import torch

import scorefield as sf
from scorefield import plots

# %%
# A finite step is another law
# ----------------------------
# On :math:`N(0, v)` the update is :math:`x \leftarrow (1 - \frac{h}{2v}) x + \sqrt h z`. Its stationary variance
# solves :math:`w = (1 - \frac{h}{2v})^2 w + h`:
#
# .. math::
#
#     w = \frac{v}{1 - h / 4v} ,
#
# too large by :math:`h/4v`. The Metropolis accept step (MALA) makes it v, for any h, at the price of rejections.

v = 1.0
law = sf.Gaussian(torch.zeros(1), torch.tensor([[v]]))
start = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
for h in (0.2, 1.0):
    plain = sf.ula(law.score, start, steps=60, step_size=h, seed=1).x
    adjusted = sf.mala(law.log_prob, start, steps=60, step_size=h, seed=1)
    expected = v / (1 - h / (4 * v))
    print(
        f"h = {h}: variance of ULA {float(plain.var()):.3f} (theory {expected:.3f}), of MALA "
        f"{float(adjusted.x.var()):.3f}, which accepts {float(adjusted.acceptance.mean()):.1%}"
    )
    error = 5 * (2 / len(start)) ** 0.5  # five standard errors of a variance
    assert abs(float(plain.var()) / expected - 1) < error
    assert abs(float(adjusted.x.var()) / v - 1) < error

# %%
# Between modes there is no way
# -----------------------------
# Two modes of weights 0.8 and 0.2, eight deviations apart. The score between them is right, and useless: no chain
# gets there. Each keeps the mode in whose basin it began, so the shares are those of the start, 1/2 and 1/2, whatever
# the weights are (Song & Ermon 2019, section 3.2.2). The chains even look converged: R-hat compares halves of chains,
# which each stay where they are.

modes = sf.GaussianMixture([0.8, 0.2], [[-2.0, 0.0], [2.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]])
start = 3 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(2))
chain = sf.ula(modes.score, start, steps=300, step_size=0.05, seed=3, trajectory=True)
share = float((chain.x[:, 0] < 0).float().mean())
started = float((start[:, 0] < 0).float().mean())
print(f"share of the left mode: {share:.3f}; of the chains that began there {started:.3f}; the truth is 0.8")
assert abs(share - started) < 0.03
assert abs(share - 0.8) > 0.2

exact = modes.sample(4000, generator=torch.Generator().manual_seed(4))
fig = plots.figure(9.6, 4.2)
lattice = torch.from_numpy(plots.mesh(4.0, 90))
for ax, points, name in zip(fig.subplots(1, 2), (exact, chain.x), ("exact: 80% left", "Langevin"), strict=True):
    plots.density(ax, plots.shades(modes.log_prob(lattice).exp()), 4.0)
    plots.particles(ax, points[:1500], color=plots.COLORS["second"], size=3, alpha=0.5)
    plots.square(ax, 4.0)
    plots.clean(ax, frame=True)
    ax.set_title(name if name != "Langevin" else f"{name}: {share:.0%} left")
plots.save(fig, Path("langevin-two-modes.png"))

# %%
# The score does not know the weights
# -----------------------------------
# Worse than slow mixing: near one mode the score is that of the mode alone. Change the weights from 0.8 to 0.2 and
# the score where the data are hardly moves, so a network trained there cannot learn them.

other = sf.GaussianMixture([0.2, 0.8], [[-2.0, 0.0], [2.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]])
near = exact[exact[:, 0].abs() > 1.0]
change = (modes.score(near) - other.score(near)).norm(dim=1).max() / modes.score(near).norm(dim=1).mean()
print(
    f"largest change of the score at {len(near)} data when the weights are exchanged: {float(change):.2%} of its size"
)
assert len(near) > 0.97 * len(exact)
assert float(change) < 0.01

# at noise as wide as the gap they are seen: there the two laws' scores differ by as much as they are large
wide = exact + 2 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(5))
gap = (modes.score_at(wide, 1.0, 2.0) - other.score_at(wide, 1.0, 2.0)).norm(dim=1).mean()
seen = float(gap / modes.score_at(wide, 1.0, 2.0).norm(dim=1).mean())
print(f"at noise of 2: {seen:.0%}. This is why the next lesson adds noise.")
assert seen > 0.5

# %%
# Exercise
# --------
# A text has :math:`x \leftarrow x + \epsilon\, s(x) + \sqrt{2\epsilon}\, z`; yours has h/2 and :math:`\sqrt h`.
# Someone takes the drift of one and the noise of the other, :math:`x \leftarrow x + h\, s(x) + \sqrt h\, z`. What
# does it sample?
#
# Answer: :math:`h\, s = \frac h2 (2 s)`, and :math:`2 s = \nabla \log p^2`: it samples :math:`p^2`, normalised. For a
# Gaussian that is half the variance.

start = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(6))
mixed = sf.ula(lambda y: 2 * law.score(y), start, steps=200, step_size=0.05, seed=7).x
expected = (v / 2) / (1 - 0.05 / (4 * v / 2))
print(f"variance {float(mixed.var()):.3f}, of p^2 with this step {expected:.3f}")
assert abs(float(mixed.var()) / expected - 1) < 5 * (2 / len(start)) ** 0.5
