"""Curves and bars: the numbers that were given, under the names that were given."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from plots_cases import axes, labels, legend, lines, ticks

from scorefield import plots


@pytest.fixture
def ax() -> Any:
    return plots.figure(3, 3).add_subplot()


def test_colours_can_be_told_apart():
    assert len(set(plots.curves_colors(10))) == 10
    assert plots.curves_colors(2) == plots.curves_colors(12)[10:]


def test_named_lines_over_one_x(ax):
    x, given = [1, 2, 4], {"alpha": [3.0, 1.0, 2.0], "sigma": [0.0, 5.0, 6.0]}
    plots.curves(ax, x, given, x_label="t", y_label="standard deviation", title="a process")
    np.testing.assert_array_equal(lines(ax), [np.stack([x, y], 1) for y in given.values()])
    assert [line.get_label() for line in ax.lines] == legend(ax) == ["alpha", "sigma"]
    assert [line.get_color() for line in ax.lines] == plots.curves_colors(2)
    assert labels(ax) == ("t", "standard deviation", "a process")


def test_one_line_needs_no_legend(ax):
    plots.curves(ax, [0, 1], {"alone": [1, 2]})
    assert (labels(ax), legend(ax)) == (("", "", ""), [])


def test_a_loss_curve_shows_each_step_and_the_running_mean():
    """Of 200 steps: the mean of 4, at the last step of each four."""
    steps, losses = np.arange(1, 201), np.random.default_rng(0).exponential(size=200)
    (ax,) = axes(plots.loss_curve(steps, losses, y_label="nats"))
    each, mean = ax.lines
    np.testing.assert_array_equal(each.get_xydata(), np.stack([steps, losses], 1))
    np.testing.assert_array_equal(mean.get_xdata(), steps[3:])
    np.testing.assert_allclose(mean.get_ydata(), [losses[i - 3 : i + 1].mean() for i in range(3, 200)])
    assert (labels(ax), ax.get_yscale(), legend(ax)) == (("step", "nats", ""), "log", ["each step", "mean of 4 steps"])


def test_one_step_has_no_running_mean():
    (ax,) = axes(plots.loss_curve([1], [0.5]))
    assert legend(ax) == ["each step"]


def test_the_loss_by_level_is_over_the_noise_ratio():
    levels = [(0.01, 3.0), (1.0, 2.0), (50.0, 0.5)]
    (ax,) = axes(plots.loss_by_level(levels))
    np.testing.assert_array_equal(lines(ax), [levels])
    assert (labels(ax), ax.get_xscale()) == (("sigma / alpha", "loss", ""), "log")
    (empty,) = axes(plots.loss_by_level([]))
    assert lines(empty).size == 0


def test_bars_stand_in_groups_side_by_side(ax):
    groups = {"true": [0.5, 0.3, 0.2], "plain": [0.2, 0.2, 0.6]}
    plots.bars(ax, groups, ["#111111", "#222222"], x_label="mode", y_label="share")
    assert [[bar.get_height() for bar in drawn] for drawn in ax.containers] == list(groups.values())
    colours = [{to_hex(bar.get_facecolor()) for bar in drawn} for drawn in ax.containers]
    assert colours == [{"#111111"}, {"#222222"}]
    ends = [[(bar.get_x(), bar.get_x() + bar.get_width()) for bar in drawn] for drawn in ax.containers]
    for k, ((left, middle), (right, end)) in enumerate(zip(*ends, strict=True)):
        assert k - 0.5 < left < middle <= right < end < k + 0.5  # beside each other, in their own group
        assert (left + end) / 2 == pytest.approx(k)
    assert ticks(ax.xaxis) == {0: "1", 1: "2", 2: "3"}
    assert (labels(ax), legend(ax)) == (("mode", "share", ""), ["true", "plain"])
