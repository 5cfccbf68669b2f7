"""Where the integration begins and ends, and data that are hard: thin, far out, between modes, or not to be had."""

import math

import pytest
import torch
from likelihood_cases import MIXTURE, f64, seeded

import scorefield as sf

VE_TO_TEN = sf.VE(sigma_min=0.01, sigma_max=10.0)


class Learned(sf.Denoiser):
    """D of N(0, c^2 I) times 1 + an error at high noise, such as networks have: linear in x, so all is known of it."""

    schedule, data_std, error = VE_TO_TEN, 0.3, 0.05

    def gain(self, s):
        wrong = self.error * (s / 3) ** 2 / (1 + (s / 3) ** 2) / (1 + s)
        return 0.09 / (0.09 + s**2) + wrong

    def forward(self, x_t, t):
        gain = self.gain(self.schedule(t)[1])
        return gain.reshape(-1, *[1] * (x_t.ndim - 1)).to(x_t) * x_t

    def log_prob(self, x):
        """Of what `sample` draws: dx/ds = (1 - gain) x / s from s_min to 10, where it is N(0, 0.3^2 + 10^2)."""
        s = torch.logspace(-6, 1, 400_001, dtype=f64)
        middle = (s[1:] * s[:-1]).sqrt()
        log_m = float(((1 - self.gain(middle)) * (s[1:] / s[:-1]).log()).sum())
        std = math.hypot(0.3, 10.0)
        return (torch.distributions.Normal(0.0, std).log_prob(x * math.exp(log_m)) + log_m).sum(1)


def test_the_density_is_that_of_what_sample_draws():
    """It ends at a noise ratio of 33: no extrapolation of what the network says there to where it was never asked."""
    model = Learned()
    x = 0.3 * torch.randn(50, 16, dtype=f64, generator=seeded(0))
    result = sf.log_prob(model, x, tolerance=1e-4)
    off = (result.log_prob - model.log_prob(x)).abs()
    assert float(off.max()) < 1e-4 * 16
    low, high = result.interval()
    assert bool(((model.log_prob(x) > low) & (model.log_prob(x) < high)).all())
    other = sf.log_prob(model, x, tolerance=1e-4, end="law")
    assert float((other.log_prob - model.log_prob(x)).abs().max()) > 0.05
    assert bool(((other.log_prob - result.log_prob).abs() <= result.end).all())


def test_the_far_end_of_a_law_is_named_to_be_continued():
    """N(0, 0.6^2 I) said to have a standard deviation of 0.3: at s = 10 its noised law is not the model's Gaussian."""
    law = sf.Gaussian(torch.zeros(4, dtype=f64), 0.36 * torch.eye(4, dtype=f64))
    denoiser = sf.ExactDenoiser(law, VE_TO_TEN)
    denoiser.data_std = 0.3
    x = law.sample(100, generator=seeded(0))
    (model, of_law), truth = (
        (sf.log_prob(denoiser, x, tolerance=1e-5, end=end) for end in ("model", "law")),
        law.log_prob(x),
    )
    off = (of_law.log_prob - truth).abs()
    assert float(off.max()) < 1e-3
    assert bool((off < of_law.truncation + of_law.solver).all())
    # the ratio of N(0, 0.36 + 100) to N(0, 0.09 + 100) at the point that the flow reaches
    there = x * math.sqrt(100.36 / 0.36)
    own, true = (torch.distributions.Normal(0.0, math.sqrt(v)).log_prob(there).sum(1) for v in (100.09, 100.36))
    ratio = own - true
    torch.testing.assert_close(model.log_prob - truth, ratio, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="end must be one of model, law; got 'prior'"):
        sf.log_prob(denoiser, x, end="prior")  # pyright: ignore[reportArgumentType]


def thin(lowest, d):
    """Variances from 10^lowest to 1 along random axes."""
    axes = torch.linalg.qr(torch.randn(d, d, generator=seeded(3), dtype=f64))[0]
    return sf.Gaussian(torch.zeros(d, dtype=f64), axes @ torch.diag(torch.logspace(lowest, 0, d, dtype=f64)) @ axes.T)


def low_rank():
    factors = torch.randn(2, 16, 3, generator=seeded(4), dtype=f64)
    means = torch.randn(2, 16, generator=seeded(5), dtype=f64)
    return sf.GaussianMixture.low_rank(
        torch.tensor([0.3, 0.7], dtype=f64), means, torch.full((2, 16), 1e-6, dtype=f64), factors
    )


def far_modes():
    means = 10 * torch.eye(3, 4, dtype=f64)
    return sf.GaussianMixture(torch.full((3,), 1 / 3, dtype=f64), means, 0.01 * torch.eye(4, dtype=f64).expand(3, 4, 4))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
@pytest.mark.parametrize(
    "law", [thin(-6, 8), thin(-8, 4), low_rank(), far_modes()], ids=["1e-6", "1e-8", "low rank", "far modes"]
)
def test_the_interval_holds_the_truth_where_data_are_thin_or_far_apart(law, tolerance):
    x = law.sample(200, generator=seeded(1))
    result, truth = sf.log_prob(sf.ExactDenoiser(law, sf.VP()), x, tolerance=tolerance), law.log_prob(x)
    low, high = result.interval()
    assert float(((low <= truth) & (truth <= high)).double().mean()) >= 0.93
    assert float((result.log_prob - truth).abs().max()) < tolerance * x.shape[1]


def test_between_far_modes_the_flow_is_stiff_and_the_density_is_integrated_at_a_fixed_z():
    """-1,250 to -5,000 nats, to a hundredth: the flow would take tens of thousands of steps."""
    means = torch.tensor([[5.0, 0.0], [-5.0, 0.0]], dtype=f64)
    law = sf.GaussianMixture(torch.tensor([0.5, 0.5], dtype=f64), means, 0.01 * torch.eye(2, dtype=f64).expand(2, 2, 2))
    x = torch.tensor([[0.01, 0.0], [1.5, 0.0], [5.0, 0.1]], dtype=f64)
    result, truth = sf.log_prob(sf.ExactDenoiser(law, sf.VP()), x, tolerance=1e-3), law.log_prob(x)
    assert result.followed.tolist() == [False, False, True]
    assert result.nfe < 500
    assert float((result.log_prob - truth).abs().max()) < 2e-3
    assert result.latent.isnan().any(1).tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("far", [1e2, 1e3, 1e6])
def test_an_outlier_costs_the_others_nothing_and_has_a_number_of_its_own(far, dtype):
    law = MIXTURE.to(dtype)
    denoiser, x = sf.ExactDenoiser(law, sf.VP()), law.sample(8, generator=seeded(0)).to(dtype)
    alone = sf.log_prob(denoiser, x).log_prob
    x[3] = far
    result, others = sf.log_prob(denoiser, x).log_prob, torch.arange(8) != 3
    assert torch.equal(result[others], alone[others])
    exact = float(MIXTURE.log_prob(x[3:4].double()))
    assert float(result[3]) == pytest.approx(exact, rel=1e-3)


class Hole(sf.Denoiser):
    schedule = sf.VP()

    def forward(self, x_t, t, bad):
        return torch.where(bad[:, None], torch.nan, x_t * 0.5)


def test_a_prediction_that_is_not_finite_is_that_samples_nan():
    bad, x = torch.arange(8) == 3, torch.randn(8, 2, generator=seeded(0))
    with pytest.warns(UserWarning, match="log_prob: 1 of 8 samples have none"):
        result = sf.log_prob(Hole(), x, cond={"bad": bad})
    whole = sf.log_prob(Hole(), x, cond={"bad": torch.zeros_like(bad)})
    assert torch.equal(result.log_prob[~bad], whole.log_prob[~bad])
    assert result.log_prob.isnan().tolist() == bad.tolist()
