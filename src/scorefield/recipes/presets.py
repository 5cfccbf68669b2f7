"""Ready-made recipes, one function each. Change a key with `override`, or `scorefield train --set key=value`."""

from __future__ import annotations

from typing import Literal

from scorefield.catalogue import SHAPES
from scorefield.recipes.schema import Data, Logging, Objective, Optim, Recipe, Training, part


def digits() -> Recipe:
    """Class-conditional 8x8 digits, on half of scikit-learn's 1,797: 40 seconds on two cores."""
    return Recipe(
        name="digits",
        data=Data(source="digits"),
        network=part("UNet", width=64, patch=2),
        schedule=part("EDM", sigma_max=40.0),
        objective=Objective(times=part("LogNormal", mean=-0.5, std=1.2)),
        optim=Optim(lr=2e-3, warmup=50, ema_decay=0.998),
        training=Training(steps=1000, batch_size=64),
    )


def mnist(source: str = "mnist") -> Recipe:
    """Class-conditional 28x28 digits: ten minutes on two cores."""
    return Recipe(
        name=source,
        data=Data(source=source, dequantize=False),
        network=part("UNet", width=40, patch=2),
        schedule=part("EDM", sigma_max=40.0),
        objective=Objective(times=part("LogNormal", mean=0.6, std=1.0)),
        optim=Optim(optimizer=part("Muon", bf16=True), lr=2e-3, warmup=150, ema_decay=0.0),
        training=Training(steps=5000, batch_size=64, condition_dropout=0.0, bf16=True),
        logging=Logging(checkpoint_every=500, sample_every=1000),
    )


def fashion() -> Recipe:
    """Class-conditional 28x28 clothes: the same as `mnist`."""
    return mnist("fashion")


def captions() -> Recipe:
    """28x28 digits and clothes by their captions, "a handwritten seven": ten minutes on two cores."""
    recipe = mnist("captions")
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"text": part("MiniLM")}),
            "training": recipe.training.model_copy(update={"condition_dropout": 0.1}),
        }
    )


def two_moons(source: str = "two-moons") -> Recipe:
    """A two-dimensional shape, whose exact score is known: seconds."""
    return Recipe(
        name=source,
        data=Data(source=source, transform="standard"),
        network=part("MLP", hidden=128, depth=3, conditioning="add"),
        schedule=part("EDM", sigma_max=20.0),
        objective=Objective(times=part("LogNormal", mean=-1.0, std=1.4)),
        optim=Optim(lr=4e-3, warmup=50, ema_decay=0.99),
        training=Training(steps=1000, batch_size=512),
    )


def flow(source: str = "two-moons") -> Recipe:
    """A two-dimensional shape by flow matching, its data paired with the noise near them: a few Euler steps do."""
    return Recipe(
        name=f"{source}-flow",
        task="flow",
        data=Data(source=source, transform="standard"),
        network=part("MLP", hidden=128, depth=3, conditioning="add"),
        schedule=part("Rectified"),
        parameterization=part("Velocity"),
        objective=Objective(
            loss="flow_matching", times=part("Uniform"), coupling=part("Assignment", size=1024, reuse=25)
        ),
        optim=Optim(lr=4e-3, warmup=50, ema_decay=0.99),
        training=Training(steps=1000, batch_size=512),
    )


def vae(source: str = "digits") -> Recipe:
    """A variational autoencoder, to compare with: 8x8 digits, half a minute; pictures, series and points."""
    return _in_one_pass(source, "vae", Objective(loss="elbo"), Optim(lr=2e-3, warmup=50, ema_decay=0.998), 8)


def gan(source: str = "digits", loss: str = "relativistic") -> Recipe:
    """A generative adversarial network, to compare with: pairs and both gradient penalties, as R3GAN.

    `loss` may be one of its history, "non-saturating" or "wasserstein".
    """
    betas = {"relativistic": [0.0, 0.99], "non-saturating": [0.5, 0.999], "wasserstein": [0.0, 0.9]}
    optim = Optim(
        optimizer=part("AdamW", betas=betas.get(loss, [0.0, 0.99])), lr=5e-4, warmup=50, clip=100.0, ema_decay=0.99
    )
    return _in_one_pass(source, "gan", Objective(loss=loss), optim, 16)


def _in_one_pass(source: str, task: Literal["vae", "gan"], objective: Objective, optim: Optim, latent: int) -> Recipe:
    flat = source in SHAPES
    network = (
        part("MLPGenerator", latent=2, hidden=128, depth=3)
        if flat
        else part("ConvGenerator", latent=latent, width=64, multipliers=[1, 2], patch=2)
    )
    kind = f"{task}" if objective.loss in ("elbo", "relativistic") else objective.loss
    return Recipe(
        name=f"{source}-{kind}",
        task=task,
        data=Data(source=source, conditional=False),
        network=network,
        objective=objective,
        optim=optim,
        training=Training(steps=2000, batch_size=256 if flat else 64, condition_dropout=0.0),
    )


def tabular(source: str = "wine") -> Recipe:
    """A table with its labels: scikit-learn's wine, or a CSV or parquet file of yours."""
    return Recipe(
        name="tabular",
        data=Data(source=source, transform="columns"),
        network=part("MLP", hidden=128, depth=3, dropout=0.1),
        schedule=part("EDM", sigma_max=20.0),
        objective=Objective(times=part("LogNormal", mean=-0.5, std=1.2)),
        optim=Optim(lr=2e-3, ema_decay=0.998),
        training=Training(steps=2000, batch_size=64),
    )


def series(source: str = "series") -> Recipe:
    """Time series: of a Gaussian process, whose exact law is known, or yours, a folder of .npy or .csv, an array."""
    return Recipe(
        name="series",
        data=Data(source=source, transform="channels"),
        network=part("UNet", width=32, multipliers=[1, 2, 2]),
        schedule=part("EDM", sigma_max=40.0),
        objective=Objective(times=part("LogNormal", mean=-0.5, std=1.5)),
        optim=Optim(lr=2e-3, ema_decay=0.998),
        training=Training(steps=1500, batch_size=64),
    )


def photos(source: str = "images") -> Recipe:
    """Your own photographs, cut to 64x64, on a laptop: half an hour on two cores. Subfolders are classes."""
    return Recipe(
        name="photos",
        data=Data(source=source, policy={"size": 64}, flip=0.5),
        network=part("UNet", width=64, multipliers=[1, 2], patch=4),
        schedule=part("EDM", sigma_max=80.0),
        objective=Objective(times=part("LogNormal", mean=-0.3, std=1.3)),
        optim=Optim(optimizer=part("Muon", bf16=True), lr=2e-3, warmup=150, ema_decay=0.998),
        training=Training(steps=8000, batch_size=32, bf16=True),
        logging=Logging(checkpoint_every=500, sample_every=250),
    )


def photos_gpu(source: str = "images") -> Recipe:
    """Your own photographs, cut to 64x64, on a GPU: the network of `image_folder`, twice as wide and a level deeper."""
    recipe = photos(source)
    changes = {
        "name": "photos-gpu",
        "network": part("UNet", width=128, multipliers=[1, 2, 2, 2], blocks=2),
        "optim": Optim(lr=3e-4, warmup=1000, ema_decay=0.9995),
        "training": Training(steps=200_000, batch_size=128, bf16=True, channels_last=True),
        "logging": Logging(checkpoint_every=2000, sample_every=5000),
    }
    return recipe.model_copy(update=changes)


def image_folder(source: str = "images") -> Recipe:
    """Pictures in a folder, cut to 32x32; subfolders are classes."""
    return Recipe(
        name="image-folder",
        data=Data(source=source, policy={"size": 32}, flip=0.5),
        network=part("UNet", width=64, multipliers=[1, 2, 2], blocks=2),
        objective=Objective(times=part("LogNormal", mean=-0.5, std=1.2)),
        optim=Optim(lr=1e-3, warmup=500),
        training=Training(steps=50_000, batch_size=64, bf16=True),
        logging=Logging(checkpoint_every=1000, sample_every=2000),
    )


def distilled(recipe: Recipe, teacher: str, method: str = "lagrangian", *, jumps: int | None = None) -> Recipe:
    """The recipe of a few-step model that learns from the run `teacher`, of that recipe, and begins with its weights.

    `jumps` is how many a map by `distribution_matching` is to be drawn in, 1 unless given; others take any number.

    Raises:
        ValueError: for the recipe of what is no denoiser.
    """
    if recipe.task != "denoiser":
        raise ValueError(f"only a denoiser can be distilled; got a recipe with task = {recipe.task!r}")
    task = "flow-map" if method in ("lagrangian", "mean_flow") else "consistency-map"
    objective = Objective(loss=method, times=part("UniformAngle"), jumps=None if task == "flow-map" else jumps)
    optim = recipe.optim.model_copy(update={"lr": recipe.optim.lr / 2, "ema_decay": max(recipe.optim.ema_decay, 0.998)})
    changes = {"task": task, "teacher": teacher, "objective": objective, "optim": optim}
    training = recipe.training.model_copy(update={"condition_dropout": 0.0, "bf16": False})
    return recipe.model_copy(update={"name": f"{recipe.name}-{method}", **changes, "training": training})


ENCODERS = {"UNet": "UNetEncoder", "MLP": "MLPEncoder"}
"""The network that classifies in the place of one that denoises, with the same arguments."""


def classifier(recipe: Recipe) -> Recipe:
    """The recipe of a classifier of the same noisy data, for classifier guidance: half the network, cross-entropy.

    Raises:
        ValueError: for a network that has no such half.
    """
    if recipe.task == "classifier":
        return recipe
    kind = recipe.network.type
    if kind not in ENCODERS:
        raise ValueError(f"a classifier is made from a recipe with network.type {' or '.join(ENCODERS)}; got {kind!r}")
    times, stratified = recipe.objective.times, recipe.objective.stratified
    changes = {
        "name": f"{recipe.name}-classifier",
        "task": "classifier",
        "network": part(ENCODERS[kind], **recipe.network.arguments),
        "objective": Objective(loss="classification", times=times, stratified=stratified),
        "training": recipe.training.model_copy(update={"condition_dropout": 0.0}),
    }
    return recipe.model_copy(update=changes)
