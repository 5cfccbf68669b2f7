"""Integers of NumPy and torch as seeds, shapes and counts: the same numbers as Python's give."""

from typing import Any

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield import anomaly, inverse
from scorefield.randomness import Noise

KINDS = {"int32": np.int32, "int64": np.int64, "tensor": torch.tensor}
DENOISER = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.VP())
LIKELIHOOD = inverse.GaussianNoise(inverse.operators.Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.5]]), 0.3)
X = torch.linspace(-1, 1, 12).reshape(6, 2)


def trained(i):
    torch.manual_seed(0)
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2, hidden=8, depth=1), sf.VP(), sf.V())
    fit = sf.training.fit(denoiser, X, steps=i(2), batch_size=i(4), seed=i(1))
    return torch.tensor(fit.history.loss)


USES = {
    "noise": lambda i: Noise(i(3), torch.arange(4), (2,)).normal(i(2)),
    "sample": lambda i: sf.sample(DENOISER, (i(6), i(2)), nfe=i(8), seed=i(3), first_index=i(1), chunk=i(4)).x,
    "solver": lambda i: sf.sample(DENOISER, (6, 2), solver=sf.DDPM(), nfe=i(8), seed=i(200)).x,
    "log_prob": lambda i: sf.log_prob(DENOISER, X, probes=i(2), seed=i(1), chunk=i(4), tolerance=0.1).log_prob,
    "elbo": lambda i: sf.elbo(DENOISER, X, draws=i(4), seed=i(2)).elbo,
    "encode": lambda i: sf.encode(DENOISER, X, nfe=i(8), chunk=i(4)).z,
    "edit": lambda i: sf.edit(DENOISER, X, 0.5, nfe=i(8), seed=i(1)).x,
    "inpaint": lambda i: sf.inpaint(DENOISER, X, torch.tensor([True, False]), nfe=i(12), seed=i(2)).x,
    "posterior": lambda i: inverse.condition(DENOISER, LIKELIHOOD).sample(i(4), nfe=i(10), seed=i(1), chunk=i(3)).x,
    "twisted": lambda i: inverse.condition(DENOISER, LIKELIHOOD, inverse.TwistedSMC()).sample(i(70), nfe=i(10)).x,
    "tune": lambda i: torch.tensor(sf.tune(DENOISER, (i(2),), i(4), paths=i(8), teacher_steps=i(10)).tuned),
    "anomaly": lambda i: anomaly.DenoisingErrors(levels=i(2), draws=i(2))(DENOISER, X, seed=i(1)),
    "sliced": lambda i: torch.tensor(sf.metrics.sliced_wasserstein(X, X + 1, seed=i(4), projections=i(8))),
    "grid": lambda i: sf.grids.angular(sf.VP(), i(8)),
    "training": trained,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_any_integer_is_one(use, kind):
    assert torch.equal(use(kind), use(int))


@pytest.mark.parametrize("shape", [np.array([6, 2]), torch.Size([6, 2]), [6, 2]], ids=lambda s: type(s).__name__)
def test_a_shape_is_any_row_of_integers(shape):
    assert torch.equal(sf.sample(DENOISER, shape, nfe=4).x, sf.sample(DENOISER, (6, 2), nfe=4).x)


def test_what_is_no_integer_is_refused():
    sample: Any = sf.sample
    for seed, line in ((0.5, "seed must be an integer; got 0.5"), ("1", "seed must be an integer; got '1'")):
        with pytest.raises(TypeError, match=line):
            sample(DENOISER, (6, 2), nfe=4, seed=seed)
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\^64\); got -1"):
        sample(DENOISER, (6, 2), nfe=4, seed=np.int8(-1))
    with pytest.raises(ValueError, match=r"start must be a shape \(B, \*event\) of integers >= 0, or a tensor"):
        sample(DENOISER, (6.0, 2.0), nfe=4)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, torch.tensor], ids=lambda k: k.__name__)
def test_a_seed_may_be_of_any_width(kind):
    assert torch.equal(Noise(kind(200), torch.arange(4), (2,)).normal(2), Noise(200, torch.arange(4), (2,)).normal(2))
