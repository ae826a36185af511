r"""The Newton system of (u, beta) for given weights, with the work on the columns of X done once.

    [ M               Lambda'Z'WX ] [ u    ]   [ t_u    ]
    [ X'W Z Lambda    X'WX        ] [ beta ] = [ t_beta ]

Eliminating u leaves ``X'V^-1X = X'WX - X'WZ Lambda M^-1 Lambda'Z'WX``, the information on beta of the working linear model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.engines.base import Factor, Stacked
from lmmformula.ir.rows import Rows, RowVector
from lmmformula.numerics.batched import flat, matmul
from lmmformula.numerics.tall import tall_transposed
from lmmformula.typing import Array

__all__ = ["JointSystem"]


@dataclass(frozen=True, eq=False)
class JointSystem:
    """The system at one L and one W.

    Attributes
    ----------
    factor : Factor
        M.
    weights : RowVector
        Diagonal of W.
    rows : Rows
    factors : tuple of (k_a, k_a) arrays
        L_a.
    """

    factor: Factor
    weights: RowVector
    rows: Rows
    factors: tuple[Array, ...]

    @cached_property
    def _columns(self) -> tuple[Stacked, Stacked, Array]:
        """C = Lambda'Z'WX, M^-1 C and X'WX; only where beta is asked for."""
        sums, square = self.rows.weighted_columns(self.weights)
        cross = tuple(matmul(f.T, s) for f, s in zip(self.factors, sums, strict=True))
        return cross, self.factor.solve(cross), square

    @property
    def fixed(self) -> Stacked:
        """M^-1 Lambda'Z'WX = Lambda'Z'V^-1X, per group (m, k, p)."""
        return self._columns[1]

    @cached_property
    def information(self) -> Array:
        """X'V^-1X, (p, p)."""
        cross, solved, out = self._columns
        for c, s in zip(cross, solved, strict=True):
            out = out - tall_transposed(flat(c), flat(s))
        return 0.5 * (out + out.T)

    def solve(self, u_rhs: Stacked, beta_rhs: Array) -> tuple[Stacked, Array]:
        """(u, beta); u alone for the upper left block if `beta_rhs` is empty. Right-hand sides (m, k) and (p,)."""
        u = tuple(x[..., 0] for x in self.factor.solve(tuple(r[..., None] for r in u_rhs)))
        if not beta_rhs.size:
            return u, beta_rhs
        target = np.array(beta_rhs)
        for c, v in zip(self._columns[0], u, strict=True):
            target -= tall_transposed(flat(c), v.ravel())
        beta = np.linalg.solve(self.information, target)
        return tuple(v - s @ beta for v, s in zip(u, self.fixed, strict=True)), beta
