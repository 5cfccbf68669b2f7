import copy
import math

import pytest
import torch
from torch import nn

from scorefield.training import EMA, PowerEMA, average, reconstruct
from scorefield.training.ema import Snapshot, gamma_of

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


def recorded(steps, *averages_of):
    """A smooth trajectory of one weight, with averages along it: (weights by step, averages)."""
    net = nn.Linear(2, 1, dtype=f64)
    averages = [make(net) for make in averages_of]
    path, kept = [], [[] for _ in averages]
    for step in range(1, steps + 1):
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[math.log(step), math.sin(step / 30)]]))
        path.append(net.weight.detach().clone())
        for one, history in zip(averages, kept, strict=True):
            one.update()
            history.append(one.module.weight.detach().clone())
    return path, kept


@pytest.mark.parametrize("sigma_rel", [0.02, 0.05, 0.1, 0.25])
def test_a_power_average_is_the_sum_its_decays_say_and_nearly_that_of_tau_to_the_gamma(sigma_rel):
    """Its weight of step tau is (1 - d_tau) prod_{k > tau} d_k: exactly; the profile's integral over [tau - 1, tau]."""
    n = 60
    path, [[*_, kept]] = recorded(n, lambda net: PowerEMA(net, sigma_rel))
    gamma = gamma_of(sigma_rel)
    decays = [(1 - 1 / k) ** (gamma + 1) for k in range(1, n + 1)]
    exact = [(1 - decays[k]) * math.prod(decays[k + 1 :]) for k in range(n)]
    assert sum(exact) == pytest.approx(1)  # nothing is left of where it began
    torch.testing.assert_close(kept, sum((w * p for w, p in zip(exact, path, strict=True)), torch.zeros(1, dtype=f64)))
    share = [(k / n) ** (gamma + 1) - ((k - 1) / n) ** (gamma + 1) for k in range(1, n + 1)]
    assert exact == pytest.approx(share)


@pytest.mark.parametrize("sigma_rel", [0.02, 0.05, 0.1, 0.25])
def test_gamma_gives_the_relative_width(sigma_rel):
    """The standard deviation of tau / t under the density (gamma + 1) tau^gamma."""
    tau = torch.linspace(0, 1, 200_001, dtype=f64)
    density = (gamma_of(sigma_rel) + 1) * tau ** gamma_of(sigma_rel)
    mean = torch.trapezoid(density * tau, tau)
    assert float(torch.trapezoid(density * (tau - mean) ** 2, tau).sqrt()) == pytest.approx(sigma_rel, rel=1e-6)
    with pytest.raises(ValueError, match=r"sigma_rel must lie in \(0, 0\.2887\)"):
        gamma_of(0.3)


def snapshots(steps, every, widths):
    _, kept = recorded(steps, *(lambda net, w=w: PowerEMA(net, w) for w in widths))
    return [
        Snapshot(k, width, {"w": history[k - 1]})
        for width, history in zip(widths, kept, strict=True)
        for k in range(every, steps + 1, every)
    ]


def test_a_width_that_was_tracked_is_reconstructed_exactly():
    stored = snapshots(320, 20, (0.05, 0.1))
    for one in (stored[-1], stored[15], stored[20]):
        back = reconstruct(stored, one.sigma_rel, one.step)["w"]
        torch.testing.assert_close(back, one.weights["w"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sigma_rel", [0.04, 0.06, 0.075, 0.12, 0.15])
def test_other_widths_are_reconstructed_from_sixteen_snapshots_of_two(sigma_rel):
    """To 0.1% of the weights' whole way; the nearest of the snapshots is more than 20 times as far off."""
    stored = snapshots(320, 20, (0.05, 0.1))
    path, [[*_, tracked]] = recorded(320, lambda net: PowerEMA(net, sigma_rel))
    way = path[-1][0, 0] - path[0][0, 0]
    error = (reconstruct(stored, sigma_rel)["w"] - tracked).abs().max() / way
    nearest = min(float((s.weights["w"] - tracked).abs().max() / way) for s in stored if s.step == 320)
    assert float(error) < 0.001
    assert float(error) < nearest / 20


def test_an_average_is_the_sum_of_shares_and_integers_are_the_last_ones():
    one = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    two = {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(5)}
    mean = average([one, two])
    assert torch.equal(mean["w"], torch.tensor([2.0, 4.0]))
    assert int(mean["n"]) == 5
    assert torch.equal(average([one, two], [2.0, -1.0])["w"], torch.tensor([-1.0, -2.0]))
    assert mean["w"].dtype == torch.float32
    # float32 sums of a thousand thirds would be off by 1e-5
    thirds = [{"w": torch.full((1,), 1 / 3)}] * 3000
    assert torch.equal(average(thirds)["w"], thirds[0]["w"])


def test_weights_that_do_not_belong_together_are_refused():
    one = {"w": torch.zeros(2)}
    for other in ({"w": torch.zeros(3)}, {"v": torch.zeros(2)}):
        with pytest.raises(ValueError, match="weights of different networks cannot be averaged"):
            average([one, other])
    with pytest.raises(ValueError, match="as many shares as weights are needed, at least one; got 1 and 2"):
        average([one, one], [1.0])
    with pytest.raises(ValueError, match="at least one; got 0 and 0"):
        average([])
