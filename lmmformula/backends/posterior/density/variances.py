r"""The posterior density of the variances, all effects integrated out: log p(y | x) + log p(x), up to the evidence.

It comes in two forms of one quantity. Where the dense part is small, cross-products are arranged so that many draws are
evaluated in one batch (:mod:`lmmformula.backends.posterior.density.bordered`), values and gradient by compiled kernels
(:mod:`lmmformula.backends.posterior.density.fused`), unless a problem is so small that NumPy is done before these are
loaded. Elsewhere each draw is one factorisation by the engine, with the marginal density's slopes in L, log sigma and log v
(:mod:`lmmformula.criteria.marginal`) and the coordinates' own (:mod:`lmmformula.backends.posterior.model.coordinates`)::

    d/dx_j = <dlogp/dL, dL/dx_j> + dlogp/dphi dphi/dx_j + dlogp/dlog sigma dlog sigma/dx_j
             + dlogp/dlog v dlog v/dx_j + d log p(x_j)/dx_j
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.backends.exact import Exact
from lmmformula.backends.posterior.density.base import Pointwise, Traced
from lmmformula.backends.posterior.density.bordered import Bordered
from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.density.looped import Looped
from lmmformula.backends.posterior.density.scale import Scale, find_mode
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.criteria.marginal import Marginal, MarginalPoint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.groups import Group
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import across_elements, phis_of
from lmmformula.typing import Array

__all__ = ["VarianceDensity", "VariancePoint", "suits_batches"]

SMALL_SIDE = 250
"""Side of the dense part up to which draws are evaluated in batches."""
SMALL_CELLS = 4_000_000
"""Numbers in the eliminated group's cross-products up to which they are kept as one dense array."""
NESTED_SIDE = 100
"""Side of the dense part up to which nested groups are taken as any others, in loops that need no tracing."""
TINY = 3_000
"""Multiplications of a draw up to which NumPy is done before compiled kernels are loaded."""


def suits_batches(groups: Sequence[Group], p: int) -> bool:
    """Whether the cross-products of these groups and p fixed effects are small enough for batches of draws.

    The forms for batches are of independent levels, one to a row.
    """
    largest = max((g.q for g in groups), default=0)
    side = sum(g.q for g in groups) - largest
    small = side <= SMALL_SIDE and largest * (side + p + 1) <= SMALL_CELLS
    return small and all(g.is_blockwise for g in groups)


@dataclass(frozen=True, eq=False)
class VarianceDensity(Pointwise):
    """The density of the unconstrained variance coordinates.

    Attributes
    ----------
    model : Marginal
    coordinates : Coordinates
    begin : (d,) array
        Where the search for the mode starts: the restricted maximum-likelihood estimate, off its boundaries.
    """

    model: Marginal
    coordinates: Coordinates
    begin: Array

    @classmethod
    def of(
        cls, problem: Problem, engine: Engine, priors: Priors, prepared: Prepared | None = None
    ) -> VarianceDensity:
        """Form the Gram and find the maximum-likelihood start."""
        model = Marginal.of(problem, engine, priors, prepared=prepared)
        fitted = _first_fit(model, engine)
        groups = model.groups
        scales = detectable_sd(model.problem, groups, model.base.gram, fitted.sigma)
        coordinates = Coordinates.of(priors, scales, fitted.sigma)
        begin = coordinates.from_covariances(
            _covariances(model.problem, fitted), fitted.sigma, phis_of(model.problem, fitted.theta)
        )
        return cls(model, coordinates, begin)

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        return self.coordinates.folded

    @property
    def is_small(self) -> bool:
        """Whether draws can be evaluated in batches."""
        return suits_batches(self.model.groups, len(self.model.log_var0))

    @cached_property
    def is_tiny(self) -> bool:
        """Whether draws are evaluated and recovered without compiled kernels."""
        return self.is_small and self.bordered.multiplications <= TINY

    @property
    def is_dense(self) -> bool:
        """Whether a value takes a dense factorisation."""
        return not self.is_small or self.bordered.q_dense > 0

    @property
    def is_dear(self) -> bool:
        """Where each draw is a factorisation by the engine."""
        return not self.is_small

    @cached_property
    def bordered(self) -> Bordered:
        """The form for batches."""
        return Bordered.of(self.model)

    @cached_property
    def fused(self) -> Fused:
        """The form for compiled kernels."""
        return Fused.of(self.bordered)

    def __call__(self, x: Array) -> VariancePoint:
        """By the engine, at one x."""
        return VariancePoint(self, np.asarray(x, dtype=float))

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        if not self.is_small:
            return super().log_densities(x)
        return (self.bordered if self.is_tiny else self.fused).log_posteriors(self.coordinates, x)

    def _evaluated(self, x: Array) -> tuple[float, Array]:
        if self.is_tiny or not self.is_small:
            return super()._evaluated(x)
        looped = self._looped
        return self.fused.value_and_gradient(self.coordinates, x) if looped is None else looped(x)

    def looped(self) -> Looped | None:
        """As numbers for compiled loops, where batches are evaluated and all parts can be stated so.

        None too where nested groups have many levels: along their chain a traced density has nothing dense to factorise
        (:mod:`lmmformula.backends.posterior.density.nested`).
        """
        if not self.is_small:
            return None
        if self.bordered.q_dense > NESTED_SIDE:
            from lmmformula.backends.posterior.density.nested import Nested

            if Nested.of(self.bordered) is not None:
                return None
        return self._looped

    @cached_property
    def _looped(self) -> Looped | None:
        return Looped.of(self.fused, self.coordinates)

    def traced(self) -> Traced | None:
        """The form for batches in JAX, along the chain where all groups are nested; None where there are no batches."""
        if not self.is_small:
            return None
        from lmmformula.backends.posterior.density.nested import Nested
        from lmmformula.backends.posterior.density.traced import traced_bordered

        return traced_bordered(Nested.of(self.bordered) or self.bordered, self.coordinates)

    def scale(self) -> Scale:
        """The mode and the curvature there."""
        return find_mode(self)


@dataclass(frozen=True, eq=False)
class VariancePoint:
    """The density at one x."""

    density: VarianceDensity
    x: Array

    @cached_property
    def marginal(self) -> MarginalPoint:
        """The likelihood's part."""
        own = self.density.coordinates
        values = own.values(self.x)
        mixing = own.log_mixing(values) if own.mixing or own.shrunk else None
        phis = own.phis(values) if own.structured else None
        return self.density.model(own.factors(values), float(values[own.sigma]), mixing, phis)

    @computed_once
    def value(self) -> float:
        """log p(y | x) + log p(x)."""
        return self.marginal.logpdf + float(self.density.coordinates.log_prior(self.x))

    @computed_once
    def gradient(self) -> Array:
        """Its gradient, (d,)."""
        own, point, x = self.density.coordinates, self.marginal, self.x
        out = own.log_prior_gradient(x)
        for term, slopes, d_factor in zip(own.terms, own.factor_slopes(x), point.d_factors, strict=True):
            out[[*term.sds, *term.cors]] += np.tensordot(slopes, d_factor, 2)
        if own.structured:
            values = own.values(x)
            for term, d_phi in zip(own.terms, point.d_phis, strict=True):
                out[list(term.phis)] += d_phi * term.phi_rates(own.own, x, values)
        sigma = own.own[own.sigma]
        at = float(x[own.sigma])
        out[own.sigma] += point.d_log_sigma * sigma.slope(at) / float(sigma.value(at))
        for j, place, slope in own.mixing_slopes(x):
            out[place] += slope * point.d_log_var[j]
        return out


ROUGH, FEW = 1e-3, 60
"""Newton decrement at which the fit that gives the start may end, and its evaluations, where each may be dear."""


def _first_fit(model: Marginal, engine: Engine) -> Estimate:
    """Restricted maximum likelihood; roughly, where structures across levels have parameters that it may send to their ends."""
    search = Exact(reml=True, engine=engine)
    if len(across_elements(model.problem)):
        search = Exact(reml=True, engine=engine, tolerance=ROUGH, max_evaluations=FEW)
    return search.fit(model.problem, prepared=model.base.prepared).estimate


def _covariances(problem: Problem, estimate: Estimate) -> Sequence[Array]:
    """Absolute covariance matrix of each term."""
    out = []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        out.append(lower @ lower.T)
    return out
