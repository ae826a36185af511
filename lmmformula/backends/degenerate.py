"""Fits whose likelihood has no maximum because the model reproduces a continuous response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lmmformula.errors import FitError
from lmmformula.families.family import Family
from lmmformula.ir.rows import Rows, RowVector, total

__all__ = ["named_failures", "refuse_reproduced"]

ROUNDING = 1e-20
"""Share of the response's variation, in squares, that is rounding and no noise."""


def refuse_reproduced(family: Family, rows: Rows, eta: RowVector) -> None:
    """Refuse a linear predictor that gives the response of every row, so that a dispersion goes to zero.

    The density of a continuous response then grows without bound; where tails fall like a power t^-(nu + 1), nu > 1 free, it
    does so as soon as more than half of the rows are reproduced: the likelihood is of order sigma^(nu r - e) for e rows
    reproduced and r that are not. Discrete responses have no such fault, unless a parameter takes their spread to nothing.

    Parameters
    ----------
    family : Family
    rows : Rows
    eta : RowVector

    Raises
    ------
    FitError
    """
    if not family.distribution.narrows:
        return
    with np.errstate(all="ignore"):
        (start,) = rows.map(
            lambda chunk: (family.location(family.start(chunk.y, chunk.weights)),), coarse=True
        )
        (squares,) = rows.map(lambda chunk, seen, eta: ((seen - family.location(eta)) ** 2,), start, eta)
        mean = total(rows, start) / rows.n
        spread = float(rows.reduce(lambda chunk, seen: ((seen - mean) ** 2).sum(), start))
    left, n = total(rows, squares), rows.n
    if left <= ROUNDING * spread:
        raise FitError(
            f"the model reproduces the response exactly (residual sum of squares {left:.3g} of {spread:.3g}), so the "
            f"dispersion of a {family.name} response cannot be estimated. The likely cause is a predictor that is a function "
            "of the response, or a random effect whose levels hold equal responses; remove it."
        )
    exact = rows.reduce(lambda chunk, s: int((s <= ROUNDING * spread / n).sum()), squares)
    if family.forgives and 2 * exact > n:
        raise FitError(
            f"the model reproduces {exact:,} of {n:,} responses exactly, and the tails of a {family.name} response "
            "forgive the others, so its scale goes to zero. The likely cause is a response with one value in most rows; use "
            "another family, or model that value by itself."
        )


@contextmanager
def named_failures() -> Iterator[None]:
    """A matrix that is singular in floating point, as an error that says what to look for.

    Raises
    ------
    FitError
    """
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise FitError(
            f"the search ran to parameters at which the likelihood cannot be computed ({error}). The likely cause is an "
            "estimate that runs off to infinity (all responses alike for some values of the predictors), a dispersion that "
            "goes to zero (a model that all but reproduces the response), or columns that all but determine each other. "
            "Simplify the model, or merge levels."
        ) from error
