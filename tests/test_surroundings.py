"""What a user may have set around the library: a default device or dtype, inference mode. Numbers are the same."""

import ast
import contextlib
from pathlib import Path

import pytest
import torch

import scorefield as sf
from scorefield import anomaly, inverse

SCHEDULES = [sf.VP(), sf.SubVP(), sf.VE(), sf.EDM(), sf.Cosine(), sf.Rectified(), sf.Brownian(), sf.Discrete.linear()]
LAW = sf.GaussianMixture(
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([[1.0, 0.0], [-0.8, 0.9], [-0.3, -1.1]]),
    torch.full((3, 2), 0.04),
)
X = torch.linspace(-1, 1, 12).reshape(6, 2)
NEAR = torch.randn(24, 2, generator=torch.Generator().manual_seed(5))
GIVEN = inverse.GaussianNoise(inverse.operators.Dense(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.5]]), 0.3)
torch.manual_seed(0)
NET = sf.networks.MLP(2, hidden=8, depth=1, num_classes=3)
for p in NET.parameters():
    torch.nn.init.normal_(p, std=0.2)


def exact(schedule=SCHEDULES[0]):
    return sf.ExactDenoiser(LAW, schedule)


def net():
    return sf.NetworkDenoiser(NET, sf.VP(), sf.V(), data_mean=0.0, data_std=1.0)


def fixed():
    return torch.Generator("cpu").manual_seed(0)


def rolled(solver):
    return lambda: sf.sample(exact(), (6, 2), solver=solver, nfe=None if solver.adaptive else 20).x


USES = {
    **{
        f"{name} {type(schedule).__name__}": (lambda use=use, schedule=schedule: use(schedule))
        for schedule in SCHEDULES
        for name, use in {
            "sample": lambda s: sf.sample(exact(s), (6, 2), nfe=8).x,
            "log_prob": lambda s: sf.log_prob(exact(s), X, tolerance=0.01).log_prob,
            "velocity": lambda s: sf.velocity(exact(s), X, 0.5),
            "encode": lambda s: sf.encode(exact(s), X, nfe=8).z,
            "coefficients": lambda s: s.f(0.5) + s.g2(0.5) + s.posterior(0.2, 0.4).std,
            "paths": lambda s: s.simulate(X, torch.tensor([0.1, 0.9], device="cpu").double(), generator=fixed()),
            "loss": lambda s: sf.losses.denoising(exact(s), X, generator=fixed()),
        }.items()
    },
    **{
        type(solver).__name__: rolled(solver)
        for solver in (
            sf.Adaptive(), sf.AdaptiveSDE(), sf.AnnealedLangevin(), sf.Churn(), sf.DDPM(), sf.DPMSolverPP(), sf.Heun(),
            sf.Picard(), sf.PredictorCorrector(), sf.SASolver(), sf.StochasticAdams(), sf.UniPC(), sf.AnalyticDPM(),
        )
    },
    **{
        type(method).__name__: (lambda method=method: inverse.condition(exact(), GIVEN, method).sample(4, nfe=10).x)
        for method in (
            inverse.Bridge(), inverse.TwistedSMC(), inverse.DPS(), inverse.DDRM(), inverse.DAPS(), inverse.REDDiff(),
            inverse.Guidance(inverse.MomentMatching),
        )
    },
    "guided": lambda: sf.sample(sf.ClassifierFreeGuidance(net(), 2.0), (6, 2), nfe=4, cond={"label": 1}).x,
    "probes": lambda: sf.log_prob(net(), X, cond={"label": [0, 1, 2, 0, 1, 2]}, probes=2, tolerance=0.1).log_prob,
    "elbo": lambda: sf.elbo(net(), X, draws=4, cond={"label": 1}).elbo,
    "implicit": lambda: sf.losses.implicit(net(), X.clone(), generator=fixed(), cond={"label": 0}),
    "sliced": lambda: sf.losses.sliced(net(), X, generator=fixed(), cond={"label": 0}),
    "covariance": lambda: sf.covariance(exact(), X, 0.5, X),
    "tune": lambda: torch.tensor(
        sf.tune(exact(), (2,), 4, paths=8, teacher_steps=10, dtype=torch.float32).tuned, device="cpu"
    ),
    "edit": lambda: sf.edit(exact(), X, 0.5, nfe=8).x,
    "inpaint": lambda: sf.inpaint(exact(), X, X > 0, nfe=10).x,
    "anomaly": lambda: anomaly.ScoreNorms(2)(exact(), X),
    "distance": lambda: torch.tensor(sf.metrics.sliced_wasserstein(X, X + 1), device="cpu"),
    "evidence": lambda: evidence(X.repeat(4, 1) + NEAR, NEAR),
    "density": lambda: LAW.log_prob(X) + LAW.sample(6, generator=fixed()).sum(1),
    "mala": lambda: sf.mala(LAW.log_prob, X, steps=3, step_size=0.1).x,
    "bias": lambda: torch.tensor(sf.sample(exact(), (2, 2), nfe=8).bias, device="cpu"),
}  # fmt: skip


def evidence(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Values, intervals, floors and p-values of metrics."""
    m = sf.metrics
    found = [
        m.frechet(x, y, permutations=9), m.mmd(x, y, permutations=9), m.sliced(x, y, permutations=9),
        m.wasserstein(x, y, permutations=9), m.two_sample(x, y), *m.precision_recall(real=y, generated=x, k=3),
        m.kernel_stein(x, LAW, noise_ratios=0.5, resamples=9), m.memorization(x, y, y + 1, permutations=9),
        m.to_density(x, LAW, tests=3).kl, m.girsanov(exact(), LAW, n=16, levels=4).kl,
        m.mode_weights(torch.tensor([0, 1], device="cpu"), torch.tensor([1, 1], device="cpu")).total_variation,
    ]  # fmt: skip
    numbers = [n for e in found for n in (e.value, *e.interval(), e.floor, e.p_value)]
    return torch.tensor(numbers, device="cpu").nan_to_num(-1.0)


@contextlib.contextmanager
def elsewhere():
    """'meta' stands for a GPU: what lands there has no values, and an error says so."""
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


AROUND = {"default device": elsewhere, "default dtype": doubles, "inference mode": torch.inference_mode}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_numbers_do_not_depend_on_what_is_set_around(use, around):
    expected = use()
    with around():
        got = use()
        if got.dtype.is_floating_point and got.dtype != expected.dtype:  # a number made here, in the default dtype
            assert expected.ndim <= 1
            got = got.to(expected.dtype)
    torch.testing.assert_close(got.clone(), expected, rtol=1e-5, atol=1e-6)


FACTORIES = {
    "tensor", "as_tensor", "zeros", "ones", "full", "arange", "linspace", "logspace", "empty", "eye", "rand", "randn",
    "randint", "randperm",
}  # fmt: skip
SOURCE = Path(sf.__file__).parent
# networks are built where the user wants them; the others are at the top, and compute on the CPU
ELSEWHERE = {"networks", "runs", "demos", "cli", "plots", "play"}


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(SOURCE.rglob("*.py")) if p.relative_to(SOURCE).parts[0] not in ELSEWHERE],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_every_factory_says_its_device(path):
    silent = [
        f"line {node.lineno}: torch.{node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in {("torch", name) for name in FACTORIES}
        and not any(k.arg in ("device", None) for k in node.keywords)
    ]
    assert silent == []
