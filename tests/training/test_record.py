"""What tells one run from another: plain values, and where they differ."""

import dataclasses
import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import losses, networks, training
from scorefield.training.record import FREE, described, difference


class Own(nn.Module):
    """Keeps one of its arguments."""

    def __init__(self, width, depth):
        super().__init__()
        self.width = width
        self.layers = nn.Linear(width, depth)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.arange(2), [0, 1]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        ((1, "a", None, True), [1, "a", None, True]),
        ({1, 2}, [1, 2]),
        (sf.VP(0.2), {"type": "VP", "beta_min": 0.2, "beta_max": 20.0}),
        (Own(4, 2), {"type": "Own", "width": 4}),
        (torch.compile(Own(4, 2), backend="eager"), {"type": "Own", "width": 4}),
        (losses.denoising, "denoising"),
        (functools.partial(round, ndigits=2), {"type": "partial", "of": "round", "args": [], "ndigits": 2}),
        (training.AdamW, "AdamW"),
        (nn.Parameter(torch.zeros(2)), {"shape": [2]}),
        (object(), {"type": "object"}),
    ],
    ids=lambda value: repr(value).split(" at 0x")[0],  # an address would be another in each worker
)  # fmt: skip
def test_a_value_is_described_by_plain_ones(value, plain):
    assert described(value) == plain
    assert json.loads(json.dumps(described(value))) == described(value)


def test_large_tensors_are_described_by_what_tells_them_apart():
    image = torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(0))
    one, other = described({"mean": image}), described({"mean": image + 0.01})
    assert difference(one, described({"mean": image.clone()})) is None
    found = difference(one, other)
    assert found
    assert found.name == "mean.mean"


def test_what_holds_itself_is_described_to_a_depth():
    @dataclasses.dataclass
    class Loop:
        inner: object = None

    loop = Loop()
    loop.inner = loop
    json.dumps(described(loop))


def test_names_that_one_record_lacks_are_no_difference():
    """Those of a version that knew fewer, in a part too; but the class of a part is always asked."""
    there = {"net": {"type": "MLP", "dim": 2}, "lr": 0.1}
    assert (
        difference(there, {"net": {"type": "MLP", "dim": 2, "depth": 3}, "lr": 0.1, "data": {"fingerprint": 1}}) is None
    )
    assert difference(there, {"net": {"type": "UNet", "dim": 2}}) == ("net", "MLP", "UNet")
    assert difference(there, {"net": {"type": "MLP", "dim": 3}}) == ("net.dim", "2", "3")
    assert difference(there, {"net": None}) == ("net", "MLP", "None")


def loss(power: Any = 1.0, scale: Any = 1.0, inner: Any = None):
    return power, scale, inner


PARTIAL = functools.partial


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (PARTIAL(loss, power=1), PARTIAL(loss, power=2), ("loss.power", "1", "2")),
        (PARTIAL(loss, power=1), PARTIAL(loss, scale=1), ("loss.power", "1", "not given")),
        (PARTIAL(loss), PARTIAL(loss, scale=2), ("loss.scale", "not given", "2")),
        (loss, PARTIAL(loss, scale=2), ("loss", "loss", "partial")),
        (PARTIAL(PARTIAL(loss, power=1), scale=2), PARTIAL(loss, power=1), ("loss.scale", "2", "not given")),
        (PARTIAL(loss, inner=PARTIAL(loss)), PARTIAL(loss, inner=PARTIAL(loss, power=3)),
         ("loss.inner.power", "not given", "3")),
        (PARTIAL(loss, PARTIAL(loss)), PARTIAL(loss, PARTIAL(loss, power=3)),
         ("loss.args[0].power", "not given", "3")),
        (PARTIAL(loss, inner=sf.VP(0.2)), PARTIAL(loss, inner=sf.VP(0.3)), ("loss.inner.beta_min", "0.2", "0.3")),
        (PARTIAL(loss, power=1, scale=2), PARTIAL(loss, scale=2, power=1.0), None),
    ],
)  # fmt: skip
def test_keywords_of_a_partial_are_compared_whoever_gave_them(one, other, found):
    assert difference({"loss": described(one)}, {"loss": described(other)}) == found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.1, 0.1 * (1 + 1e-9), True),  # a mean, measured on another processor
        (0.1, 0.1001, False),
        ([0.5, 1.0], [0.5, 1.0 + 1e-12], True),
        ([0.5, 1.0], [0.5], False),
        (1, 1.0, True),
        (1.0, True, False),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), True),
        (None, 0, False),
        ([{"type": "A"}], [{"type": "B"}], False),
    ],
)
def test_numbers_are_equal_to_rounding(one, other, same):
    assert (difference({"a": one}, {"a": other}) is None) == same


def test_a_long_value_is_cut():
    found = difference({"a": "x" * 1000}, {"a": "y"})
    assert found
    assert found.there == "x" * 57 + "..."


def test_what_may_change_are_options():
    assert set(FREE) < {f.name for f in dataclasses.fields(training.Options)}


def test_the_record_of_a_run_is_the_same_before_and_after_training():
    """Weights that learn are not in it."""
    torch.manual_seed(0)
    model = sf.NetworkDenoiser(networks.MLP(2, 8, 1), sf.VP(), sf.V())
    objective = training.DenoisingObjective(model, losses.Uncertainty())
    before = objective.record()
    training.fit(objective, torch.randn(20, 2), steps=3, batch_size=4)
    changed = difference(before, objective.record())
    assert changed is None or changed.name.startswith("data_")  # measured, which nobody had given
