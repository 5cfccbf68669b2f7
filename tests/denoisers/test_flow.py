"""A flow between two mixtures whose velocity is known: pairs of components are Gaussians of (x0, x1)."""

import pytest
import torch
from torch import Tensor, nn

import scorefield as sf
from scorefield.losses import couplings

DATA = sf.GaussianMixture(
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double(),
    torch.tensor([[0.04, 0.09], [0.1, 0.02]]).double(),
)
ORIGIN = sf.GaussianMixture(
    torch.tensor([0.5, 0.5]).double(),
    torch.tensor([[3.0, 3.0], [-2.0, 3.0]]).double(),
    torch.tensor([[0.5, 0.3], [0.2, 0.4]]).double(),
)


class Exact(nn.Module):
    """E[x1 - x0 | x_t] on straight paths of independent pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        a, b = (1 - t)[:, None, None, None], t[:, None, None, None]
        m0, m1 = DATA.means[None, :, None], ORIGIN.means[None, None]
        v0, v1 = (law.covariances.diagonal(dim1=1, dim2=2) for law in (DATA, ORIGIN))
        v0, v1 = v0[None, :, None], v1[None, None]
        gap, var = x[:, None, None] - a * m0 - b * m1, a**2 * v0 + b**2 * v1
        weights = DATA.weights[:, None].log() + ORIGIN.weights.log() - (gap**2 / var + var.log()).sum(3) / 2
        share = torch.softmax(weights.flatten(1), 1).reshape(weights.shape)[..., None]
        moved = (m1 + b * v1 / var * gap) - (m0 + a * v0 / var * gap)
        return (share * moved).sum((1, 2))


@pytest.fixture
def flow() -> sf.Flow:
    return sf.Flow(Exact(), origin=ORIGIN, data_mean=DATA.mean, data_std=0.8)


def test_it_carries_its_origin_to_the_data(flow):
    x = sf.sample(flow, (4000, 2), nfe=40).x
    exact = DATA.sample(12_000, generator=torch.Generator().manual_seed(1))
    floor = sf.metrics.sliced_wasserstein_floor(exact, (4000, 4000))
    assert sf.metrics.sliced_wasserstein(x, exact[:4000]) < floor.mean + 4 * floor.std
    assert abs(float((x[:, 0] > 0).double().mean()) - 0.3) < 0.03


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_its_likelihood_is_the_datas(flow, tolerance):
    x = DATA.sample(40, generator=torch.Generator().manual_seed(0))
    found = sf.log_prob(flow, x, tolerance=tolerance)
    error = (found.log_prob - DATA.log_prob(x)).abs()
    assert float(error.max()) < 2 * 2 * tolerance
    assert bool((error <= found.solver + 1e-9).all())
    low, high = sf.log_prob(flow, x, tolerance=tolerance, probes=2).interval()
    assert bool(((low < DATA.log_prob(x)) & (DATA.log_prob(x) < high)).double().mean() > 0.9)


def test_encoding_and_decoding_come_back(flow):
    x = DATA.sample(10, generator=torch.Generator().manual_seed(0))
    z = sf.encode(flow, x, nfe=60).z
    assert torch.allclose(sf.decode(flow, z, nfe=60), x, atol=1e-3)


def test_sample_i_is_its_own(flow):
    whole = sf.sample(flow, (6, 2), nfe=5, seed=2).x
    part = sf.sample(flow, (2, 2), nfe=5, seed=2, first_index=4).x
    assert torch.allclose(whole[4:], part, atol=1e-12)


@pytest.mark.parametrize(
    "ask",
    [
        lambda flow, x: sf.score(flow, x, 0.5),
        lambda flow, x: sf.covariance(flow, x, 0.5, x),
        lambda flow, x: sf.sample(flow, x.shape, solver=sf.DDIM(eta=1.0)),
        lambda flow, x: sf.sample(flow, x.shape, solver=sf.EulerMaruyama()),
        lambda flow, x: sf.elbo(flow, x),
        lambda flow, x: sf.sample_log_prob(flow, x.shape),
        lambda flow, x: sf.losses.continuous_bound(flow, x),
        lambda flow, x: sf.losses.implicit(flow, x),
        lambda flow, x: sf.score(sf.ClippedDenoiser(flow, (-3.0, 3.0)), x, 0.5),
        lambda flow, x: sf.inverse.condition(
            flow, sf.inverse.GaussianNoise(sf.inverse.operators.Dense(torch.eye(2).double()), x[:1], 0.1)
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_needs_a_score_says_that_there_is_none(flow, ask):
    with pytest.raises(ValueError, match=r"has no score: its pairs are not data with independent Gaussian noise"):
        ask(flow, DATA.sample(4))


def test_other_mistakes_are_one_line(flow):
    with pytest.raises(ValueError, match=r"a flow starts at t = 1, where its origin is; got times\[0\] = 0.5"):
        sf.sample(flow, (3, 2), times=torch.tensor([0.5, 0.0]))
    with pytest.raises(ValueError, match="schedule must be at the datum at t = 0"):
        sf.Flow(Exact(), sf.VP())
    with pytest.raises(TypeError, match="origin must be a Distribution"):
        sf.Flow(Exact(), origin=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tune starts from Gaussian noise"):
        sf.tune(flow, (2,), 4)
    with pytest.raises(ValueError, match="a coupling makes a field that is no score"):
        sf.losses.flow_matching(
            sf.NetworkDenoiser(Exact(), sf.Rectified(), sf.Velocity()), DATA.sample(4), coupling=couplings.Assignment()
        )


def test_flow_matching_is_denoising_to_the_bit():
    net = sf.networks.MLP(2, 16, 1)
    denoiser, x0 = sf.NetworkDenoiser(net, sf.Rectified(), sf.Velocity()), torch.randn(8, 2)
    values = [
        loss(denoiser, x0, generator=torch.Generator().manual_seed(0))
        for loss in (sf.losses.flow_matching, sf.losses.denoising)
    ]
    assert torch.equal(*values)


def test_the_loss_draws_from_the_origin_and_is_least_at_the_exact_velocity(flow):
    """What is added to the velocity, c, costs c^2 on average of both signs; neither gains by more than chance."""
    x0 = DATA.sample(20_000, generator=torch.Generator().manual_seed(0))
    t = torch.rand(20_000, generator=torch.Generator().manual_seed(2))

    class Shifted(Exact):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return super().forward(x, t) + self.by

    def loss(by: float) -> float:
        shifted = sf.Flow(Shifted(by), origin=ORIGIN)
        return float(sf.losses.flow_matching(shifted, x0, t=t, generator=torch.Generator().manual_seed(1)).mean())

    least, up, down = loss(0.0), loss(0.3), loss(-0.3)
    assert (up + down) / 2 - least == pytest.approx(0.09, rel=1e-9)
    assert abs(up - down) / 2 < 0.03  # 0.6 times the mean residual, whose standard deviation is about 0.01


@pytest.mark.parametrize(
    "origin", [None, ORIGIN.to(torch.float32), sf.distributions.checkerboard(), sf.Empirical(torch.rand(20, 2), 0.1)]
)
def test_it_is_saved_with_its_origin(tmp_path, origin):
    flow = sf.Flow(sf.networks.MLP(2, 16, 1), origin=origin)
    sf.save(tmp_path / "flow.safetensors", flow)
    again = sf.storage.load(tmp_path / "flow.safetensors").denoiser
    assert type(again) is sf.Flow
    assert torch.allclose(sf.sample(again, (5, 2), nfe=3).x, sf.sample(flow, (5, 2), nfe=3).x, atol=1e-5)
