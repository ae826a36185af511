"""What the samplers share: the posterior density of the variances, many draws at once, its mode and its curvature there.

A density comes in two forms of one quantity. Where the dense part is small, cross-products are arranged so that many draws
are evaluated in one batch (:mod:`lmmformula.backends.posterior.density.bordered`), values and gradient by compiled kernels
(:mod:`lmmformula.backends.posterior.density.fused`). Elsewhere each draw is one factorisation by the engine, with its
analytic gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lmmformula.backends.exact import Exact
from lmmformula.backends.posterior.density.bordered import Bordered
from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.density.marginal import MarginalPosterior
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.base import Engine, Prepared
from lmmformula.errors import FitError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import worker_threads
from lmmformula.numerics.trust_region import minimise
from lmmformula.typing import Array

__all__ = ["SMALL_SIDE", "Laplace", "Target", "find_mode"]

SMALL_SIDE = 250
"""Side of the dense part up to which draws are evaluated in batches."""
SMALL_CELLS = 4_000_000
"""Numbers in the eliminated group's cross-products up to which they are kept as one dense array."""


@dataclass(frozen=True, eq=False)
class Target:
    """The posterior density of the unconstrained variance coordinates.

    Attributes
    ----------
    posterior : MarginalPosterior
    begin : (d,) array
        Where the search for the mode starts: the restricted maximum-likelihood estimate, off its boundaries.
    """

    posterior: MarginalPosterior
    begin: Array

    @classmethod
    def of(cls, problem: Problem, engine: Engine, priors: Priors, prepared: Prepared | None = None) -> Target:
        """Form the Gram and find the maximum-likelihood start."""
        model = Marginal.of(problem, engine, priors, prepared=prepared)
        fitted = Exact(reml=True, engine=engine).fit(model.problem, prepared=model.base.prepared).estimate
        groups = model.base.prepared.blocks.groups
        scales = detectable_sd(model.problem, groups, model.base.gram, fitted.sigma)
        coordinates = Coordinates.of(priors, scales, fitted.sigma)
        begin = coordinates.from_covariances(_covariances(model.problem, fitted), fitted.sigma)
        return cls(MarginalPosterior(model, coordinates), begin)

    @property
    def coordinates(self) -> Coordinates:
        return self.posterior.coordinates

    @property
    def d(self) -> int:
        return self.posterior.d

    @property
    def is_small(self) -> bool:
        """Whether draws can be evaluated in batches."""
        groups = self.posterior.model.base.prepared.blocks.groups
        side = Bordered.side(self.posterior.model)
        cells = max(g.q for g in groups) * (side + len(self.posterior.model.log_var0) + 1)
        return side <= SMALL_SIDE and cells <= SMALL_CELLS

    @cached_property
    def bordered(self) -> Bordered:
        """The form for batches."""
        return Bordered.of(self.posterior.model)

    @cached_property
    def fused(self) -> Fused:
        """The form for compiled kernels."""
        return Fused.of(self.bordered)

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        if self.is_small:
            return self.fused.log_posteriors(self.coordinates, x)
        with ThreadPoolExecutor(worker_threads()) as pool:
            return np.array(list(pool.map(self._value, x)))

    def _value(self, x: Array) -> float:
        try:
            with np.errstate(all="ignore"):
                value = self.posterior(x).value
        except (FitError, FloatingPointError, ValueError, np.linalg.LinAlgError):
            return -np.inf
        return value if np.isfinite(value) else -np.inf

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x; (-inf, 0) where they cannot be computed."""
        try:
            with np.errstate(all="ignore"):
                if self.is_small:
                    value, gradient = self.fused.value_and_gradient(self.coordinates, x)
                else:
                    point = self.posterior(x)
                    value, gradient = point.value, point.gradient
        except (FitError, FloatingPointError, ValueError, np.linalg.LinAlgError):
            value, gradient = -np.inf, np.zeros(self.d)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(self.d)
        return value, gradient


def _covariances(problem: Problem, estimate: Estimate) -> Sequence[Array]:
    """Absolute covariance matrix of each term."""
    out = []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        out.append(lower @ lower.T)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Laplace:
    """The mode of the density, and the Gaussian that touches it there.

    Attributes
    ----------
    mode : (d,) array
    half : (d, d) array
        Lower triangular, half half' = inverse of minus the Hessian (directions of no curvature get the prior's unit scale).
    log_density : float
        At the mode.
    evaluations : int
        Gradients computed.
    converged : bool
    source : {"hessian", "pilot"}
        "pilot" once mean and covariance of an importance sample have taken their places.
    surrogate : Surrogate or None
        Of :mod:`lmmformula.backends.posterior.sampling.surrogate`, where chains run on one.
    """

    mode: Array
    half: Array
    log_density: float
    evaluations: int
    converged: bool
    source: Literal["hessian", "pilot"] = "hessian"
    surrogate: Any = None


@dataclass(frozen=True, slots=True)
class _Downhill:
    """A posterior point as the minimiser wants it; its Hessian is that of the start, which BFGS updates correct."""

    value: float
    gradient: Array
    hessian: Array

    @property
    def error(self) -> float:
        """The density is exact."""
        return 0.0


def find_mode(target: Target, tolerance: float = 1e-5) -> Laplace:
    """Climb from `target.begin`; the Hessian at the end is by central differences of the analytic gradient.

    `tolerance` is the gain in log density that a further Newton step would promise: the mode is where samplers start, not
    a result.
    """
    first = _definite(-_hessian(target, target.begin))

    def downhill(x: Array) -> _Downhill:
        value, gradient = target.value_and_gradient(x)
        return _Downhill(-value, -gradient, first)

    found = minimise(
        downhill,
        target.begin,
        tolerance=tolerance,
        max_evaluations=60,
        secants=12,
    )
    curvature = _definite(-_hessian(target, found.x))
    half = np.linalg.cholesky(np.linalg.inv(curvature))
    return Laplace(found.x, half, -found.point.value, found.evaluations + 4 * target.d, found.converged)


def _hessian(target: Target, x: Array, step: float = 1e-4) -> Array:
    """Second derivatives of the log density at x, (d, d), by central differences of its gradient."""

    def slope(place: Array) -> Array:
        return target.value_and_gradient(place)[1]

    out = np.array([slope(x + e) - slope(x - e) for e in step * np.eye(target.d)]) / (2.0 * step)
    return 0.5 * (out + out.T)


def _definite(hessian: Array, floor: float = 0.2) -> Array:
    """The matrix with eigenvalues replaced by their sizes, and at least `floor`: coordinates have scales of about one."""
    values, vectors = np.linalg.eigh(hessian)
    return (vectors * np.maximum(np.abs(values), floor)) @ vectors.T
