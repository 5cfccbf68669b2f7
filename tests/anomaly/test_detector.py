"""Statistics on Gaussians: where likelihood fails and typicality does not, with areas known in closed form."""

import json
import math

import numpy as np
import pytest
import torch
from anomaly_cases import f64, isotropic, seeded
from scipy import stats

import scorefield as sf
from scorefield import anomaly, data

D = 64
NORMAL = sf.ExactDenoiser(isotropic(D), sf.VP())
LIKELIHOOD, TYPICALITY = anomaly.likelihood(tolerance=0.1), anomaly.typicality(tolerance=0.1)


@pytest.fixture(scope="module")
def measured():
    """NLLs of a reference and of new data, wider and narrower by their standard deviation."""
    measure = LIKELIHOOD.measurement
    unit = torch.randn(1200, D, dtype=f64, generator=seeded(0))
    sets = {"reference": unit[:600], "same": unit[600:], "narrow": 0.8 * unit[600:], "wide": 1.1 * unit[600:]}
    return {name: measure(NORMAL, x, seed=i) for i, (name, x) in enumerate(sets.items())}


def area_of_likelihood(scale):
    """P(scale^2 chi^2_d > chi'^2_d), by the F distribution."""
    return stats.f(D, D).cdf(scale**2)


def area_of_typicality(scale):
    """P(|scale^2 chi^2_d - d| > |chi'^2_d - d|), by quadrature over the first."""
    law = stats.chi2(D)
    u = (np.arange(20000) + 0.5) / 20000
    off = np.abs(scale**2 * law.ppf(u) - D)
    return float(np.mean(law.cdf(D + off) - law.cdf(D - off)))


@pytest.mark.parametrize(("name", "scale"), [("same", 1.0), ("narrow", 0.8), ("wide", 1.1)])
def test_areas_are_those_of_chi_squares(measured, name, scale):
    """600 against 600: standard errors below 0.017, the bands are 3.5 of them."""
    likelihood = anomaly.Detector.from_features(LIKELIHOOD, measured["reference"])
    typical = anomaly.Detector.from_features(TYPICALITY, measured["reference"], share=0.2)
    for detector, exact in ((likelihood, area_of_likelihood(scale)), (typical, area_of_typicality(scale))):
        area = sf.metrics.auroc(detector.reference, detector.statistic.law.score(measured[name]))
        assert area.value == pytest.approx(exact, abs=0.06)
    if name == "narrow":  # what is too likely: the likelihood's verdict is nearly always wrong
        assert area_of_likelihood(scale) < 0.05
        assert area_of_typicality(scale) > 0.9


def test_the_mode_is_most_likely_and_not_typical(measured):
    """At the mean -log p is d / 2 below its expectation, and no sample ever is: their spread is sqrt(d / 2)."""
    mode = torch.zeros(1, D, dtype=f64)
    likelihood = anomaly.Detector.from_features(LIKELIHOOD, measured["reference"])
    typical = anomaly.Detector.from_features(TYPICALITY, measured["reference"])
    assert float(likelihood.p_value(NORMAL, mode)) == 1
    assert float(typical.p_value(NORMAL, mode)) == pytest.approx(1 / 301)
    assert float(typical.score(NORMAL, mode)) == pytest.approx(
        0.5, abs=0.05
    )  # per dimension; the mean's error is 0.005
    norms = anomaly.Detector.fit(anomaly.score_norms(), NORMAL, torch.randn(200, D, dtype=f64, generator=seeded(1)))
    assert float(norms.p_value(NORMAL, mode)) == pytest.approx(1 / 101)


def test_a_group_s_typicality_is_finer(measured):
    """Wider by 3%: the mean of d (-log p) moves by 0.03 d, a third of one's spread, 3 times a hundred's."""
    group = LIKELIHOOD.measurement(NORMAL, 1.03 * torch.randn(100, D, dtype=f64, generator=seeded(7)))[:, 0]
    reference = measured["reference"][:, 0]
    assert anomaly.group_typicality(group, reference) < 0.05
    single = anomaly.conformal((group - reference.mean()).abs(), (reference - reference.mean()).abs())
    assert float((anomaly.benjamini_hochberg(single) <= 0.05).double().sum()) == 0


def test_fitting_splits_the_reference_and_scoring_agrees_with_the_parts():
    x = torch.randn(60, D, dtype=f64, generator=seeded(3))
    statistic = anomaly.score_norms(levels=4)
    detector = anomaly.Detector.fit(statistic, NORMAL, x, share=0.75, seed=2)
    assert len(detector.reference) == 15
    fitted = statistic.fit(NORMAL, x[:45], seed=2)
    torch.testing.assert_close(detector.reference, fitted(NORMAL, x[45:]).sort().values)
    with pytest.raises(ValueError, match="GaussianLaw is not fitted"):
        statistic(NORMAL, x)


def test_what_statistics_share_is_measured_once():
    calls = []

    class Counting(sf.ExactDenoiser):
        def forward(self, x_t, t):
            calls.append(len(x_t))
            return super().forward(x_t, t)

    denoiser, x = Counting(isotropic(D), sf.VP()), torch.randn(4, D, dtype=f64, generator=seeded(0))
    ratio = anomaly.likelihood_ratio(isotropic(D, 2.0), LIKELIHOOD.measurement)
    together = anomaly.measured([LIKELIHOOD, TYPICALITY, ratio], denoiser, x, seed=3)
    once = len(calls)
    alone = [s.measurement(denoiser, x, seed=3) for s in (LIKELIHOOD, TYPICALITY, ratio)]
    assert len(calls) == 4 * once
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(
    "statistic",
    [
        LIKELIHOOD,
        TYPICALITY,
        anomaly.complexity(anomaly.NegativeElbo(draws=2), "zlib"),
        anomaly.score_norms(levels=3),
        anomaly.score_norms(anomaly.MixtureLaw(components=2), levels=2),
        anomaly.score_norms(anomaly.KernelLaw(), levels=2),
        anomaly.denoising_error(levels=2),
    ],
    ids=lambda s: f"{type(s.measurement).__name__}-{type(s.law).__name__}",
)
def test_a_file_gives_back_the_same_detector(statistic, tmp_path):
    """Equal values, to the last bit of every p-value."""
    levels = data.Scale(2 / 17, -1, levels=17)
    x = torch.randint(0, 17, (24, 8), generator=seeded(0))
    denoiser = sf.ExactDenoiser(isotropic(8, 0.3), sf.VP())
    detector = anomaly.Detector.fit(statistic, denoiser, x, transform=levels, meta={"step": 7})
    detector.save(tmp_path / "d.json")
    again = anomaly.Detector.load(tmp_path / "d.json")
    assert again.statistic == detector.statistic
    assert again.meta == {"step": 7}
    p, q = (d.p_value(denoiser, x[:5], transform=levels, seed=1) for d in (detector, again))
    assert torch.equal(p, q)


def test_a_background_model_is_not_a_value(tmp_path):
    reference = torch.zeros(3, 1, dtype=f64)
    for background in (NORMAL, isotropic(D)):
        detector = anomaly.Detector.from_features(anomaly.likelihood_ratio(background), reference)
        with pytest.raises(ValueError, match="can't be saved: a detector's file holds values, not models"):
            detector.save(tmp_path / "d.json")
    assert not list(tmp_path.iterdir())


def test_damaged_files_get_one_line(tmp_path):
    path = tmp_path / "d.json"
    with pytest.raises(FileNotFoundError, match="no detector at"):
        anomaly.Detector.load(path)
    anomaly.Detector.from_features(LIKELIHOOD, torch.zeros(3, 1, dtype=f64)).save(path)
    whole = json.loads(path.read_text())
    broken = {
        "half": path.read_text()[:40],
        "a list": "[]",
        "another class": json.dumps({**whole, "statistic": {"measurement": {"type": "Path"}, "law": None}}),
        "another format": json.dumps({**whole, "scorefield-detector": 99}),
        "no reference": json.dumps({**whole, "reference": []}),
        "nan": json.dumps({**whole, "reference": [math.nan]}),
    }
    for text in broken.values():
        path.write_text(text)
        with pytest.raises(ValueError, match="is damaged or not a detector"):
            anomaly.Detector.load(path)


@pytest.mark.parametrize(
    ("share", "n", "line"), [(1.5, 9, r"share must lie in \(0, 1\)"), (0.5, 1, "must leave data to fit")]
)
def test_bad_references(share, n, line):
    with pytest.raises(ValueError, match=line):
        anomaly.Detector.from_features(TYPICALITY, torch.zeros(n, 1, dtype=f64), share)


@pytest.mark.parametrize(
    "statistic", [LIKELIHOOD, TYPICALITY, anomaly.score_norms(), anomaly.denoising_error()], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
def test_outliers_get_the_smallest_p_value_and_never_cost_the_batch(statistic, dtype):
    """100 and 1e6 standard deviations out, and where the model has no number: a hole in it."""

    class Hole(sf.Denoiser):
        schedule = sf.VP()

        def forward(self, x_t, t):
            return torch.where((x_t[:, :1] > 1e5) & (x_t[:, 1:2] < 0), math.nan, NORMAL(x_t, t))

    x = torch.randn(100, D, dtype=f64, generator=seeded(3)).to(dtype)
    detector = anomaly.Detector.fit(statistic, Hole(), x[:80])
    new = x[80:88].clone()
    expected = detector.p_value(Hole(), new)
    new[2], new[4], new[6] = 100.0, 1e6, 1e6
    new[6, 1::2] = -1e6
    p = detector.p_value(Hole(), new)
    least = 1 / (len(detector.reference) + 1)
    assert p[[2, 4, 6]].tolist() == [least] * 3
    keep = torch.tensor([0, 1, 3, 5, 7])
    assert torch.equal(p[keep], expected[keep])


def test_a_reference_with_a_hole_still_makes_a_detector(tmp_path):
    features = torch.randn(41, 1, dtype=f64, generator=seeded(4))
    features[30] = math.nan
    detector = anomaly.Detector.from_features(TYPICALITY, features)
    assert detector.reference[-1] == math.inf
    # exchangeable: a new datum without a number is as anomalous as that one, p = (1 + 1) / (n + 1)
    p = detector.p_value_of(torch.tensor([math.inf], dtype=f64))
    assert p.tolist() == [2 / (len(detector.reference) + 1)]
    detector.save(tmp_path / "d.json")
    assert torch.equal(anomaly.Detector.load(tmp_path / "d.json").reference, detector.reference)
    group = torch.cat([features[:5, 0], features[30]])
    assert anomaly.group_typicality(group, features[:30, 0], resamples=99) == 0.01
    usual = anomaly.group_typicality(features[:5, 0], features[5:30, 0], resamples=99)
    assert anomaly.group_typicality(features[:5, 0], features[5:31, 0], resamples=99) == usual
