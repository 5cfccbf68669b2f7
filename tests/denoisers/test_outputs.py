"""Where a network's output is read: its shape, what holds it, its dtype."""

import types

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield.denoisers.levels import LEVELS


class Net(nn.Module):
    """A linear map of the channels, and what is made of its output."""

    def __init__(self, channels, out, change=lambda x: x):
        super().__init__()
        self.map, self.change = nn.Linear(channels, out), change

    def forward(self, x, level):
        return self.change(self.map(x.movedim(1, -1)).movedim(-1, 1))


CASES = {
    "(B,) for (B, 1)": ((1,), Net(1, 1, lambda x: x.squeeze(1)), "(8, 1); got (8,)"),
    "1 channel for 3": ((3, 4, 4), Net(3, 1), "(8, 3, 4, 4); got (8, 1, 4, 4)"),
    "3 channels for 1": ((1, 4), Net(1, 3), "(8, 1, 4); got (8, 3, 4)"),
    "learned variance": ((1, 4), Net(1, 2), "(8, 1, 4); got (8, 2, 4); if the second half predicts a variance"),
    "a batch of 1": ((2,), Net(2, 2, lambda x: x[:1]), "(8, 2); got (1, 2)"),
}
USES = {
    "denoising": lambda d, x: sf.losses.denoising(d, x),
    "implicit": lambda d, x: sf.losses.implicit(d, x),
    "sliced": lambda d, x: sf.losses.sliced(d, x),
    "finite_difference": lambda d, x: sf.losses.finite_difference(d, x),
    "continuous_bound": lambda d, x: sf.losses.continuous_bound(d, x),
    "elbo": lambda d, x: sf.elbo(d, x),
    "score": lambda d, x: sf.score(d, x, 0.5),
    "covariance": lambda d, x: sf.covariance(d, x, 0.5, x),
    "sample": lambda d, x: sf.sample(d, x.shape, nfe=3),
    "log_prob": lambda d, x: sf.log_prob(d, x),
    "encode": lambda d, x: sf.encode(d, x, nfe=3),
    "fit": lambda d, x: sf.training.fit(d, x, steps=1, batch_size=8),
}


def denoiser(net, schedule=None, parameterization=None):
    return sf.NetworkDenoiser(net, schedule or sf.VP(), parameterization or sf.V())


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(("event", "net", "said"), CASES.values(), ids=CASES)
def test_an_output_of_another_shape_is_refused_and_never_broadcast(event, net, said, use):
    with pytest.raises(ValueError, match="must return the shape of x_t") as error:
        use(denoiser(net), torch.randn(8, *event))
    assert said in str(error.value)


@pytest.mark.parametrize("parameterization", [sf.X0(), sf.Eps(), sf.V(), sf.EDMPreconditioning()], ids=repr)
@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM()], ids=lambda s: type(s).__name__)
def test_whatever_it_predicts(schedule, parameterization):
    with pytest.raises(ValueError, match=r"Net must return the shape of x_t, \(8, 2\); got \(8, 1\)"):
        denoiser(Net(2, 1), schedule, parameterization)(torch.randn(8, 2), 0.5)


def test_a_denoiser_of_ones_own_is_held_to_it_too():
    class Mine(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return x_t.sum(1)

    with pytest.raises(ValueError, match=r"Mine must return the shape of x_t, \(8, 2\); got \(8,\)"):
        sf.score(Mine(), torch.randn(8, 2), 0.5)


@pytest.mark.parametrize("hold", [lambda x: types.SimpleNamespace(sample=x), lambda x: (x,)], ids=["object", "1-tuple"])
def test_a_tensor_in_an_object_is_taken_out(hold):
    bare = Net(2, 2)
    held = Net(2, 2, hold)
    held.load_state_dict(bare.state_dict())
    x = torch.randn(8, 2)
    for use in (lambda d: sf.score(d, x, 0.5), lambda d: sf.losses.denoising(d, x, t=torch.full((8,), 0.5), eps=x)):
        assert torch.equal(use(denoiser(held)), use(denoiser(bare)))


@pytest.mark.parametrize("hold", [lambda x: (x, x), lambda x: {"sample": x}, lambda x: None, lambda x: x.numpy])
def test_anything_else_is_refused(hold):
    with pytest.raises(TypeError, match=r"Net must return a tensor of the shape of x_t; got \w+$"):
        sf.losses.denoising(denoiser(Net(2, 2, hold)), torch.randn(8, 2))


@pytest.mark.parametrize("use", [USES["score"], USES["denoising"], USES["log_prob"], USES["encode"]])
def test_another_dtype_than_the_networks_is_named(use):
    with pytest.raises(TypeError, match=r"x_t is torch.float64 and the parameters of Net are torch.float32"):
        use(denoiser(Net(2, 2)), torch.randn(8, 2, dtype=torch.float64))


class Telling(torch.nn.Module):
    """Returns what it is told of the noise, in every entry of twice the channels."""

    def __init__(self, copies=1):
        super().__init__()
        self.copies = copies

    def forward(self, x, level):
        return level.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape).repeat(1, self.copies, *[1] * (x.ndim - 2))


CHAIN = sf.Discrete.linear(1000)
TOLD = {
    "t": (sf.VP(), 0.25), "1-t": (sf.Rectified(), 0.75), "k": (CHAIN, 249.0), "1000t": (sf.VP(), 250.0),
    "999t": (sf.VP(), 249.75), "sigma": (sf.EDM(sigma_max=80.0), 20.0),
    "log_sigma": (sf.EDM(sigma_max=80.0), 2.9957323),
    "log_sigma/4": (sf.EDM(sigma_max=80.0), 0.7489331), "log_snr": (sf.EDM(sigma_max=80.0), -5.9914645),
}  # fmt: skip


def test_every_word_for_a_level_has_its_number_here():
    assert TOLD.keys() == LEVELS.keys()


@pytest.mark.parametrize("word", TOLD)
def test_a_network_is_told_its_level_by_name(word, tmp_path):
    schedule, expected = TOLD[word]
    denoiser = sf.NetworkDenoiser(Telling(), schedule, sf.X0(), level=word)
    assert float(denoiser.output(torch.zeros(1, 2), 0.25)[0, 0]) == pytest.approx(expected, rel=1e-6)
    assert torch.isfinite(denoiser.output(torch.zeros(1, 2), 0.0)).all()


def test_extra_channels_are_left_aside_where_that_is_said():
    denoiser = sf.NetworkDenoiser(Telling(2), sf.VP(), sf.X0(), channels=3)
    assert denoiser(torch.zeros(2, 3, 4, 4), 0.5).shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="if the second half predicts a variance, say channels=3"):
        sf.NetworkDenoiser(Telling(2), sf.VP(), sf.X0())(torch.zeros(2, 3, 4, 4), 0.5)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        sf.NetworkDenoiser(Telling(2), sf.VP(), sf.X0(), channels=0)


def test_a_level_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"unknown level 'log_sigma/3'\. Did you mean 'log_sigma/4'"):
        sf.NetworkDenoiser(Telling(), sf.VP(), sf.X0(), level="log_sigma/3")
    with pytest.raises(ValueError, match="'k' is the step of a Discrete schedule; got VP"):
        sf.NetworkDenoiser(Telling(), sf.VP(), sf.X0(), level="k")(torch.zeros(1, 2), 0.5)


def test_a_checkpoint_keeps_the_word_and_the_channels(tmp_path):
    net = sf.networks.UNet(1, width=8, multipliers=(1,))
    sf.save(tmp_path / "m", sf.NetworkDenoiser(net, CHAIN, sf.Eps(), level="k", channels=1))
    found = sf.load(tmp_path / "m").denoiser
    assert (found.level, found.channels) == ("k", 1)
    x = torch.randn(2, 1, 8, 8)
    own = sf.NetworkDenoiser(net, CHAIN, sf.Eps(), level=lambda t: 1000 * t - 1).eval()
    torch.testing.assert_close(found(x, 0.5), own(x, 0.5))
