"""SpectralBridge on stationary Gaussian pictures, whose posterior is known."""

import contextlib
import itertools
import math

import pytest
import torch

import scorefield as sf
from rounding import OtherKernels
from scorefield.inverse import ErrorSpectrum, GaussianNoise, SpectralBridge, calibrate_spectrum, condition
from scorefield.inverse.operators import Blur, Dense, Mask, Nonlinear, Radon, gaussian_kernel
from scorefield.inverse.operators.blur import hartley
from scorefield.inverse.spectral import radius

SIZE = (6, 8)
PIXELS = 48
SCHEDULE = sf.EDM(sigma_max=20.0)
POWER = 4.0 / (1 + radius(SIZE).double()) ** 2  # of each frequency of the data


def basis():
    """Hartley's, `(48, 48)`: symmetric and orthogonal."""
    return hartley(torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, *SIZE), (-2, -1)).reshape(PIXELS, PIXELS)


def covariance():
    return basis() @ torch.diag(POWER.flatten()) @ basis()


class Pictures(sf.Denoiser):
    """The exact denoiser of stationary Gaussian pictures (B, 1, 6, 8) with mean 0.3."""

    def __init__(self, schedule=SCHEDULE):
        super().__init__()
        law = sf.Gaussian(torch.full((PIXELS,), 0.3, dtype=torch.float64), covariance())
        self.exact, self.schedule = sf.ExactDenoiser(law, schedule), schedule
        self.data_mean, self.data_std = 0.3, self.exact.data_std

    def forward(self, x_t, t):
        return self.exact(x_t.flatten(1).double(), t).reshape(x_t.shape).to(x_t)


class Exact:
    """c = p sigma^2 / (alpha^2 p + sigma^2): of Gaussian data of power p."""

    def at(self, denoiser, t):
        alpha, sigma = denoiser.schedule(t)
        return POWER * sigma**2 / (alpha**2 * POWER + sigma**2)


def observed(operator, n, std=0.3):
    x = 0.3 + torch.randn(1, PIXELS, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) @ (
        basis() @ torch.diag(POWER.flatten().sqrt())
    )
    y = operator(x.reshape(1, 1, *SIZE))
    noise = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return GaussianNoise(operator, (y + std * noise).expand(n, *y.shape[1:]), std)


OPERATORS = {
    "mask": lambda: Mask(torch.arange(PIXELS).reshape(1, *SIZE) % 3 == 0),
    "blur": lambda: Blur(gaussian_kernel(0.8, 5), (1, *SIZE), "circular"),
    "radon": lambda: Radon((1, *SIZE), 3),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("schedule", [SCHEDULE, sf.VP()], ids=["edm", "vp"])
def test_stationary_gaussian_pictures_have_their_exact_posterior_in_three_steps(name, schedule):
    operator = OPERATORS[name]()
    likelihood = observed(operator, 1)
    w = operator.dense() / likelihood.noise_std
    u = likelihood.y.flatten(1) / likelihood.noise_std
    cov = torch.linalg.inv(torch.linalg.inv(covariance()) + w.T @ w)
    mean = 0.3 + cov @ w.T @ (u[0] - 0.3 * w.sum(1))
    posterior = condition(Pictures(schedule), likelihood, SpectralBridge(Exact(), tolerance=1e-8))
    n = 4000
    got = posterior.sample(n, nfe=3, seed=1, dtype=torch.float64)
    assert got.residual is not None
    assert float(got.residual.max()) < 1e-7
    x = got.x.reshape(n, PIXELS)
    # five standard errors of a mean; of 48 means one in 4,000 fails by chance
    assert bool(((x.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all())
    # whitened, the sample covariance is 1 + noise of norm about 2 sqrt(48 / 4000) = 0.22
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), (x - mean).T, upper=False)
    assert float(torch.linalg.matrix_norm(white @ white.T / n - torch.eye(PIXELS), 2)) < 0.3


def test_calibration_finds_the_spectrum_of_what_a_denoiser_leaves_open():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(400, PIXELS, dtype=torch.float64, generator=generator)
    x0 = (0.3 + z @ torch.diag(POWER.flatten().sqrt()) @ basis()).reshape(400, 1, *SIZE)
    found = calibrate_spectrum(Pictures(), x0, levels=40, generator=generator)
    for level in found.log_snr[3:-3:6]:
        t = SCHEDULE.time_of_log_snr(level)
        # the rarest radius has one frequency: a relative error of sqrt(2 / 400) = 0.07; four of them
        assert torch.allclose(found.at(Pictures(), t), Exact().at(Pictures(), t), rtol=0.28)
    between = SCHEDULE.time_of_log_snr(found.log_snr[10:12].mean())
    assert torch.allclose(found.at(Pictures(), between), Exact().at(Pictures(), between), rtol=0.28)


def test_a_draw_moves_smoothly_with_the_tolerance():
    """A whole step that came or went at a threshold would be a jump, which the last bit could decide on."""
    likelihood = observed(OPERATORS["radon"](), 1)
    drawn = []
    for tolerance in torch.logspace(-1, -2, 80).tolist():
        posterior = condition(Pictures(), likelihood, SpectralBridge(Exact(), tolerance=tolerance))
        drawn.append(posterior.sample(1, nfe=2, seed=5, dtype=torch.float64).x)
    moves = torch.stack([(b - a).norm() for a, b in itertools.pairwise(drawn)])
    assert moves.max() < 0.15 * moves.sum()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-6])
@pytest.mark.parametrize("own", [pytest.param(False, marks=pytest.mark.rounding, id="one noise"),
                                 pytest.param(True, id="noise of its own")])  # fmt: skip
def test_a_sample_does_not_depend_on_its_batch_or_chunk(own, tolerance, request):
    """No row stops all at once, none is preconditioned by the noise of others: to 1e-6.

    Where the noise is each number's own, rounding that is another in every shape of a batch grows to 3e-4 in the
    iterations that a tolerance of 1e-3 takes.
    """
    if own and request.config.getoption("--other-kernels"):
        pytest.skip("iterations enlarge rounding")
    likelihood, method = observed(OPERATORS["radon"](), 3), SpectralBridge(Exact(), tolerance=tolerance)
    if own:
        noise = 1 + torch.rand(likelihood.y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        sizes = torch.tensor([0.1, 0.3, 1.0]).reshape(3, 1, 1, 1)
        likelihood = GaussianNoise(likelihood.operator, likelihood.y, noise * sizes)
    alone = condition(Pictures(), likelihood.rows(torch.tensor([1])), method)

    def draw(posterior, n, chunk=None, first=0):
        return posterior.sample(n, nfe=4, seed=5, chunk=chunk, first_index=first, dtype=torch.float64).x

    whole = draw(condition(Pictures(), likelihood, method), 4)
    for other, part in (
        (draw(condition(Pictures(), likelihood, method), 4, 3), whole),
        (draw(alone, 2, None, 1), whole[1:2, :2]),
        (draw(alone, 2, 1, 1), whole[1:2, :2]),
    ):
        torch.testing.assert_close(other, part, rtol=0, atol=1e-6)


class Rounded(Pictures):
    """A network's last places, which are others in every shape of a batch."""

    def forward(self, x_t, t):
        moved = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(len(x_t)))
        return super().forward(x_t, t) * (1 + torch.finfo(torch.float32).eps * moved)


def test_last_places_of_a_network_stay_last_places():
    """In float32, 10 steps of values up to 60: draws 1e-5 apart, where a row that stopped all at once moved by 6e-4."""
    likelihood = observed(OPERATORS["radon"](), 8)
    posterior = condition(Rounded(), likelihood, SpectralBridge(Exact()))
    whole, parts = (posterior.sample(32, nfe=10, seed=5, chunk=k, dtype=torch.float32).x for k in (256, 3))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.rounding
def test_an_exact_sample_has_the_same_bits_in_any_batch_or_chunk():
    likelihood, prior, method = observed(OPERATORS["radon"](), 3), Pictures(), SpectralBridge(Exact())
    for kernels in (contextlib.nullcontext(), OtherKernels()):
        with kernels:
            whole = condition(prior, likelihood, method).sample(9, nfe=4, chunk=4, exact=True)
            alone = condition(prior, likelihood.rows(torch.tensor([1])), method)
            few = alone.sample(2, nfe=4, chunk=4, exact=True, first_index=1)
        assert torch.equal(few.x, whole.x[1:2, :2])
        for own, all_of_them in ((few.chi2, whole.chi2), (few.residual, whole.residual)):
            assert own is not None
            assert all_of_them is not None
            assert torch.equal(own, all_of_them[1:2, :2])


def test_radii_count_cycles_along_the_longer_side():
    rings = radius((4, 8))
    assert rings[0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert rings[:, 0].tolist() == [0, 2, 4, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpectralBridge(Exact(), tolerance=0), "tolerance must be positive"),
        (lambda: SpectralBridge(Exact(), particles=2), "particles must be 1"),
        (lambda: ErrorSpectrum(torch.zeros(2), torch.ones(2, 7), (6, 8)), "log_snr .* must increase"),
        (lambda: ErrorSpectrum(torch.arange(2.0), torch.ones(2, 3), (6, 8)), r"variance \(L, 7\) be positive"),
        (lambda: calibrate_spectrum(Pictures(), torch.zeros(0, 1, 6, 8)), "at least one"),
        (
            lambda: condition(
                Pictures(),
                GaussianNoise(Dense(torch.eye(4), (1, 2, 2)), torch.zeros(1, 4), 1.0),
                SpectralBridge(Exact()),
            ),
            r"the spectrum is of pictures \(6, 8\); got \(1, 2, 2\)",
        ),
        (
            lambda: condition(
                Pictures(),
                GaussianNoise(Nonlinear(torch.square, (1, *SIZE), (1, *SIZE)), torch.zeros(1, 1, *SIZE), 1.0),
                SpectralBridge(Exact()),
            ),
            "SpectralBridge needs a GaussianNoise likelihood with a LinearOperator",
        ),
    ],
)
def test_misuse_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_error_of_an_iterative_solve_is_reported():
    got = condition(Pictures(), observed(OPERATORS["radon"](), 1), SpectralBridge(Exact(), limit=1)).sample(2, nfe=3)
    assert got.residual is not None
    assert 1e-2 < float(got.residual.max()) < math.inf
