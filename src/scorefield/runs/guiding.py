"""A run with a guided model: by its own condition, by a classifier's run, or, of a few-step model, by being told."""

from __future__ import annotations

from typing import Any

from scorefield.flowmaps import FlowMap
from scorefield.guidance import ClassifierFreeGuidance, ClassifierGuidance, Interval
from scorefield.guidance.products import require_one_schedule
from scorefield.storage import models


def guided(run: Any, weight: float, interval: tuple[float, float] | None, classifier: Any) -> dict[str, Any]:
    """What `Trained.guided` changes in a run.

    Raises:
        ValueError: as it.
    """
    if isinstance(run.model, FlowMap):
        return _told(run, weight, interval, classifier)
    where = weight if interval is None else Interval(weight, *interval)
    if classifier is None:
        if not run.conditions:
            raise ValueError(f"{run.name} was trained without conditions: only a classifier can guide it")
        if weight != 1:
            _require_null(run)
        return {"model": ClassifierFreeGuidance(run.denoiser, where)}
    if run.num_classes is not None:
        _require_null(run)  # the model is asked without its label
    require_one_schedule(run.denoiser, classifier.classifier)
    ours, theirs = (None if t is None else models.describe(t) for t in (run.transform, classifier.transform))
    if run.meta.get("event_shape") != classifier.meta.get("event_shape") or ours != theirs:
        raise ValueError(f"{classifier.name} was trained on other data, or in other units, than {run.name}")
    model = ClassifierGuidance(run.denoiser, classifier.classifier, where)
    return {"model": model, "num_classes": classifier.num_classes}


def _told(run: Any, weight: float, interval: tuple[float, float] | None, classifier: Any) -> dict[str, Any]:
    """A few-step model told the weight itself: its jumps are no predictions that could be guided."""
    if classifier is not None or interval is not None:
        raise ValueError(f"{run.name} is a few-step model: it may be told a weight, and no interval or classifier")
    if "guidance" not in getattr(run.denoiser.net, "scalars", ()):
        raise ValueError(
            f"{run.name} is a few-step model that was told no weight of guidance: distill its teacher with "
            "--set objective.guidance=[1,4]"
        )
    return {"guidance": weight}


def _require_null(run: Any) -> None:
    if not run.knows_null:
        raise ValueError(
            f"{run.name} was trained with training.condition_dropout = 0: it does not know the unconditional "
            "model that guidance needs. Train with --set training.condition_dropout=0.1"
        )
