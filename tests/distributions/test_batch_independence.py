"""A sample's numbers do not depend on its batch (CPU, one thread)."""

import math

import pytest
import torch

from rounding import carried, products, same
from scorefield.distributions import (
    Empirical,
    Gaussian,
    GaussianMixture,
    UniformBoxes,
    checkerboard,
    eight_gaussians,
    pinwheel,
    two_moons,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spd(k: int, d: int) -> torch.Tensor:
    a = normal(k, d, d, seed=1) / d**0.5
    return a @ a.mT + 0.1 * torch.eye(d)


TENTHS = torch.full((10,), 0.1)
CASES = {
    "gaussian 1-d": lambda: Gaussian([0.5], [2.0]),
    "gaussian dense": lambda: Gaussian(normal(5), spd(1, 5)[0]),
    "gaussian 300-d": lambda: Gaussian(normal(300), spd(1, 300)[0]),
    "eight gaussians": eight_gaussians,
    "moons": two_moons,
    "pinwheel": pinwheel,
    "mixture dense 64-d": lambda: GaussianMixture(TENTHS, normal(10, 64), spd(10, 64)),
    "mixture diagonal 64-d": lambda: GaussianMixture(TENTHS, normal(10, 64), normal(10, 64, seed=2) ** 2 + 0.1),
    "mixture factor 500-d": lambda: GaussianMixture.low_rank(
        TENTHS, normal(10, 500), torch.full((10, 500), 0.1), normal(10, 500, 7, seed=3)
    ),
    "checkerboard": checkerboard,
    "blurred boxes": lambda: UniformBoxes(normal(3, 3), normal(3, 3) + 1, std=0.1),
    "empirical 2-d": lambda: Empirical(normal(1000, 2)),
    "empirical images": lambda: Empirical(normal(1797, 1, 8, 8), bandwidth=0.05),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ELEMENTWISE = ["gaussian 1-d", "eight gaussians", "checkerboard", "blurred boxes"]
LEVELS = torch.linspace(1, 0.1, 256, dtype=torch.float64)
ROWS = [
    torch.randperm(256, generator=torch.Generator().manual_seed(5)),
    *(torch.arange(*ends) for ends in ((0, 1), (47, 48), (255, 256), (13, 80), (100, 149))),
]


def answers(name, dtype):
    """Each answer as a function of the rows asked for, at one level and at one for each."""
    p = CASES[name]()
    x = normal(256, *p.event_shape, seed=4).to(dtype)
    sigma = (1 - LEVELS**2).sqrt() + 0.01
    for f in (p.denoise, p.score_at, p.log_prob_at):
        yield lambda rows, f=f: f(x[rows], 0.8, 0.6)
        yield lambda rows, f=f: f(x[rows], LEVELS[rows], sigma[rows])


LARGE = ["mixture factor 500-d", "empirical images"]  # the others have the same products, sooner


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", [n if n in LARGE else pytest.param(n, marks=pytest.mark.rounding) for n in CASES])
def test_numbers_of_a_sample_do_not_depend_on_its_batch(name, dtype):
    """To the last bit where nothing is multiplied but entry by entry; else to rounding, in products of one shape."""
    everything, p = torch.arange(256), CASES[name]()
    terms = max(math.prod(p.event_shape), size(p))
    for f in answers(name, dtype):
        whole, made = products(lambda f=f: f(everything))
        assert not (made and name in ELEMENTWISE)
        bound = carried(lambda f=f: f(everything), terms, dtype) if made else 0.0
        for rows in ROWS:
            part, its = products(lambda f=f, rows=rows: f(rows))
            same(part, whole[rows], bound)
            assert in_a_block(its) == in_a_block(made)


def in_a_block(made):
    """Products without the number of blocks, which is all that a batch may change."""
    return {(name, *(shape[-2:] for shape in shapes)) for name, shapes in made}


def size(p) -> int:
    """Components, or data, that an answer is a sum over."""
    return len(p.data) if isinstance(p, Empirical) else len(p.weights) if isinstance(p, GaussianMixture) else 1


@pytest.mark.parametrize("name", CASES)
def test_a_level_for_all_is_that_level_for_each(name):
    p = CASES[name]()
    x = normal(60, *p.event_shape, seed=4)
    each = torch.full((60,), 0.6, dtype=torch.float64)
    torch.testing.assert_close(p.denoise(x, 0.8, 0.6), p.denoise(x, 0.8, each), rtol=1e-6, atol=1e-6)
