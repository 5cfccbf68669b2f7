"""`scorefield likelihood`: table, picture, numbers; one line for what cannot be scored."""

import json
import math

import numpy as np
import pytest

MOONS = (
    "train", "--preset", "two-moons", "--steps", 30, "--set", "training.batch_size=64", "--set", "network.hidden=16",
    "--set", "optim.warmup=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(invoke, tmp_path_factory):
    """A folder with barely trained runs: integers, continuous data, and bare integers."""
    folder = tmp_path_factory.mktemp("runs")
    digits = ("train", "--preset", "digits", "--steps", 2, "--set", "network.width=8")
    for command in ((*MOONS, "--out", "moons"), (*digits, "--out", "digits"),
                    (*digits, "--set", "data.dequantize=false", "--out", "bare")):  # fmt: skip
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


def test_integers_get_bits_with_an_interval_that_holds_what_it_says(runs, cli, tmp_path):
    command = ("likelihood", runs / "digits", "--n", 6, "--probes", 2, "--tolerance", 0.1, "--elbo-draws", 4)
    done = cli(*command, "--draws", 2, "--out", "a.png")
    assert done.returncode == 0, done.stderr
    assert "6 of 898 held-out data of digits, 2 probes" in done.stdout
    summary = json.loads((tmp_path / "a.json").read_text())
    arrays = np.load(tmp_path / "a.npz")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert summary["unit"] == "bits per dimension"
    assert summary["low"] < summary["mean"] < summary["high"]
    assert f"{summary['mean']:.4f}" in done.stdout
    assert summary["mean"] == pytest.approx(arrays["bits_per_dim"].mean())
    assert summary["spread"] == pytest.approx(arrays["bits_per_dim"].std(ddof=1) / math.sqrt(6))
    assert summary["evaluations_most"] == arrays["evaluations"].max()
    assert len(set(arrays["rows"])) == 6


def test_continuous_data_get_their_density_in_their_own_units(runs, cli, tmp_path):
    """As `log_prob` with the run's transform gives it."""
    assert cli("likelihood", runs / "moons", "--n", 5, "--out", "a.png", "--elbo-draws", 4).returncode == 0

    from scorefield.distributions import two_moons
    from scorefield.likelihood import log_prob
    from scorefield.recipes import held_out, load
    from scorefield.runs import load as load_run

    arrays = np.load(tmp_path / "a.npz")
    source, other = held_out(load(runs / "moons" / "recipe.toml").data)
    assert other
    loaded = load_run(runs / "moons")
    import torch

    x = source.batch(torch.from_numpy(arrays["rows"])).x
    expected = log_prob(loaded.denoiser, x, transform=loaded.transform).log_prob
    np.testing.assert_allclose(arrays["log_prob"], expected, atol=1e-5)
    assert json.loads((tmp_path / "a.json").read_text())["mean"] == pytest.approx(arrays["log_prob"].mean() / 2)
    assert float(two_moons().log_prob(x).mean()) > arrays["log_prob"].mean()  # nothing beats the truth by far


def test_other_data_of_the_same_shape(runs, cli, tmp_path):
    np.savetxt(tmp_path / "mine.csv", np.random.default_rng(0).normal(size=(20, 2)), delimiter=",", header="a,b",
               comments="")  # fmt: skip
    done = cli("likelihood", runs / "moons", "--data", "mine.csv", "--n", 50, "--out", "a.png", "--elbo-draws", 4)
    assert done.returncode == 0, done.stderr
    assert "20 of 20 data of mine.csv, exact divergence" in done.stdout


def test_it_goes_into_the_run_and_does_not_overwrite(runs, cli):
    command = ("likelihood", runs / "moons", "--n", 2, "--tolerance", 0.1, "--elbo-draws", 2)
    assert cli(*command).returncode == 0
    assert (runs / "moons" / "likelihood-seed0.npz").exists()
    again = cli(*command)
    assert again.returncode == 2
    assert "likelihood-seed0.png exists" in again.stderr
    assert cli(*command, "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("run", "flags", "line"),
    [
        ("nowhere", (), "no run at"),
        ("bare", (), "bits per dimension need a model of dequantised data; this one saw the bare integers"),
        ("moons", ("--draws", 2), "--draws is of dequantisation noise, and these data are continuous"),
        ("moons", ("--tolerance", 0), "--tolerance must be positive; got 0"),
        ("moons", ("--elbo-draws", 3), "--elbo-draws must be even; got 3"),
        ("moons", ("--data", "digits"), "digits has events of shape (1, 8, 8) and levels 17; the run's data have (2,)"),
        ("moons", ("--data", "nothing.csv"), "'nothing.csv' is no path, and no name"),
        ("moons", ("--probes", 3), "probes must be at most 2 in 2 dimensions"),
    ],
)
def test_bad_input_gets_one_line(runs, cli, run, flags, line):
    done = cli("likelihood", runs / run, *flags, "--out", "x.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_a_bare_checkpoint_asks_for_data(runs, cli):
    file = next((runs / "moons" / "checkpoints").glob("*/ema.safetensors"))
    done = cli("likelihood", file, "--out", "x.png")
    assert "has no recipe.toml to say which data: give --data" in done.stderr
