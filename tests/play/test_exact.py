"""exact.js against the library: normals, fields, and every solver's trajectories."""

import inspect

import pytest
import torch
from page_cases import COMPONENTS, f64, mixture, node

import scorefield as sf
from scorefield.play.plans import written
from scorefield.randomness import Noise, philox

LAW = mixture()
# All methods whose steps do not depend on the sample; the others have no plan.
SOLVERS = sorted(
    name
    for name, kind in vars(sf.solvers).items()
    if inspect.isclass(kind)
    and issubclass(kind, sf.Solver)
    and not inspect.isabstract(kind)
    and name not in ("Adaptive", "AdaptiveSDE", "Picard", "Tuned", "GaussianExact", "RungeKutta", "Kriging")
)


def test_the_words_of_philox_are_the_librarys():
    counters = [[0, 1, 2, 3], [2**32 - 1, 5, 77, 0], [1, 2**31, 2**32 - 1, 2**32 - 1]]
    key = [123456789, 2**32 - 2]
    words = node("given.counters.map((c) => exact.philox(c, given.key))", {"counters": counters, "key": key})
    assert words == [[int(w) % 2**32 for w in philox((c[0], c[1], c[2], c[3]), (key[0], key[1]))] for c in counters]


def test_normals_and_uniforms_are_the_librarys():
    seed, first, n = 4_000_000_000, 3, 50
    noise = Noise(seed, torch.arange(first, first + n), (2,), f64)
    for draw in (0, 1, 17):
        given = {"seed": seed, "first": first, "n": n, "draw": draw}
        z = torch.tensor(node("exact.normals(given.seed, given.first, given.n, given.draw)", given), dtype=f64)
        torch.testing.assert_close(z.reshape(n, 2), noise.normal(draw), rtol=1e-14, atol=1e-14)
        u = torch.tensor(node("exact.uniforms(given.seed, given.first, given.n, given.draw)", given), dtype=f64)
        assert torch.equal(u, Noise(seed, noise.index, (), f64).uniform(draw))


@pytest.mark.parametrize("size", [2, 3, 4, 10, 64])
def test_normals_of_any_size_are_the_librarys(size):
    z = node("exact.normalsOf(given.seed, 4, 7, 5, given.size)", {"seed": 2**40 + 3, "size": size})
    noise = Noise(2**40 + 3, torch.arange(4, 11), (size,), f64)
    torch.testing.assert_close(torch.tensor(z, dtype=f64).reshape(7, size), noise.normal(5), rtol=1e-14, atol=1e-14)


def test_curvatures_are_those_of_autograd():
    x = LAW.sample(20, generator=torch.Generator().manual_seed(0))
    got = node(
        "exact.curvature(given.c, {alpha: 0.8, sigma: 0.3}, given.x)", {"c": COMPONENTS, "x": x.flatten().tolist()}
    )
    h = torch.func.vmap(torch.func.jacrev(lambda x: LAW.score_at(x[None], 0.8, 0.3)[0]))(x)
    torch.testing.assert_close(torch.tensor(got, dtype=f64).reshape(-1, 3), h.flatten(1)[:, [0, 1, 3]])


@pytest.mark.parametrize("schedule", [sf.VP(), sf.SubVP(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("t", [0.0, 1e-3, 0.2, 0.6, 1.0])
def test_fields_are_exact(schedule, t):
    """To 1e-12 of their scale, or of the data's where they are smaller. Against 80 bits both sides are within 3e-13:
    far out, where log-densities are -10^3 and only their differences matter, float64 leaves no more."""
    alpha, sigma = (float(v) for v in schedule(t))
    g = torch.Generator().manual_seed(0)
    x = alpha * LAW.sample(40, generator=g) + sigma * torch.randn(40, 2, dtype=f64, generator=g)
    x[:3] *= 30  # far out, where every component's density underflows
    given = {"c": COMPONENTS, "level": {"alpha": alpha, "sigma": sigma}, "x": x.flatten().tolist()}
    got = node("exact.field(given.c, given.level, Float64Array.from(given.x))", given)
    noisy = LAW.noised(alpha, sigma)
    torch.testing.assert_close(torch.tensor(got["logp"], dtype=f64), noisy.log_prob(x), rtol=1e-12, atol=1e-12)
    score = torch.tensor(got["score"], dtype=f64).reshape(-1, 2)
    close(score, LAW.score_at(x, alpha, sigma))
    x0 = torch.tensor(got["x0"], dtype=f64).reshape(-1, 2)
    close(x0, LAW.denoise(x, alpha, sigma))
    shares = node("exact.responsibilities(given.c, given.level, given.x[10], given.x[11])", given)
    parts = torch.stack([w.log() + mixture([k]).noised(alpha, sigma).log_prob(x[5:6])[0] for k, w in each()])
    torch.testing.assert_close(torch.tensor(shares, dtype=f64), parts.softmax(0), rtol=1e-12, atol=1e-12)


def close(got, want):
    scale = max(float(want.abs().max()), float(LAW.variance.mean().sqrt()))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * scale)


def each():
    return [(k, torch.tensor(k["w"], dtype=f64)) for k in COMPONENTS]


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_takes_the_librarys_steps(name, schedule):
    """100 evaluations of the same (seed, index), from the start to the data."""
    denoiser = sf.ExactDenoiser(LAW, schedule)
    solver = getattr(sf.solvers, name)()
    try:
        solver, times = solver.within(denoiser, 100)
        plan = written(solver, schedule, times, data_std=denoiser.data_std)
    except ValueError as error:
        if "singular" not in str(error):
            raise
        times = sf.grids.uniform_log_snr(schedule, 50)
        plan = written(solver, schedule, times, data_std=denoiser.data_std)
    ours = sf.sample(denoiser, (5, 2), solver=solver, times=times, seed=7, first_index=2, dtype=f64, trajectory=True)
    given = {"plan": plan, "c": COMPONENTS, "mean": LAW.mean.tolist()}
    path = node(
        "exact.follow(given.plan, exact.start(given.plan, 7, 2, 5, given.mean), exact.denoiser(given.c), 7, 2, "
        "given.mean)",
        given,
    )
    x = torch.tensor(path, dtype=f64).reshape(len(times), 5, 2)
    torch.testing.assert_close(x, ours.trajectory, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["Adaptive", "AdaptiveSDE", "Picard"])
def test_methods_without_a_plan_say_so(name):
    solver = getattr(sf.solvers, name)()
    with pytest.raises(ValueError, match="no plan to write down"):
        written(solver, sf.VP(), torch.tensor([1.0, 0.5, 0.0], dtype=f64))


def test_distances_and_shares_are_the_librarys():
    x, y = (LAW.sample(500, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    given = {"c": COMPONENTS, "x": x.flatten().tolist(), "y": y.flatten().tolist()}
    angles = torch.pi * (torch.arange(64, dtype=f64) + 0.5) / 64
    theta = torch.stack([angles.cos(), angles.sin()])
    want = float(((x @ theta).sort(0).values - (y @ theta).sort(0).values).square().mean().sqrt())
    got = node("exact.slicedDistance(Float64Array.from(given.x), Float64Array.from(given.y))", given)
    assert got == pytest.approx(want, rel=1e-12)
    shares = node("exact.shares(given.c, Float64Array.from(given.x))", given)
    parts = torch.stack([w.log() + mixture([k]).log_prob(x) for k, w in each()])
    counts = torch.bincount(parts.argmax(0), minlength=3)
    assert shares == pytest.approx((counts / len(x)).tolist(), abs=1e-7)


def test_draws_are_of_the_mixture():
    """Mean and covariance of 200,000 draws within 5 standard errors."""
    n = 200_000
    x = torch.tensor(node("exact.draws(given, 200000, 1)", COMPONENTS), dtype=f64).reshape(n, 2)
    truth = LAW.sample(n, generator=torch.Generator().manual_seed(0))
    for power in (1, 2):
        a, b = x**power, truth**power
        assert bool(((a.mean(0) - b.mean(0)).abs() < 5 * (2 / n) ** 0.5 * b.std(0)).all())
    shares = node("exact.shares(given, exact.draws(given, 20000, 3))", COMPONENTS)
    exact = node("exact.shares(given.c, Float64Array.from(given.x))", {"c": COMPONENTS, "x": truth.flatten().tolist()})
    assert shares == pytest.approx(exact, abs=5 * (0.25 / 20_000) ** 0.5)
