"""Every pair of parameterisations converts exactly, on every schedule, and singular conversions are refused."""

import itertools

import pytest
import torch

import scorefield as sf
from scorefield.parameterizations import Parameterization

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(alpha_min=0.0), sf.Rectified(), sf.Discrete.linear()]
TARGETS = [
    *(sf.X0(), sf.Eps(), sf.V(), sf.Velocity(), sf.Score()),
    *(sf.EDMPreconditioning(sigma_data=0.5), sf.EDMPreconditioning(sigma_data=0.5, skip_std=0.1)),
    sf.ConsistencyPreconditioning(sigma_data=0.5, sigma_min=0.02),
]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def data(schedule: sf.Schedule, t: torch.Tensor):
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(len(t), 3, dtype=f64, generator=generator) for _ in range(2))
    return x0, noise, schedule.perturb(x0, t, noise)


@schedules
@pytest.mark.parametrize(("source", "goal"), list(itertools.product(TARGETS, TARGETS)), ids=lambda p: type(p).__name__)
def test_every_pair_converts(schedule, source, goal):
    t = torch.linspace(0.05, 0.9, 7, dtype=f64)
    x0, noise, x_t = data(schedule, t)
    output = sf.convert(source, goal, schedule, x_t, source.target(schedule, x0, noise, t), t)
    expected = goal.target(schedule, x0, noise, t)
    # sigma/alpha reaches 70 in these schedules: x0 from eps loses that factor of precision
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)


@schedules
@pytest.mark.parametrize("target", TARGETS, ids=lambda p: type(p).__name__)
def test_the_true_target_gives_back_the_datum(schedule, target):
    t = torch.tensor([0.0, 1e-4, 0.3, 0.9], dtype=f64)[1 if isinstance(target, sf.Score) else 0 :]
    x0, noise, x_t = data(schedule, t)
    torch.testing.assert_close(
        target.x0(schedule, x_t, target.target(schedule, x0, noise, t), t), x0, rtol=1e-9, atol=1e-9
    )


@schedules
@pytest.mark.parametrize("target", TARGETS, ids=lambda p: type(p).__name__)
def test_at_sigma_zero_the_network_is_not_believed(schedule, target):
    """x0 = x_t / alpha whatever the output."""
    x = torch.randn(2, 3, dtype=f64)
    torch.testing.assert_close(target.x0(schedule, x, torch.full_like(x, 7.0), 0.0), x)


@pytest.mark.parametrize("skip_std", [None, 0.1])
@schedules
def test_edm_preconditioning_gives_unit_variance_input_and_target(schedule, skip_std):
    """For data of std sigma_data, at every noise level: what Karras et al. (2022) derive it from."""
    t = torch.linspace(0.001, 0.999, 50, dtype=f64)
    edm = sf.EDMPreconditioning(sigma_data=0.5, skip_std=skip_std)
    alpha, sigma = schedule(t)
    a, b = edm.row(schedule, t)
    ones = torch.ones_like(t)
    torch.testing.assert_close(edm.input_scale(schedule, t) ** 2 * (alpha**2 * 0.25 + sigma**2), ones)
    torch.testing.assert_close(a**2 * 0.25 + b**2, ones)


def test_edm_preconditioning_is_the_published_one_at_alpha_one():
    t, schedule, sd = torch.linspace(0.01, 1, 20, dtype=f64), sf.EDM(), 0.5
    sigma = schedule.sigma(t)
    skip, out = sf.EDMPreconditioning(sd).solve(schedule, t)
    torch.testing.assert_close(skip, sd**2 / (sigma**2 + sd**2))
    torch.testing.assert_close(out, sigma * sd / torch.sqrt(sigma**2 + sd**2))
    torch.testing.assert_close(sf.EDMPreconditioning(sd).noise_level(schedule, t), torch.log(sigma) / 4)


def test_a_smaller_skip_keeps_the_target_the_datum_down_to_noise_of_its_size():
    """c_skip = s^2 / (s^2 + sigma^2) at alpha = 1: half at sigma = s, and F the datum (a = 1 / sd) far above it."""
    schedule, s = sf.EDM(sigma_max=10.0), 0.1
    edm = sf.EDMPreconditioning(sigma_data=0.5, skip_std=s)
    t = schedule.time_of_log_snr(-torch.log(torch.tensor([s / 20, s, 20 * s], dtype=f64)))
    skip, _ = edm.solve(schedule, t)
    torch.testing.assert_close(skip, s**2 / (s**2 + schedule.sigma(t) ** 2))
    a, b = edm.row(schedule, t)
    assert float(a[2]) == pytest.approx(1 / 0.5, rel=1e-3)
    assert abs(float(b[0])) > 0.95  # far below it F is the noise, as with the default
    with pytest.raises(ValueError, match="skip_std must be positive, or None; got 0"):
        sf.EDMPreconditioning(skip_std=0)


def test_v_and_velocity_are_well_posed_at_both_ends_of_a_path_to_pure_noise():
    schedule, t = sf.Rectified(), torch.tensor([0.0, 1.0], dtype=f64)
    x0, noise, x_t = data(schedule, t)
    for target in (sf.V(), sf.Velocity(), sf.X0()):
        torch.testing.assert_close(target.x0(schedule, x_t, target.target(schedule, x0, noise, t), t), x0)


@pytest.mark.parametrize(
    ("source", "t"), [(sf.Eps(), 1.0), (sf.Score(), 1.0), (sf.X0(), 0.0)], ids=["eps", "score", "x0"]
)
def test_an_ill_posed_conversion_raises_instead_of_clamping(source: Parameterization, t: float):
    goal = sf.Eps() if isinstance(source, sf.X0) else sf.X0()
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match=rf"does not determine the prediction at t = {t:g}"):
        sf.convert(source, goal, sf.Rectified(), x, x, t)


def test_float32_in_float32_out():
    x = torch.randn(4, 3)
    t = torch.rand(4, dtype=f64)
    assert sf.V().x0(sf.VP(), x, x, t).dtype == torch.float32
    assert sf.V().x0(sf.VP(), x, x, 0.5).dtype == torch.float32


def test_consistency_preconditioning_is_the_published_one_at_alpha_one():
    """In the noise S that it is told, S^2 = sigma^2 + sigma_min^2."""
    t, schedule, sd, least = torch.linspace(0.01, 1, 20, dtype=f64), sf.EDM(), 0.5, 0.02
    told = torch.sqrt(schedule.sigma(t) ** 2 + least**2)
    target = sf.ConsistencyPreconditioning(sd, least)
    skip, out = target.solve(schedule, t)
    torch.testing.assert_close(skip, sd**2 / ((told - least) ** 2 + sd**2))
    torch.testing.assert_close(out, sd * (told - least) / torch.sqrt(told**2 + sd**2))
    torch.testing.assert_close(target.input_scale(schedule, t), 1 / torch.sqrt(told**2 + sd**2))
    torch.testing.assert_close(target.noise_level(schedule, t), 1000 * 0.25 * torch.log(told))
    for wrong in ({"sigma_data": 0.0}, {"sigma_min": -1.0}):
        with pytest.raises(ValueError, match=f"ConsistencyPreconditioning: {next(iter(wrong))} must be positive"):
            sf.ConsistencyPreconditioning(**wrong)
