"""From a recipe to what it says: data, a denoiser, and the arguments of `fit`."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorefield import catalogue, data
from scorefield.data import Batch, Source, Transform
from scorefield.data.text import Captioned, TextCondition
from scorefield.losses import Stratified, Uncertainty
from scorefield.recipes import few_steps, one_pass
from scorefield.recipes.one_pass import IN_ONE_PASS
from scorefield.recipes.presets import ENCODERS
from scorefield.recipes.reading import for_network, read
from scorefield.recipes.schema import Data, Part, Recipe
from scorefield.recipes.tables import choose, function, made
from scorefield.schedules import Schedule

CONDITIONS = ("label", "vector", "tokens", "token_mask")  # what networks take


class Experiment(NamedTuple):
    """A recipe, built and ready: `fit(experiment.denoiser, experiment.source, **experiment.fit)`."""

    recipe: Recipe
    denoiser: Any  # untrained: a NetworkDenoiser, or what `recipe.task` asks for; its objective, where it has turns
    source: Source
    test: Source | None
    transform: Transform | None
    fit: dict[str, Any]
    read: str = ""  # where the data were found, how many, and what is held out of them


def build(recipe: Recipe, *, data_dir: Path | None = None, transform: Transform | None = None) -> Experiment:
    """Reads the data, measures them, and makes everything the recipe names.

    Args:
        data_dir: where downloaded sets lie.
        transform: to be taken instead of measuring the data, as that of data seen before.

    Raises:
        ValueError, FileNotFoundError: in one line, by the recipe's key.
    """
    found = for_network(read(recipe.data, data_dir), recipe.network.type, data_dir)
    source, test, recipe = found.train, found.test, recipe.model_copy(update={"data": found.spec})
    _check_task(recipe, source)
    source = _captioned(source, recipe.data)
    transform = _transform(recipe.data, source) if transform is None else transform
    if recipe.task in IN_ONE_PASS:
        objective = one_pass.objective(recipe, source.event_shape, transform)
        return Experiment(recipe, objective, _Chosen(source, False), test, transform, _how(recipe), found.said)
    sd, mean = (transform.sigma_data, transform.mean) if transform else (1.0, 0.0)
    schedule = made("schedule", recipe.schedule, catalogue.SCHEDULES)
    shape = source.event_shape
    sizes = {
        "in_channels": shape[0],
        "dims": max(1, len(shape) - 1),
        "dim": math.prod(shape),
        "num_classes": source.num_classes if recipe.data.conditional else None,
        **(source.sizes if isinstance(source, Captioned) and recipe.data.conditional else {}),
        **({"scalars": told} if (told := few_steps.scalars(recipe)) else {}),
    }
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = made("network", recipe.network, catalogue.NETWORKS, **sizes)
        loss = choose("objective.loss", recipe.objective.loss, catalogue.LOSSES)
        loss = Uncertainty(loss) if recipe.objective.uncertainty else loss
    denoiser = choose("task", recipe.task, catalogue.MODELS)(
        net,
        schedule,
        made("parameterization", recipe.parameterization, catalogue.PARAMETERIZATIONS, sigma_data=sd),
        data_mean=mean,
        data_std=sd,
        **few_steps.sizes(recipe),
    )
    loss = few_steps.taught(recipe, denoiser, few_steps.with_arguments(loss, recipe.objective.arguments))
    weight, coupling = recipe.objective.weight, recipe.objective.coupling
    options = {
        "loss": loss,
        "times": _times(recipe, schedule, sd),
        "weight": function("objective.weight", weight, catalogue.WEIGHTS, sigma_data=sd) if weight else None,
        "transform": transform,
        **({"coupling": made("objective.coupling", coupling, catalogue.COUPLINGS)} if coupling else {}),
        "augment": data.HorizontalFlip(recipe.data.flip) if recipe.data.flip else None,
        "condition_dropout": recipe.training.condition_dropout,
        **_how(recipe),
    }
    if recipe.objective.loss == "distribution_matching":
        denoiser, options = few_steps.matching(denoiser, loss, options)
    return Experiment(recipe, denoiser, _Chosen(source, recipe.data.conditional), test, transform, options, found.said)


def _how(recipe: Recipe) -> dict[str, Any]:
    """The fields of `training.Options`."""
    return {
        "optimizer": made("optim.optimizer", recipe.optim.optimizer, catalogue.OPTIMIZERS),
        "decay": choose("optim.decay", recipe.optim.decay, catalogue.DECAYS),
        "seed": recipe.seed,
        **{name: getattr(recipe.optim, name) for name in ("lr", "warmup", "clip", "ema_decay", "power_ema")},
        **recipe.training.model_dump(exclude={"condition_dropout"}),
    }


def held_out(spec: Data, *, data_dir: Path | None = None) -> tuple[Source, bool]:
    """(data to judge a model by, whether they were held out); if none were, those it was trained on.

    Raises:
        ValueError: for a source that is no path and no name, or captions without an encoder.
    """
    source, test = read(spec, data_dir)[:2]
    return seen(test if test is not None else source, spec), test is not None


def training_data(spec: Data, *, data_dir: Path | None = None) -> Source:
    """What a recipe with those data trains on."""
    return seen(read(spec, data_dir).train, spec)


def seen(source: Source, spec: Data) -> Source:
    """`source` with the conditions that a network of such a recipe is told.

    Raises:
        ValueError: for captions without an encoder.
    """
    return _Chosen(_captioned(source, spec), spec.conditional)


def text_condition(encoder: Part | None) -> TextCondition | None:
    """The condition that `data.text` names, or none."""
    return None if encoder is None else TextCondition(made("data.text", encoder, catalogue.ENCODERS))


def _captioned(source: Source, spec: Data) -> Source:
    """`source` with the captions of its classes, if the recipe asks for them."""
    condition = text_condition(spec.text)
    if condition is None:
        if spec.captions or spec.source == "captions":
            raise ValueError('data.captions need an encoder: data.text, e.g. "MiniLM"')
        return source
    if spec.source == "captions":
        return Captioned(source, data.captions.TRAINING, condition)
    names = getattr(source, "class_names", ())
    if not spec.captions or not names:
        missing = "templates in data.captions" if not spec.captions else f"class names, which {spec.source!r} lacks"
        raise ValueError(f"data.text needs {missing}")
    if odd := [template for template in spec.captions if template.count("{}") != 1]:
        raise ValueError(f"data.captions: each needs one {{}} for the class name; got {odd[0]!r}")
    return Captioned(source, [[template.format(name) for template in spec.captions] for name in names], condition)


def _check_task(recipe: Recipe, source: Source) -> None:
    """Refuses a classifier without classes, and the parts of one task in another."""
    if recipe.task != "flow" and recipe.objective.coupling is not None:
        raise ValueError(f"objective.coupling: is for task = 'flow'; got {recipe.task!r}")
    few_steps.check(recipe)
    one_pass.check(recipe)
    classifies = recipe.task == "classifier"
    if classifies and not (recipe.data.conditional and source.num_classes):
        raise ValueError(f"task: a classifier needs labels, and data.conditional; {recipe.data.source} gives none")
    for key, name, right in (
        ("network.type", recipe.network.type, recipe.network.type in ENCODERS.values()),
        ("objective.loss", recipe.objective.loss, recipe.objective.loss == "classification"),
    ):
        if right != classifies:
            way_out = "see recipes.presets.classifier, or scorefield train --task classifier"
            raise ValueError(f"{key}: {name!r} is not for task = {recipe.task!r}; {way_out}")


class _Chosen:
    """A source with the conditions that networks take, or none."""

    def __init__(self, source: Source, conditional: bool) -> None:
        self.source, self.conditional = source, conditional
        self.event_shape, self.levels = source.event_shape, source.levels
        self.num_classes = source.num_classes if conditional else None
        self.class_names = getattr(source, "class_names", ()) if conditional else ()
        self.table, self.said = getattr(source, "table", None), getattr(source, "said", ())

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> Batch:
        x, cond = self.source.batch(rows)
        return Batch(x, {n: v for n, v in cond.items() if n in CONDITIONS} if self.conditional else {})

    def row_keys(self, rows: Tensor) -> NDArray[np.uint64]:
        return data.row_keys(self.source, rows)


def _transform(spec: Data, source: Source) -> Transform | None:
    if spec.transform == "none":
        return None
    measure = choose("data.transform", spec.transform, catalogue.TRANSFORMS)
    noise = {"noise": spec.dequantize} if "noise" in inspect.signature(measure).parameters else {}
    return measure(source, **noise)


def _times(recipe: Recipe, schedule: Schedule, sd: float) -> Any:
    objective = recipe.objective
    given = {"schedule": schedule, "mean": math.log(sd) - 0.5, "data_std": sd}
    law = made("objective.times", objective.times, catalogue.TIMES, **given)
    return Stratified(law) if objective.stratified else law
