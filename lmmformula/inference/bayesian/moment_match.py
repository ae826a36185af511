r"""Leave-one-out of rows whose importance weights cannot be trusted: draws moved towards the posterior without the row.

Where ``w_s ~ 1 / p(y_i | theta_s)`` has a heavy tail, the posterior without row i lies elsewhere. Implicitly adaptive
importance sampling (Paananen, Piironen, Burkner & Vehtari 2021, sec. 4) moves every draw by an affine map T that matches
weighted moments, and weights the moved draws by ::

    w_s ~ p(T theta_s, y) / [p(y_i | T theta_s) p(theta_s, y)]

for the density of T theta_s is p(theta_s | y) over |T|, a constant. Three maps are tried in turn, from the least to the most:
means, means and variances, means and covariances; a map stays if it lowers Pareto's k, and the next is tried from there.

What moves is what row i informs: beta, the effects of its own levels, and log sigma of a model that has one. The joint density
then changes by the likelihood of all rows, the priors of beta and sigma, and N(b | 0, Sigma_s) of these levels at each draw's
Sigma.

References
----------
Paananen, Piironen, Burkner & Vehtari (2021), Stat. Comput. 31, 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.inference.bayesian.log_prior import coefficients_log_prior, density_of
from lmmformula.inference.bayesian.loo import trusted_k
from lmmformula.inference.posterior import (
    Effects,
    auxiliary_draws,
    flat,
    linear_predictors,
    own_effects,
    row_densities,
    row_slices,
    term_spreads,
)
from lmmformula.numerics.pareto import log_sum, pareto_smooth
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Matched", "moment_match"]

_MOST = 30
"""Maps that are tried for one row."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A row after moving the draws.

    Attributes
    ----------
    elpd : float
    k : float
        Pareto's shape with the moved draws.
    """

    elpd: float
    k: float


def moment_match(fit: Fitted, row: int, k: float, elpd: float) -> Matched:
    """Leave out `row`, whose plain weights gave `k` and `elpd`. O(S n) for each map tried.

    Raises
    ------
    PlanError
        For effects that depend on each other across levels, or were not kept, and for monotonic effects.
    """
    fit.problem.refuse_coupled("loo(moment_match=True)", "Use loo(reloo=True).")
    if fit.problem.monotonic is not None:
        raise PlanError(
            "loo(moment_match=True) moves coefficients linearly, and the steps of monotonic effects keep their sign under no "
            "such move. Use loo(reloo=True)."
        )
    target = _Target(fit, row)
    best = Matched(elpd, k)
    z, weights = target.start, target.first_weights
    maps: list[Callable[[Array, Array], Array]] = [_shifted, _scaled, _turned]
    for _ in range(_MOST):
        if best.k <= trusted_k(len(z)) or not maps:
            break
        moved = maps[0](z, weights)
        log_weights, density = target.weights(moved)
        smooth, shape = pareto_smooth(log_weights)
        if shape < best.k:
            z, weights = moved, np.exp(smooth)
            best = Matched(log_sum(smooth + density), shape)
        else:
            maps = maps[1:]
    return best


def _shifted(z: Array, weights: Array) -> Array:
    return z + (weights @ z - z.mean(axis=0))


def _scaled(z: Array, weights: Array) -> Array:
    centre, mean = z.mean(axis=0), weights @ z
    spread = z.std(axis=0)
    factor = np.sqrt(np.maximum(weights @ (z - mean) ** 2, 0.0)) / np.where(spread > 0, spread, 1.0)
    return mean + (z - centre) * np.where(spread > 0, factor, 1.0)


def _turned(z: Array, weights: Array) -> Array:
    """Covariances, where both are positive definite; else variances alone."""
    centre, mean = z.mean(axis=0), weights @ z
    own, aim = z - centre, z - mean
    try:
        root = np.linalg.cholesky(own.T @ own / len(z))
        wanted = np.linalg.cholesky((weights[:, None] * aim).T @ aim)
    except np.linalg.LinAlgError:
        return _scaled(z, weights)
    return mean + np.linalg.solve(root, own.T).T @ wanted.T


@dataclass(frozen=True)
class _Target:
    """The posterior without one row, as a density of what moves: (beta, effects of its levels[, log sigma])."""

    fit: Fitted
    row: int

    @cached_property
    def _beta(self) -> Array:
        return flat(self.fit.inference.draws().beta)

    @cached_property
    def _effects(self) -> list[Effects]:
        return own_effects(self.fit)

    @cached_property
    def _sigma(self) -> Array | None:
        """sigma where it is one number beside the mean."""
        posterior, problem = self.fit.inference.draws(), self.fit.problem
        alone = (
            len(problem.family.auxiliaries) == 1 and "sigma" in posterior.names and not any(problem.aux_terms)
        )
        return posterior["sigma"].reshape(-1) if alone else None

    @cached_property
    def _levels(self) -> tuple[tuple[int, int], ...]:
        """(term, level) of the row."""
        found = ((i, int(e.codes[self.row])) for i, e in enumerate(self._effects))
        return tuple((i, level) for i, level in found if level >= 0)

    @cached_property
    def start(self) -> Array:
        parts = [self._beta, *(self._effects[i].draws[:, level] for i, level in self._levels)]
        if self._sigma is not None:
            parts.append(np.log(self._sigma)[:, None])
        return np.hstack(parts)

    @cached_property
    def _base(self) -> Array:
        """log p(theta_s, y), up to a constant, (S,), and that of the row."""
        return self._joint(self.start)

    @cached_property
    def first_weights(self) -> Array:
        smooth, _ = pareto_smooth(-self._base[1])
        return np.exp(smooth)

    def weights(self, z: Array) -> tuple[Array, Array]:
        """Log weights of moved draws, and the log density of the row at them."""
        joint, density = self._joint(z)
        log_weights = joint - density - self._base[0]
        return np.where(np.isfinite(log_weights), log_weights, -np.inf), density

    def _joint(self, z: Array) -> Array:
        """(log p(z, y) up to what no z moves, log p(y_row | z)), (2, S)."""
        problem, draws = self.fit.problem, self.fit.inference.draws()
        p, width = problem.p, z.shape[1]
        beta, at, effects = z[:, :p], p, list(self._effects)
        total = coefficients_log_prior(draws.priors.coefficients, draws.priors.contrast, beta)
        for i, level in self._levels:
            size = effects[i].draws.shape[2]
            own = z[:, at : at + size]
            total = total + _normal(own, term_spreads(self.fit, i).covariance)
            changed = effects[i].draws.copy()
            changed[:, level] = own
            effects[i] = Effects(changed, effects[i].codes, effects[i].basis)
            at += size
        log_sigma = None
        if at < width:
            log_sigma = z[:, at]
            if (prior := draws.priors.sigma) is not None:
                total = total + density_of(prior, np.exp(log_sigma)) + log_sigma
        density = np.zeros(len(z))
        for rows, log_lik in self._rows(beta, effects, log_sigma):
            total = total + log_lik.sum(axis=1)
            if rows.start <= self.row < rows.stop:
                density = log_lik[:, self.row - rows.start]
        return np.stack([total, density])

    def _rows(
        self, beta: Array, effects: list[Effects], log_sigma: Array | None
    ) -> Iterator[tuple[slice, Array]]:
        """Log density of the rows, slice by slice, (S, rows)."""
        problem = self.fit.problem
        width = 2 + max((t.k for t in problem.terms), default=0)
        for rows in row_slices(problem.n, len(beta), width):
            eta = linear_predictors(beta, problem.X.matrix, problem.offset, effects, rows)
            if log_sigma is None:
                aux = auxiliary_draws(self.fit, [b.matrix for b in problem.aux], rows)
            else:
                aux = (problem.family.auxiliaries[0].predictor(np.exp(log_sigma))[:, None],)
            w = None if problem.weights is None else problem.weights[rows]
            yield rows, row_densities(problem.family, problem.y[rows], eta, aux, w)


def _normal(b: Array, covariance: Array) -> Array:
    """log N(b_s | 0, Sigma_s) up to |Sigma_s|, which moves nothing; -inf off the support of a singular one."""
    values, vectors = np.linalg.eigh(covariance)
    turned = np.einsum("skj,sk->sj", vectors, b)
    seen: NDArray[np.bool_] = values > 1e-14 * values[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(seen, turned**2 / np.where(seen, values, 1.0), 0.0)
    return -0.5 * squares.sum(axis=1)
