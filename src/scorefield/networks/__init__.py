"""Networks: `net(x, level, label=None)`, the shape of `x` in and out, to be wrapped in a NetworkDenoiser."""

from scorefield.networks.embeddings import Condition, Sinusoidal
from scorefield.networks.mlp import MLP
from scorefield.networks.unet import UNet

__all__ = ["MLP", "Condition", "Sinusoidal", "UNet"]
