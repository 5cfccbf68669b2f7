"""A warning points at the line that called the library, however deep within it the cause is found."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

import scorefield as sf
from scorefield import inverse, networks, storage, training
from scorefield.data import ImageFolder
from scorefield.training import precision

X = torch.zeros(8, 2)


class Hole(sf.Denoiser):
    """NaN where it is told so."""

    schedule = sf.VP()

    def __init__(self, *, only_after: float = 1.0) -> None:
        super().__init__()
        self.only_after = only_after

    def forward(self, x_t, t):
        gone = torch.as_tensor(t, device="cpu").expand(len(x_t)) < self.only_after
        return torch.where(gone[:, None], torch.nan, x_t * 0.5)


class Far(sf.Denoiser):
    """Predictions outside the range of the data."""

    schedule, data_range = sf.VP(), (-1.0, 1.0)

    def forward(self, x_t, t):
        return torch.full_like(x_t, 9.0)


class Quiet(nn.Module):
    """Keeps no argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x, level):
        return self.layer(x)


def denoiser(net: nn.Module | None = None) -> sf.NetworkDenoiser:
    return sf.NetworkDenoiser(net or networks.MLP(2, 8, 1), sf.VP(), sf.V())


def near() -> Any:
    """A process that ends at a modest noise, with statistics that nobody gave."""
    return sf.NetworkDenoiser(networks.MLP(2, 8, 1), sf.Brownian(), sf.Eps())


def damaged(at: Path) -> Path:
    """A run whose last checkpoint does not verify."""
    run = training.Run(at / "run", meta={"event_shape": [2]}, checkpoint_every=1)
    training.fit(denoiser(), X, run=run, steps=2, batch_size=4)
    (at / "run" / "checkpoints" / "step-000002" / "ema.safetensors").write_bytes(b"")
    return at / "run"


LIKELIHOOD = inverse.GaussianNoise(inverse.operators.Dense(torch.eye(2), (2,)), torch.zeros(1, 2), 0.1)
FIT: dict[str, Any] = {"steps": 1, "batch_size": 4}

# each on a line of its own
CALLS: dict[str, Any] = {
    "sample: NaN": lambda at: sf.sample(Hole(), (4, 2)),
    "sample: escaped": lambda at: sf.sample(Far(), (4, 2)),
    "sample: too few steps": lambda at: sf.sample(denoiser(), (4, 2), solver=sf.DDPM(), nfe=5),
    "sample: start": lambda at: sf.sample(denoiser(), 100 * torch.randn(64, 2)),
    "sample: statistics": lambda at: sf.sample(near(), (4, 2)),
    "sample in eval mode": lambda at: sf.sample(denoiser().train(), 100 * torch.randn(64, 2)),
    "prior": lambda at: near().prior(),
    "log_prob": lambda at: sf.log_prob(Hole(only_after=0.5), X),
    "log_prob: differentiable": lambda at: sf.log_prob(Hole(only_after=0.5), X, differentiable=True),
    "sample_log_prob": lambda at: sf.sample_log_prob(Hole(), (4, 2)),
    "posterior": lambda at: inverse.condition(near(), LIKELIHOOD, inverse.DPS()).sample(4, nfe=5),
    "tune": lambda at: sf.tune(near(), (2,), nfe=5, paths=8),
    "fit: labels": lambda at: training.fit(denoiser(), TensorDataset(X, X[:, 0].long()), **FIT),
    "fit: bfloat16": lambda at: training.fit(denoiser(), X, bf16=True, **FIT),
    "fit: left out": lambda at: training.fit(denoiser(Quiet(3)), X, run=training.Run(at / "run"), **FIT),
    "save": lambda at: storage.save(at / "model", denoiser(Quiet(3))),
    "load: damaged": lambda at: sf.load(damaged(at)),
    "pictures": lambda at: ImageFolder(at, 8, on_error="skip"),
    "renamed": lambda at: inverse.Gaussian,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_points_at_the_caller(name, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "native", lambda device: False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    Image.new("L", (8, 8)).save(tmp_path / "a" / "good.png")
    call = CALLS[name]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call(tmp_path)
    assert said
    for warning in said:
        assert (warning.filename, warning.lineno) == (__file__, call.__code__.co_firstlineno), warning.message
