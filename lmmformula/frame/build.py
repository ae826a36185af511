"""Table and formula to the canonical form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import (
    DataError,
    FormulaError,
    LmmformulaWarning,
    PlanError,
    RankDeficientWarning,
    warn,
)
from lmmformula.families import Family, resolve
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, LinearPart, ModelSpec, Name, RandomTerm
from lmmformula.frame.arguments import RowArgument, row_argument
from lmmformula.frame.available import check_available
from lmmformula.frame.contrasts import Contrast, contrast_from
from lmmformula.frame.design import Design, make_design, variables_of
from lmmformula.frame.evaluate import Evaluator, is_constant_name
from lmmformula.frame.functions import RefusalError, as_float
from lmmformula.frame.further import further_formulas
from lmmformula.frame.grouping import Grouping, group_members
from lmmformula.frame.levels import levels_of
from lmmformula.frame.nearly import warn_of_numbers_in_text
from lmmformula.frame.random_columns import check_counts, identified_columns, identified_kind
from lmmformula.frame.rank import independent_columns
from lmmformula.frame.recipe import ColumnRecord, Recipe, TermRecipe
from lmmformula.frame.response import read_response, with_repeats
from lmmformula.frame.row_weights import RowWeights
from lmmformula.frame.table import Table, open_table
from lmmformula.frame.values import Basis, Factor, Value, drop_unused, is_column, missing_rows, n_infinite
from lmmformula.frame.variables import (
    Completeness,
    column_names,
    model_variables,
    needs_complete_rows,
    used_context,
)
from lmmformula.frame.width import refuse_wide
from lmmformula.ir.covariance import CovarianceKind
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import Structured
from lmmformula.typing import Arguments, Context, Data

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["build"]

Array = NDArray[np.float64]


def build(
    spec: ModelSpec,
    data: Data,
    *,
    family: str | Family = "gaussian",
    auxiliary: Sequence[ModelSpec | None] = (),
    weights: Data = None,
    offset: Data = None,
    contrasts: Arguments | None = None,
    missing: Literal["drop", "raise"] = "drop",
    context: Context | None = None,
    levels_below_rows: bool = True,
    memory_limit: float | None = None,
) -> Problem:
    """Canonical form of a formula on a table.

    Parameters
    ----------
    spec : ModelSpec
        The parsed formula.
    data : frame, dict of columns, or path
        An eager frame of any library that narwhals reads, or a path to a CSV or Parquet file.
    family : Family or str
        Decides how the response is read; kept in the problem.
    auxiliary : sequence of ModelSpec or None
        One-sided formulas of the family's auxiliary predictors, in its order; None stands for an intercept. Those of
        ``bf(y ~ x, sigma ~ z)`` are put beside them, and may have random effects.
    weights, offset : str or array, optional
        Name of a column, or one number for each row of `data`.
    contrasts : mapping, optional
        Variable of the fixed part -> contrast: a name such as ``"contr.sum"`` or a matrix.
    missing : {"drop", "raise"}
        Rows with a missing value in any variable used: left out with a warning, or an error.
    context : mapping, optional
        Functions and constants that the formula may use besides the registry.
    levels_below_rows : bool
        Refuse terms with as many effects as rows; a family without residual variance allows them.
    memory_limit : float, optional
        Bytes that columns may take; by default what is available.

    Returns
    -------
    Problem
    """
    check_available(spec, context or {})
    record = with_repeats(resolve(family), spec.response)
    if missing not in ("drop", "raise"):
        raise DataError(f'missing must be "drop" or "raise", not {missing!r}')
    table = open_table(data)
    if table.n_rows == 0:
        raise DataError("the table has no rows")
    arguments = (
        row_argument(weights, "weights", table),
        row_argument(offset, "offset", table),
    )
    further = further_formulas(spec, record, auxiliary)
    parts = tuple(LinearPart(intercept=True, terms=()) if s is None else s.fixed for s in further)
    random = tuple(() if s is None else s.random for s in further)
    frame = _evaluate(spec, parts, table, arguments, missing, context or {}, random)
    designs = [t.design for own in (spec.random, *random) for t in own]
    refuse_wide([spec.fixed, *parts, *designs], frame, frame.n, memory_limit)
    problem = _assemble(spec, frame, arguments, record, contrasts or {}, levels_below_rows=levels_below_rows)
    if parts or not problem.family.is_linear:
        more = len(problem.family.auxiliaries) - len(parts)  # learned from the response
        parts, random = (*parts, *[LinearPart(intercept=True, terms=())] * more), (*random, *[()] * more)
        problem = _with_auxiliary(problem, frame, parts, random)
    return problem.freeze()


def _with_auxiliary(
    problem: Problem,
    frame: _Frame,
    parts: Sequence[LinearPart],
    random: Sequence[Sequence[RandomTerm]],
) -> Problem:
    """The problem with the columns and random effects of its auxiliary predictors."""
    designs = [make_design(part, frame) for part in parts]
    blocks = [_fixed_block(design, frame) for design in designs]
    kept = tuple((design, keep) for design, (_, keep) in zip(designs, blocks, strict=True))
    recipe, aux = replace(problem.recipe, aux=kept), tuple(b for b, _ in blocks)
    if not any(random):
        return replace(problem, aux=aux, recipe=recipe)
    groups: dict[tuple[Expr, ...], Grouping] = {}
    both = [[_group_block(t, frame, groups, levels_below_rows=False) for t in own] for own in random]
    terms = tuple(tuple(block for block, _ in own) for own in both)
    recipe = replace(recipe, aux_terms=tuple(tuple(r for _, r in own) for own in both))
    return replace(problem, aux=aux, aux_terms=terms, recipe=recipe)


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """R's model frame: every variable of the model on the complete rows."""

    evaluator: Evaluator
    values: dict[Expr, Value]
    rows: NDArray[np.int64] | None
    n_rows_data: int
    context: Context
    labels: pd.Index | None
    given: Arguments

    @property
    def n(self) -> int:
        return self.evaluator.n_rows

    def __call__(self, expr: Expr) -> Value:
        return self.values[expr]

    def subset(self, array: Array) -> Array:
        return array if self.rows is None else array[self.rows]


def _evaluate(
    spec: ModelSpec,
    auxiliary: Sequence[LinearPart],
    table: Table,
    arguments: tuple[RowArgument | None, ...],
    missing: str,
    context: Context,
    random: Sequence[Sequence[RandomTerm]] = (),
) -> _Frame:
    """Evaluate all variables on the rows that are complete in all of them."""
    terms = [*spec.random, *(term for own in random for term in own)]
    exprs = model_variables(spec, auxiliary, terms)
    names = [
        name
        for name in column_names(exprs)
        if name in table or not (name in context or is_constant_name(name))
    ]
    columns = {name: table.column(name) for name in names}
    complete = Completeness(table.n_rows)
    for name in column_names(e for e in exprs if needs_complete_rows(e)):
        if name in columns and (mask := columns[name].missing) is not None:
            complete.exclude(name, mask)
    for argument in arguments:
        if argument is not None and argument.missing is not None:
            complete.exclude(argument.name, argument.missing)
    used = used_context(context, exprs, columns)
    single = set() if spec.response is None else {spec.response.trials, spec.response.weights}
    while True:
        rows = complete.rows()
        n = table.n_rows if rows is None else len(rows)
        if n == 0:
            complete.report(missing)
        present = {name: column.at(rows) for name, column in columns.items()}
        evaluator = Evaluator(present, n, spec.text, used, {}, learn=True)
        values = {expr: _variable(expr, evaluator, constant=expr in single) for expr in exprs}
        incomplete = {e: mask for e, v in values.items() if (mask := missing_rows(v)) is not None}
        if not incomplete:
            break
        # log(-1) is missing: leave the rows out and learn means, knots and levels again.
        for expr, mask in incomplete.items():
            complete.exclude(deparse(expr), mask, rows)
    complete.report(missing)
    _refuse_infinite(values, n)
    if any(isinstance(value, Factor) and value.kind == "text" for value in values.values()):
        plain = model_variables(spec, auxiliary, terms, groups=False)
        warn_of_numbers_in_text((expr, values[expr]) for expr in plain)
    return _Frame(evaluator, values, rows, table.n_rows, used, table.labels, context)


def _spread(value: Value, n: int) -> Value:
    """A number as a column of `n` equal ones."""
    single = isinstance(value, int | float) and not isinstance(value, bool)
    return np.full(n, float(value)) if single else value


def _variable(expr: Expr, evaluator: Evaluator, *, constant: bool = False) -> Value:
    """Value of a variable of the model; `constant` lets one number stand for every row, as in ``trials(10)``."""
    value = _spread(evaluator(expr), evaluator.n_rows) if constant else evaluator(expr)
    if not is_column(value):
        raise FormulaError(
            f"`{deparse(expr)}` is a constant, not a column",
            evaluator.text,
            expr.span,
            "a variable of the model needs a value for every row",
        )
    length = len(
        value.codes if isinstance(value, Factor) else value.matrix if isinstance(value, Basis) else value
    )
    if length != evaluator.n_rows:
        raise FormulaError(
            f"`{deparse(expr)}` has {length:,} values for {evaluator.n_rows:,} rows",
            evaluator.text,
            expr.span,
        )
    return drop_unused(value) if isinstance(value, Factor) else value


def _refuse_infinite(values: Mapping[Expr, Value], n: int) -> None:
    for expr, value in values.items():
        if count := n_infinite(value):
            where = "column" if isinstance(expr, Name) else "expression"
            hint = "" if isinstance(expr, Name) else " (the logarithm or inverse of zero?)"
            raise DataError(
                f"{where} `{deparse(expr)}` is infinite in {count:,} of {n:,} rows{hint}: "
                "correct or drop these rows"
            )


def _assemble(
    spec: ModelSpec,
    frame: _Frame,
    arguments: tuple[RowArgument | None, ...],
    family: Family,
    contrasts: Arguments,
    *,
    levels_below_rows: bool,
) -> Problem:
    response, weights, offset = spec.response, *arguments
    if response is None:
        raise FormulaError(
            "the formula has no response", spec.text, None, "write it before the tilde: y ~ x + (1 | g)"
        )
    trials = None if response.trials is None else frame(response.trials)
    values = tuple(frame(part) for part in response.parts)
    y, prior = read_response(values, response.label, family, trials, _weights(spec, frame, weights))
    design = make_design(spec.fixed, frame, _contrasts(contrasts, spec))
    X, kept = _fixed_block(design, frame)
    groups: dict[tuple[Expr, ...], Grouping] = {}
    blocks, recipes = [], []
    for term in spec.random:
        block, recipe = _group_block(term, frame, groups, levels_below_rows=levels_below_rows)
        blocks.append(block)
        recipes.append(recipe)
    recipe = Recipe(
        text=spec.text,
        fixed=design,
        kept=kept,
        offsets=spec.fixed.offsets,
        offset_column=None if offset is None else offset.column,
        offset_array=offset is not None and offset.column is None,
        terms=tuple(recipes),
        columns=_records(frame, offset),
        memory=tuple(frame.evaluator.memory.items()),
        context=tuple(frame.context.items()),
        weights=_row_weights(spec, weights),
    )
    return Problem(
        y=y,
        X=X,
        terms=tuple(blocks),
        weights=prior,
        offset=_offset(spec.fixed, frame, offset),
        family=family.learn(y, prior),
        formula=spec.text,
        rows=np.arange(frame.n_rows_data) if frame.rows is None else frame.rows,
        n_rows_data=frame.n_rows_data,
        recipe=recipe,
        labels=frame.labels,
    )


def _contrasts(given: Arguments, spec: ModelSpec) -> dict[str, Contrast]:
    """Contrasts by variable; like lme4's, they reach the fixed part only."""
    fixed = {deparse(e) for e in variables_of(spec.fixed.terms)}
    for name in given:
        if name not in fixed:
            elsewhere = {deparse(e) for term in spec.random for e in variables_of(term.design.terms)}
            if name not in elsewhere:
                raise DataError(
                    f"contrasts= names `{name}`, which is not in the formula; fixed part: {sorted(fixed)}"
                )
            text = f"contrasts= names `{name}`, which only random effects use: they keep their default coding"
            warn(text, LmmformulaWarning)
    return {name: contrast_from(value) for name, value in given.items()}


def _fixed_block(design: Design, frame: _Frame) -> tuple[FixedBlock, tuple[int, ...]]:
    matrix = design.matrix(frame, frame.n)
    kept = independent_columns(matrix, design.names)
    p, n = len(kept), frame.n
    if p >= n:
        raise DataError(
            f"{p:,} fixed-effects columns for {n:,} rows: nothing is left to estimate a variance from; "
            "leave out terms, or make a factor with many levels a random effect"
        )
    dropped: tuple[str, ...] = ()
    if p < matrix.shape[1]:
        gone = sorted(set(range(matrix.shape[1])) - set(kept.tolist()))
        dropped = tuple(design.names[j] for j in gone)
        shown = ", ".join(dropped[:10]) + (f", ... ({len(dropped)} in all)" if len(dropped) > 10 else "")
        text = (
            f"{len(dropped)} of {matrix.shape[1]} fixed-effects columns dropped "
            f"because earlier columns determine them: {shown}"
        )
        warn(text, RankDeficientWarning)
        matrix = np.ascontiguousarray(matrix[:, kept])
    keep = tuple(kept.tolist())
    block = FixedBlock(
        matrix,
        tuple(design.names[j] for j in keep),
        tuple(design.assign[j] for j in keep),
        design.term_labels,
        dropped,
    )
    return block, keep


def _group_block(
    term: RandomTerm, frame: _Frame, groups: dict[tuple[Expr, ...], Grouping], *, levels_below_rows: bool
) -> tuple[GroupBlock, TermRecipe]:
    levels = levels_of(term, frame, frame.n, groups, frame.given, frame.evaluator.text)
    design = make_design(term.design, frame)
    label = term.text or f"{' + '.join(t.label for t in term.design.terms) or '1'} | {term.group_label}"
    if not design.names:
        raise PlanError(f"({label}) has no columns: write (1 | {term.group_label}), or leave the term out")
    basis = None if design.is_constant else design.matrix(frame, frame.n)
    kept = None if basis is None else identified_columns(basis, design.names, label)
    own = group_members(term.group)
    several = (term.members, term.member_weights, term.member_scale) if term.members else None
    recipe = TermRecipe(own, term.group_label, design, levels.cells, kept, several)
    basis, columns, m = recipe.own(basis), recipe.columns, len(levels.labels)
    kind: CovarianceKind = identified_kind(term.covariance, len(columns), basis, levels.codes, m, label)
    if levels.across is not None:
        kind = Structured(kind, levels.across)
    elif (
        own and not kind.serial
    ):  # a serial correlation can be told from the residual variance within one level
        check_counts(label, term.group_label, m, len(columns), frame.n, strict=levels_below_rows)
    block = GroupBlock(
        term.group_label, columns, levels.labels, levels.codes, basis, kind, label, shares=levels.shares
    )
    return block, recipe


def _weights(spec: ModelSpec, frame: _Frame, argument: RowArgument | None) -> Array | None:
    expr = None if spec.response is None else spec.response.weights
    if expr is not None and argument is not None:
        raise DataError("weights are given twice: in the formula and as an argument")
    if argument is not None:
        values, name = frame.subset(argument.values), argument.name
    elif expr is not None:
        values, name = _number(expr, frame), deparse(expr)
    else:
        return None
    if negative := int((values < 0).sum()):
        raise DataError(f"weights `{name}` are negative in {negative:,} rows")
    if zero := int((values == 0).sum()):
        raise DataError(
            f"weights `{name}` are zero in {zero:,} rows: drop these rows, which cannot say anything"
        )
    return values


def _row_weights(spec: ModelSpec, argument: RowArgument | None) -> RowWeights:
    """Where the weights come from, for new data."""
    response = spec.response
    if response is None:
        return RowWeights()
    factors = tuple(e for e in (response.weights, response.trials) if e is not None)
    counts = response.parts if len(response.parts) == 2 else ()
    column = None if argument is None else argument.column
    return RowWeights(factors, counts, column, is_array=argument is not None and argument.column is None)


def _offset(part: LinearPart, frame: _Frame, argument: RowArgument | None) -> Array | None:
    values = [_number(expr, frame) for expr in part.offsets]
    if argument is not None:
        values.append(frame.subset(argument.values))
    return sum(values[1:], values[0]) if values else None


def _number(expr: Expr, frame: _Frame) -> Array:
    try:
        return as_float(frame(expr), f"`{deparse(expr)}`")
    except RefusalError as refusal:
        raise FormulaError(refusal.problem, frame.evaluator.text, expr.span, refusal.hint) from None


def _records(frame: _Frame, offset: RowArgument | None) -> tuple[ColumnRecord, ...]:
    """Types of the columns, with the levels of factors that functions see; codings keep their own."""
    within = set(column_names(e for e in frame.values if not isinstance(e, Name)))
    records = []
    for name, value in frame.evaluator.columns.items():
        if isinstance(value, Factor):
            levels = tuple(value.levels) if name in within else ()
            records.append(ColumnRecord(name, levels, value.kind))
        else:
            records.append(ColumnRecord(name))
    if offset is not None and offset.column is not None and offset.column not in frame.evaluator.columns:
        records.append(ColumnRecord(offset.column))
    return tuple(records)
