"""What became of a recipe: a trained model, and everything that is known of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield import inverse, recipes
from scorefield._caller import warn as warn_caller
from scorefield.baselines import Generative
from scorefield.data import Source, Transform
from scorefield.denoisers import ClippedDenoiser, Denoiser, NoiseConditional
from scorefield.guidance import NetworkClassifier
from scorefield.inverse import Likelihood, Method, Posterior
from scorefield.plots.shown import Look
from scorefield.randomness import Stream
from scorefield.recipes import Data, Recipe
from scorefield.runs import data, guiding, reporting, tunings
from scorefield.runs.bound import RECIPE, of_checkpoints
from scorefield.runs.data import HeldOut
from scorefield.runs.device import device_of
from scorefield.runs.drawing import Drawn, captions, draw, labels, look_of
from scorefield.runs.named import read as read_named
from scorefield.runs.tunings import Choice
from scorefield.sampling import sample
from scorefield.sampling.tuning import Tuning, tune
from scorefield.solvers import Solver
from scorefield.storage import models, weights
from scorefield.training import History, Run

EXAMPLES = 64  # held-out data that a posterior's covariance is measured on

Warn = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model with its folder, or a checkpoint by itself; made by `load` and by `train`.

    A classifier's run has a `classifier` in the place of a `denoiser`, a VAE's or GAN's neither, only its `model`.
    """

    model: Denoiser | NoiseConditional | Generative  # averaged weights, in eval mode
    transform: Transform | None  # between the data's units and the model's
    meta: Mapping[str, Any]  # what the checkpoint says of itself: recipe, seed, event_shape, step, ...
    path: Path  # the file of the weights
    folder: Path | None  # of the run; None for a checkpoint by itself
    num_classes: int | None  # a label may name: 0 .. num_classes - 1; None for a model without labels
    guidance: float | None = None  # the weight that a few-step model is told, where it takes one
    examples: int | None = field(default=None, repr=False)  # data it was trained on, where that is known

    @cached_property
    def recipe(self) -> Recipe | None:
        """What was trained, read from the folder, or where it was lost from a checkpoint; None for a file by itself."""
        if self.folder is None or (self.folder / RECIPE).is_file():
            return None if self.folder is None else recipes.begun(self.folder / RECIPE)
        return of_checkpoints(self.folder)

    @property
    def name(self) -> str:
        """The folder's or the file's, as messages call it."""
        return str(self.folder or self.path)

    @property
    def checkpoint(self) -> str:
        """Which of the run's checkpoints this is, or the file's name."""
        return self.path.name if self.folder is None else self.path.parent.name

    @property
    def denoiser(self) -> Denoiser:
        """E[x0 | x_t] with averaged weights.

        Raises:
            ValueError: if this is something else.
        """
        if not isinstance(self.model, Denoiser):
            raise ValueError(models.no_denoiser(self.path, self.model))
        return self.model

    @property
    def classifier(self) -> NetworkClassifier:
        """The logits of p(y | x_t) with averaged weights.

        Raises:
            ValueError: if this is something else.
        """
        if not isinstance(self.model, NetworkClassifier):
            kind = type(self.model).__name__ if isinstance(self.model, Generative) else "denoiser"
            raise ValueError(f"{self.path} is a {kind}, not a classifier: train one with --task classifier")
        return self.model

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of one datum.

        Raises:
            ValueError: if the checkpoint does not say.
        """
        if "event_shape" not in self.meta:
            raise ValueError(
                f"{self.path} does not say the shape of its data: save it with event_shape in meta, "
                'sf.save(path, denoiser, {"event_shape": [1, 28, 28]})'
            )
        return tuple(self.meta["event_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes 0, 1, ...; () where the data had none."""
        return tuple(self.meta.get("class_names", ()))

    @property
    def look(self) -> Look:
        """What is known of its data, for who draws them."""
        return look_of(self.transform, self.class_names, None if self.recipe is None else self.recipe.data)

    @property
    def knows_null(self) -> bool:
        """Whether its network learned to do without its conditions, as far as one can tell: the recipe says so."""
        return self.recipe is None or self.recipe.training.condition_dropout > 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file of the weights."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def to(self, device: torch.device | str | None) -> Trained:
        """The same, with the model moved to that device; to the best there is for None.

        Raises:
            ValueError: if this machine has none of that name.
        """
        return replace(self, model=self.model.to(device_of(device)))

    # Samples

    def sample(
        self,
        n: int,
        *,
        label: int | str | Sequence[int | str] | Tensor | None = None,
        text: str | Sequence[str] | None = None,
        cond: Mapping[str, Tensor] | None = None,
        nfe: int | None = None,
        solver: str | Solver | None = None,
        seed: int = 0,
        first_index: int = 0,
        tuned: bool = True,
        warn: Warn = warn_caller,
        **options: Any,
    ) -> Drawn:
        """`n` samples: `.raw` in the units of the data, `.x` in the model's.

        Args:
            label: classes, by number or name, in turn; none unless given, but of a table: its classes, in the data's
                proportions.
            text: captions, in turn, for a model trained on text.
            cond: other conditions, a row for each sample.
            nfe: network evaluations a sample; 30 unless given.
            solver: one, or its name: "heun", ...; unless given what `tune` found for `nfe`, if `tuned`, or the default.
            seed, first_index: sample i is a function of (seed, first_index + i) alone.
            warn: takes a line about a tuned sampler that is of other weights.
            options: of `sf.sample`: chunk, progress, callback.

        Raises:
            ValueError: for a label or text that the model does not take, an unknown solver; as `sf.sample`.
        """
        told = {**(cond or {}), **captions(text, n, self.meta.get("text"))}
        classes, table = labels(label, n, self.num_classes, names=self.class_names), self.look.table
        if classes is None and "label" not in told and self.num_classes is not None and table is not None:
            classes = table.drawn_classes(n, Stream(seed + 1, torch.arange(first_index, first_index + n, device="cpu")))
        if classes is not None:
            told["label"] = classes
        if tuned and solver is None and nfe is not None:
            solver = self.tuned(nfe, warn=warn)
        if self.guidance is not None:
            told["guidance"] = torch.full((n,), self.guidance)
        shape = (n, *self.event_shape)
        model = self.model if isinstance(self.model, Generative) else self.denoiser
        return draw(
            model, self.transform, shape, cond=told, nfe=nfe, solver=solver, seed=seed, first_index=first_index,
            **options,
        )  # fmt: skip

    def guided(
        self,
        weight: float = 1.0,
        *,
        interval: tuple[float, float] | None = None,
        classifier: Trained | None = None,
    ) -> Trained:
        """The same run with a guided model: by its own condition, or by a classifier's run.

        Args:
            weight: 1 is the conditional model, 0 the unconditional one.
            interval: of sigma / alpha, where to guide; everywhere unless given.
            classifier: of the same data and schedule; the model is not told the label then.

        Raises:
            ValueError: for a model without conditions or that never learned to do without, or a classifier of others.
        """
        return replace(self, **guiding.guided(self, weight, interval, classifier))

    def clipped(self, *, dynamic: float | None = None) -> Trained:
        """The same run, predictions kept in the data's range: see `ClippedDenoiser`. Guide first, then clip."""
        return replace(self, model=ClippedDenoiser(self.denoiser, dynamic=dynamic))

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the network is told besides x and the noise level: of label, vector and tokens."""
        return tuple(getattr(getattr(self.model, "net", None), "conditions", ()))

    # Tuned samplers

    def tune(
        self, nfe: int, *, paths: int = 128, seed: int = 0, progress: Callable[[float], None] | None = None
    ) -> Tuning:
        """A sampler of `nfe` evaluations fitted to this model, over its classes in turn; see `sampling.tune`."""
        cond = {}
        if self.num_classes is not None:
            cond["label"] = torch.arange(2 * paths, device=self.device) % self.num_classes
        return tune(self.denoiser, self.event_shape, nfe, paths=paths, seed=seed, cond=cond, progress=progress)

    def keep(self, nfe: int, found: Tuning | Choice) -> Path:
        """Writes what `tune` or `runs.choose` found into the run, for `sample` with `nfe`; returns the file.

        Raises:
            ValueError: for a checkpoint by itself.
        """
        return tunings.write(self._own_folder(), nfe, found, self.fingerprint)

    def tuned(self, nfe: int, *, warn: Warn = warn_caller) -> Solver | None:
        """What `keep` kept for `nfe` evaluations of this very model; None, and a line why, if it is of other weights.

        Raises:
            ValueError: if the file can't be read.
        """
        if self.folder is None or not isinstance(self.model, NoiseConditional):  # a guided model is another one
            return None
        found = tunings.read(self.folder, nfe)
        if found is None:
            return None
        if found[1] != self.fingerprint:
            warn(f"{tunings.path_of(self.folder, nfe)} was tuned for other weights and is left aside; tune again")
            return None
        return found[0]

    # Data, and posteriors

    def held_out(
        self,
        named: str | None = None,
        *,
        policy: Mapping[str, Any] | None = None,
        data_dir: Path | None = None,
    ) -> HeldOut:
        """Data that the run did not train on, where there are any, what to call them, and what is to know of them.

        Args:
            named: other data, a name or a path, read as the recipe says, with the axes and classes of the run's.
            policy: of the reader, before the recipe's own.
            data_dir: where downloaded sets lie.

        Raises:
            ValueError: without a recipe and a name; for data of another shape or other levels than the run's.
            FileNotFoundError: for data that are not there.
        """
        if self.recipe is None and named is None:
            raise ValueError(f"{self.name} has no {RECIPE} to say which data")
        if named is None:
            assert self.recipe is not None
            found = data.held_out(self.recipe, data_dir, getattr(self.transform, "table", None))
        else:
            spec = Data(source=named) if self.recipe is None else self.recipe.data
            like = (self.event_shape, self.transform, self.class_names)
            source, apart = read_named(named, spec, policy or {}, *like, data_dir)
            self.check(source, f"data of {named}")  # before they are looked at
            known = None if self.recipe is None else data.trained_on(self.recipe, self.folder, data_dir)
            found = data.other(named, source, apart, known)
        self.check(found.source, found.what)
        return found

    def check(self, source: Source, what: str) -> None:
        """Refuses data that are not of the run's shape and levels; `what` is what the message calls them.

        Raises:
            ValueError: for those.
        """
        data.check(source, self.event_shape, self.transform, what)

    def to_model(self, raw: Tensor, rows: Tensor, *, seed: int = 0) -> Tensor:
        """`raw` data `(N, *event)` as the model was trained to see them, on its device.

        Where it was trained with the noise of dequantisation they get it, a function of (seed, row), `rows` `(N,)`.
        """
        return data.seen(raw, self.transform, rows, seed).to(self.device)

    def posterior(
        self,
        likelihood: Likelihood,
        method: str | Method | None = None,
        *,
        cond: Mapping[str, Tensor] | None = None,
        seed: int = 0,
        data_dir: Path | None = None,
    ) -> Posterior:
        """p(x0 | y) with this model as the prior.

        Args:
            likelihood: of numbers in the model's units; `inverse.Units` makes it of others.
            method: one, or its name: "bridge", "ddnm", ...; unless given the best known, its covariance measured on
                the last of the held-out data, or where there are none on the model's own draws.
            cond: of the denoiser, a row for each observation.
            seed: of the noise that measuring takes.
            data_dir: where downloaded sets lie.

        Raises:
            ValueError: for an unknown method, one that takes no such likelihood; as `inverse.condition`.
        """
        if method is None:
            method = inverse.recommended(likelihood, self.denoiser, self._examples(seed, data_dir))
        elif isinstance(method, str):
            method = inverse.named(method, likelihood, self.denoiser, lambda: self._examples(seed, data_dir))
        return inverse.condition(self.denoiser, likelihood, method, cond=cond)

    def _examples(self, seed: int, data_dir: Path | None) -> Tensor:
        try:
            source = self.held_out(data_dir=data_dir).source
        except (ValueError, FileNotFoundError):  # a checkpoint by itself, or data that stayed elsewhere
            return sample(self.denoiser, (EXAMPLES // 4, *self.event_shape), nfe=20).x
        rows = torch.arange(max(0, len(source) - EXAMPLES), len(source))  # the last: users begin with the first
        return self.to_model(source.batch(rows).x, rows, seed=seed)

    # What training left

    @property
    def history(self) -> History:
        """Of the training, from its log; empty where there is none."""
        history = History()
        for row in Run(self.folder).rows() if self.folder is not None else ():
            history.append(row)
        return history

    def report(self, *, n: int | None = None, seed: int = 0, data_dir: Path | None = None) -> Path:
        """Writes `report.html`, samples beside data and how training went, and returns its path; report.json beside it.

        Args:
            n: samples, and at most as many data; unless given 128, of large pictures 64, of vectors 1,000.
            seed: of the samples.
            data_dir: where downloaded sets lie.

        Raises:
            ValueError: for a checkpoint by itself, or a folder without a recipe.
        """
        folder, recipe = self._own_folder(), self.recipe
        if recipe is None:
            raise ValueError(f"{folder} has no {RECIPE} to report on")
        count = self.examples if self.examples is not None else data.count(recipe, data_dir)
        return reporting.write(self, recipe, examples=count, n=n, seed=seed, data_dir=data_dir)

    def _own_folder(self) -> Path:
        if self.folder is None:
            raise ValueError(f"{self.path} is a checkpoint by itself; this needs a run folder")
        return self.folder


def load(
    path: str | os.PathLike[str], *, types: Iterable[type] = (), warn: Warn = warn_caller, **parts: Any
) -> Trained:
    """The run in a folder, with the averaged weights of its last whole checkpoint; or one checkpoint file.

    Nothing that is read can run.

    Args:
        path: a run folder, or a file written by `sf.save`.
        types: classes of yours (a network, a schedule) that the checkpoint may name.
        warn: takes a line about a damaged checkpoint that was passed over.
        parts: what a checkpoint could not hold, `net=`, `level=`, ..., as of `storage.load`.

    Raises:
        FileNotFoundError: if there is no run, or no checkpoint in it.
        ValueError, TypeError: if it is damaged, names a class that is not known, or lacks a part that is not given.
    """
    path = Path(path)
    folder, path = (path if path.is_dir() else None), weights.averaged_of(path, warn)
    model, transform, meta = models.read(path, types, parts)
    return Trained(model, transform, meta, path, folder, getattr(getattr(model, "net", None), "num_classes", None))
