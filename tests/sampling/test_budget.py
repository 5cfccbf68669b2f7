"""What a solver spends when nobody says how much: the default the docs name, used up as far as whole steps go."""

import inspect
import warnings

import pytest
import torch

import scorefield as sf
from scorefield import solvers
from scorefield.solvers.tableaus import RALSTON

f64 = torch.float64
DEFAULT = 30  # in the docstring of `sample`, and in README's sense of "say a number of evaluations"
SOLVERS: dict[str, list[sf.Solver]] = {
    "AnalyticDPM": [sf.AnalyticDPM()],
    "AnnealedLangevin": [sf.AnnealedLangevin(), sf.AnnealedLangevin(3, denoise=False), sf.AnnealedLangevin(6)],
    "Churn": [sf.Churn(), sf.Churn(sf.DDIM())],
    "DDIM": [sf.DDIM()],
    "DDPM": [sf.DDPM()],
    "DEIS": [sf.DEIS()],
    "DPMSolver": [sf.DPMSolver(order) for order in (1, 2, 3)],
    "DPMSolverPP": [sf.DPMSolverPP()],
    "DPMSolverPPS": [sf.DPMSolverPPS(order) for order in (2, 3)],
    "Euler": [sf.Euler()],
    "EulerMaruyama": [sf.EulerMaruyama()],
    "GaussianExact": [sf.GaussianExact(sf.DDPM())],
    "Heun": [sf.Heun()],
    "Kriging": [sf.solvers.recommended(sf.VP(), DEFAULT).solver],
    "Multistep": [sf.Multistep()],
    "PredictorCorrector": [sf.PredictorCorrector(), sf.PredictorCorrector(corrections=3)],
    "RK4": [sf.RK4()],
    "RungeKutta": [sf.RungeKutta(RALSTON)],
    "SASolver": [sf.SASolver()],
    "StochasticAdams": [sf.StochasticAdams()],
    "UniPC": [sf.UniPC()],
}
THEIR_OWN = {  # steps: by a tolerance (Picard's calls, not its grid), or by what it was fitted to
    "Adaptive",
    "AdaptiveSDE",
    "Picard",
    "Tuned",
}


def exact(schedule: sf.Schedule) -> sf.Denoiser:
    return sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), 0.25, dtype=f64)), schedule)


def test_no_solver_is_forgotten():
    public = {
        name
        for name in solvers.__all__
        if inspect.isclass(kind := getattr(solvers, name))
        and issubclass(kind, sf.Solver)
        and not inspect.isabstract(kind)
    }
    assert public == SOLVERS.keys() | THEIR_OWN
    assert f"(default {DEFAULT})" in str(sf.sample.__doc__)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.VE(from_zero=False)], ids=repr)  # the last ends in noise
@pytest.mark.parametrize("solver", [solver for kinds in SOLVERS.values() for solver in kinds], ids=repr)
def test_the_default_budget_is_the_one_documented(solver, schedule):
    nfe = sf.sample(exact(schedule), (2, 2), solver=solver, dtype=f64).nfe
    assert DEFAULT - 2 * solver.evaluations < nfe <= DEFAULT  # whole steps; a last one, to no noise, may take fewer
    assert nfe == sf.sample(exact(schedule), (2, 2), solver=solver, nfe=DEFAULT, dtype=f64).nfe


def test_without_a_solver_too():
    assert sf.sample(exact(sf.VP()), (2, 2), dtype=f64).nfe == DEFAULT


@pytest.mark.parametrize("solver", [solver for kinds in SOLVERS.values() for solver in kinds], ids=repr)
def test_a_budget_is_not_exceeded(solver):
    least = solver.evaluations + 1  # annealed Langevin's shortest run has a closing step
    for nfe in range(least, least + solver.evaluations + 1):  # whatever is left over of whole steps
        assert sf.sample(exact(sf.VP()), (2, 2), solver=solver, nfe=nfe, dtype=f64).nfe <= nfe


def test_picards_budget_counts_the_steps_of_its_rule():
    """Each of which it evaluates more than once, so that fewer calls follow one another."""
    _, times = sf.Picard().within(exact(sf.VP()), None)
    assert len(times) - 1 == DEFAULT
    assert sf.sample(exact(sf.VP()), (2, 2), solver=sf.Picard(), dtype=f64).depth < DEFAULT


TOO_FEW = [  # in ten evaluations
    sf.AnnealedLangevin(),
    sf.PredictorCorrector(),
    sf.DEIS(eta=1.0),
    sf.Churn(),
]
ENOUGH = [(sf.AnnealedLangevin(), 500), (sf.PredictorCorrector(), 100), (sf.DEIS(eta=1.0), 100), (sf.Churn(), 100)]


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.VE(from_zero=False)], ids=repr)
@pytest.mark.parametrize("solver", TOO_FEW, ids=repr)
def test_a_grid_too_short_for_its_solver_is_said(solver, schedule):
    """The figure is what samples of N(0, 0.5^2) then show: they are as much too wide, to 5 standard errors."""
    n = 4000
    with pytest.warns(UserWarning, match=f"{type(solver).__name__} in .* multiplies the standard deviation") as said:
        drawn = sf.sample(exact(schedule), (n, 2), solver=solver, nfe=10, dtype=f64)
    assert len(said) == 1
    assert said[0].filename == __file__
    factor = drawn.bias.std
    assert abs(factor - 1) > 0.1
    assert f"by {factor:.3g} and" in str(said[0].message)
    truth = 0.5 if float(schedule.noise_ratio(0.0)) < 0.02 else None
    if truth:
        assert float(drawn.x.std()) / truth == pytest.approx(factor, rel=5 / (2 * (2 * n) ** 0.5) + 1e-3)


@pytest.mark.parametrize(("solver", "nfe"), ENOUGH, ids=repr)
def test_one_that_is_long_enough_is_not(solver, nfe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = sf.sample(exact(sf.VP()), (4, 2), solver=solver, nfe=nfe, dtype=f64)
    assert abs(drawn.bias.std - 1) < 0.1


def test_nor_is_a_grid_of_ones_own_or_a_method_of_ones_own_steps():
    times = sf.grids.uniform_log_snr(sf.VP(), 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sf.sample(exact(sf.VP()), (4, 2), solver=sf.DEIS(eta=1.0), times=times, dtype=f64)
        sf.sample(exact(sf.VP()), (4, 2), solver=sf.Adaptive(), dtype=f64)
        sf.sample(exact(sf.VP()), (4, 2), nfe=1, dtype=f64)
