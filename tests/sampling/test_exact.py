"""`exact=True`: the same bits in any batch, for networks and exact laws that multiply matrices.

Asked for on this processor's kernels, and on kernels that differ with every shape and place.
"""

import contextlib
import itertools

import pytest
import torch
from network_cases import scrambled

import scorefield as sf
from rounding import OtherKernels, carried, products, same
from scorefield import networks

BATCHES = [(1, 37), (3, 30), (7, 60), (64, 3)]  # (samples, the number of the first)
EVENTS = {"mlp": (6,), "unet": (1, 8, 8), "mixture": (12,)}
SOLVERS = {
    "default": (None, {"nfe": 5}),
    "ddpm": (sf.DDPM(), {"nfe": 5}),
    "heun": (sf.Heun(), {"nfe": 5}),
    "churn": (sf.Churn(), {"nfe": 6}),
    "corrected": (sf.PredictorCorrector(), {"nfe": 6}),
    "adaptive": (sf.Adaptive(rtol=0.2, atol=0.2), {}),
    "adaptive sde": (sf.AdaptiveSDE(rtol=1.0, atol=1.0), {}),
    "picard": (sf.Picard(window=3), {"nfe": 5}),
}


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def model(name):
    if name == "mixture":  # of dense covariances: its products are of matrices of 12 x 12
        roots = normal(3, 12, 12) / 12**0.5
        law = sf.GaussianMixture(torch.ones(3) / 3, normal(3, 12, seed=1), roots @ roots.mT + 0.1 * torch.eye(12))
        return sf.ExactDenoiser(law, sf.VP())
    net = networks.MLP(6, hidden=32, depth=2, num_classes=3)
    net = net if name == "mlp" else networks.UNet(1, width=8, num_classes=3)
    return sf.NetworkDenoiser(scrambled(net), sf.VP(), sf.V())


def drawn(denoiser, name, batch, first, solver="default", **options):
    """Samples first, first + 1, ..., each of the class of its number."""
    cond = {} if name == "mixture" else {"label": torch.arange(first, first + batch) % 3}
    method, budget = SOLVERS[solver]
    shape = (batch, *EVENTS[name])
    return sf.sample(denoiser, shape, solver=method, first_index=first, cond=cond, seed=3, **budget, **options)


@pytest.mark.rounding
@pytest.mark.parametrize(
    ("name", "solver"), [*itertools.product(["mlp", "mixture"], SOLVERS), ("unet", "default"), ("unet", "adaptive")]
)
def test_an_exact_sample_has_the_same_bits_in_any_batch(name, solver):
    denoiser = model(name)
    for kernels in (contextlib.nullcontext(), OtherKernels()):
        with kernels:
            whole = drawn(denoiser, name, 67, 0, solver, exact=True)
            for batch, first in BATCHES if solver == "default" else BATCHES[1:3]:
                part, rows = drawn(denoiser, name, batch, first, solver, exact=True), slice(first, first + batch)
                assert torch.equal(part.x, whole.x[rows])
                if whole.evaluations is not None:
                    assert part.evaluations is not None
                    assert torch.equal(part.evaluations, whole.evaluations[rows])
                    assert part.nfe == int(part.evaluations.max())


@pytest.mark.rounding
@pytest.mark.parametrize("solver", ["default", "churn"])
@pytest.mark.parametrize("name", EVENTS)
def test_any_other_is_the_same_to_rounding(name, solver):
    """The longest sums: 288 of a convolution over 32 channels of 3 x 3, fewer in the other two."""
    denoiser = model(name)
    whole = drawn(denoiser, name, 67, 0, solver).x
    bound = carried(lambda: drawn(denoiser, name, 67, 0, solver).x, 288, torch.float32)
    for batch, first in BATCHES:
        same(drawn(denoiser, name, batch, first, solver).x, whole[first : first + batch], bound)
    same(drawn(denoiser, name, 67, 0, solver, chunk=9).x, whole, bound)
    same(drawn(denoiser, name, 67, 0, solver, exact=True).x, whole, bound)


@pytest.mark.parametrize("solver", ["heun", "adaptive"])
@pytest.mark.parametrize("name", EVENTS)
def test_every_product_has_one_shape_whatever_the_batch(name, solver):
    denoiser = model(name)
    alone, of_one = products(lambda: drawn(denoiser, name, 1, 5, solver, exact=True).x)
    _, of_many = products(lambda: drawn(denoiser, name, 67, 0, solver, exact=True).x)
    assert of_one == of_many
    assert alone.shape == (1, *EVENTS[name])
    _, of_others = products(lambda: drawn(denoiser, name, 67, 0, solver, exact=True, chunk=50).x)
    assert of_one != of_others  # chunk is what they are of


class Watched(sf.Denoiser):
    """An exact law that says how many rows it was asked for, and that moves by `label`."""

    def __init__(self):
        super().__init__()
        self.exact, self.seen = model("mixture"), []
        self.schedule, self.data_std = self.exact.schedule, self.exact.data_std

    def forward(self, x_t, t, label, shared):
        self.seen.append((len(x_t), label.tolist()))
        return self.exact(x_t, t) + shared * label[:, None]


def test_what_fills_the_pieces_is_never_seen_but_by_the_network():
    denoiser, steps = Watched(), []
    result = sf.sample(
        denoiser, (7, 12), solver=sf.Heun(), nfe=5, first_index=2, chunk=4, exact=True, trajectory=True,
        cond={"label": torch.arange(7), "shared": 0.1},
        callback=lambda s, x, x0: steps.append((x.clone(), x0.shape)),
    )  # fmt: skip
    # samples 2 to 8, in pieces 0-3, 4-7, 8-11, filled up with the nearest of those that are asked for
    first = len(denoiser.seen) // 3
    labels = [[0, 0, 0, 1], [2, 3, 4, 5], [6, 6, 6, 6]]
    assert denoiser.seen == [(4, row) for row in labels for _ in range(first)]
    assert result.x.shape == (7, 12)
    assert result.trajectory is not None
    assert result.trajectory.shape[1:] == (7, 12)
    assert torch.equal(result.trajectory[-1], result.x)
    per = len(steps) // 3
    assert [len(x) for x, _ in steps] == [2] * per + [4] * per + [1] * per
    assert torch.equal(torch.cat([steps[k * per - 1][0] for k in (1, 2, 3)]), result.x)
    assert result.evaluations is None
    assert result.nfe == result.depth == first


def test_evaluations_are_those_of_the_samples_that_were_asked_for():
    """The one that needs the fewest steps, filled up with copies of itself: no other's are counted."""
    denoiser, solver = model("mixture"), sf.Adaptive(rtol=1e-3, atol=1e-3)
    every = sf.sample(denoiser, (8, 12), solver=solver, exact=True, chunk=8)
    assert every.evaluations is not None
    least, most = int(every.evaluations.argmin()), int(every.evaluations.max())
    one = sf.sample(denoiser, (1, 12), solver=solver, exact=True, chunk=8, first_index=least)
    assert one.evaluations is not None
    assert one.evaluations.tolist() == [int(every.evaluations[least])]
    assert one.nfe == one.depth == int(every.evaluations[least]) < most
    assert torch.equal(one.x[0], every.x[least])


@pytest.mark.rounding
def test_an_exact_start_may_be_given():
    denoiser, x = model("unet"), normal(40, 1, 8, 8)
    label = torch.arange(40) % 3
    for kernels in (contextlib.nullcontext(), OtherKernels()):
        with kernels:
            whole = sf.sample(denoiser, x, nfe=4, cond={"label": label}, exact=True).x
            part = sf.sample(denoiser, x[29:36], nfe=4, cond={"label": label[29:36]}, exact=True, first_index=29).x
            assert torch.equal(part, whole[29:36])


def test_an_empty_batch_and_one_that_fills_its_pieces():
    denoiser = model("mixture")
    assert sf.sample(denoiser, (0, 12), nfe=3, exact=True).x.shape == (0, 12)
    x = sf.sample(denoiser, (64, 12), nfe=3, exact=True)
    assert x.x.shape == (64, 12)
    assert torch.equal(sf.sample(denoiser, (64, 12), nfe=3, chunk=32).x, x.x)  # the same pieces
