r"""The Newton system of (u, beta) for given weights, with the work on the columns of X done once.

    [ M               Lambda'Z'WX ] [ u    ]   [ t_u    ]
    [ X'W Z Lambda    X'WX        ] [ beta ] = [ t_beta ]

Eliminating u leaves ``X'V^-1X = X'WX - X'WZ Lambda M^-1 Lambda'Z'WX``, the information on beta of the working linear model.

A step on the way to somewhere else need not have the columns of X at its own weights: with those of a system nearby, C_0, H_0
and S_0, it solves for u with its own M and leaves (H_0 - H) beta of it, and (S_0 - S) beta, of the order of the distance.
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

__all__ = ["FixedPart", "JointSystem"]


@dataclass(frozen=True, slots=True, eq=False)
class FixedPart:
    """What a system needs of the columns of X.

    Attributes
    ----------
    cross, solved : Stacked
        C = Lambda'Z'WX and H = M^-1 C, per group (m, k, p).
    information : (p, p) array
        S = X'V^-1X.
    """

    cross: Stacked
    solved: Stacked
    information: Array


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
    near : FixedPart, optional
        That of a system nearby, which is taken in place of its own.
    """

    factor: Factor
    weights: RowVector
    rows: Rows
    factors: tuple[Array, ...]
    near: FixedPart | None = None

    @cached_property
    def fixed_part(self) -> FixedPart:
        """The columns of X; only where beta is asked for."""
        if self.near is not None:
            return self.near
        sums, out = self.rows.weighted_columns(self.weights)
        cross = tuple(matmul(f.T, s) for f, s in zip(self.factors, sums, strict=True))
        solved = self.factor.solve(cross)
        for c, s in zip(cross, solved, strict=True):
            out = out - tall_transposed(flat(c), flat(s))
        return FixedPart(cross, solved, 0.5 * (out + out.T))

    @property
    def fixed(self) -> Stacked:
        """M^-1 Lambda'Z'WX = Lambda'Z'V^-1X, per group (m, k, p)."""
        return self.fixed_part.solved

    @property
    def information(self) -> Array:
        """X'V^-1X, (p, p)."""
        return self.fixed_part.information

    def solve(self, u_rhs: Stacked, beta_rhs: Array) -> tuple[Stacked, Array]:
        """(u, beta); u alone for the upper left block if `beta_rhs` is empty. Right-hand sides (m, k) and (p,)."""
        u = tuple(x[..., 0] for x in self.factor.solve(tuple(r[..., None] for r in u_rhs)))
        if not beta_rhs.size:
            return u, beta_rhs
        target = np.array(beta_rhs)
        for c, v in zip(self.fixed_part.cross, u, strict=True):
            target -= tall_transposed(flat(c), v.ravel())
        beta = np.linalg.solve(self.information, target)
        return tuple(v - s @ beta for v, s in zip(u, self.fixed, strict=True)), beta
