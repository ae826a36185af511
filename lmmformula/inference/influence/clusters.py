r"""Influence in a model with structured residuals, by its clusters of rows.

V is block diagonal over clusters (:mod:`lmmformula.criteria.clusters`) and its inverse is held, so that (1) of
:mod:`lmmformula.inference.influence.deletion` is a sum over the clusters c that unit I has rows in::

    D = sum_c E_Ic' [(V_c^-1)_II]^-1 E_Ic,        E = V^-1 [X R^-1, y - X beta]

With ``Var(e) = sigma^2 R`` and P as in docs/notation.md the fitted values are ``y^ = (I - R P) y``, whose matrix has the
leverages, and a row that is left out is predicted from all others, those of its own residual group by their correlations too.

Cost: a factorisation for each part of a cluster that a unit has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.clusters import ClusterPoint
from lmmformula.criteria.clusters.blocks import residual_of
from lmmformula.inference.influence.taken import Taken
from lmmformula.inference.influence.units import Units
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["ClusterLinear", "of_parts"]


@dataclass(frozen=True, eq=False)
class ClusterLinear:
    """The model and its solution: what :class:`lmmformula.inference.influence.linear.Linear` says of others.

    Attributes
    ----------
    point : ClusterPoint
    x : (n, p) array
        X R^-1.
    beta, out : (p,) and (p, p) arrays
        The user's fixed effects are ``beta + out d`` where those of X R^-1 move by d.
    sigma, unit : float
        Residual standard deviation in the twin's units, and the user's over it.
    """

    point: ClusterPoint
    x: Array
    beta: Array
    out: Array
    sigma: float
    unit: float

    counts = None

    @classmethod
    def of(cls, fit: Fitted) -> ClusterLinear:
        """The model of a fit with structured residuals."""
        point: ClusterPoint = fit.optimum
        sigma = fit.standard.sigma_in(fit.estimate)
        return cls(
            point,
            point.model.problem.X.matrix @ point.half,
            fit.estimate.beta,
            fit.standard.coefficients @ point.half,
            sigma,
            fit.estimate.sigma / sigma,
        )

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def p(self) -> int:
        return self.x.shape[1]

    @property
    def r2(self) -> float:
        return self.point.r2

    @property
    def df(self) -> float:
        return float(self.point.model.n_eff)

    @property
    def dense_side(self) -> int:
        """Side of the largest dense matrix that is factorised."""
        return self.point.model.dense_side

    @property
    def score(self) -> Array:
        """V^-1 (y - X beta), (n,)."""
        return self.point.scored

    @cached_property
    def along(self) -> Array:
        """V^-1 X R^-1, (n, p)."""
        out = np.empty_like(self.x)
        for block, sums in zip(self.point.blocks, self.point.model.sums, strict=True):
            rows = sums.patterns.rows
            out[rows] = block.inverse[sums.patterns.pattern] @ self.x[rows]
        return out

    @cached_property
    def precision(self) -> Array:
        """diag(V^-1), (n,)."""
        out = np.empty(self.n)
        for block, sums in zip(self.point.blocks, self.point.model.sums, strict=True):
            out[sums.patterns.rows] = np.einsum("bii->bi", block.inverse)[sums.patterns.pattern]
        return out

    @cached_property
    def weights(self) -> Array:
        """1 / R_rr, (n,)."""
        return self._of_residuals[0]

    @property
    def fitted(self) -> Array:
        """diag(I - R P), (n,)."""
        return self._of_residuals[1]

    @cached_property
    def _of_residuals(self) -> tuple[Array, Array]:
        """1 / R_rr, and diag(I - R V^-1 + R V^-1 X (X'V^-1X)^-1 X'V^-1)."""
        point, weights, fitted = self.point, np.empty(self.n), np.empty(self.n)
        _, psi = point.model.split(point.omega)
        for block, sums in zip(point.blocks, point.model.sums, strict=True):
            r, _ = residual_of(sums.patterns, point.model.residual, psi)
            rows, at = sums.patterns.rows, sums.patterns.pattern
            weights[rows] = 1.0 / np.einsum("bii->bi", r)[at]
            own = 1.0 - np.einsum("bij,bji->bi", r, block.inverse)[at]
            along = self.along[rows]
            fitted[rows] = own + np.einsum("cij,cjp,cip->ci", r[at], along, along, optimize=True)
        return weights, fitted


def of_parts(linear: ClusterLinear, units: Units) -> Taken:
    """D of the rows of each unit."""
    p, m = linear.p, units.m
    seen = np.column_stack([linear.along, linear.score])
    out = np.zeros((m, p + 1, p + 1))
    for block, sums in zip(linear.point.blocks, linear.point.model.sums, strict=True):
        for inverse, rows in zip(block.inverse[sums.patterns.pattern], sums.patterns.rows, strict=True):
            own = units.codes[rows]
            for unit in np.unique(own):
                inside = np.flatnonzero(own == unit)
                e = seen[rows[inside]]
                out[unit] += e.T @ np.linalg.solve(inverse[np.ix_(inside, inside)], e)
    return Taken(out[:, :p, :p], out[:, :p, p], out[:, p, p])
