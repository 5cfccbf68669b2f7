"""log p at equal accuracy: evaluations of the network, and the error they leave, against two other ways.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py [--run RUN] [--n 16] [--probes 1]

All methods see the same network, samples, probes and noise range, and are compared with a far tighter solution of the
same equations, at s_min (so that no method is credited with what it extrapolates below), the prior at t = 1 taken as
each does. The other two integrate (x, log p) of the whole batch at once in t:

    RK45        scipy's, rtol = atol, one step size for the flattened batch
    score_sde   the same, t from 1e-5, the tolerance 1e-5: its likelihood, on the VP process
    dopri5      torchdiffeq's, on the same equations, where it is installed

`spread` is how far a sample's number moves when it is scored alone instead of in the batch.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import scorefield as sf
from scorefield import data, grids
from scorefield.likelihood import Divergence, Rademacher
from scorefield.schedules import derivative

OUT = Path(__file__).parent / "out"
REFERENCE = 3e-6
T_MIN = 1e-5  # of score_sde


class Case(NamedTuple):
    name: str
    denoiser: sf.Denoiser
    x: Tensor
    cond: Mapping[str, Tensor]


class Answer(NamedTuple):
    log_prob: Tensor
    evaluations: float  # mean over samples


Integrator = Callable[[Callable[[float, Tensor], Tensor], Tensor, float, float], Tensor]


def in_t(
    case: Case, integrator: Integrator, divergence: Divergence, index: Tensor, start: float | None = None
) -> Answer:
    """The equations in t: dx/dt = v, d log p / dt = -div v, flattened; from `start`, or where s is S_MIN data_std."""
    denoiser, x = case.denoiser, case.x
    schedule, batch, d = denoiser.schedule, len(x), x[0].numel()
    if start is None:
        start = float(schedule.time_of_log_snr(-math.log(grids.S_MIN * denoiser.data_std)))
    end = float(schedule.time_of_log_snr(-math.log(1e3 * denoiser.data_std)))
    vectors = divergence.directions(x, 0, index)
    calls = 0

    def rate(t: float, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        at = torch.tensor(t, dtype=torch.float64)
        alpha, sigma = (float(v) for v in schedule(at))
        da, ds = float(derivative(schedule.alpha, at)), float(derivative(schedule.sigma, at))
        with torch.enable_grad():
            point = y[:-batch].reshape(x.shape).to(x.dtype).requires_grad_()
            x0 = denoiser(point, at, **case.cond)
            velocity = da * x0 + ds * (point - alpha * x0) / sigma
            trace = torch.zeros(batch, dtype=torch.float64)
            for v in vectors:
                (g,) = torch.autograd.grad(velocity, point, v, retain_graph=True)
                trace += (v * g).flatten(1).double().sum(1) / len(vectors)
        return torch.cat([velocity.detach().double().flatten(), trace])

    y = integrator(rate, torch.cat([x.double().flatten(), torch.zeros(batch, dtype=torch.float64)]), start, end)
    mean, std = schedule.prior(end, mean=denoiser.data_mean, std=denoiser.data_std)
    z = (y[:-batch].reshape(batch, d) - (mean.flatten() if isinstance(mean, Tensor) else mean)) / float(std)
    normal = -z.square().sum(1) / 2 - d * math.log(2 * math.pi * float(std) ** 2) / 2
    return Answer(normal + y[-batch:], calls)


def rk45(tolerance: float) -> Integrator:
    def solve(rate: Callable[[float, Tensor], Tensor], y: Tensor, start: float, end: float) -> Tensor:
        def f(t: float, values: np.ndarray) -> np.ndarray:
            return rate(t, torch.from_numpy(values)).numpy()

        return torch.from_numpy(solve_ivp(f, (start, end), y.numpy(), rtol=tolerance, atol=tolerance).y[:, -1].copy())

    return solve


def dopri5(tolerance: float) -> Integrator:
    import torchdiffeq  # type: ignore[import-not-found]

    def solve(rate: Callable[[float, Tensor], Tensor], y: Tensor, start: float, end: float) -> Tensor:
        times = torch.tensor([start, end], dtype=torch.float64)
        last = {"step_t": times[1:]}  # a step ends at t = 1: as a rule it steps past and interpolates
        solution = torchdiffeq.odeint(
            lambda t, v: rate(min(float(t), end), v), y, times, rtol=tolerance, atol=tolerance, options=last
        )
        return solution[-1]

    return solve


def ours(case: Case, tolerance: float, divergence: Divergence, first_index: int = 0) -> Answer:
    r = sf.log_prob(
        case.denoiser, case.x, tolerance=tolerance, divergence=divergence, cond=case.cond, first_index=first_index
    )
    return Answer(r.log_prob, float(r.evaluations.double().mean()))


def read_on(denoiser: sf.NetworkDenoiser, schedule: sf.Schedule) -> sf.NetworkDenoiser:
    """The same E[x0 | x / alpha, sigma / alpha] on another process: the network is told the noise level, not t."""
    std, mean = denoiser.data_std, denoiser.data_mean
    return sf.NetworkDenoiser(denoiser.net, schedule, denoiser.parameterization, data_mean=mean, data_std=std)


def cases(run: Path | None, n: int) -> list[Case]:
    f64 = torch.float64
    mixture = sf.GaussianMixture(
        torch.tensor([0.7, 0.3], dtype=f64),
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=f64),
        torch.tensor([[0.09, 0.04], [0.04, 0.16]], dtype=f64),
    )
    digits = data.digits()
    kernels = sf.Empirical((digits.train[:400].double() + 0.5) / 8.5 - 1, bandwidth=0.15)
    laws = {"mixture, 2-D": mixture, "kernel digits, 64-D": kernels}
    found = []
    for name, law in laws.items():
        x = law.sample(n, generator=torch.Generator().manual_seed(0))
        found += [
            Case(f"{name}, {type(s).__name__}", sf.ExactDenoiser(law, s), x, {}) for s in (sf.VP(), sf.VE(0.01, 50.0))
        ]
    if run is not None:
        loaded = sf.load(run)
        assert isinstance(loaded.transform, data.Scale)
        x = loaded.transform.dequantize(digits.test[:n], torch.Generator().manual_seed(0))
        cond = {"label": digits.test_labels[:n]}
        found.append(Case("digits network, float32", loaded.denoiser, x, cond))
        found.append(Case("digits network, float64", sf.load(run).denoiser.double(), x.double(), cond))
        network = sf.load(run).denoiser
        assert isinstance(network, sf.NetworkDenoiser)
        found.append(Case("digits network read on VP, float32", read_on(network, sf.VP()), x, cond))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="of `scorefield quickstart`")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--probes", type=int, default=1)
    args = parser.parse_args()
    divergence = Rademacher(args.probes)
    try:
        dopri5(1e-3)
        diffeq = True
    except ImportError:
        diffeq = False
    rows: list[dict[str, Any]] = []
    print("| case | method | evaluations | largest error, nats/dim | median | spread | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in cases(args.run, args.n):
        d, index = case.x[0].numel(), torch.arange(len(case.x))
        double = case._replace(x=case.x.double())
        if case.x.dtype == torch.float32:
            from copy import deepcopy

            double = double._replace(denoiser=deepcopy(case.denoiser).double())
        cut = in_t(double, rk45(1e-8), divergence, index).log_prob  # the same integral, cut off at both ends
        # below 1e-6 a network's flow is stiff: its reference is the other one, though it begins at s_min
        exact = cut if case.cond else ours(double, REFERENCE, divergence).log_prob
        methods: dict[str, tuple[Callable[[Case, Tensor], Answer], Tensor]] = {
            f"scorefield {t:g}": ((lambda c, i, t=t: ours(c, t, divergence, int(i[0]))), exact)
            for t in (1e-1, 1e-2, 1e-3, 1e-4)
        }
        for t in (1e-3, 1e-4, 1e-5):
            methods[f"RK45 {t:g}"] = (lambda c, i, t=t: in_t(c, rk45(t), divergence, i)), cut
            if diffeq:
                methods[f"dopri5 {t:g}"] = (lambda c, i, t=t: in_t(c, dopri5(t), divergence, i)), cut
        if isinstance(case.denoiser.schedule, sf.VP):
            tight = in_t(double, rk45(1e-8 if case.x.dtype == torch.float64 else 1e-7), divergence, index, T_MIN)
            sde = (lambda c, i: in_t(c, rk45(1e-5), divergence, i, T_MIN)), tight.log_prob
            methods["score_sde"] = sde
        for name, (method, truth) in methods.items():
            begun = time.perf_counter()
            answer = method(case, index)
            seconds = time.perf_counter() - begun
            first = case._replace(x=case.x[:1], cond={k: v[:1] for k, v in case.cond.items()})
            spread = abs(float(method(first, index[:1]).log_prob[0] - answer.log_prob[0])) / d
            error = (answer.log_prob - truth).abs() / d
            row = {
                "case": case.name,
                "method": name,
                "evaluations": answer.evaluations,
                "largest": float(error.max()),
                "median": float(error.median()),
                "spread": spread,
                "seconds": seconds,
            }
            rows.append(row)
            print(
                "| {case} | {method} | {evaluations:.0f} | {largest:.1e} | {median:.1e} | {spread:.0e} | "
                "{seconds:.1f} |".format(**row),
                flush=True,
            )
    OUT.mkdir(exist_ok=True)
    (OUT / "likelihood.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
