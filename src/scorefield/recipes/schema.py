"""The sections of a recipe. Unknown keys are refused; `Part` is a class of the library by name, with its arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

HELD_OUT = 0.1  # of data that have no split of their own


class Section(BaseModel):
    """A table of the file: these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(BaseModel):
    """A class by its name, `type`, with whatever arguments it takes; they are checked when it is built.

    The name alone stands for the class with its defaults: `schedule = "VP"`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


def part(type: str, **arguments: Any) -> Part:
    return Part.model_validate({"type": type, **arguments})


class Data(Section):
    """Where the data come from, and how they become the model's."""

    source: str  # a name ("mnist", "two-moons", ...) or a path
    test: str | None = None  # a path to held-out data; some named sets have their own
    held_out: Annotated[float, Field(ge=0, lt=1)] = HELD_OUT  # else so many of the rows, chosen by a hash of each
    groups: str | None = None  # rows that belong together: a column, an array's name, or "folder" of pictures
    transform: str = "standard"  # or unit-range, columns, channels, none
    dequantize: bool = True  # add uniform noise to integers: what likelihoods need
    flip: Share = 0.0  # probability of a mirror image
    conditional: bool = True  # on the labels, where there are any
    text: Part | None = None  # the encoder of the captions; none: labels stay labels
    captions: tuple[str, ...] = ()  # templates such as "a photo of a {}", for the class names of labelled data
    axis: str = ""  # what series run along, as pictures say it: "time (s)"
    step: Positive = 1.0  # from one number of a series to the next, on that axis
    unit: str = ""  # of the numbers of a series: "mV"
    policy: dict[str, Any] = {}  # arguments of the reader: size, fit, channels, on_error, label, ...


class Objective(Section):
    """The loss, and at which noise levels it looks."""

    loss: str = "denoising"
    weight: Part | None = None  # none: the error of the network's own target
    times: Part = part("LogNormal")
    stratified: bool = True
    uncertainty: bool = False  # divide each level's loss by its learned size
    coupling: Part | None = None  # of a flow: how data are paired with its origin; none: independently
    arguments: dict[str, Any] = {}  # further keywords of the loss: gap, adaptive, every, ...
    jumps: Count | None = None  # that a consistency map is to be drawn in; none: its loss's own, 1 or any
    guidance: tuple[float, float] | None = (
        None  # weights of a guided teacher, between which a few-step model is told one
    )
    penalty: Annotated[float, Field(ge=0)] | None = None  # of a GAN's critic; none: its loss's own
    likelihood: Literal["gaussian", "logistic"] = "gaussian"  # of a VAE's decoder


class Optim(Section):
    """How the weights move."""

    optimizer: Part = part("AdamW")
    lr: Positive = 1e-3
    warmup: Whole = 100
    decay: str = "cosine"
    clip: Annotated[float, Field(gt=0)] = 1.0  # of the gradient's norm; inf for none
    ema_decay: Share = 0.999
    power_ema: tuple[float, ...] = ()


class Training(Section):
    """How much, and at which precision."""

    steps: Count
    batch_size: Count = 128
    accumulate: Count = 1
    condition_dropout: Share = 0.1
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    shard: bool = False
    patience: Whole = 3
    rollbacks: Whole = 2


class Logging(Section):
    """What a run leaves behind."""

    checkpoint_every: Count = 1000
    keep: Count = 3
    keep_every: Count | None = None
    sample_every: Count | None = None
    tensorboard: bool = False
    wandb: str | None = None  # the project's name


class Recipe(Section):
    """An experiment as values: the same recipe and seed give the same weights."""

    name: str
    task: Literal["denoiser", "classifier", "flow", "flow-map", "consistency-map", "vae", "gan"] = "denoiser"
    teacher: str | None = None  # the run that a few-step model learns from; none: the data
    start: str | None = None  # the run with whose weights a few-step model begins; none: the teacher's
    seed: Whole = 0
    data: Data
    network: Part
    schedule: Part = part("EDM")
    parameterization: Part = part("EDMPreconditioning")
    objective: Objective = Objective()
    optim: Optim = Optim()
    training: Training
    logging: Logging = Logging()
