"""What the frame learned from the rows of a fit, to be replayed on new data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.spec import Expr, Name
from lmmformula.frame.aligning import Aligning
from lmmformula.frame.design import Design
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.functions import as_float
from lmmformula.frame.new_terms import MISSING, NewTerm, checked, new_term, spread
from lmmformula.frame.row_weights import RowWeights
from lmmformula.frame.smooths.record import SmoothRecord
from lmmformula.frame.table import Table, open_table
from lmmformula.frame.term_recipe import JoinedTerm, TermRecipe
from lmmformula.frame.values import (
    Factor,
    FactorKind,
    Value,
    align,
    object_array,
)
from lmmformula.frame.variables import column_names
from lmmformula.typing import Data, Entries

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["MISSING", "ColumnRecord", "NewDesign", "NewTerm", "Recipe"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NewDesign:
    """A model's columns on new rows.

    Attributes
    ----------
    X : (n, p) float64 array or None
        Columns as in the fit; None if the fixed part was not asked for.
    offset : (n,) float64 array or None
    terms : tuple of tuples of NewTerm
        The terms asked for, in the order asked; several parts where rows have several levels, whose shares are in the columns.
    complete : (n,) bool array
        Rows without a missing value; the others hold NaN and code -1. A column that only names levels may be missing: that
        level is then unknown, hence new.
    index : pandas Index or None
        Labels of the rows; None for a table whose rows have none.
    offset_missing : bool
        The fit had an offset given as an array, which new data cannot know.
    aux : tuple of (n, p_j) arrays
        Columns of the auxiliary predictors, if asked for.
    aux_terms : tuple of tuples of tuples of NewTerm
        Their random-effects terms, if asked for; empty where no predictor has any.
    """

    X: Array | None
    offset: Array | None
    terms: tuple[tuple[NewTerm, ...], ...]
    complete: NDArray[np.bool_]
    offset_missing: bool = False
    aux: tuple[Array, ...] = ()
    aux_terms: tuple[tuple[tuple[NewTerm, ...], ...], ...] = ()
    index: pd.Index | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.complete)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnRecord:
    """Type of a column at the fit; `levels` is None for numbers."""

    name: str
    levels: tuple[str, ...] | None = None
    kind: FactorKind = "factor"


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """Codings, bases, levels and states of a fit.

    Picklable as long as the functions given in ``context=`` are.
    """

    text: str
    fixed: Design
    kept: tuple[int, ...]
    offsets: tuple[Expr, ...]
    offset_column: str | None
    offset_array: bool
    terms: tuple[TermRecipe | JoinedTerm, ...]
    columns: tuple[ColumnRecord, ...] = field(repr=False)
    memory: tuple[tuple[Expr, Value], ...] = field(repr=False)
    context: tuple[tuple[str, object], ...] = field(repr=False, default=())
    aux: tuple[tuple[Design, tuple[int, ...]], ...] = ()
    aux_terms: tuple[tuple[TermRecipe, ...], ...] = ()
    weights: RowWeights | None = None
    within: tuple[tuple[Expr, Entries], ...] = field(repr=False, default=())
    """Levels of factors that are made within expressions."""
    smooths: tuple[SmoothRecord, ...] = ()
    """Smooths of the mean."""

    def in_one(self, places: Iterable[tuple[int, ...]]) -> Recipe:
        """The same with the terms of all linear predictors together, those at `places` one by one."""
        every = self._all_terms()
        terms = (tuple(every[at] for at in own) for own in places)
        joined = tuple(own[0] if len(own) == 1 else JoinedTerm(own) for own in terms)
        return replace(self, terms=joined, aux_terms=())

    def with_context(self, context: tuple[tuple[str, object], ...]) -> Recipe:
        """The same with these entries for those it has."""
        return replace(self, context=context)

    def replay(
        self,
        newdata: Data,
        *,
        fixed: bool = True,
        aux: bool = False,
        aux_terms: bool = True,
        terms: Iterable[int] | None = None,
        missing: Literal["keep", "raise"] = "keep",
        places: dict[int, pd.Index] | None = None,
    ) -> NewDesign:
        """Build the same columns from new data.

        Parameters
        ----------
        newdata : frame, dict of columns, or path
            Needs the columns of the parts asked for, and no others.
        fixed : bool
            Whether to build X and the offset.
        aux : bool
            Whether to build the columns of the auxiliary predictors.
        aux_terms : bool
            Whether to build their random-effects terms then too.
        terms : iterable of int, optional
            Positions of the random-effects terms wanted; all if None.
        missing : {"keep", "raise"}
            Incomplete rows: kept as NaN, or a DataError.
        places : dict, optional
            Where labels of levels stand, which is kept there for rows that come in batches.

        Returns
        -------
        NewDesign
        """
        table = open_table(newdata)
        chosen = [self.terms[i] for i in (range(len(self.terms)) if terms is None else terms)]
        beside_terms = self.aux_terms if aux and aux_terms else ()
        names = self._names([*chosen, *(t for own in beside_terms for t in own)], fixed=fixed, aux=aux)
        records = {record.name: record for record in self.columns}
        unknown = self.groups_only() if missing == "keep" else set()
        complete = _complete_rows(table, [name for name in names if name not in unknown], missing)
        rows = None if complete.all() else np.flatnonzero(complete)
        by_label = self._grouping_only()
        columns = {
            name: value if name in by_label else _as_in_fit(value, records[name])
            for name, value in ((name, table.column(name).at(rows)) for name in names)
        }
        n, given = int(complete.sum()), complete
        evaluator = Aligning(self.levels_known, columns, n, self.text, dict(self.context), dict(self.memory))
        X = offset = None
        if fixed:
            X = spread(self._fixed_columns(evaluator, n), complete)
            offset = spread(self._offset(evaluator, n), complete)
            complete = complete & ~np.isnan(X).any(axis=1)
        done = tuple(new_term(t, evaluator, n, rows, table.n_rows, places) for t in chosen)
        value_of = checked(evaluator)
        further = tuple(
            spread(design.matrix(value_of, n)[:, list(kept)], given)
            for design, kept in (self.aux if aux else ())
        )
        beside = tuple(
            tuple(new_term(t, evaluator, n, rows, table.n_rows, places) for t in own) for own in beside_terms
        )
        unknown_offset = self.offset_array and fixed
        return NewDesign(X, offset, done, complete, unknown_offset, further, beside, table.index)

    def row_weights(self, newdata: Data) -> tuple[Array | None, str]:
        """Prior weights of new rows, by the columns that gave them at the fit; None, and the reason, where there are none.

        NaN in rows where such a column is missing.
        """
        if self.weights is None:
            return None, ""
        table = open_table(newdata)
        return self.weights.replay(table, self.text, dict(self.context), dict(self.memory), dict(self.within))

    def with_cells(self, place: int, cells: tuple[NDArray[np.object_], ...]) -> Recipe:
        """The same with other levels of a term."""
        terms = list(self.terms)
        terms[place] = terms[place].with_cells(cells)
        return replace(self, terms=tuple(terms))

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that rows of another design need: all but those of the response alone."""
        names = self._names(list(self._all_terms()), fixed=True, aux=True)
        weights = () if self.weights is None else self.weights.names(dict(self.context))
        return tuple(dict.fromkeys((*names, *weights)))

    @property
    def levels_known(self) -> dict[Expr, Entries]:
        """Levels of the factors that functions see: columns, and those made within expressions."""
        return {Name(r.name): object_array(r.levels) for r in self.columns if r.levels} | dict(self.within)

    def _all_terms(self) -> tuple[TermRecipe, ...]:
        own = (member for term in self.terms for member in term.members)
        return (*own, *(term for own in self.aux_terms for term in own))

    def _columns_beside_groups(self) -> set[str | None]:
        """Columns whose values enter a design or the offset."""
        exprs = [part.expr for parts in self.fixed.terms for part in parts] + list(self.offsets)
        exprs += [part.expr for design, _ in self.aux for parts in design.terms for part in parts]
        exprs += [part.expr for term in self._all_terms() for parts in term.design.terms for part in parts]
        exprs += [expr for term in self._all_terms() for expr in term.weights()]
        return {*column_names(exprs), self.offset_column}

    def groups_only(self) -> set[str]:
        """Columns that say the level of a row and nothing else."""
        groups = column_names(expr for term in self._all_terms() for expr in term.factors())
        return {name for name in groups if name not in self._columns_beside_groups()}

    def _grouping_only(self) -> set[str]:
        """Columns that only name levels: these are matched by label, whatever their type is in the new data."""
        groups = {expr for term in self._all_terms() for expr in term.factors()}
        within = set(column_names(expr for expr in groups if not isinstance(expr, Name)))
        return {expr.value for expr in groups if isinstance(expr, Name)} & self.groups_only() - within

    def _names(self, chosen: Sequence[TermRecipe | JoinedTerm], *, fixed: bool, aux: bool) -> list[str]:
        exprs: list[Expr] = []
        if aux:
            exprs += [part.expr for design, _ in self.aux for parts in design.terms for part in parts]
        if fixed:
            exprs += [part.expr for parts in self.fixed.terms for part in parts]
            exprs += self.offsets
        for term in chosen:
            exprs += term.exprs()
        known = {record.name for record in self.columns}
        names = [name for name in column_names(exprs) if name in known]
        if fixed and self.offset_column is not None:
            names.append(self.offset_column)
        return list(dict.fromkeys(names))

    def _fixed_columns(self, evaluator: Evaluator, n: int) -> Array:
        matrix = self.fixed.matrix(checked(evaluator), n)
        return matrix if len(self.kept) == matrix.shape[1] else matrix[:, list(self.kept)]

    def _offset(self, evaluator: Evaluator, n: int) -> Array | None:
        values = [as_float(evaluator(expr), "offset()") for expr in self.offsets]
        if self.offset_column is not None:
            values.append(as_float(evaluator.columns[self.offset_column], "offset"))
        return sum(values, np.zeros(n)) if values else None


def _complete_rows(table: Table, names: list[str], missing: str) -> NDArray[np.bool_]:
    complete = np.ones(table.n_rows, dtype=bool)
    counts = []
    for name in names:
        mask = table.column(name).missing
        if mask is not None:
            complete &= ~mask
            counts.append(f"`{name}` ({int(mask.sum()):,})")
    if missing == "raise" and not complete.all():
        raise DataError(
            f"{int((~complete).sum()):,} of {table.n_rows:,} new rows have missing values: "
            + ", ".join(counts)
        )
    return complete


def _as_in_fit(value: Value, record: ColumnRecord) -> Value:
    """The column in its type of the fit: factors with the same codes, numbers as numbers."""
    if record.levels is not None:
        from lmmformula.frame.functions import as_factor

        return align(as_factor(value), record.levels, record.kind)
    if isinstance(value, Factor):
        if value.kind == "logical":
            return as_float(value)
        raise DataError(
            f"column `{record.name}` was numeric in the fit, but holds text or a factor in the new data"
        )
    return value
