"""The update in each solver's docstring, written out in its own letters, against what the solver does."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad

import scorefield as sf
from scorefield.distributions import eight_gaussians
from scorefield.schedules import derivative

f64 = torch.float64
SCHEDULES = [sf.VP(), sf.SubVP(), sf.EDM(), sf.Rectified(), sf.Discrete.linear()]
TIMES = torch.tensor([0.8, 0.62, 0.5, 0.35], dtype=f64)
STEPS = list(itertools.pairwise(TIMES.tolist()))
START, *NOISE = torch.randn(12, 5, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
NAMED = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)


def model(schedule):
    return sf.ExactDenoiser(eight_gaussians(radius=1.5, std=0.4), schedule)


def ours(solver, exact, start=START, times=TIMES):
    """x at times[-1], the k-th draw NOISE[k]."""
    state = solver.init(start)
    for step in solver.plan(exact, times):
        state = solver.step(exact, state, step, lambda k: NOISE[k % len(NOISE)])
    return state.x


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def levels(schedule, t):
    return tuple(float(c) for c in schedule(t))


def log_snr(schedule, t):
    alpha, sigma = levels(schedule, t)
    return math.log(alpha / sigma)


@NAMED
@pytest.mark.parametrize("large", [False, True])
def test_ddpm(schedule, large):
    exact, x = model(schedule), START
    for (t, s), z in zip(STEPS, NOISE, strict=False):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels(schedule, t), levels(schedule, s)
        a = alpha_t / alpha_s
        b = math.sqrt(sigma_t**2 - a**2 * sigma_s**2)
        noise = b if large else b * sigma_s / sigma_t
        x = a * (sigma_s / sigma_t) ** 2 * x + alpha_s * (b / sigma_t) ** 2 * exact(x, t) + noise * z
    same(ours(sf.DDPM(large_variance=large), exact), x)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_in_the_letters_it_was_published_in(eta):
    chain = sf.Discrete.linear()
    exact, x = model(chain), START
    for (t, s), z in zip(STEPS, NOISE, strict=False):
        abar_t, abar_s = (levels(chain, u)[0] ** 2 for u in (t, s))
        variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
        x0, eps = exact(x, t), sf.eps(exact, x, t)
        x = math.sqrt(abar_s) * x0 + math.sqrt(1 - abar_s - variance) * eps + math.sqrt(variance) * z
    same(ours(sf.DDIM(eta=eta), exact), x)


@NAMED
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_and_analytic_dpm(schedule, eta):
    exact = model(schedule)
    x = y = START
    for (t, s), z in zip(STEPS, NOISE, strict=False):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels(schedule, t), levels(schedule, s)
        b = math.sqrt(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2)
        sigma_eta = eta * b * sigma_s / sigma_t
        rest = math.sqrt(sigma_s**2 - sigma_eta**2)
        x0 = exact(x, t)
        x = alpha_s * x0 + rest * (x - alpha_t * x0) / sigma_t + sigma_eta * z
        of_x = rest / sigma_t
        of_x0 = alpha_s - of_x * alpha_t
        v = exact.data_std**2
        variance = v * sigma_t**2 / (alpha_t**2 * v + sigma_t**2)
        y = of_x * y + of_x0 * exact(y, t) + math.sqrt(sigma_eta**2 + of_x0**2 * variance) * z
    same(ours(sf.DDIM(eta=eta), exact), x)
    same(ours(sf.solvers.AnalyticDPM(eta=eta), exact), y)


@NAMED
def test_euler_heun_and_rk4_in_the_processes_own_time(schedule):
    exact = model(schedule)

    def rate(x, t):
        t = torch.tensor(t, dtype=f64)
        return derivative(schedule.alpha, t) * exact(x, t) + derivative(schedule.sigma, t) * sf.eps(exact, x, t)

    euler = heun = rk4 = START
    for t, s in STEPS:
        h = s - t
        euler = euler + h * rate(euler, t)
        k1 = rate(heun, t)
        heun = heun + h / 2 * (k1 + rate(heun + h * k1, s))
        k1 = rate(rk4, t)
        k2 = rate(rk4 + h / 2 * k1, t + h / 2)
        k3 = rate(rk4 + h / 2 * k2, t + h / 2)
        k4 = rate(rk4 + h * k3, t + h)
        rk4 = rk4 + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    same(ours(sf.Euler(), exact), euler)
    same(ours(sf.Heun(), exact), heun)
    same(ours(sf.RK4(), exact), rk4)


@NAMED
def test_euler_along_a_path(schedule):
    """On the circle: u = 2 theta / pi, z = cos(theta) x0 / sd + sin(theta) eps, dz/du = a' D / sd + b' eps."""
    exact, x = model(schedule), START
    sd = exact.data_std
    for t, s in STEPS:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels(schedule, t), levels(schedule, s)
        angle_t, angle_s = math.atan(sigma_t / (alpha_t * sd)), math.atan(sigma_s / (alpha_s * sd))
        scale_t, scale_s = math.cos(angle_t) / (alpha_t * sd), math.cos(angle_s) / (alpha_s * sd)
        x0, eps = exact(x, t), sf.eps(exact, x, t)
        rate = math.pi / 2 * (math.cos(angle_t) * eps - math.sin(angle_t) * x0 / sd)
        x = (scale_t * x + 2 / math.pi * (angle_s - angle_t) * rate) / scale_s
    same(ours(sf.Euler(path=sf.Cosine(0.0)), exact), x)


@NAMED
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_euler_maruyama_and_its_langevin_corrections(schedule, eta):
    exact, snr = model(schedule), 0.2
    x = y = START
    draws = iter(NOISE)

    def predicted(x, t, s, z):
        f, g2, h = float(schedule.f(t)), float(schedule.g2(t)), t - s
        return x - h * (f * x - (1 + eta**2) / 2 * g2 * sf.score(exact, x, t)) + eta * math.sqrt(g2 * h) * z

    for k, (t, s) in enumerate(STEPS):
        x = predicted(x, t, s, NOISE[k])
        y = predicted(y, t, s, next(draws))
        for _ in range(2):
            e = 2 * (snr * levels(schedule, s)[1]) ** 2
            y = y + e * sf.score(exact, y, s) + math.sqrt(2 * e) * next(draws)
    same(ours(sf.EulerMaruyama(eta=eta), exact), x)
    same(ours(sf.PredictorCorrector(sf.EulerMaruyama(eta=eta), corrections=2, snr=snr), exact), y)


def overdamped(x, exact, level, draws, state, size):
    h = size * levels(exact.schedule, level)[1] ** 2
    return x + h / 2 * sf.score(exact, x, level) + math.sqrt(h) * next(draws)


def exponential(x, exact, level, draws, state, size):
    """v (1 - e) r and the rest, with the mean of the data, which cancels, taken as 0.3."""
    alpha, sigma = levels(exact.schedule, level)
    v, h, m = (alpha * exact.data_std) ** 2 + sigma**2, size * sigma**2, 0.3
    e = math.exp(-h / (2 * v))
    r = sf.score(exact, x, level) + (x - alpha * m) / v
    return alpha * m + e * (x - alpha * m) + v * (1 - e) * r + math.sqrt(v * (1 - e**2)) * next(draws)


def underdamped(x, exact, level, draws, state, size):
    alpha, sigma = levels(exact.schedule, level)
    h = math.sqrt(size)
    gamma = 0.7 * 2 * sigma / math.sqrt((alpha * exact.data_std) ** 2 + sigma**2)
    v = state.setdefault("v", NOISE[2**30 % len(NOISE)])
    v = v + h * sigma * sf.score(exact, x, level)
    x = x + h / 2 * sigma * v
    v = math.exp(-gamma * h) * v + math.sqrt(1 - math.exp(-2 * gamma * h)) * next(draws)
    state["v"] = v
    return x + h / 2 * sigma * v


@NAMED
@pytest.mark.parametrize(
    ("dynamics", "written"),
    [
        (sf.solvers.Overdamped(), overdamped),
        (sf.solvers.Exponential(), exponential),
        (sf.solvers.Underdamped(friction=0.7), underdamped),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_annealed_langevin(schedule, dynamics, written):
    exact, x, draws, state = model(schedule), START, iter(NOISE), {}
    for t, s in STEPS:
        for _ in range(2):
            x = written(x, exact, t, draws, state, 0.4)
        x = levels(schedule, s)[0] / levels(schedule, t)[0] * x
    same(ours(sf.AnnealedLangevin(steps_per_level=2, step_size=0.4, dynamics=dynamics), exact), x)


@NAMED
def test_singlestep_dpm_solvers_with_the_points_they_were_published_with(schedule):
    exact = model(schedule)
    two = three = data = START

    def at(value):
        t = float(schedule.time_of_log_snr(value))
        return (t, *levels(schedule, t))

    def eps(x, t):
        return sf.eps(exact, x, t)

    for t, s in STEPS:
        (alpha_t, sigma_t), (alpha_s, sigma_s), start = levels(schedule, t), levels(schedule, s), log_snr(schedule, t)
        h = log_snr(schedule, s) - start
        u, alpha_u, sigma_u = at(start + h / 2)
        x = alpha_u / alpha_t * two - sigma_u * math.expm1(h / 2) * eps(two, t)
        two = alpha_s / alpha_t * two - sigma_s * math.expm1(h) * eps(x, u)
        x = sigma_u / sigma_t * data - alpha_u * math.expm1(-h / 2) * exact(data, t)
        data = sigma_s / sigma_t * data - alpha_s * math.expm1(-h) * exact(x, u)

        (u, alpha_u, sigma_u), (v, alpha_v, sigma_v) = at(start + h / 3), at(start + 2 * h / 3)
        first = eps(three, t)
        x = alpha_u / alpha_t * three - sigma_u * math.expm1(h / 3) * first
        d = 2 * sigma_v * (math.expm1(2 * h / 3) / (2 * h / 3) - 1) * (eps(x, u) - first)
        x = alpha_v / alpha_t * three - sigma_v * math.expm1(2 * h / 3) * first - d
        d = 3 / 2 * sigma_s * (math.expm1(h) / h - 1) * (eps(x, v) - first)
        three = alpha_s / alpha_t * three - sigma_s * math.expm1(h) * first - d
    same(ours(sf.DPMSolver(order=2), exact), two)
    same(ours(sf.DPMSolver(order=3), exact), three)
    same(ours(sf.DPMSolverPPS(order=2), exact), data)


@NAMED
def test_dpm_solver_pp_2m_and_its_sde_form(schedule):
    exact = model(schedule)
    x = y = START
    past, h_past = (), 0.0
    for (t, s), z in zip(STEPS, NOISE, strict=False):
        (_, sigma_t), (alpha_s, sigma_s) = levels(schedule, t), levels(schedule, s)
        h = log_snr(schedule, s) - log_snr(schedule, t)
        now = exact(x, t), exact(y, t)
        ahead = now
        if past:
            r = h_past / h
            ahead = [(1 + 1 / (2 * r)) * new - 1 / (2 * r) * old for new, old in zip(now, past, strict=True)]
        x = sigma_s / sigma_t * x - alpha_s * math.expm1(-h) * ahead[0]
        y = sigma_s / sigma_t * math.exp(-h) * y + alpha_s * (1 - math.exp(-2 * h)) * ahead[1]
        y = y + sigma_s * math.sqrt(1 - math.exp(-2 * h)) * z
        past, h_past = now, h
    same(ours(sf.DPMSolverPP(), exact), x)
    same(ours(sf.DPMSolverPP(eta=1.0), exact), y)


def integral(f, low, high):
    return quad(f, low, high, epsabs=1e-13, epsrel=1e-13)[0]


def product(f, g):
    return lambda v: f(v) * g(v)


def adams(step, field, nodes, reads, *, corrector, midpoint=False):
    """step(i) -> (keep, kernel, noise) and F = field(x, i) along the variable with these nodes: the polynomial through
    F at up to `reads` nodes, integrated by adaptive quadrature; repeated, to correct it, with F at its end."""

    def weights(i, used):
        kernel, (low, high) = step(i)[1], nodes[i : i + 2]

        def basis(j):
            return lambda v: math.prod((v - nodes[m]) / (nodes[j] - nodes[m]) for m in used if m != j)

        if midpoint and len(used) == 2:
            mass = integral(kernel, low, high)
            return [mass * basis(j)((low + high) / 2) for j in used]
        return [integral(product(kernel, basis(j)), low, high) for j in used]

    x, fields, base = START, [], START
    for i in range(len(nodes) - 1):
        fields.append(field(x, i))
        if corrector and i > 0:
            used = list(range(i, max(i - 1 - reads, -1), -1))
            x = base + sum(w * fields[j] for w, j in zip(weights(i - 1, used), used, strict=True))
        keep, _, noise = step(i)
        base = keep * x + noise * NOISE[i]
        used = list(range(i, max(i - reads, -1), -1))
        x = base + sum(w * fields[j] for w, j in zip(weights(i, used), used, strict=True))
    return x


MULTISTEP = torch.tensor([0.8, 0.7, 0.62, 0.5, 0.42, 0.35], dtype=f64)


@NAMED
def test_multistep_methods_in_lambda(schedule):
    exact, times = model(schedule), MULTISTEP.tolist()
    nodes = [log_snr(schedule, t) for t in times]
    at = [levels(schedule, t) for t in times]

    def noise_prediction(i):
        (alpha_t, _), (alpha_s, _) = at[i : i + 2]
        return alpha_s / alpha_t, lambda v: -alpha_s * math.exp(-v), 0.0

    def data_prediction(i, tau=0.0):
        (_, sigma_t), (_, sigma_s) = at[i : i + 2]
        end, h = nodes[i + 1], nodes[i + 1] - nodes[i]
        return (
            sigma_s / sigma_t * math.exp(-(tau**2) * h),
            lambda v: (1 + tau**2) * sigma_s * math.exp(v - tau**2 * (end - v)),
            sigma_s * math.sqrt(1 - math.exp(-2 * tau**2 * h)),
        )

    def x0(x, i):
        return exact(x, times[i])

    written = {
        sf.DEIS(): adams(noise_prediction, lambda x, i: sf.eps(exact, x, times[i]), nodes, 3, corrector=False),
        sf.DPMSolverPP(order=3): adams(data_prediction, x0, nodes, 3, corrector=False, midpoint=True),
        sf.UniPC(): adams(data_prediction, x0, nodes, 2, corrector=True, midpoint=True),
        sf.SASolver(): adams(lambda i: data_prediction(i, 1.0), x0, nodes, 3, corrector=True),
        sf.SASolver(eta=0.6): adams(lambda i: data_prediction(i, 0.6), x0, nodes, 3, corrector=True),
    }
    for solver, expected in written.items():
        same(ours(solver, exact, times=MULTISTEP), expected)


@NAMED
def test_stochastic_adams_and_a_tuned_row_on_the_circle(schedule):
    exact, times = model(schedule), MULTISTEP.tolist()
    sd = exact.data_std
    at = [levels(schedule, t) for t in times]
    angles = [math.atan(sigma / (alpha * sd)) for alpha, sigma in at]
    scales = [math.cos(angle) / (alpha * sd) for angle, (alpha, _) in zip(angles, at, strict=True)]

    def step(i):
        """Of x = z / scale, and with F = du/dtheta dz/du against dtheta."""
        k = math.cos(angles[i]) / math.cos(angles[i + 1])
        kernel = lambda theta: 2 * math.cos(theta) / math.cos(angles[i + 1]) / scales[i + 1]  # noqa: E731
        return k * scales[i] / scales[i + 1], kernel, math.sqrt(1 - k**2) / scales[i + 1]

    def field(x, i):
        return math.cos(angles[i]) * sf.eps(exact, x, times[i]) - math.sin(angles[i]) * exact(x, times[i]) / sd

    expected = adams(step, field, angles, 3, corrector=True)
    same(ours(sf.StochasticAdams(quiet=0.0), exact, times=MULTISTEP), expected)

    ratios, rows = (2.0, 0.7, 0.0), ((0.95, -0.3), (1.02, -0.6, 0.1))
    method = sf.solvers.Tuned(ratios, rows)
    grid = method.grid(exact)
    z, past, x = None, [], START
    for t, s, (r0, *r), ratio, next_ratio in zip(grid, grid[1:], rows, ratios, ratios[1:], strict=False):
        theta, after = math.atan(ratio), math.atan(next_ratio)
        z = math.cos(theta) / (float(schedule.alpha(t)) * sd) * x
        rate = math.pi / 2 * (math.cos(theta) * sf.eps(exact, x, t) - math.sin(theta) * exact(x, t) / sd)
        past = [rate, *past]
        z = r0 * z + sum(w * f for w, f in zip(r, past, strict=False))
        x = z * float(schedule.alpha(s)) * sd / math.cos(after)
    same(ours(method, exact, times=grid), x)


@NAMED
def test_churn_around_ddim(schedule):
    exact, x, amount, spread = model(schedule), START, 1.2, 1.01
    gamma = min(amount / len(STEPS), math.sqrt(2) - 1)
    for (t, s), z in zip(STEPS, NOISE, strict=False):
        alpha, sigma = levels(schedule, t)
        ratio = sigma / alpha
        up = float(schedule.time_of_log_snr(-math.log((1 + gamma) * ratio)))
        alpha_up, sigma_up = levels(schedule, up)
        x = alpha_up / alpha * x + spread * alpha_up * math.sqrt((sigma_up / alpha_up) ** 2 - ratio**2) * z
        alpha_s, sigma_s = levels(schedule, s)
        x = alpha_s * exact(x, up) + sigma_s * sf.eps(exact, x, up)
    same(ours(sf.solvers.Churn(sf.DDIM(), amount=amount, noise=spread), exact), x)
