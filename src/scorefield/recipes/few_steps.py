"""From a recipe to a few-step model: its teacher, the weights it begins with, and what it is trained by."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from scorefield.denoisers import Denoiser, NetworkDenoiser, NoiseConditional
from scorefield.guidance import ClassifierFreeGuidance
from scorefield.recipes.schema import Recipe
from scorefield.storage import models, weights
from scorefield.training import DistributionMatching

FEW_STEPS = {
    "flow-map": ("lagrangian", "mean_flow"),
    "consistency-map": ("consistency", "drifting", "distribution_matching"),
}
"""Their losses, by the recipe's task."""

OWN = ("teacher", "guidance", "times", "transform", "augment", "critic", "weight", "t", "eps", "generator", "cond")


def check(recipe: Recipe) -> None:
    """Refuses the parts of a few-step model in another task, and another task's in its.

    Raises:
        ValueError: by the recipe's key.
    """
    losses = FEW_STEPS.get(recipe.task, ())
    known = {loss: task for task, names in FEW_STEPS.items() for loss in names}
    loss = recipe.objective.loss
    if (loss in known or losses) and loss not in losses:
        wanted = f"takes {' or '.join(losses)}" if losses else f"is another; {loss} is for {known[loss]!r}"
        raise ValueError(f"objective.loss: task = {recipe.task!r} {wanted}; got {loss!r}")
    few = " or ".join(map(repr, FEW_STEPS))
    for key, given, wanted, right in (
        ("teacher", recipe.teacher is not None, f"task = {few}", bool(losses)),
        ("start", recipe.start is not None, f"task = {few}", bool(losses)),
        (
            "objective.jumps",
            recipe.objective.jumps is not None,
            "task = 'consistency-map'",
            recipe.task == "consistency-map",
        ),
        ("objective.guidance", recipe.objective.guidance is not None, "a recipe with a teacher", bool(recipe.teacher)),
    ):
        if given and not right:
            raise ValueError(f"{key}: is for {wanted}; got task = {recipe.task!r}")
    if loss == "distribution_matching" and (recipe.teacher is None or recipe.objective.guidance is not None):
        raise ValueError("objective.loss: distribution_matching needs a teacher, and no range of guidance")


def scalars(recipe: Recipe) -> tuple[str, ...]:
    """What the network is told besides a denoiser's."""
    told = ("until",) if recipe.task == "flow-map" else ()
    return (*told, "guidance") if recipe.objective.guidance else told


def sizes(recipe: Recipe) -> dict[str, int | None]:
    """What a consistency map is made with besides: losses that look at samples train it for a number of jumps."""
    if recipe.task != "consistency-map":
        return {}
    asked = recipe.objective.jumps
    return {"jumps": asked if asked or recipe.objective.loss == "consistency" else 1}


def taught(recipe: Recipe, student: NoiseConditional, loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss with the teacher that the recipe names, if any, whose weights the student takes over.

    Raises:
        ValueError: for runs of another network.
        FileNotFoundError: if there are none.
    """
    teacher: Denoiser | None = None
    if recipe.teacher is not None:
        teacher = _denoiser("teacher", recipe.teacher)
    if (start := recipe.start or recipe.teacher) is not None:
        key = "start" if recipe.start else "teacher"
        _begin(key, start, student, _denoiser(key, start) if recipe.start or teacher is None else teacher)
    if recipe.objective.guidance is not None and teacher is not None:
        return functools.partial(loss, teacher=ClassifierFreeGuidance(teacher, 1.0), guidance=recipe.objective.guidance)
    return loss if teacher is None else functools.partial(loss, teacher=teacher)


def matching(flow_map: Any, loss: Any, options: dict[str, Any]) -> tuple[DistributionMatching, dict[str, Any]]:
    """The objective of distribution matching, and what is left for `fit`."""
    its = ("times", "transform", "augment", "condition_dropout")
    objective = loss(flow_map, **{name: options[name] for name in its})
    return objective, {name: v for name, v in options.items() if name not in (*its, "loss", "weight")}


def with_arguments(loss: Any, arguments: dict[str, Any]) -> Any:
    """The loss with further keywords of its own.

    Raises:
        ValueError: for one that it does not take, or that has a key of its own in the recipe.
    """
    takes = [name for name, p in inspect.signature(loss).parameters.items() if p.kind is p.KEYWORD_ONLY]
    takes = [name for name in takes if name not in OWN]
    if strange := [name for name in arguments if name not in takes]:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ValueError(f"objective.arguments: {name} takes {', '.join(takes) or 'none'}; got {strange[0]!r}")
    return functools.partial(loss, **arguments) if arguments else loss


def _denoiser(key: str, path: str) -> NetworkDenoiser:
    found = models.load(weights.averaged_of(Path(path), warnings.warn)).denoiser
    if key == "teacher" and found.lacks:
        raise ValueError(f"teacher: {path} is a {type(found).__name__}, not a denoiser")
    return found


def _begin(key: str, path: str, student: NoiseConditional, found: NetworkDenoiser) -> None:
    """The student takes over the weights of `found`; what it has besides stays as it is."""
    own: dict[str, Tensor] = student.net.state_dict()
    theirs: dict[str, Tensor] = found.net.state_dict()
    beyond = [name for name in own if name not in theirs and ".scalars." not in f".{name}"]
    if beyond or any(name not in own or own[name].shape != theirs[name].shape for name in theirs):
        raise ValueError(f"{key}: {path} has another network than the recipe says")
    student.net.load_state_dict(theirs, strict=False)
