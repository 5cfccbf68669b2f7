import math

import pytest
import torch

import scorefield as sf
from scorefield import grids

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(alpha_min=0.0), sf.Rectified(), sf.Discrete.linear()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_grids_decrease_from_noise_to_data(schedule, steps):
    for times in (
        grids.uniform(steps),
        grids.quadratic(steps),
        grids.uniform_log_snr(schedule, steps),
        grids.karras(schedule, steps),
    ):
        assert times.shape == (steps + 1,)
        assert times.dtype == f64
        assert bool((times.diff() < 0).all())
        assert float(times[-1]) == 0


def test_uniform_log_snr_is_the_geometric_ladder_of_ncsn():
    """sigma_i = sigma_1 (sigma_L / sigma_1)^((i - 1) / (L - 1)): both ends are levels, the exponent is not i / L."""
    schedule, L = sf.VE(0.01, 50.0), 10
    sigma = schedule.sigma(grids.uniform_log_snr(schedule, L, s_max=50.0, s_min=0.01)[:-1])
    first = float(schedule.sigma(torch.tensor(1.0, dtype=f64)))
    expected = [first * (0.01 / first) ** ((i - 1) / (L - 1)) for i in range(1, L + 1)]
    torch.testing.assert_close(sigma, torch.tensor(expected, dtype=f64), rtol=1e-9, atol=0)


def test_karras_is_the_published_formula():
    schedule, n, rho = sf.EDM(0.002, 80.0), 18, 7
    sigma = schedule.sigma(grids.karras(schedule, n, s_min=0.002, s_max=80.0))
    expected = [(80 ** (1 / rho) + i / (n - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho for i in range(n)]
    torch.testing.assert_close(sigma, torch.tensor([*expected, 0.0], dtype=f64), rtol=1e-9, atol=0)


def test_ddpm_spacings():
    schedule = sf.Discrete.linear(1000)

    def k(times):
        return (times[:-1] * 1000 - 1).round().int().tolist()

    assert k(grids.ddpm(schedule, 4, spacing="leading")) == [750, 500, 250, 0]
    assert k(grids.ddpm(schedule, 4)) == [999, 749, 499, 249]
    assert k(grids.ddpm(schedule, 4, spacing="linspace")) == [999, 666, 333, 0]
    assert k(grids.ddpm(schedule, 1000)) == list(range(999, -1, -1))


def test_a_process_to_pure_noise_starts_where_log_snr_is_finite():
    times = grids.uniform_log_snr(sf.Rectified(), 10, s_max=100.0)
    assert float(times[0]) == pytest.approx(100 / 101)
    assert math.isfinite(float(sf.Rectified().log_snr(times[0])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grids.uniform(0), "steps must be at least 1; got 0"),
        (lambda: grids.karras(sf.VP(), 5, s_min=1e3, s_max=1.0), "s_min must be below"),
        (lambda: grids.ddpm(sf.Discrete.linear(10), 11), r"steps must lie in \[1, 10\]"),
        (
            lambda: grids.ddpm(sf.Discrete.linear(10), 5, spacing="even"),
            "spacing must be one of leading, trailing, linspace",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("grid", [grids.uniform_log_snr, grids.karras])
def test_a_process_that_starts_noisy_has_no_step_of_length_zero(grid):
    """Its noise ratio at t = 0 is the grid's own end: N steps, all of them downwards, in equal ratios."""
    blurred = sf.VE(0.01, 30.0, from_zero=False)
    times = grid(blurred, 6)
    assert len(times) == 7
    assert bool((times.diff() < 0).all())
    assert float(times[-1]) == 0
    if grid is grids.uniform_log_snr:
        torch.testing.assert_close(times, grids.uniform(6), rtol=0, atol=1e-12)  # geometric in t


def test_the_angular_grid_is_its_formula():
    """theta = theta_1 (1 - (i / N)^onset)^power with s = scale tan(theta), in plain numbers."""
    power, scale, onset, n = 1.7, 0.6, 1.4, 9
    times = grids.angular(sf.EDM(sigma_max=80.0), n, power=power, scale=scale, onset=onset)
    first = math.atan(80 / scale)
    expected = [scale * math.tan(first * (1 - (i / n) ** onset) ** power) / 80 for i in range(n + 1)]
    torch.testing.assert_close(times, torch.tensor(expected, dtype=f64), rtol=1e-9, atol=1e-15)


def test_the_angular_grid_begins_and_ends_where_it_is_told_if_the_process_goes_there():
    for schedule in (sf.VP(), sf.EDM(), sf.Rectified()):
        times = grids.angular(schedule, 12, s_max=30.0, s_min=0.1)
        s = schedule.noise_ratio(times[torch.tensor([0, -1])])
        torch.testing.assert_close(s, torch.tensor([30.0, 0.1], dtype=torch.float64), rtol=1e-9, atol=0)
    beyond = grids.angular(sf.VE(from_zero=False), 12, s_max=1e3, s_min=1e-3)
    assert torch.equal(beyond, grids.angular(sf.VE(from_zero=False), 12))
    with pytest.raises(ValueError, match="s_min must be below the largest noise ratio"):
        grids.angular(sf.EDM(), 12, s_max=1.0, s_min=1.0)
