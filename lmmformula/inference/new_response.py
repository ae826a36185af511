"""Another response for the rows of a fit: which number is for which row, and what the fit then remembers as its data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.formula import model_spec
from lmmformula.formula.spec import Name
from lmmformula.frame.arguments import by_labels
from lmmformula.frame.columns import Column
from lmmformula.frame.table import open_table
from lmmformula.inference.categories import in_categories
from lmmformula.inference.rows import row_labels
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.recall import Recall

__all__ = ["new_response", "with_response"]


def new_response(fit: Fitted, y: Data) -> Array:
    """`y` for the rows of the fit, in their order, (n,).

    A pandas Series (or the one column of a frame) is read by its index, which must have the labels of the rows of the fit;
    anything else has a number for each row of the fit, or of the data it came from.

    Raises
    ------
    DataError
        For labels or lengths that do not conform, values that are no numbers, missing or infinite.
    """
    import pandas as pd

    problem = fit.problem
    problem.refuse_elsewhere("another response")
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    if problem.family.outcomes:
        index = y.index if isinstance(y, pd.Series) else None
        y = in_categories(problem.family, y)
        y = y if index is None else pd.Series(y, index=index)
    if isinstance(y, pd.Series):
        whole = pd.RangeIndex(problem.n_rows_data) if problem.labels is None else problem.labels
        if problem.n != problem.n_rows_data and y.index.equals(whole):
            y = y.iloc[problem.rows].array
        else:
            y = by_labels(y, "y", row_labels(problem), problem.n)
    try:
        values = np.array(y, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"the response y must be numbers, one for each of the {problem.n:,} rows of the fit, not {type(y).__name__} of "
            "something else"
        ) from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape == (problem.n_rows_data,) and problem.n != problem.n_rows_data:
        values = values[problem.rows]
    if values.shape != (problem.n,):
        has = f"{values.shape[0]} values" if values.ndim == 1 else f"shape {values.shape}"
        raise DataError(
            f"the response y has {has}, the fit has {problem.n} rows (of {problem.n_rows_data} in its data)."
        )
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{bad} of {len(values)} values of the new response are missing or infinite.")
    return values


def with_response(fit: Fitted, values: Array) -> Recall:
    """What the fit remembers of its call, with the new response in the column of the old one.

    A response that is an expression has no column to put the values into: the data are then left out.
    """
    recall, problem = fit.recall, fit.problem
    if recall.data is None or problem.family.outcomes:
        return replace(recall, data=None)
    names = [record.name for record in problem.recipe.columns]
    response = model_spec(problem.formula, columns=names).response
    if response is None or response.censored is not None:  # what was censored of the old is none of the new
        return replace(recall, data=None)
    match response.parts:
        case (Name(own),):
            pass
        case _:
            return replace(recall, data=None)
    column = np.full(problem.n_rows_data, np.nan)
    column[problem.rows] = values
    column.flags.writeable = False
    missing = np.isnan(column) if problem.n < problem.n_rows_data else None
    data = open_table(recall.data).with_column(own, Column(column, missing))
    return replace(recall, data=data.kept())
