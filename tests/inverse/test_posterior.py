"""Particle methods against posteriors and evidences in closed form."""

import contextlib
import math

import pytest
import torch
from posterior_cases import (
    NOISE,
    condition,
    exact,
    f64,
    gaussian,
    likelihood,
    log_evidence,
    mixture,
    normal,
    operator,
    posterior,
)

import scorefield as sf
from rounding import OtherKernels, carried, same
from scorefield.inverse import (
    DAPS,
    DDNM,
    DDRM,
    DPS,
    Bridge,
    DiffPIR,
    FullCovariance,
    GaussianNoise,
    Guidance,
    IsotropicCovariance,
    LaplaceBridge,
    Likelihood,
    MomentMatching,
    PiGDM,
    PosteriorSamples,
    REDDiff,
    TwistedSMC,
    recommended,
)
from scorefield.inverse.linear import Whitened
from scorefield.inverse.moments import dense_covariance, identity
from scorefield.inverse.operators import Dense, Operator, conjugate_gradients

STD = torch.tensor([0.3, 0.5], dtype=f64)
METHODS = {
    "bridge": Bridge(particles=8),
    "isotropic bridge": Bridge(particles=8, covariance=IsotropicCovariance()),
    "tds": TwistedSMC(particles=8),
    "moment matching": Guidance(MomentMatching),
    "pigdm": Guidance(PiGDM),
    "diffpir": Guidance(DiffPIR, solver=sf.DDPM()),
    "ddnm": Guidance(DDNM),
    "dps": DPS(),
    "ddrm": DDRM(),
    "daps": DAPS(),
    "red-diff": REDDiff(),
}


@pytest.mark.parametrize("noise", [NOISE, STD, STD.expand(2, 2)], ids=["one noise", "by number", "by observation"])
@pytest.mark.parametrize("nfe", [1, 4])
def test_the_bridge_is_exact_for_gaussian_data_at_any_number_of_steps(nfe, noise):
    """Mean and covariance to 4.5 standard errors of 4,000; every weight is the same but for the start at t = 1."""
    law, n = gaussian(), 4000
    given = likelihood(law, noise=noise)
    drawn = condition(exact(law), given, Bridge(particles=100)).sample(n, nfe=nfe)
    for i in range(2):
        std = given.noise_std[i] if torch.as_tensor(noise).ndim == 2 else noise
        truth = law.posterior(given.operator.matrix, given.y[i], std)
        spread = truth.variance.sqrt()
        assert float(((drawn.mean[i] - truth.mean) / spread).abs().max()) < 4.5 / math.sqrt(n)
        apart = (torch.cov(drawn.x[i].T) - truth.covariance) / torch.outer(spread, spread)
        assert float(apart.abs().max()) < 4.5 * math.sqrt(2 / n)
    assert float(drawn.ess.min()) > 0.99
    if torch.as_tensor(noise).ndim < 2:  # alpha(1)^2 = 4e-5 of the data's covariance is missing from the start
        torch.testing.assert_close(drawn.log_evidence, log_evidence(law, given), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("method", "nfe"),
    [(Bridge(particles=32), 20), (TwistedSMC(particles=64), 60)],
    ids=["bridge", "tds"],
)
def test_particles_find_the_weights_of_the_modes(method, nfe):
    """The shares of three components, to 4.5 standard errors of 2,000 draws; particles that share parents spread twice
    as far as independent ones would, and 0.01 is for the steps."""
    law, n = mixture(), 2000
    given = likelihood(law)
    drawn = condition(exact(law), given, method).sample(n, nfe=nfe, seed=1)
    for i in range(2):
        truth = posterior(law, given, i)
        shares = truth.responsibilities(drawn.x[i]).mean(0)
        for share, want in zip(shares.tolist(), truth.weights.tolist(), strict=True):
            assert abs(share - want) < 2 * 4.5 * math.sqrt(want * (1 - want) / n) + 0.01
        spread = truth.variance.sqrt()
        assert float(((drawn.mean[i] - truth.mean) / spread).abs().max()) < 2 * 4.5 / math.sqrt(n) + 0.03


@pytest.mark.parametrize(
    ("method", "nfe"),
    [
        (Bridge(particles=8, truncate=False), 20),
        (Bridge(particles=8, covariance=IsotropicCovariance(), truncate=False), 60),
        (TwistedSMC(particles=8, truncate=False), 60),
    ],
    ids=["bridge", "isotropic", "tds"],
)
def test_the_mean_estimate_of_the_evidence_is_the_evidence(method, nfe):
    """Of 400 systems of 8 particles each, to 4.5 of its standard errors and 3% for the steps of the prior's chain."""
    law = mixture()
    given = likelihood(law).rows(torch.zeros(400, dtype=torch.int64))
    drawn = condition(exact(law), given, method).sample(8, nfe=nfe)
    ratio = torch.exp(drawn.log_evidence - log_evidence(law, given))
    assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / 20 + 0.03


def test_truncation_changes_little_where_no_weight_is_large():
    law = mixture()
    given = likelihood(law)
    drawn = [condition(exact(law), given, Bridge(particles=64, truncate=t)).sample(256, nfe=10) for t in (True, False)]
    torch.testing.assert_close(drawn[0].log_evidence, drawn[1].log_evidence, rtol=0, atol=0.1)


@pytest.mark.rounding
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_sample_is_a_function_of_seed_observation_and_number(method):
    law = mixture()
    given = likelihood(law, b=5)
    post = condition(exact(law), given, method)
    whole = post.sample(10, nfe=8)
    assert whole.x.shape == (5, 10, 2)
    assert whole.x.dtype == f64
    bound = carried(lambda: post.sample(10, nfe=8).x, 3, f64)  # three components in 2-D
    same(post.sample(3, nfe=8).x, whole.x[:, :3], bound)  # of fewer samples
    same(post.sample(10, nfe=8, chunk=16).x, whole.x, bound)  # in pieces
    alone = condition(exact(law), given.rows(torch.tensor([3])), method).sample(10, nfe=8, first_index=3)
    same(alone.x[0], whole.x[3], bound)
    if whole.log_evidence is not None:
        bound = carried(lambda: post.sample(10, nfe=8).log_evidence, 3, f64)
        same(alone.log_evidence[0], whole.log_evidence[3], bound)
    assert not torch.equal(post.sample(10, nfe=8, seed=1).x, whole.x)


@pytest.mark.rounding
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_an_exact_sample_has_the_same_bits_whatever_else_is_asked_for(method):
    law = mixture()
    given = likelihood(law, b=5)
    for kernels in (contextlib.nullcontext(), OtherKernels()):
        with kernels:
            whole = condition(exact(law), given, method).sample(40, nfe=4, exact=True)
            for n, rows in ((1, [3]), (7, [0, 1]), (40, [4])):
                post = condition(exact(law), given.rows(torch.tensor(rows)), method)
                part = post.sample(n, nfe=4, exact=True, first_index=rows[0])
                assert torch.equal(part.x, whole.x[rows, :n])
                for name in ("chi2", "residual"):
                    if getattr(whole, name) is not None:
                        assert torch.equal(getattr(part, name), getattr(whole, name)[rows, :n])
                for name in ("log_evidence", "ess"):  # of all systems that hold the n
                    if n == 40 and getattr(whole, name) is not None:
                        assert torch.equal(getattr(part, name), getattr(whole, name)[rows])


def test_an_exact_posterior_shows_nothing_of_what_fills_its_chunks():
    law, seen = mixture(), []
    given = likelihood(law, b=2)

    class Watched(sf.ExactDenoiser):
        def forward(self, x_t, t):
            seen.append(len(x_t))
            return super().forward(x_t, t)

    drawn = condition(Watched(law, sf.VP()), given, Bridge(particles=4)).sample(6, nfe=3, chunk=12, exact=True)
    assert set(seen) == {12}
    assert drawn.x.shape == (2, 6, 2)
    assert drawn.chi2.shape == (2, 6)
    assert drawn.total_nfe == 3 * 8 / 6
    both = condition(exact(law), given, Bridge(particles=4)).sample(8, nfe=3)
    for name in ("log_evidence", "ess"):  # of the two systems that hold six, not of the three of a chunk
        torch.testing.assert_close(getattr(drawn, name), getattr(both, name))


def test_samples_are_those_of_their_own_observation():
    """Two observations far apart: means on their own sides."""
    given = likelihood(gaussian(), b=6)
    for method in METHODS.values():
        drawn = condition(exact(gaussian()), given, method).sample(16, nfe=16)
        own = given.operator(drawn.mean)
        assert float((own - given.y).square().mean()) < float((own - given.y.flip(0)).square().mean())


class Square(Operator):
    """y = |x|^2."""

    event_shape, output_shape = (2,), (1,)

    def forward(self, x):
        return x.square().sum(1, keepdim=True)


class Laplace(Likelihood):
    """p(y | x) = exp(-|y - x_1| / b) / 2b: not Gaussian."""

    event_shape = (2,)

    def __init__(self, y, b):
        self.y, self.b = y, b

    def __len__(self):
        return len(self.y)

    def log_prob(self, x0):
        return -(self.y.to(x0) - x0[:, 0]).abs() / self.b - math.log(2 * self.b)

    def rows(self, index):
        return Laplace(self.y[index], self.b)


@pytest.mark.parametrize(
    "given",
    [GaussianNoise(Square(), torch.tensor([[2.0]], dtype=f64), 0.4), Laplace(torch.tensor([0.4], dtype=f64), 0.5)],
    ids=["a nonlinear operator", "noise that is not normal"],
)
def test_twisted_particles_take_any_likelihood(given):
    """Against quadrature over a grid in 2-D, 40 systems of 50 particles: the mean to 4.5 standard errors of 2,000 draws
    (twice, for shared parents) and 0.04 for steps; the evidence to 4.5 standard errors and 5%."""
    law, n = mixture(), 2000
    side = torch.linspace(-5, 5, 401, dtype=f64)
    points = torch.cartesian_prod(side, side)
    one = given.rows(torch.zeros(len(points), dtype=torch.int64))
    logs = law.log_prob(points) + one.log_prob(points)
    weights, area = torch.softmax(logs, 0), float(side[1] - side[0]) ** 2
    mean = weights @ points
    spread = (weights @ (points - mean).square()).sqrt()
    copies = given.rows(torch.zeros(40, dtype=torch.int64))
    drawn = condition(exact(law), copies, TwistedSMC(particles=50, truncate=False)).sample(50, nfe=60)
    x = drawn.x.flatten(0, 1)
    assert float(((x.mean(0) - mean) / spread).abs().max()) < 2 * 4.5 / math.sqrt(n) + 0.04
    assert float((x.std(0) / spread - 1).abs().max()) < 0.1
    ratio = torch.exp(drawn.log_evidence - logs.logsumexp(0)) / area
    assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / math.sqrt(40) + 0.05


def test_dps_pulls_towards_a_nonlinear_measurement():
    given = GaussianNoise(Square(), torch.tensor([[2.0]], dtype=f64), 0.1)
    drawn, free = (condition(exact(mixture()), given, DPS(zeta=z)).sample(200, nfe=60) for z in (6.0, 0.0))
    assert float(drawn.chi2.mean()) < 0.75 * float(free.chi2.mean())


# --- what a result says ---


def test_chi2_mean_std_and_cost():
    given = likelihood(gaussian())
    drawn = condition(exact(gaussian()), given, Bridge(particles=8)).sample(20, nfe=5)
    assert drawn.nfe == 5
    assert drawn.total_nfe == 5 * 24 / 20  # three systems of eight
    assert drawn.vjps == 5 * 4
    assert drawn.dof == 2
    one = given.rows(torch.tensor([1] * 20))
    torch.testing.assert_close(drawn.chi2[1], one.chi2(drawn.x[1]))
    torch.testing.assert_close(drawn.reduced_chi2, drawn.chi2 / 2)
    torch.testing.assert_close(drawn.mean, drawn.x.mean(1))
    torch.testing.assert_close(drawn.std, drawn.x.std(1))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_a_new_draw_falls_into_the_interval_as_often_as_it_says(level):
    """Of 20,000 draws beside 39 each: to 4.5 standard errors."""
    x = normal(20_000, 40)
    low, high = PosteriorSamples(x[:, 1:, None], 1, 1.0, 0, 1).interval(level)
    inside = ((low[:, 0] <= x[:, 0]) & (x[:, 0] <= high[:, 0])).double().mean()
    assert float(inside) == pytest.approx(level, abs=4.5 * math.sqrt(level * (1 - level) / 20_000) + 1e-9)


def test_no_observation_and_one_sample_are_fine():
    given = likelihood(gaussian())
    assert condition(exact(gaussian()), given.rows(torch.arange(0)), Bridge(particles=4)).sample(3).x.shape == (0, 3, 4)
    assert condition(exact(gaussian()), given).sample(1, nfe=2).x.shape == (2, 1, 4)


def test_conditions_of_the_denoiser_go_with_their_observation():
    class Shifted(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t, *, shift):
            alpha, sigma = self.schedule(t)
            return shift[:, None] + alpha * (x_t - alpha * shift[:, None]) / (alpha**2 + sigma**2)

    given = GaussianNoise(operator(gaussian()), torch.zeros(3, 2, dtype=f64), 1e3)  # says nothing
    shift = torch.tensor([-5.0, 0.0, 5.0], dtype=f64)
    for method in (Bridge(particles=8), TwistedSMC(particles=8), Guidance(PiGDM)):
        drawn = condition(Shifted(), given, method, cond={"shift": shift}).sample(64, nfe=20)
        # N(shift, 1): 4.5 standard errors of 64, and 0.1 for the start at t = 1, which knows no shift
        assert float((drawn.mean - shift[:, None]).abs().max()) < 4.5 / 8 + 0.1


# --- linear algebra ---


def test_a_network_jacobian_gives_the_covariance_of_the_exact_denoiser():
    class Plain(sf.Denoiser):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.schedule = inner, inner.schedule

        def forward(self, x_t, t):
            return self.inner(x_t, t)

    inner, x = exact(mixture()), normal(7, 2)
    for t in (0.05, 0.4, 0.9):
        mean, covariance = dense_covariance(Plain(inner), x, torch.tensor(t, dtype=f64))
        want_mean, want = dense_covariance(inner, x, torch.tensor(t, dtype=f64))
        torch.testing.assert_close(mean, want_mean)
        torch.testing.assert_close(covariance, want, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("kind", [FullCovariance(), IsotropicCovariance()], ids=["full", "isotropic"])
def test_innovations_solve_and_have_the_density_of_their_matrix(kind):
    given = likelihood(gaussian(), noise=STD)
    rows = torch.tensor([0, 1, 0])
    system = Whitened(given, rows)
    moments = kind.moments(exact(gaussian()), normal(3, 4), torch.tensor(0.4, dtype=f64))
    w = given.operator.matrix / STD[:, None]
    c = torch.stack([moments.apply(identity, e.expand(3, -1)) for e in torch.eye(4, dtype=f64)], 2)
    k = w @ c @ w.T + torch.eye(2, dtype=f64)
    r = normal(3, 2, seed=9)
    innovation = moments.innovation(system)
    torch.testing.assert_close(innovation.solve(r), torch.linalg.solve(k, r[..., None])[..., 0])
    density = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=f64), k).log_prob(r)
    torch.testing.assert_close(innovation.log_prob(r), density)


def test_conjugate_gradients_stop_each_row_by_itself():
    k = torch.diag_embed(torch.rand(6, 5, dtype=f64, generator=torch.Generator().manual_seed(0)) * 100 + 0.01)
    k[0] = torch.eye(5, dtype=f64)  # done after one step, long before the others
    b = normal(6, 5)

    def solve(rows):
        columns = k[rows].unbind(2)  # added one by one: the same bits in any batch
        return conjugate_gradients(
            lambda v: sum((c * v[:, [j]] for j, c in enumerate(columns)), torch.zeros_like(v)),
            b[rows], tolerance=1e-10, iterations=50,
        )  # fmt: skip

    whole = solve(slice(None))
    torch.testing.assert_close(whole.x, torch.linalg.solve(k, b[..., None])[..., 0], rtol=1e-7, atol=1e-9)
    assert float(whole.residual.max()) < 1e-10
    for i in range(6):
        assert torch.equal(solve(slice(i, i + 1)).x[0], whole.x[i])
    short = conjugate_gradients(lambda v: (k @ v[..., None])[..., 0], b, tolerance=1e-10, iterations=2)
    true = (b - (k @ short.x[..., None])[..., 0]).norm(dim=1) / b.norm(dim=1)
    torch.testing.assert_close(short.residual, true, rtol=1e-6, atol=1e-12)


def test_a_large_operator_is_solved_by_conjugate_gradients_with_the_same_samples(monkeypatch):
    law = gaussian()
    given = likelihood(law)
    methods = [Bridge(particles=4, covariance=IsotropicCovariance()), TwistedSMC(particles=4), Guidance(PiGDM), DAPS()]
    before = [condition(exact(law), given, m).sample(8, nfe=12) for m in methods]
    monkeypatch.setattr("scorefield.inverse.gram.DENSE_LIMIT", 1)
    monkeypatch.setattr(Dense, "svd", lambda self: None)
    given = likelihood(law)  # the spectrum of the first is kept with it
    for method, want in zip(methods, before, strict=True):
        got = condition(exact(law), given, method).sample(8, nfe=12)
        torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-4)
        if isinstance(method, Bridge):
            assert got.log_evidence is None  # a factor that all particles share is not known
            assert float(got.residual.max()) < 1e-6


def test_the_measured_variance_of_gaussian_data_is_its_posterior_variance():
    """sum of lambda s^2 / (lambda + s^2) over the eigenvalues, / D: 10% is four standard errors of 64 samples of four
    numbers, averaged over levels."""
    law = gaussian()
    kind = IsotropicCovariance.measured(exact(law), (4,), n=64)
    values = torch.linalg.eigvalsh(law.covariance)
    times = torch.tensor([0.1, 0.2, 0.4, 0.6, 0.8], dtype=f64)
    ratio = exact(law).schedule.noise_ratio(times)[:, None] ** 2
    want = (values * ratio / (values + ratio)).mean(1)
    got = kind.variance.at(exact(law), times)
    assert float((got / want).log().mean().abs()) < 0.1


# --- refusals ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, g: condition(d, g).sample(0), "n must be at least 1; got 0"),
        (lambda d, g: condition(d, g).sample(2, nfe=0), "nfe must be at least 1; got 0"),
        (lambda d, g: condition(d, g).sample(2, chunk=0), "chunk must be at least 1; got 0"),
        (
            lambda d, g: condition(d, g, DAPS(ode=5)).sample(2, nfe=4),
            "nfe must be at least 5, the evaluations of one level of DAPS; got 4",
        ),
        (lambda d, g: condition(d, g).sample(4).interval(1.0), r"level must lie in \(0, 1\); got 1.0"),
        (lambda d, g: Bridge(particles=0), "particles must be at least 1; got 0"),
        (lambda d, g: TwistedSMC(threshold=2.0), r"threshold must lie in \[0, 1\]; got 2.0"),
        (
            lambda d, g: condition(d, Laplace(torch.zeros(1), 1.0), Bridge()),
            "Bridge needs a GaussianNoise likelihood with",
        ),
        (lambda d, g: condition(d, Laplace(torch.zeros(1), 1.0), DPS()), "DPS needs a GaussianNoise likelihood"),
        (
            lambda d, g: MomentMatching(d, GaussianNoise(Square(), torch.ones(1, 1), 1.0)),
            "MomentMatching needs .*got Square",
        ),
        (
            lambda d, g: condition(d, GaussianNoise(g.operator, g.y, STD.expand(2, 2)), DDRM()),
            "DDRM needs the operator.s singular",
        ),
        (lambda d, g: PiGDM(d, g)(normal(3, 4), 0.5), "observation must say which of the 2 observations each row has"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(exact(gaussian()), likelihood(gaussian()))
    assert "\n" not in str(error.value)


def test_the_recommended_method_fits_the_likelihood():
    assert recommended(likelihood(gaussian())) == Bridge(covariance=FullCovariance())
    assert isinstance(recommended(GaussianNoise(Square(), torch.ones(1, 1), 1.0)), LaplaceBridge)
