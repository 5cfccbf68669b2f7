"""K covariances in the form that noise leaves alone.

    C_k = U_k diag(w_k) U_k^T + c_k (I - U_k U_k^T),      U_k (D, R) with orthonormal columns

and alpha^2 C_k + sigma^2 I has the same U_k, with alpha^2 w + sigma^2 and alpha^2 c + sigma^2. One form holds

    isotropic        R = 0
    diagonal         R = D, U = I, not stored
    factor + c I     R = the number of factors
    dense            R = D

For R = D nothing is left outside the basis and c, the largest variance, is only what gains are measured from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spectrum:
    """All float64. `basis` `(K, D, R)` or None for the coordinate axes; `variances` `(K, R)`; `rest` `(K,)`."""

    basis: Tensor | None
    variances: Tensor
    rest: Tensor
    dim: int

    @property
    def rank(self) -> int:
        return self.variances.shape[1]

    @property
    def outside(self) -> int:
        """Dimensions outside the basis, whose variance is `rest`."""
        return self.dim - self.rank

    @classmethod
    def from_diagonal(cls, variances: Tensor, name: str = "covariances") -> Self:
        variances = variances.double()
        if float(variances.min()) <= 0:
            raise ValueError(f"{name}, given as variances, must be positive; got a smallest one of {variances.min():g}")
        if bool((variances == variances[:, :1]).all()):
            return cls(None, variances[:, :0], variances[:, 0].clone(), variances.shape[1])
        return cls(None, variances, variances.amax(1), variances.shape[1])

    @classmethod
    def from_dense(cls, matrices: Tensor, name: str = "covariances") -> Self:
        asymmetry = float((matrices - matrices.mT).abs().max())
        scale = float(matrices.abs().max())
        if asymmetry > 1e-5 * scale:
            raise ValueError(f"{name} must be symmetric; got entries that differ from the transpose by {asymmetry:g}")
        matrices = (matrices.double() + matrices.double().mT) / 2
        diagonal = matrices.diagonal(dim1=1, dim2=2)
        if bool((matrices == torch.diag_embed(diagonal)).all()) and float(diagonal.min()) > 0:
            return cls.from_diagonal(diagonal.clone(), name)
        variances, basis = torch.linalg.eigh(matrices)
        smallest = variances[:, 0] / variances[:, -1].clamp(min=torch.finfo(torch.float64).tiny)
        k = int(smallest.argmin())
        if float(smallest[k]) <= torch.finfo(torch.float64).eps * matrices.shape[1]:
            which = name if len(matrices) == 1 else f"{name}[{k}]"
            raise ValueError(
                f"{which} must be positive definite; got eigenvalues from {variances[k, 0]:g} to {variances[k, -1]:g}"
            )
        return cls(basis, variances, variances[:, -1].clone(), matrices.shape[1])

    @classmethod
    def from_low_rank(cls, diagonal: Tensor, factor: Tensor) -> Self:
        """diag(diagonal) + factor factor^T: `(K, D)`, `(K, D, R)`. Only a constant diagonal keeps the rank."""
        if float(diagonal.min()) <= 0:
            raise ValueError(f"diagonal must be positive; got a smallest entry of {float(diagonal.min()):g}")
        diagonal, factor = diagonal.double(), factor.double()
        if not bool((diagonal == diagonal[:, :1]).all()) or factor.shape[2] >= factor.shape[1]:
            return cls.from_dense(torch.diag_embed(diagonal) + factor @ factor.mT, "diagonal + factor factor^T")
        basis, singular, _ = torch.linalg.svd(factor, full_matrices=False)
        return cls(basis.contiguous(), diagonal[:, :1] + singular**2, diagonal[:, 0].clone(), diagonal.shape[1])

    @classmethod
    def from_root(cls, root: Tensor) -> Self:
        """root root^T, `(K, D, D)`, keeping the relative accuracy of small variances that the product would lose."""
        basis, singular, _ = torch.linalg.svd(root)
        return cls(basis.contiguous(), singular**2, singular[:, 0] ** 2, root.shape[1])

    def noised(self, alpha: float, sigma: float) -> Spectrum:
        return Spectrum(self.basis, alpha**2 * self.variances + sigma**2, alpha**2 * self.rest + sigma**2, self.dim)

    def to(self, device: torch.device) -> Spectrum:
        basis = None if self.basis is None else self.basis.to(device)
        return Spectrum(basis, self.variances.to(device), self.rest.to(device), self.dim)

    def marginal(self) -> Tensor:
        """The diagonals, `(K, D)`."""
        if self.basis is None:
            return self.variances if self.rank else self.rest[:, None].expand(-1, self.dim)
        excess = self.variances if not self.outside else self.variances - self.rest[:, None]
        inside = (self.basis**2 @ excess[:, :, None])[:, :, 0]
        return inside if not self.outside else inside + self.rest[:, None]

    def dense(self) -> Tensor:
        """The matrices, `(K, D, D)`."""
        return self.function(self.variances, self.rest)

    def root(self) -> Tensor:
        """The symmetric square roots, `(K, D, D)`."""
        return self.function(self.variances.sqrt(), self.rest.sqrt())

    def function(self, variances: Tensor, rest: Tensor) -> Tensor:
        """U diag(variances) U^T + rest (I - U U^T), `(..., K, D, D)` for `(..., K, R)` and `(..., K)`."""
        if self.basis is None:
            return torch.diag_embed(variances if self.rank else rest[..., None].expand(*rest.shape, self.dim))
        if not self.outside:
            return (self.basis * variances[..., None, :]) @ self.basis.mT
        eye = torch.eye(self.dim, dtype=self.basis.dtype, device=self.basis.device)
        return (self.basis * (variances - rest[..., None])[..., None, :]) @ self.basis.mT + rest[..., None, None] * eye
