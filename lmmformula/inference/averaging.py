r"""Values of the variance parameters x of a Gaussian model with posterior weights, and what a prediction needs at each.

The density is ``exp(-d(x) / 2)`` times a prior, d the REML deviance with sigma profiled out, which is what is left of the
likelihood when beta and log sigma have flat priors and are integrated over. x is theta, and with structured residuals
(theta, psi), psi = (phi, delta) of :mod:`lmmformula.ir.residual`. Priors are flat for the elements of theta (standard
deviations), for correlations and shares of a kind that has one, and for delta, moves of the log standard deviation of rows;
that of phi is the kind's ``log_reference``.

x is drawn by importance sampling from a t distribution around the estimate with the curvature there, and weights are smoothed
(Vehtari et al. 2024). The proposal is fitted again to what it drew while it does badly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from lmmformula.errors import FitError, LmmformulaWarning, warn
from lmmformula.inference.structure.rows import cluster_errors, cluster_means
from lmmformula.inference.working_rows import WorkingRows
from lmmformula.ir.covariance import Role
from lmmformula.ir.problem import Problem
from lmmformula.numerics.pareto import TRUSTED_K, pareto_smooth, weights_ess
from lmmformula.numerics.student_mixture import StudentMixture, fit_mixture
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ByCluster, ClusterPoint
    from lmmformula.criteria.profiled import Profiled, ProfiledPoint
    from lmmformula.criteria.variance import Modes
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows

__all__ = ["AveragedPrediction", "averaged_predictions"]

DRAWN = 500
"""Values of x that are mixed."""
TAILS = 3.0
"""Least degrees of freedom of the distribution they are drawn from; no fewer than there are coordinates."""
ROUNDS = 3
"""Proposals tried."""
WELL = 0.4
"""Share of the draws that the weighted ones are worth at which a proposal is good enough."""
LEAST = 0.1
"""The same below which the user is warned. Pareto's k says little where the weights are nearly equal."""
NEGLIGIBLE = -20.0
"""Log weight of a draw that is left out."""
KEPT = 5_000
"""Random effects up to which the criterion at every draw is held rather than evaluated twice."""


class _Point(Protocol):
    @property
    def deviance(self) -> float: ...
    @property
    def r2(self) -> float: ...


P = TypeVar("P", bound=_Point)


class Averaged(Protocol[P]):
    """The criterion of a fit, and predictions of rows as functions of a point; relative to sigma^2 and in the twin's units."""

    @property
    def problem(self) -> Problem: ...

    @property
    def x(self) -> Array:
        """The estimate."""
        ...

    @property
    def df(self) -> float:
        """Degrees of freedom of sigma^2, n - p."""
        ...

    @property
    def hessian(self) -> Array:
        """Of the REML criterion at the estimate, near enough for a proposal."""
        ...

    def at(self, x: Array) -> P:
        """The REML criterion."""
        ...

    def log_prior(self, x: Array) -> float:
        """Up to a constant; -inf where a mirror image of x stands for it."""
        ...

    def errors(self, point: P) -> tuple[Array, Array]:
        """Variance of z'b given x and beta, (n,), and how the prediction moves with beta's errors, (n, p)."""
        ...

    def centre(self, point: P) -> Array:
        """``x'beta + z'b``, (n,)."""
        ...

    def factors(self, point: P) -> dict[int, Array]:
        """L of each term."""
        ...

    def spread(self, point: P) -> Array | float:
        """Standard deviations of new observations relative to sigma, without weights."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class AveragedPrediction:
    """Predictive t distributions of rows at one x, in the twin's units.

    Attributes
    ----------
    weight : float
        Of x; they sum to one.
    df : float
    sigma2 : float
        r2 / df.
    given : (n,) array
        Variance of z'b given x and beta relative to sigma^2.
    along : (n, p) array
        How the prediction moves with beta's errors, relative to sigma.
    centre : (n,) array
    factors : dict of (k, k) arrays
        L of each term.
    spread : (n,) array or float
        Standard deviations of new observations relative to sigma, without weights.
    """

    weight: float
    df: float
    sigma2: float
    given: Array
    along: Array
    centre: Array
    factors: dict[int, Array]
    spread: Array | float


def averaged_predictions(
    fit: Fitted, rows: Rows, working: WorkingRows, rng: np.random.Generator
) -> Iterator[AveragedPrediction]:
    """Predictions of a Gaussian fit at values of x with the weights of their posterior."""
    if fit.problem.residual is None:
        yield from _predictions(AveragedTheta(fit, rows, working), rng)
    else:
        yield from _predictions(AveragedClusters(fit, rows, working), rng)


def _predictions(own: Averaged[P], rng: np.random.Generator) -> Iterator[AveragedPrediction]:
    for weight, point in _weighted_points(own, rng):
        given, along = own.errors(point)
        yield AveragedPrediction(
            weight,
            own.df,
            point.r2 / own.df,
            given,
            along,
            own.centre(point),
            own.factors(point),
            own.spread(point),
        )


@dataclass(frozen=True)
class _OfFit:
    fit: Fitted
    rows: Rows
    working: WorkingRows

    @property
    def problem(self) -> Problem:
        """That of the twin."""
        return self.fit.optimum.model.problem


@dataclass(frozen=True)
class AveragedTheta(_OfFit):
    """Independent residuals: x is theta."""

    @cached_property
    def model(self) -> Profiled:
        """The REML criterion."""
        return replace(self.fit.optimum.model, reml=True)

    @property
    def x(self) -> Array:
        return self.fit.optimum.theta

    @property
    def df(self) -> float:
        return float(self.model.n_eff)

    @property
    def hessian(self) -> Array:
        return self.model(self.x).hessian  # which a boundary estimate has a little inside

    def at(self, x: Array) -> ProfiledPoint:
        return self.model(x, exact=True)

    def log_prior(self, x: Array) -> float:
        return log_prior_of_theta(self.problem, x)

    def errors(self, point: ProfiledPoint) -> tuple[Array, Array]:
        return self.working.errors(point, point.half, tuple(-h for h in point.h))

    def centre(self, point: ProfiledPoint) -> Array:
        return self.working.centre(point)

    def factors(self, point: Modes) -> dict[int, Array]:
        groups = point.model.prepared.blocks.groups
        return {
            i: factor[columns, columns]
            for group, factor in zip(groups, point.factors, strict=True)
            for i, columns in group.members
        }

    def spread(self, point: ProfiledPoint) -> float:
        return 1.0


@dataclass(frozen=True)
class AveragedClusters(_OfFit):
    """Structured residuals: x is (theta, psi)."""

    @cached_property
    def model(self) -> ByCluster:
        """The REML criterion."""
        return replace(self.fit.optimum.model, reml=True)

    @property
    def x(self) -> Array:
        return self.fit.optimum.omega

    @property
    def df(self) -> float:
        return float(self.model.n_eff)

    @property
    def hessian(self) -> Array:
        return self.model(self.x).hessian

    def at(self, x: Array) -> ClusterPoint:
        return self.model(x)

    def log_prior(self, x: Array) -> float:
        theta, psi = self.model.split(x)
        residual = self.model.residual
        return log_prior_of_theta(self.problem, theta) + residual.kind.log_reference(residual.split(psi)[0])

    def errors(self, point: ClusterPoint) -> tuple[Array, Array]:
        return cluster_errors(point, self.working)

    def centre(self, point: ClusterPoint) -> Array:
        return cluster_means(point, self.working)

    def factors(self, point: ClusterPoint) -> dict[int, Array]:
        return dict(enumerate(point.factors))

    def spread(self, point: ClusterPoint) -> Array | float:
        own = self.rows.spread
        if own is None:
            return 1.0
        return own(self.fit.standard.residual_out(self.model.split(point.omega)[1]))


def log_prior_of_theta(problem: Problem, theta: Array) -> float:
    """Flat for standard deviations, correlations, shares; of theta and its mirror images, which have one Sigma, one counts."""
    roles = [role for term in problem.terms for role in term.covariance.roles]
    if any(role.bounded and t < 0.0 for role, t in zip(roles, theta, strict=True)):
        return -np.inf
    # a flat correlation lo + (1 - lo) / (1 + e^-t) has a logistic t
    logits = [abs(t) for role, t in zip(roles, theta, strict=True) if role is Role.CORRELATION]
    prior = -sum(t + 2.0 * np.log1p(np.exp(-t)) for t in logits)
    for t in (t for role, t in zip(roles, theta, strict=True) if role is Role.SHARE):  # a flat share
        if not 0.0 < t < 0.5 * np.pi:
            return -np.inf
        prior += float(np.log(np.sin(2.0 * t)))
    return float(prior)


# -- draws ------------------------------------------------------------------------------------------------------------


def _weighted_points(own: Averaged[P], rng: np.random.Generator) -> Iterator[tuple[float, P]]:
    """The criterion at values of x, with weights that sum to one."""
    if not own.x.size:
        yield 1.0, own.at(own.x)
        return
    found = _importance_sample(own, rng)
    _warn_of_few(own, found)
    for j in np.flatnonzero(found.log_weights > NEGLIGIBLE):
        yield float(np.exp(found.log_weights[j])), found.at(int(j))


@dataclass(frozen=True, slots=True, eq=False)
class _Sample(Generic[P]):
    """Draws of x with log weights that sum to one, Pareto's k, and the criterion at each draw."""

    drawn: Array
    log_weights: Array
    k: float
    at: Callable[[int], P]

    @property
    def worth(self) -> float:
        """Share of the draws that the weighted ones are worth."""
        return weights_ess(self.log_weights) / len(self.drawn)


def _importance_sample(own: Averaged[P], rng: np.random.Generator) -> _Sample[P]:
    """The proposal is fitted to what it drew while it does badly."""
    found: list[_Sample[P]] = []
    tails = max(TAILS, float(len(own.x)))
    proposal = _proposal(own, tails)
    for _ in range(ROUNDS):
        drawn = proposal.sample(rng, DRAWN)
        held = DRAWN if own.problem.q <= KEPT else 1
        at = lru_cache(maxsize=held)(partial(_evaluated, own, drawn))
        target = np.array([_log_posterior(own, at, j, x) for j, x in enumerate(drawn)])
        found.append(_Sample(drawn, *pareto_smooth(target - proposal.logpdf(drawn)), at))
        best = max(found, key=lambda sample: sample.worth)
        if best.worth > WELL:
            break
        proposal = fit_mixture(best.drawn, np.exp(best.log_weights), 3, rng).with_guard(0.2, 2.0, tails)
    return max(found, key=lambda sample: sample.worth)


def _evaluated(own: Averaged[P], drawn: Array, j: int) -> P:
    return own.at(drawn[j])


def _log_posterior(own: Averaged[P], at: Callable[[int], P], j: int, x: Array) -> float:
    prior = own.log_prior(x)
    if not np.isfinite(prior):
        return -np.inf
    try:
        value = prior - 0.5 * at(j).deviance
    except FitError:
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def _warn_of_few(own: Averaged[P], found: _Sample[P]) -> None:
    """A flat prior for L (k, k) has a posterior with a mean only if a factor has more than 1 + (k + 1) / 2 levels."""
    few = [f"{t.group} has {t.m} levels" for t in own.problem.terms if t.m - 1 <= (t.k + 1) / 2]
    if not few and found.worth > LEAST and (found.k < TRUSTED_K or found.worth > WELL):
        return
    worth = f"draws of the variances, averaged over, are worth {found.worth * DRAWN:.0f} of {DRAWN}"
    warn(
        f"the limits are rough: {'; '.join(few) or worth}, too few for {len(own.x)} variance parameter"
        f"{'' if len(own.x) == 1 else 's'}. Simplify the random part, or use method='hmc', whose priors decide where the data "
        "do not.",
        LmmformulaWarning,
    )


def _proposal(own: Averaged[P], tails: float) -> StudentMixture:
    """t distributions around the estimate: with the curvature there, and a wider one."""
    values, vectors = np.linalg.eigh(own.hessian)
    # theta is relative to sigma in standard columns, hence a number without unit: no direction is wider than its own size
    variances = 2.0 / np.maximum(values, 2.0 / (1.0 + float(np.linalg.norm(own.x))) ** 2)
    half = np.linalg.cholesky((vectors * variances) @ vectors.T)
    return StudentMixture(np.ones(1), own.x[None], half[None], tails).with_guard(0.3, 2.0, tails)
