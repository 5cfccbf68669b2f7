"""What a posterior's samples say against themselves is said, and nothing is where they are right."""

import math
import warnings

import pytest
import torch

import scorefield as sf
from scorefield import inverse
from scorefield.inverse.doubts import doubts
from scorefield.inverse.operators import Dense

f64 = torch.float64
LAW, LARGE = (sf.Gaussian(torch.zeros(m, dtype=f64), torch.eye(m, dtype=f64)) for m in (8, 400))
X, FINE = torch.zeros(2, 4, 3), torch.full((2, 4), 10.0)


def likelihood(law, n=3):
    truth = law.sample(n, generator=torch.Generator().manual_seed(0)).double()
    return inverse.simulate(Dense(torch.eye(truth.shape[1], dtype=f64)), truth, 0.5)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM()])
@pytest.mark.parametrize("method", [inverse.Bridge(), inverse.Guidance(inverse.PiGDM)])
def test_right_samples_say_nothing(method, schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inverse.condition(sf.ExactDenoiser(LAW, schedule), likelihood(LAW), method).sample(8, nfe=30)


@pytest.mark.parametrize(
    ("zeta", "said"),
    [
        (0.0, "dps, 20 evaluations: the samples of 3 of 3 observations do not explain what was measured: "),
        (60.0, "dps, 20 evaluations: the samples of 3 of 3 observations do not explain"),  # it diverges
        (4.0, "dps, 20 evaluations: the samples of 3 of 3 observations fit the noise too, and are too narrow: "),
    ],
)
def test_a_method_that_goes_wrong_says_so(zeta, said):
    with pytest.warns(UserWarning, match=said):
        inverse.condition(sf.ExactDenoiser(LARGE, sf.VP()), likelihood(LARGE), inverse.DPS(zeta=zeta)).sample(4, nfe=20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"x": X.clone().index_fill_(1, torch.tensor([1]), math.nan)}, ["2 of 8 samples are not finite"]),
        (
            {"chi2": FINE + torch.tensor([[0.0], [90.0]])},
            ["the samples of 1 of 2 observations do not explain what was mea"],
        ),
        (
            {"chi2": FINE[:1] * 10, "x": X[:1]},
            ["the samples do not explain what was measured: chi2 / M is 10, and about 1 w"],
        ),
        ({"residual": FINE / 20}, ["linear systems were left with 0.5 of their right side unsolved"]),
        ({"ess": torch.tensor([0.5, 1 / 64]), "size": 64}, ["1.0 of 64 particles had all the weight"]),
        ({"chi2": None, "ess": None, "residual": None}, []),
    ],
)
def test_each_doubt_has_its_line(change, said):
    fine = {"x": X, "dof": 10, "chi2": FINE, "ess": torch.tensor([0.5, 0.3]), "residual": FINE / 1e4, "size": 8}
    found = doubts(**{**fine, **change})
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))
