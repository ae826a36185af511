"""The columns of a model: fixed effects, and random effects in codes and bases, never in dummies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.covariance import CovarianceKind
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Array, Entries

__all__ = ["FixedBlock", "GroupBlock", "gathered", "parts_of"]


class _Written:
    """A matrix that is held otherwise until somebody asks for it."""

    def __get__(self, block: FixedBlock | None, owner: type) -> Array:
        if block is None:
            raise AttributeError("matrix")
        return block.columns.matrix

    def __set__(self, block: FixedBlock, given: Array | Tall) -> None:
        vars(block)["columns"] = given if isinstance(given, Tall) else Tall(given)


@dataclass(frozen=True, eq=False)
class FixedBlock:
    """The fixed-effects columns.

    Attributes
    ----------
    matrix : (n, p) float64 array of full column rank
        Or columns for products and sums (:class:`lmmformula.numerics.tall.Tall`), which write them all out when asked to.
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

    @property
    def columns(self) -> Tall:
        """X for products and sums."""
        return vars(self)["columns"]

    @property
    def p(self) -> int:
        """Number of columns."""
        return self.columns.p

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Arrays that whoever made them may still write to."""
        return self.columns.arrays

    @classmethod
    def constant(cls, n: int) -> FixedBlock:
        """An intercept alone, on n rows."""
        return cls(np.ones((n, 1)), ("(Intercept)",), (0,), ())

    @property
    def is_constant(self) -> bool:
        """Whether its predictor is one number for all rows."""
        return self.names == ("(Intercept)",)

    def at(self, rows: slice | Entries) -> FixedBlock:
        """Some of the rows: a slice, or positions."""
        return replace(self, matrix=self.matrix[rows])


FixedBlock.matrix = _Written()  # type: ignore[assignment,misc]


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
    basis : (n, k) or (n, r, k) float64 array, or None
        Values of the columns, or for each of a row's levels; None stands for a single column of ones.
    covariance : CovarianceKind
    label : str
        The term as lme4 prints it, for example ``Days | Subject``.
    units : (k,) float64 array or None
        What the user's columns were divided by, where priors are in units of those; None for 1.
    shares : (n, r) float64 array or None
        What the effects of each of a row's levels are multiplied by, where rows belong to several; 0 where there are fewer.
    smooth : str
        Name of the smooth whose penalised part this is; empty for any other term.
    of_mean : bool
        Whether it belongs to the mean of a population: the penalised part of a smooth that all rows share.
    owners : (m,) bool array or None
        Levels that have these effects, where a term is about some of them or has further ones behind them; None for all.
    shared : str
        Terms of several linear predictors, or responses, with the same one have correlated effects: brms' ``|ID|``, what stands
        right of the bar, and a level of ``by``, a line each; empty for a term by itself.
    predictors : tuple of int
        Linear predictor that each column is in: 0 for the mean's, j for the j-th auxiliary one; empty where all are the mean's.
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
    smooth: str = ""
    of_mean: bool = False
    owners: NDArray[np.bool_] | None = None
    predictors: tuple[int, ...] = ()
    shared: str = ""

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

    def columns_in(self, predictor: int) -> Array:
        """1 for the columns that are in this linear predictor, 0 for others, (k,)."""
        return np.array([float(own == predictor) for own in self.predictors or (0,) * self.k])

    def share(self, predictor: int, effects: Array) -> Array:
        """Z b of this term in one linear predictor, (n,), for effects (m, k)."""
        if not self.predictors:
            return self.apply(effects) if predictor == 0 else np.zeros(len(self.codes))
        own = self.columns_in(predictor)
        return self.apply(effects * own) if own.any() else np.zeros(len(self.codes))

    @property
    def is_blockwise(self) -> bool:
        """Whether levels are independent and rows have one each: Z'WZ and the prior precision have a block for each level."""
        return self.shares is None and self.covariance.across is None

    def at(self, rows: slice | Entries) -> GroupBlock:
        """Some of the rows: a slice, or positions."""
        basis, shares = (None if a is None else a[rows] for a in (self.basis, self.shares))
        return replace(self, codes=self.codes[rows], basis=basis, shares=shares)

    def scaled(self, t: Array) -> GroupBlock:
        """The term with columns Z T."""
        return self if self.basis is None else replace(self, basis=np.ascontiguousarray(self.basis @ t))

    def counts(self) -> NDArray[np.int64]:
        """Rows of each level, (m,)."""
        if self.shares is None:
            return np.bincount(self.codes, minlength=self.m)
        return np.bincount(self.codes[self.shares != 0.0], minlength=self.m)

    def parts(self) -> list[tuple[NDArray[np.int32], Array]]:
        """Codes (n,) and columns (n, k) for each of the levels that a row has: their Z add up to the term's."""
        basis = np.ones((len(self.codes), 1)) if self.basis is None else self.basis
        if self.shares is None:
            return [(self.codes, basis)]
        return parts_of(self.codes, basis, self.shares)

    @property
    def flat(self) -> Array | None:
        """Values of the columns, (n, k); those of each of a row's levels one below the other, (n r, k)."""
        return self.basis if self.basis is None else self.basis.reshape(-1, self.k)

    def apply(self, effects: Array) -> Array:
        """Z b of this term, (n,), for effects (m, k)."""
        if self.basis is not None and self.shares is not None and self.basis.ndim == 3:
            return np.einsum("nr,nrk,nrk->n", self.shares, self.basis, effects[self.codes])
        rows = self.gathered(effects)
        return rows[:, 0] if self.basis is None else np.einsum("nk,nk->n", self.basis, rows)

    def gathered(self, effects: Array) -> Array:
        """Effects that each row has, (n, k): of its level, or of its levels times their shares."""
        return effects[self.codes] if self.shares is None else gathered(effects, self.codes, self.shares)


def parts_of(codes: NDArray[np.int32], basis: Array, shares: Array) -> list[tuple[NDArray[np.int32], Array]]:
    """Codes (n,) and columns times shares (n, k) of each of a row's levels."""
    columns = (basis[:, None] if basis.ndim == 2 else basis) * shares[:, :, None]
    return [(np.ascontiguousarray(c), np.ascontiguousarray(columns[:, j])) for j, c in enumerate(codes.T)]


def gathered(effects: Array, codes: NDArray[np.int32], shares: Array | None) -> Array:
    """Effects (m, k) that rows have, (n, k): of their levels `codes`, none where a code is negative."""
    if shares is None:
        rows = effects[codes]
        return np.where(codes[:, None] < 0, 0.0, rows) if codes.min(initial=0) < 0 else rows
    return np.einsum("nr,nrk->nk", np.where(codes < 0, 0.0, shares), effects[codes])
