r"""Likelihood profiles by ML, and the intervals that invert them.

For a parameter with value v the profile deviance ``d(v)`` is the minimum of -2 log L over all other parameters, and::

    zeta(v) = sign(v - v_hat) sqrt(d(v) - d_hat)                                                              (1)

is standard normal to second order, so the interval of a level is where |zeta| stays below the normal quantile (Bates et al.
2015, sec. 5.1; Venzon & Moolgavkar 1988). REML fits are profiled by ML, as in lme4.

The search is BFGS in coordinates where the Hessian at the estimate is the identity; successive values of one parameter start
from the last. The coordinates and the deviance over them are those of :mod:`lmmformula.inference.profile_surface`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.backends.exact import Exact
from lmmformula.backends.optimum import off_boundary
from lmmformula.criteria.profiled import Profiled
from lmmformula.errors import DataError, FitError, PlanError
from lmmformula.inference.posterior import refuse_posterior
from lmmformula.inference.profile_surface import ZERO, Parameter, Surface
from lmmformula.inference.wald import interval_names
from lmmformula.ir.covariance import sd_cor
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["parameter_names", "profile", "profile_interval"]


def parameter_names(fit: Fit) -> tuple[str, ...]:
    """Parameters in lme4's order: each term's lower triangle column by column, sigma, the fixed effects."""
    return tuple(p.name for p in _parameters(fit.problem))


def _parameters(problem: Problem) -> list[Parameter]:
    out = []
    for i, term in enumerate(problem.terms):
        kind, names = term.covariance.name, term.columns
        sds = range(1) if kind in ("iid", "ar1") else range(term.k)
        for j in range(term.k):
            if j in sds:
                out.append(Parameter(f"sd_{names[j]}|{term.group}", "sd", i, (j,)))
            below = (
                range(j + 1, term.k)
                if kind == "us"
                else range(1, 2)
                if kind in ("cs", "ar1") and not j
                else ()
            )
            out += [Parameter(f"cor_{names[r]}.{names[j]}|{term.group}", "cor", i, (j, r)) for r in below]
    out.append(Parameter("sigma", "sigma"))
    return out + [Parameter(name, "beta", j) for j, name in enumerate(problem.X.names)]


# -- one parameter -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Best:
    """The ML optimum in the user's units, and the criterion in those of `standard`."""

    model: Profiled
    standard: Standard
    theta: Array
    sigma: float
    deviance: float
    values: dict[str, float]


@lru_cache(maxsize=4)
def _ml_optimum(fit: Fit) -> _Best:
    refuse_posterior(
        fit,
        "a profile needs a maximum of the likelihood",
        "conf_int(parameters='all') has the intervals of its draws.",
    )
    if fit.estimate.quasi is not None:
        raise PlanError(
            "a profile needs a likelihood, and penalised quasi-likelihood has none: use conf_int() for Wald intervals of the "
            "fixed effects, conf_int(method='bootstrap') for all parameters"
            + (", or fit with method='ml'." if fit.problem.is_linear else ".")
        )
    if not isinstance(fit.backend, Exact):
        raise PlanError(
            "likelihood profiles are available for Gaussian responses with one residual variance, not for "
            f"{fit.problem.family}: use conf_int() for Wald intervals of the fixed effects, or "
            "conf_int(method='bootstrap') for all parameters."
        )
    point, standard, estimate = fit.optimum, fit.standard, fit.estimate
    if estimate.restricted:
        backend = replace(fit.backend, reml=False, start=off_boundary(point.theta))
        solution = backend.optimise(replace(point.model, reml=False))
        point, estimate = solution.point, standard.outward(solution.estimate)
    problem, theta, sigma, values = fit.problem, estimate.theta, estimate.sigma, {}
    for p in _parameters(problem):
        if p.kind == "beta":
            values[p.name] = float(estimate.beta[p.term])
        elif p.kind == "sigma":
            values[p.name] = sigma
        else:
            term = problem.terms[p.term]
            lower = sigma * term.covariance.cholesky(theta[problem.theta_slices()[p.term]])
            sd, cor = sd_cor(lower @ lower.T)
            values[p.name] = float(sd[p.columns[0]] if p.kind == "sd" else cor[p.columns])
    return _Best(point.model, standard, theta, sigma, estimate.deviance, values)


class _Trace:
    """zeta of one parameter at any value, each found from the last."""

    def __init__(self, best: _Best, target: Parameter) -> None:
        self.best, self.target = best, target
        self.surface = Surface(best.model, target, best.standard)
        pinned = self.surface.pinned
        self.free = np.array([i for i in range(self.surface.size) if i != pinned], dtype=int)
        self.centre = self.surface.psi_of(best.theta, best.sigma)
        hessian = self._hessian()
        self.scale = _inverse_root(hessian[np.ix_(self.free, self.free)])
        self.estimate = best.values[target.name]
        self.found: dict[float, tuple[float, Array]] = {}
        self.evaluations = 0

    def _hessian(self) -> Array:
        """Hessian of the deviance at the estimate by forward differences of its gradient."""
        held = self.best.values[self.target.name] if self.target.kind == "beta" else None
        first, out = (
            self.surface.evaluate(self.centre, held)[1],
            np.empty((self.surface.size, self.surface.size)),
        )
        for j in range(self.surface.size):
            moved = self.centre.copy()
            moved[j] += 1e-4
            out[j] = (self.surface.evaluate(moved, held)[1] - first) / 1e-4
        return 0.5 * (out + out.T)

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the parameter."""
        if self.target.kind == "sd":
            return 0.0, np.inf
        if self.target.kind == "sigma":
            return ZERO, np.inf
        if self.target.kind == "cor":
            kind = self.best.model.problem.terms[self.target.term].covariance
            return (-1.0 if kind.name == "us" else float(kind._low())), 1.0  # type: ignore[attr-defined]
        return -np.inf, np.inf

    def step(self) -> float:
        """A first guess of the change of the value for one unit of zeta."""
        if self.target.kind == "beta":
            return self.surface.spread(self.best.theta, self.best.sigma)
        return 0.2 if self.target.kind == "cor" else 0.25 * max(self.estimate, 0.1 * self.best.sigma)

    def zeta(self, value: float) -> float:
        """Signed root (1) of the profile deviance at `value`."""
        rise = max(self.deviance(value) - self.best.deviance, 0.0)
        return float(np.copysign(np.sqrt(rise), value - self.anchor))

    @property
    def anchor(self) -> float:
        """The estimate; zero for a correlation that is undefined because a standard deviation is zero."""
        return 0.0 if np.isnan(self.estimate) else self.estimate

    def deviance(self, value: float) -> float:
        """Profile deviance at `value`."""
        if value not in self.found:
            same = [v for v in self.found if (v > self.anchor) == (value > self.anchor)]
            near = min(same, key=lambda v: abs(v - value), default=None)
            start = self.centre if near is None else self.found[near][1]
            self.found[value] = self._minimum(value, start)
        return self.found[value][0]

    def _minimum(self, value: float, start: Array) -> tuple[float, Array]:
        from scipy.optimize import minimize

        held = value if self.target.kind == "beta" else None
        # Near the boundary (log sd or t far out) the slope vanishes and the search would not leave: start inside.
        psi = np.clip(start, self.centre - 3.0, self.centre + 3.0)
        if (pinned := self.surface.pinned) is not None:
            psi[pinned] = self.surface.coordinate(value, self.best.sigma)
        if not len(self.free):
            return self.surface.evaluate(psi, held)[0], psi
        at = psi.copy()

        def scaled(z: Array) -> tuple[float, Array]:
            self.evaluations += 1
            at[self.free] = np.clip(
                psi[self.free] + self.scale @ z, self.centre[self.free] - 25, self.centre[self.free] + 25
            )
            try:
                deviance, slope = self.surface.evaluate(at, held)
            except FitError:
                return 1e300, np.zeros_like(z)
            return deviance, self.scale.T @ slope[self.free]

        found = minimize(
            scaled, np.zeros(len(self.free)), jac=True, method="BFGS", options={"gtol": 1e-3, "maxiter": 100}
        )
        psi[self.free] += self.scale @ found.x
        return float(found.fun), psi

    def root(self, target: float, tolerance: float = 1e-5) -> float:
        """Value at which zeta reaches `target`, or the end of the parameter's range if it never does."""
        from scipy.optimize import brentq

        up = target > 0
        end = self.limits[1] if up else self.limits[0]
        inner, outer = self.anchor, self.anchor
        step = abs(target) * self.step()
        for _ in range(60):
            outer = outer + step if up else outer - step
            if not np.isfinite(end):
                pass
            elif (outer >= end) if up else (outer <= end):
                outer = end
            reached = self.zeta(outer)
            if abs(reached) >= abs(target):
                break
            if outer == end:
                return end
            # zeta is nearly linear: aim a little beyond
            slope = abs(reached) / max(abs(outer - self.anchor), 1e-300)
            aim = abs(target) * 1.02 / max(slope, 1e-300) - abs(outer - self.anchor)
            inner, step = outer, min(max(aim, 0.02 * step), 4.0 * step)
        else:
            return float("inf") if up else float("-inf")
        if inner == outer:
            return outer
        xtol = tolerance * abs(outer - self.anchor)
        found: Any = brentq(lambda v: self._gap(v, target), inner, outer, xtol=xtol)
        return float(found)

    def _gap(self, value: float, target: float) -> float:
        return -target if value == self.anchor else self.zeta(value) - target


def _inverse_root(hessian: Array) -> Array:
    """H^-1/2 with curvatures kept positive and away from zero."""
    if not len(hessian):
        return hessian
    values, vectors = np.linalg.eigh(hessian)
    return vectors / np.sqrt(np.maximum(np.abs(values), 1e-2 * max(1.0, 0.01 * float(np.abs(values).max()))))


# -- tables --------------------------------------------------------------------------------------------------------


def _chosen(fit: Fit, parameters: str | Iterable[str] | None) -> list[Parameter]:
    known = _parameters(fit.problem)
    if parameters is None:
        return known
    wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    by_name = {p.name: p for p in known}
    if unknown := [name for name in wanted if name not in by_name]:
        raise DataError(f"there is no parameter {unknown[0]!r}; known: {', '.join(by_name)}.")
    return [by_name[name] for name in wanted]


def profile_interval(
    fit: Fit, level: float = 0.95, parameters: str | Iterable[str] | None = None
) -> pd.DataFrame:
    """Profile-likelihood intervals, by ML.

    Parameters
    ----------
    fit : Fit
    level : float
    parameters : str or iterable of str, optional
        Names as in :func:`parameter_names`; all by default.

    Returns
    -------
    DataFrame
        One row a parameter. A limit at the end of the parameter's range (a standard deviation of 0, a correlation of
        -1 or 1) says that the likelihood does not exclude it at this level.

    Raises
    ------
    PlanError
        For generalised models, whose likelihood is not profiled.
    """
    import pandas as pd
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
    z, best = float(ndtri(0.5 + level / 2)), _ml_optimum(fit)
    rows = {}
    for parameter in _chosen(fit, parameters):
        trace = _Trace(best, parameter)
        rows[parameter.name] = (trace.root(-z), trace.root(z))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(interval_names(level)))


def profile(
    fit: Fit, parameters: str | Iterable[str] | None = None, points: int = 13, level: float = 0.99
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
        For generalised models, whose likelihood is not profiled.
    """
    import pandas as pd
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.99.")
    if points < 2:
        raise DataError(f"points={points} is too few to show a profile; use 13 or more.")
    z, best, out = float(ndtri(0.5 + level / 2)), _ml_optimum(fit), []
    for parameter in _chosen(fit, parameters):
        trace = _Trace(best, parameter)
        low, high = trace.root(-z, 1e-2), trace.root(z, 1e-2)
        grid = np.linspace(low, high, points)
        anchor = trace.anchor
        rows = [(float(v), trace.zeta(float(v)), trace.deviance(float(v))) for v in _outwards(grid, anchor)]
        rows.append((anchor, 0.0, best.deviance))
        out += [(parameter.name, *row) for row in sorted(set(rows))]
    return pd.DataFrame(out, columns=["parameter", "value", "zeta", "deviance"])


def _outwards(grid: Array, centre: float) -> list[float]:
    """The values of `grid` other than `centre`, nearest first, so that each search starts near the last."""
    return sorted((float(v) for v in grid if v != centre), key=lambda v: abs(v - centre))
