"""The response: from evaluated values to the vector a family models.

A family with a residual variance takes numbers that are not constant; any other reads its response itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family
from lmmformula.families.known_errors import known_errors
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Response
from lmmformula.frame.seeing import seen_family
from lmmformula.frame.values import Basis, Factor, Value
from lmmformula.typing import Array

__all__ = ["read_response", "refuse_constant", "with_repeats"]


def with_repeats(family: Family, response: Response | None) -> Family:
    """The family with brms' meaning of ``y | weights(w)``, repeats of the row unless weights are trials, and of ``y | se(s)``.

    Raises
    ------
    PlanError
        For standard errors of a response that is not normal around the linear predictor.
    """
    if response is not None and response.errors is not None:
        if not family.is_linear:
            raise PlanError(
                f"y | se(s) is for Gaussian responses with identity link; {family} has no residual standard error."
            )
        if not (response.besides or response.is_partly_seen):
            return replace(family, known=True)
        return seen_family(known_errors(family, besides=response.besides), response)
    if response is None:
        return family
    if response.rate is not None:
        _check_rate(family, response)
    asked = response.weights is not None and family.weights_are != "trials"
    return seen_family(replace(family, repeated=True) if asked else family, response)


def _check_rate(family: Family, response: Response) -> None:
    """A rate multiplies the mean, which is an offset of a logarithm; with other parameters as they are in sums of responses."""
    expr = f"log({deparse(response.rate)})" if response.rate is not None else ""
    if family.link != "log":
        raise PlanError(f"y | rate(x) multiplies the mean, and takes a log link; {family} has none.")
    if not family.distribution.adds:
        raise PlanError(
            f"y | rate(x) is for counts whose sums over units of exposure are of the same family at the same parameters "
            f"(poisson, nbinom1, genpois); those of {family.name!r} are not. Write offset({expr}) for a mean that is "
            "proportional to x while other parameters do not depend on it."
        )


def read_response(
    values: tuple[Value, ...],
    label: str,
    family: Family,
    trials: Value | None,
    weights: Array | None,
    known: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array | None]:
    """The response vector as `family` models it, and the weights that go with it.

    Parameters
    ----------
    values : tuple of Value
        One value, or two for ``cbind(successes, failures)``.
    label : str
        The left-hand side as written.
    family : Family
    trials : Value, optional
        n of ``y | trials(n)``.
    weights : (n,) array, optional
    known : callable, optional
        From the column to what is known of it (:func:`lmmformula.frame.seeing.observed`).
    """
    if family.has_residual and trials is None:
        return read_numbers(values, label), weights
    if any(isinstance(v, Basis) for v in values):
        raise DataError(f"the response `{label}` has several columns; this family models one")
    y, weights = family.read(values, trials=trials, weights=weights, name=label)
    if known is not None:
        y = known(y)
    family.check(y, weights, label)
    if not family.is_discrete:
        refuse_constant(y, label)
    return y, weights


def read_numbers(values: tuple[Value, ...], label: str) -> Array:
    """A numeric response that is not constant."""
    if len(values) != 1 or isinstance(values[0], Basis):
        raise DataError(
            f"the response `{label}` has several columns; this family models one: fit one model for each"
        )
    value = values[0]
    if isinstance(value, Factor):
        raise DataError(_not_numeric(value, label))
    if not isinstance(value, np.ndarray):
        raise DataError(f"the response `{label}` is a constant, not a column of the data")
    y = value.astype(float)
    refuse_constant(y, label)
    return y


def refuse_constant(y: Array, label: str) -> None:
    """A continuous response without variation has no likelihood: its dispersion would be zero."""
    if len(y) and (y == y[0]).all():
        raise DataError(
            f"the response `{label}` is constant: all {len(y):,} values are {y[0]:g}; "
            "there is nothing to explain"
        )


def _not_numeric(value: Factor, label: str) -> str:
    used = [str(level) for level in value.levels[np.unique(value.codes[value.codes >= 0])]]
    kind = {"text": "text", "logical": "logical"}.get(value.kind, "a factor")
    shown = ", ".join(used[:6]) + (", ..." if len(used) > 6 else "")
    hint = (
        'two values suit family="binomial"'
        if len(used) == 2
        else "give the numbers themselves, or as.numeric() of the levels if their order is a scale"
    )
    return (
        f"response must be numeric: `{label}` is {kind} with {len(used):,} distinct "
        f"value{'' if len(used) == 1 else 's'} ({shown}); {hint}"
    )
