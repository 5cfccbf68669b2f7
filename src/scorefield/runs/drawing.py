"""Samples in the units of the data, of the classes and captions asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scorefield import recipes
from scorefield.baselines import Generative
from scorefield.catalogue import SOLVERS, known, make
from scorefield.data import Standardize, TableSchema, Transform, units
from scorefield.data.schema import plain
from scorefield.denoisers import Denoiser
from scorefield.plots.shown import Look
from scorefield.recipes.schema import Data, Part
from scorefield.sampling import Samples, sample
from scorefield.solvers import Bias, Solver

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples of a model, and how they were made."""

    raw: Tensor  # (N, *event), the data's own units: grey values, int64, where the data have levels
    made: Samples  # the same in the model's units, on the CPU
    label: Tensor | None = None  # (N,) int64, the classes they are of
    schema: TableSchema | None = None  # of a table

    @property
    def table(self) -> DataFrame:
        """A table of pandas, with the columns, types and units of the one that was trained on.

        Raises:
            ValueError: for samples of what is no table.
        """
        if self.schema is None:
            raise ValueError(f"these samples are of shape {tuple(self.raw.shape[1:])}, and no table")
        return self.schema.decode(self.raw, self.label)

    @property
    def x(self) -> Tensor:
        """`(N, *event)`, model units."""
        return self.made.x

    @property
    def nfe(self) -> int:
        """Network evaluations for each sample."""
        return self.made.nfe

    @property
    def stepped(self) -> bool:
        """Whether a solver made them; a VAE or a GAN takes none."""
        return self.made.settings is not None

    @property
    def solver(self) -> Solver:
        """Which made them.

        Raises:
            ValueError: if none did.
        """
        if self.made.settings is None:
            raise ValueError("these samples were drawn in one pass, by no solver")
        return self.made.settings.solver

    @property
    def bias(self) -> Bias:
        """Of the solver's steps, on Gaussian data.

        Raises:
            ValueError: where there are none.
        """
        return self.made.bias


def draw(
    denoiser: Denoiser | Generative,
    transform: Transform | None,
    shape: Sequence[int],
    *,
    solver: str | Solver | None = None,
    cond: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Drawn:
    """Samples of the given `shape` `(N, *event)`.

    Args:
        transform: the one the model was trained through.
        denoiser: a model; of a VAE or a GAN, which draw in one pass, no solver, nfe or cond.
        solver: one, or its name in the catalogue; the best known for that many evaluations unless given.
        cond: the denoiser's keyword arguments, on any device.
        options: of `sample`: nfe, seed, first_index, chunk, progress, callback.

    Raises:
        ValueError: for an unknown solver; as `sample`; for a choice of what a VAE or a GAN has not.
    """
    schema = table_of(transform)
    if isinstance(denoiser, Generative):
        given = {"solver": solver, "nfe": options.get("nfe"), "conditions": cond or None}
        if wrong := [name for name, value in given.items() if value is not None]:
            kind = type(denoiser).__name__
            raise ValueError(f"{wrong[0]}: a {kind} draws in one evaluation, without steps, labels or other conditions")
        own = {name: value for name, value in options.items() if name in ("seed", "first_index", "chunk")}
        made = denoiser.sample(shape[0], **own)
        x = made.x.cpu()
        return Drawn(units.raw(x, transform), made._replace(x=x), None, schema)
    device = next(denoiser.parameters()).device
    made = sample(
        denoiser,
        shape,
        solver=make("solver", solver, SOLVERS) if isinstance(solver, str) else solver,
        cond={name: value.to(device) for name, value in (cond or {}).items()},
        **options,
    )
    x, label = made.x.cpu(), (cond or {}).get("label")
    return Drawn(units.raw(x, transform), made._replace(x=x), None if label is None else label.cpu(), schema)


def table_of(transform: Transform | None) -> TableSchema | None:
    """What the columns of a table are; real numbers, where a checkpoint says no more than their names."""
    if not isinstance(transform, Standardize):
        return None
    return transform.table or (plain(transform.columns) if transform.columns else None)


def look_of(transform: Transform | None, class_names: Sequence[str], spec: Data | None = None) -> Look:
    """What is known of data that went through `transform`, by the recipe's `spec` where there is one."""
    said = {} if spec is None else {"axis": spec.axis, "step": spec.step, "unit": spec.unit}
    columns, masked = getattr(transform, "columns", ()), getattr(transform, "masked", False)
    levels = None if transform is None else transform.levels
    return Look(levels, tuple(columns), tuple(class_names), masked, table=table_of(transform), **said)


def labels(
    asked: int | str | Sequence[int | str] | Tensor | None,
    n: int,
    classes: int | None,
    *,
    names: Sequence[str] = (),
    called: str = "label",
) -> Tensor | None:
    """`(n,)` int64, the classes asked for in turn, of a model of so many; None for none.

    Args:
        asked: numbers, or the `names` of the classes, in whatever case; what is a name is taken for one.

    Raises:
        ValueError: if it has none, or not that many, or none of that name; the message says `called`.
    """
    if isinstance(asked, str | int):
        asked = [asked]
    given = asked.reshape(-1).tolist() if isinstance(asked, Tensor) else list(() if asked is None else asked)
    if not given:
        return None
    if classes is None:
        raise ValueError(f"{called} was given, but this model was trained without labels")
    number = [_class(label, classes, names, called) for label in given]
    return torch.tensor([number[i % len(number)] for i in range(n)])


def _class(label: int | str, classes: int, names: Sequence[str], called: str) -> int:
    if isinstance(label, str):
        if names and (label in names or not label.removeprefix("-").isdecimal()):
            return list(names).index(known(called, label, names))
        if not label.removeprefix("-").isdecimal():
            raise ValueError(f"{called} must lie in 0..{classes - 1}, since the classes have no names; got {label!r}")
    number = int(label)
    if not 0 <= number < classes:
        raise ValueError(f"{called} must lie in 0..{classes - 1}; got {number}")
    return number


def captions(
    asked: str | Sequence[str] | None, n: int, encoder: Mapping[str, Any] | None, *, called: str = "text"
) -> dict[str, Tensor]:
    """What a network is told of the captions asked for, in turn, for `n` samples; nothing for none.

    Args:
        encoder: the one the model was trained with, as its checkpoint's meta describes it under "text".

    Raises:
        ValueError: if it was trained without; the message says `called`.
    """
    given = [asked] if isinstance(asked, str) else list(asked or ())
    if not given:
        return {}
    if encoder is None:
        raise ValueError(f"{called} was given, but this model was trained without captions")
    condition = recipes.text_condition(Part.model_validate(encoder))
    assert condition is not None
    return condition([given[i % len(given)] for i in range(n)])
