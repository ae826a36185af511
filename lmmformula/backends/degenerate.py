"""Fits whose likelihood has no maximum because the model reproduces a continuous response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lmmformula.errors import FitError
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["named_failures", "refuse_reproduced"]

ROUNDING = 1e-20
"""Share of the response's variation, in squares, that is rounding and no noise."""


def refuse_reproduced(problem: Problem, eta: Array) -> None:
    """Refuse a linear predictor that gives the response of every row, so that a dispersion goes to zero.

    The density of a continuous response then grows without bound; where tails fall like a power t^-(nu + 1), nu > 1 free, it
    does so as soon as more than half of the rows are reproduced: the likelihood is of order sigma^(nu r - e) for e rows
    reproduced and r that are not. Discrete responses have no such fault.

    Parameters
    ----------
    problem : Problem
    eta : (n,) array

    Raises
    ------
    FitError
    """
    family = problem.family
    if family.is_discrete:
        return
    seen = family.location(family.start(problem.y, problem.weights))
    with np.errstate(all="ignore"):
        squares = (seen - family.location(eta)) ** 2
        total = float(np.sum((seen - seen.mean()) ** 2))
    left = float(squares.sum())
    if left <= ROUNDING * total:
        raise FitError(
            f"the model reproduces the response exactly (residual sum of squares {left:.3g} of {total:.3g}), so the dispersion "
            f"of a {family.name} response cannot be estimated. The likely cause is a predictor that is a function of the "
            "response, or a random effect whose levels hold equal responses; remove it."
        )
    exact = int((squares <= ROUNDING * total / problem.n).sum())
    if family.forgives and 2 * exact > problem.n:
        raise FitError(
            f"the model reproduces {exact:,} of {problem.n:,} responses exactly, and the tails of a {family.name} response "
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
