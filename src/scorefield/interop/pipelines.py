"""Any denoiser of pictures as a pipeline of diffusers: a network for its schedulers, with their integer time.

A scheduler's chain x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) eps and the model's own process x_t = alpha x0 + sigma eps
are one up to scale and clock: step k stands at the t of the same sigma / alpha, and

    v_k = sqrt(abar_k) eps - sqrt(1 - abar_k) x0,    x0 = D(x_k alpha(t) / sqrt(abar_k), t),

so that the schedulers' `v_prediction` fits every model. The chain has the model's own noise ratios at t = (k + 1) / K,
down to where sqrt(abar) = 1 / hypot(1, sigma / alpha).

    pipelines.save(denoiser, "folder", (3, 32, 32))

    import scorefield.interop.pipelines                                       # diffusers imports nothing by itself
    diffusers.DDIMPipeline.from_pretrained("folder")(batch_size=4)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

try:
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
except ImportError:
    raise ImportError("a pipeline needs diffusers: pip install diffusers") from None

from scorefield.denoisers import NetworkDenoiser
from scorefield.schedules import Schedule, floats
from scorefield.storage import models
from scorefield.storage.described import build, describe
from scorefield.tensors import as_tensor

STEPS = 1000
LARGEST_BETA = 0.999999  # of a step: the last one of a process that ends in pure noise would have 1


class ScorefieldUNet(ModelMixin, ConfigMixin):
    """A denoiser, called as a UNet2DModel is: `model(x, k).sample` is v at step k of the chain.

    Args:
        description: of the denoiser's parts, as checkpoints have it.
        betas: of the chain, (K,).
        in_channels, out_channels, sample_size: of the pictures, where pipelines look for them.
    """

    @register_to_config
    def __init__(
        self,
        description: dict[str, Any],
        betas: list[float],
        in_channels: int = 1,
        out_channels: int = 1,
        sample_size: int | list[int] = 32,
    ) -> None:
        super().__init__()
        self.denoiser = NetworkDenoiser(**{name: build(part) for name, part in description.items()})
        # as schedulers have it, in float32
        abar = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32, device="cpu"), 0).double()
        ratio = torch.sqrt((1 - abar) / abar)
        self._alpha, self._sigma = abar.sqrt(), (1 - abar).sqrt()
        self._times = self.denoiser.schedule.time_of_log_snr(-torch.log(ratio))
        self._scales = self.denoiser.schedule.alpha(self._times) / self._alpha

    def forward(self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True, **cond: Any) -> Any:
        k = as_tensor(timestep).to("cpu", torch.int64).expand(len(sample))
        shape = (-1, *[1] * (sample.ndim - 1))
        alpha, sigma, scale = (c[k].reshape(shape).to(sample) for c in (self._alpha, self._sigma, self._scales))
        x0 = self.denoiser(sample * scale, self._times[k], **cond)
        v = (alpha * sample - x0) / sigma  # alpha eps - sigma x0, eps from sample and x0
        return SimpleNamespace(sample=v) if return_dict else (v,)


def chain(schedule: Schedule, steps: int = STEPS) -> list[float]:
    """Betas, (K,), of the chain that has the schedule's sigma / alpha at t = (k + 1) / K."""
    t = torch.arange(1, steps + 1, dtype=torch.float64, device="cpu") / steps
    abar = 1 / (1 + schedule.noise_ratio(t) ** 2)
    before = torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), abar[:-1]])
    return floats((1 - abar / before).clamp(max=LARGEST_BETA))


def save(
    denoiser: NetworkDenoiser, folder: str | os.PathLike[str], event_shape: Sequence[int], *, steps: int = STEPS
) -> Path:
    """Writes the folder that `DDPMPipeline` and `DDIMPipeline` load; its pictures are the model's units / 2 + 1/2.

    Args:
        folder: made if it is missing.
        event_shape: (C, H, W).
        steps: K, of the chain.

    Raises:
        ValueError: for samples that are no pictures, or a model whose parts a file can't hold.
    """
    if len(event_shape) != 3:
        raise ValueError(f"a pipeline draws pictures (C, H, W); this model's samples are {tuple(event_shape)}")
    if missing := models.left_out(denoiser):
        raise ValueError(f"a pipeline must be whole: {models.reminder(missing)}")
    channels, *size = event_shape
    betas = chain(denoiser.schedule, steps)
    told = {part: describe(getattr(denoiser, part)) for part in ("net", "schedule", "parameterization")}
    unet: Any = ScorefieldUNet(told, betas, in_channels=channels, out_channels=channels, sample_size=list(size))
    unet.denoiser.load_state_dict(denoiser.state_dict())
    scheduler = DDIMScheduler(
        num_train_timesteps=steps,
        trained_betas=betas,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    DDIMPipeline(unet, scheduler).save_pretrained(folder)
    return Path(folder)
