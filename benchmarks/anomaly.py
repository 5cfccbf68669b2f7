"""Which statistic tells MNIST from Fashion-MNIST, in both directions: AUROC with its interval.

    OMP_NUM_THREADS=1 python benchmarks/anomaly.py --inside mnist --run RUN --data-dir DIR [--n 100]
    OMP_NUM_THREADS=1 python benchmarks/anomaly.py --inside fashion --run RUN --data-dir DIR
    OMP_NUM_THREADS=1 python benchmarks/anomaly.py --inside fashion --gaussian --data-dir DIR --n 1000

The model was trained on `--inside`; 2 n of its test images are the reference, of which the first n fit what is to be
fitted and the others are the inliers; n test images of the other set are the outliers. `--gaussian` takes, instead of a
trained network, one Gaussian fitted to 10,000 training images, whose likelihood and denoiser are exact.

The background of the likelihood ratio is a Gaussian as well, fitted to training images of which every pixel is replaced
by a uniform one with probability 0.2 (Ren et al. 2019 train a second deep model on such images).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import scorefield as sf
from scorefield import anomaly, data, metrics, plots
from scorefield.anomaly import CodeLength, Measurement, Statistic
from scorefield.plots.style import axes_of_curves

OUT = Path(__file__).parent / "out"
OTHER = {"mnist": "fashion", "fashion": "mnist"}
FITTED, MUTATION = 10_000, 0.2


def gaussian(x: Tensor) -> sf.Gaussian:
    """Mean and covariance of `x` `(n, *event)`."""
    x = x.flatten(1).double()
    return sf.Gaussian(x.mean(0), torch.cov(x.T) + 1e-5 * torch.eye(x.shape[1], dtype=torch.float64))


class Flattened(sf.Denoiser):
    """The exact denoiser of a Gaussian over flattened images."""

    def __init__(self, law: sf.Gaussian, std: float) -> None:
        super().__init__()
        self.exact = sf.ExactDenoiser(law, sf.EDM(sigma_max=40.0))
        self.schedule, self.data_std = self.exact.schedule, std

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return self.exact(x_t.flatten(1).double(), t).reshape(x_t.shape).to(x_t.dtype)


def statistics(nll: Measurement, bound: bool, background: sf.Gaussian) -> dict[str, Statistic]:
    found = {
        "likelihood": anomaly.likelihood(nll),
        "typicality": anomaly.typicality(nll),
        "likelihood ratio": anomaly.likelihood_ratio(background, nll),
        "complexity, PNG": anomaly.complexity(nll),
        "PNG alone": Statistic(CodeLength()),
        "score norms, Gaussian": anomaly.score_norms(),
        "score norms, mixture": anomaly.score_norms(anomaly.MixtureLaw(components=2)),
        "score norms, kernels": anomaly.score_norms(anomaly.KernelLaw()),
        "denoising error": anomaly.denoising_error(),
        "denoising error, Gaussian": anomaly.denoising_error(anomaly.GaussianLaw()),
    }
    if bound:
        found |= {"ELBO": anomaly.likelihood(anomaly.NegativeElbo())}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", choices=list(OTHER), default="mnist")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", type=Path)
    model.add_argument("--gaussian", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--tolerance", type=float, default=0.1, help="of the likelihood, nats per dimension")
    args = parser.parse_args()
    train = data.named(args.inside, data_dir=args.data_dir)
    images = train.batch(torch.arange(FITTED)).x
    if args.run:
        loaded = sf.load(args.run)
        denoiser, transform, name = loaded.denoiser, loaded.transform, "trained"
        nll: Measurement = anomaly.NegativeLogLikelihood(tolerance=args.tolerance)
    else:
        transform, name = data.Scale.to_standard(images, levels=256), "gaussian"
        law = gaussian(transform.dequantize(images, torch.Generator().manual_seed(0)))
        denoiser, nll = Flattened(law, transform.sigma_data), anomaly.Density(law)
    assert transform is not None
    generator = torch.Generator().manual_seed(1)
    mutated = torch.rand(images.shape, generator=generator) < MUTATION
    images = torch.where(mutated, torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator), images)
    wanted = statistics(nll, bool(args.run), gaussian(transform.dequantize(images, generator)))

    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    features: dict[str, dict[str, Tensor]] = {}
    seconds: dict[str, float] = {}
    for side, which, n in (("inside", args.inside, 2 * args.n), ("outside", OTHER[args.inside], args.n)):
        x = data.named(which, data_dir=args.data_dir, split="test").batch(order[:n]).x
        first = 0 if side == "inside" else 2 * args.n
        begun = time.process_time()
        found = anomaly.measured(wanted.values(), denoiser, x, transform=transform, first_index=first, chunk=25)
        seconds[side] = time.process_time() - begun
        features[side] = dict(zip(wanted, found, strict=True))
        print(f"{which}: {n} images, {seconds[side]:.0f} CPU-seconds", flush=True)

    rows: dict[str, Any] = {}
    print("| statistic | AUROC (95%) | average precision | FPR at TPR 95% | mean inside, outside |")
    print("| --- | --- | --- | --- | --- |")
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for key, statistic in wanted.items():
        fitted = statistic.fitted(features["inside"][key][: args.n])
        inliers = fitted.law.score(features["inside"][key][args.n :]).numpy()
        outliers = fitted.law.score(features["outside"][key]).numpy()
        scores[key] = inliers, outliers
        found = [f(inliers, outliers) for f in (metrics.auroc, metrics.average_precision, metrics.fpr_at)]
        rows[key] = {"auroc": found[0], "average_precision": found[1], "fpr_at_95": found[2]}
        text = " | ".join("{:.3f} ({:.3f}-{:.3f})".format(e.value, *e.interval(0.95)) for e in found)
        print(f"| {key} | {text} | {inliers.mean():.2f}, {outliers.mean():.2f} |", flush=True)
    group = {m: float((groups(features, m) <= 0.05).mean()) for m in (2, 5, 10)}
    print("group typicality, share of outlier groups found at 5%:", group)
    OUT.mkdir(exist_ok=True)
    stem = f"anomaly-{args.inside}-{name}"
    np.savez_compressed(
        OUT / f"{stem}.npz",
        **{f"{k}/{s}": v for k, pair in scores.items() for s, v in zip(("in", "out"), pair, strict=True)},  # type: ignore
    )
    text = {"n": args.n, "statistics": rows, "groups": group, "seconds": seconds}
    (OUT / f"{stem}.json").write_text(json.dumps(text, indent=1) + "\n")
    plots.save(figure(scores, args.inside), OUT / f"{stem}.png")


def groups(features: dict[str, dict[str, Tensor]], m: int) -> np.ndarray:
    """The p-values of disjoint groups of m outliers, on likelihood."""
    inside, outside = (features[side]["likelihood"][:, 0] for side in ("inside", "outside"))
    return np.array([anomaly.group_typicality(g, inside, resamples=999) for g in outside.split(m) if len(g) == m])


def figure(scores: dict[str, tuple[np.ndarray, np.ndarray]], inside: str) -> Any:
    """Histograms of the likelihood, of its ratio to PNG and of the score norms, inliers beside outliers."""
    fig = plots.figure(10, 2.9)
    for ax, key in zip(fig.subplots(1, 3), ("likelihood", "complexity, PNG", "score norms, Gaussian"), strict=True):
        x, y = scores[key]
        both = np.concatenate([x, y])
        if key.startswith("score"):
            low = both.min() - 1
            x, y, both = (np.log10(v - low) for v in (x, y, both))
        edges = np.linspace(both.min(), both.max(), 41)
        for v, label, color in ((x, inside, "data"), (y, OTHER[inside], "second")):
            ax.hist(v, edges, density=True, alpha=0.6, color=plots.COLORS[color], label=label)
        unit = "nats per dimension" if not key.startswith("score") else "log10 of the score less its least"
        axes_of_curves(ax, x=unit, title=f"{key}: AUROC {metrics.auroc(*scores[key]).value:.3f}")
        ax.set_yticks([])
    fig.axes[0].legend(frameon=False, fontsize=9)
    return fig


if __name__ == "__main__":
    main()
