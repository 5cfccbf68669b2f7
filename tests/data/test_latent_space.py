"""Latent diffusion, against linear autoencoders of Gaussian data: everything it does has a closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield.cli import main
from scorefield.data import Arrays, Scale
from scorefield.storage import models


def covariance(rank, d=6):
    """Of the given rank, eigenvalues 4, 4/2, 4/3, ... along random directions."""
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    values = 4 / torch.arange(1.0, d + 1, dtype=torch.float64) * (torch.arange(d) < rank)
    return basis @ torch.diag(values) @ basis.T


MEAN = torch.linspace(-2, 3, 6, dtype=torch.float64)


def whitened(n, rank):
    """n points whose mean and covariance are exactly MEAN and `covariance(rank)`."""
    z = torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / n)).T
    values, vectors = torch.linalg.eigh(covariance(rank))
    return MEAN + z * values.clamp(min=0).sqrt() @ vectors.T


def space_and_denoiser(rank, k, **options):
    """The PCA latent space of such data, scale measured, and the exact denoiser of the latents."""
    y = whitened(64, rank)
    pca = sf.PCA.fitted(y, k)
    pca.centre = pca.centre - 2 * pca.basis.sum(1)  # still lossless, but z has mean 2: a shift to be found
    space = sf.LatentSpace.measured(pca, y, **options)
    m = space(MEAN[None])[0]
    c = space.scale**2 * pca.basis.T @ covariance(rank) @ pca.basis
    return space, sf.ExactDenoiser(sf.Gaussian(m, c), sf.EDM(sigma_max=1000.0))


def test_measured_latents_have_mean_0_and_std_1():
    space, _ = space_and_denoiser(6, 4)
    x = space(whitened(64, 6))
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)  # latents are kept in float32
    assert float(x.var(correction=0)) == pytest.approx(1, abs=1e-6)
    assert space.shift == pytest.approx(2, abs=1e-6)
    assert (space.mean, space.sigma_data, space.levels) == (0.0, 1.0, None)


@pytest.mark.parametrize("k", [3, 6])
def test_decoded_latent_diffusion_has_the_covariance_of_the_data(k):
    """The flow of Gaussian latents is affine: decoded, its matrix B, read off at unit vectors, has B B^T = C.

    Data of rank k in k latent dimensions: nothing is lost. The flow runs from s = 1000 to 1e-4, which costs 1e-6 of the
    covariance at either end; `decode` with 256 evaluations is exact to 1e-6.
    """
    space, denoiser = space_and_denoiser(k, k)
    starts = torch.cat([torch.zeros(1, k, dtype=torch.float64), torch.eye(k, dtype=torch.float64)])
    moved = space.inverse(sf.decode(denoiser, starts, nfe=256, s_min=1e-4, s_max=1000.0))
    centre, columns = moved[0], moved[1:] - moved[0]
    torch.testing.assert_close(columns.T @ columns, covariance(k), atol=5e-5, rtol=0)
    torch.testing.assert_close(centre, MEAN, atol=5e-5, rtol=0)


def test_samples_come_back_in_the_data_space():
    """The sample covariance of 4,000: standard error sqrt(2 / 4000) of a variance of 4, so 0.09; 5 of them."""
    space, denoiser = space_and_denoiser(3, 3)
    y = space.inverse(sf.sample(denoiser, (4000, 3), nfe=40, dtype=torch.float64).x)
    assert y.shape == (4000, 6)
    torch.testing.assert_close(y.T.cov(), covariance(3), atol=0.45, rtol=0)
    torch.testing.assert_close(y.mean(0), MEAN, atol=5 * 2 / math.sqrt(4000), rtol=0)


def test_an_invertible_autoencoder_has_a_likelihood_that_is_the_datas_own():
    space, denoiser = space_and_denoiser(6, 6, log_det=0.0)
    y = whitened(64, 6)[:8]
    exact = sf.Gaussian(MEAN, covariance(6)).log_prob(y)
    got = sf.log_prob(denoiser, y, transform=space, tolerance=1e-5)
    torch.testing.assert_close(got.log_prob, exact, atol=6 * 1e-4, rtol=0)
    assert abs(6 * math.log(space.scale)) > 0.5  # so that a forgotten Jacobian would show


def test_any_other_has_none():
    space, denoiser = space_and_denoiser(3, 3)
    with pytest.raises(ValueError, match="no density in data space: decoded samples lie on the decoder's image"):
        sf.log_prob(denoiser, whitened(64, 3)[:2], transform=space)


def test_pca_keeps_what_it_can():
    """The squared error of k dimensions is the sum of the eigenvalues left out (Eckart & Young 1936)."""
    y = whitened(64, 6)
    for k in (1, 4, 6):
        pca = sf.PCA.fitted(y, k)
        error = (pca.decode(pca.encode(y)) - y).square().sum(1).mean()
        assert float(error) == pytest.approx(sum(4 / j for j in range(k + 1, 7)), abs=1e-9)


def bytes_and_space(**options):
    images = torch.randint(0, 256, (32, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = Scale.to_unit_range(Arrays(images))
    pca = sf.PCA.fitted(before(images.float() + 0.5), 16)
    return images, sf.LatentSpace.measured(pca, images, before=before, **options)


def test_bytes_go_in_and_come_out():
    images, space = bytes_and_space()
    assert space.levels == 256
    x = space.dequantize(images, torch.Generator().manual_seed(0))
    back = sf.data.quantize(space.inverse(x), space.levels)
    assert (back - images.long()).abs().max() <= 1  # float32 may fall over the edge of a bin
    assert float((back == images.long()).double().mean()) > 0.99
    assert not torch.equal(x, space.dequantize(images, torch.Generator().manual_seed(1)))


def test_the_log_jacobian_adds_up_along_the_way():
    _, space = bytes_and_space(log_det=0.0)
    assert space.log_jacobian(16) == pytest.approx(16 * (math.log(space.scale) + math.log(2 / 256)))


def test_latents_encoded_once_are_those_encoded_in_training():
    images, space = bytes_and_space()
    once = space.latents(Arrays(images, torch.arange(32) % 4))
    scaled = sf.LatentSpace(space.autoencoder, space.scale, space.shift, before=space.before, encoded=True)
    rows = torch.tensor([5, 0])
    x, cond = once.batch(rows)
    torch.testing.assert_close(scaled.dequantize(x), space(images[rows].float() + 0.5))
    assert cond["label"].tolist() == [1, 0]
    torch.testing.assert_close(scaled.inverse(scaled(x)), images[rows].float() + 0.5, atol=0.01, rtol=0)


def test_a_checkpoint_carries_the_autoencoder(tmp_path):
    images, space = bytes_and_space()
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(16, 8, 1), sf.EDM(), sf.EDMPreconditioning(1.0))
    models.save(tmp_path / "c", denoiser, transform=space)
    back = models.load(tmp_path / "c").transform
    assert isinstance(back, sf.LatentSpace)
    assert back.before == space.before
    x = space(images.float())
    assert torch.equal(back(images.float()), x)
    assert torch.equal(back.inverse(x), space.inverse(x))


class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, 2)

    def encode(self, y):
        return self.linear(y)

    def decode(self, z):
        return (z - self.linear.bias) @ torch.linalg.pinv(self.linear.weight).T


def test_training_encodes_and_the_run_decodes(tmp_path):
    """`fit` with an autoencoder of the user's own: it is not trained, and a file brings it back."""
    torch.manual_seed(0)
    y = torch.randn(64, 5)
    own = Own(5)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    space = sf.LatentSpace.measured(own, y)
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2, 8, 1), sf.EDM(), sf.EDMPreconditioning(space.sigma_data))
    trained = sf.training.fit(denoiser, y, transform=space, steps=3, batch_size=8, warmup=1).denoiser
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    models.save(tmp_path / "c", trained, transform=space)
    loaded = models.load(tmp_path / "c", types=[Own])
    x = sf.sample(loaded.denoiser, (3, 2), nfe=3).x
    assert loaded.transform is not None
    assert torch.equal(loaded.transform.inverse(x), space.inverse(sf.sample(trained, (3, 2), nfe=3).x))
    with pytest.raises(ValueError, match="unknown type 'Own' in a checkpoint"):
        models.load(tmp_path / "c")


def test_scorefield_sample_writes_pictures_of_a_latent_model(tmp_path):
    _, space = bytes_and_space()
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(16, 8, 1), sf.EDM(), sf.EDMPreconditioning(1.0))
    models.save(tmp_path / "model", denoiser, {"event_shape": [16]}, transform=space)
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(tmp_path / "model"), "--n", "4", "--nfe", "3", "--out", str(tmp_path / "s.png")])
    assert stop.value.code == 0
    assert (tmp_path / "s.png").exists()
    written = np.load(tmp_path / "s.npz")
    assert written["raw"].shape == (4, 1, 4, 4)
    assert 0 <= written["raw"].min() <= written["raw"].max() <= 255


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: sf.LatentSpace(nn.Identity()), "must have a method 'encode'"),
        (lambda: sf.LatentSpace(sf.PCA((3,), 2), 0.0), "scale must be finite and not 0"),
        (lambda: sf.LatentSpace(sf.PCA((3,), 2), sigma_data=0.0), "sigma_data must be positive; got 0"),
        (lambda: sf.LatentSpace.measured(sf.PCA((3,), 2), torch.ones(4, 3)), "latents that vary; every entry is 1"),
        (lambda: sf.PCA((3,), 4), r"k must lie in 1..3"),
    ],
)
def test_what_makes_no_latent_space_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
