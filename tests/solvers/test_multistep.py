"""Multistep methods against loops written out, closed forms, and each other."""

import functools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import lagrange

import scorefield as sf
from scorefield import grids
from scorefield.solvers import DataPrediction, NoisePrediction, PathVelocity, recommended

f64 = torch.float64
CIRCLE = PathVelocity(sf.Cosine(0.0))


def mixture(schedule):
    means = torch.tensor([[1.2, 0.0], [-0.9, 0.6], [-0.2, -1.0]], dtype=f64)
    covariances = torch.diag_embed(torch.tensor([[0.2, 0.1], [0.3, 0.2], [0.1, 0.1]], dtype=f64) ** 2)
    return sf.ExactDenoiser(sf.GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=f64), means, covariances), schedule)


def noise(n=16):
    return torch.randn(n, 2, dtype=f64, generator=torch.Generator().manual_seed(0))


@functools.cache
def solution():
    """(start, the end of the probability-flow ODE from it, which Runge-Kutta of order 4 finds to 1e-6)."""
    exact = mixture(sf.VP())
    times = grids.angular(exact.schedule, 500)
    return noise(256), sf.sample(exact, noise(256), solver=sf.RK4(path=sf.Cosine(0.0)), times=times).x


@pytest.mark.parametrize("schedule", [sf.VP(), sf.SubVP(), sf.EDM(), sf.Rectified()])
@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_gaussian_data_are_solved_exactly_on_the_circle_in_any_number_of_steps(schedule, nfe):
    std = 0.6
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), std**2, dtype=f64)), schedule)
    alpha, sigma = schedule(1.0)
    x_t = torch.hypot(alpha * std, sigma) * noise()
    x = sf.sample(exact, x_t, solver=sf.Multistep(order=4, field=CIRCLE), times=grids.angular(schedule, nfe)).x
    torch.testing.assert_close(x, std * noise(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("field", [DataPrediction(), NoisePrediction()])
def test_order_one_in_an_exponential_field_is_ddim(field):
    exact = mixture(sf.VP())
    times = grids.uniform_log_snr(exact.schedule, 10)
    first = sf.sample(exact, noise(), solver=sf.Multistep(1, field, corrector=False), times=times).x
    torch.testing.assert_close(first, sf.sample(exact, noise(), times=times, solver=sf.DDIM()).x, rtol=0, atol=1e-12)


def written_out(exact, x, times, most, corrector):
    """Adams in data prediction with every integral by adaptive quadrature: one predictor, one corrector, no reuse of
    anything but the evaluations."""
    alpha, sigma = (c.tolist() for c in exact.schedule(times))
    v = [math.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    known = [(v[0], exact(x, times[0]))]

    def step(x, i, nodes):
        weights = []
        for j in range(len(nodes)):
            polynomial = lagrange([n[0] for n in nodes], [float(k == j) for k in range(len(nodes))])
            weights.append(
                quad(lambda u, p=polynomial: sigma[i + 1] * math.exp(u) * p(u), v[i], v[i + 1], epsabs=1e-13)[0]
            )
        return sigma[i + 1] / sigma[i] * x + sum(w * n[1] for w, n in zip(weights, nodes, strict=True))

    for i in range(len(v) - 1):
        past = known[::-1][:most]
        predicted = step(x, i, past)
        if i == len(v) - 2:
            return predicted
        known.append((v[i + 1], exact(predicted, times[i + 1])))
        x = step(x, i, [known[-1], *past]) if corrector else predicted
    raise AssertionError


@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_one_row_of_numbers_a_step_is_the_predictor_and_corrector_written_out(most, corrector):
    exact = mixture(sf.VP())
    times = torch.tensor([1.0, 0.8, 0.65, 0.4, 0.3, 0.1], dtype=f64)
    x = sf.sample(exact, noise(), solver=sf.Multistep(most + corrector, DataPrediction(), corrector), times=times).x
    torch.testing.assert_close(x, written_out(exact, noise(), times, most, corrector), rtol=0, atol=1e-9)


@pytest.mark.parametrize("field", [DataPrediction(), NoisePrediction()])
@pytest.mark.parametrize("finish", [1, 2, 4])
def test_the_endless_last_step_of_an_exponential_field_is_the_prediction_itself(field, finish):
    """lambda(0) is infinite: no polynomial through earlier nodes reaches it, whatever `finish` says."""
    solver, ends = sf.Multistep(4, field, corrector=False, finish=finish), []
    sf.sample(
        mixture(sf.VP()), noise(), solver=solver, times=grids.angular(sf.VP(), 6), callback=lambda *e: ends.append(e)
    )
    _, x, x0 = ends[-1]
    torch.testing.assert_close(x, x0, rtol=0, atol=1e-12)


def test_dpm_solver_pp_2m_is_the_published_formula():
    exact = mixture(sf.VP())
    times = grids.uniform_log_snr(exact.schedule, 8)[:-1]
    alpha, sigma = exact.schedule(times)
    v, x, before = torch.log(alpha / sigma), noise(), None
    for i in range(len(times) - 1):
        d = exact(x, times[i])
        h = v[i + 1] - v[i]
        slope = 0 if before is None else (d - before) * h / (v[i] - v[i - 1])
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * torch.expm1(-h) * (d + slope / 2)
        before = d
    torch.testing.assert_close(sf.sample(exact, noise(), solver=sf.DPMSolverPP(), times=times).x, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [sf.DPMSolverPP(), sf.UniPC(), sf.DEIS(), sf.Multistep()])
def test_every_process_has_the_same_path_after_a_change_of_scale(solver):
    vp, edm = mixture(sf.VP()), mixture(sf.EDM(sigma_max=200.0))
    times = grids.angular(vp.schedule, 12)
    there = edm.schedule.time_of_log_snr(vp.schedule.log_snr(times))
    x_vp = sf.sample(vp, noise() * vp.schedule(1.0)[0], solver=solver, times=times).x
    torch.testing.assert_close(x_vp, sf.sample(edm, noise(), solver=solver, times=there).x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(sigma_max=80.0), sf.VE(from_zero=False), sf.Rectified()])
@pytest.mark.parametrize("nfe", [1, 2, 3, 5, 8, 9, 17, 18, 50])
def test_the_recommended_solver_uses_as_many_evaluations_as_it_may(schedule, nfe):
    exact = mixture(schedule)
    solver, times = recommended(schedule, nfe, data_std=exact.data_std)
    assert (len(times), float(times[0]), float(times[-1])) == (nfe + 1, 1.0, 0.0)
    assert bool((times.diff() < 0).all())
    by_default = sf.sample(exact, (8, 2), nfe=nfe)
    assert by_default.nfe == nfe
    torch.testing.assert_close(by_default.x, sf.sample(exact, (8, 2), solver=solver, times=times).x, rtol=0, atol=0)


@pytest.mark.parametrize(("nfe", "bound"), [(5, 0.2), (8, 0.12), (10, 0.08), (15, 0.01), (20, 0.003), (30, 0.0007)])
def test_the_recommended_solver_is_this_near_the_exact_path(nfe, bound):
    """RMS over the rms of x, on a mixture that was not among those the constants were searched on; the bound is about
    twice what was seen, and DPM-Solver++(2M), log-SNR grid, must be at least twice as far off."""
    exact = mixture(sf.VP())
    x_t, x_0 = solution()
    error = lambda x: float((x - x_0).norm() / x_0.norm())  # noqa: E731
    ours = error(sf.sample(exact, x_t, nfe=nfe).x)
    times = grids.uniform_log_snr(exact.schedule, nfe)
    theirs = error(sf.sample(exact, x_t, solver=sf.DPMSolverPP(), times=times).x)
    assert ours < bound
    assert theirs > 2 * ours


@pytest.mark.parametrize("solver", [sf.Multistep(), sf.Multistep(field=PathVelocity()), sf.Multistep(eta=1.0), None])
@pytest.mark.parametrize("mean", [300.0, [300.0, -30.0]])
@pytest.mark.parametrize("nfe", [2, 12, 20])
def test_a_shift_of_the_data_shifts_the_samples(solver, mean, nfe):
    """To rounding: x is 300 times larger, so are the numbers that cancel in F."""
    schedule, mean = sf.VP(), torch.as_tensor(mean, dtype=f64)
    centred = mixture(schedule)
    law = centred.distribution
    moved = Shifted(law, schedule, mean)
    moved.data_mean = mean + law.mean if mean.ndim else float(mean)  # scalar: off by what the law's own mean is
    centred.data_mean = law.mean if mean.ndim else 0.0
    times = grids.angular(schedule, nfe, scale=centred.data_std)
    alpha = schedule(1.0)[0]
    near = sf.sample(centred, noise(), solver=solver, times=times).x
    far = sf.sample(moved, noise() + alpha * mean, solver=solver, times=times).x
    torch.testing.assert_close(far - mean, near, rtol=0, atol=1e-9)


class Shifted(sf.ExactDenoiser):
    """Of the data plus `by`, by the shift itself."""

    def __init__(self, law, schedule, by):
        super().__init__(law, schedule)
        self.by = by

    def forward(self, x_t, t):
        return super().forward(x_t - self.schedule(t)[0] * self.by, t) + self.by


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sf.Multistep(order=1), "order must be 2 to 5 with corrector=True; got 1"),
        (lambda: sf.Multistep(order=6), "order must be 2 to 5"),
        (lambda: sf.Multistep(finish=0), "finish must be at least 1"),
        (lambda: PathVelocity(scale=0.0), "scale must be positive; got 0.0"),
        (lambda: recommended(sf.VP(), 0), "nfe must be at least 1; got 0"),
        (lambda: recommended(sf.VP(), 8, data_std=0.0), "data_std must be positive; got 0.0"),
        (lambda: grids.angular(sf.VP(), 8, power=0.0), "power, scale and onset must be positive"),
        (lambda: sf.Multistep(eta=-1.0), "eta and quiet at least 0; got 1, -1.0 and 0.0"),
    ],
)
def test_bad_arguments_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
