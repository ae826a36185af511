r"""Linear combinations of coefficients with their uncertainty, and combinations of these.

Estimates e have the Jacobian J = de/dbeta', so that ``Var(e) = J C J'``; J is the matrix of the linear functions itself unless
a scale was changed on the way. A matrix K makes K e of them, with the Jacobian K J. Of a posterior every draw is combined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.inference.uncertainty import JointTest, Uncertainty
from lmmformula.numerics.columns import column_sizes
from lmmformula.typing import Array

__all__ = ["Estimates"]

TOLERANCE = 1e-6
"""Share of one by which a combination may depend on a coefficient that is not determined."""
NOISE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Quantities that are estimated together.

    Attributes
    ----------
    point : (r,) array
    rows : (r, P) array
        J.
    excess : (r, dropped) array
        Not zero where a quantity is not estimable, see :mod:`lmmformula.inference.means.grid`.
    known : Uncertainty
        Of the coefficients that J is about.
    beta : (P,) array
        These coefficients.
    draws : (S, r) array or None
        Of a posterior.
    """

    point: Array
    rows: Array
    excess: Array
    known: Uncertainty
    beta: Array
    draws: Array | None = None

    def __len__(self) -> int:
        return len(self.point)

    @property
    def estimable(self) -> NDArray[np.bool_]:
        """Which of them the data determine."""
        bound = np.abs(self.excess).max(axis=1, initial=0.0) <= TOLERANCE
        return bound & np.isfinite(self.point)

    @property
    def value(self) -> Array:
        """Estimates; medians of draws; nan where they are not estimable."""
        centre = self.point if self.draws is None else np.median(self.draws, axis=0)
        return np.where(self.estimable, centre, np.nan)

    def errors(self) -> Array:
        """Standard errors; standard deviations of draws."""
        if self.draws is not None:
            return np.where(self.estimable, self.draws.std(axis=0, ddof=1), np.nan)
        return self._where_estimable(self.known.errors)

    def df(self) -> Array:
        """Degrees of freedom of their t tests; infinite for z and for draws."""
        if self.draws is not None:
            return np.full(len(self), np.inf)
        return self._where_estimable(self.known.df)

    def _where_estimable(self, answer: Callable[[Array], Array]) -> Array:
        out = np.full(len(self), np.nan)
        kept = self.estimable & (np.abs(self.rows).max(axis=1, initial=0.0) > 0.0)
        if kept.any():
            out[kept] = answer(self.rows[kept])
        return out

    def correlation(self) -> Array:
        """Correlation matrix, (r, r)."""
        covariance, spread = self.known.covariance, self.known.errors(self.rows)
        loose = ~np.isfinite(np.diagonal(covariance))
        tidy = np.where(loose[:, None] | loose, 0.0, covariance)
        unit = np.where(
            spread > 0.0, spread, 1.0
        )  # what does not vary, a smooth of variance zero, has no correlation
        found = self.rows @ tidy @ self.rows.T / np.outer(unit, unit)
        np.fill_diagonal(found, np.where(np.isfinite(spread), 1.0, np.nan))
        return found

    def combined(self, k: Array) -> Estimates:
        """K e for a matrix (s, r)."""
        tidy = np.where(np.isnan(k), 0.0, k)
        excess, point = tidy @ self.excess, tidy @ np.where(np.isfinite(self.point), self.point, 0.0)
        lost = np.isnan(k).any(axis=1) | ((tidy != 0.0) @ (~np.isfinite(self.point)) > 0)
        draws = None if self.draws is None else self.draws @ tidy.T
        return replace(
            self, point=np.where(lost, np.nan, point), rows=tidy @ self.rows, excess=excess, draws=draws
        )

    def taken(self, positions: Sequence[int] | NDArray[np.intp]) -> Estimates:
        """Some of them."""
        at = np.asarray(positions, dtype=np.intp)
        return replace(
            self,
            point=self.point[at],
            rows=self.rows[at],
            excess=self.excess[at],
            draws=None if self.draws is None else self.draws[:, at],
        )

    def joint(self, null: Array | float = 0.0) -> tuple[JointTest | None, int]:
        """Test that all of them are `null`, None where none is estimable; and how many dimensions are not estimable."""
        kept = self.estimable_directions()
        rank = np.linalg.matrix_rank(_scaled(self.rows)) if len(self) else 0
        if not len(kept):
            return None, int(rank)
        own = self.combined(kept)
        effects = own.point - kept @ np.broadcast_to(null, len(self))
        live = np.abs(own.rows).max(axis=1, initial=0.0) > NOISE * max(float(np.abs(own.rows).max()), 1e-300)
        if not live.any():
            return None, int(rank)
        rows, effects = own.rows[live], effects[live]
        test = self.known.joint(rows, rows @ self.beta - effects)
        return test, int(rank) - test.q

    def estimable_directions(self) -> Array:
        """Matrix whose rows span the combinations that the data determine."""
        finite = np.eye(len(self))[np.isfinite(self.point)]
        if not self.excess.shape[1] or not len(finite):
            return finite
        excess = finite @ self.excess
        if np.abs(excess).max(initial=0.0) <= TOLERANCE:
            return finite
        u, values, _ = np.linalg.svd(excess, full_matrices=True)
        free = u[:, int((values > TOLERANCE * values[0]).sum()) :]
        return free.T @ finite


def _scaled(rows: Array) -> Array:
    """Columns in units of their sizes."""
    sizes = column_sizes([rows])
    return rows / np.where(sizes > 0.0, sizes, 1.0)
