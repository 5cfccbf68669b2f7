"""Tableaus by their order conditions, and the methods made of them against hand-written loops and exact answers."""

import dataclasses
import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.distributions import eight_gaussians
from scorefield.solvers import tableaus
from scorefield.solvers.tableaus import BOGACKI_SHAMPINE, CLASSICAL, DORMAND_PRINCE, EULER, HEUN, RALSTON, Tableau

f64 = torch.float64
CIRCLE = sf.Cosine(alpha_min=0.0)
ALL = {name: value for name, value in vars(tableaus).items() if isinstance(value, Tableau)}


def trees(order):
    """Rooted trees of `order` vertices, each the sorted tuple of its root's subtrees."""
    if order == 1:
        return {()}
    found = set()
    for sizes in partitions(order - 1):
        for children in itertools.product(*(trees(n) for n in sizes)):
            found.add(tuple(sorted(children)))
    return found


def partitions(n, most=None):
    if n == 0:
        return [()]
    return [(k, *rest) for k in range(min(n, most or n), 0, -1) for rest in partitions(n - k, k)]


def size(tree):
    return 1 + sum(size(child) for child in tree)


def density(tree):
    return size(tree) * math.prod(density(child) for child in tree)


def residuals(tableau, weights, order):
    """|sum_i b_i Phi_i(tree) - 1 / density(tree)| for every tree of that order: Butcher's conditions."""
    m = tableau.stages
    a = torch.zeros(m, m, dtype=f64)
    for i, row in enumerate(tableau.a):
        a[i + 1, : i + 1] = torch.tensor(row, dtype=f64)

    def elementary(tree):
        value = torch.ones(m, dtype=f64)
        for child in tree:
            value = value * (a @ elementary(child))
        return value

    b = torch.tensor(weights, dtype=f64)
    return [abs(float(b @ elementary(tree)) - 1 / density(tree)) for tree in trees(order)]


@pytest.mark.parametrize("name", ALL)
def test_a_tableau_meets_every_order_condition_up_to_its_order_and_not_the_next(name):
    tableau = ALL[name]
    for order in range(1, tableau.order + 1):
        assert max(residuals(tableau, tableau.b, order)) < 1e-14
    assert max(residuals(tableau, tableau.b, tableau.order + 1)) > 1e-4


@pytest.mark.parametrize("tableau", [BOGACKI_SHAMPINE, DORMAND_PRINCE], ids=["BOGACKI_SHAMPINE", "DORMAND_PRINCE"])
def test_the_embedded_method_is_of_one_order_less(tableau):
    for order in range(1, tableau.order):
        assert max(residuals(tableau, tableau.embedded, order)) < 1e-14
    assert max(residuals(tableau, tableau.embedded, tableau.order)) > 1e-4
    assert tableau.fsal


def test_the_number_of_trees_is_the_number_of_conditions_in_the_literature():
    assert [len(trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize(
    ("tableau", "steps"),
    [(EULER, (160, 320)), (HEUN, (80, 160)), (RALSTON, (40, 80)), (CLASSICAL, (40, 80)), (DORMAND_PRINCE, (80, 160))],
    ids=["EULER", "HEUN", "RALSTON", "CLASSICAL", "DORMAND_PRINCE"],
)
def test_runge_kutta_converges_at_the_tableaus_order(tableau, steps):
    """Steps as small as leave the error 100 times above rounding, which is where the slope has settled."""
    (slope,) = sf.checks.convergence_slopes(sf.RungeKutta(tableau, path=CIRCLE), steps=steps)
    assert abs(slope - tableau.order) < 0.2


@pytest.mark.parametrize("tableau", [HEUN, CLASSICAL, BOGACKI_SHAMPINE], ids=["HEUN", "CLASSICAL", "BOGACKI_SHAMPINE"])
@pytest.mark.parametrize("schedule", [sf.VP(), sf.Rectified()], ids=repr)
def test_the_weights_of_a_step_are_the_textbook_recursion(tableau, schedule):
    """x' = x + h sum b k, k_i = dx/dt at x + h sum a k: with sf.velocity, on the process's own path."""
    exact = sf.ExactDenoiser(eight_gaussians(), schedule)
    times = torch.tensor([0.8, 0.65, 0.55], dtype=f64)
    x = start = torch.randn(16, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    for t, s in itertools.pairwise(times.tolist()):
        h, slopes = s - t, []
        for row, c in zip(((), *tableau.a), tableau.c, strict=True):
            y = x + h * sum(w * k for w, k in zip(row, slopes, strict=True))
            slopes.append(sf.velocity(exact, y, t + c * h))
        x = x + h * sum(w * k for w, k in zip(tableau.b, slopes, strict=True))
    got = sf.sample(exact, start, solver=sf.RungeKutta(tableau), times=times).x
    torch.testing.assert_close(got, x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("solver", [sf.Heun(path=CIRCLE), sf.RK4(path=CIRCLE)], ids=repr)
def test_gaussian_data_is_solved_exactly_on_the_circle_by_every_tableau(solver):
    """On the circle of the data's own std the velocity of Gaussian data is zero: any step is exact."""
    data = sf.Gaussian(torch.zeros(2, dtype=f64), torch.full((2,), 0.3**2, dtype=f64))
    exact = sf.ExactDenoiser(data, sf.VP())
    times = torch.tensor([0.95, 0.2], dtype=f64)
    x = torch.randn(8, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    (a, b), (c, d) = sf.VP()(times[0]), sf.VP()(times[1])
    flow = torch.hypot(0.3 * c, d) / torch.hypot(0.3 * a, b) * x
    torch.testing.assert_close(sf.sample(exact, x, solver=solver, times=times).x, flow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [sf.Heun(), sf.RK4(path=CIRCLE), sf.RungeKutta(RALSTON)], ids=repr)
@pytest.mark.parametrize("nfe", range(1, 14))
def test_an_nfe_budget_is_used_up_to_the_last_evaluation(solver, nfe):
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    assert sf.sample(exact, (2, 2), solver=solver, nfe=nfe).nfe == nfe


def test_a_low_order_finish_is_the_low_order_methods_step():
    """RK4 with two evaluations in its last step above sigma = 0 is RK4 up to there, and Heun then."""
    exact = sf.ExactDenoiser(eight_gaussians(), sf.VP())
    times = grids.uniform_log_snr(sf.VP(), 5, s_max=50.0)
    x = torch.randn(8, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    got = sf.sample(exact, x, solver=sf.RK4(finish=2), times=times)
    y = sf.sample(exact, x, solver=sf.RK4(), times=times[:4]).x
    y = sf.sample(exact, y, solver=sf.Heun(), times=times[3:]).x
    assert torch.equal(got.x, y)
    assert got.nfe == 3 * 4 + 2 + 1


@pytest.mark.parametrize("solver", [sf.Heun(), sf.RK4()], ids=repr)
def test_no_stage_is_evaluated_at_the_end_of_the_process(solver):
    """Where sigma(0) = 0 eps has no meaning, though the denoiser has."""
    seen = []

    class Watched(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            seen.append(float(t))
            return x_t / 2

    sf.sample(Watched(), (2, 2), solver=solver, times=grids.uniform(4))
    assert min(seen) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tableau(a=((1, 2),), b=(0.5, 0.5), order=2), r"a must have rows of length 1 to 1.*got lengths \[2\]"),
        (lambda: Tableau(a=((1,),), b=(0.5, 0.4), order=2), "b must be 2 weights with sum 1; got 2 with sum 0.9"),
        (lambda: dataclasses.replace(HEUN, embedded=(1.0,)), "embedded must be 2 weights with sum 1; got 1"),
        (lambda: sf.Heun(finish=2), "Heun: finish must be 0, or evaluations below the method's own 2; got 2"),
        (lambda: sf.RungeKutta(DORMAND_PRINCE, finish=6), "below the method's own 6; got 6"),
    ],
)
def test_impossible_settings_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
