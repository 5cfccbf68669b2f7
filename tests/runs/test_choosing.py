"""`runs.choose` on stand-ins whose every solver draws from a law that is known."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import scorefield as sf
from scorefield.data import Arrays
from scorefield.runs import choose


def run(shifts, *, classes=False, lacks=()) -> Any:
    """A run whose solver of that name draws N(shift, 1) in 3-D, in the data's scale of 10."""
    asked = []

    def sample(n, *, label, nfe, solver, seed, tuned):
        asked.append(label)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, 3, generator=generator) + shifts[solver or "default"]
        return SimpleNamespace(raw=10 * x)

    generator = torch.Generator().manual_seed(99)
    label = (torch.arange(4000) // 1000) if classes else None  # in order, as folders are read
    source = Arrays(10 * torch.randn(4000, 3, generator=generator), label)
    return SimpleNamespace(
        held_out=lambda: (source, "held-out data"), sample=sample, conditions=("label",) if classes else (),
        to_model=lambda raw, rows, seed: raw / 10, denoiser=SimpleNamespace(lacks=dict(lacks)), asked=asked,
    )  # fmt: skip


def test_the_solver_that_is_nearest_by_more_than_its_error_is_chosen():
    found = choose(run({"default": 0.5, "unipc": 0.1, "ddim": 0.3}), 10, solvers=("unipc", "ddim"))
    assert found.solver == "unipc"
    assert found.helps
    for name, shift in {"default": 0.5, "unipc": 0.1, "ddim": 0.3}.items():
        assert found.distance[name] == pytest.approx(3 * shift**2, abs=0.12)  # |mean difference|^2, and sampling error
    gain, error = found.gain["unipc"]
    assert gain == pytest.approx(found.distance["default"] - found.distance["unipc"])
    assert 0 < error < gain / 5


def test_the_error_is_that_of_new_noise():
    gains, errors = [], []
    for seed in range(30):
        gain, error = choose(run({"default": 0.3, "ddim": 0.2}), 10, solvers=("ddim",), n=200, seed=seed).gain["ddim"]
        gains.append(gain)
        errors.append(error)
    assert float(torch.tensor(errors).median()) == pytest.approx(float(torch.tensor(gains).std()), rel=0.4)


def test_equals_and_worse_are_not_chosen():
    for seed in range(5):
        found = choose(run({"default": 0.0, "unipc": 1e-3, "ddim": 0.5}), 10, solvers=("unipc", "ddim"), seed=seed)
        assert found.solver is None


def test_samples_that_are_not_finite_are_as_far_as_can_be():
    nan = float("nan")
    assert choose(run({"default": 0.0, "ddim": nan}), 10, solvers=("ddim",)).solver is None
    assert choose(run({"default": nan, "ddim": 1.0}), 10, solvers=("ddim",)).solver == "ddim"
    assert choose(run({"default": nan, "ddim": nan}), 10, solvers=("ddim",)).solver is None


def test_the_datas_classes_are_asked_for_in_their_proportions():
    stand_in = run({"default": 0.0, "ddim": 0.0}, classes=True)
    choose(stand_in, 10, solvers=("ddim",), n=100)
    assert torch.bincount(stand_in.asked[0]).tolist() == [25] * 4


def test_what_can_not_be_judged_is_refused():
    with pytest.raises(ValueError, match="20 samples and data; got 10 and 4000"):
        choose(run({"default": 0.0}), 10, n=10)
    with pytest.raises(ValueError, match=r"choosing a solver: .* has no score: it is a map"):
        choose(run({"default": 0.0}, lacks={"score": "it is a map"}), 10)


def test_what_was_chosen_is_what_sample_takes(tmp_path):
    recipe = sf.recipes.override(sf.recipes.presets.two_moons(), ["training.steps=2"])
    trained = sf.runs.train(tmp_path / "run", recipe)
    assert trained is not None
    trained.keep(6, sf.runs.Choice("stochastic-adams", {"default": 2.0}, {}, "data", 20))
    assert sf.load(tmp_path / "run").tuned(6) == sf.StochasticAdams()
    assert sf.load(tmp_path / "run").sample(4, nfe=6).solver == sf.StochasticAdams()
