"""Batches of rows in the canonical form, by what was learned from all rows: no state, and all that a worker needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning
from lmmformula.families import Family
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, ModelSpec, RandomTerm
from lmmformula.frame.design import Design
from lmmformula.frame.numbers import as_float
from lmmformula.frame.predictors import term_label
from lmmformula.frame.streamed.coding import TermLevels
from lmmformula.frame.streamed.seen import Seen, columns_that_meet, counted_gram, counted_moments
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Factor, Value
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

__all__ = ["CodedTerm", "Coding", "whole_response"]

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class CodedTerm:
    """A random-effects term with the coding of its columns and the levels of its rows."""

    term: RandomTerm
    design: Design
    levels: TermLevels

    @property
    def label(self) -> str:
        return term_label(self.term, self.design)

    def block(self, value_of: Callable[[Expr], Value], n: int, known: dict[object, Codes]) -> GroupBlock:
        """The term's rows with all of its columns; `known` holds codes of groups of this batch."""
        own, term = self.levels, self.term
        key = (term.members or term.group) if own.levels.across is None else self
        if key not in known:
            known[key] = own.of(value_of, n)
        names = self.design.names
        basis = None if self.design.is_constant else self.design.matrix(value_of, n)
        return GroupBlock(
            term.group_label,
            names,
            own.levels.labels,
            known[key],
            basis,
            KINDS[term.covariance](len(names), **term.counts),
            self.label,
            shares=own.shares(value_of, n),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """How batches become rows of the canonical form; no state, and all that a worker needs.

    Attributes
    ----------
    spec : ModelSpec
    variables : Variables
    family : Family
    fixed : Design
    terms : tuple of CodedTerm
    aux : tuple of Design
    aux_terms : tuple of tuples of CodedTerm
    """

    spec: ModelSpec
    variables: Variables
    family: Family
    fixed: Design
    terms: tuple[CodedTerm, ...]
    aux: tuple[Design, ...] = ()
    aux_terms: tuple[tuple[CodedTerm, ...], ...] = ()

    def rows(self, batch: pa.RecordBatch) -> BatchRows:
        """Variables of the batch's complete rows."""
        return self.variables.of(batch)

    def encode(self, batch: pa.RecordBatch) -> tuple[MemoryRows, Seen]:
        """The batch's complete rows with all columns, and what is summed up of them."""
        rows = self.rows(batch)
        n, times = rows.n, rows.own_times
        y, weights, negative, zero, doubtful = self._response(rows)
        known: dict[object, Codes] = {}
        fixed = self.fixed.matrix(rows, n)
        aux = [design.matrix(rows, n) for design in self.aux]
        terms = [term.block(rows, n, known) for term in self.terms]
        aux_terms = [[term.block(rows, n, known) for term in own] for own in self.aux_terms]
        every = [*terms, *(block for own in aux_terms for block in own)]
        seen = Seen(
            rows.counts[0],
            tuple(counted_gram(matrix, times) for matrix in (fixed, *aux)),
            tuple(counted_moments(matrix, times) for matrix in (fixed, *aux)),
            tuple(np.zeros((1, 1)) if b.basis is None else counted_gram(b.basis, times) for b in every),
            tuple(_met(block) for block in every),
            float(y.min(initial=np.inf)),
            float(y.max(initial=-np.inf)),
            negative,
            zero,
            doubtful,
        )
        if times is not None:  # none has weights besides
            weights = times.astype(np.float64)
        return MemoryRows(y, weights, self.offset(rows), fixed, aux, terms, None, aux_terms), seen

    # -- response and weights ------------------------------------------------------------------------------------------

    def given_weights(self, rows: BatchRows) -> tuple[Array | None, str]:
        """Weights as they are given, and what they are called."""
        expr = None if self.spec.response is None else self.spec.response.weights
        if "weights" in rows.arguments:
            return rows.arguments["weights"], self.variables.arguments["weights"]
        return (None, "") if expr is None else (number(expr, rows), deparse(expr))

    def parts(self, rows: BatchRows) -> tuple[tuple[Value, ...], Value | None]:
        """Values of the response and its trials; two levels of a factor as 0 and 1."""
        response = self.spec.response
        assert response is not None
        trials = None if response.trials is None else rows(response.trials)
        return tuple(_truth(rows(part)) for part in response.parts), trials

    def _response(self, rows: BatchRows) -> tuple[Array, Array | None, int, int, int]:
        response = self.spec.response
        assert response is not None
        given, _ = self.given_weights(rows)
        negative, zero = (0, 0) if given is None else (int((given < 0).sum()), int((given == 0).sum()))
        values, trials = self.parts(rows)
        family, label = self.family, response.label
        if family.has_residual and trials is None:
            y = np.asarray(values[0]).astype(float)
            return y, given, negative, zero, 0
        try:
            y, weights = family.read(values, trials=trials, weights=given, name=label)
        except DataError:  # said of all rows by finish
            return np.zeros(rows.n), given, negative, zero, 1
        return y, weights, negative, zero, int(_is_doubtful(family, y, weights, label))

    def offset(self, rows: BatchRows) -> Array | None:
        """Known part of the linear predictor."""
        values = [number(expr, rows) for expr in self.spec.fixed.offsets]
        if "offset" in rows.arguments:
            values.append(rows.arguments["offset"])
        return sum(values[1:], values[0]) if values else None


def number(expr: Expr, rows: BatchRows) -> Array:
    """A variable that is known to be numbers."""
    return as_float(rows(expr), f"`{deparse(expr)}`")


def _truth(value: Value) -> Value:
    """A factor of two levels as 0 and 1, which a batch with one of them would not show."""
    return (value.codes == 1).astype(float) if isinstance(value, Factor) else value


def _is_doubtful(family: Family, y: Array, weights: Array | None, label: str) -> bool:
    """Whether the family refuses or warns of these rows, other than because all of them are alike."""
    if not len(y):
        return False
    if not _refused(family, y, weights, label):
        return False
    if y.min() != y.max() or not family.is_discrete:
        return True
    own = family.distribution  # two values that no family of counts, or of proportions, refuses
    more = np.array([0.0, 1.0] if own.mean_range == "unit" else [1.0, 2.0])
    ones = None if weights is None else np.append(weights, np.ones(2))
    return _refused(family, np.append(y, more), ones, label)


def _refused(family: Family, y: Array, weights: Array | None, label: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LmmformulaWarning)
            family.check(y, weights, label)
    except (DataError, LmmformulaWarning):
        return True
    return False


def _met(block: GroupBlock) -> NDArray[np.bool_]:
    if block.basis is None or block.k == 1 or block.shares is not None:
        return np.ones((block.k, block.k), dtype=bool)
    return columns_that_meet(block.basis, block.codes, block.m)


def whole_response(
    coding: Coding, rows: Iterator[BatchRows]
) -> tuple[tuple[Value, ...], Value | None, Array | None]:
    """Parts of the response, trials and weights of all rows, each as often as it is there."""
    parts: list[list[Value]] = []
    trials: list[Value] = []
    weights: list[Array] = []
    for batch in rows:
        values, own = coding.parts(batch)
        if (times := batch.own_times) is not None:
            values = tuple(np.repeat(np.asarray(value), times) for value in values)
        parts.append(list(values))
        trials.append(own)
        given, _ = coding.given_weights(batch)
        if given is not None:
            weights.append(given)
    columns = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return (
        columns,
        None if trials[0] is None else np.concatenate(trials),
        np.concatenate(weights) if weights else None,
    )
