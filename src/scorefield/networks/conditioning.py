"""What a network is told besides x, the noise level and the conditions it was built for, and how it hears them.

    c = silu(E(level) + L[label] + V vector + mean_k T tokens_k),      E a small network of the level's features

`label` (B,), `vector` (B, k) and, in networks without attention, `tokens` (B, L, d) add to one vector c, `(B, width)`.
Networks with attention read the tokens themselves, by cross-attention. A condition that all samples share, a number or
`conditions.shared`, has no first dimension and is expanded: label=3 is class 3 for every sample.

Null conditions, for classifier-free guidance (Ho & Salimans 2022), in one convention: a condition that is not given is
null for the whole batch; `null` (B,) bool marks the samples all of whose conditions are null. A null condition is an
embedding of its own, learned: a row beside L, a vector beside V, one token in place of the sequence.

c enters a block in one of three ways:

    film      norm(h) (1 + a) + b,   (a, b) = A c       adaptive normalisation (Perez et al. 2018)
    add       norm(h + b),           b = A c            an added bias (Ho et al. 2020)
    concat    norm(h)                                   c stands beside x in the first layer's input, at every position
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield import catalogue
from scorefield.conditions import for_each
from scorefield.networks.layers import zero
from scorefield.schedules import pad_right

T = TypeVar("T")


class Context(NamedTuple):
    """What the blocks of a network are told."""

    vector: Tensor  # (B, width)
    tokens: Tensor | None = None  # (B, 1 + L, d), the null token first, where the network reads them
    mask: Tensor | None = None  # (B, 1 + L) bool, True where a token counts


class Condition(nn.Module):
    """The noise level and the conditions as a `Context`; see the module's text for the formula.

    Args:
        width: of the vector.
        num_classes: takes `label` `(B,)` int64 in 0 .. num_classes - 1.
        vector_dim: takes `vector` `(B, vector_dim)`.
        token_dim: takes `tokens` `(B, L, token_dim)`, L any and 0 too, and `token_mask` `(B, L)` bool, True where a
            token counts; a sample without any is null in this condition.
        scalars: names of further numbers `(B,)` it may be told, each with an embedding like the level's that starts at
            zero: a flow map's second time, say. One that is not given counts for nothing.
        pool: add the mean of the tokens to the vector, rather than hand them on.
        level_embedding: "sinusoidal", "fourier" or "learned".
        features: of the level embedding.

    Raises:
        ValueError: for a size below 1, or another level_embedding; when called, for conditions it was not built for, of
            another shape or out of range.
        TypeError: when called, for a further number it was not built for.
    """

    def __init__(
        self,
        width: int,
        *,
        num_classes: int | None = None,
        vector_dim: int | None = None,
        token_dim: int | None = None,
        scalars: Sequence[str] = (),
        pool: bool = False,
        level_embedding: str = "sinusoidal",
        features: int = 64,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "vector_dim": vector_dim, "token_dim": token_dim}
        for name, value in sizes.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None; got {value}")
        embedding = catalogue.find(_choose("level_embedding", catalogue.EMBEDDINGS, level_embedding))
        self.num_classes, self.vector_dim, self.token_dim, self.pool = num_classes, vector_dim, token_dim, pool

        def embedded() -> nn.Sequential:
            return nn.Sequential(embedding(features), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

        self.level = embedded()
        self.scalars = nn.ModuleDict({name: embedded() for name in scalars})
        for module in self.scalars.values():
            zero(module[-1])  # type: ignore[index]
        if num_classes is not None:
            self.label, self.null_label = nn.Embedding(num_classes, width), nn.Parameter(torch.randn(width))
        if vector_dim is not None:
            self.vector, self.null_vector = nn.Linear(vector_dim, width), nn.Parameter(torch.randn(width))
        if token_dim is not None:
            self.null_token = nn.Parameter(torch.randn(token_dim))
            if pool:
                self.tokens = nn.Linear(token_dim, width)

    @property
    def names(self) -> tuple[str, ...]:
        """The conditions taken, of "label", "vector" and "tokens"."""
        sizes = {"label": self.num_classes, "vector": self.vector_dim, "tokens": self.token_dim}
        return tuple(name for name, size in sizes.items() if size is not None)

    def forward(
        self,
        level: Tensor,
        label: Any = None,
        *,
        vector: Any = None,
        tokens: Any = None,
        token_mask: Any = None,
        null: Any = None,
        **scalars: Any,
    ) -> Context:
        if strange := [name for name in scalars if name not in self.scalars]:
            raise TypeError(f"{strange[0]} was given to a network built without scalars={strange[0]!r} among them")
        label = None if label is None else for_each("label", label, level)
        vector = None if vector is None else for_each("vector", vector, level)
        tokens = None if tokens is None else for_each("tokens", tokens, level)
        token_mask = None if token_mask is None else for_each("token_mask", token_mask, level)
        null = None if null is None else for_each("null", null, level)
        self._check(level, label, vector, tokens, token_mask, null)
        h = self.level(level)
        for name, embedding in self.scalars.items():
            told = scalars.get(name)
            h = h + (0 * embedding(level) if told is None else embedding(for_each(name, told, level).to(level.dtype)))
        # The null embeddings are part of every result, with weight 0 if need be: no parameter ever lacks a gradient.
        if null is None:
            null = torch.zeros(level.shape[0], dtype=torch.bool, device=level.device)
        if self.num_classes is not None:
            h = h + _or_null(None if label is None else self._label(label), self.null_label, null)
        if self.vector_dim is not None:
            h = h + _or_null(None if vector is None else self.vector(vector.to(level.dtype)), self.null_vector, null)
        if self.token_dim is None:
            return Context(F.silu(h))
        tokens, mask = self._sequence(tokens, token_mask, null)
        if not self.pool:
            return Context(F.silu(h), tokens, mask)
        weight = mask.to(tokens.dtype) / mask.sum(1, keepdim=True)
        return Context(F.silu(h + self.tokens((weight[:, :, None] * tokens).sum(1))))

    def _label(self, label: Tensor) -> Tensor:
        if label.dtype != torch.int64:
            if label.is_floating_point() or label.dtype == torch.bool:
                raise ValueError(f"label must be integers; got {label.dtype}")
            label = label.long()
        try:
            return self.label(label)
        except IndexError:  # on the CPU; a check of our own would make a GPU wait
            low, high, n = int(label.min()), int(label.max()), self.num_classes
            raise ValueError(f"label must lie in 0..{(n or 0) - 1}; got {low}..{high}") from None

    def _sequence(self, tokens: Tensor | None, mask: Tensor | None, null: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens behind the null token, and which count: the null token where no other does."""
        first = self.null_token.expand(null.shape[0], 1, -1)
        if tokens is None:
            return first, torch.ones_like(null)[:, None]
        counts = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask
        counts = counts & ~null[:, None]
        return torch.cat([first, tokens], 1), torch.cat([~counts.any(1, keepdim=True), counts], 1)

    def _check(
        self,
        level: Tensor,
        label: Tensor | None,
        vector: Tensor | None,
        tokens: Tensor | None,
        token_mask: Tensor | None,
        null: Tensor | None,
    ) -> None:
        batch = tuple(level.shape)
        for name, value, argument, size, shape in (
            ("label", label, "num_classes", self.num_classes, batch),
            ("vector", vector, "vector_dim", self.vector_dim, (*batch, self.vector_dim)),
            ("tokens", tokens, "token_dim", self.token_dim, None),
        ):
            if value is None:
                continue
            if size is None:
                raise ValueError(f"{name} was given to a network built without {argument}")
            if shape is not None and value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, one for each x; got {tuple(value.shape)}")
        if tokens is not None and (tokens.ndim != 3 or tokens.shape[::2] != (*batch, self.token_dim)):
            raise ValueError(f"tokens must have shape ({batch[0]}, L, {self.token_dim}); got {tuple(tokens.shape)}")
        if token_mask is not None and (
            tokens is None or token_mask.dtype != torch.bool or token_mask.shape != tokens.shape[:2]
        ):
            expected = "tokens beside it" if tokens is None else f"bool of shape {tuple(tokens.shape[:2])}"
            raise ValueError(f"token_mask needs {expected}; got {token_mask.dtype}, {tuple(token_mask.shape)}")
        if null is not None:
            if not self.names:
                raise ValueError("null was given to a network built without conditions")
            if null.dtype != torch.bool or null.shape != batch:
                raise ValueError(f"null must be bool of shape {batch}; got {null.dtype}, {tuple(null.shape)}")


class Film(nn.Module):
    """norm(h) (1 + a) + b with (a, b) linear in the condition. `norm(affine=...)` makes the normalisation."""

    def __init__(self, channels: int, condition: int, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.norm, self.linear = norm(affine=False), nn.Linear(condition, 2 * channels)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = pad_right(self.linear(condition), h).chunk(2, 1)
        return self.norm(h) * (1 + scale) + shift


class Add(nn.Module):
    """norm(h + b) with b linear in the condition."""

    def __init__(self, channels: int, condition: int, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.norm, self.linear = norm(affine=True), nn.Linear(condition, channels)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return self.norm(h + pad_right(self.linear(condition), h))


class Unconditional(nn.Module):
    """norm(h): the block is told nothing."""

    def __init__(self, channels: int, condition: int, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.norm = norm(affine=True)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return self.norm(h)


class Concat(nn.Module):
    """`(B, C, ...)` and `(B, width)` to `(B, C + width, ...)`: the condition as constant channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.extra = width

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        constant = pad_right(condition, x).expand(*condition.shape, *x.shape[2:])
        return torch.cat([x, constant], 1)


class Alone(nn.Module):
    """x as it is."""

    extra = 0

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x


class Mechanism(NamedTuple):
    """How a condition enters: `input(width)` before the first layer, `block(channels, width, norm)` in each block."""

    block: Callable[[int, int, Callable[..., nn.Module]], nn.Module]
    input: Callable[[int], Concat | Alone]
    widening: int  # the condition's width over the channels of a convolutional network


MECHANISMS = {
    "film": Mechanism(Film, Alone, 4),
    "add": Mechanism(Add, Alone, 4),
    "concat": Mechanism(Unconditional, Concat, 1),  # each number costs a channel at every position
}
"""What `conditioning` means."""


def mechanism(name: str) -> Mechanism:
    """The mechanism of that name: "film", "add" or "concat".

    Raises:
        ValueError: for another name.
    """
    return _choose("conditioning", MECHANISMS, name)


def _choose(argument: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise ValueError(f"{argument} must be one of {', '.join(table)}; got {name!r}")
    return table[name]


def _or_null(embedding: Tensor | None, null_embedding: Tensor, null: Tensor) -> Tensor:
    if embedding is None:
        return null_embedding
    return torch.where(null[:, None], null_embedding.to(embedding.dtype), embedding)
