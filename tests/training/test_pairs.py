"""Flows in training: pools of pairs, reflow, conditions, resumption."""

import functools
from typing import Any

import pytest
import torch

import scorefield as sf
from scorefield.auditing import path_energy, straightness
from scorefield.losses import couplings
from scorefield.training import Reflow, Run, batches, fit
from scorefield.training.pairs import Pairs

STEPS: dict[str, Any] = {"batch_size": 64, "lr": 4e-3, "ema_decay": 0.98}


def source(n: int = 300) -> sf.data.Arrays:
    return sf.data.Arrays(torch.randn(n, 2, generator=torch.Generator().manual_seed(0)))


def network(seed: int = 0, **told: Any) -> torch.nn.Module:
    torch.manual_seed(seed)
    return sf.networks.MLP(2, 32, 2, **told)


def pairs(coupling: couplings.Coupling) -> Pairs:
    return Pairs(coupling, source(), None, lambda raw, draws: raw)


def test_every_pair_is_used_so_often_before_the_next_pool():
    made = pairs(couplings.Assignment(size=32, reuse=3))
    whole = made.at(torch.arange(96), 7)
    pool = made.pool(0, 7)
    seen = (whole.x0[:, None] == pool.x0[None]).all(2).sum(0)
    assert seen.tolist() == [3] * 32
    assert torch.equal(pool.x0, source().x[batches.rows(300, torch.arange(32), 7)])


def test_positions_decide_whatever_the_batch():
    coupling = couplings.Assignment(size=32, reuse=2)
    whole = pairs(coupling).at(torch.arange(200), 7)
    pieces = [pairs(coupling).at(torch.arange(low, low + 40), 7) for low in range(0, 200, 40)]
    assert torch.equal(whole.x1, torch.cat([p.x1 for p in pieces]))
    assert torch.equal(whole.x0, torch.cat([p.x0 for p in pieces]))


def test_a_flow_by_assignment_is_straighter_than_an_independent_one():
    data = sf.distributions.eight_gaussians().sample(4000, generator=torch.Generator().manual_seed(0)).float()
    found = {}
    for coupling in (couplings.Independent(), couplings.Assignment(size=512, reuse=10)):
        result = fit(sf.Flow(network()), data, coupling=coupling, steps=400, seed=1, **STEPS)
        path = sf.sample(result.denoiser, (1000, 2), solver=sf.Euler(), times=torch.linspace(1, 0, 51), trajectory=True)
        assert path.trajectory is not None
        assert path.times is not None
        found[type(coupling)] = (straightness(path.trajectory, path.times), path_energy(path.trajectory, path.times))
    assert found[couplings.Assignment][0] < 0.3 * found[couplings.Independent][0]
    assert found[couplings.Assignment][1] < found[couplings.Independent][1]


def test_energy_and_straightness_of_known_paths():
    times = torch.linspace(1, 0, 101, dtype=torch.float64)
    straight = times[:, None, None] * torch.tensor([[3.0, 4.0]])
    assert path_energy(straight, times) == pytest.approx(25)
    assert straightness(straight, times) == pytest.approx(0, abs=1e-12)
    bent = times.square()[:, None, None] * torch.tensor([[3.0, 4.0]])  # speed 2 t
    assert path_energy(bent, times) == pytest.approx(25 * 4 / 3, rel=1e-3)
    assert straightness(bent, times) == pytest.approx(25 / 3, rel=1e-3)


def test_each_class_is_sampled_rightly_from_a_coupled_flow():
    """Two classes at -2 and 2; blind pairing would start class 0 from the left half of the noise only."""
    g = torch.Generator().manual_seed(0)
    label = torch.randint(2, (4000,), generator=g)
    x = torch.randn(4000, 2, generator=g) * torch.tensor([0.3, 0.5]) + torch.stack([4.0 * label - 2, 0 * label], 1)
    result = fit(
        sf.Flow(network(num_classes=2)), x, labels=label, coupling=couplings.Assignment(size=512, reuse=10), steps=1200,
        condition_dropout=0.0, **STEPS,
    )  # fmt: skip
    for k, mean in ((0, -2.0), (1, 2.0)):
        drawn = sf.sample(result.denoiser, (2000, 2), nfe=10, cond={"label": k}).x
        assert torch.allclose(drawn.mean(0), torch.tensor([mean, 0.0]), atol=0.1)
        assert torch.allclose(drawn.std(0), torch.tensor([0.3, 0.5]), atol=0.1)


def test_reflow_straightens():
    data = sf.distributions.eight_gaussians().sample(4000, generator=torch.Generator().manual_seed(0)).float()
    teacher = fit(sf.Flow(network()), data, steps=500, **STEPS).denoiser
    straighter = fit(
        sf.Flow(network()), data, coupling=Reflow(size=1000, reuse=20, teacher=teacher, nfe=15), steps=500, **STEPS
    ).denoiser
    found = []
    for flow in (teacher, straighter):
        path = sf.sample(flow, (500, 2), solver=sf.Euler(), times=torch.linspace(1, 0, 41), trajectory=True)
        assert path.trajectory is not None
        assert path.times is not None
        found.append(straightness(path.trajectory, path.times))
    assert found[1] < 0.3 * found[0]
    with pytest.raises(ValueError, match="teacher must be the denoiser that makes the pairs"):
        Reflow()


def test_reflow_of_a_diffusion_model_starts_where_it_starts():
    teacher = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.ones(2)), sf.EDM(sigma_max=20.0))
    made = Pairs(Reflow(size=64, teacher=teacher), source(), None, lambda raw, draws: raw).pool(0, 1)
    assert torch.allclose(made.x0, made.x1, atol=1e-3)  # of N(0, I) the ODE only scales


@pytest.mark.parametrize("kind", ["flow", "map"])
def test_half_and_half_is_the_whole_to_the_bit(tmp_path, kind):
    def train(steps: int, folder: str) -> torch.nn.Module:
        if kind == "flow":
            model, loss = sf.Flow(network()), sf.losses.flow_matching
            extra = {"coupling": couplings.Assignment(size=48, reuse=3)}
        else:
            model = sf.FlowMap(network(scalars=("until",)), sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(1.0))
            teacher = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.ones(2)), sf.EDM(sigma_max=20.0))
            loss, extra = functools.partial(sf.flowmaps.lagrangian, teacher=teacher), {}
        run = Run(tmp_path / folder, checkpoint_every=100)
        told: dict[str, Any] = {"decay": sf.training.constant, "batch_size": 16, **extra}
        return fit(model, source(), loss=loss, steps=steps, run=run, **told).denoiser

    train(6, "half")
    again, whole = train(12, "half"), train(12, "whole")
    for a, b in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_coupling_is_for_a_flow_and_another_is_another_run(tmp_path):
    denoiser = sf.NetworkDenoiser(network(), sf.Rectified(), sf.Velocity())
    with pytest.raises(ValueError, match="a coupling makes a field that is no score: it is for a Flow"):
        fit(denoiser, source(), coupling=couplings.Assignment(), steps=2)
    told: dict[str, Any] = {"steps": 2, "batch_size": 16}
    fit(sf.Flow(network()), source(), coupling=couplings.Assignment(size=32), run=Run(tmp_path / "run"), **told)
    with pytest.raises(ValueError, match=r"coupling\.size is 32 there; got 64"):
        fit(
            sf.Flow(network()), source(), coupling=couplings.Assignment(size=64), run=Run(tmp_path / "run"),
            **{**told, "steps": 4},
        )  # fmt: skip
