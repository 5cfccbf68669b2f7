"""Detection against what two known Gaussians give, and against scikit-learn's points."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from scorefield.metrics import auroc, average_precision, fpr_at, roc_curve


def gaussians(seed, n=60, m=60, shift=1.0, scale=1.0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=n), shift + scale * draw.normal(size=m)


def held(found, exact, level=0.95):
    """The share of intervals that hold it."""
    return np.mean([low <= exact <= high for low, high in (f.interval(level) for f in found)])


@pytest.mark.parametrize(("shift", "scale"), [(1.0, 1.0), (2.5, 1.0), (1.0, 3.0), (-0.5, 1.0)])
def test_the_area_between_two_gaussians_and_the_interval_that_covers_it(shift, scale):
    """AUROC = Phi(shift / sqrt(1 + scale^2)), held by 95% of the intervals of 1,000 pairs of samples.

    The share's standard error is 0.7%; the band is three of them.
    """
    exact = stats.norm.cdf(shift / math.sqrt(1 + scale**2))
    found = [auroc(*gaussians(seed, shift=shift, scale=scale)) for seed in range(1000)]
    assert np.mean([f.value for f in found]) == pytest.approx(exact, abs=4 * 0.05 / math.sqrt(1000))
    assert held(found, exact) == pytest.approx(0.95, abs=0.021)


@pytest.mark.parametrize("rounded", [False, True])
def test_points_are_those_of_scikit_learn(rounded):
    x, y = gaussians(0, 80, 50)
    x, y = (np.round(v) for v in (x, y)) if rounded else (x, y)  # ties
    truth, scores = np.r_[np.zeros(80), np.ones(50)], np.r_[x, y]
    assert auroc(x, y).value == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(x, y, resamples=1).value == pytest.approx(
        sk.average_precision_score(truth, scores), abs=1e-12
    )
    curve = roc_curve(x, y)
    fpr, tpr, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    assert fpr_at(x, y, resamples=1).value == pytest.approx(fpr[np.argmax(tpr >= 0.95)])


def test_perfectly_apart_is_not_certain():
    """Of k disjoint pairs all are in order with probability AUROC^k: at the lower end, 2.5%."""
    area = auroc(np.arange(40.0), 100 + np.arange(70.0))
    low, high = area.interval(0.95)
    assert (area.value, high) == (1, 1)
    assert low**40 == pytest.approx(0.025)
    reverse = auroc(100 + np.arange(70.0), np.arange(40.0))
    assert (reverse.value, *reverse.interval(0.95)) == pytest.approx((0, 0, 1 - low))
    false = fpr_at(np.arange(40.0), 100 + np.arange(70.0))
    low, high = false.interval(0.95)
    assert (false.value, low) == (0, 0)
    assert (1 - high) ** 40 == pytest.approx(0.025)  # no false alarm in 40


def test_all_false_alarms_are_not_certain_either():
    """Every inlier above every outlier: all 40 are called outliers, which a rate of `low` does in 2.5% of cases."""
    false = fpr_at(100 + np.arange(40.0), np.arange(70.0))
    low, high = false.interval(0.95)
    assert (false.value, high) == (1, 1)
    assert low**40 == pytest.approx(0.025)


def test_false_alarms_between_two_gaussians():
    """At a TPR of 95% the threshold is shift - 1.645, so FPR = 1 - Phi(shift - 1.645); held by 95% of the intervals.

    200 samples of 100: a standard error of 1.5%, and joined to the binomial's the interval may be too wide.
    """
    exact = stats.norm.sf(2.0 - stats.norm.isf(0.05))
    assert fpr_at(*gaussians(0, 40000, 40000, 2.0), resamples=1).value == pytest.approx(exact, abs=0.012)
    found = [fpr_at(*gaussians(s, 100, 100, 2.0), resamples=200) for s in range(200)]
    assert 0.92 <= held(found, exact) <= 1


def test_precision_of_scores_that_say_nothing_is_the_share_of_outliers():
    x, y = gaussians(0, 30000, 10000, 0.0)
    assert average_precision(x, y, resamples=1).value == pytest.approx(0.25, abs=0.01)
    covered = [average_precision(*gaussians(s, 60, 60, 1.0), resamples=200) for s in range(200)]
    exact = average_precision(*gaussians(1000, 10**5, 10**5, 1.0), resamples=1).value
    assert held(covered, exact) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: auroc([], [1.0]), r"inliers must be scores, \(N,\), at least one and none NaN; got shape \(0,\)"),
        (lambda: auroc([1.0], [math.nan]), "outliers must be scores"),
        (lambda: auroc([1.0], [2.0]).interval(1.5), r"level must lie in \(0, 1\); got 1.5"),
        (lambda: fpr_at([1.0], [2.0], tpr=0), r"tpr must lie in \(0, 1\]; got 0"),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call()
