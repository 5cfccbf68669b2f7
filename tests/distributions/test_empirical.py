import math

import pytest
import torch

from rounding import carried, same
from scorefield.distributions import Empirical, GaussianMixture

f64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def brute(data, x, alpha, sigma, bandwidth):
    """Weights, log-density and denoiser written out, one pair at a time."""
    flat, y = data.flatten(1), x.flatten(1)
    v = (alpha * bandwidth) ** 2 + sigma**2
    distance = ((y[:, None] - alpha * flat) ** 2).sum(-1)
    logits = -distance / (2 * v)
    log_prob = torch.logsumexp(logits, 1) - math.log(len(flat)) - flat.shape[1] / 2 * math.log(2 * math.pi * v)
    nearest = torch.softmax(logits, 1) @ flat
    denoised = nearest + alpha * bandwidth**2 / v * (y - alpha * nearest)
    return log_prob, (alpha * nearest - y) / v, denoised


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
@pytest.mark.parametrize("bandwidth", [0.0, 0.3])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.1), (0.6, 0.8), (1.0, 20.0), (0.01, 1.0)])
def test_streaming_is_the_sum_over_all_pairs(shape, bandwidth, alpha, sigma):
    data = normal(157, *shape) + 3  # off-centre: distances must not cancel
    x = alpha * data[:70] + sigma * normal(70, *shape, seed=1)
    p = Empirical(data, bandwidth, chunk=50)
    log_prob, score, denoised = brute(data, x, alpha, sigma, bandwidth)
    torch.testing.assert_close(p.log_prob_at(x, alpha, sigma), log_prob, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(p.score_at(x, alpha, sigma).flatten(1), score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.denoise(x, alpha, sigma).flatten(1), denoised, rtol=1e-10, atol=1e-10)
    tweedie = (x + sigma**2 * p.score_at(x, alpha, sigma)) / alpha
    torch.testing.assert_close(p.denoise(x, alpha, sigma), tweedie, rtol=1e-8, atol=1e-8)


def test_it_is_the_mixture_with_equal_weights():
    data, x = normal(20, 3), normal(40, 3, seed=1)
    p = Empirical(data, 0.4)
    q = GaussianMixture(torch.full((20,), 1 / 20, dtype=f64), data, torch.full((20, 3), 0.16, dtype=f64))
    torch.testing.assert_close(p.log_prob(x), q.log_prob(x))
    torch.testing.assert_close(p.score(x), q.score(x))
    torch.testing.assert_close(p.mean, q.mean)
    torch.testing.assert_close(p.variance, q.variance)
    torch.testing.assert_close(p.noised(0.5, 0.3).score(x), q.noised(0.5, 0.3).score(x))
    twice, once = p.noised(0.5, 0.3).noised(0.5, 0.3), p.noised(0.25, math.hypot(0.15, 0.3))
    torch.testing.assert_close(twice.log_prob(x), once.log_prob(x))


def test_score_is_the_gradient_of_log_prob():
    p = Empirical(normal(60, 2), 0.2, chunk=25)
    x = normal(30, 2, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(p.log_prob_at(x, 0.9, 0.3).sum(), x)
    torch.testing.assert_close(p.score_at(x, 0.9, 0.3).detach(), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_at_1e_6_noise_each_datum_denoises_to_itself(dtype):
    """10^4 points in the unit square, nearest neighbours ~ 1e-4 to 1e-2 apart, far from the origin."""
    data = torch.rand(5000, 2, dtype=f64, generator=torch.Generator().manual_seed(0)).to(dtype) + 10
    p = Empirical(data)
    tolerance = {torch.float32: 2 * 11 * torch.finfo(dtype).eps, f64: 1e-13}[dtype]  # rounding of the data themselves
    assert (p.denoise(data[:500], 1.0, 1e-6) - data[:500]).abs().max() <= tolerance
    score = p.score_at(data[:500], 1.0, 1e-6)
    assert float(score.abs().max()) <= 1e-12 / torch.finfo(f64).eps  # centring rounds at 1e-16, over sigma^2 = 1e-12


@pytest.mark.parametrize("bandwidth", [0.0, 0.2])
def test_the_ends_of_the_schedule(bandwidth):
    data = normal(30, 1, 3, 3).float() + 2
    p, x = Empirical(data, bandwidth), normal(5, 1, 3, 3).float()
    torch.testing.assert_close(p.denoise(x, 0.5, 0.0), x / 0.5, rtol=1e-6, atol=0)
    torch.testing.assert_close(p.denoise(x, 0.0, 1.0), data.mean(0).expand_as(x), rtol=1e-6, atol=0)
    mixed = p.denoise(x, torch.tensor([1.0, 0.5, 0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 0.3, 9.0]))
    torch.testing.assert_close(mixed[:2], x[:2] / torch.tensor([1.0, 0.5]).reshape(2, 1, 1, 1), rtol=1e-6, atol=0)
    torch.testing.assert_close(mixed[3:4], p.denoise(x[3:4], 1.0, 0.3), rtol=1e-6, atol=1e-6)
    assert p.denoise(x[:0], 0.5, 0.5).shape == (0, 1, 3, 3)
    assert p.log_prob_at(x[:0], 0.5, 0.5).shape == (0,)


def test_samples_are_data_plus_kernel_noise():
    """Each datum's count against Binomial(20000, 1/10), and the kernel's variance, at 5 sigma: < 1e-5 false alarms."""
    data = torch.arange(10, dtype=f64)[:, None] * 10
    g = torch.Generator().manual_seed(0)
    x = Empirical(data, 0.5).sample(20_000, generator=g)
    nearest = (x / 10).round()
    counts = torch.bincount(nearest[:, 0].long(), minlength=10)
    assert (counts - 2000).abs().max() < 5 * math.sqrt(20_000 * 0.09)
    assert float((x - 10 * nearest).var()) == pytest.approx(0.25, abs=5 * 0.25 * math.sqrt(2 / 20_000))
    assert torch.isin(Empirical(data).sample(50, generator=g), data).all()


def test_a_hundred_million_pairs_never_hold_more_than_a_few_blocks(monkeypatch):
    """10^4 x 10^4 in 64 dimensions would be 400 MB of float32 distances; no tensor made on the way exceeds 4 MB."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    data = normal(10_000, 64).float()
    x = normal(10_000, 64, seed=1).float()
    p = Empirical(data)
    with Watch():
        p.denoise(x, 0.7, 0.7)
    assert largest <= 4 * 2**20


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Empirical(torch.zeros(4, 2)).log_prob(torch.zeros(1, 2)), "bandwidth 0 has no density at sigma = 0"),
        (lambda: Empirical(torch.zeros(4, 2)).score(torch.zeros(1, 2)), "bandwidth 0 has no density at sigma = 0"),
        (lambda: Empirical(torch.zeros(0, 2)), r"data must not be empty; got shape \(0, 2\)"),
        (lambda: Empirical(torch.tensor([[1.0], [math.nan]])), "data must be finite; 1 of its 2 entries"),
        (lambda: Empirical(torch.zeros(4, 2), -1.0), "bandwidth must be finite and >= 0; got -1"),
        (lambda: Empirical(torch.zeros(4, 2)).denoise(torch.zeros(3), 1, 1), r"x must have shape \(B, 2\); got \(3,\)"),
    ],
)
def test_errors_name_the_argument_and_what_came(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def as_mixture(law):
    flat = law.data.flatten(1).double()
    variances = torch.full_like(flat, law.bandwidth**2)
    return GaussianMixture(torch.full((len(flat),), 1 / len(flat), dtype=torch.float64), flat, variances)


@pytest.mark.parametrize("measured", [1, 2, 6], ids=["one number", "two", "more than there are"])
def test_the_posterior_is_that_of_the_same_mixture(measured):
    generator = torch.Generator().manual_seed(0)
    law = Empirical(torch.randn(7, 2, 2, dtype=torch.float64, generator=generator), 0.3)
    operator = torch.randn(measured, 4, dtype=torch.float64, generator=generator)
    y = torch.randn(measured, dtype=torch.float64, generator=generator)
    noise = torch.linspace(0.1, 0.4, measured, dtype=torch.float64)
    got, want = law.posterior(operator, y, noise), as_mixture(law).posterior(operator, y, noise)
    for name in ("weights", "means", "covariances"):
        torch.testing.assert_close(getattr(got, name), getattr(want, name), rtol=0, atol=1e-10)


def test_the_posterior_at_bandwidth_0_is_refused():
    with pytest.raises(ValueError, match="needs a bandwidth > 0; got 0"):
        Empirical(torch.zeros(2, 3)).posterior(torch.eye(3), torch.zeros(3), 0.1)


@pytest.mark.rounding
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.5), (0.6, 0.8), (1.0, 1e-4), (1.0, 0.0), (0.0, 1.0)])
def test_the_posterior_covariance_is_that_of_the_same_mixture(alpha, sigma):
    generator = torch.Generator().manual_seed(0)
    law = Empirical(torch.randn(7, 2, 2, dtype=torch.float64, generator=generator), 0.3, chunk=3)
    x = torch.randn(50, 2, 2, dtype=torch.float64, generator=generator)
    want = as_mixture(law).posterior_covariance(x.flatten(1), alpha, sigma)
    got = law.posterior_covariance(x, alpha, sigma)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    # sums over 7 data, in float64, and of the 4 entries of a datum
    bound = carried(lambda: law.posterior_covariance(x, alpha, sigma), 7, torch.float64)
    same(law.posterior_covariance(x[7:8], alpha, sigma), got[7:8], bound)
    levels = torch.full((50,), sigma, dtype=torch.float64)
    same(law.posterior_covariance(x, alpha, levels), got, bound)
