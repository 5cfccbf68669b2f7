"""What the reconstruction studies share: a trained prior in the picture's own units, figures of merit, calibration."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from skimage.metrics import structural_similarity  # type: ignore[reportMissingImports]
from torch import Tensor

import scorefield as sf
from scorefield import plots
from scorefield.data import Scale
from scorefield.inverse import GaussianNoise
from scorefield.inverse.operators import LinearOperator
from scorefield.plots.style import axes_of_curves
from scorefield.randomness import Noise

OUT = Path(__file__).parent / "out"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
DRAWS = 19  # the truth has rank 1 .. 20 among itself and 19 draws: the interval from least to largest holds it in 90 %


class Prior(NamedTuple):
    """A trained denoiser; pictures v in [0, 1] are v = scale x + shift of the model's x."""

    denoiser: sf.Denoiser
    scale: float
    shift: float

    def to_model(self, v: Tensor) -> Tensor:
        return (v - self.shift) / self.scale

    def to_picture(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift

    def likelihood(self, operator: LinearOperator, y: Tensor, noise_std: float) -> GaussianNoise:
        """Of y = A v + n, as a function of the model's x."""
        return GaussianNoise(operator, y, noise_std).standardized(self.scale, self.shift)


def prior(run: Path, levels: int = 255) -> Prior:
    """Of a run on bytes k taken at k + 1/2: k = round(255 v), or with 256 levels dequantised, v = (k + u) / 256."""
    loaded = sf.load(run)
    transform = loaded.transform
    if not isinstance(transform, Scale):
        raise ValueError(f"{run}: expected a prior of pictures in bytes; got transform {transform}")
    first = 0.5 if levels == 255 else 0.0
    scale = 1 / (levels * transform.scale)
    return Prior(loaded.denoiser, scale, -scale * transform.shift - first / levels)


def measured(operator: LinearOperator, v: Tensor, noise_std: float, seed: int) -> Tensor:
    """A v + n, the noise of picture i keyed by (seed, i)."""
    return operator(v) + noise_std * Noise(seed, torch.arange(len(v)), operator.output_shape).normal(0)


def psnr(estimate: Tensor, truth: Tensor) -> list[float]:
    """-10 log10 of the mean squared error of each picture clipped to [0, 1], dB."""
    error = (estimate.clamp(0, 1) - truth).double().square().flatten(1).mean(1)
    return (-10 * error.log10()).tolist()


def ssim(estimate: Tensor, truth: Tensor) -> list[float]:
    """scikit-image's, windows of 7 x 7, of each picture clipped to [0, 1]."""
    pairs = zip(estimate.clamp(0, 1).double().numpy(), truth.double().numpy(), strict=True)
    return [float(structural_similarity(a[0], b[0], data_range=1.0)) for a, b in pairs]


def chi2(operator: LinearOperator, estimate: Tensor, y: Tensor, noise_std: float) -> list[float]:
    """|(y - A v) / noise_std|^2 / M of each picture: 1 +- sqrt(2 / M) at the truth."""
    return ((y - operator(estimate)) / noise_std).square().flatten(1).mean(1).tolist()


def row(name: str, estimate: Tensor, truth: Tensor, operator: LinearOperator, y: Tensor, noise_std: float) -> dict:
    """One method's figures on each picture."""
    return {
        "method": name,
        "psnr": psnr(estimate, truth),
        "ssim": ssim(estimate, truth),
        "chi2": chi2(operator, estimate, y, noise_std),
    }


class Calibration(NamedTuple):
    """Of draws `(B, 19, *event)` against truths, over the pixels that have something to know."""

    coverage: float  # of the 90 % interval from the least to the largest draw
    edges: list[float]  # of bins of the draws' standard deviation
    sd: list[float]  # root mean square of it in each bin
    rmse: list[float]  # of the mean of the draws, in each bin
    ratio: float  # rms error / rms sd, over the same pixels: sqrt(1 + 1/19) where calibrated


def calibration(draws: Tensor, truth: Tensor, floor: float = 2e-3) -> Calibration:
    """Where the standard deviation is below `floor`, draws agree to less than a grey level: left out."""
    sd, error = draws.std(1), draws.mean(1) - truth
    known = sd > floor
    inside = (truth >= draws.amin(1)) & (truth <= draws.amax(1))
    edges = np.geomspace(floor, float(sd.max()), 9)
    bins = [(sd > low) & (sd <= high) for low, high in pairwise(edges)]
    bins = [chosen for chosen in bins if int(chosen.sum()) >= 50]
    return Calibration(
        float(inside[known].float().mean()),
        edges.tolist(),
        [float(sd[chosen].square().mean().sqrt()) for chosen in bins],
        [float(error[chosen].square().mean().sqrt()) for chosen in bins],
        float((error[known].square().mean() / sd[known].square().mean()).sqrt()),
    )


def table(rows: Sequence[dict], chosen: Sequence[int] | None = None) -> str:
    """Markdown: means over the pictures, or over those of the `chosen` numbers."""
    lines = ["| method | PSNR, dB | SSIM | chi² / M |", "| --- | --- | --- | --- |"]
    for entry in rows:
        each = {k: [entry[k][i] for i in chosen or range(len(entry[k]))] for k in ("psnr", "ssim", "chi2")}
        mean = {k: sum(values) / len(values) for k, values in each.items()}
        lines.append(f"| {entry['method']} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['chi2']:.2f} |")
    return "\n".join(lines)


class Outcome(NamedTuple):
    """Of one task of a study: its table, one or more rows of pictures, and how good the draws' spread is."""

    rows: list[dict]
    labels: list[str]
    panels: list[list[Tensor]]  # a list `(1, H, W)` for each label
    calibration: Calibration | None = None


def keep(study: str, task: str, outcome: Outcome, **settings: Any) -> None:
    """Writes benchmarks/out/reconstruction-STUDY-TASK.json and .npz, so that tasks may be run one by one."""
    OUT.mkdir(exist_ok=True)
    name = f"reconstruction-{study}-{task.split(',')[0].replace(' ', '-')}"
    found = outcome.calibration._asdict() if outcome.calibration else None
    entry = {"task": task, **settings, "labels": outcome.labels, "rows": outcome.rows, "calibration": found}
    (OUT / f"{name}.json").write_text(json.dumps(entry, indent=1))
    np.savez_compressed(OUT / f"{name}.npz", panels=torch.stack([torch.stack(row) for row in outcome.panels]).numpy())


def kept(study: str, tasks: Sequence[str]) -> dict[str, Outcome]:
    """What `keep` has written, of those tasks that have been run."""
    outcomes = {}
    for task in tasks:
        path = OUT / f"reconstruction-{study}-{task.split(',')[0].replace(' ', '-')}.json"
        if path.exists():
            entry = json.loads(path.read_text())
            with np.load(path.with_suffix(".npz")) as file:
                panels = [list(row) for row in torch.from_numpy(file["panels"])]
            found = Calibration(**entry["calibration"]) if entry["calibration"] else None
            outcomes[task] = Outcome(entry["rows"], entry["labels"], panels, found)
    return outcomes


def save_picture(figure: Any, name: str, dpi: int = 110) -> Path:
    """To docs/images, at most 200 kB."""
    path = plots.save(figure, IMAGES / f"{name}.png", dpi=dpi, colors=128)
    size = path.stat().st_size
    if size > 200_000:
        print(f"{path}: {size / 1000:.0f} kB, more than 200")
    return path


def draw_calibration(results: dict[str, Calibration], name: str) -> Path:
    """Error of the mean against the standard deviation of the draws: on the diagonal where calibrated."""
    fig = plots.figure(4.6, 4.0)
    ax = fig.add_subplot()
    for (label, got), color in zip(results.items(), plots.curves_colors(len(results)), strict=True):
        text = f"{label}: 90 % interval holds {100 * got.coverage:.0f} %"
        ax.loglog(got.sd, got.rmse, "o-", color=color, markersize=4, label=text)
    low, high = ax.get_xlim()
    ax.plot([low, high], [low, high], color=plots.COLORS["truth"], linewidth=1, linestyle="--", label="calibrated")
    axes_of_curves(ax, x="standard deviation of the draws", y="error of their mean, root mean square")
    ax.legend(frameon=False, fontsize=8)
    return save_picture(fig, name)


def gallery(rows: Sequence[Sequence[Tensor]], columns: Sequence[str], labels: Sequence[str], cell: float) -> Any:
    """Pictures `(1, H, W)` in [0, 1], a row of them for each label; `cell` inches wide."""
    fig = plots.figure(cell * len(columns) + 0.5, cell * len(rows) + 0.3)
    axes = fig.subplots(len(rows), len(columns), squeeze=False)
    for i, (label, pictures) in enumerate(zip(labels, rows, strict=True)):
        for j, picture in enumerate(pictures):
            ax = axes[i, j]
            ax.imshow(picture[0].clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            plots.clean(ax)
            if i == 0:
                ax.set_title(columns[j], fontsize=8)
        axes[i, 0].set_ylabel(textwrap.fill(label, round(16 * cell)), fontsize=7)
    fig.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    return fig


class Timer:
    """Processor seconds."""

    def __enter__(self) -> Timer:
        self.start, self.seconds = time.process_time(), math.nan
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.start
