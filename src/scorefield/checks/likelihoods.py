"""What a likelihood owes the methods that draw from its posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from scorefield.checks.base import Check, close, listed, require, run
from scorefield.inverse.measurement import Likelihood

DTYPES = ((torch.float32, 1e-4), (torch.float64, 1e-9))


def of_likelihood(likelihood: Likelihood, x0: Tensor | None = None) -> list[Check]:
    """The clauses of `check_likelihood`, each by itself."""
    if x0 is None:
        generator = torch.Generator().manual_seed(0)
        shape = (len(likelihood), *likelihood.event_shape)
        x0 = torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")
    clauses = {
        "one number a row": lambda: _check_shapes(likelihood, x0),
        "no row sees another": lambda: _check_apart(likelihood, x0),
        "rows are observations": lambda: _check_rows(likelihood, x0),
        "a gradient": lambda: _check_gradient(likelihood, x0),
    }
    return listed(likelihood, clauses)


def check_likelihood(likelihood: Likelihood, x0: Tensor | None = None) -> None:
    """log_prob is (B,), finite and of x0's dtype; `rows` takes any rows, with repetitions; no row sees another's x0;
    and the gradient is that of the value, by central differences along a line.

    Args:
        likelihood: of at least one observation.
        x0: `(B, *event_shape)` float64, where it is asked; standard normal unless given.

    Raises:
        AssertionError: with the clause that failed and the numbers.
    """
    run(of_likelihood(likelihood, x0))


def _check_shapes(likelihood: Likelihood, x0: Tensor) -> None:
    b = len(likelihood)
    require(b > 0, "a likelihood to check has at least one observation", b)
    want = (b, *likelihood.event_shape)
    require(tuple(x0.shape) == want, f"x0 must be (B, *event_shape), {want}", tuple(x0.shape))
    for dtype, _ in DTYPES:
        value = likelihood.log_prob(x0.to(dtype))
        require(value.shape == (b,), f"log_prob must be (B,), ({b},)", tuple(value.shape))
        require(value.dtype == dtype, f"log_prob must have the dtype of x0, {dtype}", value.dtype)
        require(bool(torch.isfinite(value).all()), "log_prob must be finite at x0", value)


def _check_rows(likelihood: Likelihood, x0: Tensor) -> None:
    b = len(likelihood)
    index = torch.tensor([b - 1, 0, b - 1, b // 2], device=x0.device)
    some = likelihood.rows(index)
    require(len(some) == 4, "rows(index) must have a row for each number, repeated ones too: 4", len(some))
    for dtype, tolerance in DTYPES:
        x = x0.to(dtype)
        whole = likelihood.log_prob(x)[index]
        close(some.log_prob(x[index]), whole, "rows(index) must be the observations of those numbers", tolerance)


def _check_apart(likelihood: Likelihood, x0: Tensor) -> None:
    moved = x0.clone()
    moved[1:] = moved[1:].flip(0) * 0.5
    before, after = likelihood.log_prob(x0)[:1], likelihood.log_prob(moved)[:1]
    close(after, before, "log_prob of a row must not change with the x0 of others", DTYPES[1][1])


def _check_gradient(likelihood: Likelihood, x0: Tensor) -> None:
    x = x0.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = likelihood.log_prob(x).sum()
        require(value.requires_grad, "log_prob must have a gradient that torch can take", "none")
        (gradient,) = torch.autograd.grad(value, x)
    require(bool(torch.isfinite(gradient).all()), "the gradient must be finite at x0", gradient)
    generator = torch.Generator().manual_seed(1)
    step = 1e-5 * torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device="cpu").to(x0.device)
    along = (gradient * step).flatten(1).sum(1)
    moved = (likelihood.log_prob(x0 + step) - likelihood.log_prob(x0 - step)) / 2
    close(moved / 1e-5, along / 1e-5, "the gradient must be that of log_prob", 1e-3)
