"""The variables of a model on the complete rows of one batch, by what was learned from all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, Name
from lmmformula.frame.aligning import Aligning
from lmmformula.frame.arguments import column_argument
from lmmformula.frame.columns import Column
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.model_frame import variable
from lmmformula.frame.sources.arrow import table_of
from lmmformula.frame.streamed.distinct import Places
from lmmformula.frame.streamed.texts import keys_of
from lmmformula.frame.table import Table
from lmmformula.frame.values import Factor, Value, missing_rows, take
from lmmformula.typing import Array, Context, Entries

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BatchRows", "Variables", "aligned"]

K = TypeVar("K")
Key: TypeAlias = Expr | str
"""A factor: an expression, or the name of a column with all levels that it has."""


def aligned(factor: Factor, known: Places, what: str) -> Factor:
    """The factor with the levels that are known, which all of its rows must have."""
    levels: Entries = known.known
    if len(levels) == len(factor.levels) and bool((levels == factor.levels).all()):
        return replace(factor, levels=levels)
    codes = np.append(known.of(factor.levels), np.int32(-1))[factor.codes]
    if (codes < 0).any() and ((codes < 0) & (factor.codes >= 0)).any():
        raise DataError(
            f"`{what}` has levels that it did not have when the rows were read before: the data have changed meanwhile, "
            "or the value of a row depends on other rows. Read them again, or compute the column beforehand"
        )
    return Factor(codes, levels, factor.kind, factor.contrast)


@dataclass(frozen=True, slots=True, eq=False)
class BatchRows:
    """Complete rows of a batch.

    Attributes
    ----------
    n : int
        Complete rows.
    n_data, n_whole : int
        All rows, and those whose columns are complete, of which `columns` are.
    columns : dict
        Columns by name.
    values : dict
        Variables by expression, n rows each.
    kept : (n_whole,) bool array or None
        Which of the rows with complete columns are complete; None for all.
    arguments : dict
        ``weights`` and ``offset`` from columns, n rows each.
    lacking : dict
        Rows in which a column is missing.
    undefined : dict
        Rows with complete columns in which an expression is missing.
    infinite : dict
        Rows of the batch in which a column that is an argument is infinite.
    nodes : dict
        Values of the parts of expressions, on the rows with complete columns.
    batch : RecordBatch
    at : (n,) int64 array or None
        Where the rows stand in the batch, None for all.
    times : (n_whole,) int64 array or None
        Rows of the data that each row with complete columns stands for; None for itself.
    counts : (int, int, int)
        Rows of the data that the `n`, `n_whole` and `n_data` rows stand for.
    """

    n: int
    n_data: int
    n_whole: int
    columns: dict[str, Value]
    values: dict[Expr, Value]
    kept: NDArray[np.bool_] | None
    arguments: dict[str, Array]
    lacking: dict[str, int]
    undefined: dict[Expr, int]
    infinite: dict[str, int]
    nodes: Mapping[Expr, Value]
    batch: pa.RecordBatch
    at: NDArray[np.int64] | None
    times: NDArray[np.int64] | None
    counts: tuple[int, int, int]

    @property
    def own_times(self) -> NDArray[np.int64] | None:
        """`times` of the complete rows."""
        return self.times if self.times is None or self.kept is None else self.times[self.kept]

    def __call__(self, expr: Expr) -> Value:
        return self.values[expr]


@dataclass(frozen=True, slots=True, eq=False)
class Variables:
    """How the variables of a model are made of the columns of a batch.

    Attributes
    ----------
    text : str
        The formula, for messages.
    columns : tuple of str
        Columns that the expressions need.
    complete_in : tuple of str
        Those of which a missing value leaves out its row.
    exprs : tuple of Expr
    single : frozenset of Expr
        Those of which one number stands for every row.
    context : mapping
    arguments : dict
        Role (weights, offset) -> column.
    memory : dict
        What functions have learned, by call.
    known : dict
        Levels of factors on all rows: of columns by name, of parts of expressions by expression.
    levels : dict
        Levels of variables on the complete rows.
    grouping : frozenset of Expr
        Variables that only name levels: they are left as they are, for whoever knows their levels.
    keyed : frozenset of str
        Columns of many texts that only name levels: they are read as numbers, keys of the texts.
    seed : int
        Of the keys.
    times : str
        Column that says how many rows of the data each row stands for; empty where each stands for itself.
    """

    text: str
    columns: tuple[str, ...]
    complete_in: tuple[str, ...]
    exprs: tuple[Expr, ...]
    single: frozenset[Expr]
    context: Context
    arguments: dict[str, str]
    memory: dict[Expr, Value] = field(default_factory=dict)
    known: dict[Key, Places] = field(default_factory=dict)
    levels: dict[Expr, Places] = field(default_factory=dict)
    grouping: frozenset[Expr] = frozenset()
    keyed: frozenset[str] = frozenset()
    seed: int = 0
    times: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that are read."""
        own = (self.times,) if self.times else ()
        return tuple(dict.fromkeys((*self.columns, *self.arguments.values(), *own)))

    @property
    def known_parts(self) -> dict[Expr, Entries]:
        """Levels of the parts of expressions on all rows."""
        return {key: places.known for key, places in self.known.items() if not isinstance(key, str)}

    def of(self, batch: pa.RecordBatch) -> BatchRows:
        """The variables on the complete rows of a batch."""
        table = table_of(batch)
        raw = {name: self._read(name, table, batch) for name in self.columns}
        given = {role: column_argument(name, role, table) for role, name in self.arguments.items()}
        missing = {name: raw[name].missing for name in self.complete_in}
        missing |= {a.name: a.missing for a in given.values()}
        every = batch.column(self.times).to_numpy() if self.times else None
        drop, lacking = _any(missing, table.n_rows, every)
        rows = None if drop is None else np.flatnonzero(~drop)
        n = table.n_rows if rows is None else len(rows)
        times = every if every is None or rows is None else every[rows]
        present = {name: self._column(name, column.at(rows)) for name, column in raw.items()}
        evaluator = Aligning(self.known_parts, present, n, self.text, self.context, self.memory)
        values = {expr: self._value(expr, evaluator) for expr in self.exprs}
        drop, undefined = _any({expr: missing_rows(value) for expr, value in values.items()}, n, times)
        arguments = {role: _at(a.values, rows) for role, a in given.items()}
        kept, own = None, np.zeros(0, dtype=np.int64)
        if drop is not None:
            kept = ~drop
            own = np.flatnonzero(kept)
            values = {expr: take(value, own) for expr, value in values.items()}
            arguments = {role: array[own] for role, array in arguments.items()}
        for expr, places in self.levels.items():
            values[expr] = aligned(values[expr], places, deparse(expr))
        return BatchRows(
            n if kept is None else len(own),
            table.n_rows,
            n,
            present,
            values,
            kept,
            arguments,
            lacking,
            undefined,
            {role: _rows_at(np.isinf(a.values), every) for role, a in given.items()},
            evaluator.found,
            batch,
            rows if kept is None else own if rows is None else rows[own],
            times,
            (_rows_at(kept, times, n), _rows_at(None, times, n), _rows_at(None, every, table.n_rows)),
        )

    def _read(self, name: str, table: Table, batch: pa.RecordBatch) -> Column:
        """A column; of one of many texts their keys."""
        if name not in self.keyed:
            return table.column(name)
        texts = batch.column(name)
        missing = texts.is_null().to_numpy(zero_copy_only=False) if texts.null_count else None
        return Column(keys_of(texts, self.seed)[0], missing)

    def _column(self, name: str, value: Value) -> Value:
        known = self.known.get(name)
        return value if known is None or not isinstance(value, Factor) else aligned(value, known, name)

    def _value(self, expr: Expr, evaluator: Evaluator) -> Value:
        if expr in self.grouping and type(expr) is Name:
            return evaluator(expr)
        return variable(expr, evaluator, constant=expr in self.single)


def _any(
    masks: Mapping[K, NDArray[np.bool_] | None], n: int, times: NDArray[np.int64] | None
) -> tuple[NDArray[np.bool_] | None, dict[K, int]]:
    """Rows where any mask is set, None if there are none, and how many rows each has."""
    there = {key: mask for key, mask in masks.items() if mask is not None}
    if not there:
        return None, {}
    drop = np.zeros(n, dtype=bool)
    for mask in there.values():
        drop |= mask
    return drop, {key: _rows_at(mask, times) for key, mask in there.items()}


def _rows_at(mask: NDArray[np.bool_] | None, times: NDArray[np.int64] | None, n: int = 0) -> int:
    """Rows of the data that those of a mask stand for; of no mask all `n`."""
    if times is None:
        return n if mask is None else int(mask.sum())
    return int((times if mask is None else times[mask]).sum())


def _at(values: Array, rows: NDArray[np.int64] | None) -> Array:
    return values if rows is None else values[rows]
