"""Data for a model to work on: of its run's held-out data, or a user's own, in the model's units."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield import data, runs
from scorefield.cli._options import Reading, Wanted, places
from scorefield.cli._output import note, warn
from scorefield.data import Source, Transform
from scorefield.denoisers import Denoiser
from scorefield.plots.shown import rows_of
from scorefield.runs import RECIPE, HeldOut, Trained
from scorefield.runs.named import is_pictures

FEW, MANY = 10, 256  # of held-out data: pictures and series, points


class Inputs(NamedTuple):
    """Some data and the model they are for, on its device but for what is raw."""

    run: Trained
    raw: Tensor  # (N, *event), the data's own units
    x: Tensor  # the same, as the model was trained to see them: with noise, where it was trained with noise
    rows: Tensor  # (N,) int64, their places in what they were chosen from
    label: Tensor | None  # (N,) int64
    what: str  # "held-out data of mnist"
    own: Tensor | None = None  # (N,) the classes that the data have, whatever was asked for

    def names(self, n: int) -> list[str]:
        """What a picture calls the first n: "#3 (class 0)"."""
        own, asked = (None if t is None else t[:n].tolist() for t in (self.own, self.label))
        return rows_of(self.rows[:n].tolist(), own, self.run.look, asked)

    @property
    def denoiser(self) -> Denoiser:
        """Of the run."""
        return self.run.denoiser

    @property
    def transform(self) -> Transform | None:
        """Of the run's data."""
        return self.run.transform

    @property
    def cond(self) -> dict[str, Tensor]:
        """What the denoiser is told beside x."""
        return {} if self.label is None else {"label": self.label}


def chosen(wanted: Wanted, *, labelled: bool = True) -> Inputs:
    """What the user asked for. The noise of dequantisation is a function of (seed, place), whatever else is chosen.

    Raises:
        FileNotFoundError: for a run or a file that is not there.
        ValueError: for data that are not of the run's shape and levels; places or labels that are not there.
    """
    run = model(wanted)
    found = held_out(run, wanted.data, wanted.data_dir, "which data: give --data", wanted.reading)
    source, what = found
    some = MANY if len(run.event_shape) == 1 else FEW
    index = places_of(wanted, source, what, some if wanted.data is None else len(source))
    raw, cond = source.batch(index)
    label = label_of(wanted, run, len(index), cond.get("label")) if labelled else None
    x = run.to_model(raw, index, seed=wanted.seed)
    return Inputs(run, raw, x, index, None if label is None else label.to(run.device), what, cond.get("label"))


def places_of(wanted: Wanted, source: Source, what: str, default: int) -> Tensor:
    """`(N,)`: the places that the user named, or the first so many.

    Raises:
        ValueError: for one that is not there.
    """
    if wanted.index is None:
        return torch.arange(min(default, len(source)))
    rows = places(wanted.index)
    if wrong := [row for row in rows if row >= len(source)]:
        raise ValueError(f"--index must lie in 0..{len(source) - 1}, the {len(source):,} {what}; got {wrong[0]}")
    return torch.tensor(rows)


def model(wanted: Wanted) -> Trained:
    """The run, a denoiser's, on its device.

    Raises:
        ValueError: for a classifier's, or a checkpoint that does not say the shape of its data.
    """
    run = runs.load(wanted.run, warn=warn).to(wanted.device)
    _ = run.denoiser, run.event_shape  # refused here, before any data are read
    return run


def held_out(
    run: Trained, named: str | None, data_dir: Path | None, way_out: str, reading: Reading | None = None
) -> HeldOut:
    """The run's held-out data, or those `named`, and says what is to know of them.

    `way_out` ends the message where nothing says which.
    """
    if run.recipe is None and named is None:
        raise ValueError(f"{run.name} has no {RECIPE} to say {way_out}")
    found = run.held_out(named, policy=None if reading is None else reading.policy, data_dir=data_dir)
    for line in found.notes:
        note(line)
    return found


def mask(path: Path, axes: tuple[int, ...]) -> Tensor:
    """Bool, `axes`: where a picture is nearer to white than to black, or numbers are not 0.

    Raises:
        ValueError: for another size.
    """
    picture = is_pictures(path)
    source = data.load(path, channels=1) if picture else data.load(path)
    x = source.batch(torch.arange(len(source))).x
    if x.numel() != torch.Size(axes).numel() or (picture and tuple(x.shape[2:]) != axes):
        raise ValueError(f"--mask: {path} has shape {tuple(x.shape)}; the run's data need {axes}")
    return (x > 127 if picture else x != 0).reshape(axes)


def label_of(wanted: Wanted, run: Trained, n: int, given: Tensor | None) -> Tensor | None:
    """`(n,)`: the classes the user asks for, else those `given`; None for a model without, or with --no-label.

    Raises:
        ValueError: for a class that the model does not have.
    """
    classes = run.num_classes
    asked = runs.labels(wanted.label, n, classes, names=run.class_names, called="--label")
    if asked is not None:
        return asked
    if given is not None and classes is not None and not wanted.no_label:
        if not 0 <= int(given.min()) <= int(given.max()) < classes:
            raise ValueError(f"label must lie in 0..{classes - 1}; got {int(given.min())}..{int(given.max())}")
        return given
    if classes is not None and not run.knows_null:
        note("this run never learned to do without a class (condition_dropout 0): give --label")
    return None
