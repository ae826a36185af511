r"""Monotonic effects of a fit: average steps, simplexes, and what signs mean for counts of parameters.

With gamma the K coefficients of an effect that are not zero, V their covariance matrix and D its steps, the average step and
the simplex (:mod:`lmmformula.ir.monotonic`) have by the delta method ::

    b = 1'gamma / D,                   Var(b) = 1'V 1 / D^2
    zeta = gamma / 1'gamma,            Var(zeta) = J V J',   J = (I - zeta 1') / 1'gamma

Steps of zero are taken as known, as the other coefficients take them. Parameters of the model they are all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.monotonic import Monotonic, MonotonicEffect
from lmmformula.typing import Array

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = [
    "CAUTIOUS",
    "flat_steps",
    "has_monotonic",
    "monotonic_of",
    "names_of",
    "parameters_of_model",
    "simplexes_by_delta",
]

CAUTIOUS = (
    "Steps of monotonic effects have one sign, so that the likelihood ratio is a mixture of chi-squares (chi-bar-square) with "
    "at most as many degrees of freedom as there are steps: p-values count all of them, which is cautious. "
    "drop1(test='bootstrap') simulates the distribution."
)


def monotonic_of(fit: Fitted) -> Monotonic:
    """The monotonic effects of a fit.

    Raises
    ------
    PlanError
        If it has none.
    """
    own = fit.problem.monotonic
    if own is None:
        raise PlanError(
            f"{fit.formula!r} has no monotonic effect: use mo(x) in the formula, x an ordered factor."
        )
    return own


def names_of(effect: MonotonicEffect) -> list[str]:
    """brms' names of b and of the elements of zeta: ``mox``, ``mox1[1]``, .."""
    return [effect.label, *(f"{effect.label}1[{j + 1}]" for j in range(len(effect.columns)))]


def simplexes_by_delta(fit: Fitted) -> pd.DataFrame:
    """``level, Estimate, Std. Error`` of b and zeta of each effect; nan where a step is zero."""
    import pandas as pd

    own = monotonic_of(fit)
    beta, vcov = fit.estimate.beta, fit.vcov
    names: list[str] = []
    rows: list[tuple[str, float, float]] = []
    for effect in own.effects:
        places = [place for place in own.places(effect) if place is not None]
        estimates, errors = _transformed(beta[places], vcov[np.ix_(places, places)], effect.size)
        zeta = iter(zip(estimates[1:], errors[1:], strict=True))
        names += names_of(effect)
        rows.append(("", estimates[0], errors[0]))
        for level, place in zip(effect.levels, own.places(effect), strict=True):
            share, error = (0.0 if places else np.nan, np.nan) if place is None else next(zeta)
            rows.append((level, share, error))
    return pd.DataFrame(
        rows, columns=["level", "Estimate", "Std. Error"], index=pd.Index(names, name="parameter")
    )


def _transformed(gamma: Array, v: Array, size: int) -> tuple[Array, Array]:
    """b and zeta with their standard errors; none of zeta where there is one step alone, and of b where there is none."""
    count = len(gamma)
    if not count:
        return np.zeros(1), np.full(1, np.nan)
    total = gamma.sum()
    zeta = gamma / total
    j = np.vstack([np.ones(count) / size, (np.eye(count) - np.outer(zeta, np.ones(count))) / total])
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", j, v, j), 0.0))
    if count == 1:
        errors[1:] = np.nan
    return np.r_[gamma.sum() / size, zeta], errors


def flat_steps(fit: Fitted) -> str:
    """Which steps are zero, in words; empty if none is."""
    own = fit.problem.monotonic
    if own is None or not own.dropped:
        return ""
    names = [own.full.names[column] for column in own.dropped]
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    verb = "is" if len(names) == 1 else "are"
    return f"{len(names)} of {len(own.steps)} steps of monotonic effects {verb} zero: {shown}"


def has_monotonic(fits: Iterable[Fitted]) -> bool:
    """Whether some fit has monotonic effects whose signs are held."""
    return any(fit.problem.monotonic is not None and fit.problem.monotonic.is_held for fit in fits)


def parameters_of_model(fit: Fitted) -> int:
    """Parameters with the steps that are zero in this fit."""
    own = fit.problem.monotonic
    return fit.df_model + (0 if own is None else len(own.dropped))
