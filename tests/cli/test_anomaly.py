"""`scorefield anomaly`: tables, picture, numbers; detectors kept; one line for what cannot be judged."""

import json

import numpy as np
import pytest
import torch

from scorefield.distributions import two_moons

MOONS = (
    "train", "--preset", "two-moons", "--steps", 60, "--set", "training.batch_size=64", "--set", "network.hidden=16",
    "--set", "optim.warmup=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(invoke, tmp_path_factory):
    """A folder with barely trained runs: integers, continuous data, and bare integers."""
    folder = tmp_path_factory.mktemp("runs")
    digits = ("train", "--preset", "digits", "--steps", 2, "--set", "network.width=8")
    for command in ((*MOONS, "--out", "moons"), (*digits, "--out", "digits"),
                    (*digits, "--set", "data.dequantize=false", "--set", "training.condition_dropout=0",
                     "--out", "bare")):  # fmt: skip
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def mine(tmp_path):
    """37 points of the moons and 3 far from them, last."""
    x = two_moons().sample(40, generator=torch.Generator().manual_seed(9)).numpy()
    x[37:] = [[9.0, 9.0], [-8.0, 7.0], [0.0, -9.0]]
    np.savetxt(tmp_path / "mine.csv", x, delimiter=",", header="a,b", comments="")
    return tmp_path / "mine.csv"


def test_what_is_far_from_the_data_is_found_and_ranked(runs, cli, mine, tmp_path):
    command = ("anomaly", runs / "moons", "--data", mine, "--n", 200, "--out", "a.png", "--overwrite")
    done = cli(*command, "--statistic", "score-norms", "--statistic", "likelihood", "--fdr", 0.2)
    assert done.returncode == 0, done.stderr
    assert f"40 of 40 data of {mine}, against 200 of 100,000 held-out data of two-moons" in done.stdout.replace(
        "\n", ""
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    arrays, summary = np.load(tmp_path / "a.npz"), json.loads((tmp_path / "a.json").read_text())
    for name in ("score_norms", "likelihood"):
        worst = arrays["rows"][np.argsort(-arrays[f"{name}_score"])][:3]
        assert set(worst) == {37, 38, 39}
        reference = arrays[f"{name}_reference"]
        p = (1 + (reference[None] >= arrays[f"{name}_score"][:, None]).sum(1)) / (1 + len(reference))
        np.testing.assert_allclose(arrays[f"{name}_p"], p)
    flagged = {k: v["flagged"] for k, v in summary["statistics"].items()}
    assert flagged == {k: int((arrays[f"{k.replace('-', '_')}_adjusted"] <= 0.2).sum()) for k in flagged}
    assert flagged["likelihood"] >= 3
    assert summary["statistics"]["likelihood"]["calibrated_on"] == 200  # nothing to fit
    assert summary["statistics"]["score-norms"]["calibrated_on"] == 100
    assert {"37", "38", "39"} <= {line.split()[1] for line in done.stdout.splitlines() if line.startswith("│ ")}

    again = cli(*command, "--statistic", "likelihood", "--fdr", 0.2)
    assert f"the reference of likelihood is the one in {runs / 'moons' / 'detectors'}" in again.stdout
    kept = json.loads((tmp_path / "a.json").read_text())["statistics"]["likelihood"]
    assert kept == summary["statistics"]["likelihood"]
    other = cli(*command, "--statistic", "likelihood", "--seed", 1)
    assert "the reference of" not in other.stdout


def test_images_get_every_statistic_and_the_same_data_are_no_anomaly(runs, cli, tmp_path):
    """Other rows of the held-out data: an area of 1/2, within two widths of a 95% interval, four standard errors."""
    done = cli("anomaly", runs / "digits", "--data", "digits", "--n", 60, "--elbo", "--out", "a.png")
    assert done.returncode == 0, done.stderr
    statistics = json.loads((tmp_path / "a.json").read_text())["statistics"]
    assert list(statistics) == ["score-norms", "denoising-error", "likelihood", "typicality", "complexity"]
    for values in statistics.values():
        area = values["auroc"]
        assert abs(area["value"] - 0.5) < area["high"] - area["low"]
        assert values["flagged"] <= 3
    rows = np.load(tmp_path / "a.npz")["rows"]
    order = torch.randperm(898, generator=torch.Generator().manual_seed(0))
    assert set(rows) == set(order[60:120].tolist())


def test_a_model_of_bare_integers_has_no_likelihood_but_scores(runs, cli, tmp_path):
    done = cli("anomaly", runs / "bare", "--data", "digits", "--n", 30, "--out", "a.png")
    assert done.returncode == 0, done.stderr
    assert "note: this model never saw data without a label" in done.stdout
    assert list(json.loads((tmp_path / "a.json").read_text())["statistics"]) == ["score-norms", "denoising-error"]


def test_it_goes_into_the_run_and_does_not_overwrite(runs, cli, mine):
    command = ("anomaly", runs / "moons", "--data", mine, "--n", 40, "--statistic", "denoising-error")
    assert cli(*command).returncode == 0
    assert (runs / "moons" / "anomaly-mine-seed0.npz").exists()
    assert (runs / "moons" / "detectors" / "denoising-error.json").exists()
    assert "anomaly-mine-seed0.png exists" in cli(*command).stderr


@pytest.mark.parametrize(
    ("run", "flags", "line"),
    [
        ("nowhere", ("--data", "digits"), "no run at"),
        ("moons", ("--data", "digits"), "digits has events of shape (1, 8, 8) and levels 17; the run's data have (2,)"),
        ("moons", ("--data", "nothing.csv"), "'nothing.csv' is no path, and no name"),
        ("moons", ("--data", "two-moons", "--statistic", "score-norm"), "Did you mean 'score-norms'?"),
        ("moons", ("--data", "two-moons", "--fdr", 0), "--fdr must lie in (0, 1); got 0"),
        ("moons", ("--data", "two-moons", "--statistic", "complexity", "--n", 9), "a code length is of integers"),
        ("moons", ("--data", "two-moons", "--n", 4), "GaussianLaw needs at least 12 reference data; got 2"),
        ("bare", ("--data", "digits", "--statistic", "likelihood", "--n", 9), "this one saw the bare integers"),
    ],
)
def test_bad_input_gets_one_line(runs, cli, run, flags, line):
    done = cli("anomaly", runs / run, *flags, "--out", "x.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_a_bare_checkpoint_asks_for_a_reference(runs, cli):
    file = next((runs / "moons" / "checkpoints").glob("*/ema.safetensors"))
    done = cli("anomaly", file, "--data", "two-moons", "--out", "x.png")
    assert "has no recipe.toml to say which data are normal: give --reference" in done.stderr
