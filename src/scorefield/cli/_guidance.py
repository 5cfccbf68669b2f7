"""What `sample` was asked to guide by, and the model that does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scorefield import recipes
from scorefield.cli import _runs
from scorefield.denoisers import Denoiser
from scorefield.guidance import ClassifierFreeGuidance, ClassifierGuidance, Interval
from scorefield.guidance.products import require_one_schedule
from scorefield.storage.models import Checkpoint, describe


class Asked(NamedTuple):
    """The options."""

    weight: float | None
    interval: tuple[float, float] | None  # of sigma / alpha
    classifier: Path | None


def guided(
    run: Path, loaded: Checkpoint, asked: Asked, *, labelled: bool, captioned: bool = False
) -> tuple[Denoiser, int | None]:
    """The model with the guidance asked for, the plain one if none was; and the number of classes a label may name.

    Raises:
        ValueError: without a condition or a weight, for a model that has no null condition, or a classifier of other
            data.
    """
    denoiser, classes = loaded.denoiser, getattr(loaded.denoiser.net, "num_classes", None)
    if asked == Asked(None, None, None):
        return denoiser, classes
    if not labelled and (asked.classifier is not None or not captioned):
        raise ValueError("guidance needs a class to guide to: give --label, or --text to a model of captions")
    if asked.interval is not None and (asked.weight is None or asked.classifier is not None):
        raise ValueError("--guidance-interval goes with --guidance, and with the model's own label")
    weight = 1.0 if asked.weight is None else asked.weight
    if asked.classifier is None:
        if classes is None and not captioned:
            raise ValueError("--guidance was given, but this model was trained without labels; see --classifier")
        if weight != 1:
            _require_null(run)
        return ClassifierFreeGuidance(
            denoiser, weight if asked.interval is None else Interval(weight, *asked.interval)
        ), classes
    if classes is not None:
        _require_null(run)  # the model is asked without its label
    found = _runs.load_classifier_run(asked.classifier)
    require_one_schedule(denoiser, found.classifier)
    ours, theirs = (None if t is None else describe(t) for t in (loaded.transform, found.transform))
    if loaded.meta.get("event_shape") != found.meta.get("event_shape") or ours != theirs:
        raise ValueError(f"--classifier: {asked.classifier} was trained on other data, or in other units, than {run}")
    return ClassifierGuidance(denoiser, found.classifier, weight), getattr(found.classifier.net, "num_classes", None)


def _require_null(run: Path) -> None:
    """Refuses a run whose network was never trained without its labels; a file on its own says nothing of that."""
    path = run / _runs.RECIPE
    if path.is_file() and recipes.load(path).training.condition_dropout == 0:
        raise ValueError(
            f"{run} was trained with training.condition_dropout = 0: it does not know the unconditional model that "
            "guidance needs. Train with --set training.condition_dropout=0.1"
        )
