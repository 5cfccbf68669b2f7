"""U-Nets in one and two dimensions (Ronneberger et al. 2015), with the choices of DDPM++, NCSN++ and ADM as arguments.

Level i works at 1 / 2^i of the resolution (rounded up) with `width * multipliers[i]` channels: `blocks` residual blocks
going down, as many plus one going up, each of which also sees the features kept on the way down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from scorefield.networks.blocks import Stage, Style, ascent, descent
from scorefield.networks.conditioning import Condition, mechanism
from scorefield.networks.layers import norm, require_positive, zero
from scorefield.networks.resampling import CONV, TAPS, Down, crop, fold, pad_to, unfold


class UNet(nn.Module):
    """Residual blocks on maps `(B, in_channels, *n)` of one or two dimensions and any size, odd and non-square too.

    Args:
        in_channels: of the image or series.
        width: channels at the full resolution.
        multipliers: of the width, one for each resolution.
        blocks: residual blocks for each resolution and direction.
        attention: self-attention in the middle, at the lowest resolution.
        num_classes: makes it conditional on `label` `(B,)` int64.
        dropout: inside the residual blocks.
        patch: fold cells of this many pixels a side into channels at the entry, and unfold them at the exit:
            `patch`^dims fewer positions for every convolution, so `width` can be larger for the same work.
        dims: 1 for `(B, C, L)`, 2 for `(B, C, H, W)`.
        vector_dim: makes it conditional on `vector` `(B, vector_dim)`.
        token_dim: makes it conditional on `tokens` `(B, L, token_dim)`, by cross-attention wherever there is attention.
        scalars: names of further numbers `(B,)` it may be told, such as a flow map's `until` (see `Condition`).
        level_embedding: "sinusoidal", "fourier" or "learned".
        conditioning: how the noise level, classes and vectors enter: "film", "add" or "concat" (see `conditioning.py`).
        resample: "conv", a strided convolution down and nearest neighbours up; or by a filter, "nearest" for the mean
            of two, "fir" for (1, 3, 3, 1).
        resample_in_block: change the resolution inside a residual block, not by a layer between blocks.
        progressive_input: add the image itself, filtered down and projected, at every resolution ("input skip").
        skip_scale: multiplies the sum of every residual block; 2**-0.5 keeps its variance at the start.
        attention_levels: levels with attention after each block too, 0 the full resolution.
        head_channels: of an attention head.
        middle: residual blocks in the middle, the first before the attention.

    Raises:
        ValueError: for choices that are not offered, or exclude each other; when called, for an x of another number of
            channels or axes.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        attention: bool = True,
        num_classes: int | None = None,
        dropout: float = 0.0,
        patch: int = 1,
        *,
        dims: int = 2,
        vector_dim: int | None = None,
        token_dim: int | None = None,
        scalars: Sequence[str] = (),
        level_embedding: str = "sinusoidal",
        conditioning: str = "film",
        resample: str = "conv",
        resample_in_block: bool = False,
        progressive_input: bool = False,
        skip_scale: float = 1.0,
        attention_levels: Sequence[int] = (),
        head_channels: int = 32,
        middle: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.width, self.multipliers, self.blocks = in_channels, width, tuple(multipliers), blocks
        self.attention, self.num_classes, self.dropout, self.patch = attention, num_classes, dropout, patch
        self.dims, self.vector_dim, self.token_dim, self.scalars = dims, vector_dim, token_dim, tuple(scalars)
        self.level_embedding, self.conditioning, self.resample = level_embedding, conditioning, resample
        self.resample_in_block, self.progressive_input = resample_in_block, progressive_input
        self.skip_scale, self.attention_levels = skip_scale, tuple(attention_levels)
        self.head_channels, self.middle = head_channels, middle
        self._check()
        entering = mechanism(conditioning)
        embedded = entering.widening * width
        self.condition = Condition(
            embedded,
            num_classes=num_classes,
            vector_dim=vector_dim,
            token_dim=token_dim,
            scalars=scalars,
            level_embedding=level_embedding,
        )
        self.conditions = self.condition.names
        style = Style(
            condition=embedded,
            dims=dims,
            conditioning=conditioning,
            dropout=dropout,
            skip_scale=skip_scale,
            head_channels=head_channels,
            token_dim=token_dim,
            resample=resample,
            resample_in_block=resample_in_block,
        )
        self._build(style, entering.input(embedded))

    def _build(self, style: Style, told: Any) -> None:
        folded = self.in_channels * self.patch**self.dims
        self.told, self.entry = told, style.conv(folded + told.extra, self.width)
        self.pyramid = Down(self.dims, "fir" if self.resample == "fir" else "nearest")
        self.down, self.descents, self.projections = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.up, self.ascents = nn.ModuleList(), nn.ModuleList()
        now, kept = self.width, [self.width]
        for i, multiplier in enumerate(self.multipliers):
            if i:
                self.descents.append(descent(now, style))
                if self.progressive_input:
                    self.projections.append(CONV[self.dims](folded, now, 1))
                kept.append(now)
            stages = nn.ModuleList()
            for _ in range(self.blocks):
                stages.append(Stage(now, self.width * multiplier, style, attention=i in self.attention_levels))
                now = self.width * multiplier
                kept.append(now)
            self.down.append(stages)
        self.centre = nn.ModuleList(
            Stage(now, now, style, attention=self.attention and i == 0) for i in range(self.middle)
        )
        for i, multiplier in reversed(list(enumerate(self.multipliers))):
            stages = nn.ModuleList()
            for _ in range(self.blocks + 1):
                channels_in = now + kept.pop()
                now = self.width * multiplier
                stages.append(Stage(channels_in, now, style, attention=i in self.attention_levels))
            self.up.append(stages)
            if i:
                self.ascents.append(ascent(now, style))
        self.exit = nn.Sequential(norm(now), nn.SiLU(), zero(style.conv(now, folded)))

    def _check(self) -> None:
        sizes = ("in_channels", "width", "blocks", "patch", "head_channels", "middle")
        require_positive("UNet", **{name: getattr(self, name) for name in sizes})
        require_positive("UNet", multipliers=min(self.multipliers, default=0))
        if self.dims not in CONV:
            raise ValueError(f"UNet: dims must be 1 or 2; got {self.dims}")
        if self.resample not in ("conv", *TAPS) or (self.resample_in_block and self.resample == "conv"):
            filters = "nearest or fir" + ("" if self.resample_in_block else ", or conv")
            raise ValueError(f"UNet: resample must be {filters}; got {self.resample!r}")
        levels = range(len(self.multipliers))
        if not all(level in levels for level in self.attention_levels):
            raise ValueError(
                f"UNet: attention_levels must lie in 0..{len(levels) - 1}; got {list(self.attention_levels)}"
            )
        if self.token_dim is not None and not (self.attention or self.attention_levels):
            raise ValueError("UNet: token_dim needs attention, in the middle or at some attention_levels; got none")

    @classmethod
    def ddpmpp(cls, in_channels: int, width: int = 128, **options: Any) -> Self:
        """The choices of DDPM++ (Song et al. 2021, appendix H), sized for 32 x 32 images; `options` replace any.

        Their BigGAN-type blocks are `resample_in_block=True`.
        """
        return cls(in_channels, width, **{**_SONG, "resample": "nearest", **options})

    @classmethod
    def ncsnpp(cls, in_channels: int, width: int = 128, **options: Any) -> Self:
        """The choices of NCSN++ (Song et al. 2021, appendix H), sized for 32 x 32 images; `options` replace any.

        Filters (1, 3, 3, 1), changes of resolution inside blocks, the image at every resolution, random Fourier
        features of the noise level.
        """
        own = {
            "resample": "fir",
            "resample_in_block": True,
            "progressive_input": True,
            "level_embedding": "fourier",
        }
        return cls(in_channels, width, **{**_SONG, **own, **options})

    @classmethod
    def adm(cls, in_channels: int, width: int = 192, **options: Any) -> Self:
        """The choices of ADM (Dhariwal & Nichol 2021), sized for 64 x 64 images; `options` replace any.

        Adaptive normalisation, changes of resolution inside blocks, attention at three resolutions in heads of 64.
        """
        own = {
            "multipliers": (1, 2, 3, 4),
            "blocks": 3,
            "attention_levels": (1, 2, 3),
            "head_channels": 64,
            "resample": "nearest",
            "resample_in_block": True,
            "middle": 2,
            "dropout": 0.1,
        }
        return cls(in_channels, width, **{**own, **options})

    def forward(self, x: Tensor, level: Tensor, label: Any = None, **cond: Any) -> Tensor:
        if x.ndim != 2 + self.dims or x.shape[1] != self.in_channels:
            axes = "L" if self.dims == 1 else "H, W"
            raise ValueError(f"x must have shape (B, {self.in_channels}, {axes}); got {tuple(x.shape)}")
        context = self.condition(level, label, **cond)
        image = fold(pad_to(x, self.patch), self.patch)
        h = self.entry(self.told(image, context.vector))
        kept = [h]
        for i, stages in enumerate(self.down):
            if i:
                h = self.descents[i - 1](h, context.vector)
                if self.progressive_input:
                    image = self.pyramid(image)
                    h = (h + self.projections[i - 1](image)) * self.skip_scale
                kept.append(h)
            for stage in stages:  # type: ignore[reportGeneralTypeIssues]
                h = stage(h, context)
                kept.append(h)
        for stage in self.centre:
            h = stage(h, context)
        for i, stages in enumerate(self.up):
            if i:  # to the size of what comes next on the way up: odd sizes too
                h = self.ascents[i - 1](h, context.vector, kept[-1].shape[2:])
            for stage in stages:  # type: ignore[reportGeneralTypeIssues]
                h = stage(torch.cat([h, kept.pop()], 1), context)
        return crop(unfold(self.exit(h), self.patch), x.shape[2:])


_SONG: dict[str, Any] = {
    "multipliers": (1, 2, 2, 2),
    "blocks": 4,
    "attention_levels": (1,),
    "conditioning": "add",
    "skip_scale": 2**-0.5,
    "head_channels": 256,  # one head
    "middle": 2,
    "dropout": 0.1,
}
