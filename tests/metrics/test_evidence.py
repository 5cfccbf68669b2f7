"""What every metric owes: a value, an interval, a floor, features it names, and right answers at the edges."""

import json
import math

import pytest
import torch

from scorefield import metrics
from scorefield.metrics import Evidence, features


def normal(n, d, seed, shift=0.0):
    return shift + torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TWO_SETS = [metrics.frechet, metrics.kernel_distance, metrics.mmd, metrics.sliced, metrics.wasserstein]


@pytest.mark.parametrize("metric", TWO_SETS, ids=lambda f: f.__name__)
def test_evidence_is_a_number_between_its_floor_and_its_certainty(metric):
    x, y, spare = normal(80, 3, 0, 1.0), normal(60, 3, 1), normal(100, 3, 2)
    found = metric(x, y, spare=spare)
    low, high = found.interval()
    wide = found.interval(0.99)
    assert float(found) == found.value
    assert wide[0] < low < found.extrapolated < high < wide[1]
    assert found.floor < low  # a shift of sqrt(3) is seen
    assert (found.n, found.floor_n) == ((80, 60), (80, 60))
    assert metric(x, y).floor_n == (34, 25)  # 60 real data in the ratio 80 : 60
    assert found.p_value == pytest.approx(0.005 if metric is not metrics.wasserstein else 0.025)
    assert metric(x, y, spare=spare).summary() == found.summary()  # no state of torch's
    assert json.loads(json.dumps(found.summary()))["features"] == "raw"
    assert str(found).startswith(f"{metric.__name__} ")
    assert "\n" not in str(found)


@pytest.mark.parametrize("metric", TWO_SETS, ids=lambda f: f.__name__)
def test_identical_sets_are_at_no_distance(metric):
    x = normal(40, 3, 0)
    assert metric(x, x).extrapolated <= 1e-7
    assert metric(x, x).interval()[0] == 0
    constant = torch.ones(20, 3)
    assert metric(constant, constant).value == pytest.approx(0, abs=1e-9)
    assert metric(constant, constant).p_value == 1


def test_precision_and_recall_of_identical_and_constant_sets():
    x, constant = normal(60, 3, 0), torch.ones(40, 3)
    for real, generated in ((x, x), (constant, constant), (constant, constant[:13])):
        found = metrics.precision_recall(real=real, generated=generated)
        assert [e.value for e in found] == pytest.approx([1] * 4)
        assert found.precision.interval()[1] == pytest.approx(1)
        assert found.precision.interval()[0] > 0.7
        assert [e.p_value for e in found] == [1] * 4 or real is x  # copies are no independent draws
    apart = metrics.precision_recall(real=x, generated=x + 100)
    assert [e.value for e in apart] == [0] * 4
    assert [e.p_value for e in apart] == [0.01] * 4


def test_precision_falls_with_fidelity_and_recall_with_diversity():
    real, copy = normal(200, 2, 0), normal(200, 2, 1)
    narrow, wide = (metrics.precision_recall(real=real, generated=s * copy) for s in (0.3, 3.0))
    assert narrow.precision.value > 0.95 > 0.7 > wide.precision.value
    assert wide.recall.value > 0.9 > 0.5 > narrow.recall.value
    with pytest.raises(TypeError):
        metrics.precision_recall(real, copy)  # type: ignore[misc]


def test_features_have_a_name_and_a_hash():
    x, y = normal(50, 4, 0), normal(50, 4, 1)

    def doubled(x):
        return 2 * x

    raw, twice = metrics.frechet(x, y), metrics.frechet(x, y, features=doubled)
    assert twice.value == pytest.approx(4 * raw.value)
    assert twice.features.startswith("doubled:")
    tripled = lambda x: 3 * x  # noqa: E731
    tripled.__name__ = "doubled"
    assert metrics.frechet(x, y, features=tripled).features != twice.features
    by = features.pca(x, 2)
    assert by.name == "pca2"
    assert metrics.sliced(x, y, features=by).features == f"pca2:{by.fingerprint[:12]}"
    assert features.pca(x + 1, 2).fingerprint != by.fingerprint


def test_features_of_networks_and_exported_programs(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3))
    x = normal(700, 4, 0).float()
    by = features.penultimate(net)
    torch.testing.assert_close(by(x), torch.tanh(net[0](x)).detach())
    assert net.training  # as it was
    size = torch.export.Dim("size", min=2)
    program = torch.export.export(net[:2].eval(), (x[:8],), dynamic_shapes=({0: size},))
    torch.export.save(program, tmp_path / "tanh.pt2")
    exported = features.exported(tmp_path / "tanh.pt2")
    torch.testing.assert_close(exported(x), by(x))
    assert exported.name == "tanh"
    with pytest.raises(ValueError, match="must have a linear layer; Tanh has none"):
        features.penultimate(torch.nn.Tanh())
    with pytest.raises(FileNotFoundError, match="no exported program"):
        features.exported(tmp_path / "none.pt2")


def test_modes_that_are_lost_are_counted():
    real = torch.arange(10).repeat(50)
    generated = real[real < 8]
    found = metrics.mode_weights(generated, real)
    assert found.lost == (8, 9)
    assert found.covered == 8
    assert found.total_variation.value == pytest.approx(0.2)
    assert found.total_variation.p_value == 1e-4
    assert found.weights[9].interval()[0] == 0
    assert found.weights[9].floor == pytest.approx(0.1)
    assert found.weights[9].p_value < 1e-6


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda x: metrics.frechet(x[:3], x), "x must hold at least 4 samples"),
        (lambda x: metrics.mmd(x, x[:, :2]), r"x and y must have the same event size; got \[3, 2\]"),
        (lambda x: metrics.mmd(x, x, bandwidth=0), "bandwidth must be positive; got 0"),
        (lambda x: metrics.sliced(x * math.nan, x), "x must be finite; 20 of 20 samples are not"),
        (lambda x: metrics.sliced(x, x, groups=1).extrapolated, "groups must be at least 2; got 1"),
        (lambda x: metrics.wasserstein(x, x, order=0.5), "order must be at least 1; got 0.5"),
        (lambda x: metrics.precision_recall(real=x, generated=x, k=10), r"k must lie in \[1, 9\]"),
        (lambda x: metrics.mmd(x, x, features=lambda x: x[:, 0]), r"features of x must be \(20, d\); got \(20,\)"),
        (lambda x: metrics.mmd(x, x).interval(1.0), r"level must lie in \(0, 1\); got 1"),
        (lambda x: metrics.mode_weights(x[:, 0], x[:, 0]), "generated must be integer labels"),
        (lambda x: features.pca(x, 4), r"k must lie in \[1, 3\]; got 4"),
        (lambda x: metrics.kernel_stein(x, lambda x: -x, noise_ratios=0.5), "noise_ratios need the scores"),
        (lambda x: metrics.kernel_stein(x, lambda x: x / 0), "the target's scores must be finite"),
    ],
)
def test_bad_input(call, line):
    with pytest.raises(ValueError, match=line):
        call(normal(20, 3, 0))


def test_what_is_not_stated_is_nan():
    bare = Evidence(name="bare", value=1.0, n=(3,), bounds=lambda level: (0.0, 2.0))
    assert math.isnan(bare.floor)
    assert math.isnan(bare.p_value)
    assert bare.extrapolated == 1
    assert bare.summary()["floor"] is None
    assert str(bare) == "bare 1, 90% [0, 2], n = 3, features raw"
