"""Pictures of pictures: every pixel where it belongs, in grey values of the range that was named."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from plots_cases import axes, cut, labels, legend, picture, ticks

from scorefield import plots
from scorefield.plots.images import beside, histograms, tile
from scorefield.plots.shown import Look

IMAGES = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(0))


def grey(images: torch.Tensor, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """`(N, 1, H, W)` as bytes `(N, H, W, 3)`, by hand."""
    as_bytes = (255 * (images - low) / (high - low)).clamp(0, 255).round().to(torch.uint8)
    return as_bytes[:, 0, :, :, None].expand(-1, -1, -1, 3).numpy()


def test_pixels_are_shares_of_the_range_in_bytes():
    values = torch.tensor([[[-2.0, -1.0, 0.0, 1.0, 2.0]]])  # (N, H, W)
    assert plots.to_pixels(values, -1.0, 1.0)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    colours = torch.tensor([1.0, 0.0, 0.5]).reshape(1, 3, 1, 1)
    assert plots.to_pixels(colours)[0, 0, 0].tolist() == [255, 0, 128]
    np.testing.assert_array_equal(plots.to_pixels(IMAGES), grey(IMAGES))


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (4, 4), (1, 1, 1, 4, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\) with C of 1 or 3"):
        plots.to_pixels(torch.zeros(shape))


def test_a_tiling_puts_row_after_row_on_white():
    pixels = grey(IMAGES)
    big = tile(pixels, 2, gap=1, scale=1)
    assert big.shape == (3 * 3 - 1, 2 * 4 - 1, 3)
    *five, empty = cut(big, 2, 2, 3)
    np.testing.assert_array_equal(five, pixels)
    assert (empty == 255).all()
    assert (big[2] == 255).all()  # between two rows
    np.testing.assert_array_equal(tile(pixels, 2, gap=1, scale=3)[1::3, 1::3], big)


def test_an_image_grid_names_its_rows_and_columns():
    named = {"row_labels": ["a", "b"], "column_labels": ["c", "d"], "title": "digits"}
    (ax,) = axes(plots.image_grid(IMAGES, 2, low=-1, high=2, **named))
    np.testing.assert_array_equal(cut(picture(ax), 2, 2, 3)[:5], grey(IMAGES, -1, 2))
    assert ticks(ax.xaxis) == {1.0: "c", 5.0: "d"}  # at the middle of 3 pixels, and of the 3 behind the gap
    assert ticks(ax.yaxis) == {0.5: "a", 3.5: "b"}
    assert ax.get_title() == "digits"
    (bare,) = axes(plots.image_grid(IMAGES, 2))
    assert (ticks(bare.xaxis), ticks(bare.yaxis)) == ({}, {})


def test_a_filmstrip_runs_to_the_right_with_a_row_for_each_image():
    frames = torch.rand(3, 2, 1, 2, 3, generator=torch.Generator().manual_seed(1))  # (T, N, C, H, W)
    (ax,) = axes(plots.filmstrip(frames, column_labels=["t = 1", "0.5", "0"], row_labels=["7", "9"], title="reverse"))
    np.testing.assert_array_equal(cut(picture(ax), 3, 2, 3), np.concatenate([grey(frames[:, 0]), grey(frames[:, 1])]))
    assert list(ticks(ax.xaxis).values()) == ["t = 1", "0.5", "0"]
    assert list(ticks(ax.yaxis).values()) == ["7", "9"]
    assert ax.get_title() == "reverse"
    with pytest.raises(ValueError, match=r"frames must be \(T, N, C, H, W\); got shape \(2, 1, 2, 3\)"):
        plots.filmstrip(frames[0])


def test_neighbours_stand_below_their_samples_with_the_distance_above():
    of_all, held_out = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0])
    fig = plots.neighbours(IMAGES[:2], IMAGES[2:4], of_all, held_out, distances=torch.tensor([1.0, 2.345]))
    pairs, below = axes(fig)
    np.testing.assert_array_equal(cut(picture(pairs), 2, 2, 3), grey(IMAGES[:4]))
    assert list(ticks(pairs.xaxis).values()) == ["1.00", "2.35"]
    assert list(ticks(pairs.yaxis).values()) == ["sample", "nearest"]
    assert labels(below) == ("distance to the nearest training datum", "density", "")
    assert legend(below) == ["held-out data (median 4.00)", "samples (median 2.00)"]


def test_histograms_are_densities_with_their_medians():
    ax: Any = plots.figure(3, 3).add_subplot()
    values = {"truth": np.random.default_rng(0).normal(1, 2, 500), "samples": np.array([2.0, 2.5, 4.0])}
    histograms(ax, values, x="distance")
    assert legend(ax) == [f"{name} (median {np.median(v):.2f})" for name, v in values.items()]
    assert [line.get_xdata()[0] for line in ax.lines] == [np.median(v) for v in values.values()]
    for drawn, v in zip(ax.containers, values.values(), strict=True):
        left = np.array([bar.get_x() for bar in drawn])
        width = np.array([bar.get_width() for bar in drawn])
        shares = np.histogram(v, [*left, left[-1] + width[-1]])[0] / len(v)
        np.testing.assert_allclose([bar.get_height() for bar in drawn], shares / width, rtol=1e-6)
        assert shares.sum() > 0.5  # what lies above 0: distances do


def test_photographs_keep_their_colours_and_every_pixel():
    """64 pictures of 64 x 64: no palette, and room for each pixel and the white between."""
    x = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    saved = Image.open(io.BytesIO(plots.png_bytes(plots.image_grid(x, 8))))
    assert saved.mode == "RGB"
    assert min(saved.size) >= 8 * 65 - 1
    assert len(np.unique(np.asarray(saved).reshape(-1, 3), axis=0)) > 10_000
    assert (
        Image.open(io.BytesIO(plots.png_bytes(plots.image_grid(x[:, :1], 8)))).mode == "P"
    )  # grey ones are few anyway


def test_samples_stand_beside_data_of_their_class():
    made = torch.arange(6).reshape(6, 1, 1, 1).expand(6, 1, 2, 3)
    asked, of_data = torch.tensor([0, 1] * 3), torch.tensor([1, 0] * 3)
    look = Look(levels=17, class_names=("cat", "dog"))
    (only,) = beside(made, made + 6, look, "data", asked=asked, labels=of_data)
    left, right = axes(only.figure)
    assert list(ticks(left.yaxis).values()) == ["cat", "dog"]
    for ax, rows in ((left, [[0, 2, 4], [1, 3, 5]]), (right, [[7, 9, 11], [6, 8, 10]])):
        shown = np.stack(cut(picture(ax), 3, 2, 3))[:, 0, 0, 0].reshape(2, 3)
        np.testing.assert_array_equal(shown, np.round(255 * np.array(rows) / 16))
    assert (left.get_title(), right.get_title()) == ("6 samples", "6 data")
    assert (
        only.text == "6 samples on the left, 6 data on the right. Nothing was chosen. A row for each class; 2 classes."
    )
