"""Does `sf.diagnose` name planted faults, and is it silent about healthy models? The confusion table.

    OMP_NUM_THREADS=1 python benchmarks/diagnose.py [--seeds 300 301 302 303 304] [--only FAULT ...] [--data-dir DIR]

Nine faults, each planted in a model a seed: seeds that are 0, 1 or 2 modulo 5 take the plane (another shape, process
and target each), 3 the 8x8 digits, 4 MNIST, or digits again where there is no --data-dir. Healthy models are `HEALTHY`,
a seed for each. Thresholds, and how hard faults are planted, were set on seeds 0 to 4 and 100 to 203 and the healthy
models of seeds 20 to 39 and 140 to 145; what is reported is seeds 300 to 304 and 240 to 259.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import scorefield as sf
from scorefield import data, losses, networks, recipes
from scorefield.distributions import toy
from scorefield.training import EMA

LONG = 3  # times as many steps for what is to be healthy
OUT = Path(__file__).parent / "out"
SHAPES = [toy.two_moons, toy.rings, toy.eight_gaussians, toy.pinwheel, toy.spiral]
# process, target, whether the network is told t (and not the noise ratio)
PLANE = [
    (sf.VP(), sf.Eps()),
    (sf.Cosine(), sf.V()),
    (sf.Rectified(), sf.Velocity()),
    (sf.EDM(sigma_max=40.0), sf.EDMPreconditioning(1.0)),
    (sf.VP(), sf.V()),
]


@dataclass
class Case:
    """A model, and what `diagnose` is told beside it."""

    denoiser: sf.Denoiser
    train: Any
    held_out: Any
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Setting:
    """Data in the model's units, and a network for them."""

    train: Tensor
    held_out: Tensor
    net: Callable[..., nn.Module]
    steps: int
    batch: int
    lr: float
    index: int

    @property
    def process(self) -> tuple[sf.Schedule, sf.Parameterization]:
        return PLANE[self.index % len(PLANE)]


def plane(seed: int) -> Setting:
    law = SHAPES[seed % len(SHAPES)]()
    generator = torch.Generator().manual_seed(seed)
    train, held_out = law.sample(8192, generator=generator), law.sample(1024, generator=generator)
    return Setting(train, held_out, lambda **o: networks.MLP(2, 128, 3, conditioning="add", **o), 900, 256, 3e-3, seed)


def digits(seed: int) -> Setting:
    source, test = recipes.build(recipes.presets.digits())[2:4]
    assert test is not None
    scale = data.Scale.to_standard(source)
    x, y = (scale.dequantize(s.batch(torch.arange(len(s))).x, torch.Generator().manual_seed(7)) for s in (source, test))
    return Setting(x, y, lambda **o: networks.MLP(64, 160, 3, **o), 800, 128, 2e-3, seed)


def mnist(seed: int, folder: Path) -> Setting:
    train, test = recipes.build(recipes.presets.mnist(), data_dir=folder)[2:4]
    assert test is not None
    scale = data.Scale.to_standard(train, noise=False)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:10_000]
    x, y = (scale.dequantize(s.batch(rows).x) for s, rows in ((train, chosen), (test, torch.arange(2000))))

    def net(**options: Any) -> nn.Module:
        return networks.UNet(in_channels=1, width=24, patch=2, **options)

    return Setting(x, y, net, 500, 64, 2e-3, seed)


def setting(seed: int, folder: Path | None) -> Setting:
    if seed % 5 < 3:
        return plane(seed)
    return mnist(seed, folder) if seed % 5 == 4 and folder is not None else digits(seed)


def fit(
    s: Setting,
    schedule: sf.Schedule,
    target: sf.Parameterization,
    x: Tensor | None = None,
    *,
    net: dict[str, Any] | None = None,
    level: Any = None,
    steps: int | None = None,
    times: losses.TimeLaw | None = None,
) -> tuple[sf.NetworkDenoiser, sf.NetworkDenoiser]:
    """A model trained on the setting; (averaged, last weights). A bare loop: the models are small, and many."""
    torch.manual_seed(s.index)
    denoiser = sf.NetworkDenoiser(s.net(**(net or {})), schedule, target, level=level)
    x, steps = s.train if x is None else x, steps or s.steps
    denoiser.data_mean, denoiser.data_std = float(x.mean()), float((x - x.mean(0)).square().mean().sqrt())
    usual = losses.Uniform(1e-3) if isinstance(target, sf.Eps) else losses.UniformAngle(schedule, 1.0)
    law = (times or usual).quantile((torch.arange(8192, dtype=torch.float64) + 0.5) / 8192)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=s.lr, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average, generator = EMA(denoiser, 0.99), torch.Generator().manual_seed(s.index)
    for _ in range(steps):
        rows = torch.randint(len(x), (s.batch,), generator=generator)
        t = law[torch.randint(len(law), (s.batch,), generator=generator)]
        loss = losses.denoising(denoiser, x[rows], t=t, generator=generator).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        decay.step()
        average.update()
    return average.module, denoiser.eval()


# The faults


def sigma_data(s: Setting) -> Case:
    value = (0.25, 4.0, 0.4, 3.0, 0.2)[s.index % 5]
    target = sf.EDMPreconditioning(value)
    d, _ = fit(s, sf.EDM(sigma_max=40.0), target)
    d.data_std = value
    return Case(d, s.train, s.held_out)


def sigma_range(s: Setting) -> Case:
    high = s.index % 2 == 0
    schedule = sf.EDM(sigma_max=1.0) if high else sf.VE(sigma_min=0.2, sigma_max=40.0, from_zero=False)
    return Case(fit(s, schedule, sf.EDMPreconditioning(1.0))[0], s.train, s.held_out)


@dataclass(frozen=True)
class Without(losses.TimeLaw):
    """A law of t without the noise ratios between two."""

    law: losses.TimeLaw
    schedule: sf.Schedule
    low: float
    high: float

    def quantile(self, u: Tensor) -> Tensor:
        at = self.schedule.time_of_log_snr(-torch.tensor([self.low, self.high], dtype=torch.float64).log())
        grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1]
        t = self.law.quantile(grid)
        kept = t[(t < at[0]) | (t > at[1])]
        return kept[(u * (len(kept) - 1)).round().long()]

    def density(self, t: Tensor) -> Tensor:
        return self.law.density(t)


def band(s: Setting) -> Case:
    low, high = ((0.08, 4.0), (0.03, 8.0), (0.3, 30.0), (0.1, 4.0), (0.1, 3.0))[s.index % 5]
    schedule, target = s.process
    if isinstance(
        schedule, sf.Cosine
    ):  # v = 0 is the Wiener filter of unit data: a network that knows nothing does well
        target = sf.X0()
    law = losses.UniformAngle(schedule, 1.0)
    # an embedding that is smooth in the level interpolates across most bands, and nothing is wrong then
    net = {"level_embedding": "fourier"} if s.train.ndim == 2 else {}
    return Case(fit(s, schedule, target, times=Without(law, schedule, low, high), net=net)[0], s.train, s.held_out)


def other_schedule(s: Setting) -> Case:
    trained, target, used = (
        (sf.Cosine(), sf.V(), sf.VP()),
        (sf.VP(), sf.Eps(), sf.Cosine()),
        (sf.Rectified(), sf.V(), sf.Cosine()),
        (sf.VP(), sf.V(), sf.SubVP()),
        (sf.Discrete.linear(1000), sf.Eps(), sf.Cosine()),
    )[s.index % 5]
    d, _ = fit(s, trained, target)
    d.schedule = used
    return Case(d, s.train, s.held_out)


def overfitted(s: Setting) -> Case:
    few = 32 if s.train.ndim == 2 else 48
    x = s.train[:few]
    schedule, target = s.process
    d, _ = fit(s, schedule, target, x, steps=3 * s.steps)
    return Case(d, x, s.held_out)


def stale(s: Setting) -> Case:
    schedule, target = s.process
    _, last = fit(s, schedule, target)
    torch.manual_seed(s.index)
    start = copy.deepcopy(last)
    for p, q in zip(start.parameters(), sf.NetworkDenoiser(s.net(), schedule, target).parameters(), strict=True):
        p.data.copy_(q.data)
    average = EMA(start, (0.9997, 0.9995, 0.9999, 0.999, 0.9997)[s.index % 5], ramp=False)
    for p, q in zip(start.parameters(), last.parameters(), strict=True):
        p.data.copy_(q.data)
    for _ in range(s.steps):  # as if it had moved at once: an average this far behind is worse
        average.update()
    return Case(average.module, s.train, s.held_out, {"present": last})


def time_embedding(s: Setting) -> Case:
    schedule, target = s.process
    by = (0.1, -0.25, 0.15, 0.3, 0.1)[s.index % 5]  # of t; of log(sigma) / 4 for EDM's
    d, _ = fit(s, schedule, target)
    d.level = lambda t: target.noise_level(schedule, t) + by
    return Case(d, s.train, s.held_out)


def train_mode(s: Setting) -> Case:
    schedule, target = s.process
    d, _ = fit(s, schedule, target, net={"dropout": (0.3, 0.8, 0.5, 0.3, 0.4)[s.index % 5]})
    return Case(d.train(), s.train, s.held_out)


def transform(s: Setting) -> Case:
    schedule, target = s.process
    scale, shift = ((0.5, 0.5), (2.0, 0.0), (1.0, 1.5), (-1.0, 0.0), (0.5, -0.5))[s.index % 5]
    if s.train.ndim == 4 and scale == -1:
        shift = 1.0
    if s.train.ndim == 2 and scale == -1:
        scale = 3.0
    d, _ = fit(s, schedule, target)
    return Case(d, scale * s.train + shift, scale * s.held_out + shift)


FAULTS: dict[str, tuple[Callable[[Setting], Case], str]] = {
    "wrong sigma_data": (sigma_data, "data statistics"),
    "truncated range": (sigma_range, "noise range"),
    "untrained band": (band, "untrained levels"),
    "other schedule": (other_schedule, "schedule"),
    "overfitted": (overfitted, "memorisation"),
    "stale average": (stale, "stale average"),
    "time embedding": (time_embedding, "time embedding"),
    "train mode": (train_mode, "train mode"),
    "wrong transform": (transform, "transform"),
}


# Healthy ones


class Foreign(sf.Denoiser):
    """Somebody's own: predicts the noise of DDPM's 1,000 steps, states nothing of the data."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.schedule = net, sf.Discrete.linear(1000)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = (v.to(x_t).reshape(-1, *[1] * (x_t.ndim - 1)) for v in self.schedule(t))
        k = torch.as_tensor(t, device="cpu").to(x_t).expand(len(x_t))
        return (x_t - sigma * self.net(x_t, k)) / alpha


def healthy_plane(kind: int) -> Callable[[int, Path | None], Case]:
    def build(seed: int, _: Path | None) -> Case:
        s = plane(seed)
        schedule, target = (*PLANE, (sf.SubVP(), sf.V()), (sf.VE(), sf.EDMPreconditioning(1.0)))[kind]
        return Case(fit(s, schedule, target, steps=LONG * s.steps)[0], s.train, s.held_out)

    return build


def healthy_digits(kind: int) -> Callable[[int, Path | None], Case]:
    def build(seed: int, _: Path | None) -> Case:
        s = digits(seed)
        d = fit(s, *PLANE[kind], steps=LONG * s.steps)[0]
        return Case(d, s.train, s.held_out)

    return build


def healthy_mnist(seed: int, folder: Path | None) -> Case:
    s = mnist(seed, folder) if folder is not None else digits(seed)
    return Case(fit(s, *PLANE[3])[0], s.train, s.held_out)


def steps_told(seed: int, _: Path | None) -> Case:
    s = plane(seed)

    class Steps(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, k: Tensor) -> Tensor:
            return self.net(x, (k + 1) / 1000)

    own = dataclasses.replace(s, net=lambda: Steps(s.net()))
    d = fit(own, sf.Discrete.linear(1000), sf.Eps(), level=lambda t: 1000 * t - 1, steps=LONG * s.steps)[0]
    return Case(d, s.train, s.held_out)


def foreign(seed: int, _: Path | None) -> Case:
    s = plane(seed)
    d = fit(s, sf.Discrete.linear(1000), sf.Eps(), steps=LONG * s.steps)[0]
    return Case(Foreign(d.net).eval(), s.train, s.held_out)


def unstated(seed: int, _: Path | None) -> Case:
    s = plane(seed)
    d = fit(s, sf.VP(), sf.V(), 0.6 * s.train, steps=LONG * s.steps)[0]
    del d.data_std, d.data_mean
    return Case(d, 0.6 * s.train, 0.6 * s.held_out)


def exact(law: Callable[[], sf.Distribution], schedule: sf.Schedule) -> Callable[[int, Path | None], Case]:
    def build(seed: int, _: Path | None) -> Case:
        generator, it = torch.Generator().manual_seed(seed), law()
        return Case(
            sf.ExactDenoiser(it, schedule), it.sample(4096, generator=generator), it.sample(1024, generator=generator)
        )

    return build


HEALTHY: dict[str, Callable[[int, Path | None], Case]] = {
    "VP, noise": healthy_plane(0),
    "cosine, v": healthy_plane(1),
    "rectified, velocity": healthy_plane(2),
    "EDM": healthy_plane(3),
    "VP, v": healthy_plane(4),
    "sub-VP, v": healthy_plane(5),
    "VE": healthy_plane(6),
    "1,000 steps": steps_told,
    "foreign class": foreign,
    "nothing stated": unstated,
    "digits, VP, v": healthy_digits(4),
    "digits, cosine, v": healthy_digits(1),
    "digits, EDM": healthy_digits(3),
    "digits, rectified": healthy_digits(2),
    "MNIST, EDM": healthy_mnist,
    "exact rings, VE": exact(toy.rings, sf.VE()),
    "exact moons, sub-VP": exact(toy.two_moons, sf.SubVP()),
    "exact boxes, rectified": exact(toy.checkerboard, sf.Rectified()),
    "exact Gaussian": exact(lambda: sf.Gaussian(torch.zeros(16), torch.linspace(0.1, 4, 16)), sf.Cosine()),
    "exact modes, DDPM": exact(toy.eight_gaussians, sf.Discrete.linear(1000)),
}


def examine(case: Case) -> sf.diagnostics.Diagnosis:
    return sf.diagnose(case.denoiser, case.train, held_out=case.held_out, **case.options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[300, 301, 302, 303, 304])
    parser.add_argument("--healthy", type=int, nargs="*", default=[240], help="first seeds of the healthy models")
    parser.add_argument("--only", nargs="*", help="faults, or healthy models")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=OUT / "diagnose.json")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def one(kind: str, expected: str, seed: int, build: Callable[[], Case]) -> None:
        start = time.perf_counter()
        case = build()
        trained = time.perf_counter()
        found = examine(case)
        names = [f.name for f in found.findings]
        said = names[0] if names else "nothing"
        rows.append({
            "kind": kind, "expected": expected, "seed": seed, "named": said, "findings": [
                {"name": f.name, "severity": f.severity} for f in found.findings
            ], "sentence": found.sentence, "facts": found.facts,
        })  # fmt: skip
        mark = "" if said == expected else "   <--"
        facts, took = found.facts, (trained - start, time.perf_counter() - trained)
        named = ", ".join(f"{f.name} {f.severity:.3f}" for f in found.findings)
        floors = facts["sliced_wasserstein"] / facts["sliced_wasserstein_floor"]
        print(
            f"{kind:<24} {seed:>4}  {said:<18} [{named}] repair {facts['best_repair']:.3f}, W2 / floor {floors:.2f} "
            f"({took[0]:.0f} + {took[1]:.0f} s){mark}", flush=True,
        )  # fmt: skip
        if args.verbose:
            print(found)

    for name, (plant, expected) in FAULTS.items():
        if args.only is None or name in args.only:
            for seed in args.seeds:
                one(name, expected, seed, lambda plant=plant, seed=seed: plant(setting(seed, args.data_dir)))
    for first in args.healthy:
        for i, (name, build) in enumerate(HEALTHY.items()):
            if args.only is None or name in args.only:
                one(name, "nothing", first + i, lambda build=build, s=first + i: build(s, args.data_dir))
    faults = [r for r in rows if r["expected"] != "nothing"]
    healthy = [r for r in rows if r["expected"] == "nothing"]
    print(f"named right {sum(r['named'] == r['expected'] for r in faults)} of {len(faults)}; "
          f"false alarms {sum(r['named'] != 'nothing' for r in healthy)} of {len(healthy)}")  # fmt: skip
    names = sorted({r["named"] for r in rows})
    print(f"{'':<20}" + "".join(f"{n:>18}" for n in names))
    for kind in [*FAULTS, "healthy"]:
        of = healthy if kind == "healthy" else [r for r in faults if r["kind"] == kind]
        if of:
            print(f"{kind:<20}" + "".join(f"{sum(r['named'] == n for r in of):>18}" for n in names))
    OUT.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
