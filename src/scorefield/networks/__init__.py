"""Networks: `net(x, level, label=None, *, vector, tokens, token_mask, null)`, the shape of `x` in and out.

To be wrapped in a NetworkDenoiser. `net.conditions` names the conditions a network was built to take.
Encoders, `net(x, level)`, give logits instead: a NetworkClassifier wraps them. Generators and features, `net(z)` and
`net(x)`, know no noise level: they are what `baselines` are made of.
"""

from scorefield.networks.conditioning import Condition, Context
from scorefield.networks.dit import DiT
from scorefield.networks.dropout import Dropout, set_dropout
from scorefield.networks.embeddings import Learned, RandomFourier, Sinusoidal
from scorefield.networks.encoder import MLPEncoder, UNetEncoder
from scorefield.networks.latent import ConvFeatures, ConvGenerator, MLPFeatures, MLPGenerator
from scorefield.networks.mlp import MLP
from scorefield.networks.unet import UNet

__all__ = [
    "MLP",
    "Condition",
    "Context",
    "ConvFeatures",
    "ConvGenerator",
    "DiT",
    "Dropout",
    "Learned",
    "MLPEncoder",
    "MLPFeatures",
    "MLPGenerator",
    "RandomFourier",
    "Sinusoidal",
    "UNet",
    "UNetEncoder",
    "set_dropout",
]
