"""Variational autoencoders.

    p(x) = int p(x | z) N(z; 0, I) dz,    q(z | x) = N(z; m(x), diag v(x))

    log p(x) >= E_q log p(x | z) - KL(q || N(0, I)),    KL = 1/2 sum_j (m_j^2 + v_j - 1 - log v_j)        the ELBO
    log p(x) >= E log 1/K sum_k w_k,    w = p(x | z) N(z; 0, I) / q(z | x), z ~ q                         importance, K

The second rises with K, to log p(x) as K grows wherever q is positive; at K = 1 it is the first (Burda et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from scorefield.baselines.generative import Generative
from scorefield.denoisers.base import evaluating
from scorefield.randomness import Noise, Randomness, randn
from scorefield.tensors import require_batch

LIKELIHOODS = ("gaussian", "logistic")


class VAE(Generative):
    """An encoder, a decoder, and the scale of what the decoder leaves open, which is learned with them.

    The decoder's law of x given z is, entry by entry about mu = decoder(z) with one scale s for all,

        gaussian    N(x; mu, s^2)
        logistic    the mass that a logistic law about mu has in x's bin, those at the ends going on to infinity

    The second is for data of `levels` values, as their probability, without the noise of dequantisation; with two bins
    it is a Bernoulli law of logit (mu - middle) / s.

    Args:
        encoder: `(B, *event)` to `(B, 2 latent)`: the mean and the log-variance of q(z | x).
        decoder: `(B, latent)` to `(B, *event)`.
        latent: entries of z.
        event_shape: of one datum.
        likelihood: "gaussian" or "logistic".
        bins: of the logistic one: (levels, low, high), that many equal bins from low to high in the model's units.

    Raises:
        ValueError: for another likelihood, bins without a logistic one or the reverse, less than two, or a latent size
            below 1.

    References:
        Kingma & Welling 2014; Rezende et al. 2014; Rybkin et al. 2021 (the learned scale); Salimans et al. 2017
        (discretised logistic laws).
    """

    lacks = MappingProxyType(
        {
            "score": "a VAE learns a decoder and no score; train a denoiser for one",
            "density": "a VAE's density is an integral over z; VAE.bound(x, importance=K) is a lower bound of its log",
        }
    )

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        event_shape: Sequence[int],
        *,
        likelihood: str = "gaussian",
        bins: Sequence[float] | None = None,
    ) -> None:
        super().__init__(latent, event_shape)
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {', '.join(LIKELIHOODS)}; got {likelihood!r}")
        if (bins is not None) != (likelihood == "logistic"):
            raise ValueError(f"bins go with a logistic likelihood, and it with them; got {bins} for {likelihood!r}")
        if bins is not None and not (len(bins) == 3 and bins[0] >= 2 and bins[2] > bins[1]):
            raise ValueError(f"bins must be (levels, low, high), at least 2 levels and low < high; got {tuple(bins)}")
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.bins = None if bins is None else tuple(bins)
        self.log_scale = nn.Parameter(torch.zeros((), device="cpu"))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of q(z | x), `(B, latent)` each.

        Raises:
            ValueError: for an encoder that gives another shape.
        """
        require_batch("x", x)
        moments = self.encoder(x)
        if moments.shape != (len(x), 2 * self.latent):
            raise ValueError(f"encoder must return {(len(x), 2 * self.latent)}; got {tuple(moments.shape)}")
        mean, log_variance = moments.chunk(2, 1)
        return mean, log_variance

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), `(B,)`, in nats: of a density in the model's units, or of the bins' mass."""
        mu, scale = self.decoder(z), self.log_scale.exp()
        if self.bins is None:
            each = -((x - mu) / scale).square() / 2 - self.log_scale - math.log(2 * math.pi) / 2
        else:
            levels, low, high = self.bins
            width = (high - low) / levels
            k = ((x - low) / width).floor().clamp(0, levels - 1)
            upper = (low + width * (k + 1) - mu) / scale
            lower = (low + width * k - mu) / scale
            # log of sigmoid(upper) - sigmoid(lower) = sigmoid(upper) sigmoid(-lower) (1 - exp(lower - upper))
            inside = torch.log(-torch.expm1(-width / scale))
            ends = (k == levels - 1, k == 0)
            each = torch.where(ends[0], 0.0, nn.functional.logsigmoid(upper))
            each = each + torch.where(ends[1], 0.0, nn.functional.logsigmoid(-lower))
            each = each + torch.where(ends[0] | ends[1], 0.0, inside)
        return each.flatten(1).sum(1)

    def elbo(self, x: Tensor, *, generator: Randomness = None) -> tuple[Tensor, Tensor]:
        """(E_q log p(x | z), estimated at one reparameterised z = m + sqrt(v) e; the KL, exact), `(B,)` each, nats.

        Their difference is the evidence lower bound, and differentiable in all weights.

        Raises:
            ValueError: for an encoder that gives another shape.
        """
        mean, log_variance = self.posterior(x)
        eps = randn(mean.shape, generator, mean.dtype, mean.device)
        reconstruction = self.log_likelihood(x, mean + (log_variance / 2).exp() * eps)
        return reconstruction, (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2

    @torch.no_grad()
    def bound(self, x: Tensor, *, importance: int = 1, seed: int = 0, first_index: int = 0) -> Tensor:
        """log 1/K sum_k w_k, `(B,)`, in nats: on average a lower bound of log p(x) that rises with K = `importance`.

        Args:
            x: `(B, *event)`, in the model's units.
            importance: K; 1 is a draw of the ELBO.
            seed, first_index: the draws of datum i are a function of (seed, first_index + i).

        Raises:
            ValueError: for an importance below 1, or an encoder that gives another shape.
        """
        if importance < 1:
            raise ValueError(f"importance must be at least 1; got {importance}")
        with evaluating(self):
            mean, log_variance = self.posterior(x)
            index = torch.arange(first_index, first_index + len(x), device=x.device)
            noise, total = Noise(seed, index, (self.latent,), mean.dtype), None
            for k in range(importance):
                eps = noise.normal(k)
                z = mean + (log_variance / 2).exp() * eps
                prior_over_q = ((eps.square() - z.square() + log_variance) / 2).sum(1)  # the 2 pi's cancel
                weight = (self.log_likelihood(x, z) + prior_over_q).double()
                total = weight if total is None else torch.logaddexp(total, weight)
        assert total is not None
        return total - math.log(importance)

    def mean(self, z: Tensor) -> Tensor:
        """The decoder's mu: the picture that is often shown for a draw, which leaves out what p(x | z) adds."""
        return self.decoder(z)

    def drawn(self, noise: Noise) -> Tensor:
        """Of p(x | z) about the decoder's mu."""
        mu, scale = self.mean(self.latents(noise)), self.log_scale.exp()
        if self.bins is None:
            return mu + scale * noise.normal(1)
        u = noise.uniform(1)
        return mu + scale * torch.log(u.clamp(min=1e-7) / (1 - u).clamp(min=1e-7))
