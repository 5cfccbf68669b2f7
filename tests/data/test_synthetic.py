"""Series against the exact law they come from; tables as scikit-learn has them."""

import math

import pytest
import torch

from scorefield import data

f64 = torch.float64


def test_series_have_the_mean_and_covariance_of_their_law():
    n, length = 20_000, 12
    law = data.series_law(length)
    x = data.series(n, length).x[:, 0].double()
    # whitened by the exact covariance, the sample moments are those of N(0, I): 5 standard errors of each
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(law.covariance.double()), (x - law.mean.double()).T, upper=False
    )
    assert float(white.mean(1).abs().max()) < 5 / math.sqrt(n)
    covariance = white @ white.T / n
    assert float((covariance - torch.eye(length)).abs().max()) < 5 * math.sqrt(2 / n)


def test_the_law_is_a_squared_exponential_around_one_sine():
    law = data.series_law(5, width=0.5, noise=0.2)
    torch.testing.assert_close(law.mean.double(), torch.tensor([0.0, 1, 0, -1, 0], dtype=f64), rtol=0, atol=1e-6)
    covariance = law.covariance.double()
    assert float(covariance[0, 0]) == pytest.approx(1 + 0.2**2)
    assert float(covariance[1, 3]) == pytest.approx(math.exp(-(0.5**2) / (2 * 0.5**2)))


def test_fewer_series_are_the_first_of_more():
    few, more = data.series(3, 16, seed=5).x, data.series(5000, 16, seed=5).x
    assert torch.equal(few, more[:3])
    assert not torch.equal(few, data.series(3, 16, seed=6).x)


def test_tables_have_named_columns_in_raw_units():
    wine = data.tabular()
    assert (len(wine), wine.event_shape, wine.num_classes, wine.levels) == (178, (13,), 3, None)
    assert wine.columns[0] == "alcohol"
    assert 11 < float(wine.x[:, 0].min()) < float(wine.x[:, 0].max()) < 15  # percent
    assert torch.bincount(wine.cond["label"]).tolist() == [59, 71, 48]
    diabetes = data.tabular("diabetes")
    assert diabetes.num_classes is None
    assert diabetes.batch(torch.tensor([0])).cond["target"].tolist() == [[151.0]]
    assert data.tabular("breast-cancer").event_shape == (30,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.series(0), "n must be at least 1; got 0"),
        (lambda: data.series(1, 1), "length must be at least 2; got 1"),
        (lambda: data.series_law(4, noise=0.0), "must be positive; got 0.1 and 0.0"),
        (lambda: data.tabular("iris"), "one of wine, breast-cancer, diabetes; got 'iris'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
