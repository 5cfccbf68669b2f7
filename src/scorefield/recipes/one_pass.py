"""From a recipe to what draws in one pass: a VAE or a GAN, and the network that goes with its generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from scorefield import catalogue
from scorefield.baselines import GAN, VAE, Adversarial, Variational
from scorefield.data import Transform
from scorefield.recipes.schema import Recipe, part
from scorefield.recipes.tables import choose, made
from scorefield.training import Objective

IN_ONE_PASS = {"vae": ("elbo",), "gan": ("relativistic", "non-saturating", "wasserstein")}
"""Their losses, by the recipe's task."""

MIRRORS = {"MLPGenerator": "MLPFeatures", "ConvGenerator": "ConvFeatures"}
"""The encoder or critic beside a generator, of the same arguments."""


def objective(recipe: Recipe, event_shape: Sequence[int], transform: Transform | None) -> Objective:
    """What is trained: the generator that `network` names, its mirror image, and the loss.

    Raises:
        ValueError: for parts that are unknown or take other arguments, or a logistic likelihood of data without levels.
    """
    asked = recipe.network
    mirrored = part(MIRRORS[asked.type], **{n: v for n, v in asked.arguments.items() if n != "latent"})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        generator = made("network", asked, catalogue.NETWORKS, event_shape=tuple(event_shape))
        latent = generator.latent
        outputs = 2 * latent if recipe.task == "vae" else 1
        features = made("network", mirrored, catalogue.NETWORKS, event_shape=tuple(event_shape), outputs=outputs)
    loss = choose("objective.loss", recipe.objective.loss, catalogue.LOSSES)
    if recipe.task == "vae":
        options = _likelihood(recipe.objective.likelihood, transform)
        return Variational(VAE(features, generator, latent, event_shape, **options), loss(), transform=transform)
    penalty = recipe.objective.penalty
    return Adversarial(
        GAN(generator, latent, event_shape),
        features,
        loss() if penalty is None else loss(penalty=float(penalty)),
        transform=transform,
    )


def check(recipe: Recipe) -> None:
    """Refuses the parts of a VAE or a GAN in another task, and another task's in theirs.

    Raises:
        ValueError: by the recipe's key.
    """
    losses = IN_ONE_PASS.get(recipe.task, ())
    known = {loss for names in IN_ONE_PASS.values() for loss in names}
    loss, network = recipe.objective.loss, recipe.network.type
    if (loss in known or losses) and loss not in losses:
        wanted = f"takes {' or '.join(losses)}" if losses else "has another"
        raise ValueError(f"objective.loss: task = {recipe.task!r} {wanted}; got {loss!r}")
    if (network in MIRRORS) != bool(losses):
        wanted = f"takes {' or '.join(MIRRORS)}" if losses else "needs a network that is told the noise level"
        raise ValueError(f"network.type: task = {recipe.task!r} {wanted}; got {network!r}")
    if losses and recipe.data.conditional:
        raise ValueError(f"data.conditional: must be false for task = {recipe.task!r}, which is not told of labels")
    if recipe.objective.penalty is not None and recipe.task != "gan":
        raise ValueError(f"objective.penalty: is for task = 'gan'; got {recipe.task!r}")


def _likelihood(name: str, transform: Transform | None) -> dict[str, Any]:
    if name == "gaussian":
        return {}
    if transform is None or transform.levels is None or not hasattr(transform, "scale"):
        raise ValueError("objective.likelihood: 'logistic' is for data of whole numbers, scaled by data.transform")
    ends = torch.tensor([0.0, float(transform.levels)], dtype=torch.float64, device="cpu")
    low, high = transform(ends).tolist()
    return {"likelihood": "logistic", "bins": (transform.levels, low, high)}
