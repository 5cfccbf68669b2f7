"""Small instances of every network and option, and conditions for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scorefield import networks

ALL: dict[str, Any] = {"num_classes": 3, "vector_dim": 2, "token_dim": 5}

NETS = {
    "mlp": (lambda **c: networks.MLP(6, hidden=16, depth=2, **c), (6,)),
    "mlp of an image, add": (lambda **c: networks.MLP(12, hidden=16, depth=2, conditioning="add", **c), (3, 2, 2)),
    "mlp, concat, learned": (
        lambda **c: networks.MLP(6, hidden=16, conditioning="concat", level_embedding="learned", dropout=0.2, **c),
        (6,),
    ),
    "unet": (lambda **c: networks.UNet(1, width=8, **c), (1, 8, 8)),
    "unet, odd, add": (lambda **c: networks.UNet(3, 8, (1, 2, 2), conditioning="add", **c), (3, 7, 13)),
    "unet, one pixel": (lambda **c: networks.UNet(2, width=4, multipliers=(1, 1), **c), (2, 1, 1)),
    "unet, patches": (lambda **c: networks.UNet(1, width=8, blocks=2, patch=2, **c), (1, 9, 6)),
    "unet, concat, fourier": (
        lambda **c: networks.UNet(1, 8, conditioning="concat", level_embedding="fourier", dropout=0.1, patch=2, **c),
        (1, 5, 8),
    ),
    "unet, series": (lambda **c: networks.UNet(2, width=8, dims=1, patch=2, **c), (2, 11)),
    "ddpm++": (lambda **c: networks.UNet.ddpmpp(2, 8, blocks=1, **c), (2, 9, 5)),
    "ncsn++": (lambda **c: networks.UNet.ncsnpp(2, 8, blocks=1, **c), (2, 5, 9)),
    "ncsn++, series": (lambda **c: networks.UNet.ncsnpp(2, 8, blocks=1, dims=1, **c), (2, 13)),
    "adm": (lambda **c: networks.UNet.adm(1, 8, blocks=1, **c), (1, 11, 9)),
    "dit": (lambda **c: networks.DiT(1, width=16, depth=2, heads=2, **c), (1, 8, 8)),
    "dit, odd": (lambda **c: networks.DiT(2, patch=3, width=8, depth=1, heads=1, dropout=0.1, **c), (2, 5, 7)),
}


def scrambled(net: nn.Module) -> nn.Module:
    """Every parameter random: nothing hides behind a layer that starts at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return net.eval()


def conditions(batch: int = 4, tokens: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """One of each, for `ALL`; no sample is null, the second has no token that counts."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[1] = False
    mask[2:3, 0] = False
    return {
        "label": torch.arange(batch) % 3,
        "vector": torch.randn(batch, 2, generator=generator, dtype=dtype),
        "tokens": torch.randn(batch, tokens, 5, generator=generator, dtype=dtype),
        "token_mask": mask,
    }
