"""The loop: what it learns, what it repeats to the bit, how it stops."""

import functools
import math
import os
import signal
import threading

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import losses, networks, training

f64 = torch.float64


def small(seed=0, classes=None, dropout=0.0):
    torch.manual_seed(seed)
    net = networks.UNet(1, width=8, num_classes=classes, dropout=dropout)
    return sf.NetworkDenoiser(net, sf.VP(), sf.V())


def data(n=40):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, 1, 4, 4, generator=generator), torch.arange(n) % 3


def weights(denoiser):
    return torch.cat([p.detach().flatten() for p in denoiser.parameters()])


def test_a_gaussian_is_learned():
    """The denoiser's squared distance from the exact one is below 2% of the data's variance."""
    torch.manual_seed(0)
    scales = torch.tensor([1.0, 0.3])
    x = torch.randn(4000, 2) * scales + torch.tensor([0.5, -0.2])
    schedule = sf.Cosine()
    denoiser = sf.NetworkDenoiser(networks.MLP(2, hidden=32, depth=2), schedule, sf.V())
    exact = sf.ExactDenoiser(sf.Gaussian(torch.tensor([0.5, -0.2], dtype=f64), scales.double() ** 2), schedule)
    result = training.fit(denoiser, x, steps=400, batch_size=256, lr=5e-3, warmup=20, ema_decay=0.99)
    t = torch.linspace(0.05, 0.95, 19, dtype=f64).repeat_interleave(200)
    x_t = schedule.perturb(x[:200].repeat(19, 1), t, torch.randn(len(t), 2))
    with torch.no_grad():
        gap = (result.denoiser(x_t, t) - exact(x_t.double(), t)).square().mean()
    assert float(gap) < 0.02 * float(scales.square().mean())
    assert not result.denoiser.training
    assert not denoiser.training


def test_the_same_seed_gives_the_same_weights_to_the_bit():
    x, labels = data()
    options = {"labels": labels, "steps": 5, "batch_size": 16, "warmup": 2}
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        denoiser = small(classes=3, dropout=0.3)
        torch.manual_seed(noise)  # the global state is neither used
        before = torch.random.get_rng_state()
        runs.append(training.fit(denoiser, x, seed=seed, **options))
        assert torch.equal(torch.random.get_rng_state(), before)  # nor changed
    one, same, other = runs
    assert torch.equal(weights(one.denoiser), weights(same.denoiser))
    assert one.history.loss == same.history.loss
    assert not torch.equal(weights(one.denoiser), weights(other.denoiser))


def test_every_epoch_visits_every_datum_once_in_a_new_order():
    seen = []
    training.fit(
        small(), data(10)[0], steps=15, batch_size=4, augment=lambda x, g: seen.append(x) or x, warmup=1, seed=1
    )
    first = torch.cat(seen)[:, 0, 0, 0].reshape(6, 10)  # 60 draws: 6 epochs of 10
    assert torch.equal(first.sort(1).values, first[:1].sort(1).values.expand(6, 10))
    assert len(first.unique(dim=0)) == 6


def test_labels_are_dropped_at_the_stated_rate():
    x, labels = data(30)
    seen = []

    def loss(denoiser, x0, **draws):
        assert int(draws["cond"]["label"].max()) == 2  # the labels themselves are left as they are
        seen.append(draws["cond"]["null"])
        return losses.denoising(denoiser, x0, **draws)

    training.fit(small(classes=3), x, labels=labels, steps=20, batch_size=200, condition_dropout=0.2, loss=loss)
    dropped = torch.cat(seen)
    # 4,000 draws: 5 binomial standard errors
    assert abs(float(dropped.double().mean()) - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 4000)


def test_the_history_is_one_entry_a_step():
    reports = []
    result = training.fit(small(), data()[0], steps=6, batch_size=8, warmup=2, lr=0.1, on_step=reports.append)
    assert result.history.step == [1, 2, 3, 4, 5, 6]
    assert result.history.lr == pytest.approx([0.1 * training.cosine(i, 6, 2) for i in range(6)])
    assert [r.loss for r in reports] == result.history.loss
    assert result.history.seconds == sorted(result.history.seconds)
    assert not result.interrupted


def test_cosine_warms_up_and_ends_at_zero():
    assert [training.cosine(i, 100, 4) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert training.cosine(52, 100, 4) == pytest.approx(0.5)
    assert training.cosine(100, 100, 4) == 0
    assert [training.constant(i, 100, 4) for i in (0, 3, 99)] == [0.25, 1.0, 1.0]


def test_the_gradient_is_clipped():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x, level):
            return self.w * x

    norms, net = [], Scaled()

    def loss(denoiser, x0, **draws):
        return 1000 * losses.denoising(denoiser, x0, **draws)

    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.Eps())

    def on_step(p):
        assert net.w.grad is not None
        norms.append(float(net.w.grad.norm()))

    result = training.fit(denoiser, data()[0], steps=2, batch_size=8, loss=loss, clip=0.5, on_step=on_step)
    assert min(result.history.gradient_norm) > 10
    assert norms == pytest.approx([0.5, 0.5], rel=1e-4)


def broken_at(steps):
    """A loss that is NaN in the given calls, from 1."""
    calls = []

    def loss(denoiser, x0, **draws):
        calls.append(None)
        return losses.denoising(denoiser, x0, **draws) * (math.nan if len(calls) in steps else 1)

    return loss


def test_a_step_that_is_not_finite_is_passed_over_and_touches_no_weight():
    denoiser, kept = small(), []
    result = training.fit(
        denoiser, data()[0], steps=6, batch_size=8, loss=broken_at({3, 4}),
        on_step=lambda p: kept.append((weights(denoiser), p.skipped)),
    )  # fmt: skip
    assert [skipped for _, skipped in kept] == [False, False, True, True, False, False]
    assert torch.equal(kept[1][0], kept[3][0])
    assert not torch.equal(kept[3][0], kept[4][0])
    assert len(result.history.step) == 6


def test_losses_that_stay_broken_stop_the_run_with_the_weights_as_they_were():
    denoiser, kept = small(), []
    with pytest.raises(FloatingPointError, match="loss is nan at step 7, 4 in a row"):
        training.fit(
            denoiser, data()[0], steps=20, batch_size=8, loss=broken_at(range(4, 99)),
            on_step=lambda p: kept.append(weights(denoiser)),
        )  # fmt: skip
    assert torch.equal(weights(denoiser), kept[2])


def test_ctrl_c_finishes_the_step_and_returns_what_there_is():
    before = signal.getsignal(signal.SIGINT)

    def interrupt(p):
        if p.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = training.fit(small(), data()[0], steps=9, batch_size=8, on_step=interrupt)
    assert result.interrupted
    assert result.history.step == [1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_leaves_at_once():
    def twice(p):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.fit(small(), data()[0], steps=9, batch_size=8, on_step=twice)


def test_training_works_away_from_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(training.fit(small(), data()[0], steps=2, batch_size=8)))
    thread.start()
    thread.join()
    assert results[0].history.step == [1, 2]


def test_bad_arguments_get_one_line():
    x, labels = data()
    fit = functools.partial(training.fit, steps=1, batch_size=4)
    with pytest.raises(ValueError, match=r"data must be \(N, \*event\) and not empty; got shape \(0, "):
        fit(small(), x[:0])
    with pytest.raises(ValueError, match=r"labels must have shape \(40,\)"):
        fit(small(classes=3), x, labels=labels[:-1])
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1; got 0\.\.2"):
        fit(small(classes=2), x, labels=labels)
    with pytest.raises(ValueError, match="labels need a network that takes them"):
        fit(small(), x, labels=labels)
