"""What a score-based model is compared with: a variational autoencoder and generative adversarial networks.

    z ~ N(0, I),    x = G(z)  (GAN)   or   x ~ p(x | z)  (VAE)

Both draw in one evaluation. They are trained by the same `training.fit`, on the same data and through the same
transforms, as `Variational` and `Adversarial` objectives, and loaded by `sf.load`. What they lack they say: neither has
a score, a GAN has no density, and a VAE a lower bound of one, `VAE.bound`.
"""

from scorefield.baselines.adversarial import (
    Adversarial,
    AdversarialLoss,
    NonSaturating,
    Relativistic,
    Wasserstein,
    slope_penalty,
)
from scorefield.baselines.gan import GAN
from scorefield.baselines.generative import Generative
from scorefield.baselines.vae import VAE
from scorefield.baselines.variational import Elbo, Variational

__all__ = [
    "GAN",
    "VAE",
    "Adversarial",
    "AdversarialLoss",
    "Elbo",
    "Generative",
    "NonSaturating",
    "Relativistic",
    "Variational",
    "Wasserstein",
    "slope_penalty",
]
