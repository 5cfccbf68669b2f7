"""A picture of samples by the shape of their event: the data's own units, and each datum in its place."""

import numpy as np
import pytest
import torch
from plots_cases import axes, cut, lines, picture, ticks

from scorefield import data, plots
from scorefield.plots.samples import of_samples, panels
from scorefield.plots.series import SHOWN
from scorefield.plots.shown import Look, of, rows_of

GREY = data.Scale(2 / 17, -1.0, levels=17)
draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(0))  # noqa: E731


def test_images_are_grey_values_over_the_largest():
    raw = torch.randint(0, 17, (5, 1, 2, 3), generator=torch.Generator().manual_seed(0))
    (ax,) = axes(of_samples(raw, GREY))
    shown = cut(picture(ax)[..., 0], 3, 2, 3)  # three in a row, the root of five rounded up
    np.testing.assert_array_equal(shown[:5], (255 * raw[:, 0].double() / 16).round())
    assert len(shown) == 6


def test_points_are_a_cloud_in_their_own_units():
    x = draw(50, 2) * 30 + 100
    (ax,) = axes(of_samples(x, data.Scale(0.1)))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), x)
    assert ax.get_aspect() == 1


def test_series_are_lines_over_their_index():
    x = draw(SHOWN + 5, 1, 7)
    (ax,) = axes(of_samples(x, None))
    np.testing.assert_allclose(lines(ax)[..., 1], x[:SHOWN, 0])
    np.testing.assert_array_equal(lines(ax)[..., 0], [range(7)] * SHOWN)


def test_a_series_of_channels_has_a_panel_for_each_up_to_where_it_ends():
    x = draw(3, 3, 8)
    x[:, 2] = 1
    x[1, 2, 5:] = 0  # the mask: the second ends after five
    look = Look(masked=True, axis="time (s)", step=0.5, unit="mV")
    first, second = axes(of_samples(x, None, look))
    for c, ax in enumerate((first, second)):
        drawn = lines(ax)
        np.testing.assert_allclose(drawn[[0, 2], :, 1], x[[0, 2], c])
        np.testing.assert_allclose(drawn[1, :5, 1], x[1, c, :5])
        assert np.isnan(drawn[1, 5:, 1]).all()
        np.testing.assert_allclose(drawn[0, :, 0], 0.5 * np.arange(8))
        assert ax.get_ylabel() == f"channel {c} (mV)"
    assert (second.get_xlabel(), first.get_title()) == ("time (s)", "3 series")


def test_classes_asked_for_in_turn_have_a_column_each():
    raw = torch.randint(0, 17, (9, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    (ax,) = axes(of_samples(raw, GREY, Look(class_names=("cat", "dog", "2")), torch.tensor([1, 2] * 4 + [1])))
    assert list(ticks(ax.xaxis).values()) == ["dog", "class\n2"] * 2  # four columns, near the root of nine
    (ax,) = axes(of_samples(raw, GREY, Look(), torch.full((9,), 3)))
    assert (list(ticks(ax.xaxis).values()), ax.get_title()) == ([], "class 3")


def test_rows_say_the_place_and_the_class():
    look = Look(class_names=("cat", "dog"))
    assert rows_of([3, 12], [0, 1], look) == ["#3 (cat)", "#12 (dog)"]
    assert rows_of([3], [0], Look()) == ["#3 (class 0)"]
    assert rows_of([3], None, look) == ["#3"]
    assert rows_of([3, 4], [0, 1], look, [1, 1]) == ["#3 (cat as dog)", "#4 (dog)"]  # asked to be another
    assert rows_of([3], None, look, [1]) == ["#3 (dog)"]
    assert (of(8, 10, "samples"), of(8, 8, "samples")) == ("8 of 10 samples", "8 samples")


@pytest.mark.parametrize(
    ("shape", "transform"),
    [((4, 5), None), ((4, 1, 2, 3), None), ((4, 1, 2, 3), data.Scale(1.0)), ((4, 3, 2, 2, 2), GREY)],
)
def test_other_events_have_no_picture(shape, transform):
    assert of_samples(draw(*shape), transform) is None


def test_panels_of_pictures_have_a_row_for_each_datum_or_a_column():
    before = draw(2, 1, 2, 3)
    columns = {"before": before, "after": before.flip(0), "again": -before}
    (across,) = axes(panels(columns, row_labels=["0", "1"]))
    (down,) = axes(panels(columns, row_labels=["0", "1"], down=True))
    pixels = np.stack([plots.to_pixels(c) for c in columns.values()])  # (3 columns, 2 data, H, W, 3)
    np.testing.assert_array_equal(cut(picture(down), 2, 2, 3), pixels.reshape(-1, 2, 3, 3))
    np.testing.assert_array_equal(cut(picture(across), 3, 2, 3), pixels.swapaxes(0, 1).reshape(-1, 2, 3, 3))
    names, rows = ["before", "after", "again"], ["0", "1"]
    for ax, (x, y) in ((across, (names, rows)), (down, (rows, names))):
        assert (list(ticks(ax.xaxis).values()), list(ticks(ax.yaxis).values())) == (x, y)


def test_panels_of_points_keep_the_colour_of_a_datum():
    """By its angle in the first panel, whatever its distance, and the same in every panel."""
    start = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [-1.0, 1e-6], [-1.0, -1e-6], [0.0, -1.0]])
    first, second = axes(panels({"z": start, "x": start.flip(1) * 2}))
    assert [ax.get_title() for ax in (first, second)] == ["z", "x"]
    (a,), (b,) = first.collections, second.collections
    np.testing.assert_allclose(a.get_offsets(), start)
    np.testing.assert_allclose(b.get_offsets(), start.flip(1) * 2)
    colours = a.get_facecolor()
    np.testing.assert_array_equal(colours, b.get_facecolor())
    apart = np.abs(colours[:, None] - colours).max(-1)
    assert apart[0, 1] == 0
    assert apart[3, 4] < 0.02  # -pi and pi are neighbours
    assert min(apart[0, 2], apart[0, 3], apart[2, 3], apart[2, 5]) > 0.1


def test_panels_of_series_have_a_line_for_each_datum():
    x = draw(SHOWN + 1, 1, 4)
    first, second = axes(panels({"encoded": x, "decoded": -x}))
    np.testing.assert_allclose(lines(first)[..., 1], x[:SHOWN, 0])
    np.testing.assert_allclose(lines(second)[..., 1], -x[:SHOWN, 0])
    a, b = (np.array([line.get_color() for line in ax.lines]) for ax in (first, second))
    np.testing.assert_array_equal(a, b)
    assert len(np.unique(a[:-1], axis=0)) == SHOWN - 1


@pytest.mark.parametrize("event", [(3,), (2, 2, 2), (1, 2, 2, 2)])
def test_panels_of_other_events_are_none(event):
    assert panels({"a": torch.zeros(3, *event)}) is None
