"""Guidance on class-conditional MNIST: how often the class is right, against how varied its images are.

    scorefield train --preset mnist --set training.condition_dropout=0.1 --steps 3000 --out runs/mnist
    OMP_NUM_THREADS=1 MNIST=folder/with/idx/files python benchmarks/guidance.py runs/mnist

For each weight, `--images` samples, classes in turn, from the same noise, by the default solver in `--nfe` evaluations
(of two network passes each where 1 < w or w < 0). On the features of the classifier of `_mnist.py`:

    accuracy    the share of images to which it gives the class asked for
    Fréchet     distance to the 10,000 test images
    spread      mean distance between two images of a class, over that of as many test images
    recall      the share of test images of a class within the support of the generated ones: nearer to some generated
                image than its third neighbour among the generated (Kynkäänniemi et al. 2019), as many of both

The first row is what as many training images score. 'unconditional' is w = 0, where no class is asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from torch import Tensor

import scorefield as sf
from _mnist import OUT, features, frechet, load, predictions
from scorefield import plots
from scorefield.guidance import Interval, Projected, Rescaled
from scorefield.metrics import nearest
from scorefield.plots.style import INK, axes_of_curves

EVENT, DIGITS, NEIGHBOUR = (1, 28, 28), 10, 3


class Case(NamedTuple):
    name: str
    model: sf.Denoiser
    line: bool  # one of the curve over w
    conditional: bool = True


def cases(denoiser: sf.Denoiser) -> list[Case]:
    """Plain weights, and at w = 4 the ways to keep what it costs."""
    cfg = sf.ClassifierFreeGuidance
    return [
        Case("unconditional", denoiser, False, conditional=False),
        Case("w = 1", cfg(denoiser, 1.0), True),
        Case("w = 1.5", cfg(denoiser, 1.5), True),
        Case("w = 2", cfg(denoiser, 2.0), True),
        Case("w = 4", cfg(denoiser, 4.0), True),
        Case("w = 4, 0.2 < s < 1.5", cfg(denoiser, Interval(4.0, 0.2, 1.5)), False),
        Case("w = 4, rescaled", cfg(denoiser, 4.0, rule=Rescaled()), False),
        Case("w = 4, projected", cfg(denoiser, 4.0, rule=Projected()), False),
    ]


def within(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """(spread, recall) of features of one class, `(n, 64)` each."""
    n = min(len(generated), len(real))
    generated, real = generated[:n].double(), real[:n].double()
    spread = float(torch.pdist(generated).mean() / torch.pdist(real).mean())
    radius = nearest(generated, generated, k=NEIGHBOUR + 1).distance[:, -1]  # the first neighbour is itself
    covered = (torch.cdist(real, generated) <= radius).any(1)
    return spread, float(covered.double().mean())


def scores(images: Tensor, asked: Tensor | None, test: tuple[Tensor, Tensor]) -> dict[str, float | None]:
    """The row of a table, of images `(N, 1, 28, 28)` uint8."""
    row: dict[str, float | None] = {"accuracy": None, "frechet": frechet(images), "spread": None, "recall": None}
    if asked is None:
        return row
    row["accuracy"] = float((predictions(images) == asked).double().mean())
    mine, (real, labels) = features(images), test
    each = torch.tensor([within(mine[asked == k], real[labels == k]) for k in range(DIGITS)])
    row["spread"], row["recall"] = each.mean(0).tolist()
    return row


def figure(rows: list[dict[str, float | str | None]], line: list[str], pictures: dict[str, Tensor], path: Path) -> None:
    """The trade-off, and ten digits at each weight."""
    fig = plots.figure(10.5, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=[1, 1.15])
    by_name = {str(row["case"]): row for row in rows}
    curve = [by_name[name] for name in line]
    left.plot([r["recall"] for r in curve], [r["accuracy"] for r in curve], "o-", color=plots.COLORS["first"], lw=1.6)
    others = [r for r in rows if r["recall"] is not None and r not in curve]
    colors = dict(zip([str(r["case"]) for r in others], plots.curves_colors(9)[1:], strict=False))
    for r in others:
        left.plot(r["recall"], r["accuracy"], "o", color=colors[str(r["case"])], label=str(r["case"]))
    for r in curve:
        left.annotate(str(r["case"]), (r["recall"], r["accuracy"]), (4, -12), textcoords="offset points", fontsize=8)  # type: ignore
    axes_of_curves(left, x="recall within the class", y="accuracy")
    left.legend(frameon=False, fontsize=8)
    _strip(right, {name: x[:DIGITS] for name, x in pictures.items()})
    plots.save(fig, path)


def _strip(ax: Axes, pictures: dict[str, Tensor]) -> None:
    """A row of images for each name."""
    rows = torch.cat([torch.cat(list(x[:, 0]), 1) for x in pictures.values()], 0)
    ax.imshow(255 - rows.numpy(), cmap="gray", vmin=0, vmax=255)
    ax.set_xticks([])
    ax.set_yticks([14 + 28 * i for i in range(len(pictures))], list(pictures), fontsize=9, color=INK)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw(denoiser: sf.Denoiser, transform: Any, path: Path, nfe: int, seed: int) -> None:
    """Two of each digit at each weight, from the same noise."""
    asked, pictures = torch.arange(2 * DIGITS) % DIGITS, {}
    for case in cases(denoiser):
        if case.line:
            x = sf.sample(case.model, (2 * DIGITS, *EVENT), nfe=nfe, cond={"label": asked}, seed=seed).x
            pictures[case.name] = transform.quantize(x).to(torch.uint8)
    fig = plots.figure(10.5, 2.3)
    _strip(fig.add_subplot(), pictures)
    plots.save(fig, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder of a class-conditional model with condition dropout")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--nfe", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="only draw two of each digit at each weight, to this PNG")
    options = parser.parse_args()
    if options.images < 100:
        parser.error(f"--images must be at least 100, ten of a class; got {options.images}")
    torch.set_num_threads(1)
    run = sf.load(options.run)
    denoiser, transform = run.denoiser, run.transform
    assert transform is not None
    if options.pictures:
        draw(denoiser, transform, options.pictures, options.nfe, options.seed)
        return
    n, (train, train_labels), test = options.images, load("train"), load("t10k")
    asked = torch.arange(n) % DIGITS
    test = (features(test[0]), test[1])
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(options.seed))[:n]
    rows, pictures = [{"case": "training images", **scores(train[order], train_labels[order], test)}], {}
    print(f"{run.checkpoint}, {n} images, {options.nfe} evaluations")
    print(f"{'case':22s} {'accuracy':>8s} {'Fréchet':>8s} {'spread':>7s} {'recall':>7s} {'CPU-s':>6s}")

    def told(row: dict[str, float | str | None]) -> None:
        numbers = [row.get(k) for k in ("accuracy", "frechet", "spread", "recall", "cpu_seconds")]
        widths = (" 8.3f", " 8.2f", " 7.3f", " 7.3f", " 6.0f")
        cells = [
            f" {v:{w[1:]}}" if v is not None else " " * (1 + int(w[1])) for v, w in zip(numbers, widths, strict=True)
        ]
        print(f"{row['case']:22s}" + "".join(cells), flush=True)

    told(rows[0])
    line = []
    for case in cases(denoiser):
        start = time.process_time()
        cond = {"label": asked} if case.conditional else {}
        x = sf.sample(case.model, (n, *EVENT), nfe=options.nfe, cond=cond, seed=options.seed, chunk=250).x
        seconds = time.process_time() - start
        images = transform.quantize(x).to(torch.uint8)  # type: ignore[attr-defined]
        row = {"case": case.name, **scores(images, asked if case.conditional else None, test), "cpu_seconds": seconds}
        rows.append(row)
        told(row)
        if case.line:
            line.append(case.name)
            pictures[case.name] = images[:DIGITS]
    OUT.mkdir(exist_ok=True)
    (OUT / "guidance.json").write_text(json.dumps(rows, indent=1))
    figure(rows, line, pictures, OUT / "guidance-mnist.png")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
