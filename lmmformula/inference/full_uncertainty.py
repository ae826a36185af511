r"""Predictions that hold the uncertainty of the variances too: ``predict(uncertainty="full")``.

Taking the variances as estimated makes intervals for new groups too short where groups are few: the estimate of a variance
from m groups has about m - 1 degrees of freedom, and may be zero.

Gaussian models, residuals independent or structured. Given theta, the parameters of the residuals' structure among it, the
error of a prediction is a multiple of sigma, and with flat priors for beta and log sigma, ``sigma^2 | theta, y ~ r2 / chi^2``
with n - p degrees of freedom, so the prediction has a t distribution around ``x'beta(theta) + z'b(theta)``. Its squared scale
is ``r2 / (n - p)`` times the variance (1) of :mod:`lmmformula.inference.prediction_error` at sigma = 1, plus ``s^2 / w`` for an
observation whose standard deviation is s sigma. These are mixed over theta by :mod:`lmmformula.inference.averaging`. An
integral over the restricted likelihood needs no second maximum, reaches beyond a boundary estimate and repeats itself in other
units.

Models by Laplace's approximation or quadrature: draws of all parameters, theta included, from their joint normal approximation,
of the effects of known levels given these, and of unseen effects with each draw's Sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.averaging import averaged_predictions
from lmmformula.inference.posterior import quantiles
from lmmformula.inference.prediction_error import parameter_spread, row_errors
from lmmformula.inference.prediction_rows import Unseen, unseen_parts
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import DRAWS, drawn_limits, predictor_draws
from lmmformula.inference.working_rows import WorkingRows
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows, Wanted

__all__ = ["full_errors"]

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
    with blas_threads(fit.optimum.model.dense_side):
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
    noise : (S, n) array
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
    standard, working, df = fit.standard, WorkingRows.of(fit, rows), np.nan
    own_weights, centres, variances, noise = [], [], [], []
    for own in averaged_predictions(fit, rows, working, rng):
        given = own.given
        if wanted.new_levels != "sample":
            given = given + working.unseen_variance(own.factors)
        own_weights.append(own.weight)
        centres.append(standard.slope * own.centre + rows.offset + effects)
        spread = given + np.einsum("np,np->n", own.along, own.along)
        variances.append(standard.slope**2 * own.sigma2 * spread)
        sigma = standard.sigma_out(np.sqrt(own.sigma2)) * own.spread
        noise.append(np.broadcast_to(sigma**2, rows.n))
        df = own.df
    shared = np.array(noise) / (1.0 if weights is None else weights)
    return _Mixture(np.array(own_weights), np.array(centres), np.array(variances), shared, df)


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
            here = np.flatnonzero(np.isin(part.rows, at))
            new = np.searchsorted(at, part.rows[here])
            z = rng.standard_normal((len(e), len(here), factors.shape[2]))
            moved = np.einsum("nja,sab,snb->snj", part.basis[here], factors, z, optimize=True)
            draws[:, new] += moved[..., 0]
            for j in range(moved.shape[2] - 1):
                aux[j][:, new] += moved[..., 1 + j]
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


def _unseen_factors(fit: Fitted, rows: Rows, root: Array, e: Array) -> list[tuple[Unseen, Array]]:
    """The terms with levels that the fit has not seen, and f T L of each for each draw of theta, (S, k, k)."""
    standard, slices = fit.standard, fit.problem.theta_slices()
    thetas = fit.optimum.theta + e @ root.T
    out = []
    for unseen in unseen_parts(fit, rows):
        kind = standard.problem.terms[unseen.term].covariance
        lower = np.stack([kind.cholesky(t) for t in thetas[:, slices[unseen.term]]])
        out.append((unseen, standard.effects(unseen.term) @ lower))
    return out
