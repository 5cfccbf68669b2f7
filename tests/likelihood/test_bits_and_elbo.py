"""Code lengths of integers whose probabilities are known, and lower bounds below what they bound."""

import math

import pytest
import torch
from likelihood_cases import MIXTURE, f64, gaussian, seeded, wide_mixture

import scorefield as sf
from scorefield import data
from scorefield.likelihood import dequantized

NORMAL = sf.Gaussian(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64))
STEP = data.Scale(0.5, -4.0, levels=16, noise=True)  # x = y / 2 - 4: grey values two to a standard deviation


def code_length(x_raw):
    """-log2 of the probability of each bin, per dimension."""
    edges = torch.stack([x_raw, x_raw + 1]).double() * STEP.scale + STEP.shift
    mass = torch.special.ndtr(edges[1]) - torch.special.ndtr(edges[0])
    return -mass.log2().mean(1)


@pytest.fixture(scope="module")
def integers():
    return STEP.quantize(NORMAL.sample(300, generator=seeded(0)))


def test_bits_of_dequantised_integers_are_an_upper_bound_and_importance_weighting_closes_the_gap(integers):
    """Mean over 300: the gap of Jensen is E[log p_bin] against log E[p_bin], some 1e-2 bits; 16 draws take most."""
    exact = float(code_length(integers).mean())
    r = sf.bits_per_dim(sf.ExactDenoiser(NORMAL, sf.VP()), integers, STEP, draws=16, tolerance=1e-3)
    assert r.importance_weighted is not None
    gaps = [float(bound.mean()) - exact for bound in (r.bits, r.importance_weighted)]
    assert 0.003 < gaps[0] < 0.05
    assert -0.002 < gaps[1] < 0.35 * gaps[0]


def test_the_mean_and_its_interval_are_of_the_data_they_were_drawn_from(integers):
    r = sf.bits_per_dim(sf.ExactDenoiser(NORMAL, sf.VP()), integers, STEP)
    entropy = 0.5 * math.log2(2 * math.pi * math.e) - math.log2(STEP.scale)  # of a bin, nearly
    low, high = r.interval(0.999)
    assert low < entropy < high
    assert r.importance_weighted is None  # one draw


def test_probes_add_no_bound_that_is_none(integers):
    r = sf.bits_per_dim(sf.ExactDenoiser(NORMAL, sf.VP()), integers[:4], STEP, draws=4, probes=1)
    assert r.importance_weighted is None


def test_dequantisation_keeps_the_integer_and_depends_on_the_sample_alone(integers):
    index = torch.arange(300)
    y = dequantized(integers, 3, index)
    assert torch.equal(y.floor().long(), integers)
    assert torch.equal(y[7:9], dequantized(integers[7:9], 3, index[7:9]))
    assert not torch.equal(y, dequantized(integers, 3, index, 1))


@pytest.mark.parametrize(
    ("x", "transform", "line"),
    [
        (torch.zeros(1, 2), data.Scale(1.0), "these data are continuous"),
        (torch.zeros(1, 2), data.Scale(1.0, levels=4, noise=False), "this one saw the bare integers"),
        (torch.full((1, 2), 4), data.Scale(1.0, levels=4), "must be integers in 0..3"),
        (torch.full((1, 2), 0.5), data.Scale(1.0, levels=4), "must be integers in 0..3"),
    ],
)
def test_what_was_never_quantised_has_no_bits(x, transform, line):
    with pytest.raises(ValueError, match=line):
        sf.bits_per_dim(sf.ExactDenoiser(NORMAL, sf.VP()), x, transform)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
def test_the_elbo_of_an_exact_model_is_the_likelihood_on_average(schedule):
    """On average over the data the bound is tight, the prior's mismatch below the error: 4.5 standard errors of 500."""
    law = MIXTURE
    x, denoiser = law.sample(500, generator=seeded(0)), sf.ExactDenoiser(MIXTURE, schedule)
    bound = sf.elbo(denoiser, x, draws=64)
    gap = law.log_prob(x) - bound.elbo
    assert abs(float(gap.mean())) < 4.5 * float(gap.std()) / math.sqrt(500)


class Shrunk(sf.Denoiser):
    """An imperfect model: what it predicts is drawn a little towards the mean."""

    def __init__(self, law, schedule):
        super().__init__()
        self.inner, self.schedule = sf.ExactDenoiser(law, schedule), schedule
        self.data_mean, self.data_std = self.inner.data_mean, self.inner.data_std

    def forward(self, x_t, t):
        alpha, sigma = (torch.as_tensor(v).expand(len(x_t))[:, None] for v in self.schedule(t))
        s2 = (sigma / alpha) ** 2
        return self.inner(x_t, t) - 0.3 * s2 / (s2 + 1) * (x_t / alpha - self.data_mean) / (1 + s2)


def test_the_elbo_of_an_imperfect_model_is_below_the_likelihood():
    law = gaussian(4)
    model, x = Shrunk(law, sf.VP()), law.sample(300, generator=seeded(0))
    lp, bound = sf.log_prob(model, x), sf.elbo(model, x, draws=64)
    gap = lp.log_prob - bound.elbo
    error = math.hypot(float(gap.std()) / math.sqrt(300), float(lp.solver.mean()))
    assert float(gap.mean()) > -3 * error
    assert float((law.log_prob(x) - lp.log_prob).mean()) > 0.005  # it is worse than the truth: Gibbs' inequality


def test_the_elbos_error_covers_its_spread_over_seeds():
    """Reported from neighbouring strata, hence from above: 1 to 1.6 times the spread over 40 seeds, and 20%."""
    law = wide_mixture(3)
    x, denoiser = law.sample(20, generator=seeded(0)), sf.ExactDenoiser(law, sf.VP())
    runs = [sf.elbo(denoiser, x, draws=32, seed=seed) for seed in range(40)]
    spread = torch.stack([r.elbo for r in runs]).var(0).mean().sqrt()
    reported = torch.stack([r.stderr for r in runs]).square().mean().sqrt()
    assert 0.8 < float(reported / spread) < 2.0


def test_an_odd_number_of_draws_is_refused():
    with pytest.raises(ValueError, match="draws must be even"):
        sf.elbo(sf.ExactDenoiser(NORMAL, sf.VP()), torch.zeros(1, 2, dtype=f64), draws=3)
