"""Judged data in one account: p-values, what is flagged, and which statistics such data have."""

import numpy as np
import pytest
import torch

from scorefield import anomaly, data, metrics
from scorefield.catalogue import STATISTICS

GREY = data.Scale(1.0, 0.0, 17, 0.0, 1.0)
WITHOUT_DENSITY = ["score-norms", "denoising-error"]


@pytest.mark.parametrize(
    ("transform", "event", "names"),
    [
        (GREY, (1, 8, 8), list(STATISTICS)),
        (None, (2,), [*WITHOUT_DENSITY, "likelihood", "typicality"]),
        (GREY, (5,), [*WITHOUT_DENSITY, "likelihood", "typicality"]),
        (data.Scale(1.0, 0.0, 257, 0.0, 1.0), (1, 8, 8), [*WITHOUT_DENSITY, "likelihood", "typicality"]),
        (data.Scale(1.0, 0.0, 17, 0.0, 1.0, noise=False), (1, 8, 8), WITHOUT_DENSITY),
    ],
    ids=["pictures", "points", "integers", "more levels than a byte", "bare integers"],
)
def test_statistics_apply_where_they_mean_something(transform, event, names):
    assert anomaly.applicable(STATISTICS, transform, event) == names


def test_what_is_judged_is_ranked_flagged_and_compared():
    detector = anomaly.Detector(anomaly.likelihood(), torch.arange(19.0, dtype=torch.float64))
    features = torch.tensor([[5.5], [30.0], [30.0], [-1.0]], dtype=torch.float64)
    judged = anomaly.judge(detector, features)
    assert judged.scores.tolist() == features[:, 0].tolist()
    assert judged.p.tolist() == pytest.approx([14 / 20, 1 / 20, 1 / 20, 1.0])
    assert judged.adjusted.tolist() == pytest.approx([0.7 * 4 / 3, 0.1, 0.1, 1.0])
    assert judged.ranking.tolist() == [1, 2, 0, 3]
    s = anomaly.compare({"likelihood": judged}, 0.1)["likelihood"]
    assert (s["flagged"], s["calibrated_on"]) == (2, 19)
    assert s["median_p"] == pytest.approx(1 / 20)  # torch's median of an even number is the lower one
    area = metrics.auroc(np.arange(19.0), features[:, 0].numpy())
    assert (s["auroc"]["low"], s["auroc"]["high"]) == area.interval(0.95)
    assert s["auroc"]["value"] == pytest.approx((6 + 19 + 19 + 0) / (4 * 19))
    assert anomaly.compare({"likelihood": judged}, 0.09)["likelihood"]["flagged"] == 0
