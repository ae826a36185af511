r"""The posterior with nothing integrated out: any family, any link.

    log p(x | y) = sum_r l_r(eta_r, a_r) + log p(delta, variances, dispersions) - |u|^2 / 2 + constant

eta and a_j are the predictors of :mod:`lmmformula.backends.posterior.model.predictor`, l_r the densities of
:mod:`lmmformula.families`, compiled. The random effects are sampled as v of
:mod:`lmmformula.backends.posterior.model.whitening`; location and scales of the chains come from Laplace's approximation, see
:mod:`lmmformula.backends.posterior.sampling.scale`. Cost of a gradient: O(n (p + sum k) + q k^2), and O(q^2) where groups are
crossed and few enough for a dense map from z to x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.density.base import Traced
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.density.scale import (
    DENSE_CELLS,
    DENSE_SIDE,
    JointScale,
    Scale,
    climbed_scale,
    joint_scale,
)
from lmmformula.backends.posterior.model.predictor import Predictor, laid_out
from lmmformula.backends.posterior.model.whitening import Whitening
from lmmformula.ir.problem import Problem
from lmmformula.numerics.programs import quick
from lmmformula.typing import Array, Numbers

__all__ = ["JointDensity", "Whitened", "spherical_modes"]


class Whitened:
    """What densities have in common whose random effects are sampled as v."""

    begin: Array
    n_outer: int
    whitenings: tuple[Whitening, ...]

    @property
    def d(self) -> int:
        return len(self.begin)

    def traced(self) -> Traced:
        """x (d,) with v as inner coordinates -> log density."""
        raise NotImplementedError

    def spherical(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """x with u in place of v, and log|F|; traceable."""
        parts, log_det = [x[: self.n_outer]], 0.0
        for own in self.whitenings:
            u, one = own(x)
            parts.append(u)
            log_det = log_det + one
        return jnp.concatenate(parts), log_det

    @cached_property
    def _program(self) -> Callable[[Array], tuple[Array, Array]]:
        return quick(jax.value_and_grad(self.traced()), self.d)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x; (-inf, 0) where they cannot be computed."""
        value, gradient = self._program(x)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(self.d)
        return float(value), gradient

    def gradient(self) -> Callable[[Array], Array]:
        """x -> gradient of the log density, compiled."""
        return quick(jax.grad(self.traced()), self.d)


@dataclass(frozen=True, eq=False)
class JointDensity(Whitened):
    """The density of x = (outer, inner) for one problem.

    Attributes
    ----------
    problem : Problem
        With a block for every auxiliary predictor.
    predictors : tuple of Predictor
        The mean's first.
    whitenings : tuple of Whitening
        Of each predictor.
    begin : (d,) array
    n_outer : int
    outer_scale : Scale or None
        Mode and curvature of the outer coordinates, where Laplace's approximation was looked at.
    """

    problem: Problem
    predictors: tuple[Predictor, ...]
    whitenings: tuple[Whitening, ...]
    begin: Array
    n_outer: int
    outer_scale: Scale | None = None

    @classmethod
    def of(cls, target: LaplaceDensity) -> JointDensity:
        """The model whose Laplace approximation is `target`; outer coordinates are the same."""
        placed, outer, d = laid_out(target.predictors)
        scale = replace(target, u=target(target.begin).laplace.u, found=None).scale()
        point, begin = target(scale.mode).laplace, np.concatenate([scale.mode, np.zeros(d - outer)])
        x = begin.copy()
        x[placed[0].inner] = spherical_modes(placed[0], target, point.u)
        rows = point.observed
        beside = tuple(zip(placed[1:], rows.score_aux, strict=True))
        whitenings = [Whitening.of(placed[0], rows.weight, rows.score, x, beside)]
        whitenings += [
            Whitening.of(p, np.zeros(len(score)), score, x)
            for p, score in zip(placed[1:], rows.d_aux, strict=True)
        ]
        return cls(target.model.problem, placed, tuple(whitenings), begin, outer, scale)

    def traced(self) -> Traced:
        """x (d,) with v as inner coordinates -> log density. Call and trace it within 64 bits."""
        own = self.problem
        rows = own.family.log_density(own.y, own.weights, jnp)

        def value(x: Numbers) -> Numbers:
            x, log_det = self.spherical(x)
            eta, *aux = (p.eta(x, jnp) for p in self.predictors)
            u = x[self.n_outer :]
            prior = sum(p.log_prior(x, jnp) for p in self.predictors)
            return rows(eta, tuple(aux)).sum() + prior - 0.5 * (u @ u) - log_det

        return value

    def scale(self) -> JointScale:
        """Location and scales: Laplace's for outer coordinates, the curvature at the mode for v where that is affordable.

        Where Laplace's approximation was not looked at, those of the whole density, which is climbed from where it begins.
        """
        q, outer = self.d - self.n_outer, self.outer_scale
        dense = q <= DENSE_SIDE and self.d * self.problem.n <= DENSE_CELLS
        if outer is None:
            return climbed_scale(self, dense=dense)
        if len(self.whitenings[0].chains) > 1 and dense:
            found = joint_scale(self.gradient(), self.begin, outer.half, self.n_outer)
        else:
            found = JointScale(self.begin, outer.half, np.zeros((0, 0)), np.ones(q))
        return found.searched(outer.log_density, outer.evaluations, converged=outer.converged)


def spherical_modes(mean: Predictor, target: LaplaceDensity, u: tuple[Array, ...]) -> Array:
    """u of groups, (m, k) each, in the order of the terms, flat."""
    parts: list[Array] = [np.zeros(0)] * len(mean.terms)
    for group, values in zip(target.model.prepared.blocks.groups, u, strict=True):
        for i, columns in group.members:
            parts[i] = values[:, columns].ravel()
    return np.concatenate([np.zeros(0), *parts])
