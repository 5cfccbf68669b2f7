"""Other libraries' stochastic samplers, in the terms of `_peers.py`; noise comes from torch's global generator."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from _ladders import LADDERS, Ladder
from _peers import LIMIT, Denoise, Method, _azula, _azula_schedules, _k_diffusion, k_diffusion, walk

USED = ("linspace", "leading", "trailing", "karras rho=7 min=0.002", "karras rho=7 min=0.03", "exponential min=0.03")
DEFAULTS = (
    ("diffusers", "DDPM", "leading"),
    ("diffusers", "DPM-Solver++ 2M SDE", "linspace"),
    ("diffusers", "SA-Solver", "linspace"),
    ("k-diffusion", "Euler ancestral", "karras rho=7 min=0.002"),
    ("k-diffusion", "DPM++ 2M SDE", "karras rho=7 min=0.002"),
    ("k-diffusion", "DPM++ 3M SDE", "karras rho=7 min=0.002"),
    ("azula", "DDPM", "vp min=0.001"),
)


def stochastic_methods() -> list[Method]:
    found: list[Method] = []
    for peer in (_diffusers, _k, _azula_samplers):
        try:
            found += list(peer())
        except ImportError as error:
            print(f"{peer.__name__} is left out: {error}")
    return found


def _diffusers() -> Iterator[Method]:
    d: Any = importlib.import_module("diffusers")
    sde = {"algorithm_type": "sde-dpmsolver++", "prediction_type": "sample"}
    schedulers = {
        "DPM-Solver++ 2M SDE": partial(d.DPMSolverMultistepScheduler, **sde),
        "DPM-Solver++ 2M SDE heun": partial(d.DPMSolverMultistepScheduler, solver_type="heun", **sde),
        "DPM-Solver++ 3M SDE": partial(d.DPMSolverMultistepScheduler, solver_order=3, **sde),
        "SA-Solver": partial(d.SASolverScheduler, prediction_type="sample"),
        "SA-Solver tau=1": partial(d.SASolverScheduler, prediction_type="sample", tau_func=lambda t: 1),
        "SA-Solver 3": partial(d.SASolverScheduler, prediction_type="sample", predictor_order=3, corrector_order=4),
    }
    for ladder in USED:
        make = LADDERS[ladder]
        for name, scheduler in schedulers.items():
            yield Method("diffusers", name, ladder, partial(_walk, scheduler, make))
        yield Method("diffusers", "DDPM", ladder, partial(_chain, d.DDPMScheduler, {}, make))
        yield Method("diffusers", "DDIM eta=1", ladder, partial(_chain, d.DDIMScheduler, {"eta": 1.0}, make))


def _walk(scheduler: Any, make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    ladder = make(s, n)
    made = scheduler()
    if "SASolver" in type(made).__name__:  # its formula has log sigma at the end too
        ladder[-1] = LIMIT
    return walk(made, ladder, denoise, x)


def _chain(cls: Any, options: dict[str, float], make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    """A scheduler that knows nothing but its chain, given one that has these levels and no others."""
    ladder = make(s, n)
    scheduler = cls(num_train_timesteps=n, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = torch.from_numpy(1 / (1 + ladder[:-1][::-1].copy() ** 2))
    for i, level in enumerate(ladder[:-1].tolist()):
        x0 = denoise(x * math.hypot(1, level), level)
        x = scheduler.step(x0, n - 1 - i, x, return_dict=False, **options)[0]
    return x


def _k() -> Iterator[Method]:
    k = k_diffusion()

    def fresh(s: Tensor, t: Tensor) -> Tensor:  # independent normals: the tree serves only to repeat a path
        raise NotImplementedError

    samplers: dict[str, tuple[Any, dict[str, Any]]] = {
        "Euler ancestral": (k.sample_euler_ancestral, {}),
        "DPM-2 ancestral": (k.sample_dpm_2_ancestral, {}),
        "DPM++ 2S ancestral": (k.sample_dpmpp_2s_ancestral, {}),
        "DPM++ SDE": (k.sample_dpmpp_sde, {"noise_sampler": fresh}),
        "DPM++ 2M SDE": (k.sample_dpmpp_2m_sde, {"noise_sampler": fresh}),
        "DPM++ 2M SDE heun": (k.sample_dpmpp_2m_sde, {"noise_sampler": fresh, "solver_type": "heun"}),
        "DPM++ 3M SDE": (k.sample_dpmpp_3m_sde, {"noise_sampler": fresh}),
        "Heun churn": (k.sample_heun, {"s_churn": 40.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}),
        "Heun churn 10": (k.sample_heun, {"s_churn": 10.0}),
    }
    for ladder in USED:
        for name, (sampler, options) in samplers.items():
            yield Method("k-diffusion", name, ladder, partial(_k_noisy, sampler, options, LADDERS[ladder]))


def _k_noisy(
    sampler: Any, options: dict[str, Any], make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int
) -> Tensor:
    if "noise_sampler" in options:
        options = options | {"noise_sampler": lambda s, t: torch.randn_like(x)}
    return _k_diffusion(sampler, options, make, denoise, x, s, n)


def _azula_samplers() -> Iterator[Method]:
    noise, a = importlib.import_module("azula.noise"), importlib.import_module("azula.sample")
    schedules = _azula_schedules(noise)
    for name in ("vp min=0.001", "rectified min=0.001", "cosine min=0.001", "ve min=0.002", "edm rho=7"):
        for title, cls, options in (
            ("DDPM", a.DDPMSampler, {}),
            ("Ito", a.ItoSampler, {}),
            ("PC", a.PCSampler, {"delta": 0.1}),
        ):
            yield Method("azula", title, name, partial(_azula, cls, options, schedules[name]))
