from typing import Any, cast

import pytest
import torch

import scorefield as sf
from scorefield.flowmaps import ConsistencyMap
from scorefield.losses import UniformAngle
from scorefield.randomness import Stream
from scorefield.training import DistributionMatching, Now, fit

SCHEDULE = sf.EDM(sigma_max=20.0)
DATA: dict[str, Any] = {"data_mean": 0.0, "data_std": 1.0}


def law(mean: float, std: float = 0.5) -> sf.Gaussian:
    return sf.Gaussian(torch.tensor([mean]), torch.tensor([std**2]))


def network(seed: int) -> sf.networks.MLP:
    torch.manual_seed(seed)
    return sf.networks.MLP(1, 32, 2)


def critic(seed: int = 1, schedule: sf.Schedule = SCHEDULE) -> sf.NetworkDenoiser:
    target = sf.EDMPreconditioning(1.0) if schedule == SCHEDULE else sf.V()
    return sf.NetworkDenoiser(network(seed), schedule, target, **DATA)


class Affine(ConsistencyMap):
    """Draws N(shift, std^2), whatever the noise it begins with."""

    def __init__(self, shift: float, std: float) -> None:
        super().__init__(network(0), SCHEDULE, sf.EDMPreconditioning(1.0), **DATA)
        self.shift = torch.nn.Parameter(torch.tensor(shift))
        self.std = torch.nn.Parameter(torch.tensor(std))

    def forward(self, x_t, t, s=None, **cond):
        return self.shift + self.std * self.circle.z(x_t, self.circle.place(t))


def gradient(shift: float, std: float, schedule: sf.Schedule = SCHEDULE) -> tuple[float, float, float]:
    """Of the map's turn, in its shift and its std, where the critic is exact; and the largest reference."""
    flow_map, n = Affine(shift, std), 4000
    objective = DistributionMatching(flow_map, sf.ExactDenoiser(law(0.7), schedule), critic())
    objective.critic = sf.ExactDenoiser(law(shift, std), SCHEDULE)
    draws = Stream(0, torch.arange(n))
    batch = {"x0": torch.zeros(n, 1), "t": UniformAngle(SCHEDULE, 1.0).sample(n, Stream(1, torch.arange(n)))}
    out = objective(batch, draws, Now("map", 0, 1))
    shifted, spread = torch.autograd.grad(out["loss"].mean(), [flow_map.shift, flow_map.std])
    return float(shifted), float(spread), float(out["reference"].max())


@pytest.mark.parametrize("schedule", [SCHEDULE, sf.VP()], ids=repr)  # of the teacher
def test_it_stands_still_at_the_teachers_law_and_points_there_from_elsewhere(schedule):
    at, spread, largest = gradient(0.7, 0.5, schedule)
    assert max(abs(at), abs(spread)) < 1e-4
    assert largest < 1e-6
    assert gradient(1.0, 0.5, schedule)[0] > 0.1  # against the gradient: back
    assert gradient(0.4, 0.5, schedule)[0] < -0.1
    assert gradient(0.7, 0.8, schedule)[1] > 0.05
    assert gradient(0.7, 0.3, schedule)[1] < -0.05


@pytest.mark.parametrize("jumps", [1, 2, 3])
def test_a_teachers_law_is_learned(jumps):
    flow_map = ConsistencyMap(network(0), SCHEDULE, sf.EDMPreconditioning(1.0), **DATA, jumps=jumps)
    objective = DistributionMatching(
        flow_map, sf.ExactDenoiser(law(0.7), SCHEDULE), critic(), times=UniformAngle(SCHEDULE, 1.0)
    )
    made = fit(objective, law(0.7).sample(512), steps=600, batch_size=128, lr=4e-3, ema_decay=0.995, seed=0)
    x = sf.sample(cast(sf.Denoiser, made.model), (4000, 1), seed=3).x
    assert float(x.mean()) == pytest.approx(0.7, abs=0.06)
    assert float(x.std()) == pytest.approx(0.5, abs=0.06)
    assert set(made.models) == {"model"}


def test_each_turn_moves_its_own():
    flow_map = ConsistencyMap(network(0), SCHEDULE, sf.EDMPreconditioning(1.0), **DATA)
    teacher = critic(5)
    before = [p.clone() for p in teacher.parameters()]
    objective = DistributionMatching(flow_map, teacher, every=3)
    starts = {
        name: [p.detach().clone() for p in getattr(objective, name).parameters()] for name in ("denoiser", "critic")
    }
    assert all(torch.equal(a, b) for a, b in zip(objective.critic.parameters(), teacher.parameters(), strict=True))
    fit(objective, torch.zeros(64, 1), steps=3, batch_size=16, lr=1e-3, warmup=0)
    moved = {
        name: any(not torch.equal(a, b) for a, b in zip(start, getattr(objective, name).parameters(), strict=True))
        for name, start in starts.items()
    }
    assert moved == {"denoiser": True, "critic": True}
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_what_it_can_not_match_is_refused():
    flow_map = ConsistencyMap(network(0), SCHEDULE, sf.EDMPreconditioning(1.0), **DATA)
    with pytest.raises(TypeError, match="flow_map must be a ConsistencyMap; got NetworkDenoiser"):
        DistributionMatching(critic(), critic())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="critic must be given: ExactDenoiser has no network"):
        DistributionMatching(flow_map, sf.ExactDenoiser(law(0.0), SCHEDULE))
    with pytest.raises(ValueError, match="DistributionMatching: Flow has no score"):
        DistributionMatching(flow_map, sf.Flow(network(0)), critic())
