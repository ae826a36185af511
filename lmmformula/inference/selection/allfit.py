r"""Is the optimum the optimum: the same likelihood by every engine, start and optimiser (lme4's ``allFit``).

Engines and starts are fits as usual, with one option changed. The optimisers are SciPy's, on the criterion of the fit in
coordinates of unit curvature, from a start of their own: L = I and, of a generalised model, coefficients two standard errors
off.

Runs are compared without units: by what the log-likelihood lacks of the best one's, by the largest difference of a
coefficient in its standard errors, and by the difference of theta in standard columns, relative to its size. Two runs are at
one optimum if their deviances differ by less than `SAME`: to second order a deviance above the minimum is a squared distance
in standard errors, so the estimates then lie within .03 of them. The likelihood of an engine that estimates it counts with
three of its standard errors.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.backends.curvature import laplace_of
from lmmformula.criteria.quadrature import step_scale
from lmmformula.engines.registry import ENGINES
from lmmformula.errors import FitError, LmmformulaWarning, PlanError
from lmmformula.inference.selection.refits import call_of
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import AnyFunction, Argument, Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["AllFits", "Run", "allfit"]

SAME = 1e-3
"""Difference of deviances, a squared distance in standard errors, up to which two runs are at one optimum."""
OPTIMISERS = ("L-BFGS-B", "BFGS", "trust-constr", "Powell", "Nelder-Mead")
GRADIENT_FREE = ("Powell", "Nelder-Mead")
PRECISE: dict[str, dict[str, float]] = {
    "Powell": {"xtol": 1e-8, "ftol": 1e-14},
    "Nelder-Mead": {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 20_000, "maxfev": 20_000},
}
"""How far they have to go: their own tolerances end where the likelihood still rises."""
CHECKING, SMALL = "dense", 2_000
"""The engine by which others are checked, and the random effects up to which it is affordable."""
MOST_COORDINATES = 12
"""Beyond which the optimisers without derivatives are left out."""
SCALES = (0.1, 10.0)
"""Of theta, from which the search starts too."""
OUTSIDE = 1e300
"""Stands for a deviance where the criterion does not exist."""
OFF = 2.0
"""Standard errors by which coefficients are off where the optimisers start."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One way to the optimum.

    Attributes
    ----------
    kind : {"fit", "engine", "start", "optimiser"}
    name : str
    llf, llf_stderr : float
    beta, theta, standard : arrays
        Estimates; `standard` is theta in standard columns.
    seconds : float
    evaluations : int
    converged : bool
    warnings : tuple of str
    refused : str
        Why there is no result; empty if there is one.
    """

    kind: str
    name: str
    llf: float = np.nan
    llf_stderr: float = 0.0
    beta: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    theta: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    standard: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    seconds: float = np.nan
    evaluations: int = 0
    converged: bool = False
    warnings: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, eq=False)
class AllFits:
    """Runs side by side.

    Attributes
    ----------
    fit : Fit
        The fit in question, whose own search is the first run.
    runs : tuple of Run
    """

    fit: Fitted = field(repr=False)
    runs: tuple[Run, ...] = field(repr=False)

    @cached_property
    def best(self) -> Run:
        """The run with the largest log-likelihood, of those that are exact where there are any."""
        done = [run for run in self.runs if not run.refused]
        return max([run for run in done if not run.llf_stderr] or done, key=lambda run: run.llf)

    def below(self, run: Run) -> float:
        """What the log-likelihood of a run lacks of the best."""
        return self.best.llf - run.llf

    def is_same(self, run: Run) -> bool:
        """Whether a run is at the optimum of the best one."""
        return not run.refused and abs(2.0 * self.below(run)) <= SAME + 6.0 * run.llf_stderr

    @property
    def same_optimum(self) -> bool:
        """Whether every run that ended well is at one optimum, the fit's own among them."""
        ended = [run for run in self.runs if run.converged]
        return self.is_same(self.runs[0]) and all(map(self.is_same, ended))

    @property
    def verdict(self) -> str:
        """The same in words."""
        done = [run for run in self.runs if not run.refused]
        there = [run for run in done if self.is_same(run)]
        if not self.is_same(self.runs[0]):
            return (
                f"the fit is not at the best optimum found: {self.best.kind} {self.best.name} has a log-likelihood higher by "
                f"{self.below(self.runs[0]):.3g}. Fit again from there: start=m.allfit().best.theta."
            )
        if self.same_optimum:
            rest = len(done) - len(there)
            short = f"; {rest} stopped short of it and said so" if rest else ""
            return f"same optimum: {len(there)} of {len(done)} runs{short}."
        away = ", ".join(run.name for run in self.runs if run.converged and not self.is_same(run))
        return (
            f"{len(there)} of {len(done)} runs are at the optimum of the fit, and {away} ended elsewhere, lower: "
            "the likelihood has more than one hill, or is flat. Look at .frame and at m.profile()."
        )

    @property
    def frame(self) -> pd.DataFrame:
        """A row a run: ``kind, name, logLik, below, beta_gap, theta_gap, seconds, evaluations, converged, same, warnings``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "kind": [run.kind for run in self.runs],
                "name": [run.name for run in self.runs],
                "logLik": [run.llf for run in self.runs],
                "below": [self.below(run) for run in self.runs],
                "beta_gap": [self._beta_gap(run) for run in self.runs],
                "theta_gap": [self._theta_gap(run) for run in self.runs],
                "seconds": [run.seconds for run in self.runs],
                "evaluations": [run.evaluations for run in self.runs],
                "converged": [run.converged for run in self.runs],
                "same": [self.is_same(run) for run in self.runs],
                "warnings": [run.refused or " ".join(run.warnings) for run in self.runs],
            }
        )

    @property
    def estimates(self) -> pd.DataFrame:
        """Fixed effects and theta, one row a run that has a result."""
        import pandas as pd

        problem = self.fit.problem
        done = [run for run in self.runs if not run.refused]
        rows = [np.concatenate([run.beta, run.theta]) for run in done]
        names = [*problem.X.names, *(f"theta {name}" for name in problem.theta_names())]
        return pd.DataFrame(rows, index=[f"{run.kind} {run.name}" for run in done], columns=names)

    def _beta_gap(self, run: Run) -> float:
        if run.refused or not len(run.beta):
            return np.nan
        with np.errstate(invalid="ignore"):
            return float(np.nanmax(np.abs(run.beta - self.best.beta) / self.fit.bse.to_numpy()))

    def _theta_gap(self, run: Run) -> float:
        if run.refused or not len(run.standard):
            return np.nan
        size = float(np.linalg.norm(self.best.standard)) or 1.0
        return float(np.linalg.norm(run.standard - self.best.standard)) / size


def allfit(fit: Fitted, seed: int | np.random.Generator | None = None) -> AllFits:
    """The same model by every engine, start and optimiser; see :meth:`lmmformula.Fit.allfit`."""
    fit.problem.refuse_responses("allfit()", "Start it elsewhere by start=, or by another tolerance=.")
    fit.inference.check("likelihood ratio")
    if not fit.problem.terms and fit.problem.residual is None:
        raise PlanError(
            f"{fit.formula!r} has no random effects, so its likelihood has one maximum; look at summary() instead."
        )
    rng = np.random.default_rng(seed)
    own = _timed("fit", "as it was", fit, lambda: _again(fit))
    runs = [own, *_engines(fit), *_starts(fit, rng), *_optimised(fit, rng)]
    return AllFits(fit, tuple(runs))


def _again(fit: Fitted, **changes: Argument) -> Fitted:
    made = call_of(fit)
    return fit.recall.function(fit.recall.formula, made.data, **{**made.arguments, **changes})


def _timed(kind: str, name: str, fit: Fitted, make: Callable[[], Fitted]) -> Run:
    """A run of the package's own search."""
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = make()
        except (PlanError, FitError) as error:
            return Run(kind, name, refused=str(error))
    seconds = time.perf_counter() - begun
    for item in caught:
        if not issubclass(item.category, LmmformulaWarning):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    told = tuple(dict.fromkeys(str(i.message) for i in caught if issubclass(i.category, LmmformulaWarning)))
    ended = made.estimate.convergence
    return Run(
        kind,
        name,
        made.llf,
        made.llf_stderr,
        made.estimate.beta,
        made.estimate.theta,
        made.standard.inward(made.estimate).theta,
        seconds,
        ended.evaluations,
        made.converged,
        told,
    )


def _engines(fit: Fitted) -> Iterator[Run]:
    if fit.problem.residual is not None:  # fitted by clusters of rows, whatever the engine
        return
    levels = fit.problem.data.levels
    for name, record in ENGINES.items():
        suits = record.volunteers(levels) or (name == CHECKING and fit.problem.q <= SMALL)
        if not record.has_likelihood or not suits:
            continue
        yield _timed("engine", name, fit, lambda name=name: _again(fit, engine=name))


def _starts(fit: Fitted, rng: np.random.Generator) -> Iterator[Run]:
    theta = fit.estimate.theta
    if not len(theta):
        return
    size = float(np.linalg.norm(theta)) / np.sqrt(len(theta)) or 1.0
    base = np.where(np.abs(theta) < 0.1 * size, 0.1 * size, theta)
    for scale in SCALES:
        yield _timed(
            "start", f"{scale:g} theta", fit, lambda scale=scale: _again(fit, start=(scale * base).tolist())
        )
    drawn = base * np.exp(rng.standard_normal(len(theta)))
    yield _timed("start", "random", fit, lambda: _again(fit, start=drawn.tolist()))


# -- SciPy's optimisers on the criterion ------------------------------------------------------------------------------


def _optimised(fit: Fitted, rng: np.random.Generator) -> Iterator[Run]:
    try:
        model, at, first = _criterion(fit, rng)
    except PlanError as error:
        yield Run("optimiser", "SciPy", refused=str(error))
        return
    scale = step_scale(model(at).hessian)
    for name in OPTIMISERS:
        if name in GRADIENT_FREE and len(at) > MOST_COORDINATES:
            continue
        with blas_threads(_dense_side(fit)):
            yield _minimised(fit, name, model, first, scale)


def _dense_side(fit: Fitted) -> int:
    """Of the largest matrix that the criterion factorises."""
    model = fit.optimum.model
    return int(model.dense_side if fit.problem.residual is not None else model.prepared.dense_side)


def _criterion(fit: Fitted, rng: np.random.Generator) -> tuple[AnyFunction, Array, Array]:
    """The criterion, where it ended, and where SciPy's optimisers begin."""
    point = fit.optimum
    if fit.problem.residual is not None:
        return point.model, point.omega, point.model.start()
    if fit.inference.is_gaussian:
        return point.model, point.theta, point.model.start()
    model = fit.backend.profiled(point)
    layout, first = point.model.layout, point.psi.copy()
    first += OFF * step_scale(model(point.psi).hessian) * rng.choice([-1.0, 1.0], len(first))
    first[layout.theta] = np.concatenate([t.covariance.start() for t in point.model.problem.terms])
    return model, point.psi, first


def _minimised(fit: Fitted, name: str, model: AnyFunction, first: Array, scale: Array) -> Run:
    """One of SciPy's optimisers; steps outside of where the criterion exists count as infinitely bad."""
    from scipy.optimize import minimize

    def value(x: Array) -> float:
        try:
            found = float(model(scale * x).deviance)
        except (FitError, np.linalg.LinAlgError):
            return OUTSIDE
        return found if np.isfinite(found) else OUTSIDE

    def both(x: Array) -> tuple[float, Array]:
        try:
            point = model(scale * x)
            found, slope = float(point.deviance), scale * point.gradient
        except (FitError, np.linalg.LinAlgError):
            return OUTSIDE, np.zeros(len(x))
        return (found, slope) if np.isfinite(found) else (OUTSIDE, np.zeros(len(x)))

    free = name in GRADIENT_FREE
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = minimize(
            value if free else both, first / scale, method=name, jac=not free, options=PRECISE.get(name, {})
        )
    seconds = time.perf_counter() - begun
    try:
        end = model(scale * found.x)
    except (FitError, np.linalg.LinAlgError) as error:
        return Run("optimiser", name, refused=str(error))
    return _of_point(fit, name, end, seconds, found)


def _of_point(fit: Fitted, name: str, end: Any, seconds: float, found: Any) -> Run:
    standard, point = fit.standard, laplace_of(end)
    theta = standard.problem.canonical(point.theta)
    deviance = float(end.deviance) + standard.deviance_shift(restricted=fit.estimate.restricted)
    told = () if found.success else (str(found.message),)
    return Run(
        "optimiser",
        name,
        -0.5 * deviance,
        0.0,
        standard.coefficients @ point.beta,
        standard.theta_out(theta),
        theta,
        seconds,
        int(found.nfev),
        bool(found.success),
        told,
    )
