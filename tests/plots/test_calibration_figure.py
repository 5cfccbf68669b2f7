"""The four panels of a calibration: the numbers of its parts, with their bands."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from plots_cases import axes, labels, lines

from scorefield import plots
from scorefield.metrics import Coverage, Ranks, coverage, sbc, tarp, uniform_band

B, N = 60, 9


class Checked(NamedTuple):
    ranks: Ranks
    coverage: Coverage
    tarp: Ranks
    predictive: torch.Tensor


def checked_of(dim: int) -> Checked:
    """A right posterior of `dim` numbers: truth and samples from one law."""
    g = torch.Generator().manual_seed(0)
    truth, samples = torch.randn(B, dim, generator=g), torch.randn(B, N, dim, generator=g)
    ranked = sbc(truth, samples), coverage(truth, samples), tarp(truth, samples, torch.zeros_like(truth))
    return Checked(*ranked, torch.rand(B, generator=g))


@pytest.fixture(scope="module")
def checked() -> Checked:
    return checked_of(3)


def test_four_panels_say_what_they_are(checked):
    fig = plots.calibration(checked, title="a posterior")
    assert fig.get_suptitle() == "a posterior"
    share = "share below, less uniform's"
    assert [labels(ax) for ax in axes(fig)] == [
        ("rank / n", share, f"SBC: ranks of the truths\np = {checked.ranks.p_value:.2g}"),
        ("level of the interval", "truths inside", "coverage, with 95 % intervals"),
        ("rank / n", share, f"TARP: balls that hold the truth\np = {checked.tarp.p_value:.2g}"),
        ("posterior predictive p-value", "measurements", "misfit to the data"),
    ]


@pytest.mark.parametrize(("panel", "which"), [(0, "ranks"), (2, "tarp")])
def test_ranks_are_shares_less_the_uniform_ones_within_their_band(checked, panel, which):
    """The share of truths of rank k or below, by counting, less (k + 1) / (N + 1)."""
    ranks: torch.Tensor = getattr(checked, which).ranks
    ax = axes(plots.calibration(checked))[panel]
    level = (torch.arange(N + 1) + 1).double() / (N + 1)
    at_most = (ranks[..., None] <= torch.arange(N + 1)).double().mean(0)  # (columns, N + 1)
    assert lines(ax).shape == (ranks.shape[1], N + 1, 2)
    np.testing.assert_allclose(lines(ax)[..., 1], at_most - level, atol=1e-12)
    np.testing.assert_allclose(lines(ax)[0, :, 0], np.arange(N + 1) / N)
    (band,) = ax.collections
    edges = band.get_paths()[0].vertices
    for sign in (-1, 1):
        for k, half in enumerate(uniform_band(B, level)):
            assert np.abs(edges - [k / N, sign * float(half)]).sum(1).min() < 1e-9


def test_coverage_stands_at_its_rates_with_its_intervals(checked):
    ax = axes(plots.calibration(checked))[1]
    (drawn,) = ax.containers
    points, _, (bars,) = drawn.lines
    np.testing.assert_allclose(points.get_xydata(), torch.stack([checked.coverage.levels, checked.coverage.rates], 1))
    ends = np.stack(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, torch.stack(checked.coverage.interval(), 1))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [1, 1]])


def test_p_values_are_counted_in_twentieths(checked):
    ax = axes(plots.calibration(checked))[3]
    counts = [bar.get_height() for bar in ax.patches]
    assert counts == np.histogram(checked.predictive, np.linspace(0, 1, 21))[0].tolist()
    assert sum(counts) == B


def test_of_many_statistics_some_are_drawn():
    assert len(axes(plots.calibration(checked_of(200)))[0].lines) == 64
