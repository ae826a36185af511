"""The rows of a table, or of other values of a variable, as a design of a fitted model.

Columns are replayed: bases, codings and levels are those that the formula learned at the fit, so that coefficients mean what
they meant there. Levels of grouping factors may be new; each is a draw from the population.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.frame import open_table
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.frame.recipe import NewTerm
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import GroupBlock
    from lmmformula.ir.problem import Problem

__all__ = ["laid_out", "with_values"]


def laid_out(fit: Fitted, table: Data) -> Problem:
    """The model of the rows of a table, without a response (zeros).

    Raises
    ------
    DataError
        For missing columns and values, and weights or offsets that the table does not have.
    PlanError
        For rows of several levels, dependent levels, and auxiliary predictors with random effects.
    """
    problem = fit.problem
    problem.refuse_coupled(
        "a design of other rows", "Simulate such designs with fit() on data of their size."
    )
    if any(problem.aux_terms):
        raise PlanError(
            "a design of other rows is made for models whose auxiliary predictors have no random effects. Use a simpler "
            "formula."
        )
    made = problem.recipe.replay(table, aux=bool(problem.aux), missing="raise")
    if made.offset_missing:
        raise DataError(
            "the fit had an offset given as an array, which another design does not carry. Put the offset in a column and pass "
            "its name as offset=."
        )
    weights, lacking = problem.recipe.row_weights(table)
    if lacking:
        raise DataError(
            f"the design has no weights: {lacking}. Put them in a column and name it as weights=."
        )
    terms = tuple(_placed(t, parts[0]) for t, parts in zip(problem.terms, made.terms, strict=True))
    return replace(
        problem,
        y=np.zeros(made.n),
        X=replace(problem.X, matrix=made.X),
        terms=terms,
        weights=weights,
        offset=made.offset,
        rows=np.arange(made.n),
        aux=tuple(replace(b, matrix=own) for b, own in zip(problem.aux, made.aux, strict=True)),
        n_rows_data=made.n,
        labels=None,
        held=None,
    )


def _placed(term: GroupBlock, new: NewTerm) -> GroupBlock:
    """A term on the new rows, with the levels that they have: those of the fit, then others."""
    codes = np.where(new.codes >= 0, new.codes, term.m + new.new_codes)
    labels = np.concatenate([term.levels, np.array(new.new_levels, dtype=object)])
    used, own = np.unique(codes, return_inverse=True)
    return replace(term, levels=labels[used], codes=own.ravel().astype(np.int32), basis=new.basis)


def with_values(fit: Fitted, name: str, values: Array) -> pd.DataFrame:
    """The data of the fit where each unit has a row for each of `values` of one variable.

    A unit is a combination of all other columns of the model, such as a subject and a condition, which stays as it is.

    Raises
    ------
    DataError
        Without data, for a name that is no variable of the model, and where every row is a unit of its own.
    """
    import pandas as pd

    if fit.recall.data is None:
        raise DataError("a loaded fit does not carry its data, whose rows are laid out anew: pass design=.")
    if not values.size:
        raise DataError(f"vary={{{name!r}: ...}} has a list without values.")
    own = open_table(fit.recall.data).to_pandas(fit.problem.recipe.needed, fit.problem.rows)
    own = own.reset_index(drop=True)
    if name not in own:
        raise DataError(
            f"vary= names {name!r}, which is no variable of the model: those are {', '.join(own)}."
        )
    others = [column for column in own if column != name]
    units = own[others].drop_duplicates() if others else own.iloc[:1]
    if len(units) == len(own) and len(own) > 1:
        raise DataError(
            f"each of the {len(own):,} rows has its own combination of {', '.join(others)}, so that no unit has several values "
            f"of {name!r}. Pass the rows themselves as design=."
        )
    out = units.loc[units.index.repeat(len(values))].reset_index(drop=True)
    out[name] = pd.Series(np.tile(values, len(units)))
    return out[list(own)]
