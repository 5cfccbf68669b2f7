"""The denoising loss against closed forms: its minimum, its minimiser, its weights."""

import math

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import losses

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(sigma_max=10.0), sf.EDM(sigma_max=10.0), sf.Cosine(), sf.Rectified()]
ROWS = [sf.X0(), sf.Eps(), sf.V(), sf.Velocity(), sf.EDMPreconditioning(sigma_data=0.7)]


class Affine(nn.Module):
    """F(x) = A x + b: the form of the best network on Gaussian data, at one noise level."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, d, dtype=f64)

    def forward(self, x, level):
        return self.linear(x)


@pytest.fixture(scope="module")
def gaussian():
    factor = torch.randn(3, 3, dtype=f64, generator=torch.Generator().manual_seed(0))
    covariance = factor @ factor.T / 3 + 0.1 * torch.eye(3, dtype=f64)
    return sf.Gaussian(torch.tensor([1.0, -0.5, 0.3], dtype=f64), covariance), covariance


def posterior_trace(covariance, schedule, t):
    """tr Cov[x0 | x_t] = tr (C^-1 + alpha^2/sigma^2 I)^-1, the same for every x_t."""
    alpha, sigma = schedule(t)
    precision = torch.linalg.inv(covariance) + (alpha / sigma) ** 2 * torch.eye(len(covariance), dtype=f64)
    return float(torch.linalg.inv(precision).trace())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_exact_denoiser_scores_the_posterior_variance(gaussian, schedule):
    """40,000 draws: 5 standard errors, one false alarm in two million."""
    distribution, covariance = gaussian
    generator = torch.Generator().manual_seed(1)
    x0 = distribution.sample(40_000, generator=generator)
    for t in (0.1, 0.5, 0.9):
        loss = losses.denoising(
            sf.ExactDenoiser(distribution, schedule), x0, t=torch.tensor(t, dtype=f64), generator=generator
        )
        assert loss.shape == (40_000,)
        expected = posterior_trace(covariance, schedule, t) / 3
        assert abs(float(loss.mean()) - expected) < 5 * float(loss.std()) / 200


@pytest.mark.parametrize("row", ROWS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_minimiser_of_a_linear_model_is_the_exact_score(schedule, row):
    """On a sample whose moments are exactly those of N(mu, C) x N(0, I), least squares must return the closed form."""
    d, t = 2, torch.tensor(0.4, dtype=f64)
    mean = torch.tensor([0.5, -1.0], dtype=f64)
    root = torch.tensor([[0.8, 0.0], [0.3, 0.5]], dtype=f64)
    z = torch.randn(64, 2 * d, dtype=f64, generator=torch.Generator().manual_seed(0))
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / len(z))).T  # mean 0 and covariance I, exactly
    x0, eps = mean + z[:, :d] @ root.T, z[:, d:]
    denoiser = sf.NetworkDenoiser(Affine(d), schedule, row)
    optimizer = torch.optim.LBFGS(
        denoiser.parameters(), max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = losses.denoising(denoiser, x0, t=t, eps=eps).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    x_t = torch.randn(5, d, dtype=f64, generator=torch.Generator().manual_seed(3))
    alpha, sigma = schedule(t)
    exact = -torch.linalg.solve(alpha**2 * root @ root.T + sigma**2 * torch.eye(d, dtype=f64), (x_t - alpha * mean).T).T
    torch.testing.assert_close(sf.score(denoiser, x_t, t).detach(), exact, rtol=1e-6, atol=1e-6)


def images(schedule, row):
    net = sf.networks.UNet(1, width=8).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(4, 1, 4, 4, dtype=f64, generator=generator)
    t = torch.tensor([0.05, 0.3, 0.6, 0.9], dtype=f64)
    return sf.NetworkDenoiser(net, schedule, row), x0, t, torch.randn(x0.shape, dtype=f64, generator=generator)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("row", "weight"),
    [
        (sf.X0(), losses.weights.x0),
        (sf.Eps(), losses.weights.eps),
        (sf.EDMPreconditioning(0.7), losses.weights.EDMWeight(0.7)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_targets_own_loss_is_the_named_weight_on_the_datum(schedule, row, weight):
    """||output - target||^2 = w ||D - x0||^2, with D from the denoiser itself."""
    torch.manual_seed(0)
    denoiser, x0, t, eps = images(schedule, row)
    own = losses.denoising(denoiser, x0, t=t, eps=eps)
    named = losses.denoising(denoiser, x0, t=t, eps=eps, weight=weight)
    error = (denoiser(schedule.perturb(x0, t, eps), t) - x0).square().mean((1, 2, 3))
    if not (
        isinstance(row, sf.EDMPreconditioning) and float(schedule.alpha(t)[-1]) != 1
    ):  # EDM's lambda is for alpha = 1
        torch.testing.assert_close(own, named, rtol=1e-8, atol=0)
    torch.testing.assert_close(named, weight(schedule, t) * error, rtol=1e-7, atol=0)


def test_the_score_weights_are_those_of_the_papers():
    """||s - s*||^2 = (alpha / sigma^2)^2 ||D - D*||^2: NCSN weighs it by sigma^2, the likelihood by g^2 / 2."""
    t = torch.linspace(0.1, 0.9, 9, dtype=f64)
    for schedule in SCHEDULES:
        alpha, sigma = schedule(t)
        score_error = (alpha / sigma**2) ** 2
        torch.testing.assert_close(losses.weights.eps(schedule, t), sigma**2 * score_error)
        torch.testing.assert_close(losses.weights.likelihood(schedule, t), schedule.g2(t) / 2 * score_error)
        snr = (alpha / sigma) ** 2
        torch.testing.assert_close(losses.weights.MinSNR(5.0)(schedule, t), snr.clamp(max=5.0))


def test_the_likelihood_weight_integrates_to_a_log_density():
    """∫ w (mmse_1(t) - mmse_2(t)) dt over all t is the difference of two entropies (Guo et al. 2005)."""
    schedule = sf.Cosine()
    t = torch.linspace(0.001, 0.999, 20_001, dtype=f64)
    alpha, sigma = schedule(t)
    variance = {sd: sd**2 / (1 + (sd * alpha / sigma) ** 2) for sd in (1.0, 0.4)}
    integrand = losses.weights.likelihood(schedule, t) * (variance[1.0] - variance[0.4])
    # entropy of N(0, 1) less that of N(0, 0.4^2): log(1 / 0.4)
    assert float(torch.trapezoid(integrand, t)) == pytest.approx(math.log(1 / 0.4), abs=2e-3)


def test_no_sample_depends_on_its_neighbours():
    torch.manual_seed(0)
    denoiser, x0, t, eps = images(sf.VP(), sf.V())
    together = losses.denoising(denoiser, x0, t=t, eps=eps)
    alone = torch.cat([losses.denoising(denoiser, x0[i : i + 1], t=t[i : i + 1], eps=eps[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=0)


def test_the_generator_decides_the_draws():
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64)), sf.VP())
    x0 = torch.ones(8, 2, dtype=f64)
    one, same, other = (
        losses.denoising(denoiser, x0, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match=r"eps must have the shape of x0, \(8, 2\); got \(8, 3\)"):
        losses.denoising(denoiser, x0, eps=torch.zeros(8, 3))
