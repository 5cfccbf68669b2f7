"""Heartbeats of two lengths, a file each: trained, sampled and reported from the command line, and read back."""

import json
import re

import numpy as np
import pytest
import torch

import scorefield as sf

SMALL = (
    "network.width=8", "optim.warmup=2", "optim.ema_decay=0.9", "optim.lr=4e-3", "training.batch_size=16",
    "data.step=0.01", 'data.axis="time (s)"',
)  # fmt: skip
SIZES = (60, 90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 recordings; every third is long."""
    top = tmp_path_factory.mktemp("heart")
    (top / "ecg").mkdir()
    rng = np.random.default_rng(0)
    for i in range(48):
        t = np.arange(SIZES[i % 3 == 0]) * 0.01
        beat = np.exp(-((t[:, None] - rng.uniform(0, 0.3) - 0.35 * np.arange(3)) ** 2) / 2 / 0.02**2).sum(1)
        np.savetxt(
            top / "ecg" / f"{i:02d}.csv", np.stack([t, beat], 1), delimiter=",", header="time,lead I", comments=""
        )
    return top


@pytest.fixture(scope="module")
def trained(invoke, folder):
    changes = [x for change in (*SMALL, 'data.unit="mV"') for x in ("--set", change)]
    done = invoke(
        folder, "train", "--preset", "series", "--data", folder / "ecg", "--set", "data.policy.lengths=pad", *changes,
        "--steps", 250, "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_the_policy_is_said(trained):
    assert "ecg: 48 series of 2 lengths, 60 to 90: filled up to 90 with their mean" in trained.stderr


def test_the_report_has_lines_in_their_units_and_the_lengths(trained, folder):
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "Spectrum and autocorrelation" in page
    assert "real ones over time (s)." in page
    assert re.search(r"Lengths: samples [\d.]+ on average .* data 0\.7 \(0\.6 to 0\.9\)", page)


def test_samples_have_lengths_and_the_spread_of_the_data(trained, folder, invoke):
    done = invoke(folder, "sample", "run", "--n", 40, "--out", "s.png")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "s.npz") as kept:
        raw, ends = kept["raw"], kept["length"]
    assert raw.shape == (40, 2, 90)
    run = sf.load(folder / "run")
    assert (ends == (raw[:, 1] > 0.5).sum(1)).all()
    assert np.median(ends) == pytest.approx(60, abs=12)  # two thirds are 60 long
    real = run.held_out().source.batch(torch.arange(40)).x.numpy()
    assert raw[:, 0].std() == pytest.approx(real[:, 0].std(), rel=0.5)


def test_lengths_that_differ_are_asked_about(refused, folder):
    line = refused("train", "--preset", "series", "--data", folder / "ecg", "--out", "other")
    assert "48 series of 2 lengths, 60 to 90. Say what to do: lengths = 'crop' keeps the first 60 numbers" in line


def test_numbers_of_the_report_can_be_read(trained, folder):
    numbers = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    assert numbers["sliced"]["floor"] > 0
    assert len(numbers["levels"]["noise"]) == 13
