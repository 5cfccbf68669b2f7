"""Posteriors under noise that is not Gaussian: against quadrature, importance sampling and SciPy."""

import math
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
import torch

import scorefield as sf
from scorefield import inverse
from scorefield.inverse import Gamma, GaussianNoise, LaplaceBridge, Poisson, PoissonGaussian, Rice, Student, condition
from scorefield.inverse.modes import modes
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

COUNTS = torch.tensor([[0.0, 2.0, 5.0], [1.0, 1.0, 0.0], [3.0, 0.0, 4.0]], dtype=f64)


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


class Square(inverse.operators.Operator):
    event_shape = output_shape = (1,)

    def forward(self, x):
        return x.square()


def evidence(drawn):
    assert drawn.log_evidence is not None
    return float(drawn.log_evidence[0])


def given(name, y):
    y = torch.tensor([[y]], dtype=f64)
    return {
        "counts": lambda: Own(y[:, 0], "counts"),
        "a kink": lambda: Own(y[:, 0], "kink"),
        "Gaussian, nonlinear": lambda: GaussianNoise(Exp(), y, 0.3),
        "Student": lambda: Student(Diagonal(torch.ones(1), (1,)), y, 0.3),
        "Gamma": lambda: Gamma(Exp(), y, 4.0),
        "Rice": lambda: Rice(Exp(), y, 0.5),
        "camera": lambda: PoissonGaussian(Exp(), y, 0.7),
        "a square": lambda: GaussianNoise(Square(), y, 0.3),
        "magnitude": lambda: Rice(Diagonal(torch.ones(1), (1,)), y, 0.3),
    }[name]()


@pytest.mark.parametrize(
    ("name", "y"),
    [("counts", 1.0), ("counts", 30.0), ("a kink", 0.2), ("Gaussian, nonlinear", 2.0), ("Student", 0.2), ("Gamma", 2.0),
     ("Rice", 1.0), ("camera", 2.3), ("camera", -0.4), ("a square", 1.0), ("a square", 3.0), ("magnitude", 1.3)],
)  # fmt: skip
def test_a_posterior_in_one_dimension_is_right(name, y):
    """Against quadrature, 16 systems of 64 particles: evidence to 5%, the mean to 0.15 and the width to 10% of it.

    A square and a magnitude have two modes, of which one site alone follows one.
    """
    likelihood = given(name, y)
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
        (PoissonGaussian(identity, y, 9.0), stats.norm(a, (a + 81).sqrt()).logpdf(y)),
        (Student(identity, y, 0.4, 2.5), stats.t(2.5, a, 0.4).logpdf(y)),
        (Rice(identity, y, 0.6), stats.rice(a / 0.6, scale=0.6).logpdf(y)),
        (Gamma(identity, y, 3.0), stats.gamma(3.0, scale=a / 3).logpdf(y)),
    ):
        assert float(likelihood.log_prob(a)) == pytest.approx(law.sum(), rel=1e-9)


@pytest.mark.parametrize("read_std", [0.05, 0.7, 3.0, 8.0])
@pytest.mark.parametrize("rate", [0.02, 2.0, 40.0, 2000.0])
def test_a_camera_is_the_sum_over_what_it_counted(read_std, rate):
    """Against the sum over 4,000 counts, from far below the rate to far above it."""
    y = torch.tensor([[-1.0, 0.3, 3.0, 37.2, 1900.0]], dtype=f64)
    k = torch.arange(4000, dtype=f64)[:, None]
    exact = torch.logsumexp(
        torch.as_tensor(stats.poisson(rate).logpmf(k)) + torch.as_tensor(stats.norm(k, read_std).logpdf(y)), 0
    )
    identity = Diagonal(torch.ones(1), (1,))
    found = PoissonGaussian(identity, y.T, read_std).log_prob(torch.full((5, 1), rate, dtype=f64))
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Poisson, PoissonGaussian, Student, Rice, Gamma])
def test_truth_and_draws_are_exchangeable(kind):
    """Of a 2-D mixture, its noise drawn by NumPy: ranks of 150 truths among 19 draws."""
    rng, g = np.random.default_rng(0), torch.Generator().manual_seed(0)
    law = sf.GaussianMixture(
        torch.tensor([0.4, 0.6], dtype=f64),
        torch.tensor([[2.0, 4.0], [4.0, 3.0]], dtype=f64),
        0.3 * torch.eye(2, dtype=f64).expand(2, 2, 2),
    )
    operator = Dense(torch.tensor([[1.0, 0.5], [0.2, 1.0]], dtype=f64))
    truth = law.sample(150, generator=g)
    a = operator(truth).numpy()
    y = {
        Poisson: lambda: rng.poisson(a),
        PoissonGaussian: lambda: rng.poisson(a) + rng.normal(size=a.shape),
        Student: lambda: a + rng.standard_t(3, size=a.shape),
        Rice: lambda: abs(a + rng.normal(size=a.shape) + 1j * rng.normal(size=a.shape)),
        Gamma: lambda: a * rng.exponential(size=a.shape),
    }[kind]()
    drawn = condition(sf.ExactDenoiser(law, sf.VP()), kind(operator, torch.as_tensor(y).double())).sample(19, nfe=20)
    assert sf.metrics.sbc(truth, drawn.x).p_value > 1e-3


@pytest.mark.parametrize("kind", [Poisson, PoissonGaussian])
def test_where_nothing_was_counted_a_rate_is_not_negative(kind):
    """The prior does not know it: half of its mass must go."""
    prior = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), torch.eye(1, dtype=f64)), sf.VP())
    likelihood = kind(Diagonal(torch.ones(1), (1,)), torch.zeros(1, 1, dtype=f64))
    x = condition(prior, likelihood).sample(512, nfe=20).x
    assert float(x.min()) > -0.1


def test_a_mixed_sites_shares_are_the_modes_masses():
    """x^2 = 6 to 0.3 under x ~ N(0.25, 1.5): two modes, psi and shares to Laplace's error."""
    moments = Full(
        torch.full((1, 1), 0.25, dtype=f64), torch.full((1, 1), 1.5, dtype=f64), torch.ones(1, 1, 1).double()
    )
    x = torch.linspace(-8, 8, 16001, dtype=f64)
    logs = stats.norm(0.25, math.sqrt(1.5)).logpdf(x) + stats.norm(6.0, 0.3).logpdf(x.square())
    weights = torch.as_tensor(logs).exp() * 0.001
    found = modes(
        lambda x0, rows: torch.distributions.Normal(x0[:, 0].square(), 0.3).log_prob(x0.new_tensor(6.0)), moments
    )
    assert float(found.log_psi.exp()) == pytest.approx(float(weights.sum()), rel=0.02)
    assert float(found.log_shares[0, 0].exp()) == pytest.approx(float(weights[x > 0].sum() / weights.sum()), rel=0.02)
    signs = [float(found.chosen(torch.tensor([u])).w) > 0 for u in (0.1, 0.9)]
    assert signs == [True, False]


def test_both_signs_of_a_picture_whose_phases_are_lost():
    """Moduli of the Fourier transform do not tell x from -x: half of the draws each, where the prior says neither."""
    operator = inverse.operators.PhaseRetrieval((2, 2))
    truth = torch.tensor([[[1.0, -0.4], [0.3, 0.9]]], dtype=f64)
    law = sf.Gaussian(torch.zeros(4, dtype=f64), torch.eye(4, dtype=f64))

    class Pictures(sf.Denoiser):
        schedule, data_mean, data_std = sf.VP(), 0.0, 1.0

        def forward(self, x_t, t):
            return sf.ExactDenoiser(law, self.schedule)(x_t.flatten(1), t).reshape(x_t.shape)

    drawn = condition(Pictures(), GaussianNoise(operator, operator(truth), 0.1)).sample(256, nfe=20)
    along = (drawn.x * truth[:, None]).flatten(2).sum(2)
    # 4 systems of 64 whose particles share ancestors; two rightly balanced ones differ by less
    assert 0.2 < float((along > 0).double().mean()) < 0.8
    assert float(operator(drawn.x[0]).sub(operator(truth)).square().mean()) < 4 * 0.1**2


@sf.checks.parametrize(
    [
        sf.checks.checks_of(likelihood, 1 + torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=f64))
        for likelihood in (
            GaussianNoise(Diagonal(torch.ones(3), (3,)), COUNTS, 0.3),
            GaussianNoise(Diagonal(torch.ones(3), (3,)), COUNTS, COUNTS + 0.1),
            Poisson(Diagonal(torch.ones(3), (3,)), COUNTS, background=0.1),
            PoissonGaussian(Diagonal(torch.ones(3), (3,)), COUNTS, 0.6),
            Student(Diagonal(torch.ones(3), (3,)), COUNTS),
            Rice(Diagonal(torch.ones(3), (3,)), COUNTS + 0.1),
            Gamma(Diagonal(torch.ones(3), (3,)), COUNTS + 0.1, 3.0),
        )
    ]
)
def test_what_a_likelihood_owes(check):
    check.run()


class Wrong(Own):
    """y ~ N(x, 1), with a fault."""

    def rows(self, index):
        return Wrong(self.y if self.kind == "rows" else self.y[index], self.kind)

    def log_prob(self, x0):
        x = x0.detach() if self.kind == "gradient" else x0
        value = -(x[:, 0] - self.y[: len(x)].to(x)).square() / 2
        if self.kind == "slope":
            value = value + x.detach()[:, 0]
        return {"shape": value[:, None], "batch": value + x.mean(), "dtype": value.half()}.get(self.kind, value)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("shape", r"log_prob must be \(B,\), \(3,\); got \(3, 1\)"),
        ("dtype", "log_prob must have the dtype of x0, torch.float32; got torch.float16"),
        ("rows", "rows.index. must have a row for each number, repeated ones too: 4; got 3"),
        ("batch", "log_prob of a row must not change with the x0 of others"),
        ("gradient", "log_prob must have a gradient that torch can take; got none"),
        ("slope", "the gradient must be that of log_prob"),
    ],
)
def test_a_likelihood_with_a_fault_is_found(kind, line):
    likelihood = Wrong(torch.tensor([0.5, -1.0, 2.0], dtype=f64), kind)
    with pytest.raises(AssertionError, match=line):
        sf.checks.check_likelihood(likelihood)


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
