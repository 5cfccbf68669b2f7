"""Faults planted in models whose answers are exact, so that nothing but the fault is wrong with them."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield.diagnostics.measured import displacement
from scorefield.diagnostics.references import References, Spectrum, from_noisier

LAW = sf.distributions.two_moons()
TRAIN = LAW.sample(1200, generator=torch.Generator().manual_seed(0))
HELD_OUT = LAW.sample(600, generator=torch.Generator().manual_seed(1))
FEW: dict[str, Any] = {"n": 384, "levels": 12}


class ExactNoise(nn.Module):
    """E[eps | x_t] of the law: a network that learned the noise of a process at its times without an error."""

    def __init__(self, schedule, law=LAW):
        super().__init__()
        self.exact = sf.ExactDenoiser(law, schedule)

    def forward(self, x, level):
        return sf.eps(self.exact, x, level.double().cpu().clamp(1e-4, 1 - 1e-4))


def network(trained, used=None, **options):
    return sf.NetworkDenoiser(
        ExactNoise(trained), used or trained, sf.Eps(), data_mean=0.0, data_std=LAW.variance.mean().sqrt().item(),
        **options,
    )  # fmt: skip


class Changed(sf.Denoiser):
    """D of the law, changed by `change(D, x_t, t)`."""

    def __init__(self, change, schedule=None):
        super().__init__()
        self.exact = sf.ExactDenoiser(LAW, schedule or sf.VP())
        self._like(self.exact)
        self.change, self.dropout = change, nn.Dropout(0.5)

    def forward(self, x_t, t):
        return self.change(self.exact(x_t, t), x_t, t)


class Dropping(Changed):
    def forward(self, x_t, t):
        return self.dropout(self.exact(x_t, t))


def blind_between(low, high):
    def change(x0, x_t, t):
        s = float(sf.VP().noise_ratio(t).flatten()[0])
        return 0.0 * x0 if low < s < high else x0

    return Changed(change)


def stated(std):
    d = sf.ExactDenoiser(LAW, sf.VP())
    d.data_std = std
    return d


def memorised():
    return sf.ExactDenoiser(sf.Empirical(TRAIN[:24], 0.01), sf.VP())


# name of the fault: the model, its training data, what is said beside them
PLANTED = {
    "data statistics": lambda: (stated(4.0), TRAIN, {}),
    "noise range": lambda: (sf.ExactDenoiser(LAW, sf.EDM(sigma_max=1.0)), TRAIN, {}),
    "untrained levels": lambda: (blind_between(0.2, 1.5).eval(), TRAIN, {}),
    "schedule": lambda: (network(sf.Cosine(), sf.VP()), TRAIN, {}),
    "time embedding": lambda: (network(sf.Cosine(), level=lambda t: t - 0.08), TRAIN, {}),
    "transform": lambda: (sf.ExactDenoiser(LAW, sf.VP()), 2 * TRAIN + 1, {"held_out": 2 * HELD_OUT + 1}),
    "memorisation": lambda: (memorised(), TRAIN[:24], {}),
    "stale average": lambda: (
        Changed(lambda x0, x_t, t: 0.4 * x0).eval(), TRAIN, {"present": Changed(lambda x0, x_t, t: x0).eval()},
    ),
    "train mode": lambda: (Dropping(None).train(), TRAIN, {}),
    "steps": lambda: (sf.ExactDenoiser(LAW, sf.VP()), TRAIN, {"solver": sf.Euler(), "nfe": 6}),
}  # fmt: skip


SAID = {  # what is said of a fault is what was planted
    "time embedding": lambda f: f.numbers["shift"] == pytest.approx(-0.08, abs=0.01),
    "transform": lambda f: f.numbers["scale"] == pytest.approx(0.5, rel=0.1),
    "untrained levels": lambda f: 0.2 < f.levels[0] < f.levels[1] < 1.5,
    "schedule": lambda f: "Cosine() fits far better" in f.remedy,
}


@pytest.mark.filterwarnings("ignore:Euler in")
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named_first(fault):
    model, train, options = PLANTED[fault]()
    found = sf.diagnose(model, train, **{"held_out": HELD_OUT, **options}, **FEW)
    assert [f.name for f in found.findings][:1] == [fault]
    worst = found.findings[0]
    assert found.sentence == worst.sentence
    assert worst.remedy in found.sentence
    assert worst.cost in found.sentence
    if fault in SAID:
        assert SAID[fault](worst)


@pytest.mark.parametrize(
    "model",
    [
        sf.ExactDenoiser(LAW, sf.VP()), sf.ExactDenoiser(LAW, sf.Rectified()), sf.ExactDenoiser(LAW, sf.VE()),
        network(sf.Cosine()), sf.ClippedDenoiser(sf.ExactDenoiser(LAW, sf.EDM()), data_range=(-9.0, 9.0)),
    ],
    ids=["VP", "Rectified", "VE", "network", "clipped"],
)  # fmt: skip
def test_an_exact_model_is_healthy(model):
    found = sf.diagnose(model, TRAIN, held_out=HELD_OUT, **FEW)
    assert found.findings == []
    assert found.sentence.startswith("Nothing found")


def test_the_model_is_left_as_it_was():
    model = Dropping(None)
    model.dropout.eval()
    schedule, state = model.schedule, torch.get_rng_state()
    sf.diagnose(model, TRAIN, **FEW)
    assert model.training
    assert not model.dropout.training
    assert model.schedule is schedule
    assert torch.equal(torch.get_rng_state(), state)


def _numbers(found):
    return [value for level in found.levels for value in level if isinstance(value, float)]


def test_the_same_seed_says_the_same_and_json_holds_all():
    one, two = (sf.diagnose(memorised(), TRAIN[:24], held_out=HELD_OUT, **FEW) for _ in range(2))
    assert one.sentence == two.sentence
    torch.testing.assert_close(torch.tensor(_numbers(one)), torch.tensor(_numbers(two)), equal_nan=True)
    written = json.loads(one.to_json())
    assert [f["name"] for f in written["findings"]] == [f.name for f in one.findings]
    assert len(written["levels"]) == 12
    assert one.table() in str(one)


def test_an_exact_reference_takes_the_place_of_the_others():
    exact = sf.ExactDenoiser(LAW, sf.EDM())
    found = sf.diagnose(sf.ExactDenoiser(LAW, sf.VP()), TRAIN, held_out=HELD_OUT, exact=exact, **FEW)
    assert {level.by for level in found.levels} == {"exact"}
    for level in found.levels:
        assert level.error == pytest.approx(level.reference, rel=1e-3)


def test_errors_are_one_line():
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"levels": 3}, "levels must be at least 4"),
        ({"held_out": HELD_OUT[:3]}, "held_out must hold at least 8 events"),
        ({"cond": {"label": torch.zeros(3)}}, "label must have an entry for each of the 1200 samples"),
    )
    for options, line in wrong:
        with pytest.raises(ValueError, match=line):
            sf.diagnose(sf.ExactDenoiser(LAW, sf.VP()), TRAIN, **options)
    flow = sf.Flow(sf.networks.MLP(2, hidden=8, depth=1), sf.Rectified(), sf.Velocity(), origin=LAW)
    with pytest.raises(ValueError, match="diagnose: Flow has no score"):
        sf.diagnose(flow, TRAIN)
    with pytest.raises(ValueError, match="data must be finite and vary"):
        sf.diagnose(sf.ExactDenoiser(LAW, sf.VP()), torch.ones(9, 2))


def test_samples_that_are_nowhere_near_the_data_are_said_where_errors_are_right():
    class Far(sf.Denoiser):
        """Exact on data's noisings, and off by two on its own trajectories: known apart by their number."""

        def __init__(self):
            super().__init__()
            self.exact = sf.ExactDenoiser(LAW, sf.VP())
            self._like(self.exact)

        def forward(self, x_t, t):
            return self.exact(x_t, t) + (2.0 if len(x_t) == 256 else 0.0)

    found = sf.diagnose(Far(), TRAIN, held_out=HELD_OUT, n=384, levels=12)
    assert [f.name for f in found.findings] == ["own trajectories"]
    # D off by 2 at every level puts its samples at least that far off; a shift of (2, 2) is 2 in sliced W2
    assert found.findings[0].numbers["distance"] > 1.5


# What it stands on


def test_the_wiener_filter_is_exact_for_gaussian_data():
    law = sf.Gaussian(torch.tensor([1.0, -2.0, 0.5]).double(), torch.diag(torch.tensor([0.5, 2.0, 1.0]).double()))
    x = law.sample(400_000, generator=torch.Generator().manual_seed(0))
    y = law.sample(50, generator=torch.Generator().manual_seed(1)) + 0.7
    # moments of n draws are off by n^(-1/2) of a standard deviation: 0.002 each, times |y - m| up to 5
    torch.testing.assert_close(Spectrum(x).denoise(y, 0.7), law.denoise(y, 1.0, 0.7), atol=0.02, rtol=0)


def test_the_bound_from_noisier_levels_is_the_error_of_isotropic_gaussian_data_and_above_that_of_others():
    s = torch.logspace(-2, 2, 30).double()
    gaussian = 4 * s**2 / (4 + s**2)
    torch.testing.assert_close(from_noisier(s, gaussian)[:-1], gaussian[:-1], rtol=1e-9, atol=0)
    # one coordinate of +-1: mmse = 1 - E tanh(1/s^2 + z/s), by quadrature
    z, w = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(200))
    w = w / w.sum()
    two = torch.stack([1 - (w * torch.tanh(1 / v**2 + z / v)).sum() for v in s[8:]])
    assert bool((from_noisier(s[8:], two)[:-1] >= two[:-1] * (1 - 1e-6)).all())


def test_references_are_upper_bounds_of_the_exact_error():
    pool, x0 = TRAIN[:800], HELD_OUT[:400]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    references = References(pool)
    for s in (0.1, 0.5, 2.0):
        y = x0 + s * eps
        least = (LAW.denoise(y, 1.0, s) - x0).square().mean(1)
        for name in references.names:
            excess = (references.of(name, y, s) - x0).square().mean(1) - least
            assert float(excess.mean()) > -4 * float(excess.std()) / 400**0.5


def test_displacement_is_how_far_samples_of_gaussian_data_move():
    """D too large by k at all levels: the samples' mean is off by what the integral says."""
    k, std = 0.02, 0.5
    law = sf.Gaussian(torch.zeros(1).double(), torch.full((1,), std**2).double())
    exact = sf.ExactDenoiser(law, sf.EDM(sigma_max=50.0))

    class Shifted(sf.Denoiser):
        def __init__(self):
            super().__init__()
            self._like(exact)

        def forward(self, x_t, t):
            return exact(x_t, t) + k

    s = torch.logspace(math.log10(5e-4), math.log10(50), 4000).double()
    said = displacement(s, std, torch.full_like(s, k**2))
    # below s_min the last step returns D at once, which is off by k: what lies below counts k / sd dlog s no longer
    times = sf.grids.uniform_log_snr(exact.schedule, 1500, s_min=5e-4)
    x, y = (sf.sample(d, (4, 1), solver=sf.DDIM(), times=times, dtype=torch.float64).x for d in (exact, Shifted()))
    moved = float((y - x).mean()) / std
    assert moved == pytest.approx(said + k / std, rel=0.02)
