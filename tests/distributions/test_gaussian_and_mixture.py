import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from scorefield.distributions import Distribution, Gaussian, GaussianMixture

f64 = torch.float64


scipy_normal: Any = multivariate_normal  # its stub takes numbers only


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=f64, generator=generator(seed))


def spd(*shape: int, seed: int = 0, ridge: float = 0.1) -> torch.Tensor:
    a = normal(*shape, shape[-1], seed=seed) / math.sqrt(shape[-1])
    return a @ a.mT + ridge * torch.eye(shape[-1], dtype=f64)


WEIGHTS = torch.tensor([0.6, 0.3, 0.1], dtype=f64)
D = 4
MEANS = 1.5 * normal(3, D, seed=1)

CASES: dict[str, Gaussian | GaussianMixture] = {
    "gaussian dense": Gaussian(MEANS[0], spd(D, seed=2)),
    "gaussian diagonal": Gaussian(MEANS[0], torch.tensor([0.2, 1.0, 0.5, 2.0], dtype=f64)),
    "gaussian isotropic": Gaussian(MEANS[0], torch.full((D,), 0.3, dtype=f64)),
    "gaussian factor": Gaussian.low_rank(MEANS[0], torch.full((D,), 0.1, dtype=f64), normal(D, 2, seed=3)),
    "gaussian factor, uneven": Gaussian.low_rank(MEANS[0], spd(D, seed=4).diagonal(), normal(D, 2, seed=3)),
    "mixture dense": GaussianMixture(WEIGHTS, MEANS, spd(3, D, seed=5)),
    "mixture diagonal": GaussianMixture(WEIGHTS, MEANS, spd(3, D, seed=6).diagonal(dim1=1, dim2=2)),
    "mixture isotropic": GaussianMixture(WEIGHTS, MEANS, torch.tensor([[0.1], [0.5], [1.0]], dtype=f64).expand(3, D)),
    "mixture factor": GaussianMixture.low_rank(
        WEIGHTS, MEANS, torch.tensor([[0.1], [0.2], [0.05]], dtype=f64).expand(3, D), normal(3, D, 2, seed=7)
    ),
    "mixture 20-d, through BLAS": GaussianMixture(WEIGHTS, normal(3, 20, seed=8), spd(3, 20, seed=9)),
    "mixture 20-d factor, through BLAS": GaussianMixture.low_rank(
        WEIGHTS, normal(3, 20, seed=8), torch.full((3, 20), 0.1, dtype=f64), normal(3, 20, 3, seed=9)
    ),
}
LEVELS = [(1.0, 0.0), (0.8, 0.6), (1.0, 3.0), (0.05, 1.0), (0.7, 1e-3)]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def parts(p: Distribution) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Weights, means and dense covariances, as numpy."""
    if isinstance(p, Gaussian):
        return [(1.0, p.mean.numpy(), p.covariance.numpy())]
    assert isinstance(p, GaussianMixture)
    return list(zip(p.weights.tolist(), p.means.numpy(), p.covariances.numpy(), strict=True))


def scipy_log_prob(p: Distribution, x: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    eye = np.eye(x.shape[1])
    terms = [
        math.log(w) + scipy_normal.logpdf(x.numpy(), alpha * m, alpha**2 * c + sigma**2 * eye) for w, m, c in parts(p)
    ]
    return torch.logsumexp(torch.tensor(np.array(terms)).reshape(len(terms), -1), 0)


def points(p: Distribution, alpha: float, sigma: float, n: int = 60) -> torch.Tensor:
    x0 = p.sample(n, generator=generator(11))
    return alpha * x0 + sigma * normal(*x0.shape, seed=12)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_log_prob_is_scipys(case, alpha, sigma):
    x = points(case, alpha, sigma)
    torch.testing.assert_close(
        case.log_prob_at(x, alpha, sigma), scipy_log_prob(case, x, alpha, sigma), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(case.noised(alpha, sigma).log_prob(x), case.log_prob_at(x, alpha, sigma))


def test_low_rank_is_the_dense_law_it_names():
    mean, diagonal, factor = normal(D), spd(D).diagonal(), normal(D, 2, seed=3)
    dense = torch.diag(diagonal) + factor @ factor.T
    for p in (Gaussian.low_rank(mean, diagonal, factor), Gaussian.low_rank(mean, diagonal, normal(D, 6, seed=3))):
        assert p.covariance.shape == (D, D)
    torch.testing.assert_close(Gaussian.low_rank(mean, diagonal, factor).covariance, dense)
    flat = torch.full((D,), 0.1, dtype=f64)
    torch.testing.assert_close(Gaussian.low_rank(mean, flat, factor).covariance, torch.diag(flat) + factor @ factor.T)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_score_is_the_gradient_of_log_prob(case, alpha, sigma):
    x = points(case, alpha, sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(case.log_prob_at(x, alpha, sigma).sum(), x)
    score = case.score_at(x, alpha, sigma).detach()
    assert (score - gradient).abs().max() <= 1e-9 * gradient.abs().max()


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_denoise_obeys_tweedie(case, alpha, sigma):
    x = points(case, alpha, sigma)
    expected = (x + sigma**2 * case.score_at(x, alpha, sigma)) / alpha
    torch.testing.assert_close(case.denoise(x, alpha, sigma), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS[1:])
def test_posterior_covariance_is_tweedies_second_order_formula(case, alpha, sigma):
    x = points(case, alpha, sigma, n=5)
    covariance = case.posterior_covariance(x, alpha, sigma)
    for row, expected in zip(x, covariance, strict=True):
        jacobian = torch.func.jacrev(lambda y: case.denoise(y[None], alpha, sigma)[0])(row)
        torch.testing.assert_close(sigma**2 / alpha * jacobian, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS[1:])
def test_the_formulas_its_module_opens_with(case, alpha, sigma):
    """Score, posterior mean and covariance by inverses of V_k, in plain matrices."""
    x = points(case, alpha, sigma, n=5)
    density, terms = torch.exp(scipy_log_prob(case, x, alpha, sigma)), []
    for w, *law in parts(case):
        m, c = (torch.from_numpy(a) for a in law)
        v = alpha**2 * c + sigma**2 * torch.eye(len(m), dtype=f64)
        likelihood = np.atleast_1d(scipy_normal.pdf(x.numpy(), alpha * m.numpy(), v.numpy()))
        white = torch.linalg.solve(v, (x - alpha * m).T).T
        rho = w * torch.from_numpy(likelihood) / density
        terms.append((rho, -white, m + alpha * white @ c, sigma**2 * c @ torch.linalg.inv(v)))
    rho, score, mean, covariance = (torch.stack(column) for column in zip(*terms, strict=True))
    rho = rho[..., None]
    expected = (rho * mean).sum(0)
    between = (mean - expected)[..., None] * (mean - expected)[..., None, :]
    torch.testing.assert_close(case.score_at(x, alpha, sigma), (rho * score).sum(0), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(case.denoise(x, alpha, sigma), expected, rtol=1e-8, atol=1e-8)
    of_all = (rho[..., None] * (covariance[:, None] + between)).sum(0)
    torch.testing.assert_close(case.posterior_covariance(x, alpha, sigma), of_all, rtol=1e-7, atol=1e-9)


def test_one_noise_level_per_sample(case):
    x = points(case, 0.8, 0.6, n=50)
    alpha, sigma = torch.linspace(0.1, 1, 50, dtype=f64), torch.linspace(2, 0.01, 50, dtype=f64)
    for f in (case.denoise, case.score_at, case.log_prob_at, case.posterior_covariance):
        rows = torch.cat([f(x[i : i + 1], float(alpha[i]), float(sigma[i])) for i in range(50)])
        torch.testing.assert_close(f(x, alpha, sigma), rows, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(case.denoise(x, 0.7, sigma), case.denoise(x, torch.full((50,), 0.7, dtype=f64), sigma))


@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_the_ends_of_the_schedule(case, dtype):
    tolerance = 4 * torch.finfo(dtype).eps
    x = points(case, 1.0, 0.0).to(dtype)
    scale = float(x.abs().max())
    assert (case.denoise(x, 0.8, 0.0) - x / 0.8).abs().max() <= tolerance * 2 * scale
    p = case.to(dtype)
    noise = normal(*x.shape, seed=5).to(dtype)
    far = case.denoise(noise, 0.0, 1.0)
    assert far.dtype == dtype
    # the distances |x|^2 are taken in the basis of each component: responsibilities carry their rounding
    distance = float((noise**2).sum(1).max())
    assert (far - p.mean).abs().max() <= tolerance * max(distance, 1) * 10
    torch.testing.assert_close(case.score_at(x, 0.0, 2.0), -x / 4)


def test_noising_twice_is_noising_once(case):
    x = points(case, 0.5, 0.5)
    twice, once = case.noised(0.8, 0.3).noised(0.5, 0.4), case.noised(0.4, math.hypot(0.15, 0.4))
    torch.testing.assert_close(twice.log_prob(x), once.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(twice.mean, once.mean)
    torch.testing.assert_close(twice.variance, once.variance)


def test_samples_have_the_moments_the_law_states(case):
    """z-tests of every mean and covariance, about 1500 at 5 sigma: < 1e-3 false alarms in all."""
    n = 20_000
    for p in (case, case.noised(0.7, 0.4)):
        x = p.sample(n, generator=generator(3))
        mean = torch.stack([w * torch.tensor(m) for w, m, _ in parts(p)]).sum(0)
        second = torch.stack([w * torch.tensor(c + np.outer(m, m)) for w, m, c in parts(p)]).sum(0)
        covariance = second - torch.outer(mean, mean)
        torch.testing.assert_close(p.mean, mean)
        torch.testing.assert_close(p.variance, covariance.diagonal())
        assert ((x.mean(0) - mean).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
        products = (x - mean)[:, :, None] * (x - mean)[:, None]
        assert ((products.mean(0) - covariance).abs() < 5 * products.std(0) / math.sqrt(n)).all()


def test_mixture_score_weighs_components_by_responsibility_not_by_weight():
    p = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=f64), torch.tensor([[-3.0], [3.0]], dtype=f64), torch.ones(2, 1, dtype=f64)
    )
    x = torch.tensor([[3.5]], dtype=f64)
    scores = -(x - p.means)
    rho = p.responsibilities(x)
    torch.testing.assert_close(p.score(x), rho @ scores)
    assert (p.score(x) - p.weights @ scores).abs() > 2  # the weights would point across the gap, to the other mode
    torch.testing.assert_close(rho[0, 1], torch.sigmoid(torch.tensor(6 * 3.5, dtype=f64)))


@pytest.mark.parametrize("noise", ["std", "stds", "covariance"])
def test_posterior_is_bayes_on_a_grid(noise):
    p = GaussianMixture(WEIGHTS, MEANS[:, :2], 0.3 * spd(3, 2, seed=5))
    operator, y = torch.tensor([[1.0, -0.5], [0.3, 1.0]], dtype=f64), torch.tensor([0.4, -0.2], dtype=f64)
    value = {"std": 0.5, "stds": torch.tensor([0.5, 0.8], dtype=f64), "covariance": spd(2, seed=13)}[noise]
    dense = {"std": 0.25 * np.eye(2), "stds": np.diag([0.25, 0.64]), "covariance": spd(2, seed=13).numpy()}

    axis = torch.linspace(-6, 6, 401, dtype=f64)
    grid = torch.cartesian_prod(axis, axis)
    log_joint = p.log_prob(grid) + torch.tensor(
        scipy_normal.logpdf((grid @ operator.T).numpy(), y.numpy(), dense[noise])
    )
    cell = float(axis[1] - axis[0]) ** 2
    expected = log_joint - torch.logsumexp(log_joint, 0) - math.log(cell)
    inside = expected > -12
    torch.testing.assert_close(
        p.posterior(operator, y, value).log_prob(grid)[inside], expected[inside], atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("gaussian")])
def test_gaussian_posterior_is_the_textbook_formula(name):
    case = CASES[name]
    assert isinstance(case, Gaussian)
    operator, y, noise = normal(2, D, seed=20), normal(2, seed=21), 0.3
    c = case.covariance
    gain = c @ operator.T @ torch.linalg.inv(operator @ c @ operator.T + noise**2 * torch.eye(2, dtype=f64))
    posterior = case.posterior(operator, y, noise)
    torch.testing.assert_close(posterior.mean, case.mean + gain @ (y - operator @ case.mean))
    torch.testing.assert_close(posterior.covariance, c - gain @ operator @ c)


def test_posterior_of_an_almost_exact_measurement_keeps_its_accuracy():
    p = Gaussian(torch.zeros(3, dtype=f64), spd(3, seed=1))
    sharp = p.posterior(torch.eye(3, dtype=f64), torch.ones(3, dtype=f64), 1e-7)
    torch.testing.assert_close(sharp.covariance / 1e-14, torch.eye(3, dtype=f64), rtol=1e-6, atol=1e-6)


def test_denoising_is_the_posterior_of_the_identity_operator(case):
    x = points(case, 0.8, 0.6, n=1)
    eye = torch.eye(x.shape[1], dtype=f64)
    posterior = case.posterior(0.8 * eye, x[0], 0.6)
    torch.testing.assert_close(case.denoise(x, 0.8, 0.6)[0], posterior.mean)
    torch.testing.assert_close(
        case.posterior_covariance(x, 0.8, 0.6)[0].diagonal(), posterior.variance, rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, f64])
@pytest.mark.parametrize("kind", ["diagonal", "factor", "dense"])
def test_stable_in_a_thousand_dimensions_at_1e_6_noise(kind, dtype):
    d, k, sigma = 1000, 3, 1e-6
    means, weights = normal(k, d, seed=1), torch.tensor([0.2, 0.3, 0.5], dtype=f64)
    if kind == "diagonal":
        p = GaussianMixture(weights, means, 0.1 + normal(k, d, seed=2) ** 2)
    elif kind == "factor":
        p = GaussianMixture.low_rank(weights, means, torch.full((k, d), 0.1, dtype=f64), normal(k, d, 4, seed=2))
    else:
        p = GaussianMixture(weights[:1] / 0.2, means[:1], spd(d, seed=2)[None])
    x0 = p.sample(20, generator=generator(3))
    x = (x0 + sigma * normal(20, d, seed=4)).to(dtype)
    eps = torch.finfo(dtype).eps
    assert (p.denoise(x, 1.0, sigma) - x).abs().max() <= 1e-10 + 20 * eps * x.abs().max()  # sigma^2 |score| < 1e-10
    exact, score = p.to(f64).score_at(x.double(), 1.0, sigma), p.score_at(x, 1.0, sigma)
    assert (score - exact).abs().max() <= 2e3 * eps * exact.abs().max()
    log_prob = p.log_prob_at(x, 1.0, sigma)
    torch.testing.assert_close(log_prob.double(), p.log_prob_at(x.double(), 1.0, sigma), rtol=300 * eps, atol=0)
    at_the_mode = p.denoise((p.means[:1] if p.means.ndim == 2 else p.means).to(dtype), 1.0, sigma)
    assert (at_the_mode - p.means[:1]).abs().max() <= 20 * eps * 5


def test_float32_keeps_responsibilities_between_components_a_few_sigma_apart():
    """Means 5e-6 apart at sigma = 1e-6, around 1: x - m_k must not be rounded at the size of x."""
    means = torch.tensor([[1.0], [1.0 + 2.0**-18]], dtype=f64)
    p = GaussianMixture(torch.tensor([0.5, 0.5]), means, torch.full((2, 1), 1e-14, dtype=f64))
    x = torch.tensor([[1.0], [1.0 + 2.0**-19], [1.0 + 2.0**-18]], dtype=torch.float32)
    torch.testing.assert_close(p.responsibilities(x, 1.0, 1e-6).double(), p.responsibilities(x.double(), 1.0, 1e-6))
    assert p.responsibilities(x, 1.0, 1e-6)[1, 0] == pytest.approx(0.5, abs=1e-5)


def test_far_away_and_empty():
    p = CASES["mixture dense"]
    assert isinstance(p, GaussianMixture)
    far = torch.full((1, D), 1e8, dtype=f64)
    assert torch.isfinite(p.score_at(far, 1.0, 1e-3)).all()
    assert p.responsibilities(far).sum() == pytest.approx(1)
    empty = torch.empty(0, D)
    assert p.denoise(empty, 0.8, torch.empty(0, dtype=f64)).shape == (0, D)
    assert p.log_prob(empty).shape == (0,)
    assert p.sample(0).shape == (0, D)


def test_a_component_of_weight_zero_is_absent():
    p = GaussianMixture([0.0, 1.0], [[0.0], [1.0]], [[1.0], [2.0]])
    x = torch.linspace(-2, 2, 9)[:, None]
    torch.testing.assert_close(p.score(x), Gaussian([1.0], [2.0]).score(x))


def test_dtypes_and_values_are_kept(case):
    assert case.dtype == f64
    single = case.to(torch.float32)
    assert case.dtype == f64  # `to` makes another value
    assert single.sample(3).dtype == single.mean.dtype == torch.float32
    x = points(case, 1.0, 0.0, n=4)
    assert case.denoise(x.float(), 0.9, 0.5).dtype == torch.float32
    assert case.denoise(x.bfloat16(), 0.9, 0.5).dtype == torch.bfloat16
    torch.testing.assert_close(single.score(x), case.score(x))


def test_a_first_call_under_inference_mode_leaves_it_differentiable():
    p = GaussianMixture(WEIGHTS, MEANS, spd(3, D, seed=5))
    x = normal(2, D)
    with torch.inference_mode():
        p.denoise(x, 0.8, 0.6)
    y = x.clone().requires_grad_()
    p.denoise(y, 0.8, 0.6).sum().backward()
    assert y.grad is not None


def test_parameters_do_not_follow_the_callers_tensor():
    mean = torch.zeros(2)
    p = Gaussian(mean, torch.ones(2))
    mean += 7
    assert p.mean.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(torch.zeros(2), torch.eye(3)), r"covariance must have shape \(2, 2\); got \(3, 3\)"),
        (lambda: Gaussian(torch.zeros(2, 1), torch.eye(2)), r"mean must have shape \(D,\); got \(2, 1\)"),
        (
            lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            "covariance must be positive definite; got eigenvalues from -1 to 3",
        ),
        (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [0.0, 9.0]])), "covariance must be symmetric"),
        (
            lambda: Gaussian(torch.zeros(2), torch.tensor([1.0, 0.0])),
            "covariance, given as variances, must be positive",
        ),
        (lambda: Gaussian([0.0, math.nan], torch.eye(2)), "mean must be finite; 1 of its 2 entries"),
        (lambda: Gaussian.low_rank(torch.zeros(2), -torch.ones(2), torch.ones(2, 1)), "diagonal must be positive"),
        (
            lambda: GaussianMixture([0.5, 0.6], torch.zeros(2, 1), torch.ones(2, 1)),
            r"weights must sum to 1.*sum of 1\.1",
        ),
        (lambda: GaussianMixture([1.5, -0.5], torch.zeros(2, 1), torch.ones(2, 1)), "weights must be non-negative"),
        (
            lambda: GaussianMixture([0.5, 0.5], torch.zeros(2, 2), torch.stack([torch.eye(2), torch.ones(2, 2)])),
            r"covariances\[1\] must be positive definite",
        ),
        (lambda: CASES["gaussian dense"].denoise(torch.zeros(3, 2), 1, 1), r"x must have shape \(B, 4\); got \(3, 2\)"),
        (
            lambda: CASES["gaussian dense"].denoise(torch.zeros(3, 4), 1, torch.ones(2)),
            r"sigma must have shape \(\) or \(3,\), one for each of x; got \(2,\)",
        ),
        (lambda: CASES["gaussian dense"].noised(0, 0), "alpha and sigma must be finite, >= 0 and not both 0"),
        (lambda: CASES["gaussian dense"].posterior(torch.eye(4), torch.zeros(4), 0.0), "noise must be positive"),
        (
            lambda: CASES["gaussian dense"].posterior(torch.eye(3), torch.zeros(3), 1.0),
            r"operator must have shape \(M, 4\)",
        ),
        (lambda: CASES["gaussian dense"].to(torch.int64), "dtype must be torch.float32 or torch.float64"),
    ],
)
def test_errors_name_the_argument_and_what_came(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_float32_responsibilities_hold_in_a_thousand_dimensions():
    """Logits are half sums of a thousand squares and log-determinants of 1e4: their errors must stay below 1e-3."""
    p = GaussianMixture(WEIGHTS, 0.1 * normal(3, 1000, seed=1), spd(3, 1000, seed=2))
    for alpha, sigma in ((0.01, 1.0), (0.05, 1e-2 * 5)):
        x = points(p, alpha, sigma, n=20).float()
        torch.testing.assert_close(
            p.responsibilities(x, alpha, sigma).double(),
            p.responsibilities(x.double(), alpha, sigma),
            rtol=1e-3,
            atol=1e-6,
        )
