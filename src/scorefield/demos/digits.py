"""The whole path on real digits: train, sample, measure, draw, report. What `scorefield quickstart` does."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import __version__, data, grids, metrics, plots, runs
from scorefield._caller import warn as warn_caller
from scorefield.data import units
from scorefield.denoisers import Denoiser
from scorefield.likelihood import BitsPerDim, bits_per_dim
from scorefield.plots.page import Row, Section, write_page
from scorefield.recipes import override, presets
from scorefield.runs import Trained
from scorefield.storage import files

PER_CLASS = 10  # images a row in samples.png
SHOWN = 14  # pairs in neighbours.png
SHOWN_CLASSES = (0, 2, 3, 5, 8)  # of the filmstrips
FRAMES = 9  # moments in a filmstrip
ONE_SIGMA = 0.6827  # the level of an interval of one standard error to either side


@dataclass
class Budget:
    """How much is computed."""

    samples: int | None = None  # as many as there are held-out digits, unless fewer
    nfe: int = 30
    scored: int = 256  # digits whose likelihood is taken
    tolerance: float = 1e-2  # of the likelihood, nats per dimension: far below its spread over digits
    probes: int = 2


FAST = Budget(samples=40, nfe=4, scored=4, tolerance=1.0, probes=1)


@dataclass
class Measured:
    """What metrics.json holds."""

    sliced_wasserstein: float
    sliced_wasserstein_floor: float
    sliced_wasserstein_floor_std: float
    label_agreement: float
    label_agreement_held_out: float
    bits_per_dim: float
    bits_per_dim_stderr: float
    bits_per_dim_train: float
    bits_per_dim_train_stderr: float
    nearer_to_train: float
    nearer_to_train_stderr: float
    nfe: int
    likelihood_nfe: int
    parameters: int
    steps: int
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)


class Shown(NamedTuple):
    """What `run` leaves."""

    rows: list[Row]  # what was measured, as a table says it
    report: Path


def run(
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    steps: int | None = None,
    fast: bool = False,
    progress: bool = False,
    say: Callable[[str], object] = print,
    warn: Callable[[str], None] = warn_caller,
) -> Shown:
    """Everything, into `folder`: the run, its pictures, metrics.json and report.html.

    Args:
        steps: of training, instead of the preset's own.
        fast: a rehearsal, whose numbers mean nothing.
        progress: show bars.
        say: takes a line about each stage.
        warn: takes a line about what went wrong and did not matter.

    Raises:
        Interrupted: as `runs.train`.
    """
    budget, clock = FAST if fast else Budget(), Clock()
    say(f"1,797 digits of 8x8 pixels, {device}, seed {seed}: writing to {folder}")
    with clock("training"):
        changes = [f"seed={seed}", *([] if steps is None else [f"training.steps={steps}"])]
        recipe = override(presets.digits(), changes)
        trained = runs.train(folder, recipe, device=device, progress=progress, warn=warn)
    assert trained is not None  # one process
    denoiser, transform, history = trained.denoiser, trained.transform, trained.history
    assert isinstance(transform, data.Scale)  # the preset's
    say(f"trained    {len(history.step)} steps, loss {np.mean(history.loss[-100:]):.3f}")

    split = data.digits()
    n = min(budget.samples or len(split.test), len(split.test))
    test_labels = split.test_labels[:n]
    with clock("sampling"):
        rows = torch.arange(10).repeat_interleave(PER_CLASS)
        labels = torch.cat([rows, test_labels])  # the grid, then one sample for each held-out digit, of its class
        images = trained.sample(len(labels), nfe=budget.nfe, label=labels, seed=seed, progress=progress)
        shown, drawn = images.raw[: len(rows)], images.raw[len(rows) :]
    say(f"sampled    {len(labels)} digits, {images.nfe} evaluations each")

    with clock("likelihood"):
        held_out = bits(denoiser, transform, split.test, split.test_labels, budget, seed)
        on_train = bits(denoiser, transform, split.train, split.train_labels, budget, seed)
    say(f"scored     {len(held_out.bits)} held-out digits and as many training digits")

    with clock("measuring"):
        floor = metrics.sliced_wasserstein_floor(
            units.unit(torch.cat([split.train, split.test]), transform), (n, len(split.test))
        )
        train, test = units.unit(split.train, transform), units.unit(split.test, transform)
        made = units.unit(drawn, transform)
        agreement, on_real = label_agreement(split, drawn, test_labels)
        copies = metrics.memorization(made, train, test)
        low, high = copies.interval(ONE_SIGMA)
        measured = Measured(
            sliced_wasserstein=metrics.sliced_wasserstein(made, test),
            sliced_wasserstein_floor=floor.mean,
            sliced_wasserstein_floor_std=floor.std,
            label_agreement=agreement,
            label_agreement_held_out=on_real,
            bits_per_dim=held_out.mean,
            bits_per_dim_stderr=held_out.stderr,
            bits_per_dim_train=on_train.mean,
            bits_per_dim_train_stderr=on_train.stderr,
            nearer_to_train=copies.value,
            nearer_to_train_stderr=(high - low) / 2,
            nfe=images.nfe,
            likelihood_nfe=int(held_out.evaluations.max()),
            parameters=sum(p.numel() for p in denoiser.parameters()),
            steps=len(history.step),
            seed=seed,
            seconds=clock.seconds,
        )

    with clock("pictures"):
        draw_samples(folder / "samples.png", units.unit(shown, transform))
        draw_forward(folder / "forward.png", denoiser, transform, split, seed)
        draw_reverse(folder / "reverse.png", trained, transform, budget, seed)
        draw_neighbours(folder / "neighbours.png", made, train, test)
        grey = drawn.to(torch.uint8).numpy()
        arrays = files.npz(grey=grey, label=test_labels, seed=seed, nfe=images.nfe)
        files.replace(folder / "samples.npz", arrays)
    clock.seconds["total"] = sum(clock.seconds.values())
    files.replace(folder / "metrics.json", (json.dumps(asdict(measured), indent=2) + "\n").encode())
    return Shown(_rows(measured), _report(folder, measured, held_out, device))


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def bits(
    denoiser: Denoiser, transform: data.Scale, grey: Tensor, labels: Tensor, budget: Budget, seed: int
) -> BitsPerDim:
    """-log2 p(x | label) / d of a random part of `grey`, through the probability-flow ODE."""
    device = next(denoiser.parameters()).device
    chosen = torch.randperm(len(grey), generator=torch.Generator().manual_seed(seed))[: budget.scored]
    return bits_per_dim(
        denoiser,
        grey[chosen].to(device),
        transform,
        tolerance=budget.tolerance,
        probes=budget.probes,
        seed=seed,
        cond={"label": labels[chosen].to(device)},
    )


def label_agreement(split: data.Split, drawn: Tensor, labels: Tensor) -> tuple[float, float]:
    """How often a classifier fitted to the training digits reads the right label: in samples, and in real digits."""
    from sklearn.svm import SVC

    def flat(grey: Tensor) -> np.ndarray:
        return grey.reshape(len(grey), -1).numpy().astype(np.float64)

    classifier = SVC(gamma=0.001)  # type: ignore[arg-type]
    classifier.fit(flat(split.train), split.train_labels.numpy())
    on_samples = classifier.score(flat(drawn), labels.numpy())
    return float(on_samples), float(classifier.score(flat(split.test), split.test_labels.numpy()))


def draw_samples(path: Path, images: Tensor) -> None:
    fig = plots.image_grid(images, PER_CLASS, row_labels=[f"class {c}" for c in range(10)])
    plots.save(fig, path)


def draw_forward(path: Path, denoiser: Denoiser, transform: data.Scale, split: data.Split, seed: int) -> None:
    """One path of the forward process for each of five digits."""
    chosen = [int((split.test_labels == c).nonzero()[0]) for c in SHOWN_CLASSES]
    x0 = transform(split.test[chosen].float() + 0.5)
    schedule, sd = denoiser.schedule, denoiser.data_std
    times = grids.uniform_log_snr(schedule, FRAMES, s_max=8 * sd, s_min=0.08 * sd).flip(0)
    generator = torch.Generator().manual_seed(seed)
    path_of_x = torch.cat([x0[None], schedule.simulate(x0, times[1:], generator=generator)])
    frames = torch.stack([_rescaled(denoiser, x, t) for x, t in zip(path_of_x, times, strict=True)])
    fig = plots.filmstrip(
        _shades(frames, transform),
        column_labels=_levels(denoiser, times),
        row_labels=[f"class {c}" for c in SHOWN_CLASSES],
        title="from data to noise; above, the noise's standard deviation over the data's",
    )
    plots.save(fig, path)


def draw_reverse(path: Path, trained: Trained, transform: data.Scale, budget: Budget, seed: int) -> None:
    """Noise becoming digits: x_t, and below it the network's guess of where it will end, E[x0 | x_t]."""
    label = torch.tensor(SHOWN_CLASSES)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    trained.sample(
        len(label),
        label=label,
        nfe=max(budget.nfe, FRAMES),
        seed=seed,
        callback=lambda t, x, x0: seen.append((t, x.cpu(), x0.cpu())),
    )
    denoiser = trained.denoiser
    moments = [seen[round(i)] for i in np.linspace(0, len(seen) - 1, FRAMES)]
    strips = [torch.stack([_rescaled(denoiser, x, t), x0], 1).flatten(0, 1) for t, x, x0 in moments]
    fig = plots.filmstrip(
        _shades(torch.stack(strips), transform),
        column_labels=_levels(denoiser, torch.stack([t for t, _, _ in moments])),
        row_labels=[name for c in SHOWN_CLASSES for name in (f"class {c}, $x_t$", r"its $E[x_0|x_t]$")],
        title="from noise to data; above, the noise's standard deviation over the data's",
    )
    plots.save(fig, path)


def draw_neighbours(path: Path, made: Tensor, train: Tensor, test: Tensor) -> None:
    found, reference = metrics.nearest(made, train), metrics.nearest(test, train)
    k = min(SHOWN, len(made))
    fig = plots.neighbours(
        made[:k],
        train[found.index[:k, 0]],
        found.distance[:, 0],
        reference.distance[:, 0],
        distances=found.distance[:k, 0],
    )
    plots.save(fig, path)


def _rescaled(denoiser: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """x_t brought to the data's mean and standard deviation, to be shown in the data's grey scale."""
    now = denoiser.prior(t)
    return (x - now.mean) * (denoiser.data_std / now.std) + denoiser.data_mean


def _shades(x: Tensor, transform: data.Scale) -> Tensor:
    """Model units to [0, 1], unquantised; values outside are clipped when drawn."""
    assert transform.levels is not None
    return transform.inverse(x) / transform.levels


def _levels(denoiser: Denoiser, times: Tensor) -> list[str]:
    ratios = denoiser.schedule.noise_ratio(times) / denoiser.data_std
    return [f"{r:.2g}" for r in ratios.tolist()]


def _rows(m: Measured) -> list[Row]:
    return [
        Row(
            "sliced W2, samples to held-out digits",
            f"{m.sliced_wasserstein:.4f}",
            f"floor {m.sliced_wasserstein_floor:.4f} ± {m.sliced_wasserstein_floor_std:.4f}: real to other real digits",
        ),
        Row(
            "label read back by a classifier",
            f"{m.label_agreement:.1%}",
            f"real held-out digits: {m.label_agreement_held_out:.1%}",
        ),
        Row(
            "held-out bits per dimension",
            f"{m.bits_per_dim:.3f} ± {m.bits_per_dim_stderr:.3f}",
            f"training digits {m.bits_per_dim_train:.3f} ± {m.bits_per_dim_train_stderr:.3f}; "
            f"uniform {math.log2(17):.3f}",
        ),
        Row(
            "samples nearer to training than held-out digits",
            f"{m.nearer_to_train:.1%} ± {m.nearer_to_train_stderr:.1%}",
            "50% without memorisation, 100% for copies",
        ),
        Row("network evaluations a sample", f"{m.nfe}", f"likelihood: {m.likelihood_nfe} with gradients"),
        Row(
            "seconds",
            f"{m.seconds['total']:.1f}",
            ", ".join(f"{name} {s:.1f}" for name, s in m.seconds.items() if name != "total"),
        ),
    ]


def _report(folder: Path, m: Measured, held_out: BitsPerDim, device: torch.device) -> Path:
    sections = [
        Section(
            "Samples",
            f"Ten samples of each class, {m.nfe} network evaluations each. Row c was asked for digit c. "
            "Nothing was chosen: sample i is a function of the seed and i.",
            folder / "samples.png",
            "A grid of ten rows and ten columns of generated 8x8 digits; row c holds samples of class c.",
        ),
        Section(
            "From data to noise",
            "One path of the forward process for each of five held-out digits. Above the columns: the noise's standard "
            "deviation over the signal's. Each frame is brought to the data's mean and contrast to be visible.",
            folder / "forward.png",
            "Five digits, each in nine frames from left to right: clear at first, then more and more covered by noise.",
        ),
        Section(
            "From noise to data",
            "The reverse. Upper rows: the sample on its way. Lower rows: E[x0 | x_t], the network's guess of where it "
            "will end, which is all a denoiser knows; every sampler and the likelihood are built on it.",
            folder / "reverse.png",
            "Five pairs of rows, nine frames each: noise becomes a digit, and below it the denoiser's guess sharpens.",
        ),
        Section(
            "Training",
            f"The denoising loss of each of {m.steps} batches, and its running mean. Its floor is not zero: it is "
            "the part of the noise that no network can predict.",
            folder / "training.png",
            f"The loss of {m.steps} training steps and its running mean, falling.",
        ),
        Section(
            "Does it copy?",
            "Samples above the training digit nearest to each, and the distribution of that distance over all samples "
            "beside the same for held-out digits. A model that copies has samples much nearer than new real digits.",
            folder / "neighbours.png",
            "Generated digits above their nearest training digits, and two histograms of that distance.",
        ),
    ]
    facts = [
        Row(
            "command",
            "scorefield quickstart",
            f"seed {m.seed}, {device}, scorefield {__version__}, torch {torch.__version__}",
        ),
        Row("network", f"{m.parameters:,} parameters", f"{m.steps} training steps"),
        Row(
            "bits per dimension",
            f"{len(held_out.bits)} digits",
            "upper bound (uniform dequantisation) through the probability-flow ODE, given the label; "
            "± is the standard error over digits, solver and ends included",
        ),
        Row("sliced W2", "256 directions", "pixels in [0, 1]; floor: 8 random splits of the real digits, same sizes"),
        Row("use it", "scorefield sample", f"scorefield sample {folder} --n 64 --solver heun --nfe 31 --label 3"),
    ]
    return write_page(
        folder / "report.html",
        title="A score model of handwritten digits",
        lead="Trained on half of scikit-learn's 1,797 real 8x8 digits, measured on the other half.",
        rows=_rows(m),
        sections=sections,
        facts=facts,
    )
