"""Text-to-image pipelines of diffusers, as conditional denoisers in a latent space.

A pipeline is a network, a scheduler that says which noise it was trained on, an autoencoder and text encoders. Here
the network with the scheduler's training noise is a `Denoiser`, the autoencoder a `LatentSpace`, prompts are
conditions, and the scheduler's own steps are left behind: any solver, likelihood or guidance takes their place.

    a chain of K steps:    x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) eps     t = (k + 1) / K,  the network is told k
    flow matching:         x_s = (1 - s) x0 + s eps                         t = s,            the network is told K s

The networks predict eps, v = alpha eps - sigma x0 or x0 (`prediction_type` of a chain), or the velocity eps - x0.
Between its K levels a chain is interpolated (`Discrete`), and its network is told a fraction of a step.

    net   = interop.diffusers.denoiser(pipe)
    space = interop.diffusers.latent_space(pipe)
    cond  = interop.diffusers.encode_prompt(pipe, ["a lighthouse"])
    image = space.inverse(sf.sample(net, (1, 4, 64, 64), nfe=20, cond=cond).x)      # in [-1, 1]
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scorefield.data.latent_space import LatentSpace
from scorefield.denoisers import NetworkDenoiser
from scorefield.flowmaps import ConsistencyMap
from scorefield.interop.text_to_image import kind_of
from scorefield.parameterizations import (
    X0,
    ConsistencyPreconditioning,
    EDMPreconditioning,
    Eps,
    Parameterization,
    Score,
    V,
    Velocity,
)
from scorefield.schedules import EDM, VE, Discrete, Rectified, Schedule

SPACINGS = ("karras", "exponential", "beta")
PREDICTIONS = {"epsilon": Eps(), "v_prediction": V(), "sample": X0()}


def denoiser(pipe: Any, *, null: Mapping[str, Tensor] | None = None) -> NetworkDenoiser:
    """E[x0 | x_t] of the pipeline's network, with its weights; x0 are latents in the network's units.

    Its conditions are those of `encode_prompt`, and of `text_to_image`: `tokens`, `vector`, `mask`, `label`, SDXL's
    `sizes`, Flux's `guidance`. Without a condition, or where `null` (B,) says so, the network is given the empty
    prompt, as classifier-free guidance expects. It takes x of any floating dtype, and computes in its own.

    Args:
        pipe: of Stable Diffusion (1, 2, XL, 3), DiT, PixArt, Flux, or anything with their `unet` or `transformer` and
            `scheduler`.
        null: what the empty prompt is, `encode_prompt(pipe, [""])` unless given; needed for guidance where the pipeline
            has no text encoder.

    Raises:
        ValueError: for another kind of network, or a prediction that is not known.
    """
    model = _model(pipe)
    kind = kind_of(model)
    if null is None and getattr(pipe, "text_encoder", None) is not None:
        null = encode_prompt(pipe, [""])
        if getattr(pipe.config, "force_zeros_for_empty_prompt", False):  # SDXL was trained on zeros, not on ""
            null = {name: torch.zeros_like(value) for name, value in null.items()}
    process = of_scheduler(pipe.scheduler)
    split = model.config.out_channels == 2 * model.config.in_channels  # DiT's and PixArt's: a variance too
    # t = (k + 1) / K in float64 gives k back to 1e-13, which a float32 does not see
    channels = int(model.config.in_channels) if split else None
    return trained_as(
        kind.network(model, null or {}), process.schedule, process.parameterization, process.level, channels
    )


def trained_as(
    net: nn.Module,
    schedule: Schedule,
    target: Parameterization,
    level: str | Callable[[Tensor], Tensor] | None = None,
    channels: int | None = None,
) -> NetworkDenoiser:
    """`net` as what it was trained to be, in eval mode: a consistency model's as a `flowmaps.ConsistencyMap`.

    Args:
        channels: of the prediction, where the network has more.

    Raises:
        ValueError: for channels of a consistency model, which has none beside its prediction's.
    """
    if not isinstance(target, ConsistencyPreconditioning):
        return NetworkDenoiser(net, schedule, target, level=level, channels=channels).eval()
    if channels is not None:
        raise ValueError(f"a consistency model has no channels beside its prediction's; got channels={channels}")
    return ConsistencyMap(net, schedule, target, data_mean=0.0, data_std=target.sigma_data).eval()


def latent_space(pipe: Any) -> LatentSpace:
    """The pipeline's autoencoder: images (B, 3, H, W) in [-1, 1] to the latents its network was trained on.

    The encoder's answer is a Gaussian; its mean is taken.
    """
    config = pipe.vae.config
    return LatentSpace(_VAE(pipe.vae), config.scaling_factor, getattr(config, "shift_factor", None) or 0.0)


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
    """The prompts as conditions, by the pipeline's text encoders: `{"tokens": (n, L, C)}`, with `vector` (n, P) or
    `mask` (n, L) where the network takes them; float32.

    Raises:
        TypeError: for a string instead of a sequence of them.
        ValueError: if the pipeline has no text encoder.
    """
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError(f"prompts must be a sequence of strings; got {prompts!r:.80}")
    if getattr(pipe, "text_encoder", None) is None:
        told = ", ".join(kind_of(_model(pipe)).network.conditions)
        raise ValueError(f"this pipeline has no text encoder: its network takes {told}, which you have to give")
    model = _model(pipe)
    takes = inspect.signature(pipe.encode_prompt).parameters
    more = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False}
    got = pipe.encode_prompt(
        prompt=list(prompts),
        device=next(model.parameters()).device,
        num_images_per_prompt=1,
        **{name: value for name, value in more.items() if name in takes},
    )
    return {name: got[place].float() for name, place in kind_of(model).prompt.items()}


def times(pipe: Any, steps: int, **options: Any) -> Tensor:
    """The levels at which the pipeline itself would call its network in that many steps, (N + 1,), decreasing.

    Its last time is where the scheduler ends: 0, or the first level of a chain with `set_alpha_to_one` off.

    Args:
        options: of the scheduler's `set_timesteps` besides the steps: `mu=` where it shifts by the picture's size
            (Flux's `use_dynamic_shifting`), `sigmas=`.

    Raises:
        ValueError: for a scheduler of another kind or prediction.
    """
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)  # set_timesteps changes the one it is called on
    scheduler.set_timesteps(**({} if "sigmas" in options else {"num_inference_steps": steps}), **options)
    schedule, target, _, count = of_scheduler(pipe.scheduler)
    if isinstance(target, ConsistencyPreconditioning):
        # what a map jumps to has noise of sigma_min, and ours is added to that
        sigmas = scheduler.sigmas.double().cpu()[:-1]
        ratio = torch.sqrt((sigmas**2 - target.sigma_min**2).clamp(min=0))
        zero = torch.zeros(1, dtype=torch.float64, device="cpu")
        return torch.cat([schedule.time_of_log_snr(-torch.log(ratio)), zero])
    if isinstance(schedule, Rectified):
        return scheduler.sigmas.double().cpu()
    if not isinstance(schedule, Discrete) or any(scheduler.config.get(f"use_{law}_sigmas") for law in SPACINGS):
        return schedule.time_of_log_snr(-torch.log(scheduler.sigmas.double().cpu()))  # levels of theirs, not steps
    end = 0.0 if scheduler.config.get("set_alpha_to_one", True) else 1 / count
    knots = (scheduler.timesteps.double().cpu().unique().flip(0) + 1) / count  # some schedulers list a step twice
    return torch.cat([knots[knots > end], torch.tensor([end], dtype=torch.float64, device="cpu")])


def _model(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)


class Process(NamedTuple):
    """What a scheduler says of its network."""

    schedule: Schedule  # the noise it was trained on
    parameterization: Parameterization  # what it predicts
    level: str | Callable[[Tensor], Tensor] | None  # what it is told of the noise
    steps: int  # K


def of_scheduler(scheduler: Any) -> Process:
    """What the network of a scheduler's pipeline was trained on, predicts and is told.

    Raises:
        ValueError: for a scheduler of another kind or prediction.
    """
    config, name = scheduler.config, type(scheduler).__name__
    count = int(config.num_train_timesteps)
    if "FlowMatch" in name:  # `shift` moves the levels that are sampled at, once, and is none of the network's
        return Process(Rectified(), Velocity(), "1000t" if count == 1000 else lambda t: count * t, count)
    if name == "CMStochasticIterativeScheduler":
        if config.s_noise != 1:
            raise ValueError(f"{name} is read with s_noise=1, the noise of a level as it is; got {config.s_noise:g}")
        return consistency(config.sigma_min, config.sigma_max, config.sigma_data)
    prediction = config.get("prediction_type", "epsilon")
    if name.startswith("EDM"):
        if prediction != "epsilon":
            raise ValueError(f"{name} is read with prediction_type='epsilon', EDM's own target; got {prediction!r}")
        schedule = EDM(sigma_min=config.sigma_min, sigma_max=config.sigma_max)
        return Process(schedule, EDMPreconditioning(config.sigma_data), "log_sigma/4", count)
    if name == "ScoreSdeVeScheduler":
        return Process(VE(config.sigma_min, config.sigma_max, from_zero=False), Score(), "sigma", count)
    if prediction not in PREDICTIONS or not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{name} must have alphas_cumprod and a prediction_type of "
            f"{', '.join(PREDICTIONS)}, or be a FlowMatch, EDM or ScoreSdeVe scheduler; got {prediction!r}"
        )
    abar = scheduler.alphas_cumprod.double().cpu()
    if scheduler.config.get("rescale_betas_zero_snr", False):
        abar = torch.cat([abar[:-1], torch.zeros_like(abar[:1])])  # some put 2^-24 there, above the step before it
    return Process(Discrete(alphas_cumprod=abar), PREDICTIONS[prediction], "k", count)


def consistency(sigma_min: float = 0.002, sigma_max: float = 80.0, sigma_data: float = 0.5) -> Process:
    """What a consistency model of openai's or diffusers' was trained on: it belongs in a `flowmaps.ConsistencyMap`."""
    schedule = EDM(sigma_min=sigma_min, sigma_max=math.sqrt(sigma_max**2 - sigma_min**2))
    return Process(schedule, ConsistencyPreconditioning(sigma_data, sigma_min), None, 1000)


class _VAE(nn.Module):
    """Images in [-1, 1] to the mean of the encoder's Gaussian, and back, in the VAE's own dtype."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def encode(self, y: Tensor) -> Tensor:
        return self.vae.encode(y.to(self.vae.dtype)).latent_dist.mode().to(y.dtype)  # type: ignore[operator]

    def decode(self, z: Tensor) -> Tensor:
        return self.vae.decode(z.to(self.vae.dtype), return_dict=False)[0].to(z.dtype)  # type: ignore[operator]
