"""Every objective through the public contract."""

from functools import partial

import pytest
import torch

import scorefield as sf
from scorefield import losses
from scorefield.losses import projections, weights

f64 = torch.float64
DATA = sf.Gaussian(torch.tensor([0.4, -0.8], dtype=f64), torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=f64))
EXACT = sf.ExactDenoiser(DATA, sf.VP())
INSIDE = losses.Uniform(0.01, 1.0)

LOSSES = {
    "denoising": losses.denoising,
    "ncsn": partial(losses.denoising, weight=weights.ncsn, times=losses.Ladder.geometric(sf.VP(), 20.0, 0.05, 10)),
    "ddpm": partial(losses.denoising, weight=weights.eps, times=losses.Ladder.steps(100)),
    "v": partial(losses.denoising, weight=weights.v),
    "velocity": partial(losses.denoising, weight=weights.velocity, times=losses.LogitNormal()),
    "edm": partial(losses.denoising, weight=weights.EDMWeight(0.6), times=losses.LogNormal(sf.VP(), -1.2, 1.2)),
    "min-snr": partial(losses.denoising, weight=weights.MinSNR()),
    "soft min-snr": partial(losses.denoising, weight=weights.SoftMinSNR()),
    "p2": partial(losses.denoising, weight=weights.P2()),
    "likelihood": partial(losses.denoising, weight=weights.likelihood, times=losses.Importance(sf.VP(), 0.01)),
    "stratified": partial(losses.denoising, times=losses.Stratified(losses.Uniform())),
    "explicit": partial(losses.explicit, exact=EXACT, times=INSIDE),
    "implicit": partial(losses.implicit, times=INSIDE),
    "sliced": partial(losses.sliced, variance_reduced=False, projection=projections.gaussian, times=INSIDE),
    "sliced, reduced": partial(losses.sliced, projections=2, times=INSIDE),
    "sliced, sphere": partial(losses.sliced, projection=projections.sphere, times=INSIDE),
    "finite difference": partial(losses.finite_difference, times=INSIDE),
    "uncertainty": losses.Uncertainty(),
    "bound": losses.continuous_bound,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_keeps_the_contract(name):
    sf.checks.check_loss(LOSSES[name], distribution=DATA)


@pytest.mark.parametrize(
    ("wrong", "clause"),
    [
        (lambda d, x, **k: losses.denoising(d, x, **k).mean(), r"\(B,\)"),
        (lambda d, x, **k: losses.denoising(d, x, **k) / losses.denoising(d, x, **k).mean().detach(), "its batch"),
        (lambda d, x, generator, **k: losses.denoising(d, x, **k), "gradients enabled|same seed"),
        (lambda d, x, **k: losses.denoising(d, x, **k).detach() + 0 * next(d.parameters()).sum(), "must reach"),
        (lambda d, x, **k: losses.denoising(d, 0.5 * x, **k), "must cost more than the exact one"),
        (lambda d, x, **k: -losses.denoising(d, x, **k), "must cost more than the exact one"),
    ],
)
def test_a_loss_that_breaks_the_contract_is_told_which_clause(wrong, clause):
    with pytest.raises(AssertionError, match=clause):
        sf.checks.check_loss(wrong)
