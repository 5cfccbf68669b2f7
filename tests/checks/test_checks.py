"""Checks hold for what is right, and each fails for what it is about."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pytest
import torch

import scorefield as sf
from scorefield import checks, flowmaps
from scorefield.inverse import operators

f64 = torch.float64


def flow_map():
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=16, depth=1, scalars=("until",))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return sf.FlowMap(net, sf.VP(), sf.V(), data_mean=0.3, data_std=0.7)


RAW = torch.randint(0, 17, (12, 1, 3, 3), generator=torch.Generator().manual_seed(0))
TABLE = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.2])
OBJECTIVE = sf.training.DenoisingObjective(sf.NetworkDenoiser(sf.networks.MLP(2, hidden=8, depth=1), sf.VP(), sf.V()))
MAP_LOSSES = [flowmaps.lagrangian, flowmaps.mean_flow, partial(flowmaps.lagrangian, differences=5e-3)]
END_LOSSES = [flowmaps.consistency, partial(flowmaps.consistency, gap=0.1)]


@checks.parametrize(
    [
        checks.checks_of(flow_map(), (2,)),
        checks.checks_of(sf.data.Scale.to_standard(RAW, levels=17), RAW),
        checks.checks_of(sf.data.Scale.to_unit_range(RAW, levels=17, noise=False), RAW),
        checks.checks_of(sf.data.Standardize.measured(TABLE), TABLE),
        checks.checks_of(OBJECTIVE, torch.randn(4, 2, generator=torch.Generator().manual_seed(0))),
        checks.checks_of(operators.Dense(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], dtype=f64))),
        *(checks.checks_of(loss, of=sf.FlowMap) for loss in MAP_LOSSES),
        *(checks.checks_of(loss, of=flowmaps.ConsistencyMap) for loss in END_LOSSES),
        sf.Brownian(),
    ]
)
def test_the_librarys_own_parts(check):
    check.run()


def failing(part, *arguments, **options):
    """The names of the checks that fail."""
    found = []
    for check in checks.checks_of(part, *arguments, **options):
        try:
            check.run()
        except AssertionError:
            found.append(check.name)
    return found


@dataclass(frozen=True)
class Forgetful(sf.data.Scale):
    def log_jacobian(self, dims):
        return 0.0


@dataclass(frozen=True)
class Batchy(sf.data.Scale):
    def __call__(self, y):
        return super().__call__(y) - y.mean()


class Stubborn(sf.FlowMap):
    """Goes on for a while, wherever it is told to stop."""

    def forward(self, x_t, t, s=None, **cond):
        return super().forward(x_t, t, s, **cond) + (0.0 if s is None else 0.01)


class Late(sf.Schedule):
    def alpha(self, t):
        return 0.99 * (1 - t**2)

    def sigma(self, t):
        return t


class Neighbourly(sf.training.DenoisingObjective):
    def forward(self, batch, draws, now):
        found = super().forward(batch, draws, now)
        return {"loss": found["loss"] - found["loss"].mean() / 2}


class Forgotten(sf.training.DenoisingObjective):
    turns = (sf.training.Turn(moves=("denoiser.net.entry",)),)


def test_each_fails_for_what_it_is_about():
    assert failing(Forgetful(2.0, levels=17), RAW) == ["log-Jacobian"]
    assert "no row sees its batch" in failing(Batchy(2.0, levels=17), RAW)
    assert failing(Late()) == ["alpha(0) is 1"]
    stubborn = Stubborn(flow_map().net, sf.VP(), sf.V(), data_mean=0.3, data_std=0.7)
    assert failing(stubborn, (2,)) == ["a jump to itself"]
    x, d = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), OBJECTIVE.denoiser
    assert failing(Neighbourly(d), x) == ["no sample sees its batch"]
    assert failing(Forgotten(d), x) == ["turns move every weight once"]
    assert failing(lambda *a, **k: sf.losses.denoising(*a, **k).mean())[0] == "one finite number a sample"


class MeanGap(NamedTuple):
    value: float
    half: float

    def interval(self, level):
        z = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=f64)))
        return self.value - z * self.half, self.value + z * self.half


def gap(x, y, width=1.0):
    return MeanGap(float(x.mean() - y.mean()), width * float((x.var() / len(x) + y.var() / len(y)).sqrt()))


def draw(generator):
    return 1 + torch.randn(100, generator=generator), torch.randn(150, generator=generator)


def test_an_interval_is_held_to_its_level():
    checks.check_interval(gap, draw, truth=1.0)
    # with half the width 90% are 59%: 59 of 100 have probability 1e-15 under 88%
    with pytest.raises(AssertionError, match="hold the truth 1 that often; got"):
        checks.check_interval(partial(gap, width=0.5), draw, truth=1.0)
    with pytest.raises(
        AssertionError, match="that often"
    ):  # three times as wide: all of 200, probability 8e-8 under 92%
        checks.check_interval(partial(gap, width=3.0), draw, truth=1.0, repetitions=200)


def test_expected_failures_carry_their_reason_and_name_a_check():
    mark = checks.parametrize([Late(), sf.VP()], expected_failures={"Late: alpha(0) is 1": "it begins late"})
    cases = mark.mark.args[1]
    marked = {case.id: case.marks for case in cases if case.marks}
    assert list(marked) == ["Late: alpha(0) is 1"]
    assert marked["Late: alpha(0) is 1"][0].kwargs["reason"] == "it begins late"
    assert marked["Late: alpha(0) is 1"][0].kwargs["strict"] is True
    everywhere = checks.parametrize([Late(), sf.VP()], expected_failures={"alpha(0) is 1": "a reason"}).mark.args[1]
    assert sum(bool(case.marks) for case in everywhere) == 2
    with pytest.raises(ValueError, match="expected_failures names no check: 'Late: nothing'; there are Late: shapes"):
        checks.parametrize([Late()], expected_failures={"Late: nothing": "-"})


def test_what_is_no_part_is_refused():
    with pytest.raises(TypeError, match=r"part must be a Schedule, Solver, Objective, .* or a loss; got int"):
        checks.checks_of(3)
    with pytest.raises(TypeError, match="flow_map must be a FlowMap; got ExactDenoiser"):
        checks.check_flow_map(sf.ExactDenoiser(sf.distributions.rings(), sf.VP()), (2,))  # type: ignore[arg-type]
