"""Labels of rows for results, the index of the frame that went in; the levels that rows have; and rows that are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lmmformula.errors import DataError, PlanError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from lmmformula.frame.streamed.draft import Draft
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = [
    "codes_of_rows",
    "draft_of",
    "named_columns",
    "not_at_hand",
    "refuse_in_memory",
    "refuse_no_rows",
    "row_labels",
]


def draft_of(fit: Fitted) -> Draft | None:
    """What reads and encodes the rows of a fit that are not in memory; None for others, and for one that was loaded."""
    store = getattr(fit.problem.held, "store", None)
    return None if store is None else cast("Draft", store.origin)


def named_columns(fit: Fitted, names: Sequence[str], columns: str | Sequence[str]) -> list[str]:
    """Columns of the data that are shown beside results: those of the formula, all of `names`, or some of these.

    Raises
    ------
    DataError
    """
    if columns == "all":
        return list(names)
    if columns == "formula":
        return [record.name for record in fit.problem.recipe.columns if record.name in names]
    wanted = [columns] if isinstance(columns, str) else list(columns)
    if unknown := [name for name in wanted if name not in names]:
        raise DataError(
            f"columns= names {unknown[0]!r}, which is no column of the data ({', '.join(names)}); give 'formula', 'all' or "
            "names."
        )
    return wanted


def not_at_hand(fit: Fitted) -> str:
    """Why there is no table of the rows of a fit that has none, to begin a message with."""
    if fit.problem.held is None:
        return "a loaded fit does not carry its data"
    return (
        f"the {fit.problem.n_used:,} rows of this fit are not in memory, as they are read a batch at a time"
    )


def refuse_no_rows(fit: Fitted, what: str) -> None:
    """Refuse `what` for a fit whose rows did not come with its file.

    Raises
    ------
    DataError
    """
    if fit.problem.held is not None:
        raise DataError(
            f"{what} need the {fit.problem.n_used:,} rows of the fit, which did not come with it from its file: fit again, or "
            'write predictions of the rows by m.predict(data, out="scored.parquet").'
        )


def refuse_in_memory(fit: Fitted, what: str) -> None:
    """Refuse `what`, a number for each row, of rows that are not in memory.

    Raises
    ------
    PlanError
    """
    if not fit.problem.data.at_hand:
        raise PlanError(
            f'{what}: {not_at_hand(fit)}. Name a file for them, as in m.predict(out="scored.parquet"), or give the rows to '
            "be predicted."
        )


def row_labels(problem: Problem) -> pd.Index:
    """Labels of the rows used, a new object: those of the caller's frame, or positions where its rows have no labels."""
    import pandas as pd

    whole = problem.n == problem.n_rows_data
    if problem.labels is not None:
        return problem.labels.view() if whole else problem.labels[problem.rows]
    return pd.RangeIndex(problem.n) if whole else pd.Index(problem.rows.copy())


def codes_of_rows(problem: Problem, term: int) -> NDArray[np.int32]:
    """Level of each row, or its levels (n, r)."""
    import numpy as np

    return np.concatenate([chunk.terms[term].codes for chunk in problem.data.chunks()])
