"""What guidance samples, what it was meant to sample, and the particles that do.

Targets are one-dimensional: prod_i p_i^w_i is normalised by quadrature.
"""

import math

import pytest
import torch
from guidance_cases import Counting, f64, network

import scorefield as sf
from scorefield import grids
from scorefield.guidance import ProductOfExperts, Projected, feynman_kac

GRID = torch.linspace(-6, 6, 6001, dtype=f64)[:, None]


def gaussians(v1=0.25, v2=1.0, schedule=None):
    laws = [sf.Gaussian(torch.tensor([m], dtype=f64), torch.tensor([v], dtype=f64)) for m, v in ((1, v1), (0, v2))]
    return [sf.ExactDenoiser(law, schedule or sf.VP()) for law in laws]


def mixtures(schedule=None):
    def law(weights, means, stds):
        w, m, s = (torch.tensor(v, dtype=f64) for v in (weights, means, stds))
        return sf.ExactDenoiser(sf.GaussianMixture(w, m[:, None], s[:, None] ** 2), schedule or sf.VP())

    return [law([0.5, 0.5], [-0.4, 1.0], [0.3, 0.2]), law([0.4, 0.4, 0.2], [-1.2, 0.6, 1.4], [0.5, 0.5, 0.3])]


def target(experts, weights):
    """(density on GRID, mean, std, log Z) of prod_i p_i^w_i."""
    terms = [w * e.distribution.log_prob(GRID) for w, e in zip(weights, experts, strict=True)]
    log_q = torch.stack(terms).sum(0)
    z = torch.trapezoid(log_q.exp(), GRID[:, 0])
    q, x = log_q.exp() / z, GRID[:, 0]
    mean = torch.trapezoid(q * x, x)
    std = torch.trapezoid(q * (x - mean) ** 2, x).sqrt()
    return q, float(mean), float(std), float(z.log())


class Broken(sf.Denoiser):
    schedule = sf.VP()

    def forward(self, x_t, t):
        return x_t * math.nan


def total_variation(x, q):
    """Between a histogram of x in 24 bins and the density q, over all bins."""
    edges = torch.linspace(-6, 6, 49, dtype=f64)
    seen = torch.histogram(x.cpu(), edges).hist / len(x)
    steps = (len(GRID) - 1) // 48
    cdf = torch.cat([torch.zeros(1, dtype=f64), torch.cumulative_trapezoid(q, GRID[:, 0])])[::steps]
    return float((seen - cdf.diff()).abs().sum() / 2)


@pytest.mark.parametrize("t", [0.1, 0.4, 0.7])
def test_the_guided_score_is_that_of_the_product_of_the_noised_not_of_the_noised_product(t):
    (c, u), w = gaussians(), 3.0
    a, s = (float(v) for v in c.schedule(t))
    x = torch.linspace(-2, 2, 5, dtype=f64)[:, None]
    guided = sf.score(ProductOfExperts([c, u], [w, 1 - w]), x, t)
    v1, v2 = a**2 * 0.25 + s**2, a**2 * 1.0 + s**2
    torch.testing.assert_close(guided, -w * (x - a) / v1 - (1 - w) * x / v2)
    precision = w / 0.25 + (1 - w) / 1.0
    mean, variance = w / 0.25 / precision, 1 / precision
    noised_product = -(x - a * mean) / (a**2 * variance + s**2)
    assert float((guided - noised_product).abs().max()) > 0.1
    # of equal covariances they are the same, and guidance is exact
    c, u = gaussians(1.0, 1.0)
    guided = sf.score(ProductOfExperts([c, u], [w, 1 - w]), x, t)
    torch.testing.assert_close(guided, -(x - a * w) / (a**2 + s**2))


def test_the_guided_flow_does_not_sample_the_product_and_does_for_equal_covariances():
    w, z = 3.0, torch.linspace(-2, 2, 9, dtype=f64)[:, None]

    def std_and_mean(experts):
        model = ProductOfExperts(experts, [w, 1 - w])
        times = grids.uniform_log_snr(model.schedule, 200, s_max=500.0, s_min=1e-4)
        sigma = model.schedule.sigma(times[0])
        x = sf.sample(model, sigma * z, solver=sf.Heun(), times=times).x  # affine in z: its slope is the std
        return float((x[-1] - x[0]) / 4), float(x[4])

    _, _, std, _ = target(gaussians(), [w, 1 - w])
    ours = std_and_mean(gaussians())
    assert ours[0] < 0.5 * std  # dx/ds^2 = S / 2 in closed form: std^2 = v1^w v2^(1-w) = 0.25^3, not 1 / 10
    assert ours[0] == pytest.approx(0.25**1.5, rel=0.01)
    # N(w, 1); the flow starts at s_max = 500 with the mean 0 of one expert, which the mean of w forgets slowly
    assert std_and_mean(gaussians(1.0, 1.0)) == pytest.approx((1.0, w), abs=0.03)


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (gaussians, (3.0, -2.0)),
        (mixtures, (2.0, -1.0)),
        (mixtures, (0.5, 0.5)),
        (mixtures, (1.0, 1.0)),
        (mixtures, (2.0, 0.0)),
    ],
    ids=["gaussians, w = 3", "mixtures, w = 2", "a geometric mean", "a product", "a power"],
)
def test_particles_sample_the_product_itself(make, weights):
    experts = make()
    model = ProductOfExperts(experts, weights)
    q, mean, std, log_z = target(experts, weights)
    groups = 32
    run = feynman_kac(model, (groups, 1), particles_each=256, steps=120, dtype=f64, seed=2)
    x = run.x[:, :, 0]
    # 4 standard errors, from the independent groups, and 2% of the std for 120 steps
    error = float(x.mean(1).std()) / math.sqrt(groups)
    assert float(x.mean()) == pytest.approx(mean, abs=4 * error + 0.02 * std)
    spread = (x - mean).square().mean(1)
    error = float(spread.std()) / math.sqrt(groups)
    assert float(spread.mean()) == pytest.approx(std**2, abs=4 * error + 0.04 * std**2)
    # the mean of Z's estimates is unbiased, that of their logs is not
    z = (run.log_normalizer - log_z).exp()
    assert float(z.mean()) == pytest.approx(1, abs=4 * float(z.std()) / math.sqrt(groups) + 0.15)
    assert total_variation(x.flatten(), q) < 0.06
    drawn = sf.sample(model, (4000, 1), nfe=60, dtype=f64)
    if sum(weights) != 1 or make is gaussians:
        assert total_variation(drawn.x.flatten(), q) > 0.2  # what the guided flow makes of it


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_a_run_of_no_length_has_the_normaliser_of_its_own_level(t):
    """log int p_t^3 dy of a Gaussian in y = x / alpha, where the particles start: by quadrature."""
    law = sf.Gaussian(torch.tensor([1.0], dtype=f64), torch.tensor([0.25], dtype=f64))
    expert = sf.ExactDenoiser(law, sf.VP())
    times = torch.tensor([t, t - 1e-12], dtype=f64)
    run = feynman_kac(ProductOfExperts([expert], [3.0]), (2, 1), particles_each=3, times=times, dtype=f64)
    alpha, sigma = sf.VP()(times[0])
    y = torch.linspace(-1000, 1000, 2_000_001, dtype=f64)[:, None]
    log_p = law.noised(1.0, float(sigma / alpha)).log_prob(y)
    exact = torch.log(torch.trapezoid(torch.exp(3 * log_p), y[:, 0]))
    torch.testing.assert_close(run.log_normalizer, exact.expand(2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("end", [0.5e-3, 0.0])
def test_below_the_last_level_the_weights_are_the_rest_of_the_integral(end):
    """One step, from s = 0.001 to half of it and to the data: x stands still, so the integral is of one variable."""
    experts, (w, u) = gaussians(schedule=sf.EDM(sigma_max=1.0)), (2.0, -1.0)
    times = torch.tensor([1e-3, end], dtype=f64)  # t is sigma here
    run = feynman_kac(
        ProductOfExperts(experts, [w, u]),
        (1, 1),
        particles_each=64,
        times=times,
        solver=sf.DDIM(),
        threshold=0.0,
        resample_last=False,
        dtype=f64,
    )
    y = run.x[0, :, 0]

    def rest(snr):  # an antiderivative of w (w - 1) / 2 |D_1 - D_2|^2, where D_i - y = (m_i - y) / (1 + v_i SNR)
        snr = torch.as_tensor(snr, dtype=f64)
        (m1, v1), (m2, v2) = (1, 0.25), (0, 1.0)
        a, b = (m1 - y) / v1, (m2 - y) / v2  # at large SNR the difference is (a - b) / SNR
        return -w * (w - 1) / 2 * (a - b) ** 2 / snr

    expected = (rest(1 / end**2) if end else 0.0) - rest(1e6)
    assert float(expected.std()) > 1e-6
    torch.testing.assert_close(run.log_weights[0], expected, rtol=1e-4, atol=1e-9)


def test_resampling_at_every_step_leaves_the_law_as_it_is():
    """A particle moves with its own prediction, and its own weight."""
    experts = gaussians()
    model = ProductOfExperts(experts, [2.0, -1.0])
    _, mean, std, _ = target(experts, [2.0, -1.0])
    run = feynman_kac(model, (16, 1), particles_each=256, steps=80, threshold=1.0, dtype=f64, seed=4)
    x = run.x[:, :, 0]
    for ours, exact, scale in ((x.mean(1), mean, std), ((x - mean).square().mean(1), std**2, 2 * std**2)):
        error = float(ours.std()) / 4
        assert float(ours.mean()) == pytest.approx(exact, abs=4 * error + 0.02 * scale)


def test_weights_that_are_kept_say_the_same_as_resampling():
    experts = mixtures()
    model = ProductOfExperts(experts, [2.0, -1.0])
    _, mean, std, _ = target(experts, [2.0, -1.0])
    run = feynman_kac(model, (16, 1), particles_each=512, threshold=0.0, resample_last=False, dtype=f64)
    w = torch.softmax(run.log_weights, 1)
    estimates = (w * run.x[:, :, 0]).sum(1)
    error = float(estimates.std()) / 4
    assert float(estimates.mean()) == pytest.approx(mean, abs=4 * error + 0.02 * std)
    assert float(w.max()) > 2 / 512
    assert abs(float(run.x.mean()) - mean) > 0.1  # without their weights the particles are the reverse SDE's


def test_one_expert_of_weight_one_is_plain_ancestral_sampling_with_equal_weights():
    expert = mixtures()[0]
    times = grids.uniform_log_snr(expert.schedule, 20)
    run = feynman_kac(
        ProductOfExperts([expert], [1.0]), (5, 1), particles_each=4, times=times, solver=sf.DDPM(), dtype=f64
    )
    plain = sf.sample(expert, (20, 1), solver=sf.DDPM(), times=times, dtype=f64).x
    assert torch.equal(run.x.reshape(20, 1), plain)
    assert torch.equal(run.log_normalizer, torch.zeros(5, dtype=f64))
    assert torch.equal(run.effective_size, torch.full((5,), 4.0, dtype=f64))


def test_the_schedule_drops_out():
    runs = []
    for schedule in (sf.VP(), sf.EDM()):
        model = ProductOfExperts(mixtures(schedule), [2.0, -1.0])
        times = grids.uniform_log_snr(schedule, 30, s_max=40.0, s_min=0.01)
        runs.append(feynman_kac(model, (3, 1), particles_each=32, times=times, dtype=f64))
    torch.testing.assert_close(runs[0].x, runs[1].x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(runs[0].log_normalizer, runs[1].log_normalizer, rtol=1e-6, atol=1e-6)


def test_no_group_depends_on_another_to_the_bit():
    model = ProductOfExperts(mixtures(), [3.0, -2.0])
    whole = feynman_kac(model, (6, 1), particles_each=16, steps=20, dtype=f64, seed=3)
    alone = feynman_kac(model, (1, 1), particles_each=16, steps=20, dtype=f64, seed=3, first_index=4)
    for name in ("x", "log_weights", "log_normalizer", "effective_size"):
        assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[4]), name
    assert float(whole.effective_size.min()) < 8  # they were resampled on the way
    assert feynman_kac(model, (0, 1), particles_each=16, steps=4, dtype=f64).x.shape == (0, 16, 1)


def test_guided_networks_and_conditions_of_each_group():
    model = network()
    seen = Counting(model.net)
    guided = sf.ClassifierFreeGuidance(model, 2.0)
    run = feynman_kac(guided, (3, 2), particles_each=8, steps=10, cond={"label": torch.tensor([0, 1, 2])})
    assert run.x.shape == (3, 8, 2)
    assert seen.rows == [48] * run.nfe
    for i in range(3):
        one = feynman_kac(guided, (1, 2), particles_each=8, steps=10, cond={"label": torch.tensor([i])}, first_index=i)
        torch.testing.assert_close(one.x[0], run.x[i])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda c, u: feynman_kac(sf.Autoguidance(c, u, 2.0, rule=Projected()), (1, 1)),
            "constant weight and no other",
        ),
        (lambda c, u: feynman_kac(sf.Autoguidance(c, u, lambda s: s), (1, 1)), "constant weight and no other"),
        (lambda c, u: feynman_kac(ProductOfExperts([c, u], [1, 1]), (1, 1), particles_each=0), "at least 1"),
        (lambda c, u: feynman_kac(ProductOfExperts([c, Broken()], [2, -1]), (1, 1), steps=5), "not finite at t = 0."),
        (
            lambda c, u: feynman_kac(
                ProductOfExperts(gaussians(schedule=sf.Rectified()), [2, -1]),
                (1, 1),
                times=torch.tensor([1.0, 0.5, 0.1]),
            ),
            "times must start below t = 1",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call(*gaussians())
