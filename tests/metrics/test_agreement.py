"""Every statistic against scikit-learn, SciPy, POT, or the formula that torch-fidelity and PRDC write, to 1e-6."""

import numpy as np
import ot
import pytest
import scipy.linalg
import torch
from scipy import optimize, stats
from scipy.spatial.distance import cdist
from sklearn import decomposition, neighbors
from sklearn import metrics as sk
from sklearn.metrics import pairwise

from scorefield import metrics


def sets(n=90, m=70, d=5, shift=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(size, d, generator=generator, dtype=torch.float64) for size in (n, m))
    return 1.2 * x + shift, y


def test_frechet_is_that_of_the_matrix_root():
    x, y = sets()
    a, b = x.numpy(), y.numpy()
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    fid = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * np.real(root)
    )
    assert metrics.frechet(x, y).value == pytest.approx(fid, rel=1e-6)


def unbiased(kxx, kyy, kxy):
    n, m = kxy.shape
    return (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1)) - 2 * kxy.mean()


def test_kernel_distances_are_those_of_scikit_learns_kernels():
    x, y = sets()
    pairs = (x, x), (y, y), (x, y)
    kid = unbiased(*(pairwise.polynomial_kernel(a, b, degree=3, coef0=1) for a, b in pairs))
    assert metrics.kernel_distance(x, y).value == pytest.approx(kid, rel=1e-6)
    h = 1.7
    mixed = [
        np.mean([pairwise.rbf_kernel(a, b, gamma=1 / (2 * (f * h) ** 2)) for f in (0.5, 1, 2)], 0) for a, b in pairs
    ]
    assert metrics.mmd(x, y, bandwidth=h).value == pytest.approx(unbiased(*mixed), rel=1e-6)
    linear = metrics.mmd(x, y, kernel=lambda a, b: a @ b.T)
    assert linear.value == pytest.approx(unbiased(*(a.numpy() @ b.numpy().T for a, b in pairs)), rel=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_wasserstein_is_the_best_assignment(order):
    x, y = sets(60, 60)
    costs = cdist(x, y) ** order
    best = costs[optimize.linear_sum_assignment(costs)].mean() ** (1 / order)
    assert metrics.wasserstein(x, y, order=order).value == pytest.approx(best, rel=1e-6)
    x, y = sets(50, 33)
    best = float(np.sum(ot.emd([], [], cdist(x, y) ** order) * cdist(x, y) ** order)) ** (1 / order)
    assert metrics.wasserstein(x, y, order=order).value == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("m", [70, 90])
def test_sliced_is_pots_along_the_same_directions(order, m):
    x, y = sets(90, m)
    theta = torch.randn(256, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    theta = theta / theta.norm(dim=1, keepdim=True)
    pots = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=theta.T.numpy(), p=order)
    assert metrics.sliced(x, y, order=order, seed=3).value == pytest.approx(np.asarray(pots).item(), rel=1e-6)
    line = stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert metrics.sliced(x[:, :1], y[:, :1], order=1).value == pytest.approx(line, rel=1e-6)


def test_precision_and_recall_are_those_of_nearest_neighbours():
    generated, real = sets(90, 70, shift=0.8)
    k = 4
    radius, its = (
        neighbors.NearestNeighbors(n_neighbors=k + 1).fit(s).kneighbors(s)[0][:, -1] for s in (real, generated)
    )
    between = cdist(real, generated)
    expected = {
        "precision": (between < radius[:, None]).any(0).mean(),
        "recall": (between < its).any(1).mean(),
        "density": (between < radius[:, None]).sum() / (k * len(generated)),
        "coverage": (between.min(1) < radius).mean(),
    }
    found = metrics.precision_recall(real=real, generated=generated, k=k)
    assert {e.name: e.value for e in found} == pytest.approx(expected, abs=1e-6)


def test_a_classifiers_area_is_scikit_learns_and_its_test_mann_and_whitneys():
    x, y = sets(400, 400, shift=0.12)

    class First:  # scores by the first entry, so that halves of any order are scored alike
        def fit(self, *_):
            pass

        def decision_function(self, held):
            self.seen = [*getattr(self, "seen", []), held[:, 0]]
            return held[:, 0]

    by = First()
    found = metrics.two_sample(x, y, classifier=by, permutations=4999)
    generated, real = by.seen
    area = sk.roc_auc_score(np.r_[np.zeros(200), np.ones(200)], np.r_[generated, real])
    assert found.value == pytest.approx(area, abs=1e-6)
    exact = stats.mannwhitneyu(real, generated, alternative="greater").pvalue
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4999) + 1 / 5000)


def test_shares_have_wilsons_interval_and_fishers_p_value():
    generated, real = torch.tensor([0] * 10 + [1] * 30), torch.tensor([0] * 25 + [1] * 25)
    zero = metrics.mode_weights(generated, real).weights[0]
    wilson = stats.binomtest(10, 40).proportion_ci(0.9, method="wilson")
    assert zero.interval(0.9) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    assert zero.p_value == pytest.approx(stats.fisher_exact([[10, 30], [25, 25]])[1])


def test_principal_components_are_scikit_learns():
    x, y = sets(200, 50, d=7)
    by = decomposition.PCA(3).fit(x.numpy())
    found, expected = metrics.features.pca(x, 3)(y).numpy(), by.transform(y.numpy())
    signs = np.sign((found * expected).sum(0))  # a component's sign is a convention
    np.testing.assert_allclose(found, expected * signs, atol=1e-9)


def test_the_stein_kernel_is_what_differentiation_makes_of_it():
    x, _ = sets(6, 2, d=3)
    h = 1.3

    def kernel(a, b):
        return (1 + (a - b).square().sum() / h**2) ** -0.5

    def score(a):
        return -a * (1 + a.square().sum(-1, keepdim=True))

    total = 0.0
    for i in range(6):
        for j in range(6):
            if i == j:
                continue
            of_x, of_y = (torch.func.grad(kernel, argnums=k)(x[i], x[j]) for k in (0, 1))
            mixed = torch.func.jacfwd(torch.func.grad(kernel, argnums=1), argnums=0)(x[i], x[j])
            si, sj = score(x[i]), score(x[j])
            total += float(si @ sj * kernel(x[i], x[j]) + si @ of_y + sj @ of_x + mixed.trace())
    assert metrics.kernel_stein(x, score, bandwidth=h).value == pytest.approx(total / 30, rel=1e-6)
