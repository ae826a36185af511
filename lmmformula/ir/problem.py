"""The model as data: y = X beta + sum_i A_i b_i + offset + e, in codes and bases, never in dummies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.observed import Observed
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.frozen import freeze
from lmmformula.ir.memory_rows import MemoryRows, WholeRows
from lmmformula.ir.monotonic import Monotonic
from lmmformula.ir.residual import ResidualBlock, variance_columns
from lmmformula.ir.responses import Segment
from lmmformula.ir.rows import Rows, Units, total
from lmmformula.typing import Array, Entries

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.families.family import Family


__all__ = ["Problem"]


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
    held : Rows or None
        The rows, where they are not in memory: the arrays above but `rows` then have none. None for those of the arrays.
    n_rows_used : int or None
        Rows of the caller's table that are used, where a row here stands for several equal ones, as many as its weight says;
        None where each stands for itself.
    residual : ResidualBlock or None
        Structure of the residuals of a Gaussian model; None where they are independent with one variance.
    responses : tuple of Segment
        Of a model of several responses, whose rows are those of each response one after the other; empty for one response.
    monotonic : Monotonic or None
        Effects of ordered predictors whose steps have one sign; X has the steps that are not zero.
    """

    y: Array
    X: FixedBlock
    terms: tuple[GroupBlock, ...]
    weights: Array | None
    offset: Array | None
    family: Family
    formula: str
    rows: NDArray[np.int64] = field(repr=False)
    aux: tuple[FixedBlock, ...] = ()
    n_rows_data: int = 0
    recipe: Any = field(default=None, repr=False)
    aux_terms: tuple[tuple[GroupBlock, ...], ...] = ()
    labels: pd.Index | None = field(default=None, repr=False)
    held: Rows | None = field(default=None, repr=False)
    n_rows_used: int | None = None
    residual: ResidualBlock | None = field(default=None, repr=False)
    responses: tuple[Segment, ...] = ()
    monotonic: Monotonic | None = None

    @property
    def n_used(self) -> int:
        """Rows of the caller's table that the model is of."""
        return self.n if self.n_rows_used is None else self.n_rows_used

    @property
    def data(self) -> Rows:
        """What has an entry for each row, behind one protocol."""
        if self.held is not None:
            return self.held
        return self._arrays

    @property
    def _arrays(self) -> MemoryRows:
        aux, x = [block.matrix for block in self.aux], self.X.columns
        rows = WholeRows if self.responses else MemoryRows
        return rows(self.y, self.weights, self.offset, x, aux, self.terms, None, self.aux_terms)

    def scaled(self, units: Units) -> Problem:
        """The same model of the rows in other units; arrays that no unit changes are shared."""
        if self.held is not None:
            return replace(self, held=self.held.scaled(units))
        rows = self._arrays.scaled(units)
        return replace(
            self,
            y=rows.y,
            X=replace(self.X, matrix=rows.fixed),
            terms=tuple(rows.terms),
            weights=rows.weights,
            offset=rows.offset,
            aux=tuple(replace(b, matrix=own.matrix) for b, own in zip(self.aux, rows.aux, strict=True)),
        )

    @property
    def not_seen(self) -> dict[str, int]:
        """How many rows are censored, and how, and how many are truncated; empty where every response is seen."""
        return self.y.counts() if isinstance(self.y, Observed) else {}

    def with_response(self, y: Array) -> Problem:
        """The same rows with another response, and what the family learns of it."""
        self.refuse_elsewhere("another response")
        if isinstance(self.y, Observed) and not isinstance(y, Observed):
            y = self.y.exactly(y)
        return replace(self, y=y, family=self.family.learn(y, self.weights))

    def at(self, rows: slice | Entries) -> Problem:
        """The same model of some of the rows in memory: a slice, or positions."""
        self.refuse_responses("a choice of rows", "Fit again to fewer rows, m.update(data=...).")
        return replace(
            self,
            y=self.y[rows],
            X=self.X.at(rows),
            terms=tuple(t.at(rows) for t in self.terms),
            weights=None if self.weights is None else self.weights[rows],
            offset=None if self.offset is None else self.offset[rows],
            rows=self.rows[rows],
            aux=tuple(b.at(rows) for b in self.aux),
            aux_terms=tuple(tuple(t.at(rows) for t in own) for own in self.aux_terms),
            residual=None if self.residual is None else self.residual.at(rows),
            monotonic=None if self.monotonic is None else self.monotonic.at(rows),
        )

    def with_modelled_residual(self) -> Problem:
        """The same model with the columns of sigma as a variance function of its residuals.

        A Gaussian response whose formula of sigma has fixed effects alone keeps a profiled sigma, which REML needs.
        """
        if not (self.family.is_linear and self.aux) or any(self.aux_terms):
            return self
        self.refuse_elsewhere("a variance function")
        own = self.residual or ResidualBlock.independent(self.n)
        return replace(self, aux=(), residual=replace(own, variance=variance_columns(self.aux[0])))

    @property
    def n(self) -> int:
        return len(self.y) if self.held is None else self.held.n

    @property
    def p(self) -> int:
        return self.X.p

    @property
    def n_observed(self) -> int | float:
        """Observations that the likelihood counts: rows, or the sum of weights that repeat rows (``y | weights(w)``)."""
        return self.n_densities if self.family.repeated else self.n

    @property
    def n_densities(self) -> int | float:
        """Densities of the response in the likelihood: rows, or the sum of weights where these repeat rows.

        Censored rows have a probability instead, which another unit of the response does not change.
        """
        rows = self.data
        if (measured := self.family.distribution.measured(self.y)) is not None:
            counts = self.weights if self.family.weights_are == "repeats" else None
            return float(np.sum(measured if counts is None else measured * counts))
        if rows.weights is None or self.family.weights_are != "repeats":
            return self.n
        copies = total(rows, rows.weights)
        return int(copies) if copies.is_integer() else copies

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
        if self.y.flags.writeable or any(a.flags.writeable for a in self.X.arrays):  # once is enough
            freeze(
                (
                    self.y,
                    self.X.arrays,
                    self.terms,
                    self.weights,
                    self.offset,
                    self.rows,
                    self.aux,
                    self.aux_terms,
                    self.residual,
                    self.monotonic,
                )
            )
        return self

    def refuse_elsewhere(self, what: str) -> None:
        """Refuse rows that are not in memory, for `what` takes all of them at once.

        Raises
        ------
        PlanError
        """
        if self.held is not None:
            raise PlanError(
                f"{what} takes all {self.n_used:,} rows in memory at once, and those of this model lie elsewhere. Read the "
                "data into memory, or a sample of them."
            )

    def refuse_responses(self, what: str, instead: str) -> None:
        """Refuse several responses, for `what` takes one.

        Raises
        ------
        PlanError
        """
        if self.responses:
            names = ", ".join(own.name for own in self.responses)
            raise PlanError(
                f"{what} takes a model of one response, and this one has several ({names}). {instead}"
            )

    def refuse_coupled(self, what: str, instead: str) -> None:
        """Refuse terms whose rows have several levels, or whose levels are dependent, for `what` takes none.

        Raises
        ------
        PlanError
        """
        for term in (*self.terms, *(t for own in self.aux_terms for t in own)):
            if not term.is_blockwise:
                why = "rows with several levels" if term.shares is not None else "dependent levels"
                raise PlanError(
                    f"the term ({term.label or term.group}) has {why}, which {what} does not take. {instead}"
                )

    def refuse_unfree(self, what: str, instead: str) -> None:
        """Refuse covariances that standard deviations and correlations are no coordinates of, for `what` moves those.

        Raises
        ------
        PlanError
        """
        for term in (*self.terms, *(t for own in self.aux_terms for t in own)):
            if why := term.covariance.within.unfree:
                raise PlanError(
                    f"the term ({term.label or term.group}): {why}, which {what} needs. {instead}"
                )

    def canonical(self, theta: Array) -> Array:
        """The same covariances with non-negative diagonals of L."""
        parts = zip(self.terms, self.theta_slices(), strict=True)
        return np.concatenate([np.zeros(0), *(t.covariance.canonical(theta[s]) for t, s in parts)])

    def theta_names(self) -> tuple[str, ...]:
        """lme4-like names, ``group.column``, one for every element of theta."""
        return tuple(f"{t.group}.{name}" for t in self.terms for name in t.covariance.names(t.columns))
