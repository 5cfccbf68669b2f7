"""A linear VAE of Gaussian data is probabilistic PCA: its likelihood, its posterior and its best weights are known."""

import math
from typing import Any

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import training
from scorefield.baselines import VAE, Elbo, Variational
from scorefield.data import Scale

f64 = torch.float64
DIM, LATENT, N = 5, 2, 400


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(DIM, LATENT, dtype=f64, generator=generator)
    z, e = (torch.randn(N, k, dtype=f64, generator=generator) for k in (LATENT, DIM))
    return z @ w.T + 0.5 * e + torch.arange(DIM, dtype=f64)


class Moments(nn.Module):
    """The mean linear in x, the log-variance a constant."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(DIM, LATENT, dtype=f64)
        self.log_variance = nn.Parameter(torch.zeros(LATENT, dtype=f64))

    def forward(self, x):
        return torch.cat([self.mean(x), self.log_variance.expand(len(x), LATENT)], 1)


def linear() -> Any:
    torch.manual_seed(0)
    return VAE(Moments(), nn.Linear(LATENT, DIM, dtype=f64), LATENT, (DIM,)).double()


@torch.no_grad()
def best(x):
    """The maximum-likelihood weights (Tipping & Bishop 1999), and the exact posterior as the encoder."""
    mean, (values, vectors) = x.mean(0), torch.linalg.eigh(torch.cov(x.T, correction=0))
    values, vectors = values.flip(0), vectors.flip(1)
    variance = values[LATENT:].mean()
    w = vectors[:, :LATENT] * (values[:LATENT] - variance).sqrt()
    precision = w.T @ w + variance * torch.eye(LATENT, dtype=f64)  # diagonal
    vae = linear()
    vae.decoder.weight.copy_(w)
    vae.decoder.bias.copy_(mean)
    vae.log_scale.copy_(variance.log() / 2)
    gain = torch.linalg.solve(precision, w.T)
    vae.encoder.mean.weight.copy_(gain)
    vae.encoder.mean.bias.copy_(-gain @ mean)
    vae.encoder.log_variance.copy_((variance / precision.diagonal()).log())
    return vae


@torch.no_grad()
def exact(vae, x):
    w, variance = vae.decoder.weight, (2 * vae.log_scale).exp()
    covariance = w @ w.T + variance * torch.eye(DIM, dtype=f64)
    return torch.distributions.MultivariateNormal(vae.decoder.bias, covariance).log_prob(x)


def test_with_the_exact_posterior_every_bound_is_the_likelihood_whatever_is_drawn(x):
    vae = best(x)
    for importance in (1, 3):
        torch.testing.assert_close(vae.bound(x, importance=importance, seed=5), exact(vae, x), rtol=0, atol=1e-10)


def points():
    """Points and a weight under which polynomials of degree 2 in e ~ N(0, I) have their exact means."""
    axes = math.sqrt(LATENT) * torch.eye(LATENT, dtype=f64)
    return torch.cat([axes, -axes])


def mean_elbo(vae, x, monkeypatch):
    """The mean ELBO over data and draws, exactly: it is quadratic in e."""
    total = torch.zeros((), dtype=f64)
    for e in points():
        monkeypatch.setattr("scorefield.baselines.vae.randn", lambda shape, *_, e=e: e.expand(shape))
        reconstruction, kl = vae.elbo(x)
        total = total + (reconstruction - kl).mean() / len(points())
    return total


def test_the_elbo_is_largest_at_the_known_weights_where_it_is_the_likelihood(x, monkeypatch):
    vae = best(x)
    value = mean_elbo(vae, x, monkeypatch)
    torch.testing.assert_close(value, exact(vae, x).mean(), rtol=0, atol=1e-10)
    value.backward()
    assert max(float(p.grad.abs().max()) for p in vae.parameters() if p.grad is not None) < 1e-10
    with torch.no_grad():
        vae.decoder.weight.add_(0.05)
    moved = mean_elbo(vae, x, monkeypatch)
    assert moved < exact(vae, x).mean()  # the encoder is another decoder's
    assert exact(vae, x).mean() < value


def test_the_importance_weighted_bound_rises_to_the_exact_likelihood(x):
    """With a posterior too wide and off by half a deviation: E log p is above the bound by KL at K = 1."""
    vae = best(x)
    with torch.no_grad():
        vae.encoder.log_variance.add_(math.log(2.0))
        vae.encoder.mean.bias.add_((vae.encoder.log_variance / 2).exp() / 2)
    truth = exact(vae, x).mean()
    # KL of N(m + s/2, s^2) from N(m, v) with s^2 = 2 v, for each entry: (s^2/v + (s/2)^2/v - 1 - log(s^2/v)) / 2
    gap = LATENT * (2 + 0.5 - 1 - math.log(2)) / 2
    bounds = {k: vae.bound(x, importance=k, seed=1) for k in (1, 4, 32, 512)}
    one = bounds[1]
    assert abs(float(one.mean() - (truth - gap))) < 4 * float(one.std()) / N**0.5
    means = [float(b.mean()) for b in bounds.values()]
    assert means == sorted(means)
    # by the delta method the gap at K is Var(w / E w) / 2K; here E w^2 / (E w)^2 = 2.2^2 at most
    assert 0 < float(truth) - means[-1] < 4 * 4.0 / 512


def test_the_bound_of_a_datum_is_its_own(x):
    vae = best(x)
    with torch.no_grad():
        vae.encoder.log_variance.add_(1.0)
    whole = vae.bound(x, importance=3, seed=2)
    torch.testing.assert_close(vae.bound(x[7:9], importance=3, seed=2, first_index=7), whole[7:9], rtol=0, atol=1e-12)


def constant(mu) -> Any:
    """A VAE whose decoder knows one answer."""

    class Constant(nn.Module):
        def forward(self, z):
            return mu.expand(len(z), *mu.shape)

    return VAE(nn.Linear(len(mu), 2), Constant(), 1, (len(mu),), likelihood="logistic", bins=(2, -1.0, 1.0))


def test_two_bins_are_a_bernoulli_law():
    mu, z = torch.tensor([-1.3, 0.0, 0.4]), torch.zeros(4, 1)
    vae = constant(mu)
    x = torch.tensor([[-0.5, 0.5, 0.5], [0.7, -0.1, -0.9], [0.2, 0.2, 0.2], [-0.2, -0.2, -0.2]])
    bernoulli = torch.distributions.Bernoulli(logits=mu).log_prob((x > 0).float()).sum(1)
    torch.testing.assert_close(vae.log_likelihood(x, z), bernoulli)


def test_the_masses_of_all_bins_add_up_to_one_and_draws_have_them():
    levels, mu = 6, torch.tensor([0.3])
    vae = constant(mu)
    vae.bins, vae.log_scale.data = (levels, -1.0, 1.0), torch.tensor(-0.7)
    middles = (torch.arange(levels) + 0.5) / levels * 2 - 1
    mass = vae.log_likelihood(middles[:, None], torch.zeros(levels, 1)).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
    n = 20_000
    k = ((vae.sample(n, seed=4).x[:, 0] + 1) / 2 * levels).floor().clamp(0, levels - 1).long()
    share = torch.bincount(k, minlength=levels) / n
    assert float(((share - mass).abs() / (mass * (1 - mass) / n).sqrt()).max()) < 4


def test_training_comes_to_the_known_likelihood(x):
    torch.manual_seed(1)
    vae = linear()
    fit = training.fit(Variational(vae), x, steps=600, batch_size=100, lr=3e-2, warmup=10, ema_decay=0.9, clip=100.0)
    known = exact(best(x), x).mean()
    model: Any = fit.model
    reached = model.bound(x, importance=64, seed=3).mean()
    assert float(known - reached) == pytest.approx(0, abs=0.03)
    assert fit.history.values["kl"][-1] > 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"likelihood": "cauchy"}, "likelihood must be one of gaussian, logistic; got 'cauchy'"),
        ({"likelihood": "logistic"}, "bins go with a logistic likelihood"),
        ({"bins": (4, 0.0, 1.0)}, "bins go with a logistic likelihood"),
        ({"likelihood": "logistic", "bins": (1, 0.0, 1.0)}, "at least 2 levels and low < high"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        VAE(nn.Linear(2, 2), nn.Linear(1, 2), 1, (2,), **arguments)


def test_more_that_is_refused():
    with pytest.raises(ValueError, match="latent must be at least 1"):
        VAE(nn.Linear(2, 2), nn.Linear(1, 2), 0, (2,))
    with pytest.raises(ValueError, match=r"encoder must return \(3, 2\); got \(3, 4\)"):
        VAE(nn.Linear(2, 4), nn.Linear(1, 2), 1, (2,)).bound(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="importance must be at least 1"):
        best(torch.randn(9, DIM, dtype=f64)).bound(torch.zeros(3, DIM, dtype=f64), importance=0)
    with pytest.raises(ValueError, match="kl must be positive"):
        Elbo(kl=0)
    with pytest.raises(TypeError, match="VAE has no score: a VAE learns a decoder"):
        sf.log_prob(linear(), torch.zeros(2, DIM))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="need a transform"):
        training.fit(Variational(linear()), torch.zeros(8, DIM, dtype=torch.uint8), steps=1)
    with pytest.raises(ValueError, match="not told of labels"):
        training.fit(
            Variational(linear(), transform=Scale(1.0, 0.0)), torch.zeros(8, DIM), labels=torch.zeros(8).long(), steps=1
        )
