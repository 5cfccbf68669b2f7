"""Few steps: flows by coupling beside torchcfm and flow_matching, few-step models by objective, pictures.

    OMP_NUM_THREADS=1 python benchmarks/few_step.py                       # ours, five seeds: some ten minutes
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --peers               # torchcfm beside them (pip install torchcfm)
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table checkerboard --peers    # (pip install flow_matching)
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table one_step      # noise to moons, no teacher
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table maps          # few-step models of eight Gaussians
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table stability     # 100,000 steps of each objective
    OMP_NUM_THREADS=1 python benchmarks/few_step.py --table digits --runs FOLDER    # one teacher, a student of each
    OMP_NUM_THREADS=1 MNIST=folder python benchmarks/few_step.py --table mnist --runs TEACHER STUDENT

`flows` is the problem of torchcfm's examples: eight Gaussians to two moons, as torchcfm and torchdyn draw them (the
Gaussians' std is 0.1^(1/4) = 0.562, since a standard deviation is taken for a variance; the moons stand on a fixed grid
of angles), a network of 3 x 64 with SELU, batches of 256. Sliced W2 of 32,768 samples to as many data, 128 directions;
path energy over 100 Euler steps of 4,096; CPU seconds of training, assignments included.

`checkerboard` is that of flow_matching's tutorial, and its path and loss beside ours on one network, one batch size and
as many steps. The reference is stratified, a datum in each cell of a grid, since the distance of two random sets is
mostly their own noise.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn

import scorefield as sf
from _families import OUT
from scorefield.auditing import path_energy
from scorefield.losses import UniformAngle, couplings
from scorefield.training import DistributionMatching, constant, fit

N, DIRECTIONS = 32_768, 128
OBJECTIVES = ("lagrangian", "mean_flow", "consistency", "easy", "drifting", "distribution_matching")
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
        ema_decay=0.9995,
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
    _table("method", found)
    return found


def _table(head: str, found: dict[str, list[Row]]) -> None:
    """Medians over the seeds."""
    columns = list(next(iter(found.values()))[0])
    print(f"\n| {head} | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))
    for name, rows in found.items():
        print(f"| {name} | " + " | ".join(f"{median(r[c] for r in rows):.4g}" for c in columns) + " |")


def _peer(kind: str, steps: int, seed: int) -> Row:
    return peer(kind, seed, steps)


def board(n: int, rng: np.random.Generator) -> Tensor:
    """The checkerboard of flow_matching's tutorial: eight squares of side 1 in [-2, 2]^2, over 0.45."""
    x = rng.random(n) * 4 - 2
    y = rng.random(n) - 2 * rng.integers(0, 2, n) + np.floor(x) % 2
    return torch.from_numpy(np.stack([x, y], 1) / 0.45).float()


def board_strata(side: int = 64) -> Tensor:
    """A point in the middle of each of side^2 cells of each square."""
    middle = (np.arange(side) + 0.5) / side
    x, y = (v.ravel() for v in np.meshgrid(middle, middle))
    squares = [(a, b) for a in range(-2, 2) for b in (a % 2, a % 2 - 2)]
    return torch.from_numpy(np.concatenate([np.stack([x + a, y + b], 1) for a, b in squares]) / 0.45).float()


class Wide(Small):
    def __init__(self) -> None:
        super().__init__(256)


def checkerboard(args: argparse.Namespace) -> dict[str, list[Row]]:
    """Euler's and the midpoint's steps from one Gaussian set, beside the stratified reference."""
    reference, found = board_strata(), {}

    def of(velocity: Callable[[Tensor, Tensor], Tensor], seconds: float, seed: int) -> Row:
        start, row = torch.randn(N, 2, generator=torch.Generator().manual_seed(1000 + seed)), Row(seconds=seconds)
        with torch.no_grad():
            for nfe in (2, 4, 10, 20, 50):
                x, h = start, 2 / nfe
                for k in range(nfe // 2):  # the midpoint rule, as the tutorial's
                    t = torch.full((len(x),), 1 - k * h)
                    middle = x - h / 2 * velocity(x, t)
                    x = x - h * velocity(middle, t - h / 2)
                row[f"nfe {nfe}"] = sliced(x, reference)
        return row

    def our(coupling: couplings.Coupling | None, seed: int) -> Row:
        data = board(200_000, np.random.default_rng(seed))
        torch.manual_seed(seed)
        flow, begun = sf.Flow(Wide()), time.process_time()
        options = {"steps": args.board_steps, "batch_size": 1024, "lr": 4e-3, "ema_decay": 0.999, "clip": 10.0}
        model = fit(flow, data, coupling=coupling, seed=seed, **options).denoiser
        return of(lambda x, t: model.velocity(x, t), time.process_time() - begun, seed)

    def their(seed: int) -> Row:
        from flow_matching.path import AffineProbPath  # type: ignore[reportMissingImports]
        from flow_matching.path.scheduler import CondOTScheduler  # type: ignore[reportMissingImports]

        rng, begun = np.random.default_rng(seed), time.process_time()
        torch.manual_seed(seed)
        net, path = Wide(), AffineProbPath(scheduler=CondOTScheduler())
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(args.board_steps):
            optimizer.zero_grad()
            x1 = board(1024, rng)
            at = path.sample(t=torch.rand(len(x1)), x_0=torch.randn_like(x1), x_1=x1)
            (net(at.x_t, at.t) - at.dx_t).square().mean().backward()
            optimizer.step()
        return of(lambda x, t: -net(x, 1 - t), time.process_time() - begun, seed)

    methods: dict[str, Callable[[int], Row]] = {
        "pooled assignment": lambda seed: our(couplings.Assignment(size=1024, reuse=25), seed),
        "independent": lambda seed: our(couplings.Independent(size=1024, reuse=1), seed),
        **({"flow_matching, CondOT": their} if args.peers else {}),
    }
    for seed in range(args.seeds):
        for name, run in methods.items():
            found.setdefault(name, []).append(run(seed))
            print(name, seed, {k: round(v, 4) for k, v in found[name][-1].items()}, flush=True)
    rng = np.random.default_rng(99)
    print(f"floor: {median(sliced(board(N, rng), reference) for _ in range(5)):.4f} of independent draws")
    _table("method", found)
    return found


def _few_step(name: str, sd: float, seed: int, hidden: int = 128) -> sf.FlowMap:
    """An untrained model of the kind that an objective trains."""
    whole = name in ("lagrangian", "mean_flow")
    torch.manual_seed(seed)
    net = sf.networks.MLP(2, hidden, 3, conditioning="add", scalars=("until",) if whole else ())
    kind = sf.FlowMap if whole else sf.flowmaps.ConsistencyMap
    return kind(net, sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(sd), data_mean=0.0, data_std=sd)


def _trained(name: str, teacher: sf.Denoiser | None, data: Tensor, sd: float, seed: int, **options: Any) -> Any:
    student: Any = _few_step(name, sd, seed, options.pop("hidden", 128))
    times = UniformAngle(student.schedule, sd)
    if name == "distribution_matching":
        if teacher is None:
            raise ValueError("distribution matching needs a teacher")
        critic = sf.NetworkDenoiser(
            _few_step("consistency", sd, seed + 100).net, student.schedule, student.parameterization,
            data_mean=0.0, data_std=sd,
        )  # fmt: skip
        return fit(DistributionMatching(student, teacher, critic, times=times), data, seed=seed, **options).denoiser
    loss = functools.partial(sf.flowmaps.consistency, gap=0.1) if name == "easy" else getattr(sf.flowmaps, name)
    return fit(student, data, loss=functools.partial(loss, teacher=teacher), times=times, seed=seed, **options).denoiser


def one_step(args: argparse.Namespace) -> dict[str, list[Row]]:
    """The moons of `flows` from standard normal noise, by a few-step model that had no teacher."""
    found: dict[str, list[Row]] = {}
    for seed in range(args.seeds):
        data = torch.cat([moons(2048, (rng := np.random.default_rng(seed))) for _ in range(200)])
        sd, begun = float(data.std()), time.process_time()
        options = {"steps": args.map_steps, "batch_size": 512, "lr": 2e-3, "ema_decay": 0.998}
        model = _trained("lagrangian", None, data - data.mean(0), sd, seed, **options)
        row = Row(seconds=time.process_time() - begun)
        target = torch.cat([moons(2048, rng) for _ in range(N // 2048)]) - data.mean(0)
        for n in (1, 2, 4):
            row[f"nfe {n}"] = sliced(sf.sample(model, (N, 2), nfe=n, seed=1000 + seed).x, target)
        found.setdefault("lagrangian, from data", []).append(row)
        print("lagrangian", seed, {k: round(v, 4) for k, v in row.items()}, flush=True)
    _table("objective", found)
    return found


def maps(args: argparse.Namespace) -> dict[str, list[Row]]:
    """Few-step models of eight Gaussians, from the exact teacher and from data alone, at one training budget each."""
    law, schedule = sf.distributions.eight_gaussians(), sf.EDM(sigma_max=20.0)
    teacher = sf.ExactDenoiser(law, schedule)
    found: dict[str, list[Row]] = {}
    for seed in range(args.seeds):
        g = torch.Generator().manual_seed(seed)
        data, reference = law.sample(50_000, generator=g).float(), law.sample(8192, generator=g).float()
        sd = float(data.std())
        start = math.hypot(20.0, sd) * torch.randn(8192, 2, generator=g)
        end = sf.sample(teacher, start, nfe=60).x
        options = {"steps": args.map_steps, "batch_size": 512, "lr": 2e-3, "ema_decay": 0.998}
        for name in args.objectives:
            for by in (teacher,) if name == "distribution_matching" else (teacher, None):
                begun = time.process_time()
                model = _trained(name, by, data, sd, seed, **options)
                row = Row(seconds=time.process_time() - begun)
                for n in (1, 2, 4):
                    x = sf.sample(model, start, nfe=n).x
                    row[f"nfe {n}"] = sliced(x, reference)
                    if n == 1:
                        row["map"] = float((x - end).square().sum(1).mean().sqrt())
                called = f"{name}, {'from a teacher' if by else 'from data'}"
                found.setdefault(called, []).append(row)
                print(called, seed, {k: round(v, 4) for k, v in row.items()}, flush=True)
        floor = sliced(law.sample(8192, generator=g).float(), reference)
        print(f"floor {floor:.4f}, exact ODE {sliced(end, reference):.4f}")
    _table("objective", found)
    return found


def stability(args: argparse.Namespace) -> dict[str, list[Row]]:
    """The loss of each objective along a long training at a constant rate, from data alone where that can be."""
    law = sf.distributions.eight_gaussians()
    data, found = law.sample(50_000, generator=torch.Generator().manual_seed(0)).float(), {}
    teacher = sf.ExactDenoiser(law, sf.EDM(sigma_max=20.0))
    options = {"batch_size": 64, "lr": 1e-3, "ema_decay": 0.999, "decay": constant, "rollbacks": 0}
    for name in args.objectives:
        seen: list[float] = []
        begun = time.process_time()
        model = _trained(
            name, teacher if name == "distribution_matching" else None, data, float(data.std()), 0, hidden=64,
            steps=args.long, on_step=lambda p, seen=seen: seen.append(p.loss), **options,
        )  # fmt: skip
        x = sf.sample(model, (8192, 2), nfe=1, seed=1).x
        tenth = len(seen) // 10
        row = Row(seconds=time.process_time() - begun, largest=max(seen), finite=float(all(map(math.isfinite, seen))))
        row |= {
            "first tenth": median(seen[:tenth]),
            "last tenth": median(seen[-tenth:]),
            "nfe 1": sliced(x, data[:8192]),
        }
        found[name] = [row]
        print(name, {k: round(v, 4) for k, v in row.items()}, flush=True)
    _table("objective", found)
    return found


def digits(args: argparse.Namespace) -> dict[str, list[Row]]:
    """One teacher of 8x8 digits and a student by each objective, as the command line trains them; and flow matching.

    Sliced W2 to the held-out half in their standard deviations, recall, and `wrong`: how many of the samples, in
    percent, a support vector classifier of the other half reads as another class than was asked for (real ones: 1).
    """
    folder = Path(args.runs[0] if args.runs else OUT / "few-step-digits")
    base = sf.recipes.presets.digits()
    twins = {  # the same network and steps: DDPM's noise prediction, and the velocity of straight paths
        "DDPM": ["schedule=Cosine", "parameterization=Eps", "objective.times=Uniform"],
        "flow matching": ["schedule=Rectified", "parameterization=Velocity", "objective.times=Uniform"],
    }
    recipes = {"teacher": base}
    for name, changes in twins.items():
        recipes[name] = sf.recipes.override(base, changes)
    for name in args.objectives:
        if name in ("easy", "drifting"):
            continue
        jumps = 2
        recipe = sf.recipes.presets.distilled(base, str(folder / "teacher"), name, jumps=jumps)
        recipes[name] = sf.recipes.override(recipe, ["training.steps=1500", "optim.lr=1e-3"])
    found: dict[str, list[Row]] = {}
    halves = sf.data.digits()
    reader = cast("Any", SVC)(gamma=0.001).fit(halves.train.flatten(1).numpy(), halves.train_labels.numpy())
    for name, recipe in recipes.items():
        begun, path = time.process_time(), folder / name
        run = sf.load(path) if (path / "samples.png").exists() else sf.runs.train(path, recipe)
        assert run is not None
        if (
            name == "DDPM"
        ):  # as its authors do: where alpha is next to 0 the error of a predicted noise is divided by it
            run = run.clipped()
        seconds = time.process_time() - begun
        source = run.held_out()[0]
        raw, cond = source.batch(torch.arange(len(source)))
        truth, label = raw.float().flatten(1), torch.as_tensor(cond["label"])
        counts = (1, 2, 4) if isinstance(run.model, sf.FlowMap) else (5, 10, 20, 50)
        for solver, nfe in itertools.product(("euler", None) if name == "flow matching" else (None,), counts):
            x = run.sample(len(label), label=label, nfe=nfe, tuned=False, solver=solver).raw.float().flatten(1)
            row = Row(seconds=seconds, sliced=sliced(x, truth) / float(truth.std()))
            row |= {"recall": sf.metrics.precision_recall(real=truth, generated=x).recall.value}
            row |= {"wrong": 100 * float((reader.predict(x.numpy()) != label.numpy()).mean()), "NFE": nfe}
            called = f"{name}, {solver}" if solver else name
            found[f"{called}, {nfe}"] = [row]
            print(called, nfe, {k: round(v, 4) for k, v in row.items()}, flush=True)
        (path / "samples.png").touch()
    _table("model, evaluations", found)
    return found


def mnist(args: argparse.Namespace) -> dict[str, list[Row]]:
    """The Frechet distance of 2,000 samples, the classes in turn: a teacher in 50, 10, 5, a student in 1, 2, 4."""
    from _mnist import classifier, frechet

    classifier()
    label, found = torch.arange(2000) % 10, {}
    for path in args.runs:
        run = sf.load(path)
        for nfe in (1, 2, 4) if isinstance(run.model, sf.FlowMap) else (50, 20, 10, 5):
            begun = time.process_time()
            drawn = run.sample(len(label), label=label, nfe=nfe, tuned=False)
            row = Row({"Frechet": frechet(drawn.raw), "seconds": time.process_time() - begun})
            found[f"{path}, {nfe}"] = [row]
            print(path, nfe, {k: round(v, 2) for k, v in row.items()}, flush=True)
    return found


TABLES = {f.__name__: f for f in (flows, one_step, checkerboard, maps, stability, digits, mnist)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=tuple(TABLES), default="flows")
    parser.add_argument(
        "--runs", nargs="+", default=[], help="of mnist: a teacher's and students'; of digits: a folder"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--size", type=int, default=1024, help="pairs of a pool")
    parser.add_argument("--reuse", type=int, default=25, help="how often each is used")
    parser.add_argument("--map-steps", type=int, default=3000)
    parser.add_argument("--board-steps", type=int, default=4000)
    parser.add_argument("--long", type=int, default=100_000, help="steps of the table stability")
    parser.add_argument("--peers", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = TABLES[args.table](args)
    OUT.mkdir(exist_ok=True)
    (OUT / f"few_step-{args.table}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
