r"""A problem of several responses in standard units: each response has a unit of its own.

With c_j the unit of response j and f_j what its linear predictor is the multiple of (:mod:`lmmformula.ir.standard`), F the
diagonal matrix with f_j for each column of X that is of response j, and F_t likewise for the columns of a term::

    y_j    = c_j y_j~                      beta    = F C beta~
    Z_t~   = Z_t T_t                       b_t     = F_t T_t b_t~,        Sigma_t = r^2 F_t T_t Sigma_t~ T_t' F_t

The residual deviations are multiplied by c_j, so that phi of Gaussian responses gains log c_j, and ``d = d~ + 2 sum_j n_j log
c_j``, of REML ``- 2 sum_j p_j log f_j`` beside the ``- 2 log|C|`` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmmformula.errors import DataError
from lmmformula.families.observed import Observed
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.of_response import columns_of_response, of_response
from lmmformula.ir.problem import Problem
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.ir.responses import Segment
from lmmformula.ir.standard import Standard, standard_basis, standard_columns
from lmmformula.numerics.columns import LARGEST, root_mean_square
from lmmformula.typing import Array

__all__ = ["StandardResponses", "standard_of"]


def standard_of(problem: Problem) -> Standard:
    """The twin of a problem of one response or several."""
    return StandardResponses.of(problem) if problem.responses else Standard.of(problem)


@dataclass(frozen=True, eq=False)
class StandardResponses(Standard):
    """The twin of a problem of several responses.

    Attributes
    ----------
    own : (J,) array
        c of each response.
    rows : (n,) array
        c of each row.
    fixed : (p,) array
        f of each column of X.
    random : tuple of (k,) arrays
        f of each column of each term.
    """

    own: Array
    rows: Array
    fixed: Array
    random: tuple[Array, ...]

    @classmethod
    def of(cls, problem: Problem) -> StandardResponses:
        segments = problem.responses
        own = np.array([_unit(problem, s) for s in segments])
        slopes = np.array([_slope(c, s) for c, s in zip(own, segments, strict=True)])
        rows, along = (np.repeat(u, [s.n for s in segments]) for u in (own, slopes))
        fixed = np.repeat(slopes, [s.fixed[1] - s.fixed[0] for s in segments])
        random = tuple(_of_columns(problem, i, slopes) for i in range(len(problem.terms)))
        columns, bases = _columns(problem), _bases(problem)
        x = problem.X.matrix if columns is None else problem.X.matrix @ columns
        weights, v = problem.weights, 1.0
        if weights is not None and problem.is_linear:
            v = float(weights.mean())
            weights = weights / v
        elif weights is not None:
            weights = weights / _weight_units(segments, own)
        aux = tuple(
            (None, shift)
            for segment, c in zip(segments, own, strict=True)
            for shift in _shifts(problem, segment, float(c))
        )
        twin = replace(
            problem,
            y=_in_units(problem.y, rows),
            X=replace(problem.X, matrix=x),
            terms=tuple(t.scaled(b) for t, b in zip(problem.terms, bases, strict=True)),
            weights=weights,
            offset=None if problem.offset is None else problem.offset / along,
        )
        return cls(1.0, 1.0, v, columns, bases, aux, twin, own, rows, fixed, random)

    # -- rows ------------------------------------------------------------------------------------------------------

    def response_in(self, y: Array) -> Array:
        return _in_units(y, self.rows)

    def response_out(self, y: Array) -> Array:
        return y * self.rows

    def fixed_in(self, rows: Array) -> Array:
        """Rows of X such that their product with beta~ is eta itself."""
        return rows @ self.coefficients

    def basis_in(self, term: int, rows: Array) -> Array:
        """Rows of a term's columns, likewise."""
        return rows @ self.effects(term)

    # -- coefficients ----------------------------------------------------------------------------------------------

    @property
    def coefficients(self) -> Array:  # type: ignore[override]
        c = np.eye(len(self.fixed)) if self.columns is None else self.columns
        return self.fixed[:, None] * c

    def beta_in(self, beta: Array) -> Array:
        return np.linalg.solve(self.coefficients, beta)

    def effects(self, term: int) -> Array:
        return self.random[term][:, None] * self.bases[term]

    # -- residuals -------------------------------------------------------------------------------------------------

    @property
    def _residual_ratio(self) -> float:
        if not self.problem.is_linear:
            return 1.0
        residual = self.problem.residual
        by_rows = residual is not None and residual.variance is not None
        c = float(np.exp(np.log(self.rows).mean())) if by_rows else float(self.own[0])
        return c * float(np.sqrt(self.precision))

    def residual_in(self, psi: Array) -> Array:
        """psi of the twin."""
        return self._residual_moved(psi, 1.0 / self.own)

    def residual_out(self, psi: Array) -> Array:
        """psi in the user's units."""
        return self._residual_moved(psi, self.own)

    def _residual_moved(self, psi: Array, units: Array) -> Array:
        residual = self.problem.residual
        if residual is None:
            return psi
        phi, delta = residual.split(psi)
        if isinstance(residual.kind, OfResponses):
            phi = residual.kind.moved(phi, units)
        if residual.variance is not None:
            along = np.repeat(np.log(units), [s.n for s in self.problem.responses])
            delta = delta + residual.variance.directions.T @ along / len(along)
        return np.concatenate([phi, delta])

    def inward(self, estimate: Estimate) -> Estimate:
        return replace(super().inward(estimate), residual=self.residual_in(estimate.residual))

    def outward(self, estimate: Estimate) -> Estimate:
        return replace(super().outward(estimate), residual=self.residual_out(estimate.residual))

    def deviance_shift(self, *, restricted: bool = False) -> float:
        problem, sizes = self.problem, np.log(self.rows)
        for segment in problem.responses:
            own = segment.rows
            if problem.weights is not None and segment.family.weights_are == "repeats":
                sizes[own] *= problem.weights[own]
            measured = segment.family.distribution.measured(segment.family.own(problem.y[own]))
            if measured is not None:
                sizes[own] *= measured
        out = 2.0 * float(sizes.sum())
        if restricted:
            out -= 2.0 * float(np.log(self.fixed).sum())
            if self.columns is not None:
                out -= 2.0 * float(np.log(np.abs(np.diagonal(self.columns))).sum())
        return out


def _columns(problem: Problem) -> Array | None:
    """C, a block for each response; None for the identity."""
    found = []
    for j in range(len(problem.responses)):
        own, _ = of_response(problem, j)
        found.append(standard_columns(own, own.data.fixed, lambda chunk: chunk.fixed))
    if all(c is None for c in found):
        return None
    out = np.eye(problem.p)
    for segment, c in zip(problem.responses, found, strict=True):
        if c is not None:
            out[segment.columns, segment.columns] = c
    return out


def _bases(problem: Problem) -> tuple[Array, ...]:
    """T of each term: a block for the columns of each response's mean, sizes of those of auxiliary predictors."""
    out = []
    for i, term in enumerate(problem.terms):
        if term.predictors and len(set(term.predictors)) == 1:
            out.append(standard_basis(problem, i, term))
            continue
        assert term.basis is not None
        sizes = np.array([_size(column) for column in term.basis.T])
        out.append(np.diag(1.0 / sizes))
    for j in range(len(problem.responses)):
        own, places = of_response(problem, j)
        for i, (t, columns) in enumerate(places):
            out[t][np.ix_(columns, columns)] = standard_basis(own, i, own.terms[i])
    return tuple(out)


def _size(column: Array) -> float:
    there = column[column != 0.0]
    return root_mean_square([there]) if len(there) else 1.0


def _unit(problem: Problem, segment: Segment) -> float:
    """c: the size of a response whose family has a unit, 1 for others."""
    if segment.family.eta_power is None or segment.family.known:
        return 1.0
    y = problem.y[segment.rows]
    c = root_mean_square([y])
    c = c if np.isfinite(c) and c > 0.0 else 1.0
    if not 1.0 / LARGEST < c < LARGEST:
        raise DataError(
            f"the response {segment.name} has values of about {c:.2g}: variances in its units are beyond the range of "
            f"floating-point numbers. Give it in another unit, for example divided by {c:.0e}."
        )
    return c


def _weight_units(segments: Sequence[Segment], own: Array) -> Array:
    """What the weight of each row is the multiple of, (n,)."""
    powers = [s.family.distribution.weight_power for s in segments]
    return np.repeat(own ** np.array(powers), [s.n for s in segments])


def _in_units(y: Array, units: Array) -> Array:
    return y.in_units(units) if isinstance(y, Observed) else y / units


def _slope(c: float, segment: Segment) -> float:
    power = segment.family.eta_power
    return 1.0 if power is None else c**power


def _of_columns(problem: Problem, i: int, slopes: Array) -> Array:
    """f of each column of a term: that of the response in whose rows it is, 1 for columns of auxiliary predictors."""
    term = problem.terms[i]
    out = np.ones(term.k)
    for j, f in enumerate(slopes):
        out[columns_of_response(problem, term, j)] = f
    return out


def _shifts(problem: Problem, segment: Segment, c: float) -> list[Array]:
    """What the coefficients of the response's auxiliary predictors gain by log c."""
    out = []
    for j, parameter in zip(segment.aux, segment.family.auxiliaries, strict=False):
        columns = problem.aux[j].matrix[segment.rows]
        shift: Array = np.zeros(columns.shape[1])
        if parameter.power and c != 1.0:
            shift, *_ = np.linalg.lstsq(columns, np.ones(len(columns)), rcond=None)
            if np.abs(columns @ shift - 1.0).max() > 1e-8:
                raise DataError(
                    f"the formula of {parameter.name} of {segment.name} has no constant in the span of its columns, so that "
                    "the model depends on the units of the response: add the intercept."
                )
            shift = parameter.power * np.log(c) * shift
        out.append(shift)
    return out
