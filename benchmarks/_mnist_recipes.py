"""The recipes `mnist.py` compares: ours, searched in some 15 one-minute runs, and each peer in one small configuration
after its documentation, with a learning rate for short runs, not searched.

All see the same images, run under bfloat16 autocast where the processor has it, and sample with DDIM in 40 evaluations,
eta = 0 or 1.
"""

from __future__ import annotations

import copy
import importlib
import importlib.machinery
import math
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import scorefield as sf
from _mnist import load
from scorefield import losses
from scorefield.training import precision
from scorefield.training.muon import MuonOptimizer, matrices

DIGITS = 10
STEPS = 40  # of DDIM, for each


class Method(NamedTuple):
    """What the loop needs of a recipe."""

    network: nn.Module
    loss: Callable[[Tensor, Tensor, torch.Generator], Tensor]  # images (B, 1, 28, 28) uint8, labels (B,) -> scalar
    optimizers: Sequence[torch.optim.Optimizer]  # their learning rates are the peaks
    rate: Callable[[float], float]  # factor of the learning rate at a fraction of the budget
    after_step: Callable[[], None]
    sample: Callable[[int, float], Tensor]  # (number, eta) -> (N, 1, 28, 28) uint8, the i-th of class i mod 10 if any
    batch_size: int = 64
    conditional: bool = True


def cosine(fraction: float) -> float:
    """Linear from 0 over 3% of the budget, then down to 0 as half a cosine."""
    return min(1.0, fraction / 0.03 + 1e-3) * 0.5 * (1 + math.cos(math.pi * fraction))


def constant(fraction: float) -> float:
    return 1.0


class Autocast(nn.Module):
    """A network whose layers compute in bfloat16 under autocast; input and output stay as they are."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        with _autocast():
            return self.net(x, level, label=label).to(x.dtype)


def ours() -> Method:
    """A U-Net on 2x2 pixels folded into channels; noise levels about that of the data; Muon; no averaging."""
    images, _ = load("train")
    mean, std = float(images.float().mean()), float(images.float().std())
    net = sf.networks.UNet(1, width=40, patch=2, num_classes=DIGITS)
    schedule = sf.EDM(sigma_max=40.0)
    denoiser = sf.NetworkDenoiser(Autocast(net), schedule, sf.EDMPreconditioning())
    times = losses.Stratified(losses.LogNormal(schedule, mean=0.6, std=1.0))
    hidden, rest = matrices(net, skip=(net.entry, net.exit, net.condition))
    adamw = torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.99), weight_decay=0, fused=True)

    def loss(batch: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        x0 = (batch.float() - mean) / std
        return losses.denoising(denoiser, x0, times=times, generator=generator, cond={"label": labels}).mean()

    def sample(n: int, eta: float) -> Tensor:
        s = torch.linspace(schedule.sigma_max**0.25, 0.02**0.25, STEPS, dtype=torch.float64) ** 4
        t = torch.cat([schedule.time_of_log_snr(-s.log()), torch.zeros(1, dtype=torch.float64)])
        label = torch.arange(n) % DIGITS
        x = sf.sample(denoiser, (n, 1, 28, 28), solver=sf.DDIM(eta=eta), times=t, cond={"label": label}, chunk=250).x
        return (x * std + mean).round().clamp(0, 255).to(torch.uint8)

    return Method(denoiser, loss, [MuonOptimizer(hidden, lr=0.007), adamw], cosine, _nothing, sample)


def diffusers() -> Method:
    """diffusers' unconditional-training recipe with classes: UNet2DModel, DDPM noise, AdamW, cosine rate, EMA, DDIM."""
    peer: Any = importlib.import_module("diffusers")
    average: Any = importlib.import_module("diffusers.training_utils").EMAModel
    net = peer.UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        norm_num_groups=8,
        num_class_embeds=DIGITS,
    )
    noise = peer.DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    ema = average(net.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)

    def loss(batch: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        x0 = batch.float() / 127.5 - 1
        eps = torch.randn(x0.shape, generator=generator)
        t = torch.randint(1000, (len(x0),), generator=generator)
        with _autocast():
            prediction = net(noise.add_noise(x0, eps, t), t, class_labels=labels).sample
        return nn.functional.mse_loss(prediction.float(), eps)

    @torch.no_grad()
    def sample(n: int, eta: float) -> Tensor:
        ema.copy_to(net.parameters())
        sampler = peer.DDIMScheduler.from_config(noise.config, timestep_spacing="trailing")  # starts at pure noise
        sampler.set_timesteps(STEPS)
        generator, parts = torch.Generator().manual_seed(0), []
        for label in (torch.arange(n) % DIGITS).split(250):
            x = torch.randn((len(label), 1, 28, 28), generator=generator)
            for t in sampler.timesteps:
                with _autocast():
                    eps = net(x, t, class_labels=label).sample.float()
                x = sampler.step(eps, t, x, eta=eta, generator=generator).prev_sample
            parts.append(x)
        return _bytes((torch.cat(parts) + 1) / 2)

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.95, 0.999), weight_decay=1e-6, fused=True)
    return Method(net, loss, [optimizer], cosine, lambda: ema.step(net.parameters()), sample)


def ddpm_pytorch(size: int = 28, channels: int = 1, dim: int = 16) -> Method:
    """denoising-diffusion-pytorch's Unet, v-prediction and sigmoid schedule, Adam, EMA, DDIM; it has no classes."""
    peer = _import_without_torchvision("denoising_diffusion_pytorch")
    peer.denoising_diffusion_pytorch.tqdm = lambda steps, **_: steps  # no bar for every batch of samples
    net = peer.Unet(dim=dim, dim_mults=(1, 2, 4), channels=channels)
    diffusion = peer.GaussianDiffusion(net, image_size=size, timesteps=1000, sampling_timesteps=STEPS)
    average, count = copy.deepcopy(diffusion).eval().requires_grad_(False), 0

    def loss(batch: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        with _autocast():
            return diffusion(batch.float() / 255).float()

    @torch.no_grad()
    def after_step() -> None:
        nonlocal count
        count += 1
        decay = min(0.999, (count + 1) / (count + 10))
        for kept, present in zip(average.parameters(), diffusion.parameters(), strict=True):
            kept.lerp_(present, 1 - decay)

    @torch.no_grad()
    def sample(n: int, eta: float) -> Tensor:
        torch.manual_seed(0)
        average.ddim_sampling_eta = eta
        with _autocast():
            return _bytes(torch.cat([average.sample(len(part)).float() for part in torch.arange(n).split(250)]))

    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    return Method(diffusion, loss, [optimizer], constant, after_step, sample, conditional=False)


METHODS: dict[str, Callable[[], Method]] = {"ours": ours, "diffusers": diffusers, "ddpm-pytorch": ddpm_pytorch}


def _autocast() -> torch.autocast:
    """For ours and the peers alike; none where bfloat16 is emulated: a peer's step takes 18 times as long there."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision.native(torch.device("cpu")))


def _nothing() -> None:
    return None


def _bytes(x: Tensor) -> Tensor:
    """Grey levels in [0, 1] as bytes."""
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def _import_without_torchvision(name: str) -> Any:
    """The module `name`, which imports torchvision for a data loader that is not used here."""
    stub = {n: types.ModuleType(n) for n in ("torchvision", "torchvision.transforms", "torchvision.utils")}
    for n, module in stub.items():
        module.__spec__ = importlib.machinery.ModuleSpec(n, None)
    top = stub["torchvision"]
    vars(top).update(transforms=stub["torchvision.transforms"], utils=stub["torchvision.utils"])
    absent = [n for n in stub if n not in sys.modules]
    sys.modules.update({n: stub[n] for n in absent})
    try:
        return importlib.import_module(name)
    finally:
        for n in absent:
            del sys.modules[n]
