import copy
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from scorefield.training.ema import EMA, PowerEMA, Snapshot, average, coefficients, gamma_of, posthoc_ema

f64 = torch.float64


def module():
    net = nn.Sequential(nn.Linear(3, 2, dtype=f64), nn.BatchNorm1d(2, dtype=f64))  # the latter for its buffers
    return net.requires_grad_()


def trajectory(net, steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, dtype=f64, generator=generator))
        yield [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_the_geometric_sum(decay):
    """d^n w_0 + (1 - d) sum_k d^(n - k) w_k."""
    net = module()
    ema = EMA(net, decay, ramp=False)
    expected = [decay**20 * p.detach() for p in ema.module.parameters()]
    for k, weights in enumerate(trajectory(net, 20), start=1):
        ema.update()
        expected = [e + (1 - decay) * decay ** (20 - k) * w for e, w in zip(expected, weights, strict=True)]
    for kept, e in zip(ema.module.parameters(), expected, strict=True):
        torch.testing.assert_close(kept.detach(), e)


def test_the_ramp_forgets_the_start():
    """The initial weights keep prod (k + 1) / (k + 10), k = 1..n: 10! / ((n + 2) ... (n + 10))."""
    net = module()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    ema = EMA(net, 0.9999)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    for _ in range(30):
        ema.update()
    left = 1.0
    for j in range(2, 11):
        left *= j / (30 + j)
    for p in ema.module.parameters():
        torch.testing.assert_close(p.detach(), torch.full_like(p, left))
    assert left < 1e-7


def test_the_ramp_ends_at_the_decay():
    net = module()
    ema = EMA(net, 0.5)
    before, weights = [], []
    for weights in trajectory(net, 12):  # (k + 1) / (k + 10) passes 0.5 at k = 8  # noqa: B007
        before = copy.deepcopy(list(ema.module.parameters()))
        ema.update()
    for kept, old, new in zip(ema.module.parameters(), before, weights, strict=True):
        torch.testing.assert_close(kept.detach(), (old.detach() + new) / 2)


def test_the_copy_is_apart_from_the_module_and_takes_its_buffers():
    net = module()
    ema = EMA(net, 0.9)
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    net.train()(torch.randn(8, 3, dtype=f64))
    ema.update()
    kept, present = dict(ema.module.named_buffers()), dict(net.named_buffers())
    assert torch.equal(kept["1.running_mean"], present["1.running_mean"])
    assert kept["1.num_batches_tracked"] == 1
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\); got 1"):
        EMA(net, 1.0)


def brute(weights, sigma_rel, step=None):
    """sum_k c_k w_k with c_k the mass of the density on (k - 1, k], for a recorded trajectory `(n, d)`."""
    n = len(weights) if step is None else step
    edges = (torch.arange(n + 1, dtype=f64) / n) ** (gamma_of(sigma_rel) + 1)
    return edges.diff() @ weights[:n]


@pytest.mark.parametrize("sigma_rel", [0.01, 0.05, 0.1, 0.28])
def test_gamma_gives_the_width_of_the_density(sigma_rel):
    """(gamma + 1) tau^gamma on [0, 1] is a beta density: its standard deviation is sigma_rel."""
    assert stats.beta(gamma_of(sigma_rel) + 1, 1).std() == pytest.approx(sigma_rel, rel=1e-12)


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.25])
def test_the_power_average_is_the_mean_under_its_density(sigma_rel):
    net = module()
    ema = PowerEMA(net, sigma_rel)
    steps = [torch.cat([w.flatten() for w in weights]) for weights in trajectory(net, 30) if ema.update() is None]
    kept = torch.cat([p.flatten() for p in ema.module.parameters()])
    torch.testing.assert_close(kept, brute(torch.stack(steps), sigma_rel), rtol=0, atol=1e-14)


def test_the_share_keeps_its_digits_late_in_training():
    """1 - (1 - 1/k)^(gamma + 1) = (gamma + 1)/k - (gamma + 1) gamma / (2 k^2) + ...; the next term is below 1e-15."""
    ema, k = PowerEMA(module(), 0.1), 10**9
    g = ema.gamma
    assert ema.share(k) == pytest.approx((g + 1) / k - (g + 1) * g / (2 * k**2), rel=1e-14)


@pytest.mark.parametrize("make", [EMA, PowerEMA])
def test_an_average_goes_on_from_its_state_as_if_it_had_not_stopped(make):
    straight = module()
    other = copy.deepcopy(straight)
    one, first = make(straight), make(other)
    for _ in trajectory(straight, 20):
        one.update()
    second = first
    for k, _ in enumerate(trajectory(other, 20)):
        if k == 7:
            kept = json.loads(json.dumps(first.state()))
            second = make(other)
            second.load_state(kept)
            second.module.load_state_dict(first.module.state_dict())
        second.update()
    for a, b in zip(one.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_kind_of_state_is_refused():
    with pytest.raises(ValueError, match=r"sigma_rel 0.1; got 0.05"):
        PowerEMA(module(), 0.1).load_state(PowerEMA(module(), 0.05).state())
    with pytest.raises(ValueError, match=r"sigma_rel 0.1; got None"):
        PowerEMA(module(), 0.1).load_state(EMA(module()).state())
    with pytest.raises(ValueError, match=r"the number of updates; got \{'updates': -1\}"):
        EMA(module()).load_state({"updates": -1})
    for bad in (0, 0.29, math.nan):
        with pytest.raises(ValueError, match=r"sigma_rel must lie in \(0, 0.2887\)"):
            PowerEMA(module(), bad)


@pytest.fixture(scope="module")
def run():
    """1,600 steps of 40 weights: a drift that slows down plus a random walk; snapshots of two widths, 16 of each."""
    n, m = 1600, 16
    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(n, 40, dtype=f64, generator=generator).cumsum(0) / n**0.5
    drift = torch.linspace(0, 1, n, dtype=f64)[:, None].sqrt() * torch.randn(40, dtype=f64, generator=generator)
    weights = 5 + drift + walk
    net = nn.Linear(40, 1, bias=False, dtype=f64)
    averages, snapshots = [PowerEMA(net, 0.05), PowerEMA(net, 0.1)], []
    for k in range(n):
        with torch.no_grad():
            net.weight.copy_(weights[k])
        for ema in averages:
            ema.update()
            if (k + 1) % (n // m) == 0:
                snapshots.append(Snapshot(k + 1, ema.sigma_rel, copy.deepcopy(ema.module.state_dict())))
    return weights, snapshots


def distance(state_dict, expected):
    return float((state_dict["weight"][0] - expected).norm())


# The error as a share of how far the average lies from the last weights: twice what was measured, 0.011, 0.0005,
# 0.0004, 0.0002, 0.0005, 0.003 and 0.021. The widths tracked are 0.05 and 0.1; the first and the last are far outside.
@pytest.mark.parametrize(
    ("sigma_rel", "share"),
    [(0.03, 0.022), (0.06, 1e-3), (0.075, 8e-4), (0.12, 5e-4), (0.15, 1e-3), (0.2, 0.006), (0.25, 0.04)],
)
def test_any_width_is_reconstructed_from_two(run, sigma_rel, share):
    weights, snapshots = run
    expected = brute(weights, sigma_rel)
    error = distance(posthoc_ema(snapshots, sigma_rel), expected)
    assert error < share * float((expected - weights[-1]).norm())


def test_an_earlier_step_is_reconstructed_too(run):
    weights, snapshots = run
    expected = brute(weights, 0.075, 1200)
    error = distance(posthoc_ema(snapshots, 0.075, 1200), expected)
    assert error < 0.0025 * float((expected - weights[1199]).norm())


def test_a_snapshot_reconstructs_itself(run):
    _, snapshots = run
    for i in (5, 20, 30, 31):
        step, width, kept = snapshots[i]
        assert distance(posthoc_ema(snapshots, width, step), kept["weight"][0]) < 1e-11  # weights have a norm of 30
    twice = [*snapshots, *snapshots[-2:]]  # a singular system
    assert distance(posthoc_ema(twice, 0.1), snapshots[-1].state_dict["weight"][0]) < 1e-11
    assert coefficients([(7, 0.05)], 0.1, 9) == pytest.approx([1.0])


def test_the_coefficients_are_the_least_squares_ones():
    """Against profiles tabulated on a grid, and a solver that was told nothing of inner products."""
    profiles = [(400, 0.05), (1000, 0.05), (400, 0.1), (1000, 0.1)]
    tau = (np.arange(200_000) + 0.5) / 200_000 * 1000

    def table(step, width):
        g = gamma_of(width)
        return np.where(tau < step, (g + 1) * (np.minimum(tau, step) / step) ** g / step, 0)

    columns = np.stack([table(*p) for p in profiles], 1)
    aim = table(900, 0.15)
    reduced = columns[:, :-1] - columns[:, -1:]  # the sum held at 1 by elimination
    free = np.linalg.lstsq(reduced, aim - columns[:, -1], rcond=None)[0]
    assert coefficients(profiles, 0.15, 900) == pytest.approx([*free, 1 - free.sum()], abs=1e-5)  # of the table


def test_a_weight_that_does_not_move_is_reconstructed_exactly():
    snapshots = [Snapshot(step, 0.1, {"w": torch.full((2,), 3.7, dtype=f64)}) for step in (10, 20, 30)]
    for width in (0.02, 0.28):
        torch.testing.assert_close(posthoc_ema(snapshots, width)["w"], snapshots[0].state_dict["w"], rtol=1e-14, atol=0)


def test_weights_are_averaged_in_float64():
    """Beside 1, 2^-30 vanishes in float32."""
    dicts = [
        {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([1.0]).half(), "k": torch.tensor(1)},
        {"a": torch.tensor([2.0**-30, -1.0]), "b": torch.tensor([1 + 2**-9]).half(), "k": torch.tensor(2)},
        {"a": torch.tensor([-1.0, 3.0]), "b": torch.tensor([1 + 2**-9]).half(), "k": torch.tensor(3)},
    ]
    mean = average(dicts)
    assert mean["a"].tolist() == pytest.approx([2.0**-30 / 3, 1.0], rel=1e-6)
    assert mean["b"].dtype == torch.float16
    assert mean["b"].item() == 1 + 2**-10  # the nearest to 1 + 2/3 2^-9
    assert mean["k"].item() == 3
    weighted = average(dicts[:2], [1, 3])
    assert weighted["a"].tolist() == [0.25, -0.5]
    assert dicts[0]["a"].tolist() == [1.0, 1.0]


def test_state_dicts_of_different_networks_are_refused():
    a, b = {"w": torch.ones(2)}, {"w": torch.ones(3)}
    with pytest.raises(ValueError, match=r"'w' is \(2,\) in number 0 and \(3,\) in the last"):
        average([a, b])
    with pytest.raises(ValueError, match="same names; 'v' is not in all"):
        average([{**a, "v": torch.ones(1)}, a])
    with pytest.raises(ValueError, match="state_dicts must not be empty"):
        average([])
    with pytest.raises(ValueError, match="weights must be 2 numbers, one for each"):
        average([a, a], [1.0])
    with pytest.raises(ValueError, match="that do not add up to 0"):
        average([a, a], [1.0, -1.0])
    with pytest.raises(ValueError, match="snapshots must not be empty"):
        posthoc_ema([], 0.1)
    with pytest.raises(ValueError, match="steps of profiles must be at least 1; got 0"):
        coefficients([(0, 0.1)], 0.1, 5)
