"""Two sites where a likelihood has two modes within what x0 may be: the sign of a square, a global phase.

A site (`inverse.sites`) follows one mode. A second is looked for along the line from it through the mean and beyond,

    w = -c w*,  c in PLACES:

where l(w) - |w|^2 / 2 rises again on the way out, a second search begins at the highest place. What it finds is kept
where it is another mode. Then psi is the sum of both, and w given y is the mixture of both, by their psi. Modes that
lie elsewhere are not found, nor a third.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.inverse.moments import Moments
from scorefield.inverse.sites import TIGHT, LogProb, Site, objective, root, site

PLACES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
APART = 3.0  # standard deviations of the first site, from which a mode is another
SHARE = 30.0  # nats below the first that do not count


@dataclass(frozen=True, eq=False)
class Modes:
    """The Gaussians of w given y, for R rows: one or two, and how likely each is."""

    sites: tuple[Site, ...]
    log_shares: Tensor  # (R, K), -inf for a second where there is none

    @property
    def log_psi(self) -> Tensor:
        """Of all together, `(R,)`."""
        return torch.logsumexp(torch.stack([s.log_psi for s in self.sites], 1) + self._there, 1)

    @property
    def _there(self) -> Tensor:
        return torch.where(torch.isneginf(self.log_shares), -torch.inf, 0.0)

    def chosen(self, uniform: Tensor) -> Site:
        """For each row the site that `uniform` `(R,)` picks by its share; its `log_psi` is that of the site alone."""
        if len(self.sites) == 1:
            return self.sites[0]
        one, two = self.sites
        first = uniform < self.log_shares[:, 0].exp()
        basis = None
        if one.basis is not None and two.basis is not None:
            basis = torch.where(first[:, None, None], one.basis, two.basis)
        return Site(
            torch.where(first[:, None], one.w, two.w),
            basis,
            torch.where(first[:, None], one.precision, two.precision),
            torch.where(first, one.log_psi, two.log_psi),
        )

    def take(self, index: Tensor) -> Modes:
        return Modes(tuple(s.take(index) for s in self.sites), self.log_shares[index])


def modes(log_prob: LogProb, moments: Moments, begin: Tensor | None = None) -> Modes:
    """One site or two of each row; `begin` `(R, D)` is an x0 to look from."""
    first = site(log_prob, moments, begin)
    alone = Modes((first,), torch.zeros_like(first.log_psi)[:, None])
    value = objective(log_prob, moments)
    rows = torch.arange(len(first.w), device=first.w.device)
    heights = torch.stack([value(-c * first.w, rows) for c in (-1.0, 0.0, *PLACES)], 1)
    rises = (heights.diff(dim=1) > TIGHT).cummax(1).values  # on the way out, from there on
    outside = heights[:, 1:].masked_fill(~rises, -torch.inf)
    outside[:, 0] = -torch.inf  # the mean itself, where the search has been
    where = outside.argmax(1)
    of = torch.isfinite(outside.gather(1, where[:, None]))[:, 0].nonzero()[:, 0]
    if not len(of):
        return alone
    places = torch.tensor((0.0, *PLACES), dtype=first.w.dtype, device=first.w.device)
    some = moments.take(of)
    start = some.mean + some.apply(root, -places[where[of], None] * first.w[of])
    found = site(lambda x0, r: log_prob(x0, of[r]), some, start, mean=False)
    gap = found.w - first.w[of]
    distance = gap.square() if first.basis is None else torch.bmm(first.basis[of].mT, gap[..., None])[..., 0].square()
    other = (distance * first.precision[of]).sum(1) > APART**2
    other &= found.log_psi > first.log_psi[of] - SHARE
    if not bool(other.any()):
        return alone
    kept = of[other]
    second = first.put(kept, found.take(other.nonzero()[:, 0]))
    logs = torch.full_like(first.log_psi, -torch.inf).index_copy(0, kept, second.log_psi[kept])
    return Modes((first, second), torch.log_softmax(torch.stack([first.log_psi, logs], 1), 1))
