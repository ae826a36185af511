"""Labels of rows for results, the index of the frame that went in; and the levels that rows have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from lmmformula.ir.problem import Problem

__all__ = ["codes_of_rows", "row_labels"]


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
