r"""Functions of variance components: heritability, repeatability, shares of a variance.

A function g of the variances and covariances ``v = (v_1, ..., v_c)`` that :func:`varcorr` lists. With A the asymptotic
covariance matrix of phi = (theta, log sigma) and J = dv/dphi, the delta method (Lynch & Walsh 1998, app. 1) gives::

    g^ = g(v^),    se(g)^2 = g'(v)' J A J' g'(v)                                                              (1)

Its Wald interval is on the logit scale where g lies within (0, 1), so that it stays there. The profile likelihood of g is that
of any parameter (Venzon & Moolgavkar 1988): with d the deviance by ML or REML as the fit::

    {r : min over phi with g(v(phi)) = r of d(phi) - d(phi^) <= chi^2_1(level)}                               (2)

Of a posterior g is taken of the components of each draw: mean, standard deviation and quantiles of equal tails.

g' is a central difference with steps relative to each component; (2) is found by sequential quadratic
programming, from one r to the next.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lmmformula.errors import DataError, FitError, PlanError
from lmmformula.inference.conditional import covariance_matrices, group_names, varcorr_places
from lmmformula.inference.posterior import flat, quantiles, term_spreads
from lmmformula.inference.student import critical
from lmmformula.typing import Array, Numbers

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Ratio", "component_names", "ratio"]

Function: TypeAlias = Callable[[Array], float]
"""Of all components, in the order of varcorr()."""

_ALLOWED = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Pow,
    ast.USub,
    ast.UAdd,
)
_FUNCTIONS = {"sqrt": np.sqrt, "log": np.log, "exp": np.exp}


BY_LIKELIHOOD = ("delta", "profile")
"""Methods that take estimates and their errors; others have draws."""


@dataclass(frozen=True)
class Ratio:
    """A function of variance components, and how well it is known.

    Attributes
    ----------
    expression : str
    estimate, se : float
    level : float
    interval : (float, float)
    method : {"delta", "profile", "draws"}
        Of the interval.
    components : mapping
        Variances and covariances that the expression names; of a posterior their means.
    spread : {"SE", "SD"}
        What `se` is: a standard error, or the standard deviation of a posterior.
    """

    expression: str
    estimate: float
    se: float
    level: float
    interval: tuple[float, float]
    method: str
    components: Mapping[str, float]
    spread: str = "SE"

    def __str__(self) -> str:
        low, high = self.interval
        used = ", ".join(f"{name} = {value:.4g}" for name, value in self.components.items())
        return (
            f"{self.expression} = {self.estimate:.4f} ({self.spread} {self.se:.4f}), {self.level:.0%} interval by "
            f"{self.method}: {low:.4f} to {high:.4f}\nvariances: {used}"
        )

    __repr__ = __str__


def component_names(fit: Fitted) -> dict[str, int]:
    """Name -> row of :func:`varcorr`: the group where it has one column, else ``group:column`` and ``group:column.column``."""
    names, terms, out = group_names(fit), fit.problem.terms, {}
    places = varcorr_places(fit)
    for row, (i, a, b) in enumerate(places):
        if i is None:
            out["Residual"] = row
            continue
        term = terms[i]
        own = f"{names[i]}:{term.columns[a]}"
        out[own if b is None else f"{own}.{term.columns[b]}"] = row
        if sum(1 for place in places if place[0] == i) == 1:
            out[names[i]] = row
    return out


def ratio(fit: Fitted, expression: str, level: float = 0.95, method: str | None = None) -> Ratio:
    """The value of `expression` with its standard error and interval.

    Raises
    ------
    DataError
        For text that is no expression of the fit's variance components.
    PlanError
        For a quasi-likelihood, whose components have no likelihood, profiles of generalised models, and a `method` that the
        kind of fit does not have.
    """
    names = component_names(fit)
    code, used = _read(expression, names)
    shown = [name for name in names if _safe(name) in used]
    method = _method(fit, method)
    if method not in BY_LIKELIHOOD:
        return _of_draws(fit, expression, level, code, used, {name: names[name] for name in shown})
    if not np.isfinite(fit.llf):
        raise PlanError(
            "ratio() needs a likelihood: use method='laplace', or 'reml' or 'ml' for a Gaussian response."
        )

    def value(v: Array) -> float:
        return float(_evaluated(code, {k: v[r] for k, r in used.items()}))

    at = _components(fit, fit.estimate.theta, np.log(fit.estimate.sigma))
    estimate = value(at)
    if not np.isfinite(estimate):
        raise DataError(f"{expression!r} is {estimate} at the estimates.")
    covariance, reason = fit.inference.theta_covariance()
    if covariance is None:
        raise FitError(f"ratio() has no standard error: {reason}")
    slope = _slope(value, at) @ _jacobian(fit)
    se = float(np.sqrt(max(slope @ covariance @ slope, 0.0)))
    ends = _wald(estimate, se, level) if method == "delta" else _profile(fit, value, estimate, se, level)
    return Ratio(
        expression, estimate, se, level, ends, method, {name: float(at[names[name]]) for name in shown}
    )


def _method(fit: Fitted, method: str | None) -> str:
    """One that this kind of fit has."""
    known = fit.inference.ratio_methods
    if method is not None and method not in known:
        raise PlanError(
            f"ratio(method={method!r}): of a fit by {fit.method} use method={' or '.join(map(repr, known))}."
        )
    return method or known[0]


def _evaluated(code: CodeType, values: Mapping[str, Numbers]) -> Numbers:
    """The expression of numbers, or of arrays of draws."""
    with np.errstate(all="ignore"):
        return eval(code, {"__builtins__": {}}, {**_FUNCTIONS, **values})


def _of_draws(
    fit: Fitted,
    expression: str,
    level: float,
    code: CodeType,
    used: Mapping[str, int],
    shown: Mapping[str, int],
) -> Ratio:
    """Mean, standard deviation and quantiles of the expression over the draws of a posterior."""
    places, posterior = varcorr_places(fit), fit.inference.draws()
    rows: dict[int, Array] = {}
    for row in set(used.values()):
        i, a, b = places[row]
        if i is None:
            rows[row] = flat(posterior["sigma"]) ** 2
        else:
            rows[row] = term_spreads(fit, i).covariance[:, a, a if b is None else b]
    found = np.asarray(_evaluated(code, {k: rows[r] for k, r in used.items()}), dtype=float)
    if bad := int((~np.isfinite(found)).sum()):
        raise DataError(
            f"{expression!r} is no finite number in {bad:,} of {len(found):,} draws: where a variance is zero, or a logarithm "
            "or root is of a negative number."
        )
    low, high = quantiles(found, level)
    components = {name: float(rows[row].mean()) for name, row in shown.items()}
    ends = float(low), float(high)
    return Ratio(
        expression, float(found.mean()), float(found.std(ddof=1)), level, ends, "draws", components, "SD"
    )


def _safe(name: str) -> str:
    return "v_" + "".join(c if c.isalnum() else f"_{ord(c)}_" for c in name)


def _read(expression: str, names: Mapping[str, int]) -> tuple[CodeType, dict[str, int]]:
    """The compiled expression and the rows of the components that it names; longer names are found first."""
    pattern = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    text = re.sub(
        rf"`({pattern})`|(?<![\w.])({pattern})(?![\w.:(])",
        lambda m: _safe(m.group(1) or m.group(2)),
        expression,
    )
    known = {_safe(name): row for name, row in names.items()}
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval")
    except SyntaxError:
        tree = None
    nodes = [] if tree is None else list(ast.walk(tree))
    called = {n.id for n in nodes if isinstance(n, ast.Name)}
    wrong = sorted(called - set(known) - set(_FUNCTIONS))
    odd = [n for n in nodes if not isinstance(n, _ALLOWED)]
    odd += [n for n in nodes if isinstance(n, ast.Constant) and not isinstance(n.value, int | float)]
    odd += [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") not in _FUNCTIONS]
    if tree is None or wrong or odd:
        what = (
            f"`{wrong[0]}` is no variance component"
            if wrong
            else "it is no arithmetic of variance components"
        )
        raise DataError(f"ratio({expression!r}): {what}. The fit has {', '.join(names)}.")
    if not called & set(known):
        raise DataError(f"ratio({expression!r}) names no variance component. The fit has {', '.join(names)}.")
    return compile(tree, "<ratio>", "eval"), {name: known[name] for name in called & set(known)}


def _components(fit: Fitted, theta: Array, log_sigma: float) -> Array:
    """Variances and covariances in the order of :func:`varcorr`."""
    sigma2 = float(np.exp(2.0 * log_sigma))
    matrices = []
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = term.covariance.cholesky(theta[s])
        matrices.append(sigma2 * (lower @ lower.T))
    return np.array(
        [sigma2 if i is None else matrices[i][a, a if b is None else b] for i, a, b in varcorr_places(fit)]
    )


def _jacobian(fit: Fitted) -> Array:
    """dv/d(theta, psi, log sigma)."""
    covariances, slices = covariance_matrices(fit), fit.problem.theta_slices()
    free = fit.problem.is_linear and fit.problem.family.estimates_sigma
    out = []
    for i, a, b in varcorr_places(fit):
        row = np.zeros(fit.problem.n_theta + len(fit.estimate.residual) + 1)
        if i is None:
            row[-1] = 2.0 * fit.estimate.sigma**2
        else:
            term, s, c = fit.problem.terms[i], slices[i], a if b is None else b
            lower = term.covariance.cholesky(fit.estimate.theta[s])
            half = term.covariance.jacobian(fit.estimate.theta[s]) @ lower.T
            row[s] = fit.estimate.sigma**2 * (half + np.swapaxes(half, 1, 2))[:, a, c]
            row[-1] = 2.0 * covariances[i][a, c] if free else 0.0
        out.append(row)
    return np.array(out)


def _slope(value: Function, at: Array) -> Array:
    """dg/dv by central differences."""
    out, unit = np.zeros(len(at)), float(np.abs(at).max())
    for j in range(len(at)):
        step = 1e-5 * max(abs(at[j]), 1e-6 * unit)
        high, low = at.copy(), at.copy()
        high[j], low[j] = at[j] + step, at[j] - step
        out[j] = (value(high) - value(low)) / (2.0 * step)
    return out


def _wald(estimate: float, se: float, level: float) -> tuple[float, float]:
    reach = float(critical(level, np.inf))
    if not 0.0 < estimate < 1.0:
        return estimate - reach * se, estimate + reach * se
    z, spread = np.log(estimate / (1.0 - estimate)), se / (estimate * (1.0 - estimate))
    low, high = (0.5 * (1.0 + np.tanh(0.5 * (z + side * reach * spread))) for side in (-1.0, 1.0))
    return float(low), float(high)


def _profile(fit: Fitted, value: Function, estimate: float, se: float, level: float) -> tuple[float, float]:
    """Ends of (2)."""
    from scipy.optimize import brentq, minimize

    if not fit.problem.is_linear:
        raise PlanError(
            "ratio(method='profile') is for Gaussian models; method='delta' suits any likelihood."
        )
    standard, model = fit.standard, fit.optimum.model
    twin = standard.inward(fit.estimate)
    start = np.concatenate([twin.theta, twin.residual, [0.0]])
    n_theta = len(twin.theta)
    first = standard.sigma_in(fit.estimate)
    bound, best = float(critical(level, np.inf)) ** 2, fit.optimum.deviance_at(first**2)
    free = np.array([True] * (len(start) - 1) + [fit.problem.family.estimates_sigma])

    def whole(x: Array) -> Array:
        phi = start.copy()
        phi[free] = x
        return phi

    def deviance(x: Array) -> tuple[float, Array]:
        phi = whole(x)
        point, sigma2 = model(phi[:-1]), (first * np.exp(phi[-1])) ** 2
        rise = 2.0 * (model.n_eff - point.r2 / sigma2)
        return point.deviance_at(sigma2) - best, np.append(point.gradient_at(sigma2), rise)[free]

    def held(x: Array) -> float:
        phi = whole(x)
        return value(
            _components(fit, standard.theta_out(phi[:n_theta]), np.log(fit.estimate.sigma) + phi[-1])
        )

    state = {"x": start[free]}

    def excess(r: float) -> float:
        found = minimize(
            deviance,
            state["x"],
            jac=True,
            method="SLSQP",
            constraints={"type": "eq", "fun": lambda x: (held(x) - r) / max(se, 1e-12)},
            options={"ftol": 1e-10, "maxiter": 200},
        )
        state["x"] = found.x
        return float(found.fun) - bound

    limits = (0.0, 1.0) if 0.0 <= estimate <= 1.0 and _is_share(value, len(varcorr_places(fit))) else None
    ends = []
    for side in (-1.0, 1.0):
        state["x"], near, step, end = start[free], estimate, max(se, 1e-3 * abs(estimate)), np.nan
        for _ in range(40):
            far = near + side * step
            if limits is not None and not limits[0] < far < limits[1]:
                wall = limits[0] if side < 0.0 else limits[1]
                far = 0.5 * (near + wall)
                if abs(far - wall) < 1e-4:
                    end = wall
                    break
            if excess(far) > 0.0:
                end = float(
                    np.asarray(brentq(excess, min(near, far), max(near, far), xtol=1e-5 * max(se, 1e-12)))
                )
                break
            near = far
        ends.append(float(end))
    return ends[0], ends[1]


def _is_share(value: Function, size: int) -> bool:
    """Whether the expression lies within (0, 1) for all variances that are tried."""
    rng = np.random.default_rng(0)
    tried = [value(v) for v in rng.exponential(size=(64, size))]
    return all(0.0 <= t <= 1.0 for t in tried)
