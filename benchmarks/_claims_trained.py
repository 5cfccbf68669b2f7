"""Claims on what is learned: small networks in the plane, held to the exact score, and the comparison's own results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import scorefield as sf
from _claims import Claim, f64, shown
from scorefield import networks, plots, training
from scorefield.comparison import Study
from scorefield.distributions import eight_gaussians
from scorefield.losses import Ladder, LogNormal
from scorefield.plots.style import axes_of_curves

SCHEDULE = sf.EDM(sigma_max=10.0)


def _network(seed: int) -> sf.NetworkDenoiser:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = networks.MLP(2, hidden=64, depth=3, conditioning="add")
    return sf.NetworkDenoiser(net, SCHEDULE, sf.EDMPreconditioning(1.0), data_mean=0.0, data_std=1.0)


def _error(model: sf.Denoiser, law: sf.Distribution, sigma: float, *, n: int = 4000) -> float:
    """sigma^2 E |s - s*|^2 / d at that level, on noisings of fresh data."""
    x0 = law.sample(n, generator=torch.Generator().manual_seed(71))
    x_t = x0 + sigma * torch.randn(x0.shape, generator=torch.Generator().manual_seed(72))
    t = SCHEDULE.time_of_log_snr(-torch.tensor(sigma, dtype=f64).log())
    with torch.no_grad():
        gap = model(x_t, t) - law.denoise(x_t, 1.0, sigma)
    return float(gap.square().mean() / sigma**2)


def learned_scores(pictures: Path) -> list[Claim]:
    """One training, looked at in four ways."""
    law, steps = eight_gaussians(), 3000
    data = law.sample(50_000, generator=torch.Generator().manual_seed(1))
    times = LogNormal(SCHEDULE, mean=-1.0, std=1.4)
    run = {"times": times, "batch_size": 256, "warmup": 50, "ema_decay": 0.99, "weight": sf.losses.weights.eps}
    decayed = training.fit(_network(0), data, steps=steps, lr=3e-3, seed=0, **run)
    constant = _network(0)
    training_options = {**run, "decay": training.constant, "power_ema": (0.1,)}
    snapshots: list[dict[str, Tensor]] = []

    def keep(progress: training.Progress) -> None:
        if progress.step > steps // 2 and progress.step % (steps // 20) == 0:
            snapshots.append({k: v.detach().clone() for k, v in constant.net.state_dict().items()})

    flat = training.fit(constant, data, steps=steps, lr=3e-3, seed=0, on_step=keep, **training_options)
    averaged = _network(0)
    averaged.net.load_state_dict(training.average(snapshots))
    sigmas = (0.05, 0.2, 0.8)
    models = (constant, flat.denoiser, averaged, decayed.denoiser)
    last, ema, mean, cosine = (statistics.mean(_error(model, law, s) for s in sigmas) for model in models)

    x = law.sample(4000, generator=torch.Generator().manual_seed(5))
    wide = torch.cat([x, (torch.rand(4000, 2, generator=torch.Generator().manual_seed(6)) - 0.5) * 5])
    sigma = 0.1
    t = SCHEDULE.time_of_log_snr(-torch.tensor(sigma, dtype=f64).log())
    with torch.no_grad():
        off = (decayed.denoiser(wide, t) - law.denoise(wide, 1.0, sigma)).norm(dim=1) / sigma
    density = law.noised(1.0, sigma).log_prob(wide)
    order = density.argsort().chunk(12)
    curve = [(float(density[i].median()), float(off[i].square().mean().sqrt())) for i in order]
    fig = plots.figure(5.2, 3.4)
    ax = fig.add_subplot()
    ax.plot(*zip(*curve, strict=True), "o-", color=plots.COLORS["first"])
    ax.set_yscale("log")
    axes_of_curves(ax, x="log p at sigma = .1", y="sigma × error of the score", title="eight Gaussians, learned")
    plots.save(fig, pictures / "claims-density.png")

    losses = torch.tensor(decayed.history.loss, dtype=f64)
    rises = float((losses.diff() > 0).double().mean())
    blocks = losses[: steps // 100 * 100].reshape(-1, 100).mean(1)
    block_rises = int((blocks.diff() > 0).sum())
    return [
        Claim(
            "The learned score errs where the density is low",
            f"sigma × error from {curve[-1][1]:.2f} where log p is {curve[-1][0]:.1f} to "
            f"{max(c[1] for c in curve):.2f} "
            f"(lowest shown {curve[0][0]:.0f})",
            "Holds." if curve[0][1] > 2 * curve[-1][1] else "Refuted here.",
        ),
        Claim(
            "The training loss of diffusion decreases monotonically",
            f"it rises in {rises:.0%} of {steps:,} steps; means of 100 steps rise {block_rises} times in "
            f"{len(blocks) - 1}",
            "Refuted: it falls quickly and is then noise about what no network can predict. It says little of quality.",
        ),
        Claim(
            "Averaged weights are better",
            f"σ² × score error, mean of three levels: last weights {last:.4f}, EMA {ema:.4f}, mean of the last "
            f"{len(snapshots)} checkpoints {mean:.4f}; with a decayed rate and EMA {cosine:.4f}",
            f"Holds at a constant rate: EMA {last / ema:.1f} times, averaged checkpoints {last / mean:.1f} times. "
            f"A decayed rate does much of the same.",
        ),
    ]


def one_network_or_many(pictures: Path) -> list[Claim]:
    law, levels, steps = eight_gaussians(), (0.05, 0.15, 0.5, 1.5, 5.0), 1200
    data = law.sample(50_000, generator=torch.Generator().manual_seed(1))
    options = {"batch_size": 256, "warmup": 50, "ema_decay": 0.99, "lr": 3e-3, "weight": sf.losses.weights.eps}
    times = [float(SCHEDULE.time_of_log_snr(-torch.tensor(s, dtype=f64).log())) for s in levels]
    one = training.fit(_network(0), data, times=Ladder(times), steps=steps, **options).denoiser
    shared, many, alone = [_error(one, law, s) for s in levels], [], []
    for time, sigma in zip(times, levels, strict=True):
        for count, found in ((steps // len(levels), many), (steps, alone)):
            model = training.fit(_network(0), data, times=Ladder([time]), steps=count, **options).denoiser
            found.append(_error(model, law, sigma))
    table = "; ".join(
        f"σ {s:g}: {a:.4f}, {b:.4f}, {c:.4f}" for s, a, b, c in zip(levels, shared, many, alone, strict=True)
    )
    at_equal, at_five = sum(many) / sum(shared), sum(alone) / sum(shared)
    return [
        Claim(
            f"One conditional network is as good as {len(levels)} networks",
            f"σ² × score error of one network of {steps:,} steps, of {len(levels)} that share the steps, and of "
            f"{len(levels)} of {steps:,} each: {table}",
            f"Summed over levels, at equal work the {len(levels)} networks have {at_equal:.1f} times the error; at "
            f"{len(levels)} times the work {at_five:.1f} times.",
        )
    ]


def compared(study: Study) -> list[Claim]:
    """What the comparison says of the claims on VAE, GAN and the three processes."""

    def of(name: str, what: str) -> list[float]:
        return [float(getattr(r.measured, what)) for r in study.results[name]]

    def likelihoods(name: str) -> list[float]:
        return [r.likelihood for r in study.results[name] if r.likelihood is not None]

    claims = []
    processes = ("VP", "VE", "sub-VP")
    runs = {p: of(f"{p}, reverse SDE", "distance") for p in processes}
    order = sorted(processes, key=lambda p: statistics.mean(runs[p]))
    near, far = order[0], order[-1]
    combined = math.hypot(*(statistics.stdev(runs[p]) / math.sqrt(len(runs[p])) for p in (near, far)))
    far_by = (statistics.mean(runs[far]) - statistics.mean(runs[near])) / combined
    quality = ", ".join(f"{p} {shown(of(f'{p}, reverse SDE', 'distance'))}" for p in processes)
    told = {p: likelihoods(f"{p}, ODE") for p in processes}
    numbers = ", ".join(f"{p} {shown(told[p], 3)}" for p in processes)
    ahead = statistics.mean(told["sub-VP"]) - statistics.mean(told["VP"])
    error = math.hypot(*(statistics.stdev(told[p]) / math.sqrt(len(told[p])) for p in ("VP", "sub-VP")))
    claims.append(
        Claim(
            "sub-VP has better likelihoods",
            f"log p / d of held-out data, {len(told['VP'])} seeds: {numbers}; the truth is {study.entropy:.3f}",
            f"sub-VP is ahead of VP by {ahead:.3f} ± {error:.3f} nats: "
            + ("holds here." if ahead > 2 * error else "not shown here."),
        )
    )
    claims.append(
        Claim(
            "VP, VE and sub-VP have one quality",
            f"{study.metric} of the reverse SDE: {quality}; floor {study.floor.distance:.4f}",
            f"{near} is ahead of {far} by {far_by:.1f} standard errors, at equal steps: "
            + ("refuted at this budget." if far_by > 3 else "not told apart at this budget."),
        )
    )
    gans = [name for name in study.results if name.startswith("GAN")]
    denoisers = [n for n in study.results if not n.startswith(("GAN", "VAE"))]
    every = study.modes
    sharpest = max(statistics.median(of(n, "good")) for n in denoisers)
    lost = "; ".join(f"{n[5:]} {', '.join(f'{m:.0f}' for m in of(n, 'modes'))}" for n in gans)
    others = min(min(of(n, "modes")) for n in denoisers)
    whole = [n for n in gans if min(of(n, "modes")) == every]
    claims.append(
        Claim(
            "GANs collapse",
            f"modes of {every}, each seed: {lost}",
            (
                "Not all: " + ", ".join(n[5:] for n in whole) + " keeps every mode in every seed. "
                if whole
                else "All three do. "
            )
            + (
                ""
                if len(whole) == len(gans)
                else "Modes are missing in " + ", ".join(n[5:] for n in gans if n not in whole) + "."
            ),
        )
    )
    claims.append(
        Claim(
            "Diffusion has no mode collapse",
            f"fewest modes of {every} over {len(denoisers)} methods that denoise and all seeds: {others:.0f}",
            ("Holds here" if others == every else "Refuted for some: see the comparison's own page")
            + f"; but at this budget what they draw is blurred, at best {sharpest:.0%} of it within four deviations of "
            "a mode.",
        )
    )
    spread = {n: statistics.stdev(of(n, "distance")) / statistics.mean(of(n, "distance")) for n in study.results}
    steady = statistics.median(spread[n] for n in denoisers)
    text = ", ".join(f"{n[5:]} {spread[n]:.0%}" for n in gans)
    claims.append(
        Claim(
            "GANs are unstable, diffusion is stable",
            f"std of {study.metric} over seeds, over its mean: {text}; methods that denoise {steady:.0%} (median)",
            "The Wasserstein one, whose generator moves once in five steps, is not trained in this time and varies "
            "most; the relativistic one is about as steady as diffusion."
            if spread["GAN, relativistic"] < 2 * steady
            else "Holds for all three.",
        )
    )  # fmt: skip
    bound, ode = likelihoods("VAE"), likelihoods("EDM, default sampler")
    claims.append(
        Claim(
            "A VAE's bound is close to a likelihood",
            f"log p / d: VAE >= {shown(bound, 3)} (importance-weighted, 200 draws), EDM by the ODE "
            f"{shown(ode, 3)}, the "
            f"truth {study.entropy:.3f}",
            f"The VAE is {statistics.mean(ode) - statistics.mean(bound):.2f} nats a dimension behind; on this "
            f"law that is "
            "its decoder, not the gap of the bound.",
        )
    )
    return claims


CLAIMS: tuple[Callable[[Path], list[Claim]], ...] = (learned_scores, one_network_or_many)
