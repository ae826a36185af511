"""Linear restrictions R beta = q of the fixed effects, given as statsmodels takes them, and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lmmformula.errors import ArgumentError, DataError
from lmmformula.inference.hypotheses.dual import Dual, constant_of
from lmmformula.inference.hypotheses.language import read, value_of
from lmmformula.typing import Array, Data, Entries

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Restricting", "Restrictions", "restrictions"]

Restricting: TypeAlias = "str | Sequence[Any] | Entries | pd.DataFrame | tuple[Any, Any]"
"""R, (R, q), or equations in text."""


@dataclass(frozen=True, slots=True, eq=False)
class Restrictions:
    """R beta = q.

    Attributes
    ----------
    rows : (r, p) array
    constants : (r,) array
    labels : tuple of str
        The equations as they were written, or ``c0, c1, ...``.
    """

    rows: Array
    constants: Array
    labels: tuple[str, ...]


def restrictions(fit: Fitted, given: Restricting) -> Restrictions:
    """Read R, (R, q) or text such as ``"x1 = x2, x3 = 0"``.

    Raises
    ------
    FormulaError
        For text that is no hypothesis about parameters.
    DataError
        For a matrix of another width, numbers that are missing, and equations that are not linear in the fixed effects.
    """
    if isinstance(given, str):
        if not given.strip():
            raise ArgumentError("r_matrix='' restricts nothing: write equations such as 'x1 = x2, x3 = 0'.")
        return _written(fit, [given])
    if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
        return _written(fit, given)
    if isinstance(given, tuple) and len(given) == 2:
        rows = _matrix(fit, given[0])
        constants = np.atleast_1d(_numbers(given[1])).ravel()
        if len(constants) == 1:
            constants = np.repeat(constants, len(rows))
        if len(constants) != len(rows):
            raise DataError(f"r_matrix=(R, q) has {len(rows)} rows in R and {len(constants)} numbers in q.")
    else:
        rows = _matrix(fit, given)
        constants = np.zeros(len(rows))
    return Restrictions(rows, constants, tuple(f"c{i}" for i in range(len(rows))))


def _written(fit: Fitted, texts: Sequence[str]) -> Restrictions:
    names, p = fit.problem.X.names, fit.problem.p
    stated = [one for text in texts for one in read(text, names, names)]
    at = {n: Dual(0.0, row, 1) for n, row in zip(names, np.eye(p), strict=True)}
    with np.errstate(all="ignore"):
        found = [value_of(h.difference, at, constant_of(p)) for h in stated]
    for h, g in zip(stated, found, strict=True):
        if h.sign != "=":
            raise DataError(f"`{h.text}` is no equation: hypothesis({h.text!r}) tests inequalities.")
        if g.degree != 1 or not np.isfinite(g.value) or not g.slope.any():
            raise DataError(
                f"`{h.text}` is not linear in the fixed effects: hypothesis({h.text!r}) tests it by the delta method."
            )
    return Restrictions(
        np.array([g.slope for g in found]),
        np.array([-g.value for g in found]),
        tuple(h.text for h in stated),
    )


def _numbers(given: Data) -> Array:
    try:
        found = np.asarray(given)
        found = np.full(1, np.nan) if np.iscomplexobj(found) else found.astype(float)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError("r_matrix= must be numbers, (R, q), or text such as 'x1 = x2, x3 = 0'.") from None
    if not np.isfinite(found).all():
        raise DataError("r_matrix= has numbers that are missing or infinite.")
    return found


def _matrix(fit: Fitted, given: Data) -> Array:
    rows, names = _numbers(given), fit.problem.X.names
    if rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise DataError(
            f"r_matrix= has the shape {np.shape(given)}, and each row of it needs one number for each of the {len(names)} "
            f"coefficients: {', '.join(names)}."
        )
    if not len(rows) or not rows.any(axis=1).all():
        raise DataError("r_matrix= has no row, or a row of zeros, which restricts nothing.")
    return rows
