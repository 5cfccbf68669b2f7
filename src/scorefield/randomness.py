"""Random numbers as a function of (seed, sample, draw).

Philox 4x32-10 (Salmon et al. 2011) maps a 128-bit counter under a 64-bit key to 128 random bits, with no state. Here

    key = seed,  counter = (block of four numbers within the event, 2 draw + kind, sample index low, and high)

so the numbers of a sample are the same in any batch, chunk, process or device. Everything is int64 arithmetic: words
are 32-bit, products 64-bit, and since int64 wraps modulo 2^64 a product's bits are exact. On the CPU the arithmetic is
NumPy's, the same operators at nearly twice torch's speed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_VECTOR = 16  # floats in the widest vector register
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 times the golden ratio's fraction, as a signed word

Array = TypeVar("Array", Tensor, np.ndarray, int)


def philox(
    counter: tuple[Array, Array, Array, Array], key: tuple[int, int], rounds: int = 10
) -> tuple[Array, Array, Array, Array]:
    """Four 32-bit words for each counter, in the low halves of int64 arrays, or of Python's integers.

    Counters broadcast against each other.

    What stands in the high halves is left there while it does no harm, and masked only before a product.
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key
    shape = np.broadcast_shapes(*(tuple(np.shape(x)) for x in counter))
    ours = False  # whether the four words are of full shape and may be overwritten
    for _ in range(rounds):
        if not ours:
            p0, p1 = (x0 & _LOW) * _MULTIPLIERS[0], (x2 & _LOW) * _MULTIPLIERS[1]
            x0, x2 = (p1 >> 32) ^ (x1 ^ k0), (p0 >> 32) ^ (x3 ^ k1)
            ours = all(tuple(np.shape(x)) == shape for x in (x0, p1, x2, p0))
        else:  # the same in place: x0 and x2 hand their memory to the products, x1 and x3 to the words
            p0, p1 = x0, x2
            p0 &= _LOW
            p1 &= _LOW
            p0 *= _MULTIPLIERS[0]
            p1 *= _MULTIPLIERS[1]
            x0, x2 = x1, x3
            x0 ^= p1 >> 32
            x2 ^= p0 >> 32
            x0 ^= k0
            x2 ^= k1
        x1, x3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return x0, x1, x2, x3


def as_seed(seed: int) -> int:
    """`seed`, an integer of Python, NumPy or torch, as Python's.

    Raises:
        TypeError: for anything else.
        ValueError: outside [0, 2^64).
    """
    try:
        whole = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer; got {seed!r}") from None
    if not 0 <= whole < 2**64:
        raise ValueError(f"seed must lie in [0, 2^64); got {whole}")
    return whole


@dataclass(frozen=True)
class Noise:
    """The random numbers of a batch: `normal(k)` and `uniform(k)` are its k-th draws, `(B, *event_shape)`.

    Args:
        seed: in [0, 2^64), an integer of Python, NumPy or torch.
        index: `(B,)` int64, which samples these are; on the device where the numbers are wanted.

    Raises:
        ValueError: for a seed outside [0, 2^64), an index that is not int64 (B,), or a dtype that is not floating
            point; for a draw outside [0, 2^31).
    """

    seed: int
    index: Tensor
    event_shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", as_seed(self.seed))
        if self.index.ndim != 1 or self.index.dtype != torch.int64:
            raise ValueError(f"index must be int64 of shape (B,); got {self.index.dtype}, {tuple(self.index.shape)}")
        if not self.dtype.is_floating_point:
            raise ValueError(f"dtype must be floating point; got {self.dtype}")

    def normal(self, draw: int) -> Tensor:
        """Standard normals, `(B, *event_shape)`."""
        return self.normals(range(draw, draw + 1))[0]

    def normals(self, draws: range) -> Tensor:
        """The normals of several draws at once, `(len(draws), B, *event_shape)`: the same numbers, in fewer operations.

        By Box and Muller: r = sqrt(-2 log u), (r cos a, r sin a); |z| up to 6.6. From signed words w:
        u = |w + 1/2| / 2^31 in (0, 1], whose small values keep their relative precision, and a = 2 pi w / 2^32.

        Raises:
            ValueError: for a draw outside [0, 2^31).
        """
        words = self._words(range(2 * draws.start, 2 * draws.stop, 2 * draws.step))
        xp: Any = np if isinstance(words, np.ndarray) else torch
        radius, angle, z = words[:2], words[2:], xp.empty_like(words)
        radius += 0.5
        radius *= 2.0**-31
        xp.abs(radius, out=radius)
        xp.log(radius, out=radius)
        radius *= -2
        xp.sqrt(radius, out=radius)
        angle *= 2 * math.pi * 2.0**-32
        xp.cos(angle, out=z[:2])
        xp.sin(angle, out=z[2:])
        z[:2] *= radius
        z[2:] *= radius
        return self._shaped(z)

    def uniform(self, draw: int) -> Tensor:
        """Uniforms in [0, 1): multiples of 2^-32, in float32 and lower of 2^-24 above 2^-8. Draws as in `normal`."""
        return self.uniforms(range(draw, draw + 1))[0]

    def uniforms(self, draws: range) -> Tensor:
        """The uniforms of several draws at once, `(len(draws), B, *event_shape)`: the same numbers."""
        u = self._words(range(2 * draws.start + 1, 2 * draws.stop + 1, 2 * draws.step))
        u *= 2.0**-32
        u += 0.5
        return self._shaped(u.clip(max=1 - 2.0**-24))

    def _words(self, streams: range) -> Tensor | np.ndarray:
        """Signed words as floats, `(4, streams, rows, blocks)`, rows >= B: an array of NumPy's on the CPU."""
        # a stream is a word of the counter: beyond it the first draws would come again
        if streams and not 0 <= streams.start <= streams[-1] < 2**32:
            raise ValueError(f"draw must lie in [0, 2^31); got {streams.start // 2} to {streams[-1] // 2}")
        batch, size = len(self.index), math.prod(self.event_shape)
        blocks = -(-size // 4)
        # Vectorised kernels treat the tail of a buffer otherwise than its body: fill up to whole vectors, so that no
        # number stands in the tail of a small batch and in the body of a large one.
        rows = -(-batch // _VECTOR) * _VECTOR if blocks % _VECTOR else batch
        sample = torch.nn.functional.pad(self.index, (0, rows - batch))[None, :, None]
        block = torch.arange(blocks, device=sample.device)[None, None, :]
        which = torch.arange(streams.start, streams.stop, streams.step, device=sample.device)[:, None, None]
        counter, key = (block, which, sample & _LOW, sample >> 32), (self.seed & _LOW, self.seed >> 32)
        double = self.dtype == torch.float64
        shape = (4, len(streams), rows, blocks)
        if sample.is_cpu and not torch.compiler.is_compiling() and (arrays := _arrays(counter)) is not None:
            low = np.empty(shape, np.int32)
            for j, word in enumerate(philox(arrays, key)):
                low[j] = word  # keeps the low 32 bits
            return low.astype(np.float64 if double else np.float32)
        signed = torch.empty(shape, dtype=torch.int32, device=sample.device)
        for j, word in enumerate(philox(counter, key)):
            signed[j] = word
        return signed.to(torch.float64 if double else torch.float32)

    def _shaped(self, numbers: Tensor | np.ndarray) -> Tensor:
        """`(4, draws, rows, blocks)` to `(draws, B, *event_shape)`."""
        numbers = torch.from_numpy(numbers) if isinstance(numbers, np.ndarray) else numbers
        draws, rows, blocks = numbers.shape[1:]
        batch, size = len(self.index), math.prod(self.event_shape)
        flat = numbers.permute(1, 2, 0, 3).reshape(draws, rows, 4 * blocks)[:, :batch, :size]
        return flat.reshape(draws, batch, *self.event_shape).to(self.dtype)


def _arrays(tensors: Sequence[Tensor]) -> Any:
    """The same memory as arrays of NumPy's; None within a transform of torch.func, where tensors have none to show."""
    try:
        return tuple(t.numpy() for t in tensors)
    except RuntimeError:
        return None


class BrownianMotion:
    """W(u), u >= 0, of each sample of a `Noise`: one path, whatever times are asked for and in whatever order.

    The half-line is cut into [0, 2^-32) and octaves [2^k, 2^(k+1)). The increment over each is a draw of its own, and
    within it a path is known by halving (Levy): given the ends of [a, b], W at the middle is

        (W(a) + W(b)) / 2 + sqrt(b - a) / 2 z,    z the draw that bears the number of this interval.

    Times are rounded to 2^-20 of their octave; the law between the rounded ones is exact.

    Args:
        noise: of the samples; numbers are of its dtype, float32 at least.
    """

    LOWEST, OCTAVES, DEPTH = -32, 128, 20
    FIRST_DRAW = 2**29  # far from those of solvers, and below those of probes

    def __init__(self, noise: Noise) -> None:
        self.noise = replace(noise, dtype=torch.promote_types(noise.dtype, torch.float32))
        self._start: tuple[int, Tensor] | None = None  # W where an octave begins

    def node(self, u: float) -> tuple[int, int]:
        """(octave, cell) of `u` rounded: from 0 on, and cells of 2^-20 of it.

        Raises:
            ValueError: for a time outside [0, 2^95).
        """
        if not 0 <= u < 2.0 ** (self.LOWEST + self.OCTAVES - 1):
            raise ValueError(f"u must lie in [0, 2^{self.LOWEST + self.OCTAVES - 1}); got {u}")
        fraction, exponent = math.frexp(u)
        octave, part = exponent - self.LOWEST, 2 * fraction - 1
        if octave < 1:
            octave, part = 0, u * 2.0**-self.LOWEST
        cell = round(part * 2**self.DEPTH)
        return (octave + 1, 0) if cell == 2**self.DEPTH else (octave, cell)

    def time(self, node: tuple[int, int]) -> float:
        """What `u` was rounded to."""
        begin, length = self._octave(node[0])
        return begin + length * node[1] * 2.0**-self.DEPTH

    def __call__(self, node: tuple[int, int]) -> Tensor:
        """W there, `(B, *event_shape)`."""
        octave, cell = node
        low = self._at_octave(octave)
        if not cell:
            return low
        length = self._octave(octave)[1]
        high = low + math.sqrt(length) * self.noise.normal(self.FIRST_DRAW + octave)
        interval = 1  # as in a heap: the halves of interval i are 2 i and 2 i + 1
        for bit in reversed(range(self.DEPTH)):
            draw = self.FIRST_DRAW + self.OCTAVES + (octave << self.DEPTH) + interval
            middle = (low + high) / 2 + math.sqrt(length) / 2 * self.noise.normal(draw)
            upper = cell >> bit & 1
            low, high = (middle, high) if upper else (low, middle)
            interval, length = 2 * interval + upper, length / 2
            if not cell & (2**bit - 1):
                break  # it is where what is left begins
        return low

    def _octave(self, octave: int) -> tuple[float, float]:
        """(beginning, length)."""
        begin = 2.0 ** (self.LOWEST + octave - 1)
        return (begin, begin) if octave else (0.0, 2.0**self.LOWEST)

    def _at_octave(self, octave: int) -> Tensor:
        known, start = self._start or (0, None)
        if start is None or known > octave:
            known, start = 0, torch.zeros_like(self.noise.normal(self.FIRST_DRAW))
        for k in range(known, octave):  # one after another: the same sum, whichever was known
            start = start + math.sqrt(self._octave(k)[1]) * self.noise.normal(self.FIRST_DRAW + k)
        self._start = octave, start
        return start


class Stream:
    """Draws one after another for the samples of a batch: the k-th call takes draw k of every sample.

    The numbers of a sample are a function of (seed, its index, k) alone, whatever else is in the batch: a training step
    gives the same losses in one process and in several. Takes the place of a torch.Generator wherever a loss or a time
    law accepts one.

    Args:
        seed: in [0, 2^64); what changes from step to step, unless `index` does.
        index: `(B,)` int64, the global numbers of the samples; on the device where the numbers are wanted.
    """

    def __init__(self, seed: int, index: Tensor) -> None:
        self.seed, self.index, self.draw = Noise(seed, index, ()).seed, index, 0  # checked

    def normal(self, event_shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normals, `(B, *event_shape)`."""
        return Noise(self.seed, self.index, tuple(event_shape), dtype).normal(self._next())

    def uniform(self, event_shape: Sequence[int] = (), dtype: torch.dtype = torch.float64) -> Tensor:
        """Uniforms in [0, 1), `(B, *event_shape)`."""
        return Noise(self.seed, self.index, tuple(event_shape), dtype).uniform(self._next())

    def spread(self) -> Tensor:
        """Uniforms `(B,)`, float64, that together fill [0, 1) evenly: frac(u + index * golden ratio).

        u is the draw's own number, so each is uniform; the multiples of the golden ratio are the most evenly spread
        sequence there is (any n consecutive samples leave gaps of at most 1.9 / n), whichever process holds which.
        """
        u = _uniform(self.seed, -1, self._next())  # no sample has this number
        turns = (self.index * _GOLDEN >> 11) & (2**53 - 1)  # in units of 2^-53; int64 wraps, so the fraction is exact
        return torch.remainder(u + turns.to(torch.float64) * 2.0**-53, 1.0)

    def _next(self) -> int:
        self.draw += 1
        return self.draw - 1


def _uniform(seed: int, sample: int, draw: int) -> float:
    """The number that Noise(seed, [sample], (), float64).uniform(draw) holds."""
    word, *_ = philox((0, 2 * draw + 1, sample & _LOW, sample >> 32), (seed & _LOW, seed >> 32))
    signed = (word + 2**31) % 2**32 - 2**31
    return min(signed * 2.0**-32 + 0.5, 1 - 2.0**-24)


Randomness = torch.Generator | Stream | None
"""Where random numbers come from: a torch.Generator on any device, a Stream, or None, torch's global generator."""


def randn_like(x: Tensor, generator: Randomness) -> Tensor:
    """Standard normals of the shape, dtype and device of `x` `(B, *event)`.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, len(x))
        return generator.normal(x.shape[1:], x.dtype).to(x.device)
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)


def rand(shape: Sequence[int], generator: Randomness, device: torch.device | str = "cpu") -> Tensor:
    """Uniforms in [0, 1) of `shape` `(B, ...)`, float32, on `device`.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, shape[0])
        return generator.uniform(shape[1:], torch.float32).to(device)
    drawn_on = device if generator is None else generator.device
    return torch.rand(torch.Size(shape), device=drawn_on, generator=generator).to(device)


def randn(shape: Sequence[int], generator: Randomness, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normals of `shape` `(B, ...)`; a generator must live on `device`.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, shape[0])
        return generator.normal(shape[1:], dtype).to(device)
    return torch.randn(torch.Size(shape), dtype=dtype, device=device, generator=generator)


def choice(weights: Tensor, n: int, generator: Randomness) -> Tensor:
    """Indices `(n,)` int64 of probabilities in proportion to `weights` `(K,)`; a generator must live on their device.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, n)
        edges = weights.double().cumsum(0)
        u = generator.uniform().to(edges.device) * edges[-1]
        return torch.searchsorted(edges, u, right=True).clamp(max=len(edges) - 1)
    return torch.multinomial(weights, max(n, 1), replacement=True, generator=generator)[:n]


def uniforms(n: int, generator: Randomness) -> Tensor:
    """Independent uniforms in [0, 1), `(n,)`, float64 on the CPU.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, n)
        return generator.uniform().cpu()
    device = generator.device if generator is not None else "cpu"
    return torch.rand(n, dtype=torch.float64, device=device, generator=generator).cpu()


def spread_uniforms(n: int, generator: Randomness) -> Tensor:
    """Uniforms in [0, 1) that together fill it evenly, `(n,)`, float64 on the CPU.

    One in each n-th of [0, 1), in random order; from a Stream, points of one sequence that all batches share.

    Raises:
        ValueError: for a Stream of another number of samples.
    """
    if isinstance(generator, Stream):
        _check_length(generator, n)
        return generator.spread().cpu()
    device = generator.device if generator is not None else "cpu"
    order = torch.randperm(n, generator=generator, device=device).cpu()
    return (order + uniforms(n, generator)) / max(n, 1)


def _check_length(stream: Stream, n: int) -> None:
    if len(stream.index) != n:
        raise ValueError(f"generator: a Stream of {n} samples is needed, one index for each; got {len(stream.index)}")
