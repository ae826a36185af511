"""The first passes over rows: which are complete, which levels they have, and what functions learn from them.

Expressions whose value in a row depends on that row alone are read batch by batch. The others (``poly(x, 2)`` needs the mean
of x, ``factor(g)`` the values of g) are evaluated once on the columns that they name, of all rows: what they learn is then
what it is in memory, to the last digit, and every batch that comes later is coded with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError, PlanError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Call, Expr, Name
from lmmformula.formula.walk import nodes
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.model_frame import variable
from lmmformula.frame.signature import FUNCTIONS
from lmmformula.frame.sources import BATCH_ROWS, Source, table_of
from lmmformula.frame.streamed.distinct import DistinctLabels, DistinctNumbers, Places
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Basis, Factor, Value, missing_rows, n_infinite, take
from lmmformula.frame.variables import column_names, report_dropped
from lmmformula.memory import available_memory, in_words
from lmmformula.typing import Entries

K = TypeVar("K")

__all__ = ["Found", "batches", "needs_all_rows", "survey"]

_COPIES = 4.0
"""Copies of its columns that the evaluation of an expression holds, as functions of splines and polynomials do."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the first passes found.

    Attributes
    ----------
    variables : Variables
        Ready for every batch.
    n, n_data : int
        Complete rows, and all.
    columns, values : dict
        Columns and variables of `BATCH_ROWS` rows at most, which say their types and levels alone.
    distinct : dict
        Different values, each in one row, of factors and of numbers that are members of grouping factors.
    text_rows : dict
        Rows of each level of columns of text that are variables.
    infinite : dict
        Rows in which a variable is infinite.
    counts : dict
        Rows that each column or expression left out.
    """

    variables: Variables
    n: int
    n_data: int
    columns: dict[str, Value]
    values: dict[Expr, Value]
    distinct: dict[Expr, Value]
    text_rows: dict[Expr, tuple[Entries, NDArray[np.int64]]]
    infinite: dict[Expr, int]
    counts: dict[str, int]


def batches(source: Source, variables: Variables) -> Iterator[BatchRows]:
    """The complete rows of every batch of a source."""
    for batch in source.batches(variables.names):
        yield variables.of(table_of(batch))


def needs_all_rows(expr: Expr, context: Mapping[str, object]) -> bool:
    """Whether an expression calls a function that learns from all rows."""
    for node in nodes(expr):
        if isinstance(node, Call):
            name = node.function.rpartition("::")[2]
            if name not in context and name in FUNCTIONS and FUNCTIONS[name].learns:
                return True
    return False


class _Tally:
    """What is counted of the rows that pass by."""

    def __init__(self, members: frozenset[Expr]) -> None:
        self.members = members
        self.labels: dict[str, DistinctLabels] = {}
        self.truths: dict[Expr, NDArray[np.int64]] = {}
        self.numbers: dict[Expr, DistinctNumbers] = {}
        self.infinite: dict[Expr, int] = {}
        self.n = self.n_whole = self.n_data = 0
        self.lacking: dict[str, int] = {}
        self.undefined: dict[Expr, int] = {}
        self.endless: dict[str, int] = {}

    def add(self, rows: BatchRows) -> dict[str, NDArray[np.int32]]:
        """Count a batch; codes of its factors, of the rows with complete columns."""
        self.n += rows.n
        self.n_whole += rows.n_whole
        self.n_data += rows.n_data
        _add(self.lacking, rows.lacking)
        _add(self.undefined, rows.undefined)
        _add(self.endless, rows.infinite)
        codes = {}
        for name, value in rows.columns.items():
            if isinstance(value, Factor):
                labels = self.labels.setdefault(name, DistinctLabels())
                codes[name] = labels.places(value)
                labels.add(codes[name] if rows.kept is None else codes[name][rows.kept])
        for expr, value in rows.values.items():
            self._value(expr, value)
        return codes

    def _value(self, expr: Expr, value: Value) -> None:
        if not isinstance(value, Factor):
            self.infinite[expr] = self.infinite.get(expr, 0) + n_infinite(value)
            if expr in self.members and not isinstance(value, Basis):
                self.numbers.setdefault(expr, DistinctNumbers()).add(value)
        elif type(expr) is not Name and value.kind == "logical":
            counts = np.bincount(value.codes, minlength=2)
            self.truths[expr] = self.truths.get(expr, np.zeros(2, dtype=np.int64)) + counts

    def again(self) -> _Tally:
        """A tally for another pass over the same rows, which knows their labels."""
        out = _Tally(self.members)
        out.labels = self.labels
        for labels in out.labels.values():
            labels.forget_rows()
        return out


def _add(total: dict[K, int], own: Mapping[K, int]) -> None:
    for key, count in own.items():
        total[key] = total.get(key, 0) + count


class _Whole:
    """Columns that are held for expressions of all rows."""

    def __init__(self, exprs: list[Expr], names: list[str], limit: float | None, n_rows: int | None) -> None:
        self.exprs, self.names = exprs, names
        self.limit = limit
        self.parts: dict[str, list[Entries]] = {name: [] for name in names}
        self.kept: list[NDArray[np.bool_]] = []
        self.size = 0.0
        if n_rows is not None:
            self._refuse(8.0 * n_rows * len(names), n_rows)

    def add(self, rows: BatchRows, codes: Mapping[str, NDArray[np.int32]]) -> None:
        for name in self.names:
            part = np.array(codes[name] if name in codes else rows.columns[name])
            self.size += part.nbytes
            self.parts[name].append(part)
        self.kept.append(np.ones(rows.n_whole, dtype=bool) if rows.kept is None else rows.kept)
        self._refuse(self.size, None)

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

    def columns(self, tally: _Tally) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for name in self.names:
            whole = np.concatenate(self.parts.pop(name))
            out[name] = tally.labels[name].factor(whole) if name in tally.labels else whole
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _Settled:
    """Expressions of all rows on those that are complete."""

    values: dict[Expr, Value]
    memory: dict[Expr, Value]
    parts: Mapping[Expr, Value]
    n: int


def survey(
    source: Source,
    variables: Variables,
    members: frozenset[Expr],
    plain: frozenset[Expr],
    missing: str,
    limit: float | None,
) -> Found:
    """Go through the rows as often as it takes to know the variables of every batch.

    Parameters
    ----------
    source : Source
    variables : Variables
        Without what is learned.
    members : frozenset of Expr
        Variables that are grouping factors, or members of such.
    plain : frozenset of Expr
        Variables that are something else.
    missing : {"drop", "raise"}
    limit : float or None
        Bytes that columns may take.
    """
    whole = _of_all_rows(source, variables)
    alone = replace(variables, exprs=tuple(e for e in variables.exprs if e not in whole))
    tally = _Tally(members)
    names = [n for n in column_names(whole) if n in variables.columns]
    held = _Whole(whole, names, limit, source.n_rows) if whole else None
    sample: BatchRows | None = None
    for rows in batches(source, alone):
        codes = tally.add(rows)
        if held is not None:
            held.add(rows, codes)
        if sample is None or (not sample.n and rows.n):
            sample = rows
    if sample is None or not tally.n_data:
        raise DataError("the table has no rows")
    counts = {name: tally.lacking[name] for name in _order(variables) if tally.lacking.get(name)}
    if not tally.n_whole:
        report_dropped(tally.n_data, tally.n_data, counts, missing)
    settled = None
    if held is not None:
        settled = _settle(variables, held, tally, counts, missing)
    else:
        counts |= {deparse(e): tally.undefined[e] for e in variables.exprs if tally.undefined.get(e)}
        if not tally.n:
            report_dropped(tally.n_data, tally.n_data, counts, missing)
    if settled is not None and settled.n < tally.n:
        n, tally = settled.n, _second(source, variables, settled, tally)
        if tally.n != n:
            raise DataError(
                f"{n:,} rows are complete in all variables when they are looked at together, but {tally.n:,} when they are "
                "read in batches: an expression of the formula is missing in a row because of other rows. Compute it "
                "beforehand as a column."
            )
    return _found(variables, tally, settled, sample, counts, plain)


def _order(variables: Variables) -> list[str]:
    return list(dict.fromkeys((*variables.complete_in, *variables.arguments.values())))


def _of_all_rows(source: Source, variables: Variables) -> list[Expr]:
    """Expressions that are not made of each row alone, as the first rows show."""
    whole = {e for e in variables.exprs if type(e) is not Name and needs_all_rows(e, variables.context)}
    others = [e for e in variables.exprs if type(e) is not Name and e not in whole]
    if others:
        first = next((rows for rows in batches(source, replace(variables, exprs=())) if rows.n_whole), None)
        if first is not None:
            whole |= {e for e in others if not _is_of_each_row(e, variables, first)}
    return [e for e in variables.exprs if e in whole]


def _is_of_each_row(expr: Expr, variables: Variables, rows: BatchRows) -> bool:
    """Whether all parts of an expression are numbers, truths or text, which no other row can change."""
    evaluator = Evaluator(rows.columns, rows.n_whole, variables.text, variables.context, {}, learn=False)
    value = variable(expr, evaluator, constant=expr in variables.single)
    foreign = [
        node
        for node in nodes(expr)
        if isinstance(node, Call) and callable(variables.context.get(node.function.rpartition("::")[2]))
    ]
    if foreign:
        _refuse_looking_around(expr, value, variables, rows)
    made = [v for e, v in evaluator.found.items() if isinstance(v, Factor) and not _is_constant(e)]
    named = [rows.columns[name] for name in column_names([expr]) if name in rows.columns]
    kinds = {v.kind for v in named if isinstance(v, Factor)}
    return kinds <= {"text", "logical"} and all(v.kind == "logical" for v in made)


def _is_constant(expr: Expr) -> bool:
    return type(expr) is Name


def _refuse_looking_around(expr: Expr, value: Value, variables: Variables, rows: BatchRows) -> None:
    """Refuse a function of the caller's whose value in a row depends on other rows."""
    if rows.n_whole < 2:
        return
    half = np.arange(rows.n_whole // 2)
    part = {name: take(column, half) for name, column in rows.columns.items()}
    evaluator = Evaluator(part, len(half), variables.text, variables.context, {}, learn=False)
    if _plain(variable(expr, evaluator, constant=expr in variables.single)) != _plain(take(value, half)):
        raise FormulaError(
            f"`{deparse(expr)}` gives a row another value when fewer rows are there, so it cannot be computed a batch of rows "
            "at a time",
            variables.text,
            expr.span,
            "compute it beforehand as a column",
        )


def _plain(value: Value) -> list[object]:
    """Values as they can be compared."""
    if isinstance(value, Factor):
        return [None if c < 0 else value.levels[c] for c in value.codes]
    array = value.matrix if isinstance(value, Basis) else np.asarray(value)
    return np.where(np.isnan(array), np.inf, array).tolist() if array.dtype.kind == "f" else array.tolist()


def _settle(
    variables: Variables, held: _Whole, tally: _Tally, counts: dict[str, int], missing: str
) -> _Settled:
    """Evaluate expressions of all rows, leave out rows in which one is missing, and evaluate them again."""
    columns, keep = held.columns(tally), np.concatenate(held.kept)
    at, first = np.arange(len(keep)), True
    present = columns
    while True:
        evaluator = Evaluator(present, len(at), variables.text, variables.context, {}, learn=True)
        values = {e: variable(e, evaluator, constant=e in variables.single) for e in held.exprs}
        masks = {e: mask for e, v in values.items() if (mask := missing_rows(v)) is not None}
        for expr in variables.exprs:
            if expr in masks:
                counts[deparse(expr)] = int(masks[expr].sum())
                keep[at[masks[expr]]] = False
            elif first and tally.undefined.get(expr):
                counts[deparse(expr)] = tally.undefined[expr]
        if keep[at].all():
            return _Settled(values, evaluator.memory, evaluator.found, len(at))
        at, first = np.flatnonzero(keep), False
        if not len(at):
            report_dropped(tally.n_data, tally.n_data, counts, missing)
        present = {name: take(value, at) for name, value in columns.items()}


def _second(source: Source, variables: Variables, settled: _Settled, tally: _Tally) -> _Tally:
    """Count the rows again that are complete in what was learned, too."""
    again = tally.again()
    known = {**_known_columns(tally, variables), **_known_parts(settled)}
    learned = replace(variables, memory=dict(settled.memory), known=known)
    for rows in batches(source, learned):
        again.add(rows)
    return again


def _known_columns(tally: _Tally, variables: Variables) -> dict[Expr | str, Places]:
    """Levels of columns that functions see."""
    within = set(column_names(e for e in variables.exprs if type(e) is not Name))
    return {name: Places(labels.levels()) for name, labels in tally.labels.items() if name in within}


def _known_parts(settled: _Settled) -> dict[Expr | str, Places]:
    return {
        e: Places(v.levels) for e, v in settled.parts.items() if isinstance(v, Factor) and v.kind != "logical"
    }


def _found(
    variables: Variables,
    tally: _Tally,
    settled: _Settled | None,
    sample: BatchRows,
    counts: dict[str, int],
    plain: frozenset[Expr],
) -> Found:
    n = min(tally.n, BATCH_ROWS)
    columns: dict[str, Value] = {}
    for name, value in sample.columns.items():
        if name in tally.labels:
            labels = tally.labels[name]
            columns[name] = Factor(_empty_codes(n), labels.levels(), labels.kind)
        else:
            columns[name] = _pattern(value, n)
    values, text_rows, distinct = {}, {}, {}
    for expr in variables.exprs:
        if type(expr) is Name and expr.value in tally.labels:
            labels = tally.labels[expr.value]
            levels, rows = labels.levels(), labels.rows()
            used = rows > 0
            shown = levels if labels.kind == "logical" else levels[used]
            values[expr] = Factor(_empty_codes(n), shown, labels.kind)
            if labels.kind == "text":
                text_rows[expr] = (shown, rows[used])
            distinct[expr] = _each(shown, labels.kind, used if labels.kind == "logical" else None)
        elif settled is not None and expr in settled.values:
            value = settled.values[expr]
            values[expr] = _pattern(value, n)
            if expr in tally.members or isinstance(value, Factor):
                distinct[expr] = _once(value)
        else:
            values[expr] = _pattern(sample.values[expr], n)
            if expr in tally.numbers:
                distinct[expr] = tally.numbers[expr].values()
            elif expr in tally.truths:
                distinct[expr] = _each(sample.values[expr].levels, "logical", tally.truths[expr] > 0)
            elif expr in tally.members:  # several columns, which levels_of refuses by name
                distinct[expr] = values[expr]
    infinite = {
        e: n_infinite(settled.values[e])
        if settled is not None and e in settled.values
        else tally.infinite.get(e, 0)
        for e in variables.exprs
    }
    grouping = frozenset(e for e in variables.exprs if type(e) is Name and e not in plain)
    ready = replace(
        variables,
        memory={} if settled is None else dict(settled.memory),
        known=_known_columns(tally, variables) | ({} if settled is None else _known_parts(settled)),
        levels={
            e: Places(v.levels) for e, v in values.items() if isinstance(v, Factor) and e not in grouping
        },
        grouping=grouping,
    )
    for role, count in tally.endless.items():
        _refuse_endless(variables, role, count, tally.n_data)
    return Found(ready, tally.n, tally.n_data, columns, values, distinct, text_rows, infinite, counts)


def _refuse_endless(variables: Variables, role: str, count: int, n: int) -> None:
    from lmmformula.frame.arguments import refuse_infinite_argument

    refuse_infinite_argument(variables.arguments[role], role, count, n)


def _empty_codes(n: int) -> NDArray[np.int32]:
    return np.broadcast_to(np.int32(0), (n,))


def _pattern(value: Value, n: int) -> Value:
    """A value of the same type and levels on n rows that take no memory."""
    if isinstance(value, Factor):
        return Factor(_empty_codes(n), value.levels, value.kind, value.contrast)
    if isinstance(value, Basis):
        return Basis(np.broadcast_to(0.0, (n, value.matrix.shape[1])), value.suffixes)
    return np.broadcast_to(value.dtype.type(0), (n,))


def _each(levels: Entries, kind: str, used: NDArray[np.bool_] | None) -> Factor:
    codes = np.arange(len(levels)) if used is None else np.flatnonzero(used)
    return Factor(codes.astype(np.int32), levels, kind)  # type: ignore[arg-type]


def _once(value: Value) -> Value:
    """Each different value in one row."""
    if isinstance(value, Factor):
        used = np.bincount(value.codes, minlength=len(value.levels)) > 0
        return replace(value, codes=np.flatnonzero(used).astype(np.int32))
    return value if isinstance(value, Basis) else np.unique(value)
