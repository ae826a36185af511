"""What a structure across levels answers, and the precision matrix that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array, Index

END = 1e-7
"""Least share that matrices are formed with: a criterion moves by the order of this."""

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import SuperLU

__all__ = ["Across", "Precision", "Share", "full", "inverse_of"]


@dataclass(frozen=True, eq=False)
class Precision:
    """Q of one term's levels at one phi.

    Attributes
    ----------
    matrix : (m, m) csr_array
        Symmetric positive definite, both triangles; its pattern does not depend on phi.
    logdet : float
        log |Q|.
    """

    matrix: csr_array
    logdet: float

    @cached_property
    def diagonal(self) -> Array:
        """Of Q, (m,)."""
        return np.asarray(self.matrix.diagonal(), dtype=float)

    @cached_property
    def entries(self) -> tuple[Index, Index]:
        """Levels s and t of each element of `matrix`, in its order."""
        rows = np.repeat(np.arange(len(self.diagonal)), np.diff(self.matrix.indptr))
        return rows, np.asarray(self.matrix.indices)

    @cached_property
    def below(self) -> tuple[Index, Index, Array]:
        """Levels s > t and the elements of Q below its diagonal."""
        rows, cols = self.entries
        kept = rows > cols
        return rows[kept], cols[kept], np.asarray(self.matrix.data, dtype=float)[kept]

    def times(self, u: Array) -> Array:
        """(Q (x) I) u for u of (m, k) or (m, k, c)."""
        return (self.matrix @ u.reshape(len(u), -1)).reshape(u.shape)

    @cached_property
    def _factor(self) -> SuperLU:
        from scipy.sparse.linalg import splu

        options = {"SymmetricMode": True}
        return splu(self.matrix.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)

    def solve(self, u: Array) -> Array:
        """(Q (x) I)^-1 u."""
        return self._factor.solve(np.ascontiguousarray(u.reshape(len(u), -1))).reshape(u.shape)

    @cached_property
    def variances(self) -> Array:
        """Diagonal of Q^-1, (m,), by a sparse factorisation."""
        from lmmformula.numerics.sparse_cholesky import SparsePattern

        q = self.matrix
        factor = SparsePattern.of(q.indptr, q.indices).factorise(np.asarray(q.data, dtype=float))
        return factor.selected().diagonal()

    def drawn(self, z: Array) -> Array:
        """Effects with covariance Q^-1 from standard normal z (m, k): P'U^-1 D^(1/2) z of the symmetric P Q P' = L D L'."""
        lu = self._factor
        scaled = z / np.sqrt(lu.U.diagonal())[:, None]
        from scipy.sparse.linalg import spsolve_triangular

        unit = lu.L.T.tocsr()
        return spsolve_triangular(unit, scaled, lower=False)[lu.perm_c]


class Across(Protocol):
    """A structure of the levels of one term.

    One whose levels are not all shown, as further ones stand behind those that are, has `shown`, their number.
    """

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def m(self) -> int: ...

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each element of phi is."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every element of phi."""
        ...

    def start(self) -> Array:
        """Phi to begin with."""
        ...

    def precision(self, phi: Array) -> Precision:
        """Q."""
        ...

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        """dQ/dphi_j on a part of the pattern of Q, and dlog|Q|/dphi_j."""
        ...

    def natural(self, phi: Array) -> Array:
        """Phi as a reader knows it: correlations, ranges in the units of the positions."""
        ...


@runtime_checkable
class Bends(Protocol):
    """A structure whose phi has ends at which a criterion levels off, as it has none in what phi stands for."""

    def bend(self, phi: Array) -> Array:
        """``(d2r / dphi2) / (dr / dphi)`` of each element; in r, a correlation or share, a criterion has a slope at the end."""
        ...


class Settled:
    """What a structure answers that has no parameters."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def start(self) -> Array:
        return np.zeros(0)

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        return ()

    def natural(self, phi: Array) -> Array:
        return phi


class Share:
    """What a structure answers whose one parameter r is in (0, 1): ``r = sin^2 phi``.

    A criterion is even in phi around both ends, as it is in a standard deviation around zero: one that is least at r = 0 or 1
    has an ordinary minimum there, with a slope that vanishes and a curvature that does not.
    """

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.SHARE,)

    def start(self) -> Array:
        return np.full(1, 0.25 * np.pi)

    def natural(self, phi: Array) -> Array:
        """r."""
        return np.sin(phi[:1]) ** 2

    def canonical(self, phi: Array) -> Array:
        """The same r by an angle from 0 to pi / 2."""
        return np.arctan2(np.abs(np.sin(phi)), np.abs(np.cos(phi)))

    @property
    def at_one(self) -> str:
        """What r = 1 means for the estimates, where a reader must know; else empty."""
        return ""

    def slope(self, phi: Array) -> float:
        """dr / dphi."""
        return float(np.sin(2.0 * phi[0]))

    def held(self, phi: Array) -> tuple[float, float]:
        """r and 1 - r, neither below `END`, for what divides by them."""
        r = min(max(float(np.sin(phi[0]) ** 2), END), 1.0 - END)
        return r, 1.0 - r

    def bend(self, phi: Array) -> Array:
        """(d2r / dphi2) / (dr / dphi): what the slope in phi adds to the curvature, as the map to r is not linear."""
        slope = self.slope(phi)
        return np.array([2.0 * np.cos(2.0 * phi[0]) / slope if slope else 0.0])


def full(a: Array) -> csr_array:
    """A dense matrix with every element stored, also zeros, so that the pattern stays."""
    from scipy.sparse import csr_array

    m = len(a)
    return csr_array((a.ravel(), np.tile(np.arange(m), m), np.arange(0, m * m + 1, m)), shape=(m, m))


def inverse_of(a: Array, what: str) -> tuple[Array, float]:
    """A^-1 and log|A| of a symmetric positive definite A."""
    try:
        lower = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        low = float(np.linalg.eigvalsh(a)[0])
        raise DataError(
            f"{what} is not positive definite (smallest eigenvalue {low:.3g}). Two levels that are the same, or points too "
            "close for the kernel, are the likely cause; add a small amount to its diagonal, or give a precision instead."
        ) from None
    half = np.linalg.inv(lower)
    return half.T @ half, 2.0 * float(np.log(np.diagonal(lower)).sum())
