"""What the page may ask of a trained model of pictures, and the answers: functions of a loaded run, and of it alone.

A request is checked when it is made (`asked`) and answered by `answer(run)`, which calls what `scorefield sample`,
`decode`, `likelihood` and `reconstruct` call, so that the numbers are those of the same lines of Python. Pictures come
and go as bytes, `(..., height, width, channels)`, 0 black and 255 white.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats
from torch import Tensor

from scorefield import data, inverse, runs
from scorefield.bijection import latents
from scorefield.catalogue import SOLVERS, make, unknown
from scorefield.data import units
from scorefield.inverse import Units, operators
from scorefield.inverse.operators import LinearOperator
from scorefield.likelihood import bits_per_dim, default_probes
from scorefield.play import pictures
from scorefield.play.pictures import Array
from scorefield.randomness import Noise
from scorefield.runs import Trained
from scorefield.sampling.parts import initial

FILM, FILM_BYTES = 8, 4 << 20  # samples in a film, and what each of its two halves may weigh
LEVEL = 0.95  # of a likelihood's interval
LEVEL_INSIDE = 0.9  # of a posterior's, as `scorefield reconstruct`
TUNED = "tuned"


class Answer(NamedTuple):
    """Numbers and words, and arrays of bytes or float32."""

    said: dict[str, Any]
    arrays: dict[str, Array]


# Runs


def loaded(paths: Iterable[Path], warn: Callable[[str], None]) -> dict[str, Trained]:
    """The runs at those places, by the names that the page calls them.

    Raises:
        FileNotFoundError, ValueError: in one line, for what is no run, or whose data are no pictures.
    """
    found: dict[str, Trained] = {}
    for path in paths:
        run = runs.load(path, warn=warn)
        require_pictures(run)
        first = name = path.absolute().name
        number = 1
        while name in found:
            number += 1
            name = f"{first} ({number})"
        found[name] = run
    return found


def require_pictures(run: Trained) -> None:
    """Refuses a run that has nothing to show.

    Raises:
        ValueError: for a classifier, and for data that are not grey or colour pictures of so many levels.
    """
    _ = run.denoiser
    shape, levels = run.event_shape, None if run.transform is None else run.transform.levels
    if len(shape) != 3 or shape[0] not in (1, 3) or levels is None:
        raise ValueError(
            f"{run.name}: the page shows pictures, (1 or 3, height, width) of whole grey values; this run's data are "
            f"{shape}{'' if levels is not None else ', continuous'}"
        )


def described(name: str, run: Trained) -> dict[str, Any]:
    """What the page must know of a run to offer what it can do."""
    tuned = [] if run.folder is None else sorted((run.folder / "tuned").glob("nfe-*.json"))
    return {
        "name": name,
        "path": run.name,
        "shape": list(run.event_shape),
        "levels": pictures.levels(run),
        "classes": run.num_classes or 0,
        "class_names": list(run.class_names),
        "guided": bool(run.num_classes and run.conditions and run.knows_null),
        "tuned": sorted(int(p.stem.removeprefix("nfe-")) for p in tuned),
        "no_likelihood": _no_likelihood(run),
    }


def solvers() -> list[dict[str, Any]]:
    """Those of the command line, and which choose their own steps."""
    return [{"name": name, "adaptive": make("solver", name, SOLVERS).adaptive} for name in SOLVERS]


@contextlib.contextmanager
def watched(run: Trained, seen: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `seen` is called before each evaluation of the run's network, and may raise to end it."""
    handle = run.model.register_forward_pre_hook(lambda *_: seen())
    try:
        yield
    finally:
        handle.remove()


# Requests

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Evaluations = Annotated[int, Field(ge=1, le=250)]
Picture = Annotated[str, Field(max_length=1 << 20)]  # base64 of bytes, (height, width, channels)


class Ask(BaseModel):
    """What every request says."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    run: str
    seed: Seed = 0
    label: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # class; none is asked for unless given

    def answer(self, run: Trained) -> Answer:
        """Computes it.

        Raises:
            ValueError: in one line, for what the run cannot do.
        """
        raise NotImplementedError


class Sample(Ask):
    """Samples, and how the first few of them came about."""

    n: Annotated[int, Field(ge=1, le=64)] = 16
    solver: str | None = None  # its name on the command line, or TUNED; the best known unless given
    nfe: Evaluations | None = None
    guidance: Annotated[float, Field(ge=0, le=20)] | None = None

    def answer(self, run: Trained) -> Answer:
        """The samples and their film.

        Raises:
            ValueError: for an unknown solver, guidance without a class; as `Trained.sample`.
        """
        if self.guidance is not None and self.label is None:
            raise ValueError("guidance needs a class to guide to")
        model = run if self.guidance is None else run.guided(self.guidance)
        tuned = self.solver == TUNED
        if self.solver is not None and not tuned and self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if tuned and (self.nfe is None or model.tuned(self.nfe) is None):
            raise ValueError(f"{run.name} has no tuned sampler of {self.nfe} evaluations for this model")
        film: list[tuple[Tensor, Tensor, Tensor]] = []
        many = min(self.n, FILM)

        def keep(s: Tensor, x: Tensor, x0: Tensor) -> None:
            if not film or float(s) < float(film[-1][0]):  # of the first chunk
                film.append((s, x[:many].clone(), x0[:many].clone()))

        drawn = model.sample(
            self.n, label=self.label, solver=None if tuned else self.solver, nfe=self.nfe, seed=self.seed, tuned=tuned,
            callback=keep,
        )  # fmt: skip
        settings = drawn.made.settings
        assert settings is not None
        dtype = film[0][1].dtype
        noise = Noise(self.seed, torch.arange(many, device=run.device), run.event_shape, dtype)
        times = [settings.times[0], *(s for s, _, _ in film)]
        x = [initial(model.denoiser, times[0], noise), *(x for _, x, _ in film)]
        x0 = [*(x0 for _, _, x0 in film), film[-1][1]]
        few = max(1, min(many, FILM_BYTES // (len(x) * math.prod(run.event_shape))))
        alone = [pictures.standardised(model.denoiser, x_t[:few], t) for x_t, t in zip(x, times, strict=True)]
        raw = drawn.raw
        return Answer(
            {
                "solver": type(drawn.solver).__name__,
                "nfe": drawn.nfe,
                "noise": [_finite(float(model.denoiser.schedule.noise_ratio(t))) for t in times],
                "bias": None if drawn.solver.adaptive else _finite(drawn.bias.std),
                "grey": int(raw[0].sum()),
                "failed": int(drawn.made.failed.sum()),
            },
            {
                "film_x": np.stack([pictures.of_model(v, run) for v in alone]),
                "film_x0": np.stack([pictures.of_model(v[:few], run) for v in x0]),
                "samples": pictures.of_raw(raw, run),
            },
        )


class Interpolate(Ask):
    """From the sample of one seed's noise to another's, along the arc between them."""

    other: Seed = 1
    steps: Annotated[int, Field(ge=2, le=16)] = 9
    nfe: Evaluations = latents.NFE

    def answer(self, run: Trained) -> Answer:
        denoiser, dtype = run.denoiser, _dtype(run)
        one = torch.zeros(1, dtype=torch.int64, device=run.device)
        a, b = (Noise(seed, one, run.event_shape, dtype).normal(0) for seed in (self.seed, self.other))
        weights = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        z = torch.cat([latents.slerp(a, b, float(w)) for w in weights])
        x = latents.decode(denoiser, z, nfe=self.nfe, cond=_told(run, self.label, self.steps)).cpu()
        raw = units.raw(x, run.transform)
        apart = (x[1:] - x[:-1]).flatten(1).double().square().mean(1).sqrt() / denoiser.data_std
        return Answer(
            {"nfe": self.nfe, "apart": [_finite(v) for v in apart.tolist()], "grey": int(raw[0].sum())},
            {"path": pictures.of_raw(raw, run)},
        )


class Likelihood(Ask):
    """Bits per dimension of a picture."""

    picture: Picture

    def answer(self, run: Trained) -> Answer:
        """The number and its interval: what probes, solver and ends may be off by.

        Raises:
            ValueError: for a run that has none, with its reason; as `bits_per_dim`.
        """
        if reason := _no_likelihood(run):
            raise ValueError(reason)
        assert run.transform is not None
        raw, d = pictures.raw_of(self.picture, run), math.prod(run.event_shape)
        probes = default_probes(d)
        found = bits_per_dim(
            run.denoiser, raw.to(run.device), run.transform, probes=probes, seed=self.seed,
            cond=_told(run, self.label, 1),
        )  # fmt: skip
        parts = {name: float(getattr(found, name)[0]) for name in ("probe", "solver", "truncation")}
        bits, known = float(found.bits[0]), [v for v in parts.values() if math.isfinite(v)]
        half = float(stats.t.ppf((1 + LEVEL) / 2, max((probes or 2) - 1, 1))) * math.sqrt(sum(v * v for v in known))
        return Answer(
            {
                "bits": _finite(bits),
                "low": _finite(bits - half),
                "high": _finite(bits + half),
                **{name: _finite(v) for name, v in parts.items()},
                "nfe": int(found.evaluations[0]),
                "uniform": math.log2(run.transform.levels or 1),
            },
            {"picture": pictures.of_raw(raw, run)},
        )


class Measured(Ask):
    """The posterior of a picture that was measured: a given one, or a sample of the run."""

    picture: Picture | None = None
    noise: Annotated[float, Field(ge=0.001, le=1)] = 0.02  # standard deviation, white is 1
    draws: Annotated[int, Field(ge=1, le=16)] = 8
    nfe: Evaluations = 50

    def operator(self, run: Trained) -> LinearOperator:
        """What measures it."""
        raise NotImplementedError

    def answer(self, run: Trained) -> Answer:
        operator, scale = self.operator(run), Units.of(run.transform)
        if self.picture is None:
            raw = run.sample(1, seed=self.seed, label=self.label).raw
        else:
            raw = pictures.raw_of(self.picture, run)
        truth = scale.of_raw(raw)
        likelihood = inverse.simulate(operator, truth, self.noise, seed=self.seed)
        posterior = run.posterior(scale.in_model(likelihood), cond=_told(run, self.label, 1), seed=self.seed)
        made = posterior.sample(self.draws, nfe=self.nfe, seed=self.seed, dtype=_dtype(run))
        x = scale.of_model(made.x)
        found = inverse.moments(made, x, LEVEL_INSIDE)
        quality = inverse.quality(made, x, likelihood, found, truth)
        back = getattr(operator, "fbp", operator.pseudo_inverse)(likelihood.y)
        return Answer(
            {
                "method": type(posterior.method).__name__,
                "nfe": made.nfe,
                "measured": math.prod(operator.output_shape),
                "psnr": _finite(quality.psnr),
                "psnr_of_a_sample": _finite(quality.psnr_of_a_sample),
                "inside": _finite(quality.inside),
                "chi2": _finite(quality.reduced_chi2),
                "sd": _finite(float(found.std.mean())),
            },
            {
                "truth": pictures.of_unit(truth[0]),
                "back": pictures.of_unit(back[0]),
                "mean": pictures.of_unit(found.mean[0]),
                "draws": pictures.of_unit(x[0]),
                "sd": found.std[0].movedim(-3, -1).float().cpu().contiguous().numpy(),
            },
        )


class Inpaint(Measured):
    """A part is missing; the rest is seen with a little noise."""

    mask: Picture  # base64 of bytes, (height, width): not 0 where the picture is missing

    def operator(self, run: Trained) -> LinearOperator:
        """What is left of the picture.

        Raises:
            ValueError: for a mask of another size, or that hides all or nothing.
        """
        missing = torch.from_numpy(pictures.decoded(self.mask, run.event_shape[1:], "mask").copy()) != 0
        if not bool(missing.any()) or bool(missing.all()):
            raise ValueError("mask must hide a part, neither nothing nor all")
        return operators.Mask(~missing, run.event_shape)


class CT(Measured):
    """So many parallel projections."""

    views: Annotated[int, Field(ge=1, le=180)] = 8

    def operator(self, run: Trained) -> LinearOperator:
        angles = torch.pi * torch.arange(self.views, dtype=torch.float64) / self.views
        return operators.Radon(run.event_shape, angles)


ASKS: dict[str, type[Ask]] = {
    "sample": Sample,
    "interpolate": Interpolate,
    "likelihood": Likelihood,
    "inpaint": Inpaint,
    "ct": CT,
}


def asked(kind: Any, said: Mapping[str, Any]) -> Ask:
    """A request.

    Raises:
        ValueError: in one line, for one that is not offered, or of arguments that are not taken.
    """
    if not isinstance(kind, str) or kind not in ASKS:
        raise ValueError(f"ask must be one of {', '.join(ASKS)}; got {_short(kind)}")
    try:
        return ASKS[kind].model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{kind}: {where[:80]}: {first['msg']}; got {_short(first['input'])}") from None


# Numbers and pictures


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _no_likelihood(run: Trained) -> str | None:
    """The run's own reason for having none."""
    assert run.transform is not None
    try:
        data.bits_per_dim(torch.zeros(1), run.transform, math.prod(run.event_shape))
    except ValueError as error:
        return str(error)
    return None


def _told(run: Trained, label: int | None, n: int) -> dict[str, Tensor]:
    asked = runs.labels(label, n, run.num_classes)
    return {} if asked is None else {"label": asked.to(run.device)}


def _dtype(run: Trained) -> torch.dtype:
    return next(run.denoiser.parameters()).dtype
