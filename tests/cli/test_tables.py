"""Tables from a file to samples, likelihoods and a report, and the numbers read back: the commands of README."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from table_cases import ISLANDS, penguins

import scorefield as sf
from scorefield import metrics

SMALL = ("--set", "network.hidden=64", "--set", "training.batch_size=128", "--set", "optim.lr=4e-3")
STEPS = 500
FAR = 0.1  # of total variation, and of Wasserstein distance over std, between 2,000 samples and 344 rows


@pytest.fixture(scope="module")
def trained(invoke, tmp_path_factory):
    """A run of the table, which stands beside it."""
    folder = tmp_path_factory.mktemp("penguins")
    penguins().to_csv(folder / "penguins.csv", index=False, na_rep="NA")
    penguins(120, seed=2).to_csv(folder / "others.csv", index=False, na_rep="NA")
    done = invoke(
        folder, "train", "--preset", "tabular", "--data", "penguins.csv", "--missing", "learn", "--steps", STEPS,
        *SMALL, "--set", f"logging.sample_every={STEPS}", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_says_what_was_read_and_its_report_shows_the_table(trained):
    folder, done = trained
    assert (
        "penguins.csv: 344 rows; names from the first row; label found in 'species' (label names another column, or "
        'none, ""); missing cells learned: flipper_length_mm (10), sex (15); 3 numbers (2 whole), 1 boolean, 3 '
        "categories (island 3, sex 2 and missing, year 3), label 'species' (3 classes)\n"
    ) in done.stderr
    assert (folder / "run" / "samples" / f"step-{STEPS:06d}.png").is_file()
    assert "Of 7 columns" in (folder / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_samples_are_a_table_like_the_one_that_came(trained, invoke, suffix):
    folder, _ = trained
    done = invoke(folder, "sample", "run", "--n", 2000, "--out", f"samples{suffix}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2000 samples, 30 evaluations each: samples{suffix}\n"
    read = {".csv": pd.read_csv, ".tsv": lambda p: pd.read_csv(p, sep="\t"), ".parquet": pd.read_parquet}[suffix]
    samples, data = read(folder / f"samples{suffix}"), pd.read_csv(folder / "penguins.csv")
    assert list(samples.columns) == list(data.columns)
    for name in ("species", "island", "sex", "tagged", "year"):  # nothing that the data have not
        assert set(samples[name].dropna()) <= set(data[name].dropna())
    for name in ("flipper_length_mm", "body_mass_g", "year"):
        there = samples[name].dropna().to_numpy(float)
        assert np.array_equal(there, there.round())
    assert abs(samples["flipper_length_mm"].isna().mean() - data["flipper_length_mm"].isna().mean()) < 0.03
    far = metrics.marginals(samples, data)
    assert max(far.values()) < FAR, far
    # what goes together does: no Gentoo but on Biscoe
    assert (samples.loc[samples["species"] == "Gentoo", "island"] == ISLANDS[0]).mean() > 0.95
    heavy = samples.groupby("species")["body_mass_g"].mean()
    assert heavy["Gentoo"] - heavy["Adelie"] == pytest.approx(1376, abs=150)


def test_a_class_that_is_asked_for_is_the_label_column(trained, invoke):
    folder, _ = trained
    assert invoke(folder, "sample", "run", "--n", 20, "--label", 2, "--out", "gentoo.csv").returncode == 0
    assert set(pd.read_csv(folder / "gentoo.csv")["species"]) == {"Gentoo"}
    done = invoke(folder, "sample", "run", "--n", 20, "--out", "gentoo.csv")
    assert (done.returncode, done.stderr) == (
        2, "error: gentoo.csv exists: choose another --out, or replace it with --overwrite\n",
    )  # fmt: skip
    run = sf.load(folder / "run")
    first, second = run.sample(8, seed=3).table, run.sample(5, seed=3, first_index=3).table
    pd.testing.assert_frame_equal(first.tail(5).reset_index(drop=True), second)  # classes too are (seed, index)'s


def test_other_rows_are_scored_in_the_runs_own_columns(trained, invoke):
    folder, _ = trained
    penguins(40, seed=1).to_csv(folder / "more.csv", index=False)
    shuffled = penguins(40, seed=1).assign(body_mass_g=lambda t: t["body_mass_g"].to_numpy()[::-1] + 3000)
    shuffled.to_csv(folder / "odd.csv", index=False)
    means = {}
    for name in ("more", "odd"):
        done = invoke(folder, "likelihood", "run", "--data", f"{name}.csv", "--elbo-draws", 2, "--out", f"{name}.png")
        assert done.returncode == 0, done.stderr
        means[name] = json.loads((folder / f"{name}.json").read_text())["mean"]
    assert means["more"] > means["odd"] + 0.5
    penguins(40, seed=1).assign(island="Mars").to_csv(folder / "mars.csv", index=False)
    done = invoke(folder, "likelihood", "run", "--data", "mars.csv")
    assert done.stderr == (
        "error: mars.csv, line 2, column 'island': 'Mars' is not among its categories, Biscoe, Dream, Torgersen\n"
    )


@pytest.mark.parametrize(
    ("command", "said", "written"),
    [
        (("evaluate", "run", "--n", 60, "--out", "e.png"), "60 samples of 30 evaluations against", ("e.png", "e.json")),
        (
            ("anomaly", "run", "--data", "others.csv", "--n", 100, "--out", "n.png"),
            "score",
            ("n.png", "n.json"),
        ),
        (("encode", "run", "--index", "0-9", "--nfe", 16), "round trip", ("run/latents-seed0.npz",)),
        (("edit", "run", "--strength", "0.5", "--index", "0-9"), "distance", ("run/edit-seed0.npz",)),
        (("data", "show", "penguins.csv", "--missing", "learn"), "missingindicator_flipper_length_mm", ()),
    ],
    ids=lambda v: v[0] if isinstance(v, tuple) and v else None,
)
def test_commands_take_a_run_of_a_table(trained, invoke, command, said, written):
    folder, _ = trained
    done = invoke(folder, *command)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    for name in written:
        assert (folder / name).is_file()
    if command[0] == "edit":  # rounded: what comes back is a table
        schema = sf.load(folder / "run").look.table
        assert schema is not None
        raw = torch.from_numpy(np.load(folder / "run" / "edit-seed0.npz")["edited_raw"])
        raw = raw.reshape(-1, raw.shape[-1]).float()
        assert torch.equal(schema.snap(raw), raw)


def test_wine_comes_back_in_its_own_units(invoke, tmp_path):
    done = invoke(tmp_path, "train", "--preset", "tabular", "--steps", 800, *SMALL, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "178 rows; 13 numbers (2 whole), label 'target' (3 classes)" in done.stderr
    assert invoke(tmp_path, "sample", "run", "--n", 1000, "--out", "wine.csv").returncode == 0
    from sklearn.datasets import load_wine

    bunch: Any = load_wine(as_frame=True)
    data, samples = bunch.frame, pd.read_csv(tmp_path / "wine.csv")
    assert list(samples.columns) == list(data.columns)
    assert (samples["proline"].dtype, samples["target"].dtype) == (np.float64, np.int64)  # as they came
    assert np.array_equal(samples["proline"].round(), samples["proline"])
    assert max((far := metrics.marginals(samples, data)).values()) < 0.15, far
    apart = np.abs(np.corrcoef(samples.T) - np.corrcoef(data.T))
    assert apart.max() < 0.25


def test_only_a_table_goes_into_a_csv(invoke, refused, tmp_path):
    (tmp_path / "x").mkdir()
    net = sf.networks.MLP(2, hidden=8, depth=1)
    sf.save(tmp_path / "points.safetensors", sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]})
    line = refused("sample", "points.safetensors", "--out", "a.csv")
    assert line == (
        "error: --out a.csv: this run's samples are of shape (2,), and no table; give a .png, which gets an .npz "
        "beside it\n"
    )
    line = refused("sample", "points.safetensors", "--out", "a.txt")
    assert line == "error: --out must end in .png, or for a table in .csv, .tsv, .parquet; got a.txt\n"


def test_names_of_a_checkpoint_without_a_schema_are_columns(invoke, tmp_path):
    net = sf.networks.MLP(2, hidden=8, depth=1)
    transform = sf.data.Standardize((10.0, 20.0), (1.0, 2.0), ("size", "weight"))
    model = sf.NetworkDenoiser(net, sf.VP(), sf.V())
    sf.save(tmp_path / "a.safetensors", model, {"event_shape": [2]}, transform=transform)
    assert invoke(tmp_path, "sample", "a.safetensors", "--n", 5, "--out", "a.csv").returncode == 0
    table = pd.read_csv(tmp_path / "a.csv")
    raw = sf.load(tmp_path / "a.safetensors").sample(5).raw
    assert list(table.columns) == ["size", "weight"]
    assert torch.allclose(torch.tensor(table.to_numpy()).float(), raw)
