"""A statistic, and a detector: the statistic with the reference that turns its numbers into p-values.

    S(x) = law(f(x)),    f the measurements of a datum `(L,)`, the law one number of them, higher for the less likely
    p(x) = (1 + #{i: S(r_i) >= S(x)}) / (n + 1)

for reference data r_1 .. r_n that the law was not fitted to: then P(p <= a) <= a for a datum of their law, however bad
the model, the measurement or the law is (`pvalues`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield.anomaly.laws import Law, Upper
from scorefield.anomaly.measurements import Difference, Measurement
from scorefield.anomaly.pvalues import conformal
from scorefield.catalogue import DETECTOR_PARTS, find
from scorefield.denoisers import Denoiser
from scorefield.storage.files import read, replace

FORMAT = 1
REFERENCE_FIRST = 2**40  # sample index of the first reference datum: the noise of what is judged is other noise


@dataclass(frozen=True)
class Statistic:
    """`statistic(denoiser, x) -> (B,)` float64, higher for what is more anomalous: a measurement, then a law of it."""

    measurement: Measurement
    law: Law = field(default_factory=Upper)

    def __call__(self, denoiser: Denoiser, x: Tensor, **options: Any) -> Tensor:
        """`(B,)`; options as for a measurement.

        Raises:
            ValueError: as a measurement; if the law is not fitted.
        """
        return self.law.score(self.measurement(denoiser, x, **options))

    def fit(self, denoiser: Denoiser, reference: Tensor, **options: Any) -> Statistic:
        """The statistic with its law fitted to reference data `(n, *event)`."""
        return self.fitted(self.measurement(denoiser, reference, **options))

    def fitted(self, features: Tensor) -> Statistic:
        """The same from what was measured of them, `(n, L)`."""
        return dataclasses.replace(self, law=self.law.fit(features))


def measured(statistics: Iterable[Statistic], denoiser: Denoiser, x: Tensor, **options: Any) -> list[Tensor]:
    """The features `(B, L)` of `x` for each statistic; what several of them are made of is measured once."""
    known: dict[Measurement, Tensor] = {}

    def of(measurement: Measurement) -> Tensor:
        if measurement not in known:
            if isinstance(measurement, Difference):
                known[measurement] = of(measurement.first) - of(measurement.second)
            else:
                known[measurement] = measurement(denoiser, x, **options)
        return known[measurement]

    return [of(statistic.measurement) for statistic in statistics]


@dataclass(frozen=True, eq=False)
class Detector:
    """A fitted statistic and the sorted scores `(n,)` of reference data it was not fitted to.

    The reference should be data the network was not trained on: on its own training data an overfitted network is too
    sure, and every new datum then looks anomalous.

    Args:
        meta: whatever should be kept with it, anything JSON can hold.
    """

    statistic: Statistic
    reference: Tensor
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        statistic: Statistic,
        denoiser: Denoiser,
        reference: Tensor,
        *,
        share: float = 0.5,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Detector:
        """From reference data `(n, *event)` in any order that is no order: the first `share` fits, the rest calibrates.

        Options are those of a measurement; `first_index` is one that no datum to be judged will have.

        Raises:
            ValueError: as a measurement or a law; for a share that leaves either part empty.
        """
        features = statistic.measurement(denoiser, reference, **{"first_index": REFERENCE_FIRST, **options})
        return cls.from_features(statistic, features, share, meta)

    @classmethod
    def from_features(
        cls, statistic: Statistic, features: Tensor, share: float = 0.5, meta: Mapping[str, Any] | None = None
    ) -> Detector:
        """The same from what was measured, `(n, L)`; a law that learns nothing is calibrated on all of it.

        Raises:
            ValueError: for a share outside (0, 1), or one that leaves either part empty.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must lie in (0, 1); got {share:g}")
        first = math.floor(share * len(features)) if statistic.law.learns else 0
        fitted = statistic.fitted(features[:first]) if first else statistic
        if first == len(features) or (statistic.law.learns and not first):
            raise ValueError(f"the reference must leave data to fit and to calibrate; got {len(features)}")
        return cls(fitted, fitted.law.score(features[first:]).sort().values, dict(meta or {}))

    def score(self, denoiser: Denoiser, x: Tensor, **options: Any) -> Tensor:
        """The statistic of `x`, `(B,)`."""
        return self.statistic(denoiser, x, **options)

    def p_value(self, denoiser: Denoiser, x: Tensor, **options: Any) -> Tensor:
        """`(B,)`: the chance that a datum of the reference's law scores as high, at least 1 / (n + 1)."""
        return self.p_value_of(self.score(denoiser, x, **options))

    def p_value_of(self, scores: Tensor) -> Tensor:
        """The same from the scores `(B,)`."""
        return conformal(scores, self.reference)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON: values only, exactly.

        Raises:
            ValueError: for a statistic that holds a model (`Under`, `Density`): a file holds values, not networks.
        """
        text = {
            "scorefield-detector": FORMAT,
            "statistic": {"measurement": _described(self.statistic.measurement), "law": _described(self.statistic.law)},
            "reference": self.reference.tolist(),
            "meta": dict(self.meta),
        }
        replace(Path(path), (json.dumps(text) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """Reads what `save` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is damaged, or no detector.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no detector at {path}")
        try:
            text = json.loads(read(path))
            if text["scorefield-detector"] != FORMAT:
                raise ValueError(f"format {text['scorefield-detector']}; this version reads {FORMAT}")
            parts = {name: _built(value) for name, value in text["statistic"].items()}
            reference = torch.tensor(text["reference"], dtype=torch.float64, device="cpu")
            if reference.ndim != 1 or not len(reference) or bool(torch.isnan(reference).any()):
                raise ValueError("its reference is not a row of scores")
            return cls(Statistic(**parts), reference.sort().values, dict(text["meta"]))
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"{path} is damaged or not a detector ({' '.join(str(error).split())})") from None


def _described(value: Any) -> Any:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    name = type(value).__name__
    if name not in DETECTOR_PARTS or find(DETECTOR_PARTS[name]) is not type(value):
        raise ValueError(f"{name} can't be saved: a detector's file holds values, not models or classes of yours")
    return {"type": name, **{f.name: _described(getattr(value, f.name)) for f in dataclasses.fields(value)}}


def _built(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_built(v) for v in value)
    if not isinstance(value, dict):
        return value
    arguments = dict(value)
    name = arguments.pop("type")
    if name not in DETECTOR_PARTS:
        raise ValueError(f"unknown type {name!r}")
    return find(DETECTOR_PARTS[name])(**{k: _built(v) for k, v in arguments.items()})
