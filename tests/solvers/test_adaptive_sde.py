"""The adaptive SDE against the algorithm written out for one sample; its order, its law, and no word from the batch."""

import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield.distributions import eight_gaussians
from scorefield.randomness import Noise
from scorefield.solvers import adaptive_sde

f64 = torch.float64
OWN = sf.AdaptiveSDE(path=None)


def alone(exact, x, t, end, draws, *, rtol, atol, first, safety=0.9, exponent=0.9):
    """Jolicoeur-Martineau et al. 2021, alg. 1, for one sample of a VP process, with scalar coefficients and a list of
    the (length, increment) known ahead. Returns x and the number of evaluations.
    """
    beta = lambda t: 0.1 + 19.9 * t  # noqa: E731
    score = lambda x, t: sf.score(exact, x[None], t)[0]  # noqa: E731
    h_next, previous, ahead, evaluations, refused = first, x, [], 0, False
    for z in draws:
        if t <= end:
            return x, evaluations
        h = min(h_next, t - end)
        if ahead:
            length, increment = ahead[-1]
            parts = max(1, math.ceil(length / h - 1e-9))
            h = length / parts
            w = increment / parts + math.sqrt(h * (1 - 1 / parts)) * z
        else:
            w = math.sqrt(h) * z
        s = t - h if h < (t - end) * (1 - 1e-9) else end
        euler = x + h * beta(t) * (x / 2 + score(x, t)) + math.sqrt(beta(t)) * w
        other = x + h * beta(s) * (euler / 2 + score(euler, s)) + math.sqrt(beta(s)) * w
        evaluations += 1 if refused else 2
        improved = (euler + other) / 2
        allowed = torch.clamp(rtol * torch.maximum(euler.abs(), previous.abs()), min=atol)
        error = float(((euler - improved) / allowed).square().mean().sqrt())
        refused = error > 1
        if ahead:
            ahead.pop()
            if parts > 1:
                ahead.append((length - h, increment - w))
        if refused:
            ahead.append((h, w))
        proposal = safety * h * error**-exponent
        h_next = max(proposal, h_next) if not refused and h < h_next else proposal
        if not refused:
            x, t, previous = improved, s, euler
    raise AssertionError("more draws needed")


@pytest.mark.parametrize("settings", [{"first": 0.01}, {"first": 0.3, "rtol": 0.05, "atol": 0.02, "safety": 0.99}])
def test_it_is_the_published_algorithm_with_the_noise_of_refused_steps_kept(settings):
    """Eight samples of one batch, each against the scalar loop; the second setting refuses a quarter of its steps."""
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    x = torch.randn(8, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    end = 0.01
    solver = sf.AdaptiveSDE(path=None, **settings)
    got = sf.sample(exact, x, solver=solver, times=torch.tensor([1.0, end], dtype=f64), seed=4)
    noise = Noise(4, torch.arange(8), (2,), f64).normals(range(1, 600))
    rtol, atol = settings.get("rtol", 0.02), settings.get("atol", 1 / 128)
    for i in range(8):
        rest = {k: v for k, v in settings.items() if k in ("first", "safety")}
        expected, evaluations = alone(exact, x[i], 1.0, end, noise[:, i], rtol=rtol, atol=atol, **rest)
        assert got.evaluations is not None
        assert int(got.evaluations[i]) == evaluations
        torch.testing.assert_close(got.x[i], expected, rtol=1e-8, atol=1e-8)


def test_steps_of_fixed_length_have_weak_order_2():
    """With every step allowed and as long as the grid's, a step on Gaussian data is linear, x_s = m x_t + n z: m and n
    are read off two runs, and the variance follows exactly. Its error falls as h^2.
    """
    v = 0.25
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), torch.full((1,), v, dtype=f64)), sf.VP())
    errors = []
    for n in (100, 200, 400):
        times = sf.grids.uniform(n, t_max=0.9, t_min=0.1)
        solver = sf.AdaptiveSDE(atol=1e9, first=1.0, path=None)
        variance = law(exact.schedule, v, times[0])
        for step in solver.plan(exact, times):
            end = solver.step(
                lambda x_t, t, rows=None: exact(x_t, t),
                solver.init(torch.tensor([[1.0], [0.0]], dtype=f64)),
                step,
                lambda k: torch.tensor([[0.0], [1.0]], dtype=f64),
            ).x
            variance = float(end[0]) ** 2 * variance + float(end[1]) ** 2
        errors.append(abs(variance - law(exact.schedule, v, times[-1])))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([sf.AdaptiveSDE().order] * 2, abs=0.2)


def law(schedule, v, t):
    alpha, sigma = schedule(t)
    return float(alpha**2 * v + sigma**2)


N = 20_000


def variance_ratio(solver) -> float:
    exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(1, dtype=f64), torch.full((1,), 0.25, dtype=f64)), sf.VP())
    return float(sf.sample(exact, (N, 1), solver=solver, dtype=f64, seed=1).x.var()) / 0.25


def test_noise_drawn_afresh_after_a_refusal_would_bias_the_law(monkeypatch):
    """One-dimensional Gaussian data, where a step's error hangs on its one increment. With the noise kept the variance
    is right to 4.5 standard errors (0.045); drawn afresh it is more than twice too large.
    """
    solver = sf.AdaptiveSDE(rtol=0.01, first=0.3)
    assert abs(variance_ratio(solver) - 1) < 4.5 * math.sqrt(2 / N)
    monkeypatch.setattr(adaptive_sde._Memory, "keep", lambda *_: None)
    assert variance_ratio(solver) > 2


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified(), sf.Cosine(alpha_min=0.0)], ids=repr)
def test_the_weights_and_widths_of_a_mixture_come_out_on_every_process_at_one_cost(schedule):
    """10,000 samples; total variation of the eight weights has mean 0.009 and standard deviation 0.002 for exact ones,
    so 0.02 is 5 standard deviations up. The variance within modes to 3%: 4.5 standard errors and the steps'.
    """
    weights = torch.tensor([0.22, 0.04, 0.10, 0.16, 0.08, 0.18, 0.06, 0.16])
    target = eight_gaussians(weights=weights)
    got = sf.sample(sf.ExactDenoiser(target, schedule), (10_000, 2), solver=sf.AdaptiveSDE(), seed=2)
    responsibilities = target.responsibilities(got.x)
    assert float((responsibilities.mean(0) - weights).abs().sum() / 2) < 0.02
    mode = responsibilities.argmax(1)
    spread = (got.x - target.means.to(got.x)[mode]).square().mean()
    assert float(spread) == pytest.approx(float(target.variance.mean() - between(target)), rel=0.03)
    assert got.evaluations is not None
    assert 250 < float(got.evaluations.double().mean()) < 350


def between(target) -> float:
    """The variance of the means, a dimension."""
    centred = target.means - target.mean
    return float((target.weights[:, None] * centred.square()).sum(0).mean())


@pytest.mark.parametrize("solver", [sf.AdaptiveSDE(), OWN], ids=["path", "own time"])
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_a_sample_and_its_cost_are_the_same_in_any_batch(solver, dtype):
    """To the bit, though neighbours take other steps, finish earlier and drop out; on a grid with nodes on the way."""
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    times = torch.tensor([1.0, 0.4, 0.1, 0.0], dtype=f64)
    whole = sf.sample(exact, (67, 2), solver=solver, times=times, seed=7, dtype=dtype)
    assert whole.evaluations is not None
    assert len(set(whole.evaluations.tolist())) > 10
    assert whole.nfe == int(whole.evaluations.max())
    for i in (0, 66):
        one = sf.sample(exact, (1, 2), solver=solver, times=times, seed=7, first_index=i, dtype=dtype)
        assert torch.equal(one.x[0], whole.x[i])
        assert one.nfe == int(whole.evaluations[i])
    cut = sf.sample(exact, (67, 2), solver=solver, times=times, seed=7, chunk=23, dtype=dtype)
    assert torch.equal(cut.x, whole.x)


def test_samples_that_have_arrived_cost_nothing_more():
    """The rows the network sees are those `evaluations` counts, not the batch times the longest run."""
    exact, rows = sf.ExactDenoiser(eight_gaussians(), sf.VP()), []

    class Counting(sf.Denoiser):
        schedule, data_std = exact.schedule, exact.data_std

        def forward(self, x_t, t):
            rows.append(len(x_t))
            return exact(x_t, t)

    got = sf.sample(Counting(), (50, 2), solver=sf.AdaptiveSDE())
    assert got.evaluations is not None
    assert sum(rows) == int(got.evaluations.sum()) < 50 * got.nfe


def test_conditions_follow_the_samples_that_are_left():
    class Labelled(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t, *, label):
            return label.to(x_t)[:, None].expand_as(x_t) + 0.1 * x_t

    label = torch.arange(9)
    x = sf.sample(Labelled(), (9, 2), solver=sf.AdaptiveSDE(), cond={"label": label}, dtype=f64).x
    # x = D(x) = label + 0.1 x, but for a tenth of the noise of the SDE; labels are 1.1 apart
    torch.testing.assert_close(x, (label / 0.9)[:, None].expand(9, 2).double(), rtol=0, atol=0.03)


class Broken(sf.Denoiser):
    """Not a number for samples at t below a half."""

    schedule = sf.VP()

    def forward(self, x_t, t):
        return torch.where(torch.as_tensor(t < 0.5).reshape(-1, 1), math.nan, 0.5 * x_t)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sf.AdaptiveSDE(rtol=-0.1), ValueError, "rtol and atol must be at least 0"),
        (lambda: sf.AdaptiveSDE(safety=1.0), ValueError, r"safety must lie in \(0, 1\)"),
        (
            lambda: sf.sample(Broken(), (2, 2), solver=sf.AdaptiveSDE(), nfe=20),
            ValueError,
            r"nfe: AdaptiveSDE chooses its own steps; set rtol \(now 0.02\) instead of 20",
        ),
        (
            lambda: sf.sample(Broken(), (2, 2), solver=sf.Churn(sf.AdaptiveSDE())),
            ValueError,
            "solver must be deterministic",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("solver", [sf.AdaptiveSDE(), sf.AdaptiveSDE(path=None), sf.Adaptive()], ids=str)
@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(), sf.Rectified()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("grid", [None, [0.9, 0.4, 0.0]], ids=str)
def test_one_prediction_that_is_not_finite_costs_the_others_nothing(solver, schedule, dtype, grid):
    class Hole(sf.Denoiser):
        """Forgets what x is in the end: what it makes of NaN is finite there."""

        def __init__(self):
            super().__init__()
            self.schedule, self.data_mean, self.data_std = schedule, 0.0, 1.0

        def forward(self, x_t, t, *, bad):
            late = torch.as_tensor(t, dtype=f64).expand(len(x_t)) < 0.05
            x0 = torch.where((bad & ~late)[:, None, None], math.nan, 0.5 * x_t.clamp(-3, 3))
            return x0.nan_to_num(1.0) if bool(late.all()) else x0

    bad = torch.arange(8) == 3
    times = None if grid is None else torch.tensor(grid, dtype=f64)
    options = {"solver": solver, "times": times, "dtype": dtype}
    if grid is None and solver.path is None and isinstance(schedule, sf.Rectified):
        pytest.skip("its own drift is singular at t = 1")
    with pytest.warns(
        UserWarning, match=r"1 of 8 samples are NaN \(Samples.failed\); the first, number 3, did not"
    ) as w:
        made = sf.sample(Hole(), (8, 2, 3), cond={"bad": bad}, chunk=5, trajectory=True, **options)
    assert len(w) == 1
    assert torch.equal(made.failed, bad)
    assert bool(made.x[3].isnan().all())
    fine = sf.sample(Hole(), (8, 2, 3), cond={"bad": bad & False}, **options)
    assert torch.equal(made.x[~bad], fine.x[~bad])


def test_samples_that_do_not_arrive_are_counted_and_placed(monkeypatch):
    monkeypatch.setattr(adaptive_sde, "ATTEMPTS", 20)
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    with pytest.warns(UserWarning, match=r"5 of 5 samples are NaN .* the first, number 0, did not get on from t = 0\."):
        made = sf.sample(exact, (5, 2), solver=sf.AdaptiveSDE())
    assert bool(made.failed.all())
