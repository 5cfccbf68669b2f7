"""The rules by their definitions, on numbers."""

import torch
from guidance_cases import f64

from scorefield.guidance import Interval, Projected, Rescaled, line


def pair(n=5, event=(2, 3)):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, *event, dtype=f64, generator=g), torch.randn(n, *event, dtype=f64, generator=g)


def test_the_line_is_exact_at_both_ends_for_numbers_and_tensors():
    c, b = pair()
    assert torch.equal(line(c, b, 1.0), c)
    assert torch.equal(line(c, b, 0.0), b)
    w = torch.tensor([0.0, 1.0, 0.3, 2.0, -1.0], dtype=f64).reshape(-1, 1, 1)
    assert torch.equal(line(c, b, w)[:2], torch.stack([b[0], c[1]]))
    torch.testing.assert_close(line(c, b, w), (1 - w) * b + w * c)


def test_rescaling_gives_the_size_of_the_conditional_prediction_back():
    c, b = pair()
    plain = line(c, b, 4.0)
    size = [d.flatten(1).norm(dim=1) for d in (c, Rescaled(1.0)(c, b, 4.0), Rescaled(0.5)(c, b, 4.0), plain)]
    torch.testing.assert_close(size[1], size[0])
    torch.testing.assert_close(size[2], (size[0] + size[3]) / 2)
    assert torch.equal(Rescaled(0.0)(c, b, 4.0), plain)
    assert torch.equal(Rescaled(0.7)(c, b, 1.0), c)
    assert not Rescaled()(torch.zeros_like(c), torch.zeros_like(c), 4.0).any()


def test_projection_leaves_the_component_along_the_conditional_prediction_as_it_is():
    c, b = pair()
    dot = lambda x, y: (x * y).flatten(1).sum(1)  # noqa: E731
    update = Projected()(c, b, 3.0) - c
    assert float(dot(update, c).abs().max()) < 1e-12
    across = (c - b) - (dot(c - b, c) / dot(c, c)).reshape(-1, 1, 1) * c
    torch.testing.assert_close(update, 2 * across)
    torch.testing.assert_close(Projected(1.0)(c, b, 3.0), line(c, b, 3.0))
    short = Projected(1.0, radius=0.5)(c, b, 2.0) - c
    torch.testing.assert_close(short.flatten(1).norm(dim=1), torch.full((5,), 0.5, dtype=f64))
    torch.testing.assert_close(Projected(1.0, radius=1e3)(c, b, 2.0), line(c, b, 2.0))


def test_an_interval_is_one_outside():
    ratios = torch.tensor([0.0, 0.5, 1.0, 2.0, float("inf")], dtype=f64)
    assert Interval(4.0, 0.5, 1.0)(ratios).tolist() == [1, 4, 4, 1, 1]
    assert Interval(4.0)(ratios).tolist() == [4] * 5
