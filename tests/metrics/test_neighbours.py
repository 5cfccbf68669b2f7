import pytest
import torch

from scorefield import metrics


def test_nearest_finds_what_was_hidden():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(300, 1, 4, 4, generator=generator)
    hidden = torch.randperm(300, generator=generator)[:50]
    step = torch.full((1, 4, 4), 0.01)
    found = metrics.nearest(reference[hidden] + step, reference, k=3, chunk=7)
    assert torch.equal(found.index[:, 0], hidden)
    torch.testing.assert_close(found.distance[:, 0], torch.full((50,), 0.04, dtype=torch.float64), rtol=1e-4, atol=0)
    assert (found.distance.diff() >= 0).all()


def test_memorisation_is_a_half_for_new_data_and_one_for_copies():
    """1,000 draws of one law and their copies; the p-value is exact, and a failure is one in a hundred."""
    draws = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)).split(1000)
    new = metrics.memorization(*draws)
    low, high = new.interval(0.68269)
    assert new.floor == 0.5
    assert new.p_value > 0.01
    assert (high - low) / 2 > 0.0158  # the binomial's, since samples share their nearest datum
    copied = metrics.memorization(draws[1] + 1e-4, draws[1], draws[2])
    assert copied.value > 0.99
    assert copied.p_value == 1e-3
    assert metrics.memorization(draws[0], draws[1], draws[1]).value == 0.5  # ties count half


def test_bad_sets_are_refused():
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\]"):
        metrics.nearest(x, x, k=5)
    with pytest.raises(ValueError, match="same event size; got 2 and 3"):
        metrics.nearest(x, torch.zeros(4, 3))
