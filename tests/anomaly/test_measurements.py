"""Measurements on Gaussian data, against their closed forms and laws."""

import math
import zlib

import numpy as np
import pytest
import torch
from anomaly_cases import LAW, SCHEDULES, C, D, M, f64, isotropic, seeded
from scipy import stats

import scorefield as sf
from scorefield import anomaly, data

EXACT = sf.ExactDenoiser(LAW, sf.VP())
ALL = {
    "likelihood": anomaly.NegativeLogLikelihood(),
    "elbo": anomaly.NegativeElbo(draws=4),
    "score norms": anomaly.ScoreNorms(levels=3),
    "denoising errors": anomaly.DenoisingErrors(levels=2),
    "ratio": anomaly.Difference(anomaly.NegativeLogLikelihood(), anomaly.Density(isotropic(D))),
    "other model": anomaly.Under(sf.ExactDenoiser(isotropic(D), sf.VE())),
}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_likelihood_of_a_gaussian_is_a_chi_square(schedule):
    """2 (d f - log Z) ~ chi^2_d, and f itself is exact to the tolerance."""
    x = LAW.sample(300, generator=seeded(0))
    f = anomaly.NegativeLogLikelihood(probes=None, tolerance=1e-3)(sf.ExactDenoiser(LAW, schedule), x)
    assert f.shape == (300, 1)
    assert float((f[:, 0] + LAW.log_prob(x) / D).abs().max()) < 1e-3
    chi2 = 2 * (D * f[:, 0] - D / 2 * math.log(2 * math.pi * C))
    assert stats.kstest(chi2.numpy(), stats.chi2(D).cdf).pvalue > 0.01  # a fixed seed: no luck involved


def test_few_probes_scatter_about_it_and_the_bound_lies_above():
    """One probe is exact where the Jacobian is a multiple of the identity."""
    x = LAW.sample(200, generator=seeded(0))
    truth = -LAW.log_prob(x) / D
    assert float((anomaly.NegativeLogLikelihood()(EXACT, x)[:, 0] - truth).abs().max()) < 1e-2
    over = anomaly.NegativeElbo(draws=32)(EXACT, x)[:, 0] - truth
    # for an exact denoiser the bound is tight on average; in so few dimensions 32 draws scatter
    assert float(over.mean()) == pytest.approx(0, abs=4 * float(over.std()) / math.sqrt(200))
    assert float(over.std()) < 0.7


def test_a_transform_adds_its_jacobian():
    """y = 4 x: the density of y is that of x less log 4, for all three kinds of density."""
    scale = data.Scale(0.25)
    x = LAW.sample(20, generator=seeded(0))
    for measurement in (anomaly.NegativeLogLikelihood(), anomaly.NegativeElbo(), anomaly.Density(LAW)):
        bare = measurement(EXACT, x)
        torch.testing.assert_close(measurement(EXACT, 4 * x, transform=scale), bare + math.log(4), atol=1e-9, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_score_norms_are_exact_and_their_squares_chi_square(schedule):
    """|s score| / sqrt(d) = s |x - m| / ((c + s^2) sqrt(d))."""
    measurement = anomaly.ScoreNorms(levels=4, s_min=0.05, s_max=5.0)
    denoiser = sf.ExactDenoiser(LAW, schedule)
    x = LAW.sample(400, generator=seeded(1))
    f = measurement(denoiser, x)
    s = math.sqrt(C) * torch.logspace(math.log10(0.05), math.log10(5.0), 4, dtype=f64)
    exact = (x - M).norm(dim=1)[:, None] * s / (C + s**2) / math.sqrt(D)
    torch.testing.assert_close(f, exact, atol=1e-9, rtol=1e-7)
    for i in range(4):
        law = stats.chi2(D, scale=float(s[i] ** 2 * C / (C + s[i] ** 2) ** 2))
        assert stats.kstest(D * f[:, i].square().numpy(), law.cdf).pvalue > 0.01


def test_denoising_errors_are_the_posterior_variance():
    """On the data's law; elsewhere, v the mean square of x - m: (s^4 v + c^2 s^2) / (c + s^2)^2."""
    measurement = anomaly.DenoisingErrors(levels=3, s_min=0.2, s_max=3.0, draws=2)
    x = LAW.sample(4000, generator=seeded(2))
    s2 = C * torch.logspace(math.log10(0.2), math.log10(3.0), 3, dtype=f64) ** 2
    f = measurement(EXACT, x)
    exact, error = s2 * C / (C + s2), f.std(0) / math.sqrt(4000)
    assert bool(((f.mean(0) - exact).abs() < 4 * error).all())
    assert bool((error < 0.01 * exact).all())
    far = torch.full((2000, D), M + 3.0, dtype=f64)
    f = measurement(EXACT, far)
    exact = (s2**2 * 9 + C**2 * s2) / (C + s2) ** 2
    assert bool(((f.mean(0) - exact).abs() < 4 * f.std(0) / math.sqrt(2000)).all())


def test_a_ratio_of_gaussians_is_their_log_likelihood_ratio():
    """Which is the best there is (Neyman and Pearson): unit normals d apart have AUROC Phi(d / sqrt 2)."""
    near, far = isotropic(8), sf.Gaussian(torch.full((8,), 0.5, dtype=f64), torch.ones(8, dtype=f64))
    denoiser, background = (sf.ExactDenoiser(law, sf.VP()) for law in (near, far))
    x, y = (law.sample(2000, generator=seeded(s)) for s, law in enumerate((near, far)))
    ratio = anomaly.likelihood_ratio(background)
    exact = (far.log_prob(x) - near.log_prob(x)) / 8
    torch.testing.assert_close(ratio(denoiser, x), exact, atol=2e-2, rtol=0)
    torch.testing.assert_close(anomaly.likelihood_ratio(far)(denoiser, x), exact, atol=1e-2, rtol=0)
    area = sf.metrics.auroc(ratio(denoiser, x), ratio(denoiser, y))
    assert area.value == pytest.approx(stats.norm.cdf(0.5 * math.sqrt(8) / math.sqrt(2)), abs=0.02)  # 4 standard errors


def test_code_lengths_are_those_of_the_files():
    levels = data.Scale(2 / 256, -1, levels=256)
    noise = torch.randint(0, 256, (1, 1, 28, 28), dtype=torch.uint8, generator=seeded(0))
    x = torch.cat([torch.full_like(noise, 7), noise])
    zipped = anomaly.CodeLength("zlib")(EXACT, x, transform=levels)[:, 0]
    bits = 8 * torch.tensor([len(zlib.compress(image.numpy().tobytes(), 9)) for image in x])
    torch.testing.assert_close(zipped, bits.double() * math.log(2) / 784)
    png = anomaly.CodeLength()(EXACT, x, transform=levels)[:, 0]
    assert float(png[0]) < 0.2 * math.log(256) < math.log(256) < float(png[1])  # uniform bytes can't be compressed
    # a model that knows nothing, the uniform density on [0, 256): its code length is log 256
    flat = anomaly.Density(sf.Gaussian(torch.zeros(784), torch.full((784,), 1e8)))(EXACT, x, transform=levels)
    assert float(flat[0]) == pytest.approx(math.log(256 / 2) + math.log(2 * math.pi * 1e8) / 2, rel=1e-6)


def test_integers_are_dequantised_as_for_bits_per_dimension():
    law = sf.Gaussian(torch.zeros(4), torch.full((4,), 0.3))
    levels = data.Scale(2 / 17, -1, levels=17)
    x = torch.randint(0, 17, (6, 4), generator=seeded(0))
    denoiser = sf.ExactDenoiser(law, sf.VP())
    bits = sf.bits_per_dim(denoiser, x, levels, seed=5, first_index=3, tolerance=1e-2, probes=1).bits
    ours = anomaly.NegativeLogLikelihood()(denoiser, x, transform=levels, seed=5, first_index=3)[:, 0]
    torch.testing.assert_close(ours, bits.double() * math.log(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_nobody_s_number_depends_on_the_batch(name):
    """To the bit: all at once, in chunks, alone."""
    measurement, x = ALL[name], LAW.sample(7, generator=seeded(3))
    together = measurement(EXACT, x, seed=1)
    assert together.dtype == f64
    assert together.shape == (7, measurement.size)
    assert torch.equal(measurement(EXACT, x, seed=1, chunk=3), together)
    assert torch.equal(measurement(EXACT, x[5:6], seed=1, first_index=5), together[5:6])
    assert measurement(EXACT, x[:0]).shape == (0, measurement.size)


def test_conditions_travel_with_their_data():
    class Shifted(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t, *, by):
            return EXACT(x_t - by[:, None] * self.schedule.alpha(torch.as_tensor(t)), t) + by[:, None]

    x, by = LAW.sample(5, generator=seeded(0)), torch.arange(5.0, dtype=f64)
    f = anomaly.ScoreNorms(levels=2)(Shifted(), x + by[:, None], cond={"by": by}, chunk=2)
    sd = EXACT.data_std  # Shifted's is 1
    plain = anomaly.ScoreNorms(levels=2, s_min=0.02 / sd, s_max=20 / sd)(EXACT, x)
    torch.testing.assert_close(f, plain, atol=1e-6, rtol=1e-6)


LEVELS = data.Scale(2 / 17, -1, levels=17)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda x: anomaly.ScoreNorms()(EXACT, x * math.nan), "x must be finite"),
        (lambda x: anomaly.ScoreNorms()(EXACT, x.long()), "x must be floating point without a transform"),
        (lambda x: anomaly.ScoreNorms()(EXACT, x + 0.5, transform=LEVELS), r"x must be integers in 0\.\.16"),
        (lambda x: anomaly.ScoreNorms()(EXACT, x, chunk=0), "chunk must be at least 1; got 0"),
        (lambda x: anomaly.ScoreNorms(levels=0), "levels must be at least 1; got 0"),
        (lambda x: anomaly.ScoreNorms(s_min=3, s_max=1), "s_min the smaller; got 3 and 1"),
        (lambda x: anomaly.DenoisingErrors(draws=0), "draws must be at least 1; got 0"),
        (lambda x: anomaly.CodeLength()(EXACT, x), "a code length is of integers"),
        (lambda x: anomaly.CodeLength("gzip"), "coder must be 'png' or 'zlib'; got 'gzip'"),  # type: ignore[arg-type]
        (lambda x: anomaly.CodeLength()(EXACT, x * 0, transform=LEVELS), "PNG is for events"),
        (lambda x: anomaly.Difference(anomaly.ScoreNorms(), anomaly.CodeLength()), "must measure as many numbers"),
        (
            lambda x: anomaly.NegativeElbo()(EXACT, x * 0, transform=data.Scale(1.0, levels=9, noise=False)),
            "this one saw the bare integers",
        ),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call(torch.from_numpy(np.linspace(-1, 1, 2 * D).reshape(2, D)))
