"""Weights against the errors they stand for, and the learned one against the best constant of each level."""

import pytest
import torch

import scorefield as sf
from scorefield import losses
from scorefield.losses import weights

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(), sf.Rectified(), sf.Discrete.linear()]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
T = torch.linspace(0.05, 0.95, 10, dtype=f64)


@schedules
@pytest.mark.parametrize(
    ("row", "weight"),
    [
        (sf.X0(), weights.x0),
        (sf.Eps(), weights.eps),
        (sf.Eps(), weights.ncsn),
        (sf.Score(), weights.score),
        (sf.V(), weights.v),
        (sf.Velocity(), weights.velocity),
    ],
    ids=["x0", "eps", "ncsn", "score", "v", "velocity"],
)
def test_the_named_weight_is_that_of_the_targets_own_error(schedule, row, weight):
    """w ||D - x0||^2 = ||output - target||^2: sigma^2 x the score's for NCSN."""
    expected = weights.Target(row)(schedule, T)
    torch.testing.assert_close(weight(schedule, T), expected, rtol=1e-9, atol=0)
    x0, d = torch.randn(10, 3, dtype=f64), torch.randn(10, 3, dtype=f64)
    x_t = schedule.perturb(x0, T, torch.randn(10, 3, dtype=f64))
    ours, truth = (sf.convert(sf.V(), row, schedule, x_t, _v(schedule, x_t, x, T), T) for x in (d, x0))
    torch.testing.assert_close((ours - truth).square().sum(1), expected * (d - x0).square().sum(1), rtol=1e-6, atol=0)


def _v(schedule, x_t, x0, t):
    alpha, sigma = (c[:, None] for c in schedule(t))
    return alpha * (x_t - alpha * x0) / sigma - sigma * x0


@schedules
def test_min_snr_is_one_weight_whatever_the_network_predicts(schedule):
    """Hang et al. 2023: min(SNR, gamma) / SNR on eps and, for VP, min(SNR, gamma) / (SNR + 1) on v."""
    snr, gamma = weights.snr(schedule, T), 5.0
    one = weights.MinSNR(gamma)(schedule, T)
    torch.testing.assert_close(snr.clamp(max=gamma) / snr * weights.eps(schedule, T), one)
    alpha, sigma = schedule(T)
    if bool((alpha**2 + sigma**2 - 1).abs().max() < 1e-9):
        torch.testing.assert_close(snr.clamp(max=gamma) / (snr + 1) * weights.v(schedule, T), one)
    soft = weights.SoftMinSNR(gamma)(schedule, T)
    assert bool(((soft >= one / 2) & (soft <= one)).all())  # a harmonic sum lies within a factor 2 of the minimum


@schedules
def test_p2_divides_ddpms_weight(schedule):
    snr = weights.snr(schedule, T)
    torch.testing.assert_close(weights.P2(gamma=0.5, k=2.0)(schedule, T) * (2 + snr) ** 0.5, snr)
    torch.testing.assert_close(weights.P2(gamma=0.0)(schedule, T), weights.eps(schedule, T))


def test_the_learned_weight_becomes_the_log_of_each_levels_loss():
    """On a Gaussian u(t) = log(weight x posterior variance), and there the loss is 1 + u on average."""
    schedule, std = sf.VP(), 0.5
    data = sf.Gaussian(torch.zeros(3, dtype=f64), torch.full((3,), std**2, dtype=f64))
    exact = sf.ExactDenoiser(data, schedule)
    learned = losses.Uncertainty().double()
    times = losses.Stratified(losses.LogNormal(schedule, 0.0, 1.0))
    x0 = data.sample(20_000, generator=torch.Generator().manual_seed(0))

    def loss():
        return learned(exact, x0, weight=weights.eps, times=times, generator=torch.Generator().manual_seed(1))

    plain = losses.denoising(exact, x0, weight=weights.eps, times=times, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss().detach(), plain)  # u starts at 0
    optimizer = torch.optim.LBFGS(learned.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss().mean()
        value.backward()
        return value

    optimizer.step(closure)
    t = times.quantile(torch.linspace(0.05, 0.95, 19, dtype=f64))
    alpha, sigma = schedule(t)
    expected = torch.log(weights.eps(schedule, t) * std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2))
    # 33 coefficients fitted to 20,000 losses, each of relative spread sqrt(2 / 3): rms 0.03
    assert float((learned.u(schedule, t).detach() - expected).abs().max()) < 0.1
    u = learned.u(schedule, times.sample(20_000, torch.Generator().manual_seed(1))).detach()
    assert float(loss().mean().detach()) == pytest.approx(1 + float(u.mean()), abs=1e-4)
    assert float(loss().mean().detach()) < float(plain.mean()) - 0.1


@pytest.mark.parametrize("schedule", [sf.Rectified(), sf.Cosine(0.0)], ids=lambda s: type(s).__name__)
def test_weights_take_their_limits_where_alpha_or_sigma_is_zero(schedule):
    """Approached linearly from 1e-9 away, so 1e-6 is a thousand times the distance."""
    start, end = torch.tensor(0.0, dtype=f64), torch.tensor(1.0, dtype=f64)
    at_end = [weights.velocity, weights.likelihood, weights.v, weights.eps, weights.P2(), weights.P2(2.0, 0.5)]
    for weight in (*at_end, weights.MinSNR(), weights.SoftMinSNR()):
        torch.testing.assert_close(weight(schedule, end), weight(schedule, end - 1e-9), rtol=0, atol=1e-6)
    for weight, limit in ((weights.P2(), 1.0), (weights.P2(2.0, 0.5), 0.0), (weights.MinSNR(5.0), 5.0)):
        assert float(weight(schedule, start)) == limit


@schedules
def test_weights_can_be_differentiated_in_time(schedule):
    for weight in (weights.velocity, weights.likelihood):
        at = T if not isinstance(schedule, sf.Discrete) else ((T * 1000).floor() + 0.4) / 1000  # inside a cubic piece
        t, h = at.clone().requires_grad_(), 1e-6
        (rate,) = torch.autograd.grad(weight(schedule, t).sum(), t)
        with torch.no_grad():
            expected = (weight(schedule, t + h) - weight(schedule, t - h)) / (2 * h)
        torch.testing.assert_close(rate, expected, rtol=1e-4, atol=1e-6)
