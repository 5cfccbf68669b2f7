"""What is compared: networks, by how they are trained, and methods, by how they draw.

All networks that denoise are one network with one preconditioning, of one size: what differs is the process, the law of
the noise levels, the loss and the sampler. The generators of VAE and GAN have the same number of parameters; encoder
and critic come on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorefield import grids
from scorefield.catalogue import SHAPES, SOURCES, unknown
from scorefield.denoisers import Denoiser
from scorefield.losses import Ladder
from scorefield.networks import MLP, ConvGenerator, MLPGenerator, UNet
from scorefield.networks.latent import count, match
from scorefield.recipes import Recipe
from scorefield.recipes.presets import distilled
from scorefield.recipes.schema import Data, Logging, Objective, Optim, Part, Training, part
from scorefield.schedules import EDM
from scorefield.solvers import DDIM, DDPM, AnnealedLangevin, Euler, EulerMaruyama, Heun, PredictorCorrector, Solver

SMALLEST, LARGEST, LEVELS = 0.02, 4.0, 20  # of the ladder of noise, for data of unit standard deviation
ONE_LEVEL = 0.05  # of score matching at a single noise level

Draw = Callable[[Denoiser, int], tuple[Solver, Tensor]]  # (model, evaluations of a long chain): solver and grid


@dataclass(frozen=True)
class Method:
    """A way to make data.

    Args:
        name: in the table.
        network: which it draws with, one of `NETWORKS`.
        draw: solver and grid; none: the network draws in one pass, or by its default.
        nfe: of the default sampler.
        likelihood: "exact", by the ODE; "bound"; or "" for none.
    """

    name: str
    network: str
    draw: Draw | None = None
    nfe: int | None = None
    likelihood: str = ""


def _times(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def _langevin(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
    level = float(model.schedule.time_of_log_snr(-_times(ONE_LEVEL).log()))
    return AnnealedLangevin(steps_per_level=budget - 1, step_size=0.5), _times(level, 0.0)


def _annealed(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
    each = max(1, (budget - 1) // LEVELS)
    return AnnealedLangevin(steps_per_level=each, step_size=0.5), _times(*_ladder().times, 0.0)


def _chain(solver: Solver, steps: int | None = None) -> Draw:
    """So many steps of DDPM's chain; all 1,000 where a long chain may have 500 evaluations."""

    def draw(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
        return solver, grids.ddpm(model.schedule, steps or min(2 * budget, 1000))  # type: ignore[arg-type]

    return draw


def _sde(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
    return EulerMaruyama(), _to_data(model, budget)


def _corrected(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
    return PredictorCorrector(), _to_data(model, budget // 2)


def _to_data(model: Denoiser, steps: int) -> Tensor:
    """Equal steps in t down to the smallest noise, and a last one to the data."""
    end = float(model.schedule.time_of_log_snr(-_times(SMALLEST / 2).log()))
    return torch.cat([grids.uniform(steps - 1, t_min=end), _times(0.0)])


def _ode(model: Denoiser, budget: int) -> tuple[Solver, Tensor]:
    return Heun().within(model, 99)


def _euler(steps: int) -> Draw:
    return lambda model, budget: (Euler(), grids.uniform(steps))


METHODS = (
    Method("score matching + Langevin", "one level", _langevin),
    Method("NCSN + annealed Langevin", "ladder", _annealed),
    Method("DDPM", "DDPM", _chain(DDPM())),
    Method("DDIM, 50 steps", "DDPM", _chain(DDIM(), 50), likelihood="exact"),
    Method("VP, reverse SDE", "VP", _sde),
    Method("VP, predictor-corrector", "VP", _corrected),
    Method("VP, ODE", "VP", _ode, likelihood="exact"),
    Method("VE, reverse SDE", "VE", _sde),
    Method("VE, predictor-corrector", "VE", _corrected),
    Method("VE, ODE", "VE", _ode, likelihood="exact"),
    Method("sub-VP, reverse SDE", "sub-VP", _sde),
    Method("sub-VP, predictor-corrector", "sub-VP", _corrected),
    Method("sub-VP, ODE", "sub-VP", _ode, likelihood="exact"),
    Method("flow matching, 10 steps", "flow", _euler(10), likelihood="exact"),
    Method("flow matching, 100 steps", "flow", _euler(100), likelihood="exact"),
    Method("EDM, default sampler", "EDM", nfe=30, likelihood="exact"),
    Method("flow map of it, 2 steps", "student", nfe=2),
    Method("VAE", "VAE", likelihood="bound"),
    Method("GAN, relativistic", "GAN relativistic"),
    Method("GAN, non-saturating", "GAN non-saturating"),
    Method("GAN, Wasserstein", "GAN wasserstein"),
)


def _ladder() -> Ladder:
    return Ladder.geometric(EDM(sigma_max=LARGEST), LARGEST, SMALLEST, LEVELS)


def _base(data: str) -> Recipe:
    """Data, network and optimiser of the denoisers."""
    if data in SHAPES:
        return Recipe(
            name=data,
            data=Data(source=data, conditional=False),
            network=part("MLP", hidden=64, depth=3, conditioning="add"),
            optim=Optim(lr=3e-3, warmup=50, ema_decay=0.99),
            training=Training(steps=1, batch_size=256, condition_dropout=0.0),
        )
    return Recipe(
        name=data,
        data=Data(source=data, conditional=False),
        network=part("UNet", width=32, patch=2),
        optim=Optim(lr=2e-3, warmup=50, ema_decay=0.995),
        training=Training(steps=1, batch_size=64, condition_dropout=0.0),
    )


def _denoiser(schedule: Part, times: Part, weight: str | None = "eps") -> Callable[[Recipe], Recipe]:
    def change(base: Recipe) -> Recipe:
        objective = Objective(times=times, weight=None if weight is None else part(weight))
        return base.model_copy(update={"schedule": schedule, "objective": objective})

    return change


def _flow(base: Recipe) -> Recipe:
    changes = {
        "schedule": part("Rectified"),
        "parameterization": part("Velocity"),
        "objective": Objective(loss="flow_matching", times=part("Uniform")),
    }
    return base.model_copy(update=changes)


def _one_pass(task: str, loss: str, betas: tuple[float, float], lr: float, penalty: float | None = None) -> Any:
    def change(base: Recipe) -> Recipe:
        flat = base.network.type == "MLP"
        shape = (2,) if flat else ((1, 8, 8) if base.data.source == "digits" else (1, 28, 28))
        optim = Optim(optimizer=part("AdamW", betas=list(betas)), lr=lr, warmup=50, clip=100.0, ema_decay=0.99)
        changes = {
            "task": task,
            "network": generator(base.network, shape),
            "objective": Objective(loss=loss, penalty=penalty),
            "optim": optim,
        }
        return base.model_copy(update=changes)

    return change


def generator(network: Part, event_shape: tuple[int, ...]) -> Part:
    """The generator with as many parameters as the denoiser's network, for events of that shape."""
    if network.type == "MLP":
        target = count(MLP(event_shape[0], **network.arguments))
        width = match(lambda w: MLPGenerator(2, event_shape, hidden=w, depth=3), target)
        return part("MLPGenerator", latent=2, hidden=width, depth=3)
    target = count(UNet(event_shape[0], **network.arguments))
    levels = (1, 2) if max(event_shape) <= 16 else (1, 2, 2)
    width = match(lambda w: ConvGenerator(16, event_shape, width=w, multipliers=levels, patch=2), target)
    return part("ConvGenerator", latent=16, width=width, multipliers=list(levels), patch=2)


def _student(base: Recipe) -> Recipe:
    return distilled(NETWORKS["EDM"](base), "")  # the study fills in whose it is


_VE = part("VE", sigma_min=SMALLEST, sigma_max=LARGEST)
_SDE_TIMES = part("Uniform", t_min=1e-4)

#: By name, from the common recipe to each network's own.
NETWORKS: dict[str, Callable[[Recipe], Recipe]] = {
    "one level": _denoiser(part("EDM", sigma_max=LARGEST), part("Ladder", times=[ONE_LEVEL / LARGEST])),
    "ladder": _denoiser(part("EDM", sigma_max=LARGEST), part("Ladder", times=list(_ladder().times))),
    "DDPM": _denoiser(part("Discrete"), part("Uniform", t_min=1e-3)),
    "VP": _denoiser(part("VP"), _SDE_TIMES),
    "VE": _denoiser(_VE, part("Uniform", t_min=1e-3)),
    "sub-VP": _denoiser(part("SubVP"), _SDE_TIMES),
    "flow": _flow,
    "EDM": _denoiser(part("EDM", sigma_max=20.0), part("LogNormal", mean=-1.0, std=1.4), None),
    "student": _student,
    "VAE": _one_pass("vae", "elbo", (0.9, 0.999), 2e-3),
    "GAN relativistic": _one_pass("gan", "relativistic", (0.0, 0.99), 1.5e-3, 0.05),
    "GAN non-saturating": _one_pass("gan", "non-saturating", (0.5, 0.999), 1.5e-3),
    "GAN wasserstein": _one_pass("gan", "wasserstein", (0.0, 0.9), 1.5e-3),
}
TEACHERS = {"student": "EDM"}
#: Networks whose steps cost the same: all that denoise are trained for as many.
DENOISERS = ("one level", "ladder", "DDPM", "VP", "VE", "sub-VP", "flow", "EDM")


def recipe(network: str, data: str, steps: int, seed: int) -> Recipe:
    """Of one network on one set of data.

    Raises:
        ValueError: for a network or data that are not known.
    """
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    if data not in SHAPES and data not in ("digits", "mnist", "fashion"):
        raise unknown("data", data, (*SHAPES, *(n for n in SOURCES if n in ("digits", "mnist", "fashion"))))
    made = NETWORKS[network](_base(data))
    own = {
        "name": f"{data}-{network.replace(' ', '-')}",
        "seed": seed,
        "logging": Logging(checkpoint_every=10**9, keep=1),
    }
    return made.model_copy(update={**own, "training": made.training.model_copy(update={"steps": steps})})
