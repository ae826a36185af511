"""What a fit keeps of its formula, to be replayed on new data: made once the codings are known."""

from __future__ import annotations

from collections.abc import Sequence

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.spec import Expr, ModelSpec, Name
from lmmformula.frame.arguments import RowArgument
from lmmformula.frame.design import Design
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.recipe import ColumnRecord, Recipe
from lmmformula.frame.row_weights import RowWeights
from lmmformula.frame.term_recipe import TermRecipe
from lmmformula.frame.values import Factor
from lmmformula.frame.variables import column_names

__all__ = ["no_response", "recipe_of", "weights_given"]


def no_response(spec: ModelSpec) -> FormulaError:
    """What to say of a formula without a left-hand side."""
    return FormulaError(
        "the formula has no response", spec.text, None, "write it before the tilde: y ~ x + (1 | g)"
    )


def weights_given(spec: ModelSpec, by_argument: bool) -> Expr | None:
    """The weights that the formula gives; refused beside an argument."""
    expr = None if spec.response is None else spec.response.weights
    if expr is not None and by_argument:
        raise DataError("weights are given twice: in the formula and as an argument")
    return expr


def recipe_of(
    spec: ModelSpec,
    frame: ModelFrame,
    design: Design,
    kept: tuple[int, ...],
    terms: Sequence[TermRecipe],
    weights: RowArgument | None,
    offset: RowArgument | None,
) -> Recipe:
    """The recipe of a model's mean."""
    return Recipe(
        text=spec.text,
        fixed=design,
        kept=kept,
        offsets=spec.fixed.offsets,
        offset_column=None if offset is None else offset.column,
        offset_array=offset is not None and offset.column is None,
        terms=tuple(terms),
        columns=_records(frame, offset),
        memory=tuple(frame.memory.items()),
        context=tuple(frame.context.items()),
        weights=_row_weights(spec, weights),
        within=tuple(frame.within.items()),
        smooths=frame.smooths,
    )


def _row_weights(spec: ModelSpec, argument: RowArgument | None) -> RowWeights:
    """Where the weights come from, for new data."""
    response = spec.response
    if response is None:
        return RowWeights()
    factors = tuple(e for e in (response.weights, response.trials) if e is not None)
    counts = response.parts if len(response.parts) == 2 else ()
    column = None if argument is None else argument.column
    return RowWeights(factors, counts, column, is_array=argument is not None and argument.column is None)


def _records(frame: ModelFrame, offset: RowArgument | None) -> tuple[ColumnRecord, ...]:
    """Types of the columns, with the levels of factors that functions see; codings keep their own."""
    within = set(column_names(e for e in frame.values if not isinstance(e, Name)))
    records = []
    for name, value in frame.columns.items():
        if isinstance(value, Factor):
            levels = tuple(value.levels) if name in within else ()
            records.append(ColumnRecord(name, levels, value.kind))
        else:
            records.append(ColumnRecord(name))
    if offset is not None and offset.column is not None and offset.column not in frame.columns:
        records.append(ColumnRecord(offset.column))
    return tuple(records)
