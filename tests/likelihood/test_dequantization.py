"""Integers whose probabilities are known: grey levels of a mixture that fills its bins unevenly."""

import pytest
import torch
from torch.distributions import Normal

import scorefield as sf
from rounding import carried, same
from scorefield import data
from scorefield.likelihood import Dequantizer, bits_per_dim, fit_dequantizer

f64 = torch.float64
WEIGHTS, MEANS, STDS = torch.tensor([0.5, 0.5], dtype=f64), torch.tensor([0.8, 2.5], dtype=f64), (0.1, 0.2)
LAW = sf.GaussianMixture(WEIGHTS, MEANS[:, None], torch.tensor(STDS, dtype=f64)[:, None] ** 2)
DENOISER = sf.ExactDenoiser(LAW, sf.EDM(sigma_min=1e-3, sigma_max=40.0))
TRANSFORM = data.Scale(1.0, 0.0, 4, float(LAW.mean), float(LAW.variance.sqrt()))


def exact_bits(k):
    """-log2 P(k), P the mass of [k, k + 1)."""
    mass = sum(
        float(w) * (Normal(m, s).cdf(k + 1.0) - Normal(m, s).cdf(k.double()))
        for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)
    )
    return -torch.log2(torch.as_tensor(mass)).flatten()


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    dequantizer = Dequantizer.dense(1, TRANSFORM, hidden=32)
    k = LAW.sample(2000, generator=torch.Generator().manual_seed(1)).floor().clamp(0, 3).long()
    history = fit_dequantizer(dequantizer, DENOISER, k, steps=400, batch_size=256, lr=5e-3)
    return dequantizer, history


def test_it_is_a_density(fitted):
    dequantizer, _ = fitted
    u = (torch.arange(20_000) + 0.5)[:, None] / 20_000
    for k in range(4):
        mass = dequantizer.log_prob(u, torch.full_like(u, k)).exp().mean()
        assert float(mass.detach()) == pytest.approx(1, abs=1e-3)


def test_draws_have_the_density_they_say():
    torch.manual_seed(0)
    dequantizer = Dequantizer.dense(2, data.Scale(0.5, 0.0, 4))
    for p in dequantizer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    k, z = torch.randint(4, (5, 2)), torch.randn(5, 2)
    u, log_q = dequantizer(k, z)
    torch.testing.assert_close(log_q, dequantizer.log_prob(u, k), rtol=1e-3, atol=1e-3)
    jacobian = torch.stack(
        [torch.func.jacrev(lambda v, i=i: dequantizer(k[i : i + 1], v[None]).u[0])(z[i]) for i in range(5)]
    )
    normal = Normal(0, 1).log_prob(z).sum(1)
    torch.testing.assert_close(log_q, normal - torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-4, atol=1e-4)


def test_the_bound_is_nearer_than_uniform_noise_and_no_bits_are_free(fitted):
    """In bits: uniform noise loses 5.1 here, the fitted one 0.23 (standard error 0.06), and its importance-weighted
    bound of four draws 0.09."""
    dequantizer, history = fitted
    assert sum(history[-50:]) < sum(history[:50])
    k = LAW.sample(200, generator=torch.Generator().manual_seed(2)).floor().clamp(0, 3).long()
    exact = float(exact_bits(k).mean())
    options = {"draws": 4, "tolerance": 1e-3}
    uniform = bits_per_dim(DENOISER, k, TRANSFORM, **options)
    variational = bits_per_dim(DENOISER, k, TRANSFORM, dequantizer=dequantizer, **options)
    lost, left = uniform.mean - exact, variational.mean - exact
    assert lost > 4
    assert 0 < left < 0.5
    assert variational.importance_weighted is not None
    assert -0.06 < float(variational.importance_weighted.mean()) - exact < left


@pytest.mark.rounding
def test_a_number_does_not_depend_on_what_stands_beside_it():
    torch.manual_seed(0)
    dequantizer = Dequantizer.dense(1, TRANSFORM, hidden=32)
    for p in dequantizer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    k = torch.tensor([[0], [2], [2]])

    def bits():
        return bits_per_dim(DENOISER, k, TRANSFORM, dequantizer=dequantizer).bits

    alone = bits_per_dim(DENOISER, k[1:2], TRANSFORM, dequantizer=dequantizer, first_index=1)
    same(alone.bits, bits()[1:2], carried(bits, 32, torch.float32))  # the dequantizer's hidden layers


def test_pictures():
    dequantizer = Dequantizer.convolutional(1, data.Scale(1.0, 0.0, 4))
    u, log_q = dequantizer(torch.zeros(3, 1, 5, 6, dtype=torch.uint8), torch.randn(3, 1, 5, 6))
    assert u.shape == (3, 1, 5, 6)
    assert log_q.shape == (3,)
    uniform = torch.rand(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    start = dequantizer.log_prob(uniform, torch.zeros_like(uniform))
    assert -0.05 < float(start.mean()) < 0  # nearly uniform at the start: KL(uniform || q)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="these data are continuous"):
        Dequantizer.dense(1, data.Scale(1.0))
    noisy = sf.ExactDenoiser(LAW, sf.VE(0.5, 50.0, from_zero=False))
    with pytest.raises(ValueError, match=r"begins with noise 0\.5, and a grey level is 1: too much"):
        fit_dequantizer(Dequantizer.dense(1, TRANSFORM), noisy, torch.zeros(4, 1, dtype=torch.long))
    wrong = Dequantizer(torch.nn.Identity(), TRANSFORM)
    wrong.register_parameter("p", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(ValueError, match=r"net must return \(4, 2, 1\); got \(4, 1\)"):
        wrong(torch.zeros(4, 1), torch.zeros(4, 1))
