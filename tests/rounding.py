"""What two kernels may differ by, and a stand-in for a processor whose kernels differ with every shape.

A library adds the n terms of a product in an order that it chooses by the processor and by the shapes, so by the batch.
With u = eps / 2 each order, fused or not, is off by at most (Higham 2002, Accuracy and stability, section 3.1)

    |fl(w . x) - w . x| <= gamma_n |w| . |x|,    gamma_n = n u / (1 - n u),

and two of them differ by at most 2 gamma_n |w| . |x|, about n units in the last place (`product`). To what is computed
from products such differences are carried, to first order, by a condition number. `condition` measures it: every
product P of a run is replaced by P + delta s |w| . |x| with signs s that know nothing of each other, and the run's
result moves by delta times that number. Two runs on other kernels then differ by at most 2 gamma_n times it
(`carried`), n being the longest sum. `same` asks for one of these bounds.

Bits may be asked for where nothing is multiplied but entry by entry, and where all products have the same shapes and a
sample the same place in them (`products`).

Where an entry has one term that is not zero there is nothing to order, and the stand-in leaves it alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BILINEAR = {"mm", "bmm", "mv", "dot", "addmm", "addmv", "addbmm", "baddbmm", "convolution", "_sparse_mm"}
OTHERS = {
    "convolution_backward", "linalg_cholesky_ex", "cholesky_solve", "linalg_solve_triangular", "_linalg_solve_ex",
    "linalg_inv_ex", "_linalg_eigh", "_linalg_svd", "linalg_qr", "linalg_lstsq", "_fft_r2c", "_fft_c2c", "_fft_c2r",
    "_scaled_dot_product_flash_attention_for_cpu",
}  # fmt: skip


def gamma(terms: int, dtype: torch.dtype) -> float:
    """The relative error of a sum of `terms` products, at most."""
    nu = terms * torch.finfo(dtype).eps / 2
    return nu / (1 - nu)


def product(w: Tensor, x: Tensor) -> Tensor:
    """By how much two kernels may differ in `x @ w.T`, entry by entry; w `(M, N)` and x `(B, N)`."""
    size = w.abs().double() @ x.abs().double().T
    return 2 * gamma(w.shape[1], x.dtype) * size.T


def condition(run: Callable[[], Tensor], dtype: torch.dtype) -> float:
    """How far the result of `run` moves, at most, for a relative change of 1 in every product on the way to it.

    Of four draws of the changes. delta is the root of eps: above the rounding, below what is not linear. 0 where
    nothing moves, and `carried` asks for bits.
    """
    result = run()
    delta = torch.finfo(dtype).eps ** 0.5
    moved = torch.zeros((), dtype=result.dtype)
    for draw in range(4):
        with OtherKernels(delta, draw):
            moved = torch.maximum(moved, (run() - result).abs().max())
    assert bool(torch.isfinite(moved))
    return float(moved) / delta


def carried(run: Callable[[], Tensor], terms: int, dtype: torch.dtype) -> float:
    """By how much the result of `run`, whose products are computed in `dtype`, may differ on other kernels."""
    return 2 * gamma(terms, dtype) * condition(run, dtype)


def same(got: Tensor, want: Tensor, bound: Tensor | float) -> None:
    """Asserts |got - want| <= bound, entry by entry."""
    assert got.shape == want.shape
    apart = torch.where(got == want, 0.0, (got - want).abs().double())
    ratio = apart / torch.as_tensor(bound, dtype=torch.float64).clamp(min=1e-300)
    worst = float(ratio.max()) if ratio.numel() else 0.0
    assert worst <= 1, f"{worst:.3g} times what rounding explains"


def products(run: Callable[[], Tensor]) -> tuple[Tensor, set[tuple[str, tuple[torch.Size, ...]]]]:
    """The result of `run`, and the products on the way to it: their names, with the shapes of what they multiply."""
    with _Seen() as seen:
        result = run()
    return result, seen.found


class _Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[torch.Size, ...]]] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in BILINEAR | OTHERS:
            self.found.add((name, tuple(a.shape for a in args if isinstance(a, Tensor))))
        return func(*args, **(kwargs or {}))


class OtherKernels(TorchDispatchMode):
    """Moves every product, convolution, solve and Fourier transform by `size` of what it adds up, up or down.

    Which way is a function of the shapes and the place in the result, as the order of summation is for a library, and
    of `draw`. Without a size it is one unit in the last place.
    """

    def __init__(self, size: float | None = None, draw: int = 0) -> None:
        super().__init__()
        self.size, self.draw = size, draw

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func._can_decompose():  # nothing takes it apart before it gets here
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result, name = func(*args, **kwargs), func._schema.name.removeprefix("aten::")
        if name not in BILINEAR | OTHERS:
            return result
        key = repr((name, self.draw, [tuple(a.shape) for a in args if isinstance(a, Tensor)]))
        signs = torch.Generator().manual_seed(zlib.crc32(key.encode()))

        def moved(out: Any, scale: Tensor | None) -> Any:
            if not isinstance(out, Tensor) or not (out.is_floating_point() or out.is_complex()) or not out.numel():
                return out
            up = torch.randint(0, 2, out.shape, generator=signs).to(out.device, out.real.dtype) * 2 - 1
            size = torch.finfo(out.dtype).eps if self.size is None else self.size
            return out + size * up * (_rows(out) if scale is None else scale)

        if name in BILINEAR:
            value = moved(result, _size(func, args, kwargs))
            return result.copy_(value) if "out" in kwargs else value
        return type(result)(moved(r, None) for r in result) if isinstance(result, tuple) else moved(result, None)


def _rows(out: Tensor) -> Tensor:
    """The largest of each row, whoever else is there."""
    return out.abs().reshape(len(out), -1).amax(1).reshape(-1, *[1] * (out.ndim - 1)) if out.ndim else out.abs()


def _size(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The same of the absolute values, and 0 where at most one of the terms is not."""
    kwargs = {k: v for k, v in kwargs.items() if k != "out"}
    of = lambda f: func(*[f(a) if isinstance(a, Tensor) else a for a in args], **kwargs)  # noqa: E731
    if any(a.layout != torch.strided for a in args if isinstance(a, Tensor)):
        return of(torch.abs)
    terms = of(lambda a: (a != 0).to(a.dtype))
    return of(torch.abs) * (terms > 1.5)
