"""Columns of a matrix that earlier columns determine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.numerics.columns import LARGEST, SAFE
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Array

__all__ = [
    "apart_in_some_rows",
    "chosen_columns",
    "clearly_independent",
    "independent_columns",
    "norms_are_safe",
    "refuse_extreme",
]


TOLERANCE = 1e-7
"""R's: a column goes when less than this share of its norm is left after projection."""

SOME = 65_536
"""Rows that may show it."""

# Gram matrices square the condition number; shares below this are decided by QR.
_CLEAR = 1e-5


def independent_columns(matrix: Array, names: Sequence[str] = ()) -> NDArray[np.intp]:
    """Positions of the columns to keep, as R's ``qr(X, tol = 1e-7)`` chooses them.

    Columns are taken in order; one is dropped when the part that is left of it after projection on
    those kept is smaller than `TOLERANCE` times its norm. `names` are for messages.

    Raises
    ------
    DataError
        For a column with values beyond `LARGEST`, or all below its inverse.
    """
    p = matrix.shape[1]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gram = Tall(matrix).gram()
    norms = np.sqrt(np.diag(gram))
    if not norms_are_safe(norms):
        tops = np.abs(matrix).max(axis=0, initial=0.0)
        refuse_extreme(tops, names)
        matrix = matrix / np.where(tops > 0.0, tops, 1.0)
        gram = Tall(matrix).gram()
        norms = np.sqrt(np.diag(gram))
    if clearly_independent(gram, norms, len(matrix)):
        return np.arange(p)
    return chosen_columns(np.asarray(np.linalg.qr(matrix, mode="r")) if len(matrix) > p else matrix)


def apart_in_some_rows(columns: Tall, n: int) -> bool:
    """Whether some of the n rows show that no column is determined by others.

    What is left of a column after projection has in all rows at least the length that it has in some, so that its share of the
    column's norm is at least the share there times the ratio of the norms. One reading of some rows; the norms are asked for.
    """
    rows = columns.rows(slice(None, None, max(1, n // SOME)))
    norms = np.sqrt(columns.moments().squares)
    if not norms_are_safe(norms) or len(rows) < columns.p:
        return False
    gram = rows.T @ rows
    own = np.sqrt(np.diag(gram))
    if not own.all():
        return False
    try:
        factor = np.linalg.cholesky(gram / np.outer(own, own))
    except np.linalg.LinAlgError:
        return False
    return bool((np.diag(factor) * own / norms).min(initial=1.0) > _CLEAR)


def norms_are_safe(norms: Array) -> bool:
    """Whether the squares of columns of these norms hold all of their digits."""
    return bool(((norms > 1.0 / SAFE) & (norms < SAFE)).all())  # those of 1e-200 and of 1e200 are lost


def clearly_independent(gram: Array, norms: Array, n: int) -> bool:
    """Whether the Gram of the columns shows that none of them is determined by others."""
    if len(gram) > n or not norms.all():
        return False
    try:
        factor = np.linalg.cholesky(gram / np.outer(norms, norms))
    except np.linalg.LinAlgError:
        return False
    return bool(np.diag(factor).min(initial=1.0) > _CLEAR)


def refuse_extreme(tops: Array, names: Sequence[str]) -> None:
    """Columns whose coefficients have variances that no floating-point number holds."""
    for j, top in enumerate(tops):
        if top > LARGEST or 0.0 < top < 1.0 / LARGEST:
            which = f"the column {names[j]!r}" if j < len(names) else f"column {j + 1}"
            raise DataError(
                f"{which} has values up to {top:.3g}: the variance of its coefficient is beyond the range of floating-point "
                f"numbers. Give it in another unit, for example divided by {top:.0e}."
            )


def chosen_columns(matrix: Array) -> NDArray[np.intp]:
    """Columns that are kept, from rows of them or from a triangle R with R'R = X'X."""
    rows, p = matrix.shape
    norms = np.linalg.norm(matrix, axis=0)
    basis = np.empty((rows, min(rows, p)))
    kept: list[int] = []
    for j in range(p):
        if norms[j] == 0.0 or len(kept) == rows:
            continue
        rest = matrix[:, j] / norms[j]
        done = basis[:, : len(kept)]
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest = rest - done @ (done.T @ rest)
        left = np.linalg.norm(rest)
        if left >= TOLERANCE:
            basis[:, len(kept)] = rest / left
            kept.append(j)
    return np.array(kept, dtype=np.intp)
