r"""A problem in standard units, and the way back.

The likelihood of a mixed model does not depend on the units and the origin of its columns, but a search does: where it
starts, how far it steps, what it takes for zero. So a problem is fitted as a twin whose columns are of unit size, centred where
the span allows; the twins of two problems that differ in units and origins only are one and the same up to rounding. With a
tilde for the twin::

    y      = c y~                          eta = f eta~,  f = c^q for a link with eta(c mu) = c^q eta(mu)
    W      = v W~                          (one residual variance, or weights in units of the response)
    X~     = X C                           beta    = f C beta~
    Z_t~   = Z_t T_t                       b_t     = f T_t b_t~,        Sigma_t = r^2 T_t Sigma_t~ T_t'

sigma is multiplied by s: ``s = c sqrt(v)`` for the one residual variance, ``c^power`` for a scale that is a parameter of the
family, else 1; r = f / s because Sigma is relative to sigma^2. T_t is what the term's covariance kind allows
(:attr:`CovarianceKind.closed_under`): with a constant in the span of the columns, an unstructured term is centred and
scaled, others are scaled.

The density of y is that of y~ divided by c, so ``d = d~ + 2 n log c``; REML integrates over beta too, of which there is

    d = d~ + 2 (n - p) log c - 2 log|C|

(v cancels: it multiplies r2 and divides |V|). X is left as it is, C = I, unless a column lies far from zero or the columns'
lengths differ widely, since every engine is equivariant in X but for rounding, and X is what is large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk, Each, Units, range_of
from lmmformula.numerics.columns import (
    LARGEST,
    column_sizes,
    constant_combination,
    root_mean_square,
    standardising,
    uneven,
)
from lmmformula.numerics.tall import Columns
from lmmformula.typing import Array

__all__ = ["Standard"]


@dataclass(frozen=True, eq=False)
class Standard(Units):
    """A problem's twin in standard units.

    Attributes
    ----------
    problem : Problem
        The twin, in which searches move and criteria are evaluated.
    """

    problem: Problem

    @classmethod
    def of(cls, problem: Problem) -> Standard:
        """The twin of `problem`. O(n sum k), and O(n p) where X needs it."""
        data, shifts = problem.data, _shifts(problem)
        c = 1.0 if shifts is None else root_mean_square(Each(data, lambda chunk: chunk.y))
        c = c if np.isfinite(c) and c > 0.0 else 1.0
        if not 1.0 / LARGEST < c < LARGEST:
            raise DataError(
                f"the response has values of about {c:.2g}: variances in its units are beyond the range of floating-point "
                f"numbers. Give it in another unit, for example divided by {c:.0e}."
            )
        power = problem.family.eta_power
        f = 1.0 if c == 1.0 or power is None else c**power
        v = 1.0
        if problem.is_linear and data.weights is not None and not problem.family.repeated:
            _, top = range_of(data, data.weights)
            v = data.reduce(lambda chunk, w: (w / top).sum(), data.weights, coarse=True) / data.n * top
        if power := problem.family.distribution.weight_power:
            v = c**power
        if problem.family.known:  # s = c sqrt(v) = 1, so that sigma stays what it is
            c = f = 1.0 / float(np.sqrt(v))
        fixed = standard_columns(problem, data.fixed, lambda chunk: chunk.fixed)
        bases = tuple(standard_basis(problem, i, term) for i, term in enumerate(problem.terms))
        aux = [standard_columns(problem, columns, _aux(j)) for j, columns in enumerate(data.aux)]
        if shifts is None:
            shifts = [np.zeros(len(block.names)) for block in problem.aux]
        steps = tuple((own, np.log(c) * shift) for own, shift in zip(aux, shifts, strict=True))
        units = Units(c, f, float(v), fixed, bases, steps)
        return cls(**vars(units), problem=problem.scaled(units))

    @classmethod
    def of_columns(cls, problem: Problem) -> Standard:
        """The twin in which only the columns of random effects are scaled, so that priors keep their meaning.

        A prior of correlations is one at the origin that the user chose, and one of coefficients lies at their units.
        """
        sizes = [sizes_of(problem, i, term) for i, term in enumerate(problem.terms)]
        bases = tuple(np.diag(1.0 / s) for s in sizes)
        own = cls.identity(problem)
        twin = problem.scaled(
            replace(Units(**{f.name: getattr(own, f.name) for f in fields(Units)}), bases=bases)
        )
        terms = (
            replace(t, units=s) if t.basis is not None else t for t, s in zip(twin.terms, sizes, strict=True)
        )
        return replace(own, problem=replace(twin, terms=tuple(terms)), bases=bases)

    @classmethod
    def identity(cls, problem: Problem) -> Standard:
        """The problem as its own twin."""
        bases = tuple(np.eye(term.k) for term in problem.terms)
        aux = tuple((None, np.zeros(len(block.names))) for block in problem.aux)
        return cls(1.0, 1.0, 1.0, None, bases, aux, problem)

    def with_response(self, y: Array) -> Standard:
        """The same units for another response of the same rows."""
        return replace(self, problem=self.problem.with_response(self.response_in(y)))

    # -- to the twin -----------------------------------------------------------------------------------------------

    def response_in(self, y: Array) -> Array:
        """y~."""
        return y if self.response == 1.0 else y / self.response

    def response_out(self, y: Array) -> Array:
        """y, from y~."""
        return y * self.response

    def fixed_in(self, rows: Array) -> Array:
        """Rows (.., p) of X as rows of X~."""
        return rows if self.columns is None else rows @ self.columns

    def basis_in(self, term: int, rows: Array) -> Array:
        """Rows (.., k) of a term's columns as rows of the twin's."""
        return rows @ self.bases[term]

    def beta_in(self, beta: Array) -> Array:
        """beta~."""
        scaled = beta / self.slope
        return scaled if self.columns is None else np.linalg.solve(self.columns, scaled)

    def theta_in(self, theta: Array, s: float | None = None) -> Array:
        """theta~, for sigma multiplied by `s`, by default what it is in a model with one residual variance or with none."""
        s = self._residual_ratio if s is None else s
        return self._moved(theta, [t * s for t in self._inverses])

    @cached_property
    def _inverses(self) -> tuple[Array, ...]:
        """(f T)^-1 of each term."""
        return tuple(np.linalg.inv(self.effects(i)) for i in range(len(self.bases)))

    def residual_out(self, psi: Array) -> Array:
        """Parameters of the residuals' structure, which has none in the units of the response but sigma."""
        return psi

    def inward(self, estimate: Estimate) -> Estimate:
        """The twin's estimate."""
        s = self._sigma_ratio(estimate)
        back = [t.T for t in self._inverses]
        return replace(
            estimate,
            beta=self.beta_in(estimate.beta),
            vcov=_sandwich(np.linalg.inv(self.coefficients), estimate.vcov),
            theta=self.theta_in(estimate.theta, s),
            sigma=estimate.sigma / s,
            deviance=estimate.deviance - self.deviance_shift(restricted=estimate.restricted),
            modes=tuple(b @ t for b, t in zip(estimate.modes, back, strict=True)),
            aux=tuple(self.aux_in(j, a) for j, a in enumerate(estimate.aux)),
        )

    def aux_in(self, j: int, alpha: Array) -> Array:
        """Coefficients of the twin's j-th auxiliary predictor."""
        columns, shift = self.aux[j]
        moved = alpha - shift
        return moved if columns is None else np.linalg.solve(columns, moved)

    def triangle_out(self, r: Array) -> Array:
        """R of X = QR, from that of X~."""
        if self.columns is None:
            return r
        return np.asarray(np.linalg.qr(np.linalg.solve(self.columns.T, r.T).T, mode="r"))

    # -- from the twin ---------------------------------------------------------------------------------------------

    @cached_property
    def coefficients(self) -> Array:
        """f C: beta = f C beta~, (p, p)."""
        own = np.eye(self.problem.p) if self.columns is None else self.columns
        return self.slope * own

    def effects(self, term: int) -> Array:
        """f T: b = f T b~, (k, k); f is 1 for columns of other predictors than the mean's, which have no unit."""
        own = self.problem.terms[term]
        if not own.predictors:
            return self.slope * self.bases[term]
        return np.where(own.columns_in(0) > 0.0, self.slope, 1.0)[:, None] * self.bases[term]

    def theta_out(self, theta: Array, s: float | None = None) -> Array:
        """theta, likewise."""
        s = self._residual_ratio if s is None else s
        return self._moved(theta, [self.effects(i) / s for i in range(len(self.bases))])

    def outward(self, estimate: Estimate) -> Estimate:
        """The estimate in the user's units."""
        s = self._sigma_ratio(estimate)
        return replace(
            estimate,
            beta=self.coefficients @ estimate.beta,
            vcov=_sandwich(self.coefficients, estimate.vcov),
            theta=self.theta_out(estimate.theta, s),
            sigma=estimate.sigma * s,
            deviance=estimate.deviance + self.deviance_shift(restricted=estimate.restricted),
            modes=tuple(b @ self.effects(i).T for i, b in enumerate(estimate.modes)),
            aux=tuple(self.aux_out(j, a) for j, a in enumerate(estimate.aux)),
        )

    def aux_out(self, j: int, alpha: Array) -> Array:
        """Coefficients (.., a) of the j-th auxiliary predictor."""
        columns, shift = self.aux[j]
        return (alpha if columns is None else alpha @ columns.T) + shift

    def joint_out(self, joint: Array, estimate: Estimate) -> Array:
        """Covariance matrix of (beta, theta, alpha) from the twin's, at `estimate` in the user's units."""
        p, q = self.problem.p, self.problem.n_theta
        out = np.zeros_like(joint)
        out[:p, :p] = self.coefficients
        out[p : p + q, p : p + q] = self.d_theta(self.theta_in(estimate.theta))
        at = p + q
        for (columns, _), alpha in zip(self.aux, estimate.aux, strict=True):
            where = slice(at, at + len(alpha))
            out[where, where] = np.eye(len(alpha)) if columns is None else columns
            at += len(alpha)
        return _sandwich(out, joint)

    def d_theta(self, theta: Array) -> Array:
        """Derivative of theta in theta~ by central differences, (n_theta, n_theta)."""
        out = np.zeros((len(theta), len(theta)))
        for s in self.problem.theta_slices():
            step = 1e-5 * float(np.linalg.norm(theta[s])) or 1e-5
            for j in range(s.start, s.stop):
                move = np.zeros(len(theta))
                move[j] = step
                out[:, j] = (self.theta_out(theta + move) - self.theta_out(theta - move)) / (2.0 * step)
        return out

    def deviance_shift(self, *, restricted: bool = False) -> float:
        """What the deviance has on top of the twin's."""
        problem = self.problem
        rows = float(problem.n_densities)
        out = 0.0 if self.response == 1.0 else 2.0 * (rows - problem.p * restricted) * np.log(self.response)
        if restricted and self.columns is not None:
            out -= 2.0 * float(np.log(np.abs(np.diagonal(self.columns))).sum())
        return float(out)

    def sigma_out(self, sigma: float) -> float:
        """sigma of a Gaussian model with one residual variance, from the twin's."""
        return sigma * self._residual_ratio

    def sigma_in(self, estimate: Estimate) -> float:
        """sigma~."""
        return estimate.sigma / self._sigma_ratio(estimate)

    @property
    def _residual_ratio(self) -> float:
        return self.response * float(np.sqrt(self.precision)) if self.problem.is_linear else 1.0

    def _sigma_ratio(self, estimate: Estimate) -> float:
        """s: what sigma is multiplied by."""
        if self.problem.is_linear or estimate.quasi is None:
            return self._residual_ratio
        scales = [p.power for p in self.problem.family.auxiliaries if p.is_scale]
        return self.response ** scales[0] if scales else 1.0

    def _moved(self, theta: Array, by: list[Array]) -> Array:
        """theta of A Sigma A' for each term's A."""
        terms, slices = self.problem.terms, self.problem.theta_slices()
        parts = zip(terms, slices, by, strict=True)
        return np.concatenate([np.zeros(0), *(t.covariance.transformed(theta[s], a) for t, s, a in parts)])


def _sandwich(a: Array, v: Array) -> Array:
    """A V A'; infinite variances of what is undetermined stay so, and move no others."""
    loose = np.isinf(np.diagonal(v))
    if not loose.any():
        return a @ v @ a.T
    out = a @ np.where(loose[:, None] | loose, 0.0, v) @ a.T
    out[loose], out[:, loose] = 0.0, 0.0
    out[loose, loose] = np.inf
    return out


def _shifts(problem: Problem) -> list[Array] | None:
    """For each auxiliary predictor the direction in which log c moves its coefficients; None if c has to be 1."""
    if problem.family.eta_power is None:
        return None
    out = []
    for j, (parameter, block) in enumerate(zip(problem.family.auxiliaries, problem.aux, strict=False)):
        p = len(block.names)
        if parameter.power == 0.0:
            out.append(np.zeros(p))
            continue
        ones = constant_combination(Each(problem.data, _aux(j)), p)
        if ones is None:
            return None
        out.append(parameter.power * ones)
    return out


def _aux(j: int) -> Callable[[Chunk], Array]:
    return lambda chunk: chunk.aux[j]


def standard_basis(problem: Problem, i: int, term: GroupBlock) -> Array:
    """T of the i-th term."""
    if term.basis is None:
        return np.eye(1)
    allowed, basis = term.covariance.closed_under, Each(problem.data, lambda chunk: chunk.terms[i].flat)  # type: ignore[arg-type,return-value]
    if allowed == "common":
        return np.eye(term.k) / (root_mean_square(basis) or 1.0)
    alone = len(set(term.predictors)) < 2  # a constant of one predictor centres no column of another
    return standardising(basis, term.k, centred=allowed == "linear" and alone)


def sizes_of(problem: Problem, i: int, term: GroupBlock) -> Array:
    """Sizes of the columns of the i-th term, (k,); one for all where its covariance needs that."""
    if term.basis is None:
        return np.ones(1)
    basis = Each(problem.data, lambda chunk: chunk.terms[i].flat)  # type: ignore[arg-type,return-value]
    if term.covariance.closed_under == "common":
        return np.full(term.k, root_mean_square(basis) or 1.0)
    sizes = column_sizes(basis)
    return np.where(sizes == 0.0, 1.0, sizes)


def standard_columns(problem: Problem, columns: Columns, of: Callable[[Chunk], Array]) -> Array | None:
    """C of these columns, which are `of` each chunk, or None where they are near enough to standard ones."""
    p = columns.p
    if not (p and problem.n and uneven(columns.moments())):
        return None
    return standardising(Each(problem.data, of), p, centred=True)
