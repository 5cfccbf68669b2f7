"""Posteriors under noise that is not Gaussian: against quadrature, importance sampling and SciPy."""

import math
from typing import Any, cast

import pytest
import scipy.stats
import torch

import scorefield as sf
from scorefield import inverse
from scorefield.inverse import Gamma, GaussianNoise, LaplaceBridge, Poisson, PoissonGaussian, Rice, Student, condition
from scorefield.inverse.moments import Full
from scorefield.inverse.noises import log_above
from scorefield.inverse.operators import Dense, Diagonal
from scorefield.inverse.sites import site

f64, stats = torch.float64, cast("Any", scipy.stats)
LAW = sf.GaussianMixture(
    torch.tensor([0.3, 0.7], dtype=f64),
    torch.tensor([[-1.5], [1.0]], dtype=f64),
    torch.tensor([[[0.16]], [[0.25]]], dtype=f64),
)


class Own(inverse.Likelihood):
    """A user's: y ~ Poisson(e^(2 x)), or x with Laplace noise, whose log-density has a kink."""

    event_shape = (1,)

    def __init__(self, y, kind):
        self.y, self.kind = y, kind

    def __len__(self):
        return len(self.y)

    def rows(self, index):
        return Own(self.y[index], self.kind)

    def log_prob(self, x0):
        x, y = x0[:, 0], self.y.to(x0)
        if self.kind == "counts":
            return 2 * x * y - torch.exp(2 * x) - torch.lgamma(y + 1)
        return -(x - y).abs() / 0.2 - math.log(0.4)


class Exp(inverse.operators.Operator):
    event_shape = output_shape = (1,)

    def forward(self, x):
        return torch.exp(x)


def evidence(drawn):
    assert drawn.log_evidence is not None
    return float(drawn.log_evidence[0])


def given(y):
    y = torch.tensor([[y]], dtype=f64)
    return {
        "counts": Own(y[:, 0], "counts"),
        "a kink": Own(y[:, 0], "kink"),
        "Gaussian, nonlinear": GaussianNoise(Exp(), y, 0.3),
        "Student": Student(Diagonal(torch.ones(1), (1,)), y, 0.3),
        "Gamma": Gamma(Exp(), y, 4.0),
        "Rice": Rice(Exp(), y, 0.5),
    }


@pytest.mark.parametrize(
    ("name", "y"),
    [("counts", 1.0), ("counts", 30.0), ("a kink", 0.2), ("Gaussian, nonlinear", 2.0), ("Student", 0.2), ("Gamma", 2.0),
     ("Rice", 1.0)],
)  # fmt: skip
def test_a_posterior_in_one_dimension_is_right(name, y):
    """Against quadrature, 16 systems of 64 particles: evidence to 5%, the mean to 0.15 and the width to 10% of it."""
    likelihood = given(y)[name]
    grid = torch.linspace(-6, 6, 6001, dtype=f64)[:, None]
    logs = LAW.log_prob(grid) + likelihood.rows(torch.zeros(len(grid), dtype=torch.int64)).log_prob(grid)
    weights = torch.softmax(logs, 0)
    mean = float(weights @ grid[:, 0])
    std = math.sqrt(float(weights @ (grid[:, 0] - mean).square()))
    drawn = condition(sf.ExactDenoiser(LAW, sf.VP()), likelihood).sample(1024, nfe=30)
    assert evidence(drawn) == pytest.approx(float(torch.logsumexp(logs, 0)) + math.log(0.002), abs=0.05)
    assert float(drawn.mean) == pytest.approx(mean, abs=0.15 * std)
    assert float(drawn.std) == pytest.approx(std, rel=0.1)


def test_a_site_of_gaussian_noise_is_the_law_of_y():
    """psi = N(y; A m, A C A^T + s^2 I), and x0 given y has the moments of Gaussian conditioning."""
    g = torch.Generator().manual_seed(2)
    a, y, m = (
        torch.randn(2, 3, generator=g, dtype=f64),
        torch.randn(2, generator=g, dtype=f64),
        torch.ones(1, 3, dtype=f64),
    )
    root = torch.randn(3, 3, generator=g, dtype=f64)
    covariance = root @ root.T
    values, basis = torch.linalg.eigh(covariance)
    moments = Full(m, values[None], basis[None])
    noise = torch.distributions.Normal(0.0, 0.5)
    found = site(lambda x, rows: noise.log_prob(y - x @ a.T).sum(1), moments)
    innovation = a @ covariance @ a.T + 0.25 * torch.eye(2, dtype=f64)
    law = torch.distributions.MultivariateNormal(m[0] @ a.T, innovation)
    torch.testing.assert_close(found.log_psi[0], law.log_prob(y))
    gain = covariance @ a.T @ torch.linalg.inv(innovation)
    mode = m + moments.apply(torch.sqrt, found.w)
    torch.testing.assert_close(mode[0], m[0] + gain @ (y - a @ m[0]))
    spread = moments.apply(
        torch.sqrt, torch.stack([found.narrowed(e[None])[0] for e in torch.eye(3, dtype=f64)], 1)[None]
    )
    torch.testing.assert_close(spread[0] @ spread[0].T, covariance - gain @ a @ covariance)


def test_it_is_exact_where_all_is_gaussian():
    """After the start every weight is 1, as `Bridge`'s are, whatever was drawn: one evidence, at four evaluations."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(3, 3, generator=g, dtype=f64)
    law = sf.Gaussian(torch.randn(3, generator=g, dtype=f64), root @ root.T + 0.1 * torch.eye(3, dtype=f64))
    likelihood = GaussianNoise(
        Dense(torch.randn(2, 3, generator=g, dtype=f64)), torch.tensor([[0.3, -2.0]]).double(), 0.2
    )
    drawn = [
        condition(sf.ExactDenoiser(law, sf.EDM(sigma_max=20.0)), likelihood, method).sample(64, nfe=4)
        for method in (LaplaceBridge(), inverse.Bridge())
    ]
    assert evidence(drawn[0]) == pytest.approx(evidence(drawn[1]), abs=1e-6)


def test_counts_of_many_numbers():
    """Of twelve: the evidence within half a nat of importance sampling from the Laplace law of each of three modes."""
    d, g = 12, torch.Generator().manual_seed(1)
    means = torch.randn(3, d, generator=g, dtype=f64)
    law = sf.GaussianMixture(torch.ones(3, dtype=f64) / 3, means, 0.3 * torch.eye(d, dtype=f64).expand(3, d, d))

    class Counts(Own):
        event_shape = (d,)

        def __init__(self, y, kind=""):
            self.y = y

        def rows(self, index):
            return Counts(self.y[index])

        def log_prob(self, x0):
            y = self.y.to(x0)
            return (y * (x0 + 1) - torch.exp(x0 + 1) - torch.lgamma(y + 1)).sum(1)

    y = torch.poisson(torch.exp(law.sample(1, generator=g) + 1), generator=g)
    exact = []
    for m in means:
        z = m.clone()
        for _ in range(30):
            rate = torch.exp(z + 1)
            z = z + ((y[0] - rate - (z - m) / 0.3) / (rate + 1 / 0.3)).clamp(-1, 1)
        std = (torch.exp(z + 1) + 1 / 0.3).rsqrt()
        e = torch.randn(20_000, d, generator=g, dtype=f64)
        x = z + std * e
        own = Counts(y.expand(len(x), -1)).log_prob(x) - (x - m).square().sum(1) / 0.6 - d / 2 * math.log(0.3)
        exact.append(torch.logsumexp(own + e.square().sum(1) / 2 + std.log().sum(), 0) - math.log(3 * len(x)))
    drawn = condition(sf.ExactDenoiser(law, sf.VP()), Counts(y)).sample(128, nfe=20)
    assert evidence(drawn) == pytest.approx(float(torch.logsumexp(torch.stack(exact), 0)), abs=0.5)


def test_a_sample_does_not_depend_on_its_batch():
    """Of several observations, each searched until it is found, the first is as by itself."""
    prior, y = sf.ExactDenoiser(LAW, sf.VP()), torch.tensor([0.2, 3.0, -2.0], dtype=f64)
    alone, batch = (
        condition(prior, Own(y[:n], "kink"), LaplaceBridge(8)).sample(16, nfe=10, seed=3).x[0] for n in (1, 3)
    )
    torch.testing.assert_close(alone, batch, rtol=1e-9, atol=1e-9)


def test_log_probabilities_are_scipys():
    a = torch.tensor([[0.5, 2.0, 7.0]], dtype=f64)
    y = torch.tensor([[1.0, 3.0, 5.0]], dtype=f64)
    identity = Diagonal(torch.ones(3), (3,))
    for likelihood, law in (
        (Poisson(identity, y, gain=3.0, background=0.2), stats.poisson(3 * a + 0.2).logpmf(y)),
        (PoissonGaussian(identity, y, 0.7), stats.norm(a, (a + 0.49).sqrt()).logpdf(y)),
        (Student(identity, y, 0.4, 2.5), stats.t(2.5, a, 0.4).logpdf(y)),
        (Rice(identity, y, 0.6), stats.rice(a / 0.6, scale=0.6).logpdf(y)),
        (Gamma(identity, y, 3.0), stats.gamma(3.0, scale=a / 3).logpdf(y)),
    ):
        assert float(likelihood.log_prob(a)) == pytest.approx(law.sum(), rel=1e-9)


def test_a_logarithm_goes_on_below_its_least_argument():
    x = torch.tensor([0.0101, 0.0099, -3.0], dtype=f64, requires_grad=True)
    value = log_above(x, 0.01)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value[:2].tolist() == pytest.approx([math.log(0.0101), math.log(0.0099)], abs=1e-6)
    assert slope[:2].tolist() == pytest.approx([1 / 0.0101, 1 / 0.0099], rel=2e-4)
    assert float(slope[2]) > 1e3


def test_large_events_take_the_diagonal():
    """Counts of 200 pixels of one Gaussian each: the posterior mean of each is that of one dimension."""
    d, y = 200, 9.0
    law = sf.Gaussian(torch.full((d,), 2.0, dtype=f64), 0.25 * torch.eye(d, dtype=f64))
    likelihood = Poisson(Diagonal(torch.ones(d), (d,)), torch.full((1, d), y, dtype=f64), gain=3.0)
    variance = inverse.IsotropicCovariance(sf.solvers.GaussianVariance())
    drawn = condition(sf.ExactDenoiser(law, sf.VP()), likelihood, LaplaceBridge(16, covariance=variance)).sample(
        64, nfe=20
    )
    grid = torch.linspace(0.05, 5, 2001, dtype=f64)
    weights = torch.softmax(y * grid.log() - 3 * grid - (grid - 2).square() / 0.5, 0)
    assert float(drawn.mean.mean()) == pytest.approx(float(weights @ grid), abs=0.02)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda i, y: Poisson(i, y[:, :2]), r"y must be real numbers of shape \(B, 3\); got torch.float64, \(1, 2\)"),
        (lambda i, y: Poisson(i, -y), "y must not be negative; got a smallest of -1"),
        (lambda i, y: Poisson(i, y, gain=0.0), "gain must be positive and finite; got 0"),
        (lambda i, y: Poisson(i, y, background=-1.0), "background must not be negative; got -1"),
        (lambda i, y: Student(i, y, df=-1.0), "df must be positive and finite; got -1"),
        (lambda i, y: Rice(i, 0 * y), "y must be positive; got a smallest of 0"),
        (lambda i, y: Gamma(i, y / 0), "y must be finite"),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call(Diagonal(torch.ones(3), (3,)), torch.ones(1, 3, dtype=f64))
