r"""Predictions that hold the uncertainty of the variances too: ``predict(uncertainty="full")``.

Taking the variances as estimated makes intervals for new groups too short where groups are few: the estimate of a variance
from m groups has about m - 1 degrees of freedom, and may be zero.

Gaussian models with one residual variance. Given theta the error of a prediction is a multiple of sigma, and with flat priors
for beta and log sigma, ``sigma^2 | theta, y ~ r2 / chi^2`` with n - p degrees of freedom, so the prediction has a t
distribution around ``x'beta(theta) + z'b(theta)``. Its squared scale is ``r2 / (n - p)`` times the variance (1) of
:mod:`lmmformula.inference.prediction_error` at sigma = 1, plus 1 / w for an observation. These are mixed over theta with weight
``exp(-d(theta) / 2)``, d the REML deviance: the posterior under a flat prior for the elements of theta (standard deviations;
correlations of kinds that have one are flat too), by importance sampling from a t distribution around the estimate, weights
smoothed (Vehtari et al. 2024). An integral over the restricted likelihood needs no second maximum, reaches beyond a boundary
estimate and repeats itself in other units.

Models by Laplace's approximation or quadrature: draws of all parameters, theta included, from their joint normal approximation,
of the effects of known levels given these, and of unseen effects with each draw's Sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError, LmmformulaWarning, PlanError, warn
from lmmformula.inference.posterior import quantiles
from lmmformula.inference.prediction_error import parameter_spread, row_errors
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import DRAWS, drawn_limits, predictor_draws
from lmmformula.inference.working_rows import WorkingRows
from lmmformula.ir.covariance import Role
from lmmformula.ir.problem import Problem
from lmmformula.numerics.pareto import TRUSTED_K, pareto_smooth, weights_ess
from lmmformula.numerics.student_mixture import StudentMixture, fit_mixture
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.profiled import Profiled, ProfiledPoint
    from lmmformula.criteria.variance import Modes
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Part, Rows, Wanted

__all__ = ["full_errors"]

THETAS = 500
"""Values of theta that are mixed."""
TAILS = 3.0
"""Degrees of freedom of the distribution they are drawn from."""
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
STEPS = 60
PRECISION = 1e-6
"""Of a quantile, relative to the distribution's scale."""


def full_errors(
    fit: Fitted,
    rows: Rows,
    eta: Array,
    effects: Array,
    wanted: Wanted,
    weights: Array | None,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """``[se][, lower, upper]`` of the rows.

    Parameters
    ----------
    eta : (n,) array
        Linear predictor at the estimate, drawn effects included; nan in rows that are not to be predicted.
    effects : (n,) array
        The drawn effects in it.
    wanted : Wanted
    weights : (n,) array or None
        Of new observations.

    Raises
    ------
    PlanError
        For fits that do not say how well theta is known.
    """
    if fit.twin_vcov is not None:
        return _drawn(fit, rows, eta, wanted, weights, rng)
    if not fit.inference.is_gaussian:
        raise PlanError(
            f"uncertainty='full' needs to know how well the variances are known, and a fit by {fit.method} does not say: fit "
            "with method='laplace' (Gaussian: 'reml'), or leave uncertainty out."
        )
    with blas_threads(fit.optimum.model.prepared.dense_side):
        mixture = _mixture(fit, rows, effects, wanted, weights, rng)
    out = {} if not wanted.se else {"se": mixture.sd()}
    if wanted.interval is not None:
        observed = wanted.interval == "prediction"
        tail = 0.5 - wanted.level / 2
        out |= {
            name: mixture.quantile(p, observed=observed) for name, p in (("lower", tail), ("upper", 1 - tail))
        }
    return {name: np.where(np.isfinite(eta), values, np.nan) for name, values in out.items()}


# -- Gaussian models: a mixture of t distributions ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Mixture:
    """Predictive distributions of n rows, each a mixture of S t distributions.

    Attributes
    ----------
    weights : (S,) array
        Of the components, with sum 1.
    centres, variances : (S, n) arrays
        Squared scales are of eta.
    noise : (S, n) or (S, 1) array
        What an observation adds to them.
    df : float
    """

    weights: Array
    centres: Array
    variances: Array
    noise: Array
    df: float

    def sd(self) -> Array:
        """Standard deviation of eta; infinite with two degrees of freedom or fewer."""
        spread = self.df / (self.df - 2.0) if self.df > 2.0 else np.inf
        mean = self.weights @ self.centres
        return np.sqrt(self.weights @ (spread * self.variances + (self.centres - mean) ** 2))

    def quantile(self, p: float, *, observed: bool) -> Array:
        """Of eta, or of an observation: by Newton's steps, between the least and the largest quantile of a component."""
        from scipy.special import gammaln, stdtr, stdtrit

        df, sd = self.df, np.sqrt(self.variances + self.noise * observed)
        each = self.centres + sd * stdtrit(df, p)
        low, high, now = each.min(axis=0), each.max(axis=0), self.weights @ each
        height = np.exp(gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df)) / np.sqrt(df * np.pi)
        for _ in range(STEPS):
            t = (now - self.centres) / sd
            excess = self.weights @ stdtr(df, t) - p
            density = self.weights @ (height * (1.0 + t * t / df) ** (-0.5 * (df + 1.0)) / sd)
            low, high = np.where(excess < 0.0, now, low), np.where(excess < 0.0, high, now)
            last, now = now, now - excess / density
            now = np.where((now >= low) & (now <= high), now, 0.5 * (low + high))
            if (np.abs(now - last) <= PRECISION * (np.abs(high - low) + sd.min(axis=0))).all():
                break
        return now


def _mixture(
    fit: Fitted, rows: Rows, effects: Array, wanted: Wanted, weights: Array | None, rng: np.random.Generator
) -> _Mixture:
    standard, working = fit.standard, WorkingRows.of(fit, rows)
    df = float(replace(fit.optimum.model, reml=True).n_eff)
    own_weights, centres, variances, noise = [], [], [], []
    for weight, point in _thetas(fit, rng):
        sigma2 = point.r2 / df
        own, along = working.errors(point, point.half, tuple(-h for h in point.h))
        if wanted.new_levels != "sample":
            own = own + working.unseen_variance(_factors(point))
        own_weights.append(weight)
        centres.append(standard.slope * working.centre(point) + rows.offset + effects)
        variances.append(standard.slope**2 * sigma2 * (own + np.einsum("np,np->n", along, along)))
        noise.append(standard.sigma_out(np.sqrt(sigma2)) ** 2)
    shared = np.array(noise)[:, None] / (1.0 if weights is None else weights)
    return _Mixture(np.array(own_weights), np.array(centres), np.array(variances), shared, df)


def _factors(point: Modes) -> dict[int, Array]:
    """L of each term."""
    groups = point.model.prepared.blocks.groups
    return {
        i: factor[columns, columns]
        for group, factor in zip(groups, point.factors, strict=True)
        for i, columns in group.members
    }


def _thetas(fit: Fitted, rng: np.random.Generator) -> Iterator[tuple[float, ProfiledPoint]]:
    """Criterion at values of theta, with the weights of a posterior that has a flat prior; they sum to one."""
    model, theta = replace(fit.optimum.model, reml=True), fit.optimum.theta
    if not theta.size:
        yield 1.0, fit.optimum
        return
    found = _importance_sample(model, _proposal(model, theta), rng)
    _warn_of_few(model, theta, found)
    for j in np.flatnonzero(found.log_weights > NEGLIGIBLE):
        yield float(np.exp(found.log_weights[j])), found.at(int(j))


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Draws of theta with log weights that sum to one, Pareto's k, and the criterion at each draw."""

    drawn: Array
    log_weights: Array
    k: float
    at: Callable[[int], ProfiledPoint]

    @property
    def worth(self) -> float:
        """Share of the draws that the weighted ones are worth."""
        return weights_ess(self.log_weights) / len(self.drawn)


def _importance_sample(model: Profiled, proposal: StudentMixture, rng: np.random.Generator) -> _Sample:
    """The proposal is fitted to what it drew while it does badly."""
    found: list[_Sample] = []
    for _ in range(ROUNDS):
        drawn = proposal.sample(rng, THETAS)
        at = lru_cache(maxsize=THETAS if model.problem.q <= KEPT else 1)(partial(_evaluated, model, drawn))
        target = np.array([_log_posterior(at, j, t, model.problem) for j, t in enumerate(drawn)])
        found.append(_Sample(drawn, *pareto_smooth(target - proposal.logpdf(drawn)), at))
        best = max(found, key=lambda sample: sample.worth)
        if best.worth > WELL:
            break
        proposal = fit_mixture(best.drawn, np.exp(best.log_weights), 3, rng).with_guard(0.2, 2.0, TAILS)
    return max(found, key=lambda sample: sample.worth)


def _evaluated(model: Profiled, drawn: Array, j: int) -> ProfiledPoint:
    return model(drawn[j], exact=True)


def _warn_of_few(model: Profiled, theta: Array, found: _Sample) -> None:
    """A flat prior for L (k, k) has a posterior with a mean only if a factor has more than 1 + (k + 1) / 2 levels."""
    few = [f"{t.group} has {t.m} levels" for t in model.problem.terms if t.m - 1 <= (t.k + 1) / 2]
    if not few and found.worth > LEAST and (found.k < TRUSTED_K or found.worth > WELL):
        return
    worth = f"draws of the variances, averaged over, are worth {found.worth * THETAS:.0f} of {THETAS}"
    warn(
        f"the limits are rough: {'; '.join(few) or worth}, too few for {len(theta)} variance parameter"
        f"{'' if len(theta) == 1 else 's'}. Simplify the random part, or use method='hmc', whose priors decide where the data "
        "do not.",
        LmmformulaWarning,
    )


def _proposal(model: Profiled, theta: Array) -> StudentMixture:
    """t distributions around the estimate: with the curvature there, and a wider one."""
    values, vectors = np.linalg.eigh(model(theta).hessian)
    # theta is relative to sigma in standard columns, hence a number without unit: no direction is wider than its own size
    variances = 2.0 / np.maximum(values, 2.0 / (1.0 + float(np.linalg.norm(theta))) ** 2)
    half = np.linalg.cholesky((vectors * variances) @ vectors.T)
    return StudentMixture(np.ones(1), theta[None], half[None], TAILS).with_guard(0.3, 2.0, TAILS)


def _log_posterior(at: Callable[[int], ProfiledPoint], j: int, theta: Array, problem: Problem) -> float:
    """``-d(theta) / 2`` plus the log prior; of theta and its mirror images, which have the same Sigma, one counts."""
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
    try:
        return float(prior - 0.5 * at(j).deviance)
    except FitError:
        return -np.inf


# -- other models: draws ----------------------------------------------------------------------------------------------------


def _drawn(
    fit: Fitted, rows: Rows, eta: Array, wanted: Wanted, weights: Array | None, rng: np.random.Generator
) -> dict[str, Array]:
    scale, family, spread = (
        Scale.of(fit.problem.family, wanted.kind),
        fit.problem.family,
        parameter_spread(fit),
    )
    errors = row_errors(fit, rows, drawn=True)
    e = rng.standard_normal((DRAWS, spread.fixed.shape[1]))
    names = [*(["se"] if wanted.se else []), *(["lower", "upper"] if wanted.interval is not None else [])]
    out = {name: np.full(len(eta), np.nan) for name in names}
    unseen = [] if wanted.new_levels == "sample" else _unseen_factors(fit, rows, spread.theta, e)
    for at, draws, aux in predictor_draws(rows, eta, errors, ~errors.undetermined, rng, e):
        for part, factors in unseen:
            new = np.flatnonzero(part.new_codes[at] >= 0)
            moved = np.einsum("nk,skl->snl", part.basis[at][new], factors)
            draws[:, new] += np.linalg.norm(moved, axis=2) * rng.standard_normal((len(e), len(new)))
        values = np.broadcast_to(scale.value(draws, aux), draws.shape)
        if wanted.se:
            out["se"][at] = values.std(axis=0, ddof=1)
        if wanted.interval == "prediction":
            own = None if weights is None else weights[at]
            out["lower"][at], out["upper"][at] = drawn_limits(
                family, rng, draws, aux, own, wanted.level, eta[at]
            )
        elif wanted.interval is not None:
            out["lower"][at], out["upper"][at] = quantiles(values, wanted.level)
    if wanted.se:
        out["se"][errors.undetermined] = np.inf
    return out


def _unseen_factors(fit: Fitted, rows: Rows, root: Array, e: Array) -> list[tuple[Part, Array]]:
    """The parts with levels that the fit has not seen, and f T L of their term for each draw of theta, (S, k, k)."""
    standard, slices = fit.standard, fit.problem.theta_slices()
    thetas = fit.optimum.theta + e @ root.T
    out = []
    for part in rows.parts:
        if (part.new_codes >= 0).any():
            kind = standard.problem.terms[part.term].covariance
            lower = np.stack([kind.cholesky(t) for t in thetas[:, slices[part.term]]])
            out.append((part, standard.effects(part.term) @ lower))
    return out
