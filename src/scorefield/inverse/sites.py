"""Any log-likelihood seen as a Gaussian: Laplace's method, about what x0 may be given x_t.

With x0 = m + S w, w ~ N(0, I), S = C^(1/2) the symmetric root, the integral that a twist stands for is

    int p(y | m + S w) N(w; 0, I) dw ~ exp(l(w*) - |w*|^2 / 2) / sqrt det(I + M),    l(w) = log p(y | m + S w),

w* the maximum of l(w) - |w|^2 / 2 and M = -d2 l / dw2 there; given y, w is about N(w*, (I + M)^-1). For linear
measurements with Gaussian noise all of it is exact.

M is taken as a difference of gradients over one standard deviation of that Gaussian itself, found by iterating: a
likelihood with a kink (Laplace noise) or a plateau has the curvature that it has over that width, and no second
derivative is asked for. Negative curvature counts as none. M is whole where the event has up to DENSE numbers or C is
a matrix, else its diagonal by one vector of signs: exact where each measurement sees one number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.denoisers.gradients import differentiable
from scorefield.inverse.moments import Isotropic, Moments

DENSE = 128
ROUNDS = 6  # of Newton's method, at most
HALVINGS = 8
TIGHT = 1e-2  # nats: less is not looked for, since the weights put right what a site gets wrong

LogProb = Callable[[Tensor, Tensor], Tensor]  # (x0 (n, D), which rows (n,)) -> log p(y | x0), (n,)


def root(value: Tensor) -> Tensor:
    return torch.sqrt(value)


@dataclass(frozen=True, eq=False)
class Site:
    """The Gaussian of w given y, for R rows of D numbers."""

    w: Tensor  # (R, D), its mode
    basis: Tensor | None  # (R, D, D): I + M = basis diag(precision) basis^T; None where M is a diagonal
    precision: Tensor  # (R, D), at least 1
    log_psi: Tensor  # (R,)

    def narrowed(self, z: Tensor) -> Tensor:
        """(I + M)^(-1/2) z."""
        return _scaled(self.basis, self.precision.rsqrt(), z)

    @property
    def log_det(self) -> Tensor:
        """log det(I + M), `(R,)`."""
        return self.precision.log().sum(1)

    def take(self, index: Tensor) -> Site:
        basis = None if self.basis is None else self.basis[index]
        return Site(self.w[index], basis, self.precision[index], self.log_psi[index])

    def put(self, index: Tensor, other: Site) -> Site:
        """The rows of those numbers replaced by those of `other`, in that order."""
        basis = (
            self.basis if other.basis is None or self.basis is None else self.basis.index_copy(0, index, other.basis)
        )
        w, precision = (getattr(self, n).index_copy(0, index, getattr(other, n)) for n in ("w", "precision"))
        return Site(w, basis, precision, self.log_psi.index_copy(0, index, other.log_psi))

    def log_prob(self, w: Tensor) -> Tensor:
        """Of w, `(R,)`, less that of a standard normal's largest value, -(D/2) log 2 pi."""
        gap = w - self.w
        inside = gap if self.basis is None else torch.bmm(self.basis.mT, gap[..., None])[..., 0]
        return (self.log_det - (self.precision * inside.square()).sum(1)) / 2


def objective(log_prob: LogProb, moments: Moments) -> LogProb:
    """l(w) - |w|^2 / 2 of w `(R, D)`, for those rows; -inf where it is not finite."""

    def at(w: Tensor, rows: Tensor) -> Tensor:
        value = log_prob(moments.mean + moments.apply(root, w), rows) - w.square().sum(1) / 2
        return torch.where(torch.isfinite(value), value, -torch.inf)

    return at


def site(log_prob: LogProb, moments: Moments, begin: Tensor | None = None, *, mean: bool = True) -> Site:
    """The site of each row, looked for from the mean, or from `begin` `(R, D)` where that is better; `mean`: or not.

    Without a `begin` it is one standard deviation of every number, so that a likelihood that is even about the mean,
    which has no gradient there, is left. Where a log-probability is not finite the search does not go.
    """
    centre = moments.mean
    rows = torch.arange(len(centre), device=centre.device)
    dense = centre.shape[1] <= DENSE or not isinstance(moments, Isotropic)
    measure = objective(log_prob, moments)

    def at(w: Tensor) -> Tensor:
        return centre + moments.apply(root, w)

    def gradient(x0: Tensor, of: Tensor) -> Tensor:
        """d log p(y | x0) / dx0."""
        with differentiable():
            x0 = x0.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(log_prob(x0, of).sum(), x0)
        return found.nan_to_num(0.0, 0.0, 0.0)

    def curvature(w: Tensor, basis: Tensor | None, precision: Tensor) -> tuple[Tensor | None, Tensor]:
        """I + M, from gradients one standard deviation of the last one to either side."""
        r, d = w.shape
        width = precision.rsqrt()
        if not dense:
            v = signs(w) * moments.apply(root, width)
            m = -(gradient(at(w) + v, rows) - gradient(at(w) - v, rows)) / (2 * v)
            return None, 1 + (m * moments.spectrum).clamp(min=0)
        assert basis is not None
        sides = moments.apply(root, basis * width[:, None]).mT  # (R, D, D): row i, a width along direction i
        points = (at(w)[:, None, None] + torch.stack([sides, -sides], 2)).reshape(-1, d)
        found = gradient(points, rows.repeat_interleave(2 * d)).reshape(r, d, 2, d)
        m = moments.apply(root, ((found[:, :, 1] - found[:, :, 0]) / (2 * width[..., None])).mT)  # column i: M along_i
        m = torch.bmm(m, basis.mT)
        values, vectors = torch.linalg.eigh((m + m.mT) / 2)
        return vectors, 1 + values.clamp(min=0)

    w = signs(centre).expand_as(centre) if begin is None else _inverse(moments, begin - centre)
    value = measure(w, rows)
    if mean:
        middle = torch.zeros_like(w)
        there = measure(middle, rows)
        w = torch.where((value > there)[:, None], w, middle)
        value = torch.maximum(there, value)
    r, d = centre.shape
    basis = torch.eye(d, dtype=w.dtype, device=w.device).expand(r, d, d) if dense else None
    precision, searching = torch.ones_like(w), torch.ones(r, dtype=torch.bool, device=w.device)
    for _ in range(ROUNDS):  # each row until it gains no more, whatever the others do
        found = curvature(w, basis, precision)
        precision = torch.where(searching[:, None], found[1], precision)
        if basis is not None and found[0] is not None:
            basis = torch.where(searching[:, None, None], found[0], basis)
        step = _scaled(basis, 1 / precision, moments.apply(root, gradient(at(w), rows)) - w)
        gained = torch.zeros_like(value)
        for k in range(HALVINGS):
            tried = w + step / 2**k
            there = measure(tried, rows)
            better = searching & (there > value) & (gained == 0)
            gained = torch.where(better, there - value, gained)
            w, value = torch.where(better[:, None], tried, w), torch.where(better, there, value)
            if bool((gained > 0)[searching].all()):
                break
        searching = searching & (gained >= TIGHT)
        if not bool(searching.any()):
            break
    basis, precision = curvature(w, basis, precision)
    return Site(w, basis, precision, value - precision.log().sum(1) / 2)


def signs(like: Tensor) -> Tensor:
    """+1 and -1 by the place of a number alone, `(D,)`."""
    places = torch.arange(like.shape[1], device=like.device)
    return 1.0 - 2.0 * ((places * 2654435761) % 2**32 >= 2**31).to(like)


def _scaled(basis: Tensor | None, by: Tensor, v: Tensor) -> Tensor:
    """basis diag(by) basis^T v."""
    if basis is None:
        return by * v
    inside = by * torch.bmm(basis.mT, v[..., None])[..., 0]
    return torch.bmm(basis, inside[..., None])[..., 0]


def _inverse(moments: Moments, v: Tensor) -> Tensor:
    """S^-1 v, 0 where S is."""
    return moments.apply(lambda c: torch.where(c > 0, c.clamp(min=1e-300).rsqrt(), 0.0), v)
