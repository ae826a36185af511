"""Expressions whose value in a row depends on other rows: evaluated once, on the columns that they name.

What they learn is then what it is in memory, to the last digit. Where it depends on which values there are, and not on how many
rows have each (``factor(year)``), one row of each combination of values stands for all of them, with their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Call, Expr
from lmmformula.formula.walk import nodes
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.model_frame import variable
from lmmformula.frame.signature import FUNCTIONS
from lmmformula.frame.streamed.tally import Tally
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Basis, Factor, Value, missing_rows, take
from lmmformula.frame.variables import column_names, report_dropped
from lmmformula.memory import available_memory, in_words
from lmmformula.typing import Entries

__all__ = ["Columns", "Settled", "infinite_rows", "learns", "merged", "settle"]

_COPIES = 4.0
"""Copies of its columns that the evaluation of an expression holds, as functions of splines and polynomials do."""
_HELD = 2**20
"""Rows that are held before those that are equal are made one."""


def learns(expr: Expr, context: Mapping[str, object], *, of_rows: bool) -> bool:
    """Whether an expression calls a function that learns; with `of_rows` from more than the values that there are."""
    for node in nodes(expr):
        if isinstance(node, Call):
            name = node.function.rpartition("::")[2]
            function = None if name in context else FUNCTIONS.get(name)
            if function is not None and function.learns and not (of_rows and function.of_values):
                return True
    return False


class Columns:
    """Columns of all rows that expressions name.

    Parameters
    ----------
    exprs : sequence of Expr
    known : sequence of str
        Columns that there are.
    limit : float or None
        Bytes that they may take.
    n_rows : int or None
    of_values : bool
        Rows that are equal may be held as one.
    """

    def __init__(
        self,
        exprs: Sequence[Expr],
        known: Sequence[str],
        limit: float | None,
        n_rows: int | None,
        *,
        of_values: bool,
    ) -> None:
        self.exprs = tuple(exprs)
        self.names = [name for name in column_names(exprs) if name in known]
        self.limit, self.of_values = limit, of_values
        self._parts: list[list[Entries]] = []
        self._held, self._merged = 0, 0
        if n_rows is not None and not of_values:
            self._refuse(8.0 * n_rows * len(self.names), n_rows)

    def add(self, rows: BatchRows, codes: Mapping[str, NDArray[np.int32]]) -> None:
        """Hold the columns of a batch; `codes` are those of its factors among all levels that came up."""
        kept = np.ones(rows.n_whole, dtype=bool) if rows.kept is None else rows.kept
        columns = [np.asarray(codes[name] if name in codes else rows.columns[name]) for name in self.names]
        times = np.ones(rows.n_whole, dtype=np.int64) if rows.times is None else rows.times
        part = [*columns, kept, times]
        if self.of_values:
            self._parts.append(_distinct(part))
        else:  # what learns from rows sees each of those that a row stands for
            once = rows.times is None
            self._parts.append([c.copy() if once else np.repeat(c, times) for c in part[:-1]])
        self._held += len(self._parts[-1][0])
        if self.of_values and self._held > 2 * self._merged + _HELD:
            self._parts = [_distinct(self._whole())]
            self._held = self._merged = len(self._parts[0][0])
        self._refuse(8.0 * self._held * len(self.names), None)

    def _whole(self) -> list[Entries]:
        return [np.concatenate(column) for column in zip(*self._parts, strict=True)]

    def columns(self, tally: Tally) -> tuple[dict[str, Value], NDArray[np.bool_], NDArray[np.int64] | None]:
        """The columns, which of their rows are complete elsewhere, and how many rows each stands for; None for one."""
        whole = self._whole()
        self._parts = []
        if self.of_values:
            whole = _distinct(whole)
        out: dict[str, Value] = {}
        for name, column in zip(self.names, whole, strict=False):
            out[name] = tally.labels[name].factor(column) if name in tally.labels else column
        at = len(self.names)
        return out, whole[at], whole[at + 1] if self.of_values else None

    def _refuse(self, size: float, n_rows: int | None) -> None:
        if size * _COPIES < 1e8 and self.limit is None:
            return
        have = float(available_memory()) + (0.0 if n_rows else size) if self.limit is None else self.limit
        if size * _COPIES > have:
            shown = ", ".join(f"`{deparse(expr)}`" for expr in self.exprs)
            raise PlanError(
                f"{shown} needs all values of {', '.join(f'`{name}`' for name in self.names)} at once, "
                f"{in_words(size * _COPIES)} with what is made of them, where {in_words(have)} are available: compute it "
                "beforehand as a column, or give its knots, levels or numbers in the formula."
            )


def _distinct(columns: list[Entries]) -> list[Entries]:
    """One of the rows that are equal in all columns but the last, whose numbers are added up."""
    *values, times = columns
    key, size = np.zeros(len(times), dtype=np.int64), 1
    for column in values:
        codes, different = pd.factorize(column, use_na_sentinel=False)
        if size * len(different) >= 2**62:
            key, met = pd.factorize(key)
            size = len(met)
        key, size = key * len(different) + codes, size * len(different)
    codes, met = pd.factorize(key)
    first = np.zeros(len(met), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    count = np.bincount(codes, times, len(met)).astype(np.int64)
    return [*(column[first] for column in values), count]


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Expressions of all rows, on those that are complete.

    Attributes
    ----------
    values : dict
        By expression; one row may stand for several.
    memory : dict
        What functions have learned.
    parts : mapping
        Values of the parts of the expressions.
    infinite : dict
        Rows in which each expression is infinite.
    n : int
        Complete rows.
    dropped : bool
        Whether an expression is missing in some row.
    """

    values: dict[Expr, Value]
    memory: dict[Expr, Value]
    parts: Mapping[Expr, Value]
    infinite: dict[Expr, int]
    n: int
    dropped: bool


def merged(settled: Sequence[Settled]) -> Settled | None:
    """Expressions that were settled apart, none of which is missing anywhere."""
    if not settled:
        return None
    first, *others = settled
    for other in others:
        first = Settled(
            first.values | other.values,
            first.memory | other.memory,
            {**first.parts, **other.parts},
            first.infinite | other.infinite,
            first.n,
            first.dropped or other.dropped,
        )
    return first


def settle(
    variables: Variables, held: Columns, tally: Tally, counts: dict[str, int], missing: str
) -> Settled:
    """Evaluate expressions, leave out rows in which one is missing, and evaluate them again; `counts` says of how many."""
    columns, keep, times = held.columns(tally)
    at, first, dropped = np.arange(len(keep)), True, False
    present = columns
    while True:
        evaluator = Evaluator(present, len(at), variables.text, variables.context, {}, learn=True)
        values = {e: variable(e, evaluator, constant=e in variables.single) for e in held.exprs}
        masks = {e: mask for e, v in values.items() if (mask := missing_rows(v)) is not None}
        for expr in variables.exprs:
            if expr in masks:
                dropped = True
                counts[deparse(expr)] = _rows(at[masks[expr]], times)
                keep[at[masks[expr]]] = False
            elif first and tally.undefined.get(expr):
                counts[deparse(expr)] = tally.undefined[expr]
        if keep[at].all():
            n, own = _rows(at, times), None if times is None else times[at]
            infinite = {e: infinite_rows(v, own) for e, v in values.items()}
            return Settled(values, evaluator.memory, evaluator.found, infinite, n, dropped)
        at, first = np.flatnonzero(keep), False
        if not len(at):
            report_dropped(tally.n_data, tally.n_data, counts, missing)
        present = {name: take(value, at) for name, value in columns.items()}


def _rows(at: NDArray[np.int64], times: NDArray[np.int64] | None) -> int:
    return len(at) if times is None else int(times[at].sum())


def infinite_rows(value: Value, times: NDArray[np.int64] | None) -> int:
    """Rows where a value is infinite."""
    if isinstance(value, Factor):
        return 0
    array = value.matrix if isinstance(value, Basis) else value
    if array.dtype.kind != "f":
        return 0
    bad = np.isinf(array)
    bad = bad.any(axis=1) if bad.ndim == 2 else bad
    return int(bad.sum() if times is None else times[bad].sum())
