import functools
import math
from typing import Any, cast

import pytest
import torch
from map_cases import PROCESSES, TOLD, Silent, exact_ends, exact_map, law, network_ends, network_map

import scorefield as sf
from scorefield.flowmaps import ConsistencyMap, consistency, drifting, lagrangian, mean_flow
from scorefield.losses import UniformAngle

OBJECTIVES = [lagrangian, mean_flow, consistency]


def of(loss):
    """What makes the exact map of an objective's kind, and a network's."""
    return (exact_ends, network_ends) if loss in (consistency, drifting) else (exact_map, network_map)


def value(loss, *args, **kwargs):
    out = loss(*args, **kwargs)
    return out if isinstance(out, torch.Tensor) else out["reference"]


@pytest.mark.parametrize("loss", OBJECTIVES)
@pytest.mark.parametrize(("schedule", "parameterization"), PROCESSES[::2], ids=lambda v: type(v).__name__)
def test_the_exact_map_makes_it_zero_with_an_exact_teacher(loss, schedule, parameterization):
    teacher = sf.ExactDenoiser(law(), sf.VP())  # of another process
    told = {"generator": torch.Generator().manual_seed(0), "teacher": teacher, "differences": 1e-4}
    x0 = law().sample(500)
    exact, network = of(loss)
    left = value(loss, exact(schedule, parameterization), x0, **told)
    assert float(left.median()) < 1e-17
    assert float(left.max()) < 1e-9  # within a step of an end differences are taken a step away
    told["generator"] = torch.Generator().manual_seed(0)
    wrong = network(schedule, parameterization, dim=1)
    assert float(value(loss, wrong, x0, **told).mean()) > 1e-2


@pytest.mark.parametrize("loss", [lagrangian, mean_flow, consistency])
def test_without_a_teacher_the_exact_map_leaves_the_conditional_variance(loss):
    """E ||v_conditional - v||^2 in each term that v stands in, of consistency's tangent carried to the end by dX/dz."""
    flow_map = of(loss)[0](*PROCESSES[0])
    g = torch.Generator().manual_seed(0)
    x0 = law().sample(20_000, generator=g)
    t = UniformAngle(flow_map.schedule, flow_map.data_std).sample(len(x0), g)
    own = value(loss, flow_map, x0, t=t, generator=torch.Generator().manual_seed(1), differences=1e-4)
    theta = flow_map.circle.place(t).theta
    c = 0.4 / 0.7
    spread = c**2 / ((torch.cos(theta) * c) ** 2 + torch.sin(theta) ** 2)  # Var[v | z] of a Gaussian
    carried = c**2 / ((torch.cos(theta) * c) ** 2 + torch.sin(theta) ** 2)  # (dX/dz)^2
    more = int(loss is mean_flow)
    terms = spread * (carried if loss is consistency else 1 + more)
    assert float(own.mean()) == pytest.approx(float(terms.mean()), rel=0.06)


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_forward_mode_and_differences_agree(loss):
    flow_map, x0 = of(loss)[1](*PROCESSES[0]), torch.randn(16, 3, dtype=torch.float64)
    t = torch.linspace(0.3, 0.95, 16)  # off the data, where the level changes fast with the angle
    values, gradients = [], []
    for differences in (None, 1e-5):
        out = loss(flow_map, x0, t=t, generator=torch.Generator().manual_seed(0), differences=differences)
        out = out if isinstance(out, torch.Tensor) else out["loss"]
        values.append(out.detach())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(out.sum(), list(flow_map.parameters()))]))
    assert torch.allclose(*values, rtol=1e-4)
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-4


def test_the_adaptive_loss_says_nothing_and_the_reference_does():
    flow_map, x0 = network_map(*PROCESSES[0]), torch.randn(64, 3, dtype=torch.float64)
    out = mean_flow(flow_map, x0, adaptive=1.0, generator=torch.Generator().manual_seed(0))
    plain = mean_flow(flow_map, x0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(out["reference"], plain["loss"].detach())
    assert float(out["loss"].detach().std()) < 0.05 < float(out["reference"].std())


def test_drifting_is_the_difference_of_two_smoothed_scores():
    flow_map = network_ends(*PROCESSES[0], dim=1)
    x0, h = law().sample(4000), 0.3
    eps = torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = drifting(flow_map, x0, bandwidth=h, eps=eps)
    sd = flow_map.data_std
    one = torch.ones((), dtype=torch.float64)
    x = flow_map(flow_map.circle.x(eps, flow_map.circle.place(one)), one, 0 * one).detach()
    drawn = sf.Empirical(x, h * sd)
    drift = (h * sd) ** 2 * (sf.Empirical(x0, h * sd).score(x) - drawn.score(x)) / sd
    assert torch.allclose(out["reference"], drift.square()[:, 0], rtol=1e-6, atol=1e-12)


def test_drifting_refuses_conditions():
    flow_map = network_ends(*PROCESSES[0], dim=1)
    with pytest.raises(ValueError, match="of whatever condition; got label"):
        drifting(flow_map, law().sample(4), cond={"label": torch.zeros(4, dtype=torch.int64)})


def test_drifting_towards_an_exact_teacher_uses_its_smoothed_score():
    centred = sf.Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.25, dtype=torch.float64))
    flow_map, x0 = (
        sf.flowmaps.ConsistencyMap(Silent(), *PROCESSES[0], data_mean=0.0, data_std=0.7),
        centred.sample(4000),
    )  # draws N(0, 0.7^2)
    eps = torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_data = drifting(flow_map, x0, eps=eps)["reference"]
    by_law = drifting(flow_map, x0, eps=eps, teacher=sf.ExactDenoiser(centred, sf.VP()))["reference"]
    # the kernel mean of 4,000 data against the law's own: its error is of the order of 1 / sqrt(4,000 x kernel's share)
    assert float((by_data.sqrt() - by_law.sqrt()).abs().median()) < 0.02


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_a_map_is_learned_from_a_teacher(loss):
    teacher = sf.ExactDenoiser(law(torch.float32), sf.EDM(sigma_max=20.0))
    torch.manual_seed(0)
    whole = loss in (lagrangian, mean_flow)
    net = sf.networks.MLP(1, 32, 2, scalars=("until",) if whole else ())
    kind = sf.FlowMap if whole else ConsistencyMap
    flow_map = kind(net, sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(0.7), data_mean=0.9, data_std=0.7)
    fit = sf.training.fit(
        flow_map,
        law(torch.float32).sample(4000),
        loss=functools.partial(loss, teacher=teacher),
        times=UniformAngle(flow_map.schedule, 0.7),
        steps=300 if whole else 600,  # news of the data travels up the angles
        batch_size=128,
        lr=4e-3 if whole else 1e-2,
        ema_decay=0.98,
    )
    x = sf.sample(fit.denoiser, (4000, 1), nfe=1, seed=0).x
    assert float(x.mean()) == pytest.approx(1.3, abs=0.05)
    assert float(x.std()) == pytest.approx(0.4, abs=0.05)


def test_a_gap_errs_in_proportion():
    """g of the exact map, by a step of the teacher's DDIM: the first order in the gap."""
    teacher, x0 = sf.ExactDenoiser(law(), sf.VP()), law().sample(400, generator=torch.Generator().manual_seed(0))

    def tangent(gap):
        told = {"generator": torch.Generator().manual_seed(1), "teacher": teacher, "gap": gap}
        return float(consistency(exact_ends(*PROCESSES[0]), x0, **told)["reference"].mean().sqrt())

    assert tangent(0.02) == pytest.approx(tangent(0.04) / 2, rel=0.1)
    assert tangent(0.02) > 1e-3
    with pytest.raises(ValueError, match=r"gap must lie in \(0, 1\); got 1"):
        consistency(exact_ends(*PROCESSES[0]), x0, gap=1.0)


def test_objectives_refuse_the_other_kind_of_map():
    x0 = law().sample(4)
    for loss, kind in (
        (lagrangian, exact_ends),
        (mean_flow, exact_ends),
        (consistency, exact_map),
        (drifting, exact_map),
    ):
        with pytest.raises(
            TypeError, match=f"{loss.__name__} trains a (FlowMap; got ExactEnds|ConsistencyMap; got Ex)"
        ):
            cast(Any, loss)(kind(*PROCESSES[0]), x0)


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_a_guided_teacher_is_learned_with_its_weights(loss):
    """The map is told the weight that its teacher is asked with, one for each sample."""
    heard = []

    kind: Any = type(of(loss)[0](*PROCESSES[0]))

    class Told(kind):
        def mean_velocity(self, z, theta, phi, **cond):
            heard.append(cond["guidance"])
            return super().mean_velocity(z, theta, phi)

    class Guided(sf.ExactDenoiser):
        def forward(self, x_t, t, guidance=None):
            heard.append(guidance)
            return super().forward(x_t, t)

    x0 = law().sample(200)
    told = {"generator": torch.Generator().manual_seed(0), "differences": 1e-4}
    flow_map: Any = Told(Silent(), *PROCESSES[0], **TOLD)
    teacher = Guided(law(), sf.VP())
    left = value(loss, flow_map, x0, teacher=teacher, guidance=(0.5, 4.0), **told)
    assert float(left.detach().median()) < 1e-17
    assert all(torch.equal(w, heard[0]) for w in heard)
    assert 0.5 <= float(heard[0].min()) < 0.6 < 3.9 < float(heard[0].max()) <= 4.0
    for bad in ({"teacher": None, "guidance": (1.0, 2.0)}, {"teacher": teacher, "guidance": (2.0, 4.0)}):
        with pytest.raises(ValueError, match="guidance needs a guided teacher, and weights that hold 1"):
            loss(flow_map, x0, **bad)


def test_uniform_angle_is_its_density():
    law_of_t = UniformAngle(sf.EDM(sigma_max=20.0), 0.7)
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    t, h = law_of_t.quantile(u), 1e-6
    slope = (law_of_t.quantile(u + h) - law_of_t.quantile(u - h)) / (2 * h)
    assert torch.allclose(law_of_t.density(t) * slope, torch.ones_like(u), rtol=1e-4)
    assert math.isfinite(float(law_of_t.density(t).sum()))
    with pytest.raises(ValueError, match="data_std must be positive"):
        UniformAngle(sf.VP(), 0.0)
