"""A table's picture says how far apart columns are, and what it leaves out."""

import numpy as np
import pandas as pd
import pytest

from scorefield import metrics, plots


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(100, 13)), columns=[f"n{j}" for j in range(13)])
    return data.assign(n1="$a$", n2=rng.integers(0, 3, 100)), (data + 1).assign(n1="b", n2=None)


def titles(fig):
    return [ax.get_title() for ax in fig.axes if ax.get_visible() and ax.get_title()]


def test_columns_have_their_distance_and_the_pairs_of_the_first_numbers_follow(pair):
    samples, data = pair
    far = metrics.marginals(samples, data)
    fig = plots.of_table(samples, data)
    assert titles(fig)[0] == f"n0, W1/std {far['n0']:.2f}"
    assert titles(fig)[1] == "n1, TV 1.00"
    assert len(titles(fig)) == 12
    drawn = [ax for ax in fig.axes if ax.get_visible() and ax.get_xlabel()]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in drawn][:2] == [("n0", "n2"), ("n0", "n3")]
    assert len(drawn) == 6
    suptitle = fig.get_suptitle()
    assert suptitle == "100 samples (red), 100 data (grey); 12 of 13 columns shown"
    assert len(plots.png_bytes(fig)) > 10_000


def test_samples_alone_are_drawn_too(pair):
    fig = plots.of_table(pair[0].filter(["n0", "n1"]))
    assert titles(fig) == ["n0", "n1"]
    assert fig.get_suptitle() == "samples"
