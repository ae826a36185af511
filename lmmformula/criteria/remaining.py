"""The Gaussian criterion on some of the rows, with the levels, patterns and engine of all of them.

Rows with weight zero add nothing to a Gram, so the criterion of the rows that stay is the one of all rows under weights that
are zero elsewhere, but for their number and for log|W|. A level without rows has u = 0 and log|M| = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.profiled import Profiled
from lmmformula.ir.blocks import Gram
from lmmformula.ir.rows import RowVector, total
from lmmformula.numerics.least_squares import least_squares

__all__ = ["Remaining"]


@dataclass(frozen=True, eq=False)
class Remaining(Profiled):
    """The criterion of rows that stay.

    Attributes
    ----------
    n_left : int or float
        How many they are; where weights repeat rows, the sum of theirs.
    """

    n_left: float = 0.0

    @classmethod
    def of_rows(cls, model: Profiled, stays: RowVector) -> Remaining:
        """Where `stays` is one, and not where it is zero; X has full rank on them. O(n (p + sum k)^2)."""
        rows = model.problem.data.over(model.prepared.blocks)
        y, w = model.target, stays
        if rows.weights is not None:
            (w,) = rows.map(lambda chunk, stays: (chunk.weights * stays,), stays)
        ols = least_squares(rows.fixed, y, w)
        raw = rows.gram(w, fixed=True, more=(ols.residual,))
        gram = Gram(raw.diag, raw.cross, tuple(ols.orthonormal(r) for r in raw.rhs), ols.orthonormal_gram)
        repeated, log_w = model.problem.family.repeated, 0.0
        if rows.weights is not None and not repeated:
            log_w = rows.reduce(lambda chunk, stays: float(np.log(chunk.weights[stays != 0.0]).sum()), stays)
        left = total(rows, w if repeated else stays)
        return cls(model.problem, model.reml, model.prepared, gram, ols, log_w, left)

    @property
    def n_eff(self) -> float:
        """Degrees of freedom of sigma^2."""
        return self.n_left - (self.problem.p if self.reml else 0)
