"""The views of a denoiser against the exact distribution; a user's own network in five lines."""

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import networks
from scorefield.schedules import derivative

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(), sf.Rectified(), sf.Discrete.linear()]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


@pytest.fixture(scope="module")
def mixture() -> sf.GaussianMixture:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(3, 4, 4, dtype=f64, generator=generator)
    return sf.GaussianMixture(
        torch.tensor([0.2, 0.5, 0.3], dtype=f64),
        torch.randn(3, 4, dtype=f64, generator=generator),
        0.1 * factor @ factor.mT + 0.05 * torch.eye(4, dtype=f64),
    )


def x_at(mixture, schedule, t, n=6):
    generator = torch.Generator().manual_seed(1)
    x0 = mixture.sample(n, generator=generator)
    return schedule.perturb(x0, t, torch.randn(x0.shape, dtype=f64, generator=generator))


@schedules
@pytest.mark.parametrize("t", [0.01, 0.3, 0.8])
def test_score_is_the_gradient_of_the_noised_density(mixture, schedule, t):
    denoiser, x = sf.ExactDenoiser(mixture, schedule), x_at(mixture, schedule, t)
    alpha, sigma = (float(v) for v in schedule(t))
    x.requires_grad_()
    (expected,) = torch.autograd.grad(mixture.noised(alpha, sigma).log_prob(x).sum(), x)
    torch.testing.assert_close(sf.score(denoiser, x.detach(), t), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(sf.eps(denoiser, x.detach(), t), -sigma * expected, rtol=1e-7, atol=1e-7)


@schedules
def test_velocity_is_the_probability_flow(mixture, schedule):
    """f x - g^2 score / 2, written the other way."""
    denoiser, t = sf.ExactDenoiser(mixture, schedule), torch.tensor(0.4, dtype=f64)
    x = x_at(mixture, schedule, t)
    expected = schedule.f(t) * x - schedule.g2(t) * sf.score(denoiser, x, t) / 2
    torch.testing.assert_close(sf.velocity(denoiser, x, t), expected, rtol=1e-8, atol=1e-8)


def test_v_is_the_velocity_of_the_circle(mixture):
    """On x = cos(a) x0 + sin(a) eps, dx/da = v (Salimans & Ho 2022)."""
    schedule, t = sf.Cosine(alpha_min=0.0), torch.tensor(0.4, dtype=f64)
    denoiser, x = sf.ExactDenoiser(mixture, schedule), x_at(mixture, schedule, t)
    rate = derivative(lambda u: torch.asin(schedule.sigma(u)), t)
    torch.testing.assert_close(sf.velocity(denoiser, x, t), rate * sf.v(denoiser, x, t))


@schedules
@pytest.mark.parametrize("mode", ["vjp", "jvp"])
def test_covariance_is_that_of_the_exact_posterior(mixture, schedule, mode):
    denoiser, t = sf.ExactDenoiser(mixture, schedule), 0.3
    x = x_at(mixture, schedule, t)
    alpha, sigma = schedule(t)
    exact = mixture.posterior_covariance(x, alpha, sigma)
    u = torch.randn(x.shape, dtype=f64, generator=torch.Generator().manual_seed(2))
    expected = (exact @ u[..., None])[..., 0]
    torch.testing.assert_close(sf.covariance(denoiser, x, t, u, mode=mode), expected, rtol=1e-7, atol=1e-9)


def test_the_modes_are_adjoint_through_attention():
    """u . (J w) = (J^T u) . w for a network, whose Jacobian is not symmetric; fused attention has no forward mode."""
    torch.manual_seed(0)
    net = networks.UNet(1, width=8, head_channels=4).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V())
    x, u, w = torch.randn(3, 2, 1, 4, 6, dtype=f64)
    forward, reverse = sf.covariance(denoiser, x, 0.5, w, mode="jvp"), sf.covariance(denoiser, x, 0.5, u, mode="vjp")
    torch.testing.assert_close((u * forward).flatten(1).sum(1), (reverse * w).flatten(1).sum(1))


def test_a_time_for_each_sample(mixture):
    denoiser = sf.ExactDenoiser(mixture, sf.VP())
    t = torch.tensor([0.1, 0.5, 0.9], dtype=f64)
    x = x_at(mixture, sf.VP(), t, 3)
    expected = torch.cat([sf.score(denoiser, x[i : i + 1], t[i]) for i in range(3)])
    torch.testing.assert_close(sf.score(denoiser, x, t), expected)


def test_exact_denoiser_knows_the_data(mixture):
    denoiser = sf.ExactDenoiser(mixture, sf.VP())
    x = mixture.sample(200_000, generator=torch.Generator().manual_seed(0))
    assert denoiser.data_std == pytest.approx(float(x.var(0).mean().sqrt()), rel=0.01)
    torch.testing.assert_close(denoiser.data_mean, x.mean(0), atol=0.01, rtol=0)


class TheirNetwork(nn.Module):
    """Trained elsewhere: predicts eps, on DDPM's chain, and expects the integer step."""

    def forward(self, x, step, scale=1.0):
        self.seen = step
        return scale * 0.1 * x


def test_a_network_trained_elsewhere_wraps_in_one_call():
    schedule = sf.Discrete.linear(1000)
    net = TheirNetwork()
    denoiser = sf.NetworkDenoiser(net, schedule, sf.Eps(), level=lambda t: 1000 * t - 1)
    x = torch.randn(2, 3)
    x0 = denoiser(x, 0.5, scale=2.0)
    assert net.seen.tolist() == [499.0, 499.0]
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=f64), 0)[499]
    torch.testing.assert_close(x0, (x - torch.sqrt(1 - abar).float() * 0.2 * x) / torch.sqrt(abar).float())


def test_a_users_denoiser_needs_a_schedule_and_forward_only():
    class Mine(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return x_t * 0.5

    assert sf.sample(Mine(), (3, 2), nfe=5).x.shape == (3, 2)


def test_views_are_refused_at_sigma_zero_and_times_must_match_the_batch(mixture):
    denoiser, x = sf.ExactDenoiser(mixture, sf.VP()), torch.randn(2, 4, dtype=f64)
    for view in (sf.score, sf.eps, sf.v):
        with pytest.raises(ValueError, match="at t = 0"):
            view(denoiser, x, 0.0)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
        denoiser(x, 1.5)
    network = sf.NetworkDenoiser(TheirNetwork(), sf.VP(), sf.Eps())
    with pytest.raises(ValueError, match=r"t must have shape \(\) or \(2,\).*got \(3,\)"):
        network(x, torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="mode must be 'vjp' or 'jvp'"):
        sf.covariance(denoiser, x, 0.5, x, mode="exact")  # pyright: ignore[reportArgumentType]


class DividesBySigma(nn.Module):
    """Some networks give eps as their output over sigma(t): 0 / 0 at t = 0."""

    def forward(self, x, level):
        return x / level[:, None]


def test_where_sigma_is_zero_the_datum_is_known_whatever_the_network_says():
    denoiser = sf.NetworkDenoiser(DividesBySigma(), sf.VP(), sf.Eps(), level=sf.VP().sigma)
    x = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert torch.equal(denoiser(x, 0.0), x)
    mixed = denoiser(x, torch.tensor([0.0, 0.5]))
    assert torch.equal(mixed[0], x[0])
    torch.testing.assert_close(mixed[1], denoiser(x[1:], 0.5)[0])


def test_views_are_refused_by_their_own_name_where_there_is_no_noise():
    denoiser = sf.NetworkDenoiser(DividesBySigma(), sf.VP(), sf.V(), level=lambda t: t + 1)
    for view, name in ((sf.score, "score"), (sf.eps, "eps"), (sf.v, "v"), (sf.velocity, "velocity")):
        with pytest.raises(ValueError, match=f"^{name} is undefined where sigma = 0, at t = 0: evaluate"):
            view(denoiser, torch.ones(2, 1), torch.tensor([0.5, 0.0]))
