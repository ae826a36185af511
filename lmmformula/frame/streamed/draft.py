"""A model whose variables are known, before the rows that decide the rest of its form have been summed up.

``encode`` turns a batch into rows of the canonical form with all columns that the formula has; ``finish`` decides from sums
over all rows which of them the model keeps: X'X says which columns others determine, as it does in memory, and where it does
not say so clearly one more pass makes the triangle R of X, by reflections of a batch under the triangle so far.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning
from lmmformula.families import Family
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, ModelSpec, RandomTerm
from lmmformula.frame.arguments import RowArgument
from lmmformula.frame.design import Design
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.numbers import as_float
from lmmformula.frame.predictors import fixed_block, group_block, refuse_weights, term_label
from lmmformula.frame.random_columns import warn_dropped
from lmmformula.frame.rank import chosen_columns, clearly_independent, norms_are_safe, refuse_extreme
from lmmformula.frame.recipe import TermRecipe
from lmmformula.frame.recording import recipe_of
from lmmformula.frame.response import read_response, refuse_constant
from lmmformula.frame.sources import Source, table_of
from lmmformula.frame.streamed.coding import TermLevels
from lmmformula.frame.streamed.seen import Seen, column_gram, columns_that_meet
from lmmformula.frame.streamed.survey import batches
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Factor, Value
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import MemoryRows
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

__all__ = ["CodedTerm", "Coding", "Draft", "Kept"]

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which of the columns that are encoded the model has.

    Attributes
    ----------
    fixed : tuple of int
        Of X.
    aux : tuple of tuples of int
        Of each auxiliary predictor.
    terms : tuple of (tuple of int or None)
        Of each term's basis; None for all, or where there is none.
    aux_terms : tuple of tuples of (tuple of int or None)
    """

    fixed: tuple[int, ...]
    aux: tuple[tuple[int, ...], ...]
    terms: tuple[tuple[int, ...] | None, ...]
    aux_terms: tuple[tuple[tuple[int, ...] | None, ...], ...]


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
            KINDS[term.covariance](len(names)),
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
        return self.variables.of(table_of(batch))

    def encode(self, batch: pa.RecordBatch) -> tuple[MemoryRows, Seen]:
        """The batch's complete rows with all columns, and what is summed up of them."""
        rows = self.rows(batch)
        n = rows.n
        y, weights, negative, zero, doubtful = self._response(rows)
        known: dict[object, Codes] = {}
        fixed = self.fixed.matrix(rows, n)
        aux = [design.matrix(rows, n) for design in self.aux]
        terms = [term.block(rows, n, known) for term in self.terms]
        aux_terms = [[term.block(rows, n, known) for term in own] for own in self.aux_terms]
        every = [*terms, *(block for own in aux_terms for block in own)]
        seen = Seen(
            n,
            tuple(column_gram(matrix) for matrix in (fixed, *aux)),
            tuple(np.zeros((1, 1)) if b.basis is None else column_gram(b.basis) for b in every),
            tuple(_met(block) for block in every),
            float(y.min(initial=np.inf)),
            float(y.max(initial=-np.inf)),
            negative,
            zero,
            doubtful,
        )
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
    more = np.array([0.0, 1.0])  # values that no family of counts or proportions refuses
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


# -- all rows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A model whose rows can be encoded.

    Attributes
    ----------
    source : Source
    coding : Coding
    frame : ModelFrame
        Types and levels of variables, without rows.
    n, n_data : int
        Complete rows, and all.
    weights, offset : RowArgument or None
    levels_below_rows : bool
    """

    source: Source
    coding: Coding
    frame: ModelFrame
    n: int
    n_data: int
    weights: RowArgument | None
    offset: RowArgument | None
    levels_below_rows: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that are read."""
        return self.coding.variables.names

    def encode(self, batch: pa.RecordBatch) -> tuple[MemoryRows, Seen]:
        """The batch's complete rows in the canonical form with all columns, and what is summed up of them.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            Has the columns of :attr:`columns`.

        Returns
        -------
        rows : MemoryRows
            Codes are among the levels of all rows; X, the auxiliary predictors and bases have all columns of the formula.
        seen : Seen
        """
        return self.coding.encode(batch)

    def finish(self, seen: Seen) -> tuple[Problem, Kept]:
        """The problem without rows, and which columns it keeps, after what was seen of all rows.

        Parameters
        ----------
        seen : Seen
            The sum over all batches.

        Raises
        ------
        DataError
            As :func:`lmmformula.frame.build.build` does.
        """
        if seen.n != self.n:
            raise DataError(
                f"{seen.n:,} complete rows were encoded of {self.n:,} that were there before: the data have changed meanwhile, "
                "or a batch was encoded twice or not at all"
            )
        self._check_response(seen)
        coding, n = self.coding, self.n
        kept = _columns_kept(
            self, seen.grams[0], coding.fixed.names, lambda rows: coding.fixed.matrix(rows, rows.n)
        )
        fixed = fixed_block(coding.fixed, kept, np.zeros((0, len(coding.fixed.names))), n)
        main = [
            self._term(term, seen, j, strict=self.levels_below_rows) for j, term in enumerate(coding.terms)
        ]
        aux, aux_kept = self._aux(seen)
        more = [term for own in coding.aux_terms for term in own]
        beside = [
            self._term(term, seen, j, strict=False) for j, term in enumerate(more, start=len(coding.terms))
        ]
        blocks, recipes = [b for b, _ in main], [r for _, r in main]
        recipe = recipe_of(coding.spec, self.frame, coding.fixed, kept, recipes, self.weights, self.offset)
        recipe = replace(recipe, aux=tuple(zip(coding.aux, aux_kept, strict=True)))
        aux_terms = _split([b for b, _ in beside], coding.aux_terms)
        aux_recipes = _split([r for _, r in beside], coding.aux_terms)
        problem = Problem(
            y=np.zeros(0),
            X=fixed,
            terms=tuple(blocks),
            weights=None if self._has_no_weights() else np.zeros(0),
            offset=None if self.offset is None and not coding.spec.fixed.offsets else np.zeros(0),
            family=coding.family,
            formula=coding.spec.text,
            rows=np.zeros(0, dtype=np.int64),
            n_rows_data=self.n_data,
            recipe=replace(recipe, aux_terms=aux_recipes),
            aux=aux,
            aux_terms=aux_terms,
        )
        terms_kept = tuple(r.kept for r in recipes)
        return problem.freeze(), Kept(
            kept, aux_kept, terms_kept, tuple(tuple(r.kept for r in own) for own in aux_recipes)
        )

    def _has_no_weights(self) -> bool:
        response = self.coding.spec.response
        assert response is not None
        given = self.weights is not None or response.weights is not None
        return not (given or response.trials is not None or len(response.parts) > 1)

    def _aux(self, seen: Seen) -> tuple[tuple[FixedBlock, ...], tuple[tuple[int, ...], ...]]:
        blocks, kept = [], []
        for design, gram in zip(self.coding.aux, seen.grams[1:], strict=True):
            own = _columns_kept(self, gram, design.names, lambda rows, d=design: d.matrix(rows, rows.n))
            blocks.append(fixed_block(design, own, np.zeros((0, len(design.names))), self.n))
            kept.append(own)
        return tuple(blocks), tuple(kept)

    def _term(self, term: CodedTerm, seen: Seen, j: int, *, strict: bool) -> tuple[GroupBlock, TermRecipe]:
        design = term.design
        own = basis = None
        if not design.is_constant:
            basis = np.zeros((0, len(design.names)))
            own = _columns_kept(self, seen.bases[j], design.names, lambda rows: design.matrix(rows, rows.n))
            if len(own) == len(design.names):
                own = None
            else:
                warn_dropped(own, design.names, term.label)
        return group_block(
            term.term,
            design,
            term.levels.levels,
            own,
            basis,
            lambda basis: basis is None or self._meet(term, own, seen.met[j]),
            n=self.n,
            levels_below_rows=strict,
        )

    def _meet(self, term: CodedTerm, kept: tuple[int, ...] | None, met: NDArray[np.bool_]) -> bool:
        """Whether two of the columns kept are both present in some level; by another pass if no batch shows it."""
        own = np.arange(len(met)) if kept is None else np.array(kept)
        if (met[np.ix_(own, own)] & ~np.eye(len(own), dtype=bool)).any():
            return True
        first = np.zeros(len(term.levels.levels.labels), dtype=np.int32)
        for rows in self._batches():
            present = term.design.matrix(rows, rows.n)[:, own] != 0.0
            if (present.sum(axis=1) > 1).any():
                return True
            at = np.flatnonzero(present.any(axis=1))
            column, codes = present[at].argmax(axis=1) + 1, term.levels.of(rows, rows.n)[at]
            before = first[codes]
            first[codes] = column
            if ((first[codes] != column) | ((before > 0) & (before != column))).any():
                return True
        return False

    def _batches(self) -> Iterator[BatchRows]:
        return batches(self.source, self.coding.variables)

    def _check_response(self, seen: Seen) -> None:
        """Refuse weights and responses as in memory, after one more pass if a batch gives reason to."""
        response, family, coding = self.coding.spec.response, self.coding.family, self.coding
        assert response is not None
        expr = response.weights
        name = self.weights.name if self.weights is not None else "" if expr is None else deparse(expr)
        refuse_weights(name, seen.negative, seen.zero)
        plain = family.has_residual and response.trials is None
        if seen.doubtful or (not plain and seen.low == seen.high):
            values, trials, weights = whole_response(coding, self._batches())
            read_response(values, response.label, family, trials, weights)
        elif plain and seen.low == seen.high:
            refuse_constant(np.broadcast_to(seen.low, (self.n,)), response.label)


def whole_response(
    coding: Coding, rows: Iterator[BatchRows]
) -> tuple[tuple[Value, ...], Value | None, Array | None]:
    """Parts of the response, trials and weights of all rows."""
    parts: list[list[Value]] = []
    trials: list[Value] = []
    weights: list[Array] = []
    for batch in rows:
        values, own = coding.parts(batch)
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


def _columns_kept(
    draft: Draft, gram: Array, names: Sequence[str], columns: Callable[[BatchRows], Array]
) -> tuple[int, ...]:
    """Columns that earlier ones do not determine, as ``independent_columns`` chooses them."""
    n, p = draft.n, len(names)
    norms, tops = np.sqrt(np.diag(gram)), np.ones(p)
    if not norms_are_safe(norms):
        tops = np.zeros(p)
        for rows in draft._batches():
            tops = np.maximum(tops, np.abs(columns(rows)).max(axis=0, initial=0.0))
        refuse_extreme(tops, names)
        tops = np.where(tops > 0.0, tops, 1.0)
        gram = np.zeros((p, p))
        for rows in draft._batches():
            gram += column_gram(columns(rows) / tops)
        norms = np.sqrt(np.diag(gram))
    if clearly_independent(gram, norms, n):
        return tuple(range(p))
    triangle = np.zeros((0, p))
    for rows in draft._batches():
        below = np.vstack([triangle, columns(rows) / tops])
        triangle = np.asarray(np.linalg.qr(below, mode="r")) if len(below) > p else below
    return tuple(chosen_columns(triangle).tolist())


def _split(flat: Sequence[T], like: Sequence[Sequence[object]]) -> tuple[tuple[T, ...], ...]:
    """The elements in tuples of the lengths of those of `like`."""
    rest = iter(flat)
    return tuple(tuple(next(rest) for _ in own) for own in like)
