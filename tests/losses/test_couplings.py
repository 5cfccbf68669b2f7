import itertools

import pytest
import torch

from scorefield.losses.couplings import Assignment, Independent, Sinkhorn


def draws(n: int, d: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g), 2 + torch.randn(n, d, generator=g)


def cost(x0: torch.Tensor, x1: torch.Tensor) -> float:
    return float((x0 - x1).square().sum())


def test_the_assignment_is_the_best_of_all_permutations():
    x0, x1 = draws(6)
    best = min(cost(x0, x1[list(p)]) for p in itertools.permutations(range(6)))
    index = Assignment(size=6).match(x0, x1)
    assert sorted(index.tolist()) == list(range(6))
    assert cost(x0, x1[index]) == pytest.approx(best, rel=1e-6)


def test_in_one_dimension_it_sorts():
    x0, x1 = draws(200, 1)
    paired = x1[Assignment(size=200).match(x0, x1)]
    assert torch.equal(paired[x0[:, 0].argsort()], x1.sort(0).values)


def test_independent_pairs_stay_as_they_come():
    x0, x1 = draws(5)
    assert Independent().match(x0, x1).tolist() == [0, 1, 2, 3, 4]


def test_sinkhorn_comes_near_the_assignment_as_the_entropy_falls():
    x0, x1 = draws(256)
    least = cost(x0, x1[Assignment(size=256).match(x0, x1)])
    g = torch.Generator().manual_seed(0)
    costs = [
        cost(x0, x1[Sinkhorn(size=256, entropy=e, iterations=500).match(x0, x1, generator=g)]) for e in (1.0, 0.1, 0.01)
    ]
    assert costs[0] > costs[1] > costs[2]
    assert costs[2] < 1.1 * least


def test_sinkhorn_keeps_the_origins_law():
    x0, x1 = draws(2000)
    paired = x1[Sinkhorn(size=2000).match(x0, x1, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(paired.mean(0), x1.mean(0), atol=0.05)
    assert torch.allclose(paired.std(0), x1.std(0), atol=0.05)


def test_pairs_do_not_cross_labels_and_each_class_keeps_the_origin():
    """Blind to labels, draws near a class go to it: its x1 is no longer the origin, and a conditional sampler wrong."""
    g = torch.Generator().manual_seed(0)
    label = torch.randint(2, (2000,), generator=g)
    x0 = torch.randn(2000, 1, generator=g) * 0.3 + (4.0 * label[:, None] - 2)
    x1 = torch.randn(2000, 1, generator=g)
    blind = x1[Assignment(size=2000).match(x0, x1)]
    aware = x1[Assignment(size=2000).match(x0, x1, {"label": label})]
    for k in (0, 1):
        own = label == k
        assert abs(float(blind[own].mean())) > 0.7  # the bias, exactly +- sqrt(2 / pi) in the limit
        assert abs(float(aware[own].mean())) < 0.1
        assert float(aware[own].std()) == pytest.approx(1, abs=0.1)
        assert torch.equal(aware[own][x0[own][:, 0].argsort()], x1[own].sort(0).values)


def test_a_weight_keeps_pairs_near_in_a_continuous_condition():
    x0, x1 = draws(300, 1)
    c = torch.rand(300, 1, generator=torch.Generator().manual_seed(1))
    for weight, apart in ((0.0, 0.2), (1e4, 0.02)):
        index = Assignment(size=300, condition_weight=weight).match(x0, x1, {"vector": c})
        assert (float((c - c[index]).abs().mean()) > apart) == (weight == 0.0)
    assert torch.equal(Assignment(size=300).match(x0, x1, {"vector": c}), torch.arange(300))


def test_mistakes_are_one_line():
    for make, line in (
        (lambda: Assignment(size=0), "size and reuse must be at least 1"),
        (lambda: Assignment(condition_weight=-1.0), "condition_weight at least 0"),
        (lambda: Sinkhorn(entropy=0.0), "entropy must be positive"),
    ):
        with pytest.raises(ValueError, match=line):
            make()
    with pytest.raises(ValueError, match="x1 must have the shape of x0"):
        Assignment().match(torch.zeros(3, 2), torch.zeros(4, 2))
