"""Data for a model to work on: of its run's held-out data, or a user's own, in the model's units."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorefield import data, runs
from scorefield.cli._options import Wanted, places
from scorefield.cli._output import note, warn
from scorefield.data import Requantised, Source, Transform
from scorefield.data.images import SUFFIXES
from scorefield.denoisers import Denoiser
from scorefield.plots.shown import rows_of
from scorefield.runs import RECIPE, HeldOut, Trained
from scorefield.runs.data import check

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
    if wanted.images is None:
        source, what = held_out(run, None, wanted.data_dir, "which data: give --images")
        default = range(MANY if len(run.event_shape) == 1 else FEW)
    else:
        source, what = own(wanted.images, wanted.fit, run.event_shape, run.transform, "--images"), f"of {wanted.images}"
        default = range(len(source))
    rows = places(wanted.index) if wanted.index is not None else list(default)[: len(source)]
    if wrong := [row for row in rows if row >= len(source)]:
        raise ValueError(f"--index must lie in 0..{len(source) - 1}, the {len(source):,} {what}; got {wrong[0]}")
    index = torch.tensor(rows)
    raw, cond = source.batch(index)
    label = label_of(wanted, run, len(rows), cond.get("label")) if labelled else None
    x = run.to_model(raw, index, seed=wanted.seed)
    return Inputs(run, raw, x, index, None if label is None else label.to(run.device), what, cond.get("label"))


def model(wanted: Wanted) -> Trained:
    """The run, a denoiser's, on its device.

    Raises:
        ValueError: for a classifier's, or a checkpoint that does not say the shape of its data.
    """
    run = runs.load(wanted.run, warn=warn).to(wanted.device)
    _ = run.denoiser, run.event_shape  # refused here, before any data are read
    return run


def held_out(run: Trained, named: str | None, data_dir: Path | None, way_out: str) -> HeldOut:
    """The run's held-out data, or those `named`; `way_out` ends the message where nothing says which."""
    if run.recipe is None and named is None:
        raise ValueError(f"{run.name} has no {RECIPE} to say {way_out}")
    return run.held_out(named, data_dir=data_dir)


def own(path: Path, fit: str | None, event: tuple[int, ...], transform: Transform | None, option: str) -> Source:
    """A user's file or folder as a source of the run's shape and levels; errors call it by the `option`."""
    if not path.exists():
        raise FileNotFoundError(f"{option}: no file or folder at {path}")
    levels = None if transform is None else transform.levels
    if _pictures_at(path):
        if len(event) != 3:
            raise ValueError(f"{option}: {path} holds pictures; the run's data have events of shape {event}")
        if levels is None:
            raise ValueError(f"{option}: the run has no transform of grey values to read {path} with: give numbers")
        source = _fitted(path, fit, event)
        return Requantised(source, levels)
    if fit is not None:
        raise ValueError(f"--fit is for pictures; {path} holds numbers")
    policy: dict[str, Any] = {}
    if path.suffix.lower() in (".npy", ".npz") and levels is not None:
        policy["levels"] = levels
    if path.suffix.lower() == ".npz" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # what `sample` and its like write: the data's own units
            policy |= {"key": "raw"} if "raw.npy" in archive.namelist() else {}
    source = data.load(path, **policy)
    if isinstance(source, data.Arrays) and source.event_shape == event[1:] and event[0] == 1:  # (N, H, W)
        source = data.Arrays(source.x[:, None], levels=source.levels)
    check(source, event, transform, str(path))
    return source


def mask(path: Path, axes: tuple[int, ...]) -> Tensor:
    """Bool, `axes`: where a picture is nearer to white than to black, or numbers are not 0.

    Raises:
        ValueError: for another size.
    """
    picture = _pictures_at(path)
    source = data.load(path, channels=1) if picture else data.load(path)
    x = source.batch(torch.arange(len(source))).x
    if x.numel() != torch.Size(axes).numel() or (picture and tuple(x.shape[2:]) != axes):
        raise ValueError(f"--mask: {path} has shape {tuple(x.shape)}; the run's data need {axes}")
    return (x > 127 if picture else x != 0).reshape(axes)


def _pictures_at(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def _fitted(path: Path, fit: str | None, event: tuple[int, ...]) -> Source:
    channels, height, width = event
    if fit is not None:
        return data.load(path, size=(height, width), fit=fit, channels=channels)
    found = data.load(path, channels=channels)
    if tuple(found.event_shape) != event:
        h, w = found.event_shape[1:]
        raise ValueError(
            f"{path}: {h} x {w} pixels, the run's pictures have {height} x {width}: say how to make it fit with "
            "--fit crop (scale, keep the centre), resize (stretch) or pad"
        )
    return found


def label_of(wanted: Wanted, run: Trained, n: int, given: Tensor | None) -> Tensor | None:
    """`(n,)`: the classes the user asks for, else those `given`; None for a model without, or with --no-label.

    Raises:
        ValueError: for a class that the model does not have.
    """
    classes = run.num_classes
    asked = runs.labels(wanted.label, n, classes, called="--label")
    if asked is not None:
        return asked
    if given is not None and classes is not None and not wanted.no_label:
        if not 0 <= int(given.min()) <= int(given.max()) < classes:
            raise ValueError(f"label must lie in 0..{classes - 1}; got {int(given.min())}..{int(given.max())}")
        return given
    if classes is not None and not run.knows_null:
        note("this run never learned to do without a class (condition_dropout 0): give --label")
    return None
