import functools
import math

import pytest
import torch
from map_cases import PROCESSES, Silent, exact_map, law, network_map

import scorefield as sf
from scorefield.flowmaps import consistency, drifting, lagrangian, mean_flow
from scorefield.losses import UniformAngle

OBJECTIVES = [lagrangian, mean_flow, consistency]


def value(loss, *args, **kwargs):
    out = loss(*args, **kwargs)
    return out if isinstance(out, torch.Tensor) else out["reference"]


@pytest.mark.parametrize("loss", OBJECTIVES)
@pytest.mark.parametrize(("schedule", "parameterization"), PROCESSES[::2], ids=lambda v: type(v).__name__)
def test_the_exact_map_makes_it_zero_with_an_exact_teacher(loss, schedule, parameterization):
    teacher = sf.ExactDenoiser(law(), sf.VP())  # of another process
    told = {"generator": torch.Generator().manual_seed(0), "teacher": teacher, "differences": 1e-4}
    x0 = law().sample(500)
    left = value(loss, exact_map(schedule, parameterization), x0, **told)
    assert float(left.median()) < 1e-17
    assert float(left.max()) < 1e-9  # within a step of an end differences are taken a step away
    told["generator"] = torch.Generator().manual_seed(0)
    wrong = network_map(schedule, parameterization, dim=1)
    assert float(value(loss, wrong, x0, **told).mean()) > 1e-2


@pytest.mark.parametrize("loss", [lagrangian, mean_flow, consistency])
def test_without_a_teacher_the_exact_map_leaves_the_conditional_variance(loss):
    """E ||v_conditional - v||^2 in each term that v stands in, of consistency's tangent carried to the end by dX/dz."""
    flow_map = exact_map(*PROCESSES[0])
    g = torch.Generator().manual_seed(0)
    x0 = law().sample(20_000, generator=g)
    t = UniformAngle(flow_map.schedule, flow_map.data_std).sample(len(x0), g)
    own = value(loss, flow_map, x0, t=t, generator=torch.Generator().manual_seed(1), differences=1e-4)
    theta = flow_map.circle.place(t).theta
    c = 0.4 / 0.7
    spread = c**2 / ((torch.cos(theta) * c) ** 2 + torch.sin(theta) ** 2)  # Var[v | z] of a Gaussian
    carried = c**2 / ((torch.cos(theta) * c) ** 2 + torch.sin(theta) ** 2)  # (dX/dz)^2
    more = {lagrangian: 0, mean_flow: 1, consistency: carried}[loss]
    assert float(own.mean()) == pytest.approx(float((spread * (1 + more)).mean()), rel=0.06)


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_forward_mode_and_differences_agree(loss):
    flow_map, x0 = network_map(*PROCESSES[0]), torch.randn(16, 3, dtype=torch.float64)
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
    flow_map = network_map(*PROCESSES[0], dim=1)
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
    flow_map = network_map(*PROCESSES[0], dim=1)
    with pytest.raises(ValueError, match="of whatever condition; got label"):
        drifting(flow_map, law().sample(4), cond={"label": torch.zeros(4, dtype=torch.int64)})


def test_drifting_towards_an_exact_teacher_uses_its_smoothed_score():
    centred = sf.Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.25, dtype=torch.float64))
    flow_map, x0 = (
        sf.FlowMap(Silent(), *PROCESSES[0], data_mean=0.0, data_std=0.7),
        centred.sample(4000),
    )  # draws N(0, 0.7^2)
    eps = torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_data = drifting(flow_map, x0, eps=eps)["reference"]
    by_law = drifting(flow_map, x0, eps=eps, teacher=sf.ExactDenoiser(centred, sf.VP()))["reference"]
    # the kernel mean of 4,000 data against the law's own: its error is of the order of 1 / sqrt(4,000 x kernel's share)
    assert float((by_data.sqrt() - by_law.sqrt()).abs().median()) < 0.02


@pytest.mark.parametrize("loss", [lagrangian, mean_flow, consistency])
def test_a_map_is_learned_from_a_teacher(loss):
    teacher = sf.ExactDenoiser(law(torch.float32), sf.EDM(sigma_max=20.0))
    torch.manual_seed(0)
    net = sf.networks.MLP(1, 32, 2, scalars=("until",))
    flow_map = sf.FlowMap(net, sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(0.7), data_mean=0.9, data_std=0.7)
    fit = sf.training.fit(
        flow_map,
        law(torch.float32).sample(4000),
        loss=functools.partial(loss, teacher=teacher),
        times=UniformAngle(flow_map.schedule, 0.7),
        steps=300,
        batch_size=128,
        lr=4e-3,
        ema_decay=0.98,
    )
    x = sf.sample(fit.denoiser, (4000, 1), nfe=1, seed=0).x
    assert float(x.mean()) == pytest.approx(1.3, abs=0.05)
    assert float(x.std()) == pytest.approx(0.4, abs=0.05)


def test_uniform_angle_is_its_density():
    law_of_t = UniformAngle(sf.EDM(sigma_max=20.0), 0.7)
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    t, h = law_of_t.quantile(u), 1e-6
    slope = (law_of_t.quantile(u + h) - law_of_t.quantile(u - h)) / (2 * h)
    assert torch.allclose(law_of_t.density(t) * slope, torch.ones_like(u), rtol=1e-4)
    assert math.isfinite(float(law_of_t.density(t).sum()))
    with pytest.raises(ValueError, match="data_std must be positive"):
        UniformAngle(sf.VP(), 0.0)
