"""Distances of columns whose exact values are known."""

import pandas as pd
import pytest

from scorefield import metrics


def test_each_column_has_its_exact_distance():
    data = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "kind": ["a", "a", "b", None], "flag": [True, True, False, False]})
    samples = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5], "kind": ["a", "c", "b", "b"], "flag": [True] * 4, "z": [0] * 4})
    far = metrics.marginals(samples, data)
    assert list(far) == ["x", "kind", "flag"]
    assert far["x"] == pytest.approx(0.5 / 1.25**0.5)  # moved by 1/2; variance of 0, 1, 2, 3
    assert far["kind"] == pytest.approx((0.25 + 0.25 + 0.25 + 0.25) / 2)  # an empty cell is a value
    assert far["flag"] == pytest.approx(0.5)
    assert set(metrics.marginals(data, data).values()) == {0}
    with pytest.raises(ValueError, match="rows, and columns of the same names"):
        metrics.marginals(samples.drop(columns=list(data)), data)


def test_columns_without_a_number_or_a_spread():
    empty = pd.DataFrame({"x": pd.array([None, None], "Float64")})
    assert metrics.marginals(empty, empty) == {"x": 0}
    assert metrics.marginals(pd.DataFrame({"x": [2.0]}), empty) == {"x": 1}
    assert metrics.marginals(pd.DataFrame({"x": [5]}), pd.DataFrame({"x": [3, 3]})) == {"x": 2}
