"""Laws of features against closed forms, and p-values against their promise."""

import math

import numpy as np
import pytest
import torch
from anomaly_cases import f64, seeded
from scipy import stats

from rounding import carried, same
from scorefield import anomaly

LAWS = {
    "typicality": anomaly.Typicality(),
    "standardised": anomaly.Standardised(),
    "gaussian": anomaly.GaussianLaw(),
    "mixture": anomaly.MixtureLaw(components=2),
    "kernel": anomaly.KernelLaw(),
}


def features(n, size, seed=0):
    mix = torch.randn(size, size, dtype=f64, generator=seeded(99)) + torch.eye(size, dtype=f64)
    return 3 + torch.randn(n, size, dtype=f64, generator=seeded(seed)) @ mix


def test_mahalanobis_distances_have_hotelling_s_law():
    """(n (n - L)) / ((n^2 - 1) L) times the squared distance of a new datum, mean and covariance estimated, is F."""
    n, size = 20, 3
    mahalanobis = []
    for seed in range(300):
        f = features(n + 1, size, seed)
        law = anomaly.GaussianLaw().fit(f[:n])
        log_det = float(torch.logdet(torch.cov(f[:n].T)))
        mahalanobis.append(2 * float(law.score(f[n:])) - log_det - size * math.log(2 * math.pi))
    scaled = np.array(mahalanobis) * n * (n - size) / ((n**2 - 1) * size)
    assert stats.kstest(scaled, stats.f(size, n - size).cdf).pvalue > 0.01


@pytest.mark.parametrize("size", [1, 3])
def test_the_kernel_estimate_is_scott_s(size):
    f = features(50, size)
    theirs = -stats.gaussian_kde(f.T.numpy(), "scott").logpdf(f.T.numpy() + 0.3)
    ours = anomaly.KernelLaw().fit(f).score(f + 0.3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_mixture_finds_two_clusters_of_any_scale():
    """-log (N(f; 0, 1) + N(f; 50, 1)) / 2 along the line between them, in units of 1e-4."""
    cluster = torch.randn(4000, 1, dtype=f64, generator=seeded(0))
    f = torch.cat([cluster[:2000], 50 + cluster[2000:]])
    at = torch.tensor([[0.0], [1.0], [50.0], [52.0]], dtype=f64)
    exact = 0.5 * math.log(2 * math.pi) + math.log(2) + torch.tensor([0.0, 0.5, 0.0, 2.0], dtype=f64)
    law = anomaly.MixtureLaw(components=2).fit(1e-4 * f)
    torch.testing.assert_close(law.score(1e-4 * at), exact + math.log(1e-4), atol=0.15, rtol=0)  # 2 (3 / sqrt 2000)


def test_z_scores_average():
    f = torch.tensor([[0.0, 10.0], [2.0, 30.0]], dtype=f64)  # means 1, 20; standard deviations sqrt 2, sqrt 200
    law = anomaly.Standardised().fit(f)
    assert float(law.score(torch.tensor([[3.0, 20.0]], dtype=f64))) == pytest.approx(2 / math.sqrt(2) / 2)


@pytest.mark.parametrize("name", ["gaussian", "kernel", "standardised"])
def test_units_of_the_features_do_not_matter(name):
    """Scores move by the log-determinant, or not at all: p-values stay."""
    f = features(60, 3)
    scale = torch.tensor([1e-3, 1.0, 1e3], dtype=f64)
    shift = (LAWS[name].fit(scale * f).score(scale * f) - LAWS[name].fit(f).score(f)).numpy()
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)


@pytest.mark.parametrize("name", LAWS)
def test_p_values_keep_their_promise(name):
    """P(p <= a) = a exactly at a = k / (n + 1), fitted or not, whatever the law of the features.

    References of 19; the bands are 3 binomial standard errors.
    """
    size = 1 if name == "typicality" else 2
    repeats = 60 if name == "mixture" else 300  # slow to fit
    p = []
    for seed in range(repeats):
        f = features(59, size, seed).abs().exp().clamp(max=1e6).log()  # anything but Gaussian
        detector = anomaly.Detector.from_features(anomaly.Statistic(anomaly.ScoreNorms(), LAWS[name]), f[:58], 39 / 58)
        assert len(detector.reference) == 19
        p.append(float(detector.p_value_of(detector.statistic.law.score(f[58:]))))
    for level in (0.05, 0.25):
        band = 3 * math.sqrt(level * (1 - level) / repeats)
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=band)
    assert min(p) == pytest.approx(1 / 20)


@pytest.mark.rounding
@pytest.mark.parametrize("name", LAWS)
def test_nobody_s_score_depends_on_the_batch(name):
    """To the bit, but for the kernels' sum over 40 features."""
    f = features(40, 1 if name == "typicality" else 3)
    law = LAWS[name].fit(f)
    bound = carried(lambda: law.score(f), 40, f64) if name == "kernel" else 0.0
    same(law.score(f[7:8]), law.score(f)[7:8], bound)
    same(law.score(f[:33]), law.score(f)[:33], bound)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200], ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_what_has_no_number_is_the_most_anomalous_and_leaves_the_others_theirs(name, bad):
    size = 1 if name == "typicality" else 3
    f = features(60, size)
    broken = torch.cat([f, torch.full((2, size), math.nan, dtype=f64)])
    law = LAWS[name].fit(broken)
    assert law == LAWS[name].fit(f)  # the reference loses nothing either
    new = features(9, size, seed=1)
    expected = law.score(new)
    new[4, -1] = bad
    scores = law.score(new)
    keep = torch.arange(9) != 4
    assert torch.equal(scores[keep], expected[keep])
    assert bool((scores[4] > scores[keep]).all())
    if not math.isfinite(bad):
        assert scores[4] == math.inf
    p = anomaly.conformal(scores, law.score(f))
    assert p[4] == 1 / 61


def test_ties_make_a_p_value_larger_not_smaller():
    reference = torch.tensor([1.0, 2.0, 2.0, 3.0])
    p = anomaly.conformal(torch.tensor([0.0, 2.0, 2.5, 9.0]), reference)
    torch.testing.assert_close(p, torch.tensor([5.0, 4.0, 2.0, 1.0], dtype=f64) / 5)


def test_false_discoveries_stay_below_the_rate_asked_for():
    """80 inliers and 20 outliers against one reference: FDR <= 0.2 * 0.8, and most outliers are found.

    400 repetitions, each share of false discoveries with a standard deviation of about 0.1.
    """
    shares, found = [], []
    for seed in range(400):
        draw = torch.randn(300, dtype=f64, generator=seeded(seed))
        new = draw[200:] + 4.0 * (torch.arange(100) >= 80)
        called = anomaly.benjamini_hochberg(anomaly.conformal(new, draw[:200])) <= 0.2
        shares.append(float(called[:80].sum()) / max(1, int(called.sum())))
        found.append(float(called[80:].double().mean()))
    assert np.mean(shares) == pytest.approx(0.16, abs=0.02)  # pi_0 q, as for independent p-values
    assert np.mean(found) > 0.9


def test_adjusted_p_values_are_scipy_s():
    p = torch.rand(57, dtype=f64, generator=seeded(0)) ** 3
    p[3] = p[5]
    np.testing.assert_allclose(anomaly.benjamini_hochberg(p), stats.false_discovery_control(p.numpy()), rtol=1e-12)
    assert anomaly.benjamini_hochberg(p[:0]).shape == (0,)


@pytest.mark.parametrize("m", [5, 50])
def test_the_group_test_keeps_its_level_and_sees_what_no_single_test_does(m):
    """A shift by 0.7 standard deviations: z = 0.7 sqrt(m / (1 + m / n)) for a group.

    500 groups: the level's standard error is 1%.
    """
    alarms, power = [], []
    for seed in range(500):
        draw = torch.randn(100 + m, dtype=f64, generator=seeded(seed)).exp()  # skew
        sd = math.sqrt((math.e - 1) * math.e)
        alarms.append(anomaly.group_typicality(draw[100:], draw[:100], resamples=199) <= 0.05)
        power.append(anomaly.group_typicality(draw[100:] + 0.7 * sd, draw[:100], resamples=199) <= 0.05)
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.03)  # the bootstrap of 100 skew numbers is not exact
    assert np.mean(power) > (0.9 if m == 50 else 0.2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: anomaly.GaussianLaw().score(features(3, 2)), "GaussianLaw is not fitted"),
        (lambda: anomaly.GaussianLaw().fit(features(5, 4)), "GaussianLaw needs at least 6 reference data; got 5"),
        (lambda: anomaly.Typicality().fit(features(9, 2)), "this law judges one feature; got 2"),
        (lambda: anomaly.Upper().score(features(9, 2)), "this law judges one feature; got 2"),
        (lambda: anomaly.KernelLaw().fit(features(9, 2)).score(features(9, 3)), "was fitted to 2 features; got 3"),
        (
            lambda: anomaly.Typicality().fit(features(9, 1) * math.nan),
            "Typicality needs at least 2 reference data; got 0",
        ),
        (lambda: anomaly.Standardised().fit(torch.ones(5, 2)), "must vary"),
        (lambda: anomaly.conformal(torch.ones(2), torch.ones(0)), "n at least 1"),
        (lambda: anomaly.benjamini_hochberg(torch.tensor([2.0])), "p must be p-values in"),
        (lambda: anomaly.group_typicality(torch.ones(0), torch.ones(3)), "group and reference must be"),
        (lambda: anomaly.group_typicality(torch.ones(2), torch.ones(3), resamples=0), "at least 1; got 0"),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call()
