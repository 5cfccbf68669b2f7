"""Data to latent and back against closed forms: Gaussians have their latents written down, mixtures return."""

import math
from itertools import pairwise

import pytest
import torch

import scorefield as sf
from scorefield import data, networks

f64 = torch.float64
S_MIN, S_MAX = 2e-3, 40.0  # the documented ends, in data_std
SCHEDULES = [sf.VP(), sf.SubVP(), sf.EDM(), sf.VE(), sf.Cosine(), sf.Rectified()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact(law, schedule=None):
    return sf.ExactDenoiser(law, schedule or sf.VP())


def mixture():
    means = torch.tensor([[1.2, 0.0], [-0.9, 0.6], [-0.2, -1.0]], dtype=f64)
    covariances = torch.diag_embed(torch.tensor([[0.2, 0.1], [0.3, 0.2], [0.1, 0.1]], dtype=f64) ** 2)
    return sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, covariances)


def high_dimensional():
    means = 0.7 * torch.randn(10, 64, dtype=f64, generator=generator(1))
    factors = 0.3 * torch.randn(10, 64, 4, dtype=f64, generator=generator(2))
    tenths = torch.full((10,), 0.1, dtype=f64)
    return sf.GaussianMixture.low_rank(tenths, means, torch.full((10, 64), 0.01, dtype=f64), factors)


def smoothed_digits():
    x = (data.digits().train.to(f64) + 0.5) / 8.5 - 1
    return sf.Empirical(x, bandwidth=0.1)


VARIANCES = torch.tensor([0.04, 0.5, 3.0], dtype=f64)
MEAN = torch.tensor([1.0, -2.0, 0.0], dtype=f64)


def gaussian():
    return sf.Gaussian(MEAN, VARIANCES)


def latent_of_gaussian(x, variances=VARIANCES, mean=MEAN, s_max=S_MAX):
    """The flow scales each axis by sqrt(c + s^2); z is standardised by the mean variance."""
    sd2 = float(variances.mean())
    low, high = S_MIN**2 * sd2, s_max**2 * sd2
    return torch.sqrt((variances + high) / ((variances + low) * (sd2 + high))) * (x - mean)


def rms(x):
    return float(x.square().mean().sqrt())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_latents_of_gaussian_data_are_the_closed_form(schedule):
    """1e-4 is about twice what 100 evaluations leave on axes of 0.2 to 1.6 standard deviations of the mean."""
    x = gaussian().sample(64, generator=generator())
    s_max = min(S_MAX, float(schedule.noise_ratio(1.0)) / math.sqrt(float(VARIANCES.mean())))
    z = sf.encode(exact(gaussian(), schedule), x, nfe=100).z
    torch.testing.assert_close(z, latent_of_gaussian(x, s_max=s_max), rtol=0, atol=1e-4)


def slopes(errors):
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


def test_latents_converge_with_order_four_and_round_trips_of_smooth_data_with_three():
    """Three, since `decode` begins with an Euler step and its correction: seen from 400 steps on; on a mixture that
    term is still below the others."""
    x = gaussian().sample(64, generator=generator())
    found = [sf.encode(exact(gaussian()), x, nfe=nfe, round_trip=True) for nfe in (100, 200, 400)]
    assert slopes([rms(e.z - latent_of_gaussian(x)) for e in found]) == pytest.approx([4, 4], abs=0.1)
    found = [sf.encode(exact(gaussian()), x, nfe=nfe, round_trip=True) for nfe in (400, 800, 1600)]
    assert slopes([rms(e.error) for e in found]) == pytest.approx([3, 3], abs=0.2)
    x = mixture().sample(64, generator=generator())
    found = [sf.encode(exact(mixture()), x, nfe=nfe, round_trip=True) for nfe in (100, 200, 400)]
    assert min(slopes([rms(e.error) for e in found])) > 3.8


@pytest.mark.parametrize("law", [mixture, high_dimensional, smoothed_digits], ids=lambda f: f.__name__)
def test_a_round_trip_at_the_default_nfe_returns_the_data_to_a_thousandth(law):
    """RMS over all entries of 100 samples, some of which lie where trajectories part."""
    x = law().sample(100, generator=generator()).to(f64)
    encoded = sf.encode(exact(law()), x, round_trip=True)
    assert rms(encoded.error) < 1e-3
    assert encoded.nfe == 64
    back = sf.decode(exact(law()), encoded.z)
    torch.testing.assert_close((back - x).flatten(1).square().mean(1).sqrt(), encoded.error)


@pytest.mark.parametrize("law", [mixture, smoothed_digits], ids=lambda f: f.__name__)
@pytest.mark.parametrize("schedule", [sf.EDM(), sf.VE(), sf.Cosine(), sf.Rectified()], ids=lambda s: type(s).__name__)
def test_the_latent_is_the_same_on_every_schedule(law, schedule):
    x = law().sample(32, generator=generator()).to(f64)
    z = sf.encode(exact(law()), x, nfe=40).z
    torch.testing.assert_close(sf.encode(exact(law(), schedule), x, nfe=40).z, z, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        sf.decode(exact(law(), schedule), z, nfe=40), sf.decode(exact(law()), z, nfe=40), rtol=0, atol=1e-6
    )


def test_one_network_read_as_vp_and_as_ve_has_one_latent():
    """The EDM preconditioning sees sigma / alpha alone, so its network is a model of all. float32."""
    net = networks.MLP(dim=8, hidden=32, depth=2).eval()
    for i, weight in enumerate(net.parameters()):
        torch.nn.init.normal_(weight, std=0.2, generator=generator(i))  # new networks are zero
    read = [sf.NetworkDenoiser(net, schedule, sf.EDMPreconditioning()) for schedule in (sf.VP(), sf.VE(), sf.EDM())]
    x = torch.randn(16, 8, generator=generator())
    vp, ve, edm = (sf.encode(denoiser, x, nfe=40).z for denoiser in read)
    torch.testing.assert_close(ve, vp, rtol=0, atol=1e-4)
    torch.testing.assert_close(edm, vp, rtol=0, atol=1e-4)
    assert rms(vp - x) > 0.05  # the network does something


def test_latents_of_data_are_standard_normal():
    """Second moments of 4,000, and their fourth on an axis: 4.5 standard errors."""
    n = 4000
    z = sf.encode(exact(mixture()), mixture().sample(n, generator=generator()).to(f64), nfe=40).z
    second = z.mT @ z / n
    assert float((second - torch.eye(2, dtype=f64)).abs().max()) < 4.5 * math.sqrt(2 / n) + 1e-3
    assert float((z**4).mean(0).sub(3).abs().max()) < 4.5 * math.sqrt(96 / n)
    assert float(z.mean(0).abs().max()) < 4.5 / math.sqrt(n) + 1e-3


def test_decode_ends_at_the_smallest_noise_and_the_difference_is_of_second_order_in_it():
    """`sample` ends at sigma = 0: on an axis of variance c the two differ by a factor sqrt(1 + s_min^2 / c)."""
    denoiser, z = exact(gaussian()), torch.randn(64, 3, dtype=f64, generator=generator())
    sd = denoiser.data_std
    times = sf.grids.angular(denoiser.schedule, 400, scale=2 * sd, s_max=S_MAX * sd)
    mean, std = denoiser.schedule.prior(times[0], mean=MEAN, std=sd)
    x = sf.sample(denoiser, mean + std * z, solver=sf.Multistep(), times=times).x - MEAN
    stretched = x * torch.sqrt(1 + (S_MIN * sd) ** 2 / VARIANCES)
    torch.testing.assert_close(sf.decode(denoiser, z, nfe=400) - MEAN, stretched, rtol=0, atol=2e-7)
    assert rms(stretched - x) > 1e-6  # more than the tolerance


def test_a_samples_latent_does_not_depend_on_its_batch():
    """To the bit, with an exact denoiser."""
    denoiser, x = exact(mixture()), mixture().sample(64, generator=generator())
    whole = sf.encode(denoiser, x, nfe=12, round_trip=True)
    alone = sf.encode(denoiser, x[5:6], nfe=12, round_trip=True)
    assert torch.equal(alone.z, whole.z[5:6])
    assert alone.error is not None
    assert whole.error is not None
    assert torch.equal(alone.error, whole.error[5:6])
    assert torch.equal(sf.encode(denoiser, x, nfe=12, chunk=13).z, whole.z)
    assert torch.equal(sf.decode(denoiser, whole.z, nfe=12, chunk=13)[5:6], sf.decode(denoiser, alone.z, nfe=12))


def test_conditions_go_with_their_samples():
    """Class k is N(k, 1), whose latent is that of the standard normal, shifted."""
    denoiser, label = Classes(), torch.tensor([0, 3, 1, 3])
    x = label[:, None] + torch.randn(4, 2, dtype=f64, generator=generator())
    ones, zeros = torch.ones(2, dtype=f64), torch.zeros(2, dtype=f64)
    expected = latent_of_gaussian(x, ones, label[:, None].to(f64)) + label[:, None] / math.sqrt(1 + S_MAX**2)
    z = sf.encode(denoiser, x, cond={"label": label}, chunk=3).z
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-4)
    still = sf.move(denoiser, x, zeros, cond={"label": label})
    torch.testing.assert_close(still, x, rtol=0, atol=1e-4)
    path = sf.interpolate(denoiser, x, x, 3, cond={"label": label}, chunk=5)
    torch.testing.assert_close(path, x.expand(3, 4, 2), rtol=0, atol=1e-4)


class Classes(sf.Denoiser):
    """Class k is N(k, 1): E[x0 | x] = k + alpha (x - alpha k) / (alpha^2 + sigma^2)."""

    schedule = sf.VP()

    def forward(self, x_t, t, *, label):
        alpha, sigma = self.schedule(t)
        k = label[:, None]
        return k + alpha * (x_t - alpha * k) / (alpha**2 + sigma**2)


# --- slerp ---


def test_slerp_goes_along_the_arc_at_constant_speed_and_length():
    """In the plane it is a turn: from angle 0.3 to 2.0."""
    at = lambda angle: torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]], dtype=f64)  # noqa: E731
    for w in (0.0, 0.25, 0.5, 1.0):
        torch.testing.assert_close(sf.slerp(at(0.3), at(2.0), w), at(0.3 + 1.7 * w), rtol=0, atol=1e-14)


def test_slerp_of_vectors_of_two_lengths_passes_between_them():
    a, b = torch.tensor([[1.0, 0.0]], dtype=f64), torch.tensor([[0.0, 3.0]], dtype=f64)
    torch.testing.assert_close(sf.slerp(a, b, 0.5), torch.full((1, 2), math.sqrt(2), dtype=f64))
    assert torch.equal(sf.slerp(a, b, torch.tensor([0.0])), a)


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-9, 1e-4])
def test_slerp_of_nearly_parallel_vectors_is_the_straight_line(gap):
    a = torch.tensor([[3.0, 4.0, 0.0]], dtype=f64)
    b = a * 1.5 + gap * torch.tensor([[0.0, 0.0, 1.0]], dtype=f64)
    torch.testing.assert_close(sf.slerp(a, b, 0.3), torch.lerp(a, b, 0.3), rtol=0, atol=2 * gap**2 + 1e-14 + 0.1 * gap)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-4])
def test_slerp_of_opposite_vectors_keeps_the_length_on_the_way(gap):
    a = torch.tensor([[3.0, 4.0, 0.0]], dtype=f64)
    middle = sf.slerp(a, -a + gap * torch.tensor([[0.0, 0.0, 1.0]], dtype=f64), 0.5)
    assert float(middle.norm()) == pytest.approx(5, abs=1e-7)
    assert float((middle * a).sum()) == pytest.approx(0, abs=10 * gap + 1e-12)


def test_slerp_from_nothing_takes_the_others_direction():
    a, b = torch.zeros(1, 2, dtype=f64), torch.tensor([[3.0, 4.0]], dtype=f64)
    torch.testing.assert_close(sf.slerp(a, b, 0.5), b / 2)
    torch.testing.assert_close(sf.slerp(b, a, 0.25), 0.75 * b)
    assert torch.equal(sf.slerp(a, a, 0.5), a)


def test_each_sample_has_its_own_share():
    a, b = (torch.randn(3, 1, 4, 4, generator=generator(i)) for i in (0, 1))
    w = torch.tensor([0.0, 0.4, 1.0])
    whole = sf.slerp(a, b, w)
    assert whole.dtype == torch.float32
    for i in range(3):
        assert torch.equal(sf.slerp(a[i : i + 1], b[i : i + 1], float(w[i])), whole[i : i + 1])


# --- walks ---


@pytest.mark.parametrize("w", [1, 2])
def test_the_path_between_gaussian_data_has_the_law_of_the_data_but_for_its_length(w):
    """Directions of independent latents stay uniform, lengths are r = (1 - w) r_a + w r_b of two chi variables:

        Cov x_w = C E r^2 / d,   E r^2 = ((1 - w)^2 + w^2) d + 2 w (1 - w) (E chi_d)^2,

    0.92 of the data's variance in the middle for d = 3, 1 - 1/(4 d) for many dimensions. 4.5 standard errors; the
    variances of the path are those of data, whatever the axis, where the straight line in the latent has half."""
    n, d, share = 20_000, 3, (0.0, 0.25, 0.5)[w]
    law = sf.Gaussian(torch.zeros(d, dtype=f64), VARIANCES)
    x_a, x_b = (law.sample(n, generator=generator(i)) for i in (0, 1))
    x = sf.interpolate(exact(law), x_a, x_b, 5, nfe=32)[w]
    chi = math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    length2 = ((1 - share) ** 2 + share**2) * d + 2 * share * (1 - share) * chi**2
    covariance = x.mT @ x / n / torch.sqrt(VARIANCES[:, None] * VARIANCES)
    # z_max^2 / z_min^2 - 1 between axes is (3 - 0.04) / 40^2 / sd^2: the latent is white to 2e-3
    expected = length2 / d * torch.eye(d, dtype=f64)
    assert float((covariance - expected).abs().max()) < 4.5 * math.sqrt(2 / n) + 4e-3


def test_an_interpolation_begins_and_ends_at_its_ends():
    x_a, x_b = (mixture().sample(16, generator=generator(i)) for i in (0, 1))
    path = sf.interpolate(exact(mixture()), x_a, x_b, 4)
    assert rms(path[0] - x_a) < 1e-3
    assert rms(path[-1] - x_b) < 1e-3
    back = sf.interpolate(exact(mixture()), x_b, x_a, 4).flip(0)
    torch.testing.assert_close(back, path, rtol=0, atol=1e-9)


def test_moving_gaussian_data_adds_the_difference_of_means():
    """The latent is an affine map of the data, so what is added to the mean in one is added in the other."""
    denoiser, law = exact(gaussian()), gaussian()
    x, with_, without = (law.sample(n, generator=generator(n)) for n in (8, 50, 60))
    direction = sf.attribute_direction(denoiser, with_, without)
    difference = with_.mean(0) - without.mean(0)
    torch.testing.assert_close(direction, latent_of_gaussian(MEAN + difference), rtol=0, atol=2e-4)
    amount = torch.linspace(-2, 2, 8, dtype=f64)
    moved = sf.move(denoiser, x, direction, amount)
    torch.testing.assert_close(moved, x + amount[:, None] * difference, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, x: sf.encode(d, x.long()), "x must be floating point of shape"),
        (lambda d, x: sf.encode(d, x / 0), "x must be finite; got NaN or infinity"),
        (lambda d, x: sf.decode(d, x / 0), "z must be finite"),
        (lambda d, x: sf.encode(d, x, nfe=0), "nfe must be at least 1; got 0"),
        (lambda d, x: sf.encode(d, x, s_min=1.0, s_max=0.5), "s_min and s_max must be positive, s_min the smaller"),
        (lambda d, x: sf.encode(d, x, s_min=500.0, s_max=600.0), "s_min must be below the largest noise ratio"),
        (lambda d, x: sf.slerp(x, x[:1], 0.5), r"a and b must have one shape .*got \(4, 2\) and \(1, 2\)"),
        (lambda d, x: sf.interpolate(d, x, x, 1), "steps must be at least 2"),
        (lambda d, x: sf.interpolate(d, x, x[:2], 3), "x_a and x_b must have one shape"),
        (lambda d, x: sf.attribute_direction(d, x, x[:0]), "x_without must hold at least one sample"),
        (lambda d, x: sf.move(d, x, x), r"direction must have the shape of a sample, \(2,\); got \(4, 2\)"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(exact(mixture()), torch.ones(4, 2, dtype=f64))
    assert "\n" not in str(error.value)
