import pytest
import torch
from map_cases import MEAN, PROCESSES, STD, TOLD, exact_ends, exact_map, law, network_ends, network_map
from torch import nn

import scorefield as sf
from scorefield.flowmaps import ConsistencyMap, FlowMap, Jump
from scorefield.flowmaps.noising import drawn

DRAWS = {"t": torch.tensor([0.3, 0.5, 0.7, 0.2, 0.9]), "s": torch.tensor([0.1, 0.5, 0.2, 0.0, 0.6])}


@pytest.mark.parametrize(("schedule", "parameterization"), PROCESSES, ids=lambda v: type(v).__name__)
class TestEveryProcess:
    def test_the_exact_map_is_the_flow_of_the_ode(self, schedule, parameterization):
        flow_map, denoiser = exact_map(schedule, parameterization), sf.ExactDenoiser(law(), schedule)
        denoiser.data_mean, denoiser.data_std = TOLD["data_mean"], TOLD["data_std"]
        mean, std = denoiser.prior(1.0)
        x = mean + std * torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        circle = flow_map.circle
        z, theta = circle.z(x, circle.place(1.0)), torch.full((6,), circle.limit, dtype=torch.float64)
        end = circle.x(z - theta[:, None] * flow_map.mean_velocity(z, theta, 0 * theta), circle.place(0.0))
        ode = sf.sample(denoiser, x, solver=sf.Adaptive(rtol=1e-9, atol=1e-9)).x
        assert torch.allclose(end, ode, atol=2e-6)

    def test_from_a_time_to_itself_is_nothing_and_the_diagonal_is_the_denoiser(self, schedule, parameterization):
        flow_map = network_map(schedule, parameterization)
        x = torch.randn(5, 3, dtype=torch.float64)
        assert torch.allclose(flow_map(x, DRAWS["t"], DRAWS["t"]), x, atol=1e-12)
        assert torch.equal(flow_map(x, DRAWS["t"]), flow_map.field()(x, DRAWS["t"]))

    def test_a_short_jump_moves_by_the_velocity_of_the_diagonal(self, schedule, parameterization):
        flow_map = network_map(schedule, parameterization)
        x, t = torch.randn(5, 3, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
        v, h = sf.velocity(flow_map, x, t), 1e-6
        assert torch.allclose((flow_map(x, t, t - h) - x) / -h, v, rtol=1e-4, atol=1e-4)

    def test_the_rate_of_u_agrees_with_differences(self, schedule, parameterization):
        flow_map = network_map(schedule, parameterization)
        g = torch.Generator().manual_seed(1)
        z, dz = (torch.randn(5, 3, dtype=torch.float64, generator=g) for _ in range(2))
        theta = 0.1 + 1.2 * torch.rand(5, dtype=torch.float64, generator=g)
        phi = theta * torch.rand(5, dtype=torch.float64, generator=g)
        forward = flow_map.moved(z, theta, phi, dz, 1.0, 0.5)
        plain = flow_map.moved_by_differences(z, theta, phi, dz, 1.0, 0.5, step=1e-4)
        assert torch.allclose(forward.u, plain.u, atol=1e-12)
        assert torch.allclose(forward.rate, plain.rate, rtol=1e-4, atol=1e-5)

    def test_sample_takes_two_jumps_and_each_is_one_evaluation(self, schedule, parameterization):
        flow_map = network_map(schedule, parameterization)
        made = sf.sample(flow_map, (4, 3), seed=3)
        assert made.nfe == 2
        assert made.settings is not None
        assert isinstance(made.settings.solver, Jump)
        one = sf.sample(flow_map, (4, 3), seed=3, nfe=1)
        assert one.nfe == 1
        assert one.bias == (1.0, 1.0)


def test_a_jump_with_all_noise_new_keeps_gaussian_data():
    flow_map = exact_map(*PROCESSES[0])
    torch.manual_seed(0)

    class Called(type(flow_map)):
        def forward(self, x_t, t, s=None, **cond):
            circle = self.circle
            here, there = circle.place(t), circle.place(0.0 if s is None else s)
            theta, phi = (a.theta.expand(len(x_t)) for a in (here, there))
            z = circle.z(x_t, here)
            return circle.x(z - (theta - phi)[:, None] * self.mean_velocity(z, theta, phi), there)

    called = Called(flow_map.net, flow_map.schedule, flow_map.parameterization, **TOLD)
    alpha, sigma = called.schedule(1.0)
    start = alpha * law().sample(20_000) + sigma * torch.randn(20_000, 1, dtype=torch.float64)
    for renoise in (0.0, 0.5, 1.0):
        x = sf.sample(called, start, solver=Jump(renoise=renoise), nfe=4).x
        assert abs(float(x.mean()) - 1.3) < 0.02
        assert abs(float(x.std()) - 0.4) < 0.01


def test_what_it_has_not_is_refused_with_the_reason():
    flow_map = network_map(*PROCESSES[0])
    x = torch.randn(2, 3, dtype=torch.float64)
    for ask in (sf.log_prob, sf.elbo, lambda flow_map, x: sf.sample_log_prob(flow_map, x.shape)):
        with pytest.raises(ValueError, match="has no density: samples of a few jumps"):
            ask(flow_map, x)
    assert torch.isfinite(sf.log_prob(flow_map.field(), x).log_prob).all()
    assert torch.isfinite(sf.score(flow_map, x, 0.5)).all()
    with pytest.raises(ValueError, match="build MLP with scalars"):
        FlowMap(sf.networks.MLP(3), sf.VP(), sf.V())
    with pytest.raises(ValueError, match="Jump is for a FlowMap"):
        sf.sample(flow_map.field(), (2, 3), solver=Jump())
    with pytest.raises(ValueError, match="renoise must lie in"):
        Jump(renoise=2.0)


def test_a_network_of_ones_own_is_called_with_until():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x, level, until):
            return self.linear(torch.cat([x, level[:, None], until[:, None]], 1))

    flow_map = FlowMap(Own(), sf.Rectified(), sf.Velocity())
    assert sf.sample(flow_map, (3, 2)).x.shape == (3, 2)


def test_it_is_saved_and_loaded(tmp_path):
    flow_map = network_map(*PROCESSES[0])
    sf.save(tmp_path / "map.safetensors", flow_map)
    again = sf.storage.load(tmp_path / "map.safetensors").denoiser
    assert type(again) is FlowMap
    assert torch.equal(sf.sample(again, (3, 3), seed=1).x, sf.sample(flow_map, (3, 3), seed=1).x)


def test_a_consistency_map_has_a_denoisers_network_and_jumps_to_the_data():
    ends = network_ends(*PROCESSES[0], jumps=3)
    plain = sf.NetworkDenoiser(ends.net, ends.schedule, ends.parameterization, **TOLD)
    x, t = torch.randn(5, 3, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    assert torch.equal(ends(x, t), plain(x, t))
    assert torch.equal(ends(x, t, 0.0), ends(x, t))
    made = sf.sample(ends, (4, 3), seed=3)
    assert made.nfe == 3
    assert made.settings is not None
    assert made.settings.solver == Jump(renoise=1.0)
    with pytest.warns(UserWarning, match="was trained for 3 jumps, at their levels alone; got nfe=1"):
        assert sf.sample(ends, (4, 3), nfe=1).nfe == 1
    assert sf.sample(network_ends(*PROCESSES[0]), (4, 3)).nfe == 2
    for ask, why in (
        (lambda: ends(x, t, 0.3), "jumps to the data alone: s must be 0"),
        (lambda: sf.sample(ends, (4, 3), solver=Jump()), "jumps to the data alone: s must be 0"),
        (lambda: sf.sample(ends, (4, 3), solver=sf.Heun()), "Heun: ConsistencyMap has no velocity: its jumps end at"),
        (lambda: sf.sample(ends, (4, 3), solver=sf.DDIM(eta=1.0)), "DDIM: ConsistencyMap has no score"),
        (lambda: sf.score(ends, x, t), "score: ConsistencyMap has no score"),
        (lambda: sf.velocity(ends, x, t), "velocity: ConsistencyMap has no velocity"),
        (lambda: sf.encode(ends, x), "has no velocity"),
        (lambda: sf.log_prob(ends, x), "has no density"),
        (lambda: ends.field(), "has no diagonal"),
        (lambda: network_ends(*PROCESSES[0], jumps=0), "jumps must be at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=why):
            ask()


def test_a_consistency_map_is_saved_with_its_jumps(tmp_path):
    ends = network_ends(*PROCESSES[0], jumps=3)
    sf.save(tmp_path / "map.safetensors", ends)
    again = sf.storage.load(tmp_path / "map.safetensors").denoiser
    assert type(again) is ConsistencyMap
    assert again.jumps == 3
    assert torch.equal(sf.sample(again, (3, 3), seed=1).x, sf.sample(ends, (3, 3), seed=1).x)


def test_what_objectives_judge_is_what_sample_draws():
    """`drawn`, of the exact ends in three jumps: the data, and differentiable through each jump."""

    class Called(type(exact_ends(*PROCESSES[0]))):
        def forward(self, x_t, t, s=None, **cond):
            here = self.circle.place(t)
            theta, z = here.theta.expand(len(x_t)), self.circle.z(x_t, here)
            y = torch.cos(theta)[:, None] * z - torch.sin(theta)[:, None] * self.mean_velocity(z, theta, theta)
            return self.circle.x(y, self.circle.place(0.0))

    ends = Called(exact_ends(*PROCESSES[0]).net, *PROCESSES[0], **TOLD, jumps=3)
    x = drawn(ends, law().sample(20_000), {}, torch.Generator().manual_seed(0))
    assert abs(float(x.mean()) - MEAN) < 0.02
    assert abs(float(x.std()) - STD) < 0.01
    once = network_ends(*PROCESSES[0], jumps=2)
    drawn(once, torch.zeros(4, 3, dtype=torch.float64), {}, torch.Generator().manual_seed(0)).sum().backward()
    through = [p.grad.clone() for p in once.parameters() if p.grad is not None]
    once.zero_grad()
    once.jumps = 1
    drawn(once, torch.zeros(4, 3, dtype=torch.float64), {}, torch.Generator().manual_seed(0)).sum().backward()
    last = [p.grad for p in once.parameters() if p.grad is not None]
    assert all(not torch.allclose(a, b) for a, b in zip(through, last, strict=True))


def test_a_network_that_takes_the_weight_of_guidance_is_told_1_where_nobody_says():
    net = sf.networks.MLP(3, 16, 2, scalars=("until", "guidance"))
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    flow_map = FlowMap(net, *PROCESSES[1])
    x = torch.randn(5, 3)
    assert torch.equal(flow_map(x, 0.6), flow_map(x, 0.6, guidance=1.0))
    assert torch.equal(flow_map(x, 0.6, 0.2), flow_map(x, 0.6, 0.2, guidance=torch.ones(5)))
    assert torch.equal(flow_map.field()(x, 0.6), flow_map(x, 0.6))
    assert not torch.equal(flow_map(x, 0.6), flow_map(x, 0.6, guidance=2.0))
    drawn_at = [sf.sample(flow_map, (4, 3), seed=1, cond={"guidance": w}).x for w in (1.0, 3.0)]
    assert torch.equal(drawn_at[0], sf.sample(flow_map, (4, 3), seed=1).x)
    assert not torch.equal(*drawn_at)
