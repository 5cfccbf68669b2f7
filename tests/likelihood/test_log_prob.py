"""The probability-flow likelihood against closed-form densities."""

import math

import pytest
import torch
from likelihood_cases import MIXTURE, SCHEDULES, digits, f64, gaussian, mixture, seeded, wide_mixture

import scorefield as sf
from scorefield.conditions import Conditions
from scorefield.likelihood import Exact, Hadamard, Rademacher
from scorefield.likelihood.flow import Flow, near_tail


def off(result, truth):
    return (result.log_prob - truth).abs()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_exact_divergence_gives_the_density_and_says_how_far_it_is_off(schedule):
    """Within 1e-3 nats per dimension, and within what is reported: steps and both ends included."""
    x = MIXTURE.sample(200, generator=seeded(0))
    result = sf.log_prob(sf.ExactDenoiser(MIXTURE, schedule), x)
    error = off(result, MIXTURE.log_prob(x))
    assert float(error.max()) < 2e-3
    assert bool((error < result.solver + result.truncation).all())
    assert bool((result.probe == 0).all())
    assert int(result.evaluations.max()) == result.nfe < 100


@pytest.mark.parametrize(
    ("law", "n"), [(MIXTURE, 50), (gaussian(8), 50), (digits(100), 4)], ids=["mixture", "gaussian", "digits"]
)
def test_a_tighter_tolerance_is_met(law, n):
    """1e-5 nats per dimension, of the law: the Gaussian that `sample` starts from at t = 1 is off by 2e-5."""
    x = law.sample(n, generator=seeded(0))
    result = sf.log_prob(sf.ExactDenoiser(law, sf.VP()), x, tolerance=1e-5, end="law")
    error, d = off(result, law.log_prob(x)), x[0].numel()
    assert float(error.max()) < 1e-5 * d
    assert bool((error < result.stderr).all())


@pytest.mark.parametrize("law", [gaussian(64), wide_mixture(256)], ids=["gaussian-64", "mixture-256"])
def test_orthogonal_probes_in_full_number_are_exact_in_many_dimensions(law):
    x = law.sample(2, generator=seeded(0))
    d = x.shape[1]
    result = sf.log_prob(sf.ExactDenoiser(law, sf.VP()), x, probes=d)
    assert float(off(result, law.log_prob(x)).max()) < 1e-3 * d
    assert bool((result.probe == 0).all())  # 1 - K / n


def test_the_ends_are_not_cut_off_but_accounted_for():
    """At s_min = 0.02 and s_max = 40 the density would be off by some 4e-3 nats, were it cut off."""
    x = MIXTURE.sample(100, generator=seeded(0))
    denoiser, truth = sf.ExactDenoiser(MIXTURE, sf.EDM()), MIXTURE.log_prob(x)
    result = sf.log_prob(denoiser, x, tolerance=1e-6, s_min=0.02, s_max=40.0, end="law")
    blurred = MIXTURE.noised(1.0, 0.02 * denoiser.data_std).log_prob(x)
    assert float((blurred - truth).abs().median()) > 1e-3
    assert float(off(result, truth).median()) < 2e-4
    # three in four and a half: an error estimate from the same series' next term is no bound
    assert float((off(result, truth) < 2 * result.stderr).double().mean()) > 0.95


def test_where_the_density_is_not_smooth_nothing_is_extrapolated():
    """kappa = 1 / theta, a network's error: no correction, and the line from 4 theta as the error."""
    theta = 1e-3

    def tail(kappa):
        return near_tail([torch.full((1, 2), kappa(k * theta), dtype=f64) for k in (1, 4, 16, 64)], theta)

    rough = tail(lambda u: 1 / u)
    assert float(rough.value.abs().max()) == 0
    assert float(rough.error) == pytest.approx(1 / 32)
    assert not bool(rough.smooth)
    cubic = tail(lambda u: 3 * u + 7e4 * u**3)  # exactly of the form: int is 3 theta^2 / 2 + 7e4 theta^4 / 4
    assert float(cubic.value[0, 0]) == pytest.approx(1.5 * theta**2 + 7e4 / 4 * theta**4, rel=1e-12)
    assert float(cubic.error) < 1e-18
    fifth = tail(lambda u: 3 * u + 1e7 * u**5)  # a term more: the error covers it, 1e7 theta^6 / 6
    off = abs(float(fifth.value[0, 0]) - (1.5 * theta**2 + 1e7 / 6 * theta**6))
    assert 0 < off < float(fifth.error) < float(fifth.value[0, 0])


def test_divergence_and_score_of_the_flow_are_those_of_the_noised_density():
    """In z: the score of the mixture under noise, and the divergence by differences of f."""
    schedule, theta = sf.VP(), torch.full((5,), 0.7, dtype=f64)
    denoiser = sf.ExactDenoiser(MIXTURE, schedule)
    x0 = MIXTURE.sample(5, generator=seeded(0))
    flow = Flow(denoiser, Exact().directions(x0, 0, torch.arange(5)), Exact(), Conditions())
    z, rows, sd = flow.standardise(x0), torch.arange(5), denoiser.data_std
    t = schedule.time_of_log_snr(-math.log(sd * math.tan(0.7)))
    alpha, sigma = (float(v) for v in schedule(t))
    scale = math.hypot(alpha * sd, sigma)
    score = scale * MIXTURE.score_at(scale * z + alpha * MIXTURE.mean, alpha, sigma)
    rates, h = flow(z, theta, rows), 1e-5
    torch.testing.assert_close(rates.score(z, theta), score, rtol=0, atol=1e-10)
    steps = h * torch.eye(2, dtype=f64)
    trace = sum((flow(z + e, theta, rows).f - flow(z - e, theta, rows).f)[:, i] / (2 * h) for i, e in enumerate(steps))
    torch.testing.assert_close(rates.q[:, 0], trace, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("law", "divergence", "n"),
    [
        (gaussian(16), Rademacher(3), 1000),
        (gaussian(16), Hadamard(8), 1000),
        (mixture(16), Hadamard(8), 1000),
        (digits(400), Hadamard(32), 300),
    ],
    ids=["rademacher", "hadamard", "mixture", "digits"],
)
def test_the_interval_covers_the_truth_in_95_cases_of_100(law, divergence, n):
    """Between 93% and 97%, plus 3 standard deviations of the count: one right interval in 400 would fail."""
    x = law.sample(n, generator=seeded(3))
    result, truth = sf.log_prob(sf.ExactDenoiser(law, sf.VP()), x, divergence=divergence), law.log_prob(x)
    low, high = result.interval()
    share = float(((low <= truth) & (truth <= high)).double().mean())
    room = 3 * math.sqrt(0.95 * 0.05 / n)
    assert 0.93 - room < share < 0.97 + room
    scale = float((result.log_prob - truth).square().mean().sqrt() / result.probe.square().mean().sqrt())
    assert scale == pytest.approx(1, abs=0.15)


def test_one_probe_does_not_pretend_to_know_its_error():
    result = sf.log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), torch.zeros(3, 2, dtype=f64), probes=1)
    assert bool(result.stderr.isnan().all())
    assert bool(result.interval()[0].isnan().all())


@pytest.mark.parametrize("divergence", [Exact(), Hadamard(2), Rademacher(3)], ids=lambda d: type(d).__name__)
def test_a_samples_numbers_do_not_depend_on_the_batch_to_the_bit(divergence):
    law = wide_mixture(3)
    exact, x = sf.ExactDenoiser(law, sf.VP()), law.sample(33, generator=seeded(0))
    whole = sf.log_prob(exact, x, divergence=divergence)
    parts = sf.log_prob(exact, x, divergence=divergence, chunk=7)
    alone = sf.log_prob(exact, x[20:21], divergence=divergence, first_index=20)
    for every, in_parts, one in zip(whole[:6], parts[:6], alone[:6], strict=True):
        assert torch.equal(every, in_parts)
        assert torch.equal(every[20:21], one)


def test_latents_of_data_are_standard_normal():
    """Mean and variance of 2,000, 4.5 standard errors."""
    n = 2000
    x = MIXTURE.sample(n, generator=seeded(0))
    latent = sf.log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), x).latent
    assert float(latent.mean(0).abs().max()) < 4.5 / math.sqrt(n)
    assert float((latent.T.cov() - torch.eye(2)).abs().max()) < 4.5 * math.sqrt(2 / n)


class Labelled(sf.Denoiser):
    """A Gaussian for each label; and a factor that all samples share."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.data_std = schedule, 1.0

    def forward(self, x_t, t, *, label, scale):
        alpha, sigma = (torch.as_tensor(v).expand(len(x_t))[:, None] for v in self.schedule(t))
        mean, var = label[:, None].double(), scale**2
        return (sigma**2 * mean + alpha * var * x_t) / (alpha**2 * var + sigma**2)


def test_conditions_go_with_their_samples():
    label = torch.tensor([0, 3, -2, 1])
    x = torch.randn(4, 3, dtype=f64, generator=seeded(0))
    truth = torch.distributions.Normal(label[:, None].double(), 0.5).log_prob(x).sum(1)
    cond = {"label": label, "scale": 0.5}
    result = sf.log_prob(Labelled(sf.VE(0.01, 50.0)), x, tolerance=1e-4, cond=cond, chunk=3, end="law")
    torch.testing.assert_close(result.log_prob, truth, rtol=0, atol=3e-3)


def test_a_transform_gives_the_density_of_data_in_their_own_units():
    """y = x std + mean by columns has the density p_x(x) / prod std."""
    law = gaussian(3)
    x = law.sample(5, generator=seeded(0))
    transform = sf.data.Standardize((1.0, 2.0, 3.0), (0.5, 4.0, 0.1))
    model = sf.ExactDenoiser(law, sf.VP())
    inside = sf.log_prob(model, x)
    outside = sf.log_prob(model, transform.inverse(x), transform=transform)
    torch.testing.assert_close(outside.log_prob, inside.log_prob - math.log(0.5 * 4.0 * 0.1), rtol=0, atol=1e-9)


def test_float32_reaches_a_thousandth_of_a_nat_per_dimension():
    law = gaussian(8)
    x = law.sample(20, generator=seeded(0))
    result = sf.log_prob(sf.ExactDenoiser(law.to(torch.float32), sf.EDM()), x.float())
    assert result.latent.dtype == torch.float32
    assert float(off(result, law.log_prob(x)).max()) < 8e-3


def test_no_samples_give_no_numbers():
    result = sf.log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), torch.zeros(0, 2, dtype=f64))
    assert result.log_prob.shape == (0,)
    assert result.latent.shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "options", "line"),
    [
        (torch.full((1, 2), math.nan), {}, "x must be finite"),
        (torch.zeros(1, 2, dtype=torch.int64), {}, "x must be floating point"),
        (torch.zeros(1, 2), {"probes": 0}, "probes must be at least 1, or None"),
        (torch.zeros(1, 2), {"probes": 3}, "probes must be at most 2 in 2 dimensions"),
        (torch.zeros(1, 2), {"probes": 1, "divergence": Exact()}, "either probes or divergence"),
        (torch.zeros(1, 2), {"tolerance": 0.0}, "tolerance must be positive"),
        (torch.zeros(1, 2), {"s_min": 1.0, "s_max": 2.0}, "s_max must exceed 8 s_min"),
        (torch.zeros(1, 2), {"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_input_gets_one_clear_line(x, options, line):
    with pytest.raises(ValueError, match=line):
        sf.log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), x, **options)


def test_a_level_outside_0_to_1_is_refused():
    result = sf.log_prob(sf.ExactDenoiser(MIXTURE, sf.VP()), torch.zeros(1, 2, dtype=f64))
    with pytest.raises(ValueError, match="level must lie in"):
        result.interval(95)
