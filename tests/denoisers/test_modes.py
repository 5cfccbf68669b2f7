"""Training mode: whatever evaluates a model does it in eval mode, and leaves each module in the mode it was in."""

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import anomaly, inverse
from scorefield.likelihood import Dequantizer, fit_dequantizer


class Net(nn.Module):
    """Dropout and batch norm, and which modes it was called in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.frozen = nn.Dropout(0.5).eval()
        self.modes = set()

    def forward(self, x, level, label=None, null=None):
        self.modes.add(self.training or self.body.training or self.body[1].training)
        return self.frozen(self.body(x))


def likelihood():
    return inverse.GaussianNoise(inverse.operators.Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.5]]), 0.3)


X = torch.linspace(-1, 1, 12).reshape(6, 2)
USES = {
    "sample": lambda d: sf.sample(d, (6, 2), nfe=3).x,
    "sample, adaptive": lambda d: sf.sample(d, (6, 2), solver=sf.Adaptive(rtol=0.1, atol=0.1)).x,
    "sample, exact": lambda d: sf.sample(d, (6, 2), nfe=3, exact=True).x,
    "log_prob": lambda d: sf.log_prob(d, X, tolerance=0.1).log_prob,
    "elbo": lambda d: sf.elbo(d, X, draws=2).elbo,
    "encode": lambda d: sf.encode(d, X, nfe=3).z,
    "decode": lambda d: sf.decode(d, X, nfe=3),
    "edit": lambda d: sf.edit(d, X, 0.5, nfe=3).x,
    "inpaint": lambda d: sf.inpaint(d, X, torch.tensor([True, False]), nfe=10).x,
    "tune": lambda d: torch.tensor(sf.tune(d, (2,), 3, paths=8, teacher_steps=8).tuned),
    "posterior": lambda d: inverse.condition(d, likelihood(), inverse.DPS()).sample(2, nfe=3).x,
    "calibrate": lambda d: sf.solvers.calibrate(d, X, levels=4, generator=torch.Generator().manual_seed(0)).variance,
    "anomaly": lambda d: anomaly.ScoreNorms(2)(d, X),
    "anomaly, another model": lambda d: anomaly.Under(d, anomaly.ScoreNorms(2))(other(), X),
    "guided": lambda d: sf.sample(sf.ClassifierFreeGuidance(d, 2.0), (6, 2), nfe=3, cond={"label": 1}).x,
}


def other():
    return sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.VP())


def modes(module):
    return [m.training for m in module.modules()]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_model_in_train_mode_gives_what_it_gives_in_eval_mode_and_stays_as_it_was(use):
    net = Net()
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_mean=0.0, data_std=1.0)
    before, weights = modes(denoiser), {k: v.clone() for k, v in denoiser.state_dict().items()}
    assert before != [False] * len(before)
    assert not net.frozen.training
    first = use(denoiser)
    assert net.modes == {False}
    assert modes(denoiser) == before
    assert all(torch.equal(v, weights[k]) for k, v in denoiser.state_dict().items())  # batch norm saw nothing
    assert torch.equal(use(denoiser), first)
    assert torch.equal(use(denoiser.eval()), first)


def test_the_mode_comes_back_after_an_error():
    denoiser = sf.NetworkDenoiser(Net(), sf.VP(), sf.V())
    before = modes(denoiser)
    with pytest.raises(ValueError, match="times must be a grid"):
        sf.sample(denoiser, (6, 2), times=torch.ones(()))
    with pytest.raises(TypeError):
        sf.sample(denoiser, (6, 2), nfe=3, cond={"unknown": 1})
    assert modes(denoiser) == before


def test_views_and_losses_run_in_the_mode_of_the_model():
    net = Net()
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V())
    sf.score(denoiser, X, 0.5)
    sf.losses.denoising(denoiser, X)
    assert net.modes == {True}


def test_fitting_a_dequantizer_leaves_the_model_alone():
    net = Net()
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_std=1.0)
    before = modes(denoiser)
    dequantizer = Dequantizer.dense(2, sf.data.Scale(1.0, levels=4))
    fit_dequantizer(dequantizer, denoiser, torch.randint(0, 4, (6, 2)), steps=1, batch_size=4)
    assert net.modes == {False}
    assert modes(denoiser) == before
