import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, truncnorm

from scorefield.distributions import Gaussian, UniformBoxes, checkerboard
from scorefield.distributions.boxes import _interval

f64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


BOXES = UniformBoxes(
    torch.tensor([[-1.0, 0.0], [0.5, -2.0]], dtype=f64),
    torch.tensor([[-0.2, 1.5], [1.0, -1.0]], dtype=f64),
    torch.tensor([0.3, 0.7], dtype=f64),
)
BLURRED = BOXES.noised(0.9, 0.2)
LEVELS = [(1.0, 0.3), (0.6, 0.8), (1.0, 0.01), (0.01, 1.0), (1.0, 80.0)]


def points(p, alpha, sigma, n=100):
    x0 = p.sample(n, generator=torch.Generator().manual_seed(1))
    return alpha * x0 + sigma * normal(*x0.shape, seed=2)


def gauss_legendre(m: float, h: float) -> tuple[float, float, float]:
    """log(Z / h), E[eps], E[tau] by 400-node quadrature around the peak of the integrand."""
    centre = min(max(m / h, -0.5), 0.5) if h else 0.0
    reach = min(1.0, 40 / max(h, 1e-300), 60 / max(abs(m) * h - h**2 / 2, 1e-300))
    low, high = max(-0.5, centre - reach), min(0.5, centre + reach)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    tau = (low + high) / 2 + (high - low) / 2 * nodes
    log_f = -((m - h * tau) ** 2) / 2 - 0.5 * math.log(2 * math.pi)
    top = log_f.max()
    f = np.exp(log_f - top) * weights * (high - low) / 2
    return top + math.log(f.sum()), (f * (m - h * tau)).sum() / f.sum(), (f * tau).sum() / f.sum()


@pytest.mark.parametrize("h", [0.0, 1e-5, 0.02, 0.999, 1.001, 3.0, 30.0, 1e4])
def test_an_interval_is_accurate_in_every_regime(h):
    """Inside, at the edge, in the tails; intervals from far narrower to far wider than the noise."""
    for m in (0.0, 1e-9, -0.3, 1.9, 2.1, -5.0, h / 2, -h / 2 - 1, h / 2 + 20, 300.0):
        ours = _interval(torch.tensor([m], dtype=f64), torch.tensor([h], dtype=f64))
        log_z, eps, tau = gauss_legendre(m, h)
        assert float(ours[0]) == pytest.approx(log_z, rel=1e-11, abs=1e-11)
        assert float(ours[1]) == pytest.approx(eps, rel=1e-9, abs=1e-9)
        assert float(ours[2]) == pytest.approx(tau, abs=1e-9 + (1e-12 / h if h else 0))


def test_log_prob_is_a_difference_of_normal_cdfs_and_the_denoiser_a_truncated_mean():
    p = UniformBoxes([[-1.0]], [[2.0]])
    x = torch.linspace(-3, 4, 40, dtype=f64)[:, None]
    alpha, sigma = 0.7, 0.5
    z = x.numpy()[:, 0]
    density = (norm.cdf((z + alpha) / sigma) - norm.cdf((z - 2 * alpha) / sigma)) / (3 * alpha)
    torch.testing.assert_close(p.log_prob_at(x, alpha, sigma), torch.tensor(np.log(density)), rtol=1e-9, atol=1e-9)
    loc, scale = z / alpha, sigma / alpha
    mean = truncnorm((-1 - loc) / scale, (2 - loc) / scale, loc, scale).mean()
    torch.testing.assert_close(p.denoise(x, alpha, sigma)[:, 0], torch.tensor(mean), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("p", [BOXES, BLURRED], ids=["sharp", "blurred"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_score_is_the_gradient_and_tweedie_holds(p, alpha, sigma):
    x = points(p, alpha, sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(p.log_prob_at(x, alpha, sigma).sum(), x)
    score = p.score_at(x, alpha, sigma).detach()
    assert (score - gradient).abs().max() <= 1e-9 * gradient.abs().max() + 1e-9
    x = x.detach()
    # the right-hand side loses sigma^2 / alpha in digits; the left does not
    tolerance = 1e-11 * float(x.abs().max() + sigma**2 * score.abs().max()) / alpha + 1e-10
    torch.testing.assert_close(p.denoise(x, alpha, sigma), (x + sigma**2 * score) / alpha, rtol=0, atol=tolerance)


def test_checkerboard_integrates_to_one_and_matches_its_noised_law_by_convolution():
    board = checkerboard(dtype=f64)
    n, sigma, alpha = 600, 0.35, 0.8
    half = 2 * math.sqrt(3)
    axis = (torch.arange(n, dtype=f64) + 0.5) * (2 * half / n) - half  # edges of the squares fall between points
    grid = torch.cartesian_prod(axis, axis)
    cell = (2 * half / n) ** 2
    density = board.log_prob(grid).exp().reshape(n, n)
    assert float(density.sum() * cell) == pytest.approx(1, abs=1e-12)

    kernel = torch.tensor(norm.pdf((axis[:, None] - alpha * axis).numpy() / sigma) / sigma)
    convolved = kernel @ density @ kernel.T * cell
    noised = board.log_prob_at(grid, alpha, sigma).exp().reshape(n, n)
    assert (noised - convolved).abs().max() < 2e-4 * noised.max()  # midpoint rule, error (step / sigma)^2 / 24
    assert float(noised.sum() * cell) == pytest.approx(1, abs=1e-6)


def test_checkerboard_is_every_other_square():
    board = checkerboard(cells=4, half_width=2.0, dtype=f64)
    centres = torch.cartesian_prod(*[torch.arange(4, dtype=f64) - 1.5] * 2)
    filled = (centres + 1.5).sum(1) % 2 == 0
    log_prob = board.log_prob(centres)
    torch.testing.assert_close(log_prob[filled], torch.full((8,), -math.log(8), dtype=f64))
    assert (log_prob[~filled] == -math.inf).all()
    assert (board.score(centres) == 0).all()


@pytest.mark.parametrize("p", [BOXES, BLURRED, checkerboard(dtype=f64)], ids=["sharp", "blurred", "board"])
def test_samples_have_the_moments_the_law_states(p):
    """Means and variances at 5 sigma: < 1e-5 false alarms."""
    n = 40_000
    x = p.sample(n, generator=torch.Generator().manual_seed(0))
    assert ((x.mean(0) - p.mean).abs() < 5 * (p.variance / n).sqrt()).all()
    squares = (x - p.mean) ** 2
    assert ((squares.mean(0) - p.variance).abs() < 5 * squares.std(0) / math.sqrt(n)).all()


def test_noising_twice_is_noising_once():
    x = points(BOXES, 0.5, 0.5)
    twice, once = BLURRED.noised(0.5, 0.4), BOXES.noised(0.45, math.hypot(0.1, 0.4))
    torch.testing.assert_close(twice.log_prob(x), once.log_prob(x))
    torch.testing.assert_close(BLURRED.log_prob_at(x, 0.5, 0.4), once.log_prob(x))
    law = BOXES.noised(0.0, 0.7)
    assert isinstance(law, Gaussian)
    torch.testing.assert_close(law.log_prob(x), BOXES.log_prob_at(x, 0.0, 0.7))


@pytest.mark.parametrize("p", [BOXES, BLURRED], ids=["sharp", "blurred"])
def test_the_ends_of_the_schedule(p):
    x = points(p, 1.0, 0.0)
    torch.testing.assert_close(p.denoise(x, 0.5, 0.0), x / 0.5)
    torch.testing.assert_close(p.denoise(x, 0.0, 1.0), p.mean.expand_as(x))
    near = p.denoise(x.float(), 1.0, 1e-6)
    assert near.dtype == torch.float32
    assert (near - x.float()).abs().max() < 1e-5
    torch.testing.assert_close(p.denoise(x, 1e-9, 1.0), p.mean.expand_as(x), rtol=0, atol=1e-7)
    assert p.denoise(x[:0], 0.5, 0.5).shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformBoxes([[0.0]], [[0.0]]), "upper must exceed lower; got a smallest width of 0"),
        (lambda: UniformBoxes([[0.0]], [[1.0, 2.0]]), r"upper must have shape \(1, 1\); got \(1, 2\)"),
        (lambda: UniformBoxes([[0.0]], [[1.0]], [0.5]), "weights must sum to 1"),
        (lambda: UniformBoxes([[0.0]], [[1.0]], std=-1), "std must be finite and >= 0; got -1"),
        (lambda: checkerboard(cells=0), "cells must be positive; got 0"),
    ],
)
def test_errors_name_the_argument_and_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()
