r"""Likelihood profiles by ML, and the intervals that invert them.

For a parameter with value v the profile deviance ``d(v)`` is the minimum of -2 log L over all other parameters, and::

    zeta(v) = sign(v - v_hat) sqrt(d(v) - d_hat)                                                              (1)

is standard normal to second order, so the interval of a level is where |zeta| stays below the normal quantile (Bates et al.
2015, sec. 5.1; Venzon & Moolgavkar 1988). REML fits are profiled by ML, as in lme4; of a generalised model L is the likelihood
that was maximised, Laplace's approximation or quadrature, as in lme4's ``confint`` of a glmer fit.

The search is in :mod:`lmmformula.inference.profile_trace`, the deviance over the coordinates that it moves in
:mod:`lmmformula.inference.profile_surface` (Gaussian), :mod:`lmmformula.inference.structure.profiled` (Gaussian with structured
residuals) and :mod:`lmmformula.inference.profile_general` (all others).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.parameters import (
    Parameter,
    chosen,
    parameter_names,
    parameters_of,
    structure_of,
)
from lmmformula.inference.profile_best import Best
from lmmformula.inference.profile_general import GeneralBest
from lmmformula.inference.profile_surface import GaussianBest
from lmmformula.inference.profile_trace import Trace
from lmmformula.inference.structure.profiled import ClusterBest
from lmmformula.inference.student import interval_names
from lmmformula.ir.covariance import sd_cor
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.exact import Exact
    from lmmformula.inference.fitted import Fitted

__all__ = ["parameter_names", "profile", "profile_interval"]


@lru_cache(maxsize=4)
def ml_optimum(fit: Fitted) -> Best:
    """Where a profile starts.

    Raises
    ------
    PlanError
        For a fit without a likelihood that could be profiled.
    """
    fit.inference.check("profile")
    fit.problem.refuse_unfree("a profile", "conf_int(method='wald') and 'bootstrap' have intervals.")
    if not fit.problem.is_linear:
        return GeneralBest.of(fit, values_of(fit.problem, fit.estimate))
    if fit.problem.residual is not None:
        return ClusterBest.of(fit, lambda estimate: values_of(fit.problem, estimate))
    point, standard, estimate = fit.optimum, fit.standard, fit.estimate
    if estimate.restricted:
        solution = cast("Exact", fit.backend).unrestricted(point)
        point, estimate = solution.point, standard.outward(solution.estimate)
    return GaussianBest(standard, estimate, values_of(fit.problem, estimate), point.model)


def values_of(problem: Problem, estimate: Estimate) -> dict[str, float]:
    """Every parameter by name but those of residuals; an auxiliary one as its coefficient, one of a structure as phi."""
    return {p.name: _value(problem, estimate, p) for p in parameters_of(problem) if p.kind != "residual"}


def _value(problem: Problem, estimate: Estimate, p: Parameter) -> float:
    if p.kind == "beta":
        return float(estimate.beta[p.term])
    if p.kind == "sigma":
        return estimate.sigma
    if p.kind == "aux":
        return float(estimate.aux[p.term][p.columns[0]])
    if p.kind == "phi":
        return float(estimate.theta[structure_of(problem, p).at])
    lower = estimate.sigma * problem.terms[p.term].covariance.cholesky(
        estimate.theta[problem.theta_slices()[p.term]]
    )
    sd, cor = sd_cor(lower @ lower.T)
    return float(sd[p.columns[0]] if p.kind == "sd" else cor[p.columns])


# -- tables --------------------------------------------------------------------------------------------------------


def profile_interval(
    fit: Fitted, level: float = 0.95, parameters: str | Iterable[str] | None = None
) -> pd.DataFrame:
    """Profile-likelihood intervals, by ML.

    Each end takes some ten searches over all other parameters: of a generalised model seconds for a few hundred rows.

    Parameters
    ----------
    fit : Fit
    level : float
    parameters : str or iterable of str, optional
        Names as in :func:`parameter_names`, "fixed" or "all"; all by default.

    Returns
    -------
    DataFrame
        One row a parameter. A limit at the end of the parameter's range (a standard deviation of 0, a correlation of
        -1 or 1) says that the likelihood does not exclude it at this level.

    Raises
    ------
    PlanError
        For quasi-likelihoods, the fast mode ``nagq=0``, and likelihoods that are estimates.
    """
    import pandas as pd
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
    z, best = float(ndtri(0.5 + level / 2)), ml_optimum(fit)
    rows = {}
    for parameter in chosen(parameters_of(fit.problem), parameters):
        with blas_threads(best.dense_side):
            trace, show = Trace(best, parameter), best.shown(parameter)
            ends = trace.root(-z), trace.root(z)
        rows[parameter.name] = ends if show is None else tuple(map(show, ends))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(interval_names(level)))


def profile(
    fit: Fitted, parameters: str | Iterable[str] | None = None, points: int = 13, level: float = 0.99
) -> pd.DataFrame:
    """Profile of each parameter over its interval of `level`, by ML.

    Parameters
    ----------
    fit : Fit
    parameters : str or iterable of str, optional
        Names as in :func:`parameter_names`; all by default.
    points : int
        Values on an even grid from one end of the interval to the other, besides the estimate.
    level : float

    Returns
    -------
    DataFrame
        Columns ``parameter, value, zeta, deviance``, ascending in value; zeta is the signed root (1) of the module's head,
        near a straight line where the likelihood is nearly quadratic.

    Raises
    ------
    PlanError
        For quasi-likelihoods, the fast mode ``nagq=0``, and likelihoods that are estimates.
    """
    import pandas as pd
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.99.")
    if points < 2:
        raise DataError(f"points={points} is too few to show a profile; use 13 or more.")
    z, best, out = float(ndtri(0.5 + level / 2)), ml_optimum(fit), []
    for parameter in chosen(parameters_of(fit.problem), parameters):
        with blas_threads(best.dense_side):
            trace, show = Trace(best, parameter), best.shown(parameter)
            low, high = trace.root(-z, 1e-2), trace.root(z, 1e-2)
            anchor = trace.anchor
            reach = 2.0 * z * trace.step()  # where the deviance levels off and no end exists
            low, high = (e if np.isfinite(e) else anchor + side * reach for e, side in ((low, -1), (high, 1)))
            values = _outwards(np.linspace(low, high, points), anchor)
            rows = [(v, trace.zeta(v), trace.deviance(v)) for v in values]
        rows.append((anchor, 0.0, best.deviance))
        for v, *rest in sorted(set(rows)):
            out.append((parameter.name, v if show is None else show(v), *rest))
    return pd.DataFrame(out, columns=["parameter", "value", "zeta", "deviance"])


def _outwards(grid: Array, centre: float) -> list[float]:
    """The values of `grid` other than `centre`, nearest first, so that each search starts near the last."""
    return sorted((float(v) for v in grid if v != centre), key=lambda v: abs(v - centre))
