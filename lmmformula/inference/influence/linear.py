"""The linear mixed model of a fit in coordinates in which its information on the fixed effects is the identity.

With R'R = X'V^-1X the columns of X are replaced by those of X R^-1, in the standard units of :mod:`lmmformula.ir.standard`.
Then ``(X R^-1)'V^-1 (X R^-1) = I``, a deletion takes a matrix between 0 and I away from it, and what is left says without a
unit how much is still known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.criteria.leverage import leverage
from lmmformula.criteria.linearised import Linearised
from lmmformula.engines.base import Across, Factor, Prepared, Stacked
from lmmformula.errors import PlanError
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Linear"]


@dataclass(frozen=True, eq=False)
class Linear:
    """The model and its solution.

    Attributes
    ----------
    rows : MemoryRows
    blocks : Blocks
        Groups and their rows.
    factors : tuple of (k_a, k_a) arrays
        L_a.
    factor : Factor
        M.
    prepared : Prepared
        The engine that makes it.
    across : sequence of Precision or None
        Q_a of each group.
    terms : tuple of GroupBlock
    x : (n, p) array
        X R^-1.
    weights : (n,) array
        Diagonal of W.
    score : (n,) array
        V^-1 (z - X beta).
    effects : tuple of (m_a, k_a, p + 1) arrays
        ``M^-1 Lambda'Z'W [X R^-1, z - X beta]``: H and u.
    beta, out : (p,) and (p, p) arrays
        The user's fixed effects are ``beta + out d`` where those of X R^-1 move by d.
    sigma : float
        Residual standard deviation in standard units; 1 where there is none.
    unit : float
        The user's sigma over it.
    r2, df : float
        Penalised residual sum of squares, and the degrees of freedom that sigma^2 divides it by; nan where sigma is not
        estimated so.
    counts : (n,) array or None
        Weights that repeat rows.
    """

    rows: MemoryRows
    blocks: Blocks
    factors: tuple[Array, ...]
    factor: Factor
    prepared: Prepared
    across: Across
    terms: tuple[GroupBlock, ...]
    x: Array
    weights: Array
    score: Array
    effects: Stacked
    beta: Array
    out: Array
    sigma: float
    unit: float
    r2: float
    df: float
    counts: Array | None

    @classmethod
    def of(cls, fit: Fitted) -> Linear:
        """The model of a fit that is no posterior.

        Raises
        ------
        PlanError
            Where rows are not in memory, or M^-1 is known with errors only.
        """
        point, standard = fit.optimum, fit.standard
        problem = point.model.problem
        if problem.held is not None:
            raise PlanError(
                "influence() goes through the rows of the fit one by one, and these are not in memory: fit to a table of the "
                "columns that are needed."
            )
        own: Linearised = point.linearised
        if not own.is_exact:
            raise PlanError(
                f"influence() needs M^-1 exactly, which a fit by {fit.method} on this engine estimates: fit again with "
                "engine='blocked', or with traces='exact' for method='pql'."
            )
        prepared = own.prepared
        blocks = cast("Blocks", prepared.blocks)
        rows = cast("MemoryRows", problem.data).over(blocks)
        sigma = standard.sigma_in(fit.estimate)
        gaussian = fit.inference.is_gaussian
        return cls(
            rows=rows,
            blocks=blocks,
            factors=point.factors,
            factor=own.factor,
            prepared=prepared,
            across=own.across,
            terms=problem.terms,
            x=problem.X.matrix @ point.half,
            weights=np.ones(problem.n) if own.weights is None else own.weights,
            score=own.score,
            effects=tuple(
                np.concatenate([h, u[:, :, None]], axis=2) for h, u in zip(point.h, point.u, strict=True)
            ),
            beta=fit.estimate.beta,
            out=standard.coefficients @ point.half,
            sigma=sigma,
            unit=fit.estimate.sigma / sigma,
            r2=point.r2 if gaussian else np.nan,
            df=float(point.model.n_eff) if gaussian else np.nan,
            counts=problem.weights if problem.family.repeated else None,
        )

    @property
    def dense_side(self) -> int:
        """Side of the largest dense matrix that is factorised."""
        return self.prepared.dense_side

    @property
    def n(self) -> int:
        return len(self.score)

    @property
    def p(self) -> int:
        return self.x.shape[1]

    def without(self, among: Collection[int]) -> Array:
        """[X R^-1, z - X beta] less the part that the effects of the groups `among` have in its solution, (n, p + 1)."""
        apart = range(len(self.factors))
        out = np.column_stack([self.x - self._random(among)[:, :-1], self.residual])
        out[:, -1] += self._random([a for a in apart if a not in among])[:, -1]
        return out

    def _random(self, among: Collection[int]) -> Array:
        """Z Lambda `effects` of some groups, (n, p + 1)."""
        out = np.zeros((self.n, self.p + 1))
        for a, own in enumerate(self.blocks.own):
            if a in among:
                values = self.factors[a] @ self.effects[a]
                for part in own.parts:
                    rows = values[part.codes]
                    out += rows[:, 0] if part.basis is None else np.einsum("nk,nkp->np", part.basis, rows)
        return out

    @cached_property
    def along(self) -> Array:
        """V^-1 X R^-1, (n, p)."""
        return self.weights[:, None] * (self.x - self._random(range(len(self.factors)))[:, :-1])

    @cached_property
    def spread(self) -> Array:
        """diag(Z Lambda M^-1 Lambda'Z'), (n,)."""
        return leverage(self.rows, self.factors, self.factor.inverse())

    @property
    def fitted(self) -> Array:
        """diag(I - W^-1 P), (n,)."""
        about = np.einsum("np,np->n", self.along, self.along)
        own = np.divide(about, self.weights, out=np.zeros(self.n), where=self.weights != 0.0)
        return self.weights * self.spread + own

    @property
    def precision(self) -> Array:
        """diag(V^-1), (n,)."""
        return self.weights * (1.0 - self.weights * self.spread)

    @property
    def residual(self) -> Array:
        """z - X beta - Z b; zero where a row has no weight."""
        return np.divide(self.score, self.weights, out=np.zeros(self.n), where=self.weights != 0.0)
