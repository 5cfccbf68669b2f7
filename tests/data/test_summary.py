"""What a set of data holds, and pictures at fewer grey values."""

import pytest
import torch

from scorefield import data


def test_a_table_and_its_columns():
    x = torch.tensor([[1.0, 10.0], [3.0, 10.0]])
    s = data.summarize(data.Arrays(x, torch.tensor([0, 1]), class_names=("a", "b", "c"), columns=("p", "q")))
    assert (s.count, s.dtype, s.low, s.high) == (2, torch.float32, 1.0, 10.0)
    assert (s.mean, s.std) == (6.0, pytest.approx(((25 + 9 + 16 + 16) / 4) ** 0.5))
    assert s.in_model == (0.0, 1.0)
    assert s.classes == [("a", 1), ("b", 1), ("c", 0)]
    assert s.columns == [("p", [2.0, 1.0, 1.0, 3.0]), ("q", [10.0, 0.0, 10.0, 10.0])]
    assert s.conditions == {}


def test_grey_values_and_conditions():
    x = torch.tensor([0, 3], dtype=torch.uint8).reshape(2, 1, 1, 1)
    s = data.summarize(data.Arrays(x, cond={"vector": torch.zeros(2, 5)}, levels=4))
    transform = data.Scale.to_unit_range(x, levels=4)
    assert s.in_model == (transform.mean, transform.sigma_data)
    assert s.classes == []
    assert s.conditions == {"vector": (5,)}


def test_bytes_are_requantised_to_the_same_shades():
    pictures = data.Arrays(torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1), levels=256)
    coarse = data.Requantised(pictures, 17)
    assert (len(coarse), coarse.event_shape, coarse.levels, coarse.num_classes) == (256, (1, 1, 1), 17, None)
    grey = coarse.batch(torch.arange(256)).x.flatten()
    counts = torch.bincount(grey, minlength=17)
    assert len(counts) == 17  # every level, each as often as another to within one
    assert int(counts.max() - counts.min()) <= 1
    assert (grey.diff() >= 0).all()
    assert torch.equal(data.Requantised(pictures, 256).batch(torch.arange(256)).x, pictures.x)
