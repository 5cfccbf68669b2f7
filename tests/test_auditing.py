"""The audit, on teachers whose answers are exact."""

import functools

import pytest
import torch

import scorefield as sf
from scorefield.auditing import audit
from scorefield.losses import UniformAngle

LAW = sf.distributions.eight_gaussians()
SCHEDULE = sf.EDM(sigma_max=20.0)


@pytest.fixture(scope="module")
def student() -> sf.FlowMap:
    torch.manual_seed(0)
    net = sf.networks.MLP(2, 64, 3, conditioning="add", scalars=("until",))
    data = LAW.sample(8000, generator=torch.Generator().manual_seed(0)).float()
    sd = float(data.std())
    flow_map = sf.FlowMap(net, SCHEDULE, sf.EDMPreconditioning(sd), data_mean=0.0, data_std=sd)
    return sf.training.fit(
        flow_map,
        data,
        loss=functools.partial(sf.flowmaps.lagrangian, teacher=sf.ExactDenoiser(LAW, SCHEDULE)),
        times=UniformAngle(SCHEDULE, sd),
        steps=500,
        batch_size=256,
        lr=3e-3,
        ema_decay=0.99,
    ).denoiser


@pytest.fixture(scope="module")
def found(student):
    x0 = LAW.sample(1000, generator=torch.Generator().manual_seed(1)).float()
    return audit(student, sf.ExactDenoiser(LAW, sf.VP()), x0, modes=8)


def test_the_ode_itself_is_at_the_floor_and_the_student_near_it(found):
    assert found.ode.data < found.floor.mean + 4 * found.floor.std
    assert found.ode.map == found.ode.lost == 0
    assert [b.nfe for b in found.budgets] == [1, 2, 4]
    assert all(b.lost == 0 for b in found.budgets)
    assert found.budgets[-1].teacher < found.budgets[0].teacher


def test_distances_are_those_to_the_exact_map(student, found):
    """The first level is the start of sampling: from there the ODE is solved here by another method."""
    x0 = LAW.sample(1000, generator=torch.Generator().manual_seed(1)).float()
    level = found.levels[0]
    assert level.noise_ratio == pytest.approx(20 / student.data_std, rel=1e-3)
    circle, theta = student.circle, torch.tensor(student.circle.limit)
    from scorefield.randomness import Stream, randn_like

    z = randn_like(x0, Stream(0, torch.arange(1000)))[:512]
    noised = torch.cos(theta) * x0[:512] / student.data_std + torch.sin(theta) * z
    x = circle.x(noised, circle.place(1.0))
    end = sf.sample(sf.ExactDenoiser(LAW, SCHEDULE), x.double(), solver=sf.Adaptive(rtol=1e-6, atol=1e-6)).x
    distance = float((student(x, 1.0, 0.0) - end).square().mean().sqrt()) / student.data_std
    assert level.distance == pytest.approx(distance, rel=0.02)
    assert all(a.distance > b.distance for a, b in zip(found.levels[-3:], found.levels[-2:], strict=False))


def test_it_says_it_in_words(found):
    text = str(found)
    assert text.startswith("1 evaluation: ")
    assert "A jump errs most from noise" in text
    assert f"{found.floor.mean:8.4f} +- {found.floor.std:.4f}, 8 modes" in text


def test_lost_modes_are_counted(student):
    x0 = LAW.sample(1000, generator=torch.Generator().manual_seed(1)).float()

    class Blind(sf.FlowMap):
        """Half of the plane is never reached."""

        def forward(self, x_t, t, s=None, **cond):
            x = super().forward(x_t, t, s, **cond)
            return torch.cat([x[:, :1].abs(), x[:, 1:]], 1)

    blind = Blind(student.net, student.schedule, student.parameterization, data_mean=0.0, data_std=student.data_std)
    lost = audit(blind, sf.ExactDenoiser(LAW, SCHEDULE), x0, modes=8, levels=1).budgets[0]
    assert lost.lost == 3  # the three of eight with x < 0 clearly
    assert lost.variation > 0.3


def test_mistakes_are_one_line(student):
    teacher = sf.ExactDenoiser(LAW, SCHEDULE)
    with pytest.raises(TypeError, match="student must be a FlowMap; got ExactDenoiser"):
        audit(teacher, teacher, torch.zeros(10, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 8 data, 1 level and 1 to 3 modes"):
        audit(student, teacher, torch.zeros(3, 2))
