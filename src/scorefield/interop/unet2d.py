"""diffusers' UNet2DModel, with or without classes: a folder of a DDPMPipeline and its like as a denoiser.

    net = unet2d.load("folder")          x0 in [-1, 1] by their convention; any solver, likelihood or operator from here

A folder says what the network predicts and on which noise in scheduler/scheduler_config.json, as `of_scheduler` reads
it: prediction_type, the betas, rescale_betas_zero_snr. A network with twice as many channels at its exit as at its
entry predicts a variance too, which is left aside. Nothing in the folder runs: weights are safetensors, or a pickle of
tensors alone (torch's weights_only).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scorefield.conditions import for_each
from scorefield.denoisers import NetworkDenoiser
from scorefield.interop.diffusers import of_scheduler, trained_as


class DiffusersUNet2D(nn.Module):
    """A UNet2DModel of a configuration, `net(x, level, label=)`; checkpoints keep the configuration.

    Args:
        config: of the UNet2DModel, as JSON.

    Raises:
        ImportError: without diffusers.
        ValueError: when called, without labels where it was built for classes, or with some where not.
    """

    def __init__(self, config: str) -> None:
        super().__init__()
        try:
            from diffusers.models.unets.unet_2d import UNet2DModel
        except ImportError:
            raise ImportError("this network needs diffusers: pip install diffusers") from None
        self.config = config
        self.model: Any = UNet2DModel.from_config(json.loads(config))
        self.in_channels = int(self.model.config.in_channels)
        self.num_classes = self.model.config.num_class_embeds
        self.conditions = () if self.num_classes is None else ("label",)

    def forward(self, x: Tensor, level: Tensor, label: Any = None, *, null: Any = None) -> Tensor:
        if (label is None) != (self.num_classes is None) or null is not None:
            wants = "a label for each x and no null" if self.conditions else "no label"
            raise ValueError(f"this UNet2DModel takes {wants}: it was trained so")
        told = None if label is None else for_each("label", label, x)
        dtype = next(self.model.parameters()).dtype
        return self.model(x.to(dtype), level, class_labels=told, return_dict=False)[0].to(x.dtype)


def load(folder: str | os.PathLike[str]) -> NetworkDenoiser:
    """The denoiser of a pipeline's folder, in eval mode on the CPU.

    Args:
        folder: with unet/ and scheduler/, as `save_pretrained` writes it.

    Raises:
        FileNotFoundError: for a folder without them.
        ValueError: for another network than a UNet2DModel, or a scheduler that is not read.
        ImportError: without diffusers.
    """
    try:
        import diffusers
        from diffusers.models.unets.unet_2d import UNet2DModel
    except ImportError:
        raise ImportError("folders of diffusers need it: pip install diffusers") from None
    folder = Path(folder)
    said = [folder / "unet" / "config.json", folder / "scheduler" / "scheduler_config.json"]
    for path in said:
        if not path.is_file():
            raise FileNotFoundError(f"a pipeline's folder has {path.relative_to(folder)}; there is none in {folder}")
    network, scheduler = (json.loads(path.read_text(encoding="utf-8"))["_class_name"] for path in said)
    if network != "UNet2DModel":
        raise ValueError(f"{folder}: unet must be a UNet2DModel; got {network}. See interop.diffusers.denoiser(pipe)")
    model = UNet2DModel.from_pretrained(folder / "unet", local_files_only=True)
    made = getattr(diffusers, scheduler).from_pretrained(folder / "scheduler", local_files_only=True)
    return denoiser(model, made)


def denoiser(model: Any, scheduler: Any) -> NetworkDenoiser:
    """E[x0 | x_t] of a UNet2DModel with the training noise of `scheduler`; the weights are copied.

    Of a consistency model's scheduler it is a `flowmaps.ConsistencyMap`, which `sample` draws from in one jump or more.
    Its clipping after each jump (`clip_denoised`) is left aside.

    Raises:
        ValueError: for a scheduler that is not read.
    """
    process = of_scheduler(scheduler)
    kept = {name: value for name, value in dict(model.config).items() if not name.startswith("_")}
    net = DiffusersUNet2D(json.dumps(kept))
    net.model.load_state_dict(model.state_dict())
    split = model.config.out_channels == 2 * model.config.in_channels
    channels = int(model.config.in_channels) if split else None
    return trained_as(net, process.schedule, process.parameterization, process.level, channels)


def event_shape(denoiser: NetworkDenoiser) -> tuple[int, ...] | None:
    """(C, H, W) of the pictures it was trained on, where its configuration says so."""
    net: Any = denoiser.net
    config = net.model.config
    size = config.sample_size
    if size is None:
        return None
    return (int(config.in_channels), *((size, size) if isinstance(size, int) else tuple(size)))
