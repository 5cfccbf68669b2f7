"""Other libraries' deterministic solvers on any denoiser: diffusers, k-diffusion, azula, flow_matching, torchdiffeq.

Everything is said in the one view all of them share, y = x0 + s eps with s = sigma / alpha:

    denoise(y, s) -> E[x0 | y]          s a float
    ladder        s_0 > ... > s_n = 0   what each library calls its sigmas
    start         y / sqrt(1 + s^2) at the first s, the variance-preserving x_T: a ladder that begins below the true s_T
                  (`leading`) takes it as it is, as that library's users do

A method runs a ladder of n steps; how many evaluations that costs is counted, and the longest ladder within a budget
is used. Ladders are those of the libraries' options, each open to every solver that takes a list of sigmas.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from _ladders import LADDERS, Ladder, time_of

Denoise = Callable[[Tensor, float], Tensor]
Run = Callable[[Denoise, Tensor, float, int], Tensor]  # (denoise, start, s_T, n) -> x0

LIMIT = 1e-5  # the noise ratio at which a velocity that is 0 / 0 at sigma = 0 is evaluated instead


class Method(NamedTuple):
    peer: str
    name: str
    ladder: str
    run: Run


class Counted:
    """The denoiser, counting its calls."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.calls = denoise, 0

    def __call__(self, y: Tensor, s: float) -> Tensor:
        self.calls += 1
        return self.denoise(y, s)


def within(method: Method, nfe: int, s_max: float) -> int:
    """The longest ladder, in steps, that costs at most `nfe` evaluations; 0 if there is none."""
    n = nfe + 1
    while n > 0:
        counted = Counted(lambda y, s: 0 * y)
        try:
            method.run(counted, torch.zeros(1, 2, dtype=torch.float64), s_max, n)
        except (ValueError, IndexError, AssertionError):  # some solvers refuse some numbers of steps
            n -= 1
            continue
        if counted.calls <= nfe:
            return n
        n = min(n - 1, n * nfe // counted.calls + 1)
    return 0


# ---------------------------------------------------------------- diffusers


def diffusers_methods() -> Iterator[Method]:
    d: Any = importlib.import_module("diffusers")

    warnings.filterwarnings("ignore", module="diffusers")
    configs: list[tuple[str, type, dict[str, Any]]] = []
    for order, kind, lower in ((2, "midpoint", True), (2, "heun", True), (3, "midpoint", True), (2, "midpoint", False)):
        config = {"solver_order": order, "solver_type": kind, "lower_order_final": lower}
        name = f"DPM-Solver++ {order}M {kind}" + ("" if lower else " full order")
        configs.append((name, d.DPMSolverMultistepScheduler, config))
    for order in (1, 2, 3, 4):
        for kind in ("bh1", "bh2"):
            config = {"solver_order": order, "solver_type": kind, "end": LIMIT if kind == "bh1" else 0.0}
            configs.append((f"UniPC-{order} {kind}", d.UniPCMultistepScheduler, config))
    for order in (2, 3):
        configs.append((f"DEIS-{order}", d.DEISMultistepScheduler, {"solver_order": order, "end": LIMIT}))
        config = {"solver_order": order, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "end": LIMIT}
        configs.append((f"DPM-Solver {order}M", d.DPMSolverMultistepScheduler, config))
        config = {"solver_order": order, "lower_order_final": True}
        configs.append((f"DPM-Solver++ {order}S", d.DPMSolverSinglestepScheduler, config))
        config = {"solver_order": order, "predict_x0": False, "end": LIMIT}
        configs.append((f"UniPC-{order} bh2 noise", d.UniPCMultistepScheduler, config))
    for ladder, make in LADDERS.items():
        for name, cls, config in configs:
            yield Method("diffusers", name, ladder, partial(_diffusers, cls, config, make))
        yield Method("diffusers", "DDIM", ladder, partial(_diffusers_ddim, make))
    yield Method("diffusers", "iPNDM", "cosine", _diffusers_ipndm)


def _diffusers(cls: Any, config: dict[str, Any], make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    config = dict(config)
    ladder = make(s, n)
    ladder[-1] = config.pop("end", 0.0)  # where a formula has log sigma, sigma = 0 stands for its limit
    scheduler = cls(prediction_type="sample", **config)
    return walk(scheduler, ladder, denoise, x)


def walk(scheduler: Any, ladder: Sequence[float] | np.ndarray, denoise: Denoise, x: Tensor, **options: Any) -> Tensor:
    """A diffusers scheduler that keeps a list of sigmas, along this one."""
    n = len(ladder) - 1
    scheduler.set_timesteps(n)
    scheduler.sigmas = torch.as_tensor(np.asarray(ladder), dtype=torch.float64)
    times = [round(1000 * time_of(s)) for s in np.asarray(ladder)[:-1].tolist()]  # only SA-Solver's tau reads them
    scheduler.timesteps = torch.tensor(times)
    scheduler.set_begin_index(0)
    for t, s in zip(times, np.asarray(ladder)[:-1].tolist(), strict=True):
        x0 = denoise(x.double() * math.hypot(1, s), s)
        x = scheduler.step(x0, t, x, return_dict=False, **options)[0]
    return x.double()


def _scheduler(name: str) -> Any:
    return getattr(importlib.import_module("diffusers"), name)


def _diffusers_ddim(make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    ladder = make(s, n)
    # a chain that has these levels and no others
    scheduler = _scheduler("DDIMScheduler")(num_train_timesteps=n, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = torch.from_numpy(1 / (1 + ladder[:-1][::-1].copy() ** 2))
    for i, level in enumerate(ladder[:-1].tolist()):
        x0 = denoise(x * math.hypot(1, level), level)
        x = scheduler.step(x0, n - 1 - i, x, return_dict=False)[0]
    return x


def _diffusers_ipndm(denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    scheduler = _scheduler("IPNDMScheduler")()
    scheduler.set_timesteps(n)
    theta = torch.linspace(math.atan(s), 0, n + 1, dtype=torch.float64)
    scheduler.betas, scheduler.alphas, scheduler.timesteps = theta.sin(), theta.cos(), theta[:-1]
    for t in theta[:-1]:
        level = math.tan(float(t))
        x0 = denoise(x * math.hypot(1, level), level)
        eps = (x - t.cos() * x0) / t.sin()
        x = scheduler.step(t.cos() * eps - t.sin() * x0, t, x, return_dict=False)[0]
    return x


# ---------------------------------------------------------------- k-diffusion


@cache
def k_diffusion() -> Any:
    """`k_diffusion.sampling` alone: the package itself imports torchvision and more, of which sampling uses nothing."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("k_diffusion is not installed")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    stubs = {name: types.ModuleType(name) for name in names if importlib.util.find_spec(name.split(".")[0]) is None}
    for name, stub in stubs.items():
        stub.__path__ = []
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(stubs[parent], leaf, stub)
    sys.modules.update(stubs, k_diffusion=package)
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        for name in stubs:
            del sys.modules[name]


def k_diffusion_methods() -> Iterator[Method]:
    k = k_diffusion()
    samplers: dict[str, tuple[Any, dict[str, Any]]] = {
        "Euler": (k.sample_euler, {}),
        "Heun": (k.sample_heun, {}),
        "DPM-2": (k.sample_dpm_2, {}),
        "DPM++ 2S": (k.sample_dpmpp_2s_ancestral, {"eta": 0.0}),
        "DPM++ 2M": (k.sample_dpmpp_2m, {}),
        "DPM++ 2M heun": (k.sample_dpmpp_2m_sde, {"eta": 0.0, "solver_type": "heun", "noise_sampler": _no_noise}),
        "DPM++ 3M": (k.sample_dpmpp_3m_sde, {"eta": 0.0, "noise_sampler": _no_noise}),
        **{f"LMS-{order}": (k.sample_lms, {"order": order}) for order in (2, 3, 4)},
    }
    for ladder, make in LADDERS.items():
        for name, (sampler, options) in samplers.items():
            yield Method("k-diffusion", name, ladder, partial(_k_diffusion, sampler, options, make))
    for s_min in (0.002, 0.01, 0.03):
        yield Method("k-diffusion", "DPM fast", f"min={s_min:g}", partial(_dpm_fast, s_min))


def _no_noise(s: Tensor, t: Tensor) -> Tensor:
    return torch.zeros(())


def _k_diffusion(
    sampler: Any, options: dict[str, Any], make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int
) -> Tensor:
    ladder = torch.from_numpy(make(s, n))
    y = x * math.hypot(1, float(ladder[0]))
    return sampler(lambda y, s: denoise(y, float(s[0])), y, ladder, disable=True, **options)


def _dpm_fast(s_min: float, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    def model(y: Tensor, s: Tensor) -> Tensor:
        return denoise(y, float(s[0]))

    return k_diffusion().sample_dpm_fast(model, x * math.hypot(1, s), s_min, s, n, disable=True)


# ---------------------------------------------------------------- azula


def azula_methods() -> Iterator[Method]:
    noise, a = importlib.import_module("azula.noise"), importlib.import_module("azula.sample")
    samplers: dict[str, tuple[Any, dict[str, Any]]] = {
        "DDIM": (a.DDIMSampler, {}),
        "Heun": (a.HeunSampler, {}),
        **{
            f"{cls.__name__.removesuffix('Sampler')}-{order}": (cls, {"order": order})
            for cls in (a.zABSampler, a.vABSampler, a.zEABSampler, a.xEABSampler, a.REABSampler)
            for order in (2, 3, 4)
        },
    }
    for name, schedule in _azula_schedules(noise).items():
        for sampler, (cls, options) in samplers.items():
            yield Method("azula", sampler, name, partial(_azula, cls, options, schedule))


def _azula_schedules(noise: Any) -> dict[str, Callable[[float], Any]]:
    """Each from s_T; steps are equal in the schedule's t."""
    table: dict[str, Callable[[float], Any]] = {}
    for m in (LIMIT, 1e-3, 1e-2):

        def circle(cls: Any, s: float, m: float = m) -> Any:
            return cls(alpha_min=math.sqrt((1 + m**2) / (1 + s**2)), sigma_min=m)

        table[f"rectified min={m:g}"] = lambda s, m=m: noise.RectifiedSchedule(1 / s, m)
        table[f"vp min={m:g}"] = partial(circle, noise.VPSchedule)
        table[f"cosine min={m:g}"] = partial(circle, noise.CosineSchedule)
        for gamma in (0.01, 0.03, 0.1, 0.3):
            table[f"decay {gamma:g} min={m:g}"] = lambda s, m=m, g=gamma: noise.DecaySchedule(1 / s, m, g)
    for m in (0.002, 0.01):
        table[f"ve min={m:g}"] = lambda s, m=m: noise.VESchedule(m, s)
    for rho in (3, 7):  # a schedule of one's own: EDM's, which azula leaves to its users

        def power(s: float, rho: float = rho) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
            low, high = LIMIT ** (1 / rho), s ** (1 / rho)
            return lambda t: (torch.ones_like(t), (low + (high - low) * t) ** rho)

        table[f"edm rho={rho:g}"] = power
    return table


def _azula(
    cls: Any, options: dict[str, Any], make: Callable[[float], Any], denoise: Denoise, x: Tensor, s: float, n: int
) -> Tensor:
    schedule = make(s)
    alpha, sigma = (float(v) for v in schedule(torch.ones((), dtype=torch.float64)))
    sampler = cls(_AzulaDenoiser(schedule, denoise), steps=n, silent=True, dtype=torch.float64, **options)
    x = sampler(x * math.hypot(alpha, sigma))
    return x / float(schedule(torch.zeros((), dtype=torch.float64))[0])


class _AzulaDenoiser:
    def __init__(self, schedule: Any, denoise: Denoise) -> None:
        self.schedule, self.denoise = schedule, denoise

    def __call__(self, x: Tensor, t: Tensor) -> Any:
        alpha, sigma = (float(v) for v in self.schedule(t))
        return types.SimpleNamespace(mean=self.denoise(x / alpha, sigma / alpha))


# ---------------------------------------------------------------- torchdiffeq, flow_matching


def torchdiffeq_methods() -> Iterator[Method]:
    flows, others = [f"flow shift={k:g}" for k in (0.3, 0.6, 1)], ["karras rho=3 min=0.002", "karras rho=7 min=0.002"]
    for ladder in (*flows, *others, "cosine"):
        for method in ("euler", "midpoint", "heun2", "heun3", "rk4"):
            for path in ("velocity", "noise"):
                run = partial(_odeint, method, path, LADDERS[ladder])
                yield Method("torchdiffeq", f"{method} {path}", ladder, run)


def _odeint(method: str, path: str, make: Ladder, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    """In u = s / (1 + s) of the rectified path, dz/du = eps - x0; or in s, dy/ds = eps."""
    odeint: Any = importlib.import_module("torchdiffeq").odeint
    ladder = torch.from_numpy(make(s, n))
    y = x * math.hypot(1, s)
    if path == "noise":
        return odeint(lambda s, y: _noise(denoise, y, float(s)), y, ladder, method=method)[-1]
    u = ladder / (1 + ladder)
    return odeint(partial(_velocity, denoise), y * (1 - u[0]), u, method=method)[-1]


def flow_matching_methods() -> Iterator[Method]:
    for method in ("euler", "midpoint", "heun2", "heun3", "rk4"):
        yield Method("flow_matching", method, "uniform", partial(_flow_matching, method))


def _flow_matching(method: str, denoise: Denoise, x: Tensor, s: float, n: int) -> Tensor:
    solver: Any = importlib.import_module("flow_matching.solver").ODESolver

    def model(x: Tensor, t: Tensor) -> Tensor:  # its time runs from noise, 0, to data, 1
        return -_velocity(denoise, 1 - t, x)

    last = s / (1 + s)
    grid = torch.tensor([1 - last, 1.0], dtype=torch.float64)
    # a hair over last / n: the last step would otherwise be split in two by rounding
    z = x * math.hypot(1, s) * (1 - last)
    return solver(model).sample(z, step_size=last / n * (1 + 1e-12), method=method, time_grid=grid)


def _noise(denoise: Denoise, y: Tensor, s: float) -> Tensor:
    s = max(s, LIMIT)
    return (y - denoise(y, s)) / s


def _velocity(denoise: Denoise, u: Tensor, z: Tensor) -> Tensor:
    s = max(float(u / (1 - u)), LIMIT)
    y = z * (1 + s)
    x0 = denoise(y, s)
    return (y - x0) / s - x0


PEERS: dict[str, Callable[[], Iterator[Method]]] = {
    "diffusers": diffusers_methods,
    "k-diffusion": k_diffusion_methods,
    "azula": azula_methods,
    "torchdiffeq": torchdiffeq_methods,
    "flow_matching": flow_matching_methods,
}


def documented(row: Mapping[str, Any]) -> bool:
    """Whether a library's own options reach this setting for a denoiser of the usual kinds (VP, EDM).

    The ladders uniform in s / (1 + s) and in atan s are open to diffusers' and k-diffusion's solvers only by handing
    them the sigmas, and torchdiffeq has no ladders at all: it is given the plain ones.
    """
    peer, ladder = row["peer"], row["ladder"]
    if peer in ("diffusers", "k-diffusion"):
        return row["solver"] == "iPNDM" or not ladder.startswith(("flow", "cosine"))
    return peer != "torchdiffeq" or ladder in ("flow shift=1", "karras rho=7 min=0.002")


def methods(peers: Sequence[str] = tuple(PEERS)) -> list[Method]:
    """Every (peer, solver, ladder); a library that is not installed is left out."""
    found: list[Method] = []
    for peer in peers:
        try:
            found += list(PEERS[peer]())
        except ImportError as error:
            print(f"{peer} is left out: {error}", file=sys.stderr)
    return found
