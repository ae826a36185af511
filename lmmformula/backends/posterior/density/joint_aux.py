r"""Random effects in the predictors of auxiliary parameters of any family, sampled with all the rest.

    count ~ nbinom2(mu, phi),      log mu = X beta + Z b,      log phi = A alpha + Z_phi b_phi

The density is that of :mod:`lmmformula.backends.posterior.density.joint`, whose predictors may all have random effects. What
differs is the start: the model without the random effects of the auxiliary parameters is fitted by Laplace's approximation,
and from there the mode of the whole density is climbed to. The effects of parameter j are written as v of
:mod:`lmmformula.backends.posterior.model.whitening` with the scores of that fit and, for every row, the mean information

    W_j = max(0, - mean_r d^2 l_r / d a_rj^2),

since that of one row may be negative where its mean is not; the posterior does not depend on W_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.density.joint import JointDensity, spherical_modes
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.model.predictor import aux_predictors, laid_out, with_aux
from lmmformula.backends.posterior.model.whitening import Whitening
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.programs import quick
from lmmformula.typing import Array, Numbers

__all__ = ["joint_with_aux"]

SD = 0.3
"""Standard deviation, in units of a predictor on a log or logit scale, from which the climb to the mode starts."""


def joint_with_aux(
    problem: Problem, engine: Engine, priors: Priors, prepared: Prepared | None = None
) -> JointDensity:
    """The density, which begins where the climb to its mode starts."""
    fixed = replace(priors, aux=tuple(replace(own, terms=()) for own in priors.aux))
    target = LaplaceDensity.of(replace(with_aux(problem), aux_terms=()), engine, fixed, prepared)
    full, first = with_aux(problem), target.predictors
    alpha = [own.beta(target.begin) for own in first[1:]]
    placed, outer, d = laid_out([first[0], *aux_predictors(full, priors, alpha)])
    begin = np.zeros(d)
    begin[placed[0].outer] = target.begin[first[0].outer]
    for own, a in zip(placed[1:], alpha, strict=True):
        begin[own.outer] = own.begin(a, [_small(t) for t in own.terms])
    point = target(target.begin).laplace
    at = begin.copy()
    at[placed[0].inner] = spherical_modes(placed[0], target, point.u)
    rows = point.observed
    aux = tuple(own.eta(target.begin) for own in first[1:])
    whitenings = [Whitening.of(placed[0], rows.weight, rows.score, at)]
    for j, (own, score) in enumerate(zip(placed[1:], rows.d_aux, strict=True)):
        w = _information(full, point.mode.eta, aux, j) if own.terms else 0.0
        whitenings.append(Whitening.of(own, np.full(problem.n, w), score, at))
    return JointDensity(full, placed, tuple(whitenings), begin, outer)


def _small(term: GroupBlock) -> Array:
    """A covariance matrix that lets each column move the predictor by `SD`."""
    squares = np.ones(1) if term.basis is None else (term.basis**2).mean(axis=0)
    return np.diag(SD**2 / squares)


def _information(problem: Problem, eta: Array, aux: Sequence[Array], j: int) -> float:
    """W_j."""
    rows = problem.family.log_density(problem.y, problem.weights, jnp)

    def total(a: Numbers) -> Numbers:
        return rows(eta, (*aux[:j], a, *aux[j + 1 :])).sum()

    bend = quick(jax.grad(lambda a: jnp.sum(jax.grad(total)(a))), problem.n)(aux[j])
    return max(0.0, -float(np.mean(bend)))
