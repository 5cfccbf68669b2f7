"""PatchDenoiser against image laws whose denoiser is known."""

import pytest
import torch

import scorefield as sf
from scorefield.denoisers.patches import PatchDenoiser

PATCH = 4
SCHEDULE = sf.VP()


class Patches(sf.Denoiser):
    """The exact denoiser of flat patches, for patches (B, 1, p, p)."""

    def __init__(self, law: sf.Distribution) -> None:
        super().__init__()
        self.exact = sf.ExactDenoiser(law, SCHEDULE)
        self.schedule = SCHEDULE

    def forward(self, x_t, t):
        return self.exact(x_t.flatten(1), t).reshape(x_t.shape)


def correlated():
    """A Gaussian law of 4 x 4 patches with a mean and a full covariance."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(PATCH**2, PATCH**2, generator=generator, dtype=torch.float64)
    return sf.Gaussian(torch.randn(PATCH**2, generator=generator, dtype=torch.float64), root @ root.T / PATCH**2)


def noisy(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_independent_patches_are_denoised_exactly():
    # the image's law: 2 x 3 independent patches, written as one Gaussian on 8 x 12 pixels
    law = correlated()
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    block, place = (rows // PATCH * 3 + columns // PATCH).flatten(), (rows % PATCH * PATCH + columns % PATCH).flatten()
    covariance = law.covariance[place[:, None], place] * (block[:, None] == block)
    image = sf.ExactDenoiser(sf.Gaussian(law.mean[place], covariance), SCHEDULE)
    x = noisy(5, 1, 8, 12)
    t = torch.tensor([0.05, 0.2, 0.4, 0.7, 1.0], dtype=torch.float64)
    expected = image(x.flatten(1), t).reshape(x.shape)
    assert torch.allclose(PatchDenoiser(Patches(law), PATCH, PATCH)(x, t), expected, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(9, 6), (4, 11)])
def test_independent_pixels_are_denoised_exactly_with_any_stride_and_size(stride, size):
    law = sf.Gaussian(torch.full((PATCH**2,), 0.7), 0.3 * torch.eye(PATCH**2))
    x = noisy(3, 1, *size)
    alpha, sigma = SCHEDULE(0.3)
    expected = 0.7 + 0.3 * alpha / (0.3 * alpha**2 + sigma**2) * (x - 0.7 * alpha)
    assert torch.allclose(PatchDenoiser(Patches(law), PATCH, stride)(x, 0.3), expected, atol=1e-6)


def test_a_pixel_is_the_mean_over_the_patches_that_hold_it():
    class Place(sf.Denoiser):  # its answer says where in the patch a pixel stood
        schedule = SCHEDULE

        def forward(self, x_t, t):
            return torch.arange(PATCH, dtype=x_t.dtype).expand(x_t.shape)

    got = PatchDenoiser(Place(), PATCH, 3)(torch.zeros(1, 1, 4, 8), 0.5)[0, 0, 0]
    # patches begin at 0, 3 and 4 (the last ends at the border)
    expected = [0, 1, 2, (3 + 0) / 2, (1 + 0) / 2, (2 + 1) / 2, (3 + 2) / 2, 3]
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_and_batches_do_not_change_an_image(chunk):
    x, t = noisy(3, 1, 10, 9), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    whole = PatchDenoiser(Patches(correlated()), PATCH, 2)(x, t)
    assert torch.allclose(PatchDenoiser(Patches(correlated()), PATCH, 2, chunk=chunk)(x, t), whole, atol=1e-12)
    alone = PatchDenoiser(Patches(correlated()), PATCH, 2)(x[1:2], t[1:2])
    assert torch.allclose(alone, whole[1:2], atol=1e-12)


def test_it_is_a_denoiser():
    class Labelled(Patches):  # a condition of each image reaches each of its patches
        def forward(self, x_t, t, shift):
            return super().forward(x_t, t) + shift[:, None, None, None]

    denoiser = PatchDenoiser(Labelled(correlated()), PATCH, 2, chunk=5)
    plain = PatchDenoiser(Patches(correlated()), PATCH, 2)
    x, shift = noisy(2, 1, 8, 8), torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert torch.allclose(denoiser(x, 0.3, shift=shift), plain(x, 0.3) + shift[:, None, None, None])
    assert plain(x[:0], 0.3).shape == (0, 1, 8, 8)
    drawn = sf.sample(plain, (2, 1, 8, 8), nfe=5, seed=3)
    assert torch.allclose(drawn.x[1:], sf.sample(plain, (1, 1, 8, 8), nfe=5, seed=3, first_index=1).x, atol=1e-5)


def test_the_jacobian_is_symmetric_where_all_pixels_are_in_as_many_patches():
    # the Jacobian of an exact denoiser is: a mean with unequal counts, near the border, is no gradient
    plain = PatchDenoiser(Patches(correlated()), PATCH, 2)
    x, inside = noisy(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    inside[..., 2:6, 2:6] = 1
    u, w = (inside * v for v in noisy(2, 1, 1, 8, 8))
    reverse, forward = (sf.covariance(plain, x, 0.3, u, mode=mode) for mode in ("vjp", "jvp"))
    assert torch.allclose(reverse * inside, forward * inside, atol=1e-12)
    assert float((w * reverse).sum()) == pytest.approx(float((u * sf.covariance(plain, x, 0.3, w)).sum()), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "image", "message"),
    [
        ({"stride": 5}, (1, 1, 8, 8), r"stride must lie in 1\.\.4, the size of a patch; got 5"),
        ({"stride": 2, "chunk": 0}, (1, 1, 8, 8), "chunk must be at least 1; got 0"),
        ({"stride": 2}, (1, 1, 3, 8), r"at least 4 x 4; got \(1, 1, 3, 8\)"),
        ({"stride": 2}, (1, 8, 8), r"x_t must be images \(B, C, H, W\)"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(arguments, image, message):
    with pytest.raises(ValueError, match=message):
        PatchDenoiser(Patches(correlated()), PATCH, **arguments)(torch.zeros(image), 0.5)
