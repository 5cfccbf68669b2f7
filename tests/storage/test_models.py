"""Checkpoints: exact round trips, no loss of the old one, nothing executed."""

import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import scorefield as sf
from scorefield import data, networks, storage
from scorefield.catalogue import stored_classes

SCHEDULES = [
    sf.VP(0.2, 15.0),
    sf.SubVP(),
    sf.VE(0.02, 30.0, from_zero=False),
    sf.VEPower(20.0),
    sf.Brownian(2.0),
    sf.EDM(0.003, 70.0),
    sf.Cosine(alpha_min=0.1),
    sf.Rectified(),
    sf.Discrete.linear(steps=20),
    sf.Discrete(alphas_cumprod=[0.9, 0.5, 0.1]),
]
ROWS = [sf.X0(), sf.Eps(), sf.V(), sf.Velocity(), sf.Score(), sf.EDMPreconditioning(0.3)]
NETS = [
    lambda: networks.MLP(16, 8, 1, num_classes=3),
    lambda: networks.UNet(1, 4, (1, 2, 1), 2, attention=False, num_classes=3, dropout=0.1, patch=2),
]


def scrambled(net):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return net


def denoiser(net=0, schedule=SCHEDULES[0], row=ROWS[2], **kwargs):
    return sf.NetworkDenoiser(scrambled(NETS[net]()), schedule, row, **kwargs).eval()


def assert_same(one, two):
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([0, 1, 2])
    for t in (0.2, 0.7):
        assert torch.equal(one(x, t, label=label), two(x, t, label=label))
        assert torch.equal(one.schedule(t)[1], two.schedule(t)[1])
    assert torch.equal(torch.as_tensor(one.data_mean), torch.as_tensor(two.data_mean))
    assert one.data_std == two.data_std


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_every_schedule_comes_back(tmp_path, schedule):
    model = denoiser(schedule=schedule, data_std=0.1 + 0.2)
    storage.save(tmp_path / "m.safetensors", model)
    assert_same(model, storage.load(tmp_path / "m.safetensors").denoiser)


@pytest.mark.parametrize("row", ROWS, ids=repr)
@pytest.mark.parametrize("net", [0, 1])
def test_every_network_and_parameterisation_comes_back(tmp_path, net, row):
    model = denoiser(net, row=row, data_mean=-0.7)
    transform = data.Scale(2 / 17, -1.0, 17, -0.4, 0.7)
    storage.save(tmp_path / "m.safetensors", model, {"step": 3, "loss": 0.1}, transform=transform)
    back = storage.load(tmp_path / "m.safetensors")
    assert_same(model, back.denoiser)
    assert back.denoiser.parameterization == row
    assert back.transform == transform
    assert back.meta == {"step": 3, "loss": 0.1}
    assert not back.denoiser.training


def test_a_mean_image_comes_back(tmp_path):
    model = denoiser(data_mean=torch.randn(1, 4, 4))
    storage.save(tmp_path / "m", model)
    assert_same(model, storage.load(tmp_path / "m").denoiser)


def test_the_catalogue_holds_every_public_schedule_and_parameterisation():
    for base in (sf.Schedule, sf.Parameterization):
        names = {name for name in dir(sf) if isinstance(c := getattr(sf, name), type) and issubclass(c, base)}
        assert names - {base.__name__} <= stored_classes().keys()


class Own(nn.Module):
    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = gain
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x, level):
        return self.gain * self.w * x


def test_a_network_of_ones_own_comes_back_when_its_class_is_given(tmp_path):
    storage.save(tmp_path / "m", sf.NetworkDenoiser(Own(3.0), sf.VP(), sf.Eps()))
    with pytest.raises(ValueError, match="unknown type 'Own' in a checkpoint"):
        storage.load(tmp_path / "m")
    assert storage.load(tmp_path / "m", types=[Own]).denoiser.net.gain == 3.0


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_one(tmp_path, monkeypatch, broken):
    path = tmp_path / "m.safetensors"
    old = denoiser(0)
    storage.save(path, old, {"step": 1})

    def fail(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        storage.save(path, denoiser(1), {"step": 2})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["m.safetensors"]
    back = storage.load(path)
    assert back.meta == {"step": 1}
    assert_same(old, back.denoiser)


def test_a_new_save_replaces_the_old_one(tmp_path):
    storage.save(tmp_path / "m", denoiser(0), {"step": 1})
    storage.save(tmp_path / "m", denoiser(1), {"step": 2})
    assert os.listdir(tmp_path) == ["m"]
    assert storage.load(tmp_path / "m").meta == {"step": 2}


def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "m").write_bytes(pickle.dumps(Trap()))
    torch.save({"weights": Trap()}, tmp_path / "n")
    for name in ("m", "n"):
        with pytest.raises(ValueError, match="damaged or not a scorefield checkpoint"):
            storage.load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_class_outside_the_table_is_refused(tmp_path):
    storage.save(tmp_path / "m", denoiser())
    with safetensors.safe_open(tmp_path / "m", "pt") as file:
        description = json.loads(file.metadata()["scorefield"])
    tensors = safetensors.torch.load_file(tmp_path / "m")

    def write(**changes):
        header = {"scorefield": json.dumps({**description, **changes})}
        (tmp_path / "m").write_bytes(safetensors.torch.save(tensors, header))

    write(net={"type": "os.system", "command": "true"})
    with pytest.raises(ValueError, match=r"unknown type 'os.system'"):
        storage.load(tmp_path / "m")
    write(net={"type": "MLP", "dim": 99})
    with pytest.raises(ValueError, match="does not describe a denoiser"):
        storage.load(tmp_path / "m")
    write(scorefield=99)
    with pytest.raises(ValueError, match="checkpoint format 99; this version reads 1"):
        storage.load(tmp_path / "m")


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_file_is_named(tmp_path, size):
    storage.save(tmp_path / "m", denoiser())
    content = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"m is damaged or not a scorefield checkpoint"):
        storage.load(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        storage.load(tmp_path / "nowhere")


def test_what_is_not_a_plain_value_is_refused(tmp_path):
    with pytest.raises(ValueError, match="meta must be plain values"):
        storage.save(tmp_path / "m", denoiser(), {"x": torch.ones(1)})
    with pytest.raises(ValueError, match=r"data_std must be one number to be saved; got shape \(2,\)"):
        storage.save(tmp_path / "m", denoiser(data_std=torch.ones(2)))
    assert not os.listdir(tmp_path)


# What plain values cannot say


class Quiet(nn.Module):
    """Keeps no argument."""

    def __init__(self, width):
        super().__init__()
        self.line = nn.Linear(2, width)
        self.back = nn.Linear(width, 2)

    def forward(self, x, level):
        return self.back(self.line(x))


class Ramp(sf.Schedule, nn.Module):
    """alpha = exp(-w t^2) with a w that learns."""

    def __init__(self):
        nn.Module.__init__(self)
        self.w = nn.Parameter(torch.tensor(2.0))

    def alpha(self, t):
        return torch.exp(-self.w.double() * t**2)

    def sigma(self, t):
        return torch.sqrt(1e-6 - torch.expm1(-2 * self.w.double() * t**2))


@dataclasses.dataclass(frozen=True)
class Warped(sf.Schedule):
    """VP on another clock."""

    warp: Callable

    def alpha(self, t):
        return sf.VP().alpha(self.warp(t))

    def sigma(self, t):
        return sf.VP().sigma(self.warp(t))


def thousand(t):
    return 1000 * t - 1


LEFT_OUT = {
    "net": ("its constructor's argument 'width' is not an attribute", lambda: Quiet(3)),
    "level": ("a function is code, and a checkpoint holds values", lambda: thousand),
    "schedule": ("only plain values can be kept", lambda: Warped(torch.sin)),
}


@pytest.mark.parametrize("part", LEFT_OUT)
def test_what_cannot_be_described_is_asked_for_when_it_is_loaded(tmp_path, part):
    why, make = LEFT_OUT[part]
    torch.manual_seed(0)
    made = make()
    parts = {"net": networks.MLP(2, 8, 1), "schedule": sf.VP(), "level": None, part: made}
    model = sf.NetworkDenoiser(parts["net"], parts["schedule"], sf.V(), level=parts["level"]).eval()
    with pytest.warns(UserWarning, match=rf"the weights are kept, but load will need {part}=\.\.\.: .*{why}"):
        storage.save(tmp_path / "m", model)
    with pytest.raises(ValueError, match=rf"m: the weights are kept, but load will need {part}=.*{why}") as refused:
        storage.load(tmp_path / "m")
    assert "\n" not in str(refused.value)
    x = torch.randn(3, 2)
    for load in (storage.load, sf.load):
        assert torch.equal(load(tmp_path / "m", **{part: make()}).denoiser(x, 0.3), model(x, 0.3))
    with safetensors.safe_open(tmp_path / "m", "pt") as file:  # which 0.1.0 refuses: it would not miss a level
        assert json.loads(file.metadata()["scorefield"])["scorefield"] == 2
    with pytest.raises(TypeError, match=r"load takes types, net, schedule, .*; got 'lvl'"):
        storage.load(tmp_path / "m", lvl=thousand)


def test_a_part_that_is_given_takes_the_place_of_the_one_in_the_file(tmp_path):
    storage.save(tmp_path / "m", denoiser())
    given = NETS[0]()
    assert storage.load(tmp_path / "m", net=given).denoiser.net is given
    assert_same(denoiser(), storage.load(tmp_path / "m", net=given).denoiser)
    with pytest.raises(ValueError, match=r"does not describe a denoiser: Error.* size mismatch"):
        storage.load(tmp_path / "m", net=networks.MLP(16, 9, 1, num_classes=3))


def test_a_compiled_network_is_saved_as_what_it_was_made_of(tmp_path):
    model: Any = denoiser()
    model.net = torch.compile(model.net, backend="eager")
    storage.save(tmp_path / "m", model)
    assert type(storage.load(tmp_path / "m").denoiser.net) is networks.MLP
    assert_same(denoiser(), storage.load(tmp_path / "m").denoiser)


@pytest.mark.parametrize("number", [np.float32, np.float64, torch.tensor, np.array], ids=lambda n: n.__name__)
def test_numbers_of_other_libraries_are_numbers(tmp_path, number):
    row = sf.EDMPreconditioning(number(0.5))
    model = denoiser(row=row, schedule=sf.VP(number(0.25)), data_std=number(2.0), data_mean=number(1.5))
    storage.save(tmp_path / "m", model, {"step": np.int64(3), "loss": torch.tensor(0.5)})
    back = storage.load(tmp_path / "m")
    plain = denoiser(row=sf.EDMPreconditioning(0.5), schedule=sf.VP(0.25), data_std=2.0, data_mean=1.5)
    assert_same(plain, back.denoiser)
    assert back.meta == {"step": 3, "loss": 0.5}


def test_a_mean_may_be_an_array_and_sizes_numpys_integers(tmp_path):
    mean: Any = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    mlp: Any = networks.MLP
    net = mlp(np.int64(16), np.int32(8), torch.tensor(1), num_classes=np.int64(3))
    storage.save(tmp_path / "m", sf.NetworkDenoiser(scrambled(net), sf.VP(), sf.V(), data_mean=mean))
    assert_same(denoiser(schedule=sf.VP(), data_mean=torch.from_numpy(mean)), storage.load(tmp_path / "m").denoiser)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_come_back_in_their_own_precision(tmp_path, dtype):
    model = denoiser(1).to(dtype)
    storage.save(tmp_path / "m", model)
    back = storage.load(tmp_path / "m").denoiser
    for (name, mine), theirs in zip(model.state_dict().items(), back.state_dict().values(), strict=True):
        assert mine.dtype == theirs.dtype, name
        assert torch.equal(mine, theirs), name


def test_a_schedule_that_learned_comes_back_as_it_is(tmp_path):
    model: Any = sf.NetworkDenoiser(networks.MLP(2, 8, 1), Ramp(), sf.V())
    model.schedule.w.data.fill_(3.0)
    storage.save(tmp_path / "m", model)
    back: Any = storage.load(tmp_path / "m", types=[Ramp]).denoiser
    assert float(back.schedule.w) == 3.0
