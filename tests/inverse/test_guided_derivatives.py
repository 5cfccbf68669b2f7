"""Guided denoisers have derivatives: likelihoods under them are those of the posterior."""

import pytest
import torch
from posterior_cases import exact, f64, gaussian, likelihood, mixture, normal, posterior

import scorefield as sf
from scorefield import inverse
from scorefield.inverse import DDNM, DiffPIR, MomentMatching, PiGDM
from scorefield.inverse.operators import Dense, Mask

KINDS = [MomentMatching, PiGDM, DiffPIR, DDNM]
OBSERVATION = torch.tensor([0, 1, 1])
EACH = torch.arange(2)


def tight(kind, denoiser, given):
    return kind(denoiser, given, **({"tolerance": 1e-10} if kind is MomentMatching else {}))


@pytest.mark.parametrize("own_noise", [False, True], ids=["one noise", "each its own"])
@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_agree_with_differences(kind, own_noise):
    """Of a mixture, whose D bends; by torch.autograd's own checks, at times of each row's own."""
    law = mixture()
    given = likelihood(law, noise=torch.tensor([[0.3], [0.2]], dtype=f64)) if own_noise else likelihood(law)
    guided = tight(kind, exact(law), given)
    x = normal(2, 2, seed=5).requires_grad_()
    t = torch.tensor([0.2, 0.5], dtype=f64)
    assert torch.autograd.gradcheck(lambda x: guided(x, t, observation=EACH), x)
    assert torch.autograd.gradgradcheck(lambda x: guided(x, t, observation=EACH), x)


@pytest.mark.parametrize("each", [False, True], ids=["one variance", "one for each number"])
def test_measured_variances_serve_rows_of_their_own_times(each):
    denoiser = exact(mixture())
    table = sf.solvers.calibrate(denoiser, mixture().sample(50), each=each)
    guided = PiGDM(denoiser, likelihood(mixture()), variance=table)
    x, t = normal(2, 2), torch.tensor([0.2, 0.5], dtype=f64)
    got = guided(x, t, observation=EACH)
    for i in range(2):
        alone = guided(x[i : i + 1], t[i], observation=i)
        torch.testing.assert_close(got[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "schedule", [sf.VP(), sf.SubVP(), sf.EDM(), sf.Cosine(alpha_min=0.0), sf.Rectified()], ids=lambda s: str(s)[:20]
)
@pytest.mark.parametrize("kind", [MomentMatching, PiGDM])
def test_log_prob_is_that_of_the_posterior(kind, schedule):
    """Both are exact for N(0, I), so the flow keeps (x - mean) / std at each time, and ends at a known x_1.

    There log p takes the prior's Gaussian N(0, 1 + s^2) for the posterior's, by the difference that is added here. The
    tolerance of log_prob is 1e-3 a dimension.
    """
    law = sf.Gaussian(torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64))
    y = torch.tensor([[1.0], [-0.4]], dtype=f64)
    matrix = torch.tensor([[1.0, 0.0]], dtype=f64)
    given = inverse.GaussianNoise(Dense(matrix), y, 0.5)
    x = normal(3, 2, seed=6)
    guided = tight(kind, sf.ExactDenoiser(law, schedule), given)
    got = sf.log_prob(guided, x, cond={"observation": OBSERVATION}, s_max=1e3).log_prob
    s = min(float(schedule.noise_ratio(1.0)), 1e6)
    for i, k in enumerate(OBSERVATION):
        truth = law.posterior(matrix, given.y[k], 0.5)
        spread = (truth.variance + s**2).sqrt()
        end = truth.mean + (x[i] - truth.mean) / truth.variance.sqrt() * spread
        taken, right = (torch.distributions.Normal(m, r) for m, r in ((0.0, (1 + s**2) ** 0.5), (truth.mean, spread)))
        want = truth.log_prob(x[i : i + 1])[0] + (taken.log_prob(end) - right.log_prob(end)).sum()
        torch.testing.assert_close(got[i], want, rtol=0, atol=2e-3)


def test_and_its_gradient_is_the_score_of_the_posterior():
    """Correlated data, where only MomentMatching is exact; second derivatives of the guided denoiser, end to end."""
    law = gaussian()
    given = likelihood(law)
    guided = tight(MomentMatching, exact(law, sf.Rectified()), given)
    x = normal(2, 4, seed=9).requires_grad_()
    found = sf.log_prob(guided, x, cond={"observation": torch.arange(2)}, differentiable=True).log_prob
    (gradient,) = torch.autograd.grad(found.sum(), x)
    for i in range(2):
        truth = posterior(law, given, i)
        torch.testing.assert_close(found[i], truth.log_prob(x[i : i + 1].detach())[0], rtol=0, atol=0.01)
        score = torch.linalg.solve(truth.covariance, truth.mean - x[i].detach())
        torch.testing.assert_close(gradient[i], score, rtol=0.01, atol=0.01)


class Small(sf.Denoiser):
    """A convolution of pictures with one channel."""

    def __init__(self):
        super().__init__()
        self.schedule, self.data_mean, self.data_std = sf.VP(), 0.0, 1.0
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x_t, t):
        return torch.tanh(self.conv(x_t))


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_of_networks_and_channels_are_numbers_with_gradients(kind, dtype):
    torch.manual_seed(0)
    denoiser = Small().to(dtype)
    seen = torch.arange(4).reshape(1, 2, 2) < 2
    given = inverse.GaussianNoise(Mask(seen), torch.zeros(1, 2, dtype=dtype), 0.3)
    x = torch.randn(2, 1, 2, 2, dtype=dtype, requires_grad=True)
    found = sf.log_prob(kind(denoiser, given), x, tolerance=0.5, differentiable=True).log_prob
    gradients = torch.autograd.grad(found.sum(), [x, *denoiser.parameters()], allow_unused=True)
    assert bool(found.isfinite().all())
    assert all(g is None or bool(g.isfinite().all()) for g in gradients)
    assert bool(gradients[0].any())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_differentiated_keeps_no_graph(kind):
    guided = kind(exact(mixture()), likelihood(mixture()))
    assert not guided(normal(2, 2), 0.4, observation=EACH).requires_grad
    with torch.no_grad():
        assert not guided(normal(2, 2).requires_grad_(), 0.4, observation=EACH).requires_grad
