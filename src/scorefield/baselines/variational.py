"""The objective of a VAE: the evidence lower bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scorefield.baselines.vae import VAE
from scorefield.data import Source, Transform
from scorefield.randomness import Stream
from scorefield.storage import models
from scorefield.training import Now, Objective


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound, its one choice the weight of the KL.

    Args:
        kl: 1 is the bound; any other weight is none (Higgins et al. 2017 call it beta).

    Raises:
        ValueError: for a weight that is not positive.
    """

    kl: float = 1.0

    def __post_init__(self) -> None:
        if not self.kl > 0:
            raise ValueError(f"kl must be positive; got {self.kl}")


class Latent(Objective):
    """What VAE and GAN share: data through a transform, and a first model that `sf.load` reads.

    Args:
        model: what is trained to be used.
        transform: raw data to the model's units; it is kept in checkpoints.
    """

    def __init__(self, model: nn.Module, transform: Transform | None = None) -> None:
        super().__init__()
        self.model = model
        self._held = (transform,)  # in a tuple: a transform may have weights, and these are not ours

    @property
    def transform(self) -> Transform | None:
        """Raw data to the model's units."""
        return self._held[0]

    def check(self, source: Source) -> None:
        """Refuses data with levels and no transform, and labels.

        Raises:
            ValueError: for those.
        """
        if source.levels is not None and self.transform is None:
            raise ValueError(
                f"data of {source.levels} levels need a transform to the model's units, "
                "transform=data.Scale.to_unit_range(data)"
            )
        if source.num_classes is not None:
            raise ValueError(f"{type(self.model).__name__} is not told of labels; give the data without them")

    def batch(self, raw: Tensor, cond: Mapping[str, Tensor], draws: Stream) -> dict[str, Tensor]:
        x0 = raw if self.transform is None else self.transform.dequantize(raw, draws)
        return super().batch(x0, cond, draws)

    def dumps(self, name: str, model: Any, meta: Mapping[str, Any]) -> bytes:
        """The first model as `sf.load` reads it, any other as plain weights."""
        if name == "model":
            return models.dumps(model, meta, transform=self.transform)
        return super().dumps(name, model, meta)

    def loads(self, name: str, path: Path) -> dict[str, Tensor]:
        if name != "model":
            return super().loads(name, path)
        return {key.removeprefix("model."): tensor for key, tensor in models.load_tensors(path, ("model",)).items()}


class Variational(Latent):
    """A VAE: -ELBO / d, the mean over an event's d entries, in nats.

    Args:
        model: the VAE.
        loss: the bound, and the weight of its KL.
        transform: raw data to the model's units; it is kept in checkpoints.
    """

    def __init__(self, model: VAE, loss: Elbo | None = None, *, transform: Transform | None = None) -> None:
        super().__init__(model, transform)
        self.loss = loss or Elbo()

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def forward(self, batch: dict[str, Tensor], draws: Stream, now: Now) -> dict[str, Tensor]:
        x0 = batch["x0"]
        assert isinstance(self.model, VAE)
        reconstruction, kl = self.model.elbo(x0, generator=draws)
        entries = x0[0].numel()
        return {"loss": (self.loss.kl * kl - reconstruction) / entries, "kl": kl}
