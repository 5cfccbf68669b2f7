r"""
13. Digits, from noise to likelihood
====================================

Everything on pictures, in one document: train an NCSN++ under :math:`dx = 25^t\, dw`, sample it by the reverse SDE,
by predictor-corrector and by the ODE, and compute the likelihood of pictures it has not seen. On 8x8 digits, in half
a minute; on MNIST with the folder of its files as an argument (or in ``MNIST``), in some minutes: ``python
docs/course/13_mnist.py ~/data/mnist``.
"""

import os
import sys
from pathlib import Path

import torch

import scorefield as sf
from scorefield import metrics, plots

# %%
# Data
# ----
# Bytes, dequantised (a pixel k becomes k + u, u uniform on [0, 1)) and standardised. The transform keeps the scale:
# the likelihood needs it.

folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MNIST")
if folder:
    train, test = (sf.data.named("mnist", data_dir=folder, split=part).x for part in ("train", "test"))
    levels, width, patch, steps = 256, 16, 2, 500
else:
    split = sf.data.digits()
    train, test, levels, width, patch, steps = split.train, split.test, sf.data.LEVELS, 16, 1, 200
transform = sf.data.Scale.to_standard(train, levels=levels)
event = tuple(train.shape[1:])
print(f"{len(train)} pictures {event} of {levels} grey levels to train on, {len(test)} held out")

# %%
# The process
# -----------
# :math:`dx = 25^t dw` has :math:`\alpha = 1` and :math:`\sigma^2 = (25^{2t} - 1) / (2 \log 25)`, up to 9.85. It ends
# at the data blurred by that, with a terminal SNR of 0.01: the start is drawn from a Gaussian with the data's mean
# and their variance added, not from N(0, 1), nor from :math:`N(0, \sigma^2)`.

schedule = sf.VEPower(25.0)
start = schedule.prior(1.0, mean=0.0, std=1.0)
last = float(schedule.sigma(torch.tensor(1.0)))
print(f"sigma(1) = {last:.2f}; sampling starts with a standard deviation of {float(start.std):.2f}")
assert float(start.std) > last

# %%
# The network
# -----------
# NCSN++ (Song et al. 2021): residual blocks, resolutions joined by an FIR filter, random Fourier features of the
# noise level. It predicts the noise, :math:`s = -\hat\varepsilon/\sigma`: dividing the output by :math:`\sigma`,
# which the tutorials do by hand, is this. The loss :math:`E\|\sigma s + \varepsilon\|^2` is the library's for that
# target. EDM's preconditioning here says the same with inputs of unit size.

torch.manual_seed(0)
net = sf.networks.UNet.ncsnpp(event[0], width=width, multipliers=(1, 2), blocks=1, patch=patch, attention=())
model = sf.NetworkDenoiser(net, schedule, sf.EDMPreconditioning(1.0), data_mean=0.0, data_std=1.0)
fit = sf.training.fit(
    model,
    train,
    transform=transform,
    times=sf.losses.UniformAngle(schedule),
    steps=steps,
    batch_size=32,
    lr=3e-3,
    ema_decay=0.99,
)
denoiser = fit.denoiser
print(f"{sum(p.numel() for p in net.parameters()):,} weights, {steps} steps")

# %%
# Three samplers, one law
# -----------------------
# The reverse SDE by Euler-Maruyama; predictor-corrector, a Langevin step at each level beside it; the
# probability-flow ODE. Their samples beside real ones, and the sliced Wasserstein distance beside its floor, real to
# other real pictures.

n = 64
chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(1))
units = [transform(test[chosen[i * n : (i + 1) * n]]) for i in range(2)]
floor = metrics.sliced_wasserstein(*(x.flatten(1) for x in units))
times = torch.linspace(1, 0.001, 81, dtype=torch.float64)
shown, distances = {"real": units[0]}, {}
for name, solver in {
    "reverse SDE": sf.EulerMaruyama(),
    "predictor-corrector": sf.PredictorCorrector(sf.EulerMaruyama()),
    "ODE": None,
}.items():
    grid = {"times": times[:: 2 if name == "predictor-corrector" else 1]} if solver else {"nfe": 20}
    made = sf.sample(denoiser, (n, *event), solver=solver, seed=2, **grid)
    distances[name] = metrics.sliced_wasserstein(made.x.flatten(1), units[1].flatten(1))
    print(f"{name}: {made.nfe} evaluations, sliced W2 {distances[name]:.3f} (floor {floor:.3f})")
    shown[name] = made.x
assert max(distances.values()) < 4 * floor

rows = torch.cat([transform.inverse(x[:12]).float() / (levels - 1) for x in shown.values()])
plots.save(plots.image_grid(rows, 12, row_labels=("real", "SDE", "PC", "ODE")), Path("digits.png"))

# %%
# From noise to digit
# -------------------
# What the ODE passes through, and what the network thinks of it on the way, :math:`E[x_0 \mid x_t]`.

path = sf.sample(denoiser, (6, *event), nfe=12, seed=2, trajectory=True)
with torch.no_grad():
    thoughts = torch.stack([denoiser(x, t) for x, t in zip(path.trajectory[:-1], path.times[:-1], strict=True)])
frames = (transform.inverse(thoughts[::2].flatten(0, 1)).float() / (levels - 1)).reshape(-1, 6, *event)
plots.save(plots.filmstrip(frames, column_labels=[f"{float(t):.2f}" for t in path.times[:-1:2]]), Path("thoughts.png"))

# %%
# Likelihood
# ----------
# The ODE has a density. In bits per dimension of the *bytes*, with its error bar; uniform noise would have
# :math:`\log_2` of the number of levels.

bits = sf.bits_per_dim(denoiser, test[chosen[:16]], transform, probes=2, tolerance=0.1)
uniform = float(torch.log2(torch.tensor(float(levels))))
print(f"held-out pictures: {bits.mean:.2f} ± {bits.stderr:.2f} bits per dimension; uniform noise {uniform:.2f}")
assert bits.mean < 0.8 * uniform

noise = torch.randint(0, levels, (4, *event), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
of_noise = sf.bits_per_dim(denoiser, noise, transform, probes=2, tolerance=0.1)
print(f"pictures of pure noise: {of_noise.mean:.2f} bits per dimension")
assert of_noise.mean > bits.mean + 1

# %%
# Exercise
# --------
# Someone starts the sampler from :math:`N(0, \sigma(1)^2)` instead of :math:`N(m, s^2 + \sigma(1)^2)`. How wrong is
# the start, in the KL divergence of one pixel of standard deviation s = 1? And with :math:`\sigma(1) = 2`?
#
# Answer: for variances v (right) and w (used), :math:`\frac12 (v/w - 1 - \log (v/w))`, with v/w = 1 + SNR: about
# :math:`\mathrm{SNR}^2/4`. At 9.85 that is :math:`2.6 \cdot 10^{-5}` nats: nothing. At 2 it is 0.0134 in each pixel,
# 10 nats in 784 of them.

for sigma, expected in ((last, 2.6e-5), (2.0, 0.0134)):
    right = torch.distributions.Normal(0.0, (1 + sigma**2) ** 0.5)
    used = torch.distributions.Normal(0.0, sigma)
    kl = float(torch.distributions.kl_divergence(right, used))
    print(f"sigma(1) = {sigma:.2f}: {kl:.1e} nats a pixel")
    assert abs(kl / expected - 1) < 0.05
