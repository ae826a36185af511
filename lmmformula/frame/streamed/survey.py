"""The first passes over rows: which are complete, which levels they have, and what functions learn from them.

Expressions whose value in a row depends on that row alone are read batch by batch. Others (``poly(x, 2)`` needs the mean of x,
``factor(g)`` the values of g) are settled once, on columns of all rows (:mod:`lmmformula.frame.streamed.together`); every batch
that comes later is coded with what they have learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Call, Expr, Name
from lmmformula.formula.walk import nodes
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.model_frame import variable
from lmmformula.frame.sources import BATCH_ROWS, Source, workers_of
from lmmformula.frame.streamed.counting import tallied_there
from lmmformula.frame.streamed.distinct import Places, sorted_distinct
from lmmformula.frame.streamed.tally import Tally
from lmmformula.frame.streamed.texts import AlikeError, DistinctTexts, many_texts
from lmmformula.frame.streamed.together import Columns, Settled, learns, merged, settle
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Basis, Factor, Value, take
from lmmformula.frame.variables import column_names, report_dropped
from lmmformula.typing import Entries

__all__ = ["Found", "batches", "survey"]


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
    texts : dict
        Different texts of columns that are read as keys.
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
    texts: dict[str, DistinctTexts]


def batches(source: Source, variables: Variables) -> Iterator[BatchRows]:
    """The complete rows of every batch of a source."""
    for batch in source.batches(variables.names):
        yield variables.of(batch)


def _beginning(source: Source, variables: Variables) -> Iterator[BatchRows]:
    """The same for whoever needs the first of them: of rows that workers have no more parts are read than needed."""
    workers = workers_of(source)
    if workers is None:
        yield from batches(source, variables)
        return
    for part in range(source.parts):
        yield from map(variables.of, workers.beginning(variables.names, part))


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
    first = _first_rows(source, variables)
    variables = replace(variables, keyed=_of_many_texts(first, variables, members, plain))
    of_rows, of_values = _of_all_rows(first, variables)
    while True:
        try:
            return _survey(source, variables, members, plain, missing, limit, of_rows, of_values, first)
        except AlikeError:
            variables = replace(variables, seed=variables.seed + 1)


def _first_rows(source: Source, variables: Variables) -> BatchRows | None:
    """The first batch that has rows with complete columns, without expressions; None if there is none."""
    alone = replace(variables, exprs=())
    return next((rows for rows in _beginning(source, alone) if rows.n_whole), None)


def _of_many_texts(
    first: BatchRows | None, variables: Variables, members: frozenset[Expr], plain: frozenset[Expr]
) -> frozenset[str]:
    """Columns of many texts that only name levels, as the first rows show."""
    within = set(column_names(e for e in variables.exprs if type(e) is not Name or e in plain))
    names = [e.value for e in variables.exprs if type(e) is Name and e in members and e.value not in within]
    if first is None:
        return frozenset()
    return frozenset(n for n in names if n in variables.columns and many_texts(first.batch.column(n)))


def _survey(
    source: Source,
    variables: Variables,
    members: frozenset[Expr],
    plain: frozenset[Expr],
    missing: str,
    limit: float | None,
    of_rows: list[Expr],
    of_values: list[Expr],
    first: BatchRows | None,
) -> Found:
    whole = {*of_rows, *of_values}
    alone = replace(variables, exprs=tuple(e for e in variables.exprs if e not in whole))

    def columns(exprs: list[Expr], *, of_values: bool) -> list[Columns]:
        if not exprs:
            return []
        return [Columns(exprs, variables.columns, limit, source.n_rows, of_values=of_values)]

    held = [*columns(of_rows, of_values=False), *columns(of_values, of_values=True)]
    tally, sample, counts = _first(source, alone, members, held, missing, first)
    apart = [settle(variables, own, tally, counts, missing) for own in held]
    if len(apart) > 1 and any(own.dropped for own in apart):  # each has a part in what the other learns from
        held = columns([*of_rows, *of_values], of_values=False)
        tally, sample, counts = _first(source, alone, members, held, missing, first)
        apart = [settle(variables, own, tally, counts, missing) for own in held]
    settled = merged(apart)
    if settled is None:
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


def _first(
    source: Source,
    variables: Variables,
    members: frozenset[Expr],
    held: list[Columns],
    missing: str,
    first: BatchRows | None,
) -> tuple[Tally, BatchRows, dict[str, int]]:
    """Count the rows whose columns are complete, and hold what expressions of all rows need of them; `first` are some."""
    tally = Tally(members, variables)
    workers = None if held else workers_of(source)  # whatever is held of all rows is held here
    sample: BatchRows | None = None
    if workers is not None:
        sample = _sample(source, variables, first)
        tallied_there(workers, variables, members, tally)
    for rows in batches(source, variables) if workers is None else ():
        if sample is None or (not sample.n and rows.n):
            sample = rows
        codes = tally.add(rows)
        for own in held:
            own.add(rows, codes)
    if sample is None or not tally.n_data:
        raise DataError("the table has no rows")
    order = dict.fromkeys((*variables.complete_in, *variables.arguments.values()))
    counts = {name: tally.lacking[name] for name in order if tally.lacking.get(name)}
    if not tally.n_whole:
        report_dropped(tally.n_data, tally.n_data, counts, missing)
    return tally, sample, counts


def _sample(source: Source, variables: Variables, first: BatchRows | None) -> BatchRows | None:
    """Rows that are complete if there are any: of those that were looked at first, if they will do."""
    known = None if first is None else variables.of(first.batch)
    if known is not None and known.n:
        return known
    for rows in _beginning(source, variables):
        known = rows
        if rows.n:
            break
    return known


def _of_all_rows(first: BatchRows | None, variables: Variables) -> tuple[list[Expr], list[Expr]]:
    """Expressions that are not made of each row alone, as the first rows show: of all rows, and of the values there are."""
    made = [e for e in variables.exprs if type(e) is not Name]
    of_rows = [e for e in made if learns(e, variables.context, of_rows=True)]
    of_values = {e for e in made if e not in of_rows and learns(e, variables.context, of_rows=False)}
    others = [e for e in made if e not in of_rows and e not in of_values]
    if first is not None:
        of_values |= {e for e in others if not _is_of_each_row(e, variables, first)}
    return of_rows, [e for e in made if e in of_values]


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


def _second(source: Source, variables: Variables, settled: Settled, tally: Tally) -> Tally:
    """Count the rows again that are complete in what was learned, too."""
    again = tally.again()
    known = {**_known_columns(tally, variables), **_known_parts(settled)}
    learned = replace(variables, memory=dict(settled.memory), known=known)
    if (workers := workers_of(source)) is not None:
        return tallied_there(workers, learned, tally.members, again)
    for rows in batches(source, learned):
        again.add(rows)
    return again


def _known_columns(tally: Tally, variables: Variables) -> dict[Expr | str, Places]:
    """Levels of columns that functions see."""
    within = set(column_names(e for e in variables.exprs if type(e) is not Name))
    return {name: Places(labels.levels()) for name, labels in tally.labels.items() if name in within}


def _known_parts(settled: Settled) -> dict[Expr | str, Places]:
    return {
        e: Places(v.levels) for e, v in settled.parts.items() if isinstance(v, Factor) and v.kind != "logical"
    }


def _found(
    variables: Variables,
    tally: Tally,
    settled: Settled | None,
    sample: BatchRows,
    counts: dict[str, int],
    plain: frozenset[Expr],
) -> Found:
    n = min(tally.n, BATCH_ROWS)
    columns: dict[str, Value] = {}
    for name, value in sample.columns.items():
        if name in variables.keyed:
            columns[name] = Factor(_empty_codes(n), np.zeros(0, dtype=object), tally.texts[name].kind)
        elif name in tally.labels:
            labels = tally.labels[name]
            columns[name] = Factor(_empty_codes(n), labels.levels(), labels.kind)
        else:
            columns[name] = _pattern(value, n)
    values, text_rows, distinct = {}, {}, {}
    for expr in variables.exprs:
        if type(expr) is Name and expr.value in variables.keyed:
            values[expr] = columns[expr.value]
        elif type(expr) is Name and expr.value in tally.labels:
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
    infinite = {e: tally.infinite.get(e, 0) for e in variables.exprs}
    if settled is not None:
        infinite |= settled.infinite
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
    return Found(
        ready, tally.n, tally.n_data, columns, values, distinct, text_rows, infinite, counts, tally.texts
    )


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
    return value if isinstance(value, Basis) else sorted_distinct(value)
