import math

import pytest
import torch

import scorefield as sf
from scorefield.particles import effective_size, log_mean, normalised, shuffled, systematic

f64 = torch.float64
LOGS = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]], dtype=f64).log()


def uniforms(n, *shape, seed=0):
    return torch.rand(n, *shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def test_a_particle_has_as_many_children_as_its_weight_says_up_to_one():
    weights = normalised(LOGS)
    for u in (0.0, 0.3, 0.999999):
        index = systematic(LOGS, torch.full((3,), u, dtype=f64))
        children = torch.stack([torch.bincount(row, minlength=4) for row in index])
        assert float((children - 4 * weights).abs().max()) < 1


def test_the_mean_number_of_children_is_the_weight():
    n = 40_000
    index = systematic(LOGS[:1].expand(n, -1), uniforms(n))
    children = torch.bincount(index.flatten(), minlength=4).double() / n
    # at most 1/4 of variance each: 4.5 standard errors
    assert torch.allclose(children, 4 * normalised(LOGS)[0], rtol=0, atol=4.5 * 0.5 / math.sqrt(n))


def test_one_slot_is_a_draw_only_in_random_order():
    n = 40_000
    index = systematic(LOGS[:1].expand(n, -1), uniforms(n))
    share = torch.bincount(shuffled(index, uniforms(n, 4, seed=1))[:, 0], minlength=4).double() / n
    assert torch.allclose(share, normalised(LOGS)[0], rtol=0, atol=4.5 * 0.5 / math.sqrt(n))
    assert float(torch.bincount(index[:, 0], minlength=4)[0] / n) > 0.35  # in their own order slot 0 prefers particle 0


def test_the_effective_size_lies_between_one_and_all():
    sizes = effective_size(LOGS)
    assert float(sizes[0]) == pytest.approx(1 / 0.30)
    assert float(sizes[2]) == pytest.approx(4)
    assert float(effective_size(torch.tensor([[0.0, -math.inf, -math.inf]]))) == 1


def test_the_log_mean_survives_large_logs():
    assert float(log_mean(torch.tensor([[1000.0, 1000.0 + math.log(3)]], dtype=f64))) == pytest.approx(
        1000 + math.log(2)
    )


def test_adding_a_constant_to_a_system_changes_nothing_and_weight_zero_has_no_children():
    u = uniforms(3)
    assert torch.equal(systematic(LOGS + torch.tensor([[3.0], [-700.0], [0.5]], dtype=f64), u), systematic(LOGS, u))
    one = torch.tensor([[-math.inf, 0.0, -math.inf]])
    for u in (0.0, 0.5, 1 - 1e-9):
        assert systematic(one, torch.tensor([u])).tolist() == [[1, 1, 1]]


def test_a_system_without_any_weight_keeps_all_its_particles():
    assert systematic(torch.full((1, 3), -math.inf), torch.tensor([0.5])).tolist() == [[0, 1, 2]]


def test_systems_do_not_see_each_other():
    logs = torch.randn(64, 33, dtype=f64, generator=torch.Generator().manual_seed(0)) * 3
    u = uniforms(64)
    whole = systematic(logs, u)
    assert torch.equal(torch.cat([systematic(logs[i : i + 1], u[i : i + 1]) for i in range(64)]), whole)
    sizes = torch.cat([effective_size(logs[i : i + 1]) for i in range(64)])
    assert torch.equal(sizes, effective_size(logs))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_size(torch.zeros(3)), r"log_weights must have shape \(G, K\) with K at least 1; got \(3,\)"),
        (lambda: systematic(torch.zeros(2, 3), torch.zeros(3)), r"uniform must have shape \(2,\); got \(3,\)"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_module_is_public():
    assert sf.particles.systematic is systematic
