"""Every schedule x parameterisation x solver, in one table; and each solver's order or statistics."""

import itertools

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import checks, grids
from scorefield.solvers.tableaus import DORMAND_PRINCE, RALSTON

f64 = torch.float64

SCHEDULES = [
    sf.VP(),
    sf.SubVP(),
    sf.VE(0.01, 30.0),
    sf.VEPower(25.0),
    sf.Brownian(20.0),
    sf.EDM(),
    sf.Cosine(),
    sf.Rectified(),
    sf.Discrete.linear(),
]
PARAMETERIZATIONS = [sf.X0(), sf.Eps(), sf.V(), sf.Velocity(), sf.Score(), sf.EDMPreconditioning()]
Multistep = sf.Multistep
CIRCLE, EDM_PATH = sf.Cosine(alpha_min=0.0), sf.EDM(sigma_max=1e4)
FIELDS = [
    sf.solvers.DataPrediction(),
    sf.solvers.NoisePrediction(),
    sf.solvers.PathVelocity(CIRCLE),
    sf.solvers.PathVelocity(sf.Rectified()),
]
SOLVERS = [
    sf.DDPM(),
    sf.DDPM(large_variance=True),
    sf.DDIM(),
    sf.DDIM(eta=0.5),
    sf.DDIM(eta=1.0),
    sf.Euler(),
    sf.Euler(path=CIRCLE),
    sf.Heun(),
    sf.Heun(path=CIRCLE),
    sf.Heun(path=EDM_PATH),
    sf.RK4(),
    sf.RK4(path=CIRCLE),
    sf.RungeKutta(RALSTON, path=EDM_PATH),
    sf.Adaptive(),
    sf.Picard(),
    sf.Picard(rule=sf.DDPM(), window=5, tolerance=0.0),
    sf.DPMSolver(order=2),
    sf.DPMSolver(),
    sf.DPMSolverPPS(order=2),
    sf.DPMSolverPPS(),
    sf.EulerMaruyama(),
    sf.EulerMaruyama(eta=0.0),
    sf.PredictorCorrector(),
    sf.PredictorCorrector(predictor=sf.DDPM(), corrections=2),
    sf.AnnealedLangevin(),
    sf.Churn(),
    sf.Churn(sf.DDIM(), amount=10.0),
    sf.AdaptiveSDE(rtol=0.1, atol=0.1),
    *(Multistep(order, field, corrector=False) for order in (1, 2, 3, 4) for field in FIELDS),
    *(Multistep(order, field) for order in (2, 3, 4, 5) for field in FIELDS),
    sf.DPMSolverPP(),
    sf.DPMSolverPP(order=3),
    sf.DPMSolverPP(eta=1.0),
    sf.DEIS(),
    sf.UniPC(),
    sf.UniPC(order=4),
    sf.SASolver(),
    sf.SASolver(order=3, eta=0.5),
    *(Multistep(2, field, eta=0.7, corrector=False) for field in FIELDS),
    sf.StochasticAdams(),
    sf.StochasticAdams(order=3, quiet=0.1),
    sf.AnalyticDPM(),
    sf.AnalyticDPM(eta=0.0),
    sf.GaussianExact(sf.EulerMaruyama()),
]
name = lambda value: repr(value).split("(_")[0] if isinstance(value, sf.Discrete) else repr(value)  # noqa: E731


class RawOutput(nn.Module):
    """A network whose output is, for Gaussian data N(0, 1), the exact prediction of any parameterisation's target."""

    def __init__(self, schedule: sf.Schedule, parameterization: sf.Parameterization) -> None:
        super().__init__()
        self.schedule, self.parameterization = schedule, parameterization

    def forward(self, scaled: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t = t.to(f64)
        alpha, sigma = self.schedule(t)
        a, b = self.parameterization.row(self.schedule, t)
        c_in = torch.as_tensor(self.parameterization.input_scale(self.schedule, t), dtype=f64)
        # E[x0 | x] = alpha x / (alpha^2 + sigma^2), E[eps | x] = sigma x / (alpha^2 + sigma^2)
        return ((a * alpha + b * sigma) / (alpha**2 + sigma**2) / c_in)[:, None] * scaled


class Each(sf.Denoiser):
    """A network of its own for each sample: `which` `(B,)` says which of the parameterisations it is."""

    def __init__(self, schedule: sf.Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.networks = nn.ModuleList(
            sf.NetworkDenoiser(RawOutput(schedule, p), schedule, p, level=lambda t: t) for p in PARAMETERIZATIONS
        )

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, *, which: torch.Tensor) -> torch.Tensor:
        x0 = torch.full_like(x_t, torch.nan)
        for i, network in enumerate(self.networks):
            mine = which == i
            x0[mine] = network(x_t[mine], t[mine] if t.ndim else t)
        return x0


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_every_schedule_and_parameterization_samples_alike(solver):
    """The same samples whatever the network predicts, on every process: five of each parameterisation in one batch."""
    which = torch.arange(len(PARAMETERIZATIONS)).repeat(5)
    for schedule in SCHEDULES:
        times = grids.uniform_log_snr(schedule, 8, s_max=15.0, s_min=0.02)
        exact = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64)), schedule)
        expected, got = (
            sf.sample(denoiser, (len(which), 2), solver=solver, times=times, dtype=f64, cond=cond)
            for denoiser, cond in ((exact, {}), (Each(schedule), {"which": which}))
        )
        assert got.nfe == expected.nfe
        if expected.evaluations is not None:
            assert got.evaluations is not None
            assert torch.equal(got.evaluations, expected.evaluations)
        off = (got.x - expected.x).abs().amax(1)
        assert float(off.max()) < 1e-6, f"{schedule}, {PARAMETERIZATIONS[int(which[off.argmax()])]}"


VARIANTS = [
    sf.Picard(tolerance=0.0),
    sf.Adaptive(tableau=DORMAND_PRINCE),
    sf.Adaptive(path=EDM_PATH),
    sf.Adaptive(path=None),
]


@pytest.mark.parametrize("solver", SOLVERS + VARIANTS, ids=name)
def test_every_solver_keeps_the_contract(solver):
    checks.check_solver(solver)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_every_schedule_keeps_the_contract(schedule):
    checks.check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "parameterization"), list(itertools.product(SCHEDULES, PARAMETERIZATIONS)), ids=name
)
def test_every_network_denoiser_keeps_the_contract(schedule, parameterization):
    checks.check_denoiser(sf.NetworkDenoiser(nn_like(), schedule, parameterization), (3,))


def nn_like() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 3))

        def forward(self, x, level):
            return self.layers(torch.cat([x, level[:, None]], 1))

    return Net()


class WrongDrift(sf.EulerMaruyama):
    """The reverse SDE with the ODE's drift: half the score it needs."""

    def weights(self, denoiser, t, s):
        x, x0, _ = sf.EulerMaruyama(eta=0.0).weights(denoiser, t, s)
        return x, x0, sf.EulerMaruyama().weights(denoiser, t, s)[2]


class Narrow(sf.EulerMaruyama):
    """3% too narrow however short the steps: less than is allowed of their error, which would shrink."""

    def coefficients(self, denoiser, t, s):
        *steps, short, last = super().coefficients(denoiser, t, s)
        return [*steps, short._replace(x=0.97 * short.x, x0=0.97 * short.x0), last]


class BatchDependent(sf.DDIM):
    def step(self, denoise, state, step, normals):
        state = super().step(denoise, state, step, normals)
        return state._replace(x=state.x - 0.01 * state.x.mean(0))


class StaleNoise(sf.DDPM):
    def step(self, denoise, state, step, normals):
        return super().step(denoise, state, step, lambda k: torch.randn_like(state.x))


class FirstOrderHeun(sf.Heun):
    def coefficients(self, denoiser, t, s):
        return [stages[:1] for stages in super().coefficients(denoiser, t, s)]


@pytest.mark.parametrize(
    ("solver", "clause"),
    [
        (WrongDrift(), "std of Gaussian data must be right within 4%"),
        (Narrow(), "mean of Gaussian data must be nearer in 400 evaluations than in 200"),
        (BatchDependent(), "must not depend on the batch"),
        (StaleNoise(), "same seed must give the same samples"),
        (FirstOrderHeun(), "order must be 2"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, sf.Solver) else "",
)
def test_the_contract_catches_a_broken_solver(solver, clause):
    with pytest.raises(AssertionError, match=clause):
        checks.check_solver(solver)


def test_the_contract_catches_a_broken_schedule_and_denoiser():
    class Rising(sf.VP):
        def sigma(self, t):
            return 1 - t / 2

    with pytest.raises(AssertionError, match="log_snr must fall"):
        checks.check_schedule(Rising())

    class Centred(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return x_t - x_t.mean(0)

    with pytest.raises(AssertionError, match="a sample alone must agree"):
        checks.check_denoiser(Centred(), (3,))
