"""A denoiser becomes a program, by export, compile without a graph break and vmap over t; eager calls still check."""

import warnings

import pytest
import torch
from torch.export import Dim

import scorefield as sf

SCHEDULES = [
    sf.VP(), sf.SubVP(), sf.VE(), sf.VEPower(), sf.Brownian(), sf.EDM(), sf.Cosine(), sf.Rectified(),
    sf.Discrete.linear(20), sf.Discrete(alphas_cumprod=torch.linspace(0.99, 0, 20, dtype=torch.float64)),
]  # fmt: skip
T = torch.tensor([0.1, 0.35, 0.6, 0.9, 0.99])


def shaken(net):
    torch.manual_seed(0)
    for p in net.parameters():  # the last layers start at zero
        p.data += 0.05 * torch.randn_like(p)
    return net.eval()


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


NETWORKS = {
    "unet": (lambda: sf.networks.UNet(1, width=8, multipliers=(1, 2)), (1, 8, 8)),
    "dit": (lambda: sf.networks.DiT(1, width=16, depth=1, heads=2), (1, 8, 8)),
    "mlp": (lambda: sf.networks.MLP(3, hidden=16, depth=1), (3,)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    make, event = NETWORKS[request.param]
    return sf.NetworkDenoiser(shaken(make()), sf.Cosine(), sf.V()).eval(), event


def exported(denoiser, x, t):
    batch = Dim("batch")
    return torch.export.export(denoiser, (x, t), dynamic_shapes={"x_t": {0: batch}, "t": {0: batch}})


def test_it_exports_with_an_open_batch(case):
    denoiser, event = case
    program = exported(denoiser, normal(2, *event), T[:2]).module()
    for n in (1, 3, 5):
        x = normal(n, *event)
        torch.testing.assert_close(program(x, T[:n]), denoiser(x, T[:n]), atol=1e-6, rtol=1e-5)


def test_it_compiles_without_a_graph_break(case):
    denoiser, event = case
    torch._dynamo.reset()
    x = normal(3, *event)
    got = torch.compile(denoiser, fullgraph=True, backend="eager")(x, T[:3])
    torch.testing.assert_close(got, denoiser(x, T[:3]), atol=1e-6, rtol=1e-5)


def test_vmap_runs_over_x_and_t(case):
    denoiser, event = case
    x = normal(3, *event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch: attention has no rule of its own for batches of batches
        one = torch.func.vmap(lambda x, t: denoiser(x[None], t)[0])(x, T[:3])
        torch.testing.assert_close(one, denoiser(x, T[:3]), atol=1e-5, rtol=1e-5)
        slope = torch.func.vmap(torch.func.grad(lambda t, x: denoiser(x[None], t).sum()))(T[:3], x)
    h = 1e-3
    finite = (denoiser(x, T[:3] + h) - denoiser(x, T[:3] - h)).flatten(1).sum(1) / (2 * h)
    torch.testing.assert_close(slope, finite, atol=0.02, rtol=0.02)


class Coefficients(torch.nn.Module):
    """What every schedule and target make of the same times."""

    def __init__(self, targets):
        super().__init__()
        self.targets = targets

    def forward(self, t):
        return torch.stack([torch.stack(p.solve(s, t)) for s in SCHEDULES for p in self.targets])


def test_every_schedule_and_target_exports():
    every = Coefficients([sf.Eps(), sf.EDMPreconditioning()])
    program = torch.export.export(every, (T[:2],), dynamic_shapes=({0: Dim("batch")},)).module()
    torch.testing.assert_close(program(T), every(T), atol=1e-12, rtol=1e-9)


def test_every_velocity_compiles():
    torch._dynamo.reset()
    every = Coefficients([sf.Velocity()])
    torch.testing.assert_close(
        torch.compile(every, fullgraph=True, backend="eager")(T), every(T), atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("t", [1.5, -0.1, float("nan")])
def test_eager_calls_still_refuse_a_time_outside(t):
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2), sf.VP(), sf.V())
    with pytest.raises(ValueError, match="t must lie in"):
        denoiser(normal(2, 2), t)
    with pytest.raises(ValueError, match="t must lie in"):
        torch.func.grad(lambda x: denoiser(x, t).sum())(normal(2, 2))


def test_eager_calls_still_refuse_a_singular_prediction():
    pure = sf.Discrete(alphas_cumprod=torch.linspace(0.99, 0, 20, dtype=torch.float64))
    with pytest.raises(ValueError, match="singular"):
        sf.NetworkDenoiser(sf.networks.MLP(2), pure, sf.Eps())(normal(2, 2), 1.0)
