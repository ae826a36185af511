r"""The posterior with nothing integrated out: any family, any link.

    log p(x | y) = sum_r l_r(eta_r, a_r) + log p(delta, variances, dispersions) - |u|^2 / 2 + constant

eta and a_j are the predictors of :mod:`lmmformula.backends.posterior.model.predictor`, l_r the compiled densities of
:mod:`lmmformula.backends.posterior.density.likelihoods`. The random effects are sampled as v of
:mod:`lmmformula.backends.posterior.model.whitening`; location and scales of the chains come from Laplace's approximation, see
:mod:`lmmformula.backends.posterior.sampling.scale`. Cost of a gradient: O(n (p + sum k) + q k^2), and O(q^2) where groups are
crossed and few enough for a dense map from z to x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.density.laplace import LaplaceTarget
from lmmformula.backends.posterior.density.likelihoods import log_density
from lmmformula.backends.posterior.density.variances import Laplace, find_mode
from lmmformula.backends.posterior.model.predictor import Predictor, laid_out
from lmmformula.backends.posterior.model.spherical import spherical
from lmmformula.backends.posterior.model.whitening import Whitening
from lmmformula.backends.posterior.sampling.scale import (
    DENSE_CELLS,
    DENSE_SIDE,
    JointScale,
    climbed,
    joint_scale,
    quick,
    with_search,
)
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["General"]


@dataclass(frozen=True, eq=False)
class General:
    """The density of x = (outer, inner) for one problem.

    Attributes
    ----------
    problem : Problem
        With a block for every auxiliary predictor.
    predictors : tuple of Predictor
        The mean's first.
    whitenings : tuple of Whitening
        Of each predictor.
    laplace : Laplace or None
        Mode and curvature of the outer coordinates, where Laplace's approximation was looked at.
    n_outer, d : int
    """

    problem: Problem
    predictors: tuple[Predictor, ...]
    whitenings: tuple[Whitening, ...]
    laplace: Laplace | None
    n_outer: int
    d: int

    @classmethod
    def of(cls, target: LaplaceTarget) -> General:
        """The model whose Laplace approximation is `target`; outer coordinates are the same."""
        placed, outer, d = laid_out(target.predictors)
        laplace = find_mode(cast(Any, target))
        point = target(laplace.mode).laplace
        x = np.concatenate([laplace.mode, np.zeros(d - outer)])
        x[placed[0].inner] = spherical_modes(placed[0], target, point.u)
        rows = point.observed
        whitenings = [Whitening.of(placed[0], rows.weight, rows.score, x)]
        whitenings += [
            Whitening.of(p, np.zeros(len(score)), score, x)
            for p, score in zip(placed[1:], rows.d_aux, strict=True)
        ]
        return cls(target.model.problem, placed, tuple(whitenings), laplace, outer, d)

    def spherical(self, x: Any) -> tuple[Any, Any]:
        """x with u in place of v, and log|F|; traceable."""
        return spherical(self.whitenings, self.n_outer, x)

    def density(self) -> Callable[[Any], Any]:
        """x (d,) with v as inner coordinates -> log density, traceable by JAX. Call and trace it within 64 bits."""
        own = self.problem
        rows = log_density(own.family, own.y, own.weights)

        def value(x: Any) -> Any:
            x, log_det = self.spherical(x)
            eta, *aux = (p.eta(x, jnp) for p in self.predictors)
            u = x[self.n_outer :]
            prior = sum(p.log_prior(x, jnp) for p in self.predictors)
            return rows(eta, tuple(aux)).sum() + prior - 0.5 * (u @ u) - log_det

        return value

    def scale(self) -> JointScale:
        """Location and scales: Laplace's for outer coordinates, the curvature at the mode for v where that is affordable."""
        if self.laplace is None:
            raise ValueError("without Laplace's approximation the mode must be climbed to: climbed_scale")
        q = self.d - self.n_outer
        mode = np.concatenate([self.laplace.mode, np.zeros(q)])
        if len(self.whitenings[0].chains) > 1 and q <= DENSE_SIDE and self.d * self.problem.n <= DENSE_CELLS:
            gradient = quick(jax.grad(self.density()), self.d)
            found = joint_scale(gradient, mode, self.laplace.half, self.n_outer)
        else:
            found = JointScale(mode, self.laplace.half, np.zeros((0, 0)), np.ones(q))
        return recorded(found, self.laplace)

    def climbed_scale(self, begin: Array) -> JointScale:
        """Mode and curvature of the whole density, from a start."""
        density = self.density()
        mode, value, steps, converged = climbed(quick(jax.value_and_grad(density), self.d), begin)
        gradient, q = quick(jax.grad(density), self.d), self.d - self.n_outer
        if q <= DENSE_SIDE and self.d * self.problem.n <= DENSE_CELLS:
            found = joint_scale(gradient, mode, None, self.n_outer)
        else:
            inner = mode[self.n_outer :]
            part = joint_scale(
                lambda x: gradient(np.concatenate([x, inner]))[: self.n_outer],
                mode[: self.n_outer],
                None,
                self.n_outer,
            )
            found = JointScale(mode, part.outer, np.zeros((0, 0)), np.ones(q))
        return with_search(found, value, steps + 2 * self.d, converged=converged)


def recorded(scale: JointScale, laplace: Laplace) -> JointScale:
    """The map with the record of the search for its centre."""
    return with_search(scale, laplace.log_density, laplace.evaluations, converged=laplace.converged)


def spherical_modes(mean: Predictor, target: LaplaceTarget, u: tuple[Array, ...]) -> Array:
    """u of groups, (m, k) each, in the order of the terms, flat."""
    parts: list[Array] = [np.zeros(0)] * len(mean.terms)
    for group, values in zip(target.model.prepared.blocks.groups, u, strict=True):
        for i, columns in group.members:
            parts[i] = values[:, columns].ravel()
    return np.concatenate([np.zeros(0), *parts])
