"""infer: what it writes is the library's, and the prior holds."""

import json

import numpy as np
import pytest
import torch

from scorefield.simulators import Uniform, infer


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    theta = rng.uniform(-1, 1, (300, 2)).astype(np.float32)
    y = (theta.sum(1, keepdims=True) + 0.2 * rng.normal(size=(300, 1))).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", theta=theta, y=y)
    np.save(tmp_path / "one.npy", np.array([1.7], dtype=np.float32))
    np.save(tmp_path / "two.npy", np.array([[1.7], [1.5]], dtype=np.float32))
    return torch.from_numpy(theta), torch.from_numpy(y)


PRIOR = ("--low=-1", "--high", "1", "--steps", 20, "--samples", 50)


def test_draws_are_the_librarys(cli, tmp_path, pairs):
    done = cli("infer", "pairs.npz", "--observed", "one.npy", *PRIOR, "--nfe", 5)
    assert done.returncode == 0, done.stderr
    assert "50 draws, 300 simulations" in done.stdout
    made = np.load(tmp_path / "posterior.npz")["theta"]
    learned = infer(Uniform(-torch.ones(2), torch.ones(2)), *pairs, steps=20)
    np.testing.assert_allclose(made, learned.sample(torch.tensor([[1.7]]), 50, nfe=5), atol=1e-5)
    assert abs(made).max() <= 1
    summary = json.loads((tmp_path / "posterior.json").read_text())
    assert summary["steps"] == 20
    np.testing.assert_allclose(summary["mean"][0], made[0].mean(0), atol=1e-6)


def test_several_together_are_one_posterior(cli, tmp_path, pairs):
    done = cli("infer", "pairs.npz", "--observed", "two.npy", *PRIOR, "--together", "--out", "b.npz")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "b.npz")["theta"].shape == (1, 50, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--observed", "one.npy"), "the prior is --low and --high, or --mean and --std"),
        (
            ("--observed", "one.npy", "--low=-1", "--high", "1", "--mean", "0", "--std", "1"),
            "give one of the two pairs",
        ),
        (("--observed", "one.npy", "--low=-1,0,0", "--high", "1"), "one number for all of theta, or 2; got 3"),
        (("--observed", "one.npy", "--low=a", "--high", "1"), "the prior's ends are numbers, as in -1,0.5; got 'a'"),
        (("--observed", "none.npy", "--low=-1", "--high", "1"), "no file at none.npy"),
        (("--observed", "one.npy", "--low=-0.5", "--high", "1"), "theta must lie inside the prior"),
        (("--observed", "one.npy", "--low=-1", "--high", "1", "--out", "x.png"), "--out must be an .npz; got x.png"),
    ],
)
def test_mistakes_are_one_line(refused, pairs, arguments, message):
    assert message in refused("infer", "pairs.npz", *arguments)
