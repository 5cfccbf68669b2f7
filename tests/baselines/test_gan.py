"""Penalties by hand, the critic that is best, the way a generator is told to go, and where it arrives."""

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import training
from scorefield.baselines import GAN, Adversarial, NonSaturating, Relativistic, Wasserstein, slope_penalty
from scorefield.randomness import Stream

f64 = torch.float64
LOSSES = [Relativistic(), NonSaturating(), NonSaturating(penalty=0.5), Wasserstein()]


class Quadratic(nn.Module):
    """c(x) = a x + b x^2 / 2, summed over entries: its gradient is a + b x."""

    def __init__(self, a, b=0.0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a, dtype=f64)), nn.Parameter(torch.tensor(b, dtype=f64))

    def forward(self, x):
        return (self.a * x + self.b * x.square() / 2).flatten(1).sum(1, keepdim=True)


def normals(n, *event, seed=0):
    return torch.randn(n, *event, dtype=f64, generator=torch.Generator().manual_seed(seed))


def test_the_penalty_is_the_squared_gradient_and_has_its_own_gradient():
    x, critic = normals(6, 2, 3), Quadratic(0.7, -1.2)
    value, penalty = slope_penalty(critic, x)
    torch.testing.assert_close(value, critic(x)[:, 0])
    torch.testing.assert_close(penalty, (0.7 - 1.2 * x).square().flatten(1).sum(1))
    penalty.sum().backward()
    torch.testing.assert_close(critic.a.grad, 2 * (0.7 - 1.2 * x).sum())
    torch.testing.assert_close(critic.b.grad, 2 * ((0.7 - 1.2 * x) * x).sum())


def test_losses_by_hand():
    real, made, critic = normals(6, 2), normals(6, 2, seed=1), Quadratic(0.7, -1.2)
    c, y = critic(real)[:, 0], critic(made)[:, 0]
    r1, r2 = ((0.7 - 1.2 * x).square().sum(1) for x in (real, made))
    draws = Stream(3, torch.arange(6))
    told = Relativistic(penalty=0.3).critic(critic, real, made, draws)
    torch.testing.assert_close(told["loss"], torch.log(1 + torch.exp(y - c)) + 0.15 * (r1 + r2))
    torch.testing.assert_close(told["r1"], r1)
    torch.testing.assert_close(told["r2"], r2)
    torch.testing.assert_close(Relativistic().generator(critic, real, made), torch.log(1 + torch.exp(c - y)))
    told = NonSaturating(penalty=0.3).critic(critic, real, made, draws)
    torch.testing.assert_close(told["loss"], -torch.sigmoid(c).log() - torch.sigmoid(-y).log() + 0.15 * r1)
    torch.testing.assert_close(NonSaturating().generator(critic, real, made), -torch.sigmoid(y).log())
    u = Stream(3, torch.arange(6)).uniform((1,), f64)
    between = real + u * (made - real)
    told = Wasserstein(penalty=4.0).critic(critic, real, made, draws)
    norm = (0.7 - 1.2 * between).square().sum(1).sqrt()
    torch.testing.assert_close(told["loss"], y - c + 4 * (norm - 1).square())
    torch.testing.assert_close(Wasserstein().generator(critic, real, made), -y)


def hermite(nodes=60):
    """Nodes and weights of E f(e), e ~ N(0, 1)."""
    import numpy as np

    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.tensor(x, dtype=f64), torch.tensor(w / w.sum(), dtype=f64)


def expected_gradient(critic, mean, std):
    """Of the relativistic loss without penalties, over data N(mean, std^2) and draws N(0, 1), by quadrature."""
    e, w = hermite()
    real, made = mean + std * e, e
    c, y = critic(real[:, None])[:, 0], critic(made[:, None])[:, 0]
    loss = (w[:, None] * w * nn.functional.softplus(y - c[:, None])).sum()
    return torch.autograd.grad(loss, list(critic.parameters()))


@pytest.mark.parametrize(("mean", "std"), [(0.8, 1.0), (0.0, 0.7), (-0.5, 1.3)])
def test_the_best_relativistic_critic_is_the_log_ratio_of_densities(mean, std):
    """log N(x; m, s^2) - log N(x; 0, 1) = (m / s^2) x + (1 - 1/s^2) x^2 / 2 + const: nothing there is left to gain."""
    best = Quadratic(mean / std**2, 1 - std**-2)
    assert max(float(g.abs()) for g in expected_gradient(best, mean, std)) < 1e-8
    assert max(float(g.abs()) for g in expected_gradient(Quadratic(0.1 + mean / std**2), mean, std)) > 1e-3


class Shift(nn.Module):
    """y = z + m."""

    def __init__(self, m=0.0):
        super().__init__()
        self.m = nn.Parameter(torch.tensor(m, dtype=f64))

    def forward(self, z):
        return z + self.m


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_generator_is_sent_to_the_data_by_the_critic_that_is_best(loss):
    """Data N(1, 1), draws N(m, 1): the best critic's slope is 1 - m, and so is the direction to go."""
    for m, sign in ((0.0, 1), (2.5, -1)):
        gan = GAN(Shift(m), 1, (1,))
        real, z = normals(500, 1) + 1, normals(500, 1, seed=1)
        loss.generator(Quadratic(1 - m), real, gan(z)).mean().backward()
        slope = gan.get_parameter("generator.m").grad
        assert slope is not None
        assert sign * float(slope) < 0


@pytest.mark.parametrize("loss", [Relativistic(penalty=0.1), NonSaturating(penalty=0.1)], ids=repr)
def test_a_generator_of_one_number_arrives_at_the_mean_of_its_data(loss):
    """With a penalty at slope 0; with one at slope 1 it circles, since the critic that is best is not flat there."""
    data = normals(2000, 1) + 1.5
    objective = Adversarial(GAN(Shift(), 1, (1,)), Quadratic(0.0), loss)
    fit = training.fit(
        objective, data, steps=300, batch_size=64, lr=2e-2, warmup=5, ema_decay=0.95, clip=100.0,
        optimizer=training.AdamW(betas=(0.0, 0.9)),
    )  # fmt: skip
    # data and draws of a batch differ by 2 / 64 in the variance of their means, and the average is over some 20 steps
    assert float(fit.model.get_parameter("generator.m")) == pytest.approx(1.5, abs=0.15)
    assert {"critic.loss", "generator.loss", "critic.gap"} <= fit.history.values.keys()


def test_the_generator_moves_once_for_each_round_of_its_critic():
    objective = Adversarial(GAN(Shift(), 1, (1,)), Quadratic(0.0), Wasserstein(critic_steps=3))
    fit = training.fit(objective, normals(50, 1), steps=7, batch_size=8)
    told = fit.history.values["generator.loss"]
    assert [step for step, value in enumerate(told, 1) if value == value] == [3, 6]


def test_a_sample_is_a_function_of_its_seed_and_number():
    torch.manual_seed(0)
    gan = GAN(nn.Linear(3, 2, dtype=f64), 3, (2,)).double()
    whole = gan.sample(10, seed=4).x
    torch.testing.assert_close(gan.sample(4, seed=4, first_index=5, chunk=3).x, whole[5:9], rtol=0, atol=1e-12)
    assert not torch.equal(gan.sample(10, seed=5).x, whole)
    assert gan.sample(0).x.shape == (0, 2)


def test_what_makes_no_sense_is_refused():
    for wrong in (Relativistic, NonSaturating, Wasserstein):
        with pytest.raises(ValueError, match="penalty must be at least 0"):
            wrong(penalty=-1.0)
    with pytest.raises(ValueError, match="critic_steps must be at least 1"):
        Wasserstein(critic_steps=0)
    with pytest.raises(ValueError, match=r"generator must return \(4, 2\); got \(4, 1\)"):
        GAN(nn.Linear(1, 1), 1, (2,))(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"critic must return \(B, 1\)"):
        training.fit(Adversarial(GAN(nn.Linear(1, 2), 1, (2,)), nn.Linear(2, 3)), torch.zeros(8, 2), steps=1)
    gan = GAN(nn.Linear(1, 2), 1, (2,))
    with pytest.raises(ValueError, match="n must be at least 0 and chunk at least 1"):
        gan.sample(3, chunk=0)
    with pytest.raises(TypeError, match="GAN has no score: a GAN learns to draw"):
        sf.sample(gan, (4, 2))  # type: ignore[arg-type]
