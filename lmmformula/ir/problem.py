"""The model as data: y = X beta + sum_i A_i b_i + offset + e, in codes and bases, never in dummies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.covariance import CovarianceKind
from lmmformula.ir.frozen import freeze
from lmmformula.typing import Array

__all__ = ["FixedBlock", "GroupBlock", "Problem", "gathered"]


@dataclass(frozen=True, slots=True, eq=False)
class FixedBlock:
    """The fixed-effects columns.

    Attributes
    ----------
    matrix : (n, p) float64 array of full column rank
    names : tuple of str
        R's coefficient names, length p.
    assign : tuple of int
        Term of each column: 0 the intercept, j the j-th of `term_labels`.
    term_labels : tuple of str
        R's term labels.
    dropped : tuple of str
        Columns left out because earlier ones determine them.
    """

    matrix: Array
    names: tuple[str, ...]
    assign: tuple[int, ...]
    term_labels: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GroupBlock:
    """One random-effects term ``(columns | group)``: row r has the effects of level ``codes[r]`` times ``basis[r]``.

    Or those of several levels, each times its share: ``sum_j shares[r, j] b[codes[r, j]]``.

    Attributes
    ----------
    group : str
        Name of the grouping factor (``Subject``, ``cask:batch``).
    columns : tuple of str
        R's names of the k columns.
    levels : (m,) object array of str
        Level labels in R's order; unused levels are absent.
    codes : (n,) or (n, r) int32 array
        Level of each row, 0 <= code < m, or its levels.
    basis : (n, k) float64 array, or None
        Values of the columns; None stands for a single column of ones.
    covariance : CovarianceKind
    label : str
        The term as lme4 prints it, for example ``Days | Subject``.
    units : (k,) float64 array or None
        What the user's columns were divided by, where priors are in units of those; None for 1.
    shares : (n, r) float64 array or None
        What the effects of each of a row's levels are multiplied by, where rows belong to several; 0 where there are fewer.
    """

    group: str
    columns: tuple[str, ...]
    levels: NDArray[np.object_]
    codes: NDArray[np.int32]
    basis: Array | None
    covariance: CovarianceKind
    label: str = ""
    units: Array | None = None
    shares: Array | None = None

    @property
    def k(self) -> int:
        """Number of effects per level."""
        return len(self.columns)

    @property
    def m(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def q(self) -> int:
        """Number of random effects, m k."""
        return self.m * self.k

    @property
    def n_theta(self) -> int:
        return self.covariance.n_theta

    @property
    def is_blockwise(self) -> bool:
        """Whether levels are independent and rows have one each: Z'WZ and the prior precision have a block for each level."""
        return self.shares is None and self.covariance.across is None

    def parts(self) -> list[tuple[NDArray[np.int32], Array]]:
        """Codes (n,) and columns (n, k) for each of the levels that a row has: their Z add up to the term's."""
        basis = np.ones((len(self.codes), 1)) if self.basis is None else self.basis
        if self.shares is None:
            return [(self.codes, basis)]
        return [
            (np.ascontiguousarray(c), basis * s[:, None])
            for c, s in zip(self.codes.T, self.shares.T, strict=True)
        ]

    def apply(self, effects: Array) -> Array:
        """Z b of this term, (n,), for effects (m, k)."""
        rows = self.gathered(effects)
        return rows[:, 0] if self.basis is None else np.einsum("nk,nk->n", self.basis, rows)

    def gathered(self, effects: Array) -> Array:
        """Effects that each row has, (n, k): of its level, or of its levels times their shares."""
        return effects[self.codes] if self.shares is None else gathered(effects, self.codes, self.shares)


def gathered(effects: Array, codes: NDArray[np.int32], shares: Array | None) -> Array:
    """Effects (m, k) that rows have, (n, k): of their levels `codes`, none where a code is negative."""
    if shares is None:
        rows = effects[codes]
        return np.where(codes[:, None] < 0, 0.0, rows) if codes.min(initial=0) < 0 else rows
    return np.einsum("nr,nrk->nk", np.where(codes < 0, 0.0, shares), effects[codes])


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The canonical form of a model on its complete cases.

    Attributes
    ----------
    y : (n,) float64 array
    X : FixedBlock
    terms : tuple of GroupBlock
        In the order of the formula.
    weights : (n,) float64 array or None
        Prior weights; what they mean is ``family.weights_are``. lme4's are Var(e_r) = sigma^2 / weights[r].
    offset : (n,) float64 array or None
        Known part of the linear predictor.
    family : Family
    formula : str
    rows : (n,) int64 array
        Positions in the caller's table of the rows kept.
    aux : tuple of FixedBlock
        Columns of the auxiliary linear predictors that the family names (log dispersion, zero-inflation).
    aux_terms : tuple of tuples of GroupBlock
        Random effects in the auxiliary linear predictors, one tuple for each of `aux`; empty where no predictor has any.
    n_rows_data : int
        Rows of the caller's table.
    labels : pandas Index or None
        Labels of all rows of the caller's table, None if they have none; for results, opaque here.
    recipe : object
        What the frame learned (codings, bases, levels), to be replayed on new data; opaque here.
    """

    y: Array
    X: FixedBlock
    terms: tuple[GroupBlock, ...]
    weights: Array | None
    offset: Array | None
    family: Any
    formula: str
    rows: NDArray[np.int64] = field(repr=False)
    aux: tuple[FixedBlock, ...] = ()
    n_rows_data: int = 0
    recipe: Any = field(default=None, repr=False)
    aux_terms: tuple[tuple[GroupBlock, ...], ...] = ()
    labels: Any = field(default=None, repr=False)

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def p(self) -> int:
        return self.X.matrix.shape[1]

    @property
    def n_observed(self) -> int | float:
        """Observations that the likelihood counts: rows, or the sum of weights that repeat rows (``y | weights(w)``)."""
        if self.weights is None or not self.family.repeated:
            return self.n
        total = float(self.weights.sum())
        return int(total) if total.is_integer() else total

    @property
    def q(self) -> int:
        """Total number of random effects."""
        return sum(t.q for t in self.terms)

    @property
    def is_linear(self) -> bool:
        """Whether this is a Gaussian model with one sigma, which is profiled: random effects integrate out exactly.

        With a formula for sigma the response is normal around eta too (``family.is_linear``), but sigma lives in `aux`.
        """
        return self.family.is_linear and not self.aux

    @property
    def n_theta(self) -> int:
        return sum(t.n_theta for t in self.terms)

    def theta_slices(self) -> tuple[slice, ...]:
        """Where each term's theta stands in the stacked vector."""
        out, start = [], 0
        for term in self.terms:
            stop = start + term.covariance.n_theta
            out.append(slice(start, stop))
            start = stop
        return tuple(out)

    def freeze(self) -> Problem:
        """The same problem, its arrays now read-only: many results are made of them."""
        if self.y.flags.writeable or self.X.matrix.flags.writeable:  # once is enough
            freeze(
                (self.y, self.X, self.terms, self.weights, self.offset, self.rows, self.aux, self.aux_terms)
            )
        return self

    def canonical(self, theta: Array) -> Array:
        """The same covariances with non-negative diagonals of L."""
        parts = zip(self.terms, self.theta_slices(), strict=True)
        return np.concatenate([np.zeros(0), *(t.covariance.canonical(theta[s]) for t, s in parts)])

    def theta_names(self) -> tuple[str, ...]:
        """lme4-like names, ``group.column``, one for every element of theta."""
        return tuple(f"{t.group}.{name}" for t in self.terms for name in t.covariance.names(t.columns))
