"""Posteriors of simulators: priors as maps, several observations against a closed form, and what is learned."""

import pytest
import torch

import scorefield as sf
from scorefield.guidance import feynman_kac
from scorefield.simulators import Normal, Together, Uniform, infer

f64 = torch.float64
BOX = Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 6.0]))


class Exact(sf.Denoiser):
    """Of u ~ N(0, 1) given y ~ N(u, 1): N(y / 2, 1 / 2)."""

    schedule, data_mean, data_std = sf.EDM(sigma_min=0.001, sigma_max=20.0), 0.0, 1.0

    def forward(self, x_t, t, vector):
        v = self.schedule(torch.as_tensor(t))[1].to(x_t) ** 2
        return (x_t / 2 + vector * v / 2) / (0.5 + v)


def test_a_uniform_prior_is_a_map_of_the_normal_law():
    u = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    theta = BOX.theta(u)
    share = (theta - BOX.low) / (BOX.high - BOX.low)
    # of 20,000 uniforms: the largest gap of the distribution function is below 1.95 / sqrt(n), one time in a thousand
    ranks = (torch.arange(20_000) + 0.5) / 20_000
    assert float((share.sort(0).values - ranks[:, None]).abs().max()) < 1.95 / 20_000**0.5
    torch.testing.assert_close(BOX.latent(theta), u, rtol=1e-3, atol=1e-3)
    far = BOX.theta(torch.tensor([[-40.0, 40.0], [40.0, -40.0]]))
    assert far.tolist() == [[-1.0, 6.0], [1.0, 2.0]]


def test_a_normal_prior_is_a_map_of_the_normal_law():
    prior = Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    theta = prior.theta(torch.tensor([[1.0, -1.0]]))
    assert theta.tolist() == [[1.5, -5.0]]
    assert prior.latent(theta).tolist() == [[1.0, -1.0]]


def test_several_observations_of_one_parameter_have_their_posterior():
    """Twelve y: N(sum y / 13, 1 / 13); the plain product of twelve posteriors has variance 1 / 24."""
    y = 0.7 + torch.randn(12, 1, generator=torch.Generator().manual_seed(0))
    x = feynman_kac(Together(Exact(), y), (32, 1), particles_each=256, steps=200).x.double()
    # 32 groups; their means, whose spread is what particles leave, say how sure the mean is
    error = float(x.mean(1).std()) / 32**0.5
    assert float(x.mean()) == pytest.approx(float(y.sum()) / 13, abs=4 * error)
    assert float(x.var()) == pytest.approx(1 / 13, rel=0.1)


def test_one_observation_together_is_its_posterior():
    y = torch.tensor([[0.8]])
    u, t = torch.tensor([[0.3], [-1.0]]), torch.tensor(0.4, dtype=f64)
    torch.testing.assert_close(Together(Exact(), y)(u, t), Exact()(u, t, vector=y))


def test_the_priors_expert_is_its_denoiser_wherever_it_stands():
    together, u = Together(Exact(), torch.tensor([[0.8], [0.1]])), torch.tensor([[0.3], [-1.0]])
    prior = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1), torch.eye(1)), Exact.schedule)
    for which in ([0, 1, 2], [0], [2, 0], [1, 2]):
        found = together.experts(which, u, 0.4)
        for i, expert in zip(which, found, strict=True):
            want = Exact()(u, 0.4, vector=together.vectors[i - 1]) if i else prior(u, 0.4)
            torch.testing.assert_close(expert, want)


@pytest.fixture(scope="module")
def learned():
    """theta ~ U[-1, 1], y = theta + 0.3 n, in units and at a place of its own."""
    g = torch.Generator().manual_seed(0)
    prior = Uniform(torch.tensor([-1.0]), torch.tensor([1.0]))
    theta = prior.theta(torch.randn(4000, 1, generator=g))
    y = 500 + 100 * (theta + 0.3 * torch.randn(4000, 1, generator=g))
    net = sf.networks.MLP(1, 32, 2, vector_dim=1)
    torch.manual_seed(0)
    return infer(prior, theta, y, net=net, steps=600, patience=500, batch_size=256, lr=3e-3)


@pytest.mark.parametrize("y", [0.0, 0.95, -1.3])
def test_a_posterior_is_learned_inside_its_prior(learned, y):
    """Against quadrature, two of them cut by the prior; 600 steps of a small network leave a width of .19 for .13."""
    made = learned.sample(torch.tensor([500 + 100 * y]), 2000, nfe=20).double()
    grid = torch.linspace(-1, 1, 2001, dtype=f64)
    weights = torch.softmax(-(((y - grid) / 0.3) ** 2) / 2, 0)
    mean = float(weights @ grid)
    std = float(weights @ (grid - mean).square()) ** 0.5
    assert float(made.abs().max()) <= 1
    assert float(made.mean()) == pytest.approx(mean, abs=0.1)
    assert float(made.std()) == pytest.approx(std, abs=0.08)


def test_several_observations_are_sampled_inside_the_prior_too(learned):
    y = torch.tensor([[500.0 + 100 * v] for v in (0.7, 0.9, 0.8, 1.0)])
    made = learned.sample_together(y, 300, particles=128, steps=60).double()
    assert made.shape == (300, 1)
    assert float(made.max()) <= 1
    grid = torch.linspace(-1, 1, 2001, dtype=f64)
    weights = torch.softmax(-(((0.85 - grid) / 0.15) ** 2) / 2, 0)
    assert float(made.mean()) == pytest.approx(float(weights @ grid), abs=0.1)


def test_draws_are_of_their_number(learned):
    y = torch.tensor([[450.0], [520.0]])
    many = learned.sample(y, 4, nfe=5)
    assert many.shape == (2, 4, 1)
    torch.testing.assert_close(learned.sample(y[0], 2, nfe=5), many[0, :2])


def test_training_ends_when_held_out_pairs_gain_no_more():
    """y says nothing of theta: there is nothing to learn but the prior, and twenty pairs to learn by heart."""
    g = torch.Generator().manual_seed(0)
    prior = Normal(torch.zeros(1), torch.ones(1))
    theta, y = torch.randn(20, 1, generator=g), torch.randn(20, 1, generator=g)
    net = sf.networks.MLP(1, 32, 2, vector_dim=1)
    found = infer(prior, theta, y, net=net, steps=5000, patience=250, batch_size=18, lr=1e-2)
    assert found.held_out[-1][0] < 5000
    assert found.step < found.held_out[-1][0]
    assert dict(found.held_out)[found.step] < found.held_out[-1][1]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Uniform(torch.ones(2), torch.ones(2)), "low must be below high"),
        (lambda: Normal(torch.ones(2), torch.zeros(2)), "std must be positive"),
        (lambda: BOX.latent(torch.tensor([[0.0, 7.0]])), "theta must lie inside the prior"),
        (lambda: Together(Exact(), torch.ones(3)), r"vectors must be \(n, K\), n at least 1; got \(3,\)"),
        (lambda: infer(BOX, torch.ones(4, 1), torch.ones(4, 1)), r"theta must be \(N, 2\) and y \(N, K\)"),
        (lambda: infer(BOX, BOX.theta(torch.zeros(4, 2)), torch.full((4, 1), torch.nan)), "y must be finite"),
        (lambda: infer(BOX, BOX.theta(torch.zeros(4, 2)), torch.ones(4, 1), held_out=0.0), "on both sides; got 0 of 4"),
    ],
)
def test_misuse_is_refused_in_one_line(call, line):
    with pytest.raises(ValueError, match=line):
        call()


def test_an_observation_of_another_size_is_refused(learned):
    with pytest.raises(ValueError, match=r"y must be finite, of shape \(1,\) or \(N, 1\); got \(2,\)"):
        learned.sample(torch.ones(2), 3)
