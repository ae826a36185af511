"""A model whose variables are known, before the rows that decide the rest of its form have been summed up.

``encode`` turns a batch into rows of the canonical form with all columns that the formula has; ``finish`` decides from sums
over all rows which of them the model keeps: X'X says which columns others determine, as it does in memory, and where it does
not say so clearly one more pass makes the triangle R of X, by reflections of a batch under the triangle so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.render import deparse
from lmmformula.frame.arguments import RowArgument
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.predictors import fixed_block, group_block, refuse_weights
from lmmformula.frame.random_columns import warn_dropped
from lmmformula.frame.rank import chosen_columns, clearly_independent, norms_are_safe, refuse_extreme
from lmmformula.frame.recording import recipe_of
from lmmformula.frame.response import read_response, refuse_constant
from lmmformula.frame.sources import Source
from lmmformula.frame.streamed.encoding import CodedTerm, Coding, whole_response
from lmmformula.frame.streamed.seen import Seen, column_gram
from lmmformula.frame.streamed.survey import batches
from lmmformula.frame.streamed.variables import BatchRows
from lmmformula.frame.term_recipe import TermRecipe
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

__all__ = ["Draft", "Kept", "of_rows"]

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
        fixed = fixed_block(coding.fixed, kept, Tall(np.zeros((0, len(coding.fixed.names)))), n)
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
            n_rows_used=self.n if coding.variables.times else None,
        )
        terms_kept = tuple(r.kept for r in recipes)
        return problem.freeze(), Kept(
            kept, aux_kept, terms_kept, tuple(tuple(r.kept for r in own) for own in aux_recipes)
        )

    def _has_no_weights(self) -> bool:
        if self.coding.variables.times:
            return False
        response = self.coding.spec.response
        assert response is not None
        given = self.weights is not None or response.weights is not None
        return not (given or response.trials is not None or len(response.parts) > 1)

    def _aux(self, seen: Seen) -> tuple[tuple[FixedBlock, ...], tuple[tuple[int, ...], ...]]:
        blocks, kept = [], []
        for design, gram in zip(self.coding.aux, seen.grams[1:], strict=True):
            own = _columns_kept(self, gram, design.names, lambda rows, d=design: d.matrix(rows, rows.n))
            blocks.append(fixed_block(design, own, Tall(np.zeros((0, len(design.names)))), self.n))
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


def of_rows(draft: Draft, source: Source) -> Draft:
    """The same model of the rows of a source, of which those of the draft are cells; the draft itself if they are the rows."""
    if not draft.coding.variables.times:
        return draft
    variables = replace(draft.coding.variables, times="")
    return replace(draft, source=source, coding=replace(draft.coding, variables=variables))


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
