"""Langevin dynamics: its conventions, its bias, its failure between separated modes, and the repair by annealing."""

import math

import pytest
import torch

import scorefield as sf
from scorefield import grids

f64 = torch.float64


def test_ula_has_the_bias_the_theory_gives():
    """On N(0, v) with step h the stationary variance is v / (1 - h / 4v): 1.4286 for v = 1, h = 1.2, not 1.

    A drift of h with noise sqrt(h) (the mixed conventions) would give about half. 20,000 chains: 4.5 standard errors.
    """
    h, n = 1.2, 20_000
    chain = sf.ula(lambda x: -x, torch.zeros(n, 1, dtype=f64), steps=60, step_size=h)
    expected = 1 / (1 - h / 4)
    assert abs(float(chain.x.var()) / expected - 1) < 4.5 * math.sqrt(2 / n)


def test_mala_removes_the_bias_at_the_same_step():
    n = 20_000
    chain = sf.mala(lambda x: -0.5 * x.square().sum(1), torch.zeros(n, 1, dtype=f64), steps=60, step_size=1.2)
    assert abs(float(chain.x.var()) - 1) < 4.5 * math.sqrt(2 / n)
    assert chain.acceptance is not None
    assert 0.5 < float(chain.acceptance.mean()) < 0.999


@pytest.mark.parametrize("first", [1e-4, 50.0])
def test_a_warm_up_finds_the_step_from_far_below_and_far_above(first):
    """N(0, diag(1, 4)) in 10 dimensions: an acceptance of 0.574 whatever the first step, each chain by itself.

    Dual averaging ends within a few percent of it; the mean over 64 chains of 200 steps has an error of 0.01.
    """
    sd = torch.tensor([1.0] * 5 + [2.0] * 5, dtype=f64)
    log_density = lambda x: -0.5 * (x / sd).square().sum(1)  # noqa: E731
    start = sd * torch.randn(64, 10, generator=torch.Generator().manual_seed(0), dtype=f64)
    chain = sf.mala(log_density, start, steps=200, step_size=first, warmup=300, trajectory=True)
    assert chain.acceptance is not None
    assert chain.step_size is not None
    assert chain.trajectory is not None
    assert float(chain.acceptance.mean()) == pytest.approx(0.574, abs=0.05)
    assert len(chain.trajectory) == 201  # without the warm-up
    alone = sf.mala(log_density, start[:1], steps=1, step_size=first, warmup=300)
    torch.testing.assert_close(alone.step_size, chain.step_size[:1])
    again = sf.ula(lambda x: -x / sd**2, start, steps=5, step_size=chain.step_size)
    one = sf.ula(lambda x: -x / sd**2, start[:1], steps=5, step_size=float(chain.step_size[0]))
    torch.testing.assert_close(again.x[:1], one.x)


def test_a_warm_up_makes_more_of_a_chain():
    """A step ten times too short, against what 200 warm-up steps make of it: effective samples of the mean."""
    from scorefield import metrics

    log_density = lambda x: -0.5 * x.square().sum(1)  # noqa: E731
    start = torch.randn(32, 4, generator=torch.Generator().manual_seed(1), dtype=f64)
    sizes = [
        metrics.effective_sample_size(
            sf.mala(log_density, start, steps=400, step_size=0.1, warmup=w, trajectory=True).trajectory[1:]  # type: ignore[index]
        ).mean()
        for w in (0, 200)
    ]
    assert sizes[1] > 5 * sizes[0]


def test_mala_samples_an_unnormalised_energy():
    """exp(-x^4 + x^2), whose moments come from quadrature; 4.5 standard errors."""
    grid = torch.linspace(-4, 4, 20_001, dtype=f64)
    density = torch.exp(-(grid**4) + grid**2)
    second = float((density * grid**2).sum() / density.sum())
    fourth = float((density * grid**4).sum() / density.sum())
    energy = sf.Energy(lambda x: (-(x**4) + x**2).sum(1), (1,))
    n = 20_000
    chain = sf.mala(energy.log_prob, torch.zeros(n, 1, dtype=f64), steps=200, step_size=0.3)
    assert abs(float((chain.x**2).mean()) - second) < 4.5 * math.sqrt((fourth - second**2) / n)


def test_mala_stays_inside_the_support():
    inside = lambda x: torch.where((x > 0).all(1), -x.sum(1), -math.inf)  # noqa: E731  an exponential density
    chain = sf.mala(inside, torch.ones(500, 1, dtype=f64), steps=100, step_size=0.5)
    assert bool((chain.x > 0).all())


SCHEDULE = sf.VE(0.01, 20.0)
DATA_LEVEL = SCHEDULE.time_of_log_snr(-math.log(0.1))  # the data, blurred by a fifth of a mode's width


def two_modes(dim: int, apart: float) -> sf.GaussianMixture:
    """Two modes of standard deviation 0.5 with weights 0.8 and 0.2."""
    means = torch.zeros(2, dim, dtype=f64)
    means[0, 0], means[1, 0] = apart / 2, -apart / 2
    return sf.GaussianMixture(torch.tensor([0.8, 0.2], dtype=f64), means, torch.full((2, dim), 0.25, dtype=f64))


@torch.no_grad()
def plain_weight(denoiser: sf.Denoiser, dim: int) -> float:
    """The first mode's share after plain Langevin on the data's score, started from N(0, I)."""
    start = torch.randn(2000, dim, generator=torch.Generator().manual_seed(0))
    chain = sf.ula(lambda x: sf.score(denoiser, x, DATA_LEVEL), start, steps=500, step_size=0.05)
    return float((chain.x[:, 0] > 0).double().mean())


def annealed(denoiser: sf.Denoiser, dim: int, steps_per_level: int) -> torch.Tensor:
    times = grids.uniform_log_snr(SCHEDULE, 40, s_max=20.0, s_min=0.05)
    return sf.sample(denoiser, (2000, dim), solver=sf.AnnealedLangevin(steps_per_level), times=times).x


@pytest.mark.parametrize("dim", [2, 64])
def test_plain_langevin_gets_separated_modes_wrong_and_annealing_repairs_it(dim):
    """The score near each mode does not know the weights, so plain Langevin keeps the start's 1 : 1; annealing crosses
    at high noise. With 2,000 chains the standard error of a weight is 0.009.
    """
    exact = sf.ExactDenoiser(two_modes(dim, apart=8), SCHEDULE)
    assert abs(plain_weight(exact, dim) - 0.5) < 0.05  # wrong by 0.3
    x = annealed(exact, dim, 20)
    assert float((x[:, 0] > 0).double().mean()) == pytest.approx(0.8, abs=0.04)
    assert float(x[x[:, 0] > 0].var(0).mean()) == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("dim", [2, 64])
def test_the_same_with_learned_scores(dim):
    """A network trained at the data's own noise level has seen nothing between the modes: its weights are wrong. One
    trained at every level, and annealed, is right to the error of its field. (On modes 8 apart even a good field leaks
    across the gap, at a rate that grows with the steps taken; hence 4.)
    """

    def trained(apart: float, steps: int, times: sf.losses.TimeLaw) -> sf.Denoiser:
        x0 = two_modes(dim, apart).sample(20_000, generator=torch.Generator().manual_seed(1)).float()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = sf.networks.MLP(dim, hidden=64, depth=2)
        std = float(x0.std())
        model = sf.NetworkDenoiser(net, SCHEDULE, sf.EDMPreconditioning(std), data_std=std)
        return sf.training.fit(model, x0, times=times, steps=steps, batch_size=256, lr=3e-3, warmup=20).denoiser

    assert abs(plain_weight(trained(8, 400, sf.losses.Ladder([float(DATA_LEVEL)])), dim) - 0.8) > 0.1
    levels = sf.losses.Stratified(sf.losses.LogNormal(SCHEDULE, mean=0.3, std=1.2))
    x = annealed(trained(4, 1000, levels), dim, 5)
    assert float((x[:, 0] > 0).double().mean()) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sf.ula(lambda x: -x, torch.zeros(2, 1), steps=1, step_size=0.0), "step_size must be positive; got 0"),
        (
            lambda: sf.mala(lambda x: -x[:, 0], torch.zeros(2, 1), steps=1, step_size=torch.ones(3)),
            r"step_size must be a number or \(2,\); got shape \(3,\)",
        ),
        (
            lambda: sf.mala(lambda x: -x[:, 0], torch.zeros(2, 1), steps=1, step_size=1.0, target=1.5),
            "target must lie in",
        ),
        (lambda: sf.ula(lambda x: -x, torch.full((2, 1), math.nan), steps=1, step_size=0.1), "x must be finite"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mala_refuses_a_density_that_is_summed_over_the_batch():
    """Its gradient would be right, and all chains would be accepted or refused at once."""
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"log_density\(x\) must be of shape \(5,\), one for each; got \(\)"):
        sf.mala(lambda x: -(x**2).sum() / 2, x, steps=1, step_size=0.1)
    with pytest.raises(ValueError, match=r"one for each; got \(5, 1\)"):
        sf.mala(lambda x: -(x**2).sum(1, keepdim=True) / 2, x, steps=1, step_size=0.1)


def test_mala_and_the_covariance_work_in_inference_mode():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    denoiser = sf.ExactDenoiser(sf.Gaussian(torch.zeros(2), torch.eye(2)), sf.VP())

    def both():
        start = x.clone()
        chain = sf.mala(lambda x: -(x**2).sum(1) / 2, start, steps=3, step_size=0.1)
        return chain.x, sf.covariance(denoiser, start, 0.5, start + 1)

    expected = both()
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(both(), expected, strict=True))
