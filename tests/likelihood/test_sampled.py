"""Samples with their log p: against log_prob of them, the exact law, and the samples of the same seed."""

import math

import pytest
import torch
from likelihood_cases import MIXTURE, SCHEDULES, f64, gaussian, seeded

import scorefield as sf
from scorefield import data
from scorefield.likelihood import Hadamard

LAWS = pytest.mark.parametrize("law", [MIXTURE, gaussian(8)], ids=["mixture", "gaussian-8"])


@LAWS
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_log_p_of_a_sample_is_log_prob_of_it_and_that_of_the_law(schedule, law):
    exact = sf.ExactDenoiser(law, schedule)
    shape = (200, *law.event_shape)
    x, density = made = sf.sample_log_prob(exact, shape, dtype=f64)
    again = sf.log_prob(exact, x)
    apart = (density.log_prob - again.log_prob).abs()
    assert torch.equal(made.log_prob, density.log_prob)
    # both are within what they report, which is well below a thousandth for each dimension
    assert bool((apart <= density.solver + density.truncation + again.solver + again.truncation).all())
    truth = law.log_prob(x)
    assert bool(((density.log_prob - truth).abs() <= density.solver + density.truncation + density.end).all())
    assert float((density.latent - again.latent).abs().max()) < 2e-3
    # from the noise that `sample` starts from, to where it ends, but for noise of 0.002 of a standard deviation
    theirs = sf.sample(exact, shape, dtype=f64, nfe=60).x
    assert float((x - theirs).abs().max()) < 0.004 * exact.data_std
    assert density.nfe < 90
    assert not density.log_prob.requires_grad


def test_the_mean_of_minus_log_p_is_the_entropy():
    """4,000 samples, within 4 standard errors; the entropy of N(m, C) in closed form."""
    law = gaussian(3)
    exact = sf.ExactDenoiser(law, sf.VP())
    made = sf.sample_log_prob(exact, (4000, 3), tolerance=1e-2, dtype=f64)
    entropy = 1.5 * (1 + math.log(2 * math.pi)) + float(torch.linalg.slogdet(law.covariance).logabsdet) / 2
    assert -float(made.log_prob.mean()) == pytest.approx(entropy, abs=4 * (1.5 / 4000) ** 0.5)


def test_thin_data_are_followed_to_where_they_are_smooth():
    """Variances of 1 and 1e-6: the noise of the default end, 0.002, is twice the thin direction's own spread."""
    law = sf.Gaussian(torch.zeros(2, dtype=f64), torch.tensor([1.0, 1e-6], dtype=f64))
    made = sf.sample_log_prob(sf.ExactDenoiser(law, sf.VP()), (100, 2), dtype=f64)
    error = (made.log_prob - law.log_prob(made.x)).abs()
    assert bool((error <= made.density.solver + made.density.truncation + made.density.end).all())
    assert float(error.max()) < 4e-3
    assert float(made.x[:, 1].std()) == pytest.approx(1e-3, rel=0.3)


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("divergence", [None, Hadamard(2)], ids=["exact", "probes"])
def test_a_sample_is_the_same_alone_and_in_chunks(dtype, divergence):
    exact = sf.ExactDenoiser(MIXTURE, sf.Rectified())
    options = {"dtype": dtype, "divergence": divergence, "seed": 5, "tolerance": 1e-2}
    x, density = sf.sample_log_prob(exact, (40, 2), **options)
    assert x.dtype == dtype
    for alone, rows in (
        (sf.sample_log_prob(exact, (40, 2), chunk=7, **options), slice(None)),
        (sf.sample_log_prob(exact, (3, 2), first_index=20, **options), slice(20, 23)),
    ):
        assert torch.equal(alone.x, x[rows])
        assert torch.equal(alone.log_prob, density.log_prob[rows])
        assert torch.equal(alone.density.evaluations, density.evaluations[rows])


def test_probes_are_off_by_what_they_say():
    law = gaussian(16)
    made = sf.sample_log_prob(sf.ExactDenoiser(law, sf.VP()), (200, 16), probes=4, dtype=f64)
    low, high = made.density.interval(0.95)
    inside = ((low <= law.log_prob(made.x)) & (law.log_prob(made.x) <= high)).double().mean()
    assert float(inside) > 0.9


def test_a_transform_gives_data_in_their_own_units_and_their_density():
    scale = data.Scale(2.0, 1.0)
    exact = sf.ExactDenoiser(MIXTURE, sf.VP())
    raw = sf.sample_log_prob(exact, (20, 2), transform=scale, dtype=f64)
    plain = sf.sample_log_prob(exact, (20, 2), dtype=f64)
    assert torch.equal(raw.x, scale.inverse(plain.x))
    torch.testing.assert_close(raw.log_prob, sf.log_prob(exact, raw.x, transform=scale).log_prob, rtol=0, atol=4e-3)


def test_conditions_go_with_their_samples_and_a_bad_one_costs_the_others_nothing():
    class Told(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t, *, mean):
            alpha, sigma = (torch.as_tensor(v).reshape(-1, 1).to(x_t) for v in self.schedule(t))
            m = mean[:, None]
            return m + alpha / (alpha**2 + sigma**2) * (x_t - alpha * m)

    mean = torch.tensor([0.0, 1.0, math.nan, -2.0], dtype=f64)
    with pytest.warns(UserWarning, match="sample_log_prob: 1 of 4 samples are NaN") as said:
        made = sf.sample_log_prob(Told(), (4, 3), cond={"mean": mean}, dtype=f64, end="law")
    assert said[0].filename == __file__
    assert made.log_prob.isnan().tolist() == made.x.isnan().all(1).tolist() == [False, False, True, False]
    fine = sf.sample_log_prob(Told(), (4, 3), cond={"mean": mean.nan_to_num(5.0)}, dtype=f64, end="law")
    keep = ~made.log_prob.isnan()
    assert torch.equal(made.x[keep], fine.x[keep])
    assert torch.equal(made.log_prob[keep], fine.log_prob[keep])
    expected = torch.distributions.Normal(mean[keep, None], 1.0).log_prob(made.x[keep]).sum(1)
    torch.testing.assert_close(made.log_prob[keep], expected, rtol=0, atol=6e-3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"end": "none"}, "end must be one of model, law"),
        ({"probes": 2, "divergence": Hadamard(2)}, "either probes or divergence"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"cond": {"label": torch.zeros(3)}}, "label"),
        ({"shape": (2.5, 2)}, r"start must be a shape"),
        ({"shape": torch.randn(3, 2, generator=seeded(0))}, "the log p of given data is log_prob's"),
    ],
)
def test_bad_input_gets_one_clear_line(options, line):
    shape = options.pop("shape", (2, 2))
    with pytest.raises(ValueError, match=line) as error:
        sf.sample_log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), shape, **options)
    assert "\n" not in str(error.value)


def test_no_samples_give_no_numbers():
    made = sf.sample_log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), (0, 2))
    assert made.x.shape == (0, 2)
    assert made.log_prob.shape == (0,)
