"""The networks of diffusers that draw latents from a prompt or a class, each called by this library's conditions.

One class a network says what it is told besides x and the level:

    tokens (B, L, C)    the prompt's encodings            vector (B, P)    the prompt's summary
    mask (B, L)         which of them count               label (B,)       a class
    sizes (B, 6)        SDXL's original height and width, top and left of the crop, target height and width
    guidance (B,)       the scale a distilled Flux imitates

Without tokens, vector, mask or label, or where `null` (B,) says so, the network is given what stands for nothing: the
empty prompt, or the class after the last. `sizes` and `guidance` stay as they are: they belong to the picture.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from scorefield.conditions import for_each

PIXELS = 8  # of a picture, along a side of a latent
IMITATED = 3.5  # the guidance that Flux's pipeline asks for


class Network(nn.Module, abc.ABC):
    """A network of diffusers, with the conditions and the null of this library.

    Raises:
        ValueError: when called, for a condition that it does not take, or one left out that nothing stands for.
    """

    conditions: tuple[str, ...]
    of_picture: ClassVar[tuple[str, ...]] = ()  # conditions that null does not take away

    def __init__(self, model: nn.Module, null: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self._null = {**self.nothing(model), **null}

    def forward(self, x: Tensor, level: Tensor, *, null: Any = None, **cond: Any) -> Tensor:
        if unknown := set(cond) - set(self.conditions):
            raise ValueError(f"this network takes {', '.join(self.conditions)}; got {', '.join(sorted(unknown))}")
        dtype = next(self.model.parameters()).dtype
        if "mask" in self.conditions and "tokens" in cond and "mask" not in cond:
            cond = {**cond, "mask": torch.ones_like(for_each("tokens", cond["tokens"], x)[..., 0])}
        told = {name: self._condition(name, cond.get(name), null, x) for name in self.conditions}
        told = {name: v.to(dtype) if v.is_floating_point() else v for name, v in told.items()}
        return self.predict(x.to(dtype), level, **told).to(x.dtype)

    @abc.abstractmethod
    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor: ...

    def nothing(self, model: Any) -> dict[str, Tensor]:
        """What stands for no condition, where the network itself says so."""
        return {}

    def _usual(self, name: str, x: Tensor) -> Tensor:
        """What a condition of the picture is unless it is given."""
        raise NotImplementedError(name)

    def _condition(self, name: str, value: Any, null: Any, x: Tensor) -> Tensor:
        if name in self.of_picture:
            return self._usual(name, x).to(x.device) if value is None else for_each(name, value, x)
        if value is not None and null is None:
            return for_each(name, value, x)
        if name not in self._null:
            raise ValueError(f"{name} was not given, and what the empty prompt is, is not known: denoiser(pipe, null=)")
        empty = self._null[name].to(x.device).expand(len(x), *self._null[name].shape[1:])
        if value is None or null is None:
            return empty
        value, null = for_each(name, value, x), for_each("null", null, x)
        if value.shape[1:] != empty.shape[1:]:
            raise ValueError(
                f"{name} of a prompt and of the empty one must be of one shape; got {tuple(value.shape[1:])} and "
                f"{tuple(empty.shape[1:])}"
            )
        return torch.where(null.reshape(-1, *[1] * (empty.ndim - 1)), empty.to(value.dtype), value)


class StableDiffusion(Network):
    conditions = ("tokens",)

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        return self.model(x, level, encoder_hidden_states=cond["tokens"], return_dict=False)[0]


class StableDiffusionXL(Network):
    conditions = ("tokens", "vector", "sizes")
    of_picture = ("sizes",)

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        added = {"text_embeds": cond["vector"], "time_ids": cond["sizes"]}
        told = {"encoder_hidden_states": cond["tokens"], "added_cond_kwargs": added}
        return self.model(x, level, return_dict=False, **told)[0]

    def _usual(self, name: str, x: Tensor) -> Tensor:
        height, width = (PIXELS * n for n in x.shape[-2:])
        return torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device="cpu").expand(len(x), 6)


class StableDiffusion3(Network):
    conditions = ("tokens", "vector")

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        told = {"encoder_hidden_states": cond["tokens"], "pooled_projections": cond["vector"]}
        return self.model(hidden_states=x, timestep=level, return_dict=False, **told)[0]


class DiT(Network):
    conditions = ("label",)

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        return self.model(x, timestep=level, class_labels=cond["label"], return_dict=False)[0]

    def nothing(self, model: Any) -> dict[str, Tensor]:
        return {"label": torch.tensor([model.config.num_embeds_ada_norm], device="cpu")}


class PixArt(Network):
    conditions = ("tokens", "mask")

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        height, width = (float(PIXELS * n) for n in x.shape[-2:])
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.model.use_additional_conditions:
            added = {"resolution": x.new_tensor([[height, width]]), "aspect_ratio": x.new_tensor([[height / width]])}
            added = {name: v.expand(len(x), -1) for name, v in added.items() if v is not None}
        told = {"encoder_hidden_states": cond["tokens"], "encoder_attention_mask": cond["mask"]}
        return self.model(x, timestep=level, added_cond_kwargs=added, return_dict=False, **told)[0]


class Flux(Network):
    """Reads 2 x 2 latents as one, in rows; x is (B, C, H, W) all the same.

    Raises:
        ValueError: when called, for an odd height or width.
    """

    conditions = ("tokens", "vector", "guidance")
    of_picture = ("guidance",)

    def predict(self, x: Tensor, level: Tensor, **cond: Tensor) -> Tensor:
        height, width = (n // 2 for n in x.shape[-2:])
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            raise ValueError(f"this network takes latents of even height and width; got {tuple(x.shape[-2:])}")
        rows = nn.functional.pixel_unshuffle(x, 2).flatten(2).mT  # (B, H W / 4, 4 C)
        grid = torch.cartesian_prod(*(torch.arange(n, device="cpu") for n in (height, width)))
        places = nn.functional.pad(grid, (1, 0)).to(x)
        distilled = self.model.config["guidance_embeds"]  # type: ignore[index]
        out = self.model(
            hidden_states=rows,
            timestep=level / 1000,
            encoder_hidden_states=cond["tokens"],
            pooled_projections=cond["vector"],
            guidance=cond["guidance"] if distilled else None,
            img_ids=places,
            txt_ids=x.new_zeros(cond["tokens"].shape[1], 3),
            return_dict=False,
        )[0]
        return nn.functional.pixel_shuffle(out.mT.unflatten(2, (height, width)), 2)

    def _usual(self, name: str, x: Tensor) -> Tensor:
        return torch.full((len(x),), IMITATED, device="cpu")


class Kind(NamedTuple):
    """A network of diffusers, by the name of its class."""

    network: type[Network]
    prompt: dict[str, int]  # a condition's place in what the pipeline's encode_prompt returns


KINDS = {
    "UNet2DConditionModel": Kind(StableDiffusion, {"tokens": 0}),
    "UNet2DConditionModel, text_time": Kind(StableDiffusionXL, {"tokens": 0, "vector": 2}),
    "SD3Transformer2DModel": Kind(StableDiffusion3, {"tokens": 0, "vector": 2}),
    "DiTTransformer2DModel": Kind(DiT, {}),
    "PixArtTransformer2DModel": Kind(PixArt, {"tokens": 0, "mask": 1}),
    "FluxTransformer2DModel": Kind(Flux, {"tokens": 0, "vector": 1}),
}


def kind_of(model: Any) -> Kind:
    """How a network is called.

    Raises:
        ValueError: for one that is not among `KINDS`.
    """
    name = type(model).__name__
    if name == "UNet2DConditionModel" and model.config.addition_embed_type is not None:
        name = f"{name}, {model.config.addition_embed_type}"
    if name not in KINDS:
        raise ValueError(f"the pipeline's network must be one of {'; '.join(KINDS)}; got {name}")
    return KINDS[name]
