"""Few steps in two dimensions: flows by coupling beside torchcfm, and flow maps by objective.

    OMP_NUM_THREADS=1 python benchmarks/few_step.py                       # ours, five seeds: some ten minutes
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --peers               # torchcfm beside them (pip install torchcfm)
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table maps          # flow maps of eight Gaussians
    OMP_NUM_THREADS=1 MNIST=folder python benchmarks/few_step.py --table mnist --runs TEACHER STUDENT

`flows` is the problem of torchcfm's examples: eight Gaussians to two moons, as torchcfm and torchdyn draw them (the
Gaussians' std is 0.1^(1/4) = 0.562, since a standard deviation is taken for a variance; the moons stand on a fixed grid
of angles), a network of 3 x 64 with SELU, batches of 256. Sliced W2 of 32,768 samples to as many data, 128 directions;
path energy over 100 Euler steps of 4,096; CPU seconds of training, assignments included.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import scorefield as sf
from _families import OUT
from scorefield.auditing import path_energy
from scorefield.losses import UniformAngle, couplings
from scorefield.training import fit

N, DIRECTIONS = 32_768, 128
OBJECTIVES = ("lagrangian", "mean_flow", "consistency", "drifting")
NFES = (1, 2, 5, 10, 100)
STEPS, THEIRS = 12_000, 20_000  # of training, ours and the peers'


def eight_gaussians(scale: float = 5.0) -> sf.GaussianMixture:
    angle = torch.arange(8) * math.pi / 4
    means = scale * torch.stack([angle.cos(), angle.sin()], 1)
    return sf.GaussianMixture(torch.ones(8) / 8, means, torch.full((8, 2), math.sqrt(0.1)))


def moons(n: int, rng: np.random.Generator, noise: float = 0.2) -> Tensor:
    """torchdyn's `generate_moons(n, noise)` as torchcfm scales it: a grid of angles, points shifted along (1, 1)."""
    angle = np.linspace(0, math.pi, n // 2)
    outer, inner = np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    x = np.concatenate([outer, inner]) + noise * rng.random((2 * (n // 2), 1))
    return torch.from_numpy(3 * x - 1).float()


class Small(nn.Module):
    """torchcfm's MLP: x and t side by side, three hidden layers of 64, SELU."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(3, width), nn.SELU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.SELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.layers(torch.cat([x, level[:, None]], 1))


def sliced(x: Tensor, y: Tensor) -> float:
    return sf.metrics.sliced_wasserstein(x, y, projections=DIRECTIONS)


class Row(dict[str, Any]):
    """Numbers of one training."""


def judged(velocity: Callable[[Tensor, Tensor], Tensor], seconds: float, seed: int) -> Row:
    """Euler's steps from t = 1 to 0 of dx/dt = velocity(x, t), ours and the peers' alike."""
    rng = np.random.default_rng(1000 + seed)
    target = torch.cat([moons(2048, rng) for _ in range(N // 2048)])
    start = eight_gaussians().sample(N, generator=torch.Generator().manual_seed(1000 + seed)).float()

    @torch.no_grad()
    def path(x: Tensor, steps: int) -> Tensor:
        seen = [x]
        for k in range(steps):
            t = torch.full((len(x),), 1 - k / steps)
            x = x - velocity(x, t) / steps
            seen.append(x)
        return torch.stack(seen)

    row = Row(seconds=seconds, **{f"nfe {n}": sliced(path(start, n)[-1], target) for n in NFES})
    trajectory = path(start[:4096], 100)
    row["energy"] = path_energy(trajectory, torch.linspace(1, 0, 101))
    return row


def ours(coupling: couplings.Coupling, seed: int, args: argparse.Namespace) -> Row:
    rng = np.random.default_rng(seed)
    data = torch.cat([moons(2048, rng) for _ in range(200)])
    torch.manual_seed(seed)
    flow, begun = sf.Flow(Small(), origin=eight_gaussians()), time.process_time()
    result = fit(
        flow,
        data,
        coupling=coupling,
        steps=args.steps,
        batch_size=256,
        lr=args.lr,
        ema_decay=0.999,
        clip=10.0,
        seed=seed,
    )
    seconds = time.process_time() - begun
    model = result.denoiser
    return judged(lambda x, t: model.velocity(x, t), seconds, seed)


def peer(kind: str, seed: int, steps: int) -> Row:
    """torchcfm's example as it stands: Adam at 1e-3, new draws in every batch."""
    from torchcfm.conditional_flow_matching import (  # type: ignore[reportMissingImports]
        ConditionalFlowMatcher,
        ExactOptimalTransportConditionalFlowMatcher,
    )

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    matcher = (ExactOptimalTransportConditionalFlowMatcher if kind == "OT-CFM" else ConditionalFlowMatcher)(sigma=0.1)
    net, source = Small(), eight_gaussians()
    optimizer = torch.optim.Adam(net.parameters())
    g, begun = torch.Generator().manual_seed(seed), time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        x0, x1 = source.sample(256, generator=g).float(), moons(256, rng)
        t, x_t, u = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = (net(x_t, t) - u).square().mean()
        loss.backward()
        optimizer.step()
    seconds = time.process_time() - begun
    return judged(lambda x, t: -net(x, 1 - t), seconds, seed)  # its time runs from the source


def flows(args: argparse.Namespace) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    methods: dict[str, Callable[[int], Row]] = {
        "pooled assignment": lambda seed: ours(couplings.Assignment(size=args.size, reuse=args.reuse), seed, args),
        "independent": lambda seed: ours(couplings.Independent(size=1024, reuse=1), seed, args),
    }
    if args.peers:
        methods |= {kind: functools.partial(_peer, kind, THEIRS) for kind in ("OT-CFM", "CFM")}
    for seed in range(args.seeds):
        for name, run in methods.items():  # interleaved: a busy minute slows all
            found.setdefault(name, []).append(run(seed))
            print(name, seed, {k: round(v, 4) for k, v in found[name][-1].items()}, flush=True)
    rng = np.random.default_rng(99)
    a, b = (torch.cat([moons(2048, rng) for _ in range(N // 2048)]) for _ in range(2))
    iid = moons(2**20, rng)[torch.randperm(2**20, generator=torch.Generator().manual_seed(0))[:N]]
    print(f"floor: {sliced(a, b):.4f} of their grids, {sliced(iid, b):.4f} of independent draws of them")
    columns = ["seconds", *(f"nfe {n}" for n in NFES), "energy"]
    print("\n| method | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))
    for name, rows in found.items():
        cells = (f"{median(r[c] for r in rows):.4g}" for c in columns)
        print(f"| {name} | " + " | ".join(cells) + " |")
    return found


def _peer(kind: str, steps: int, seed: int) -> Row:
    return peer(kind, seed, steps)


def maps(args: argparse.Namespace) -> dict[str, list[Row]]:
    """Flow maps of eight Gaussians, from the exact teacher and from data alone, at one training budget each."""
    law, schedule = sf.distributions.eight_gaussians(), sf.EDM(sigma_max=20.0)
    teacher = sf.ExactDenoiser(law, schedule)
    found: dict[str, list[Row]] = {}
    for seed in range(args.seeds):
        g = torch.Generator().manual_seed(seed)
        data, reference = law.sample(50_000, generator=g).float(), law.sample(8192, generator=g).float()
        sd = float(data.std())
        start = math.hypot(20.0, sd) * torch.randn(8192, 2, generator=g)
        end = sf.sample(teacher, start, nfe=60).x
        for loss in (getattr(sf.flowmaps, name) for name in args.objectives):
            for by in (teacher, None):
                torch.manual_seed(seed)
                net = sf.networks.MLP(2, 128, 3, conditioning="add", scalars=("until",))
                student = sf.FlowMap(net, schedule, sf.EDMPreconditioning(sd), data_mean=0.0, data_std=sd)
                begun = time.process_time()
                model = fit(
                    student,
                    data,
                    loss=functools.partial(loss, teacher=by),
                    times=UniformAngle(schedule, sd),
                    steps=args.map_steps,
                    batch_size=512,
                    lr=2e-3,
                    ema_decay=0.998,
                    seed=seed,
                ).denoiser
                row = Row(seconds=time.process_time() - begun)
                for n in (1, 2, 4):
                    x = sf.sample(model, start, nfe=n).x
                    row[f"nfe {n}"] = sliced(x, reference)
                    row[f"map {n}"] = float((x - end).square().sum(1).mean().sqrt())
                row["ODE"] = sliced(sf.sample(model.field(), start, nfe=20).x, reference)
                name = f"{loss.__name__}, {'from a teacher' if by else 'from data'}"
                found.setdefault(name, []).append(row)
                print(name, seed, {k: round(v, 4) for k, v in row.items()}, flush=True)
        floor = sliced(law.sample(8192, generator=g).float(), reference)
        print(f"floor {floor:.4f}, exact ODE {sliced(end, reference):.4f}")
    columns = list(next(iter(found.values()))[0])
    print("\n| objective | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))
    for name, rows in found.items():
        print(f"| {name} | " + " | ".join(f"{median(r[c] for r in rows):.4g}" for c in columns) + " |")
    return found


def mnist(args: argparse.Namespace) -> dict[str, list[Row]]:
    """The Frechet distance of 2,000 samples, the classes in turn: a teacher in 50, 10, 5, a student in 1, 2, 4."""
    from _mnist import classifier, frechet

    classifier()
    label, found = torch.arange(2000) % 10, {}
    for path in args.runs:
        run = sf.load(path)
        for nfe in (1, 2, 4) if isinstance(run.model, sf.FlowMap) else (50, 10, 5):
            begun = time.process_time()
            drawn = run.sample(len(label), label=label, nfe=nfe, tuned=False)
            row = Row({"Frechet": frechet(drawn.raw), "seconds": time.process_time() - begun})
            found[f"{path}, {nfe}"] = [row]
            print(path, nfe, {k: round(v, 2) for k, v in row.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("flows", "maps", "mnist"), default="flows")
    parser.add_argument("--runs", nargs="+", default=[], help="of the table mnist: a teacher's and a student's")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--size", type=int, default=1024, help="pairs of a pool")
    parser.add_argument("--reuse", type=int, default=25, help="how often each is used")
    parser.add_argument("--map-steps", type=int, default=3000)
    parser.add_argument("--peers", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {"flows": flows, "maps": maps, "mnist": mnist}[args.table](args)
    OUT.mkdir(exist_ok=True)
    (OUT / f"few_step-{args.table}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
