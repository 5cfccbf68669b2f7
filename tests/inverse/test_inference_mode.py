"""In `torch.inference_mode()`: also with what was made in it, and without leaving anything behind that is of it."""

from typing import Any

import pytest
import torch
from posterior_cases import condition, f64

import scorefield as sf
from scorefield import guidance, inverse
from scorefield.inverse import operators as ops
from scorefield.likelihood import sample_log_prob

METHODS = {
    "bridge": inverse.Bridge(particles=4),
    "twisted": inverse.TwistedSMC(particles=4),
    "moment matching": inverse.Guidance(inverse.MomentMatching),
    "PiGDM": inverse.Guidance(inverse.PiGDM),
    "DPS": inverse.DPS(),
    "DDRM": inverse.DDRM(),
    "DAPS": inverse.DAPS(),
    "RED-diff": inverse.REDDiff(),
}
OPERATORS = {
    "dense": lambda: ops.Dense(torch.ones(3, 12, dtype=f64), (3, 4)),
    "mask": lambda: ops.Mask(torch.arange(12).reshape(1, 3, 4) % 2 == 0),
    "diagonal": lambda: ops.Diagonal(torch.tensor([2.0, -0.5])[:, None, None], (2, 3, 4)),
    "bicubic": lambda: ops.Downsample(4, (1, 8, 12), "bicubic"),
    "circular blur": lambda: ops.Blur(ops.gaussian_kernel(1.0, 3), (1, 6, 7)),
    "reflected blur": lambda: ops.Blur(ops.gaussian_kernel(1.0, 3), (1, 6, 7), "reflect"),
    "radon": lambda: ops.Radon((1, 6, 8), 3),
    "fourier": lambda: ops.Fourier(torch.arange(42).reshape(6, 7) % 3 == 0, (2, 6, 7), ops.coil_maps(2, (6, 7))),
    "random": lambda: ops.random_matrix(5, (1, 4, 3)),
    "dct": lambda: ops.SubsampledTransform(6, (3, 5)),
    "sparse": lambda: ops.as_operator(torch.eye(4).to_sparse(), (4,)),
    "stacked": lambda: ops.stack(ops.Mask(torch.eye(4) > 0), 2 * ops.Blur(ops.gaussian_kernel(1.0, 3), (4, 4))),
    "phase": lambda: ops.PhaseRetrieval((1, 4, 5)),
    "jpeg": lambda: ops.JPEG((3, 17, 8), 80),
}
STDS: dict[str, Any] = {"one": 0.3, "of each number": [0.3, 0.5]}


def in_both(make: Any) -> None:
    """`make` gives the same bits in inference mode as outside it, all its parts made where it is called."""
    torch.manual_seed(0)
    expected = make()
    torch.manual_seed(0)
    with torch.inference_mode():
        assert torch.equal(make(), expected)


def network() -> sf.Denoiser:
    net = sf.networks.MLP(2, hidden=8, depth=1, num_classes=2)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_std=1.0)


def law(dtype: torch.dtype) -> sf.Denoiser:
    return sf.ExactDenoiser(sf.Gaussian(torch.zeros(2, dtype=dtype), torch.eye(2, dtype=dtype)), sf.VP())


@pytest.mark.parametrize("std", STDS.values(), ids=STDS)
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_posteriors_of_what_is_made_in_it(method, dtype, std):
    for prior in (network, lambda: law(dtype)):

        def draw(prior: Any = prior):
            operator = ops.Dense(torch.tensor([[1.0, 0.3], [0.0, 1.0]], dtype=dtype))
            noise = std if isinstance(std, float) else torch.tensor(std, dtype=dtype)
            given = inverse.GaussianNoise(operator, torch.tensor([[0.5, 0.2]], dtype=dtype), noise)
            return condition(prior(), given, method).sample(4, nfe=6).x

        if not (isinstance(method, inverse.DDRM) and prior is network):  # which takes no derivative
            in_both(draw)


@pytest.mark.parametrize("method", ["twisted", "DPS", "DAPS", "RED-diff"])
def test_foreign_operators_made_in_it(method):
    def draw():
        matrix = torch.tensor([[1.0, 0.3], [0.0, 1.0]])
        operator = ops.as_operator(lambda x: torch.sin(x @ matrix), (2,))  # in float32 alone
        given = inverse.GaussianNoise(operator, torch.tensor([[0.5, 0.2]]), torch.tensor([0.3, 0.5]))
        return condition(law(torch.float32), given, METHODS[method]).sample(4, nfe=6).x

    in_both(draw)


@pytest.mark.parametrize(
    "rule",
    [guidance.line, guidance.Rescaled(), guidance.Projected(radius=1.0)],
    ids=lambda r: getattr(r, "__name__", str(r)),
)
def test_guided_models_made_in_it(rule):
    def draw():
        guided = sf.ClassifierFreeGuidance(network(), 3.0, rule=rule)
        given = inverse.GaussianNoise(ops.Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.5]]), 0.3)
        cond = {"label": torch.zeros(1, dtype=torch.int64)}
        return torch.cat([condition(guided, given, METHODS[m], cond=cond).sample(2, nfe=4).x for m in ("DPS", "PiGDM")])

    in_both(draw)


def test_covariances_chains_and_likelihoods_of_networks_made_in_it():
    def one():
        denoiser, x = network(), torch.randn(4, 2)
        null: dict[str, Any] = {"null": torch.tensor([True, False, True, False])}
        chain = sf.mala(lambda y: -denoiser(y, 0.5).square().sum(1), x, steps=2, step_size=0.1).x
        covariance = sf.covariance(denoiser, x, 0.5, x + 1, **null)
        log_p = sf.log_prob(denoiser, x, tolerance=0.1).log_prob[:, None].expand(4, 2)
        return torch.cat([chain, covariance, log_p, sample_log_prob(denoiser, (4, 2), tolerance=0.1).x])

    in_both(one)


def test_it_leaves_the_model_as_it_was():
    with torch.inference_mode():
        denoiser = network()
        before = list(denoiser.parameters())
        given = inverse.GaussianNoise(ops.Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.5]]), 0.3)
        condition(denoiser, given, METHODS["DPS"]).sample(2, nfe=2)
        assert all(a is b and a.is_inference() for a, b in zip(denoiser.parameters(), before, strict=True))
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("made_in_it", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, f64], ids=str)
@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_called_in_it_can_be_differentiated_through_afterwards(make, dtype, made_in_it):
    with torch.inference_mode(made_in_it):
        operator = make()
    with torch.inference_mode():
        y = operator(torch.randn(2, *operator.event_shape, dtype=dtype))
        if isinstance(operator, ops.LinearOperator):
            operator.adjoint(y)
            operator.gram_solve(y, 1.0, 1.0)
    x = torch.randn(2, *operator.event_shape, dtype=dtype, requires_grad=True)
    (back,) = torch.autograd.grad(operator(x).sum(), x)
    assert bool(back.isfinite().all())
    if isinstance(operator, ops.LinearOperator):
        y = torch.randn(2, *operator.output_shape, dtype=dtype, requires_grad=True)
        torch.autograd.grad(operator.adjoint(y).sum(), y)
        torch.autograd.grad(operator.gram_solve(y, 1.0, 1.0).x.sum(), y)
