r"""Posteriors of :mod:`lmmformula.backends.posterior.density.partial`: chains, and exact draws of what was integrated out.

Given a draw, (beta, effects of I) is normal. With F's Cholesky factor C (its leading part C_1, the last row c') the effects
of the dense groups and delta are ``C_1^-T (c + z)``, and level l of the eliminated group is ``L G_l^-1 L'(B_l (-dense,
-delta, 1)) + L G_l^(-1/2)' z``, as in :mod:`lmmformula.backends.posterior.recovery.gaussian` with sigma = 1, in one compiled
program for slices of draws. Means are Rao-Blackwellised; standard deviations are those of the draws.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from lmmformula.backends.posterior.density.joint import General
from lmmformula.backends.posterior.density.partial import Partial, sampled_predictors, whitened
from lmmformula.backends.posterior.model.cells import Cells
from lmmformula.backends.posterior.model.coordinates import term_values
from lmmformula.backends.posterior.model.predictor import laid_out
from lmmformula.backends.posterior.model.starts import start_of
from lmmformula.backends.posterior.model.whitening import unit_lower
from lmmformula.backends.posterior.reading import KEPT_BYTES, Effects, sampled_effects
from lmmformula.backends.posterior.record import Posterior
from lmmformula.backends.posterior.routes.choice import Route
from lmmformula.backends.posterior.routes.sampled import Request, in_slices, posterior_of
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["some_integrated"]


def some_integrated(route: Route, problem: Problem, request: Request) -> Posterior:
    """Sample what the route leaves, and draw the rest back."""
    priors = request.resolved(problem)
    if not route.groups:
        return _unequal_none(problem, request)
    model = Partial.of(problem, route.groups, priors, request.engine)
    scale, drawn, x = request.joint(model, model.scale)
    beta, beta_mean, inside = _recovered(model, x, request)
    mean_rest, sigma = (sampled_effects(p, x) for p in model.predictors)
    effects = _merged(model, inside, mean_rest)
    posterior = posterior_of(
        problem,
        model.predictors,
        x[..., : model.n_outer],
        [effects, sigma],
        drawn,
        scale,
        priors,
        request,
        route.label,
    )
    names, values = _all_variances(model, posterior, x)
    flat = beta_mean.reshape(int(np.prod(beta.shape[:2])), beta.shape[2])
    spread = np.cov(beta.reshape(flat.shape).T) if flat.shape[1] else np.zeros((0, 0))
    return replace(
        posterior,
        names=names,
        variances=values,
        beta=beta,
        beta_mean=flat.mean(axis=0),
        beta_cov=np.atleast_2d(spread),
    )


def _all_variances(model: Partial, posterior: Posterior, x: Array) -> tuple[tuple[str, ...], Array]:
    """Names and draws of the variances of all terms in the order of the formula, then of sigma."""
    values = [c.value(x[..., j]) for j, c in enumerate(model.own)]
    found = dict(zip(posterior.names, np.moveaxis(posterior.variances, -1, 0), strict=True))
    own = [name for t in model.places for name in (*t.priors.parameters.sds, *t.priors.parameters.cors)]
    found |= dict(zip(own, term_values(model.places, values), strict=True))
    terms = (t.parameters for t in posterior.priors.terms)
    mean = [name for t in terms for name in (*t.sds, *t.cors)]
    names = (*mean, *(name for name in posterior.names if name not in mean))
    return names, np.stack([found[name] for name in names], axis=-1)


def _merged(model: Partial, inside: Effects, rest: Effects) -> Effects:
    """Random effects in the order of the formula's terms."""
    places = [(i, inside, j) for j, i in enumerate(model.inside)]
    places += [(i, rest, j) for j, i in enumerate(model.rest)]
    places.sort(key=lambda place: place[0])
    kept = inside.draws is not None and rest.draws is not None
    draws = tuple(own.draws[j] for _, own, j in places if own.draws is not None) if kept else None
    means = tuple(own.means[j] for _, own, j in places)
    return Effects(draws, means, tuple(own.sds[j] for _, own, j in places))


# -- recovery -----------------------------------------------------------------------------------------------------


def _recovered(model: Partial, x: Array, request: Request) -> tuple[Array, Array, Effects]:
    """Draws of beta and their conditional means (chain, draw, p), and the effects of I by term."""
    groups = model.bordered.model.base.prepared.blocks.groups
    q, p = sum(g.q for g in groups), len(model.bordered.model.log_var0)
    done = 0 if request.before is None else request.before.draws
    rng = np.random.default_rng(np.random.SeedSequence([request.seed, 2, done]))
    keep = 8.0 * x.shape[0] * x.shape[1] * q <= KEPT_BYTES
    noise = rng.standard_normal((*x.shape[:2], q + p))
    joined = np.concatenate([x, noise], axis=-1)
    out = in_slices(lambda both: _back(model, both[: model.d], both[model.d :]), joined)
    beta, beta_mean = out[..., :p], out[..., p : 2 * p]
    rest = out[..., 2 * p :].reshape(*x.shape[:2], 2, q)
    draws: list[Any] = [None] * len(model.inside)
    means: list[Any] = [None] * len(model.inside)
    start = 0
    for g in groups:
        own = rest[..., start : start + g.q].reshape(*x.shape[:2], 2, g.m, g.k)
        for i, columns in g.members:
            draws[i], means[i] = own[:, :, 0][..., columns], own[:, :, 1][..., columns].mean(axis=(0, 1))
        start += g.q
    sds = tuple(d.std(axis=(0, 1)) for d in draws)
    return beta, beta_mean, Effects(tuple(draws) if keep else None, tuple(means), sds)


def _back(model: Partial, x: Any, z: Any) -> Any:
    """beta, its conditional mean, effects of the groups and their conditional means, flat, for one x with u."""
    bordered = model.bordered
    reduced, arranged = model.reduced(x)
    p, q = len(bordered.model.log_var0), bordered.q_dense
    chol = jnp.linalg.cholesky(reduced.bordered)
    last = chol[-1, :-1]
    rhs = jnp.stack([last + z[: q + p], last], axis=-1)
    v = solve_triangular(chol[:-1, :-1].T, rhs, lower=False) if q + p else rhs
    dense, lowers = {}, reduced.relative
    for a, start in zip(bordered.dense, bordered.offsets, strict=True):
        m, k = model.terms[a].m, model.terms[a].k
        dense[a] = jnp.einsum("ij,mjs->mis", lowers[a], v[start : start + m * k].reshape(m, k, 2))
    flat = [dense[a].reshape(-1, 2) for a in bordered.dense]
    border = jnp.concatenate([*(-d for d in flat), -v[q:], jnp.ones((1, 2))])
    e, lower = bordered.eliminated, lowers[bordered.eliminated]
    right = jnp.einsum("ji,mjc,cs->mis", lower, arranged.b, border)
    m, k = model.terms[e].m, model.terms[e].k
    inverse, _ = unit_lower(jnp.einsum("ia,mij,jb->mab", lower, arranged.a, lower) + np.eye(k))
    solved = jnp.einsum("mab,mac,mcs->mbs", inverse, inverse, right)
    kick = jnp.einsum("mab,ma->mb", inverse, z[q + p :].reshape(m, k))
    solved = solved.at[..., 0].add(kick)
    dense[e] = jnp.einsum("ij,mjs->mis", lower, solved)
    ols = bordered.model.base.ols
    beta = ols.coefficients[:, None] + (np.linalg.inv(ols.r) if p else np.zeros((0, 0))) @ v[q:]
    effects = [
        jnp.concatenate([dense[a][..., s].reshape(-1) for a in range(len(model.terms))]) for s in (0, 1)
    ]
    return jnp.concatenate([beta[:, 0], beta[:, 1], *effects])


# -- nothing integrated out, sigma with a formula ------------------------------------------------------------------


def _unequal_none(problem: Problem, request: Request) -> Posterior:
    """All effects of the mean and of log sigma sampled."""
    priors = request.resolved(problem)
    start = start_of(problem, request.engine)
    cells = Cells.single(problem.n)
    mean, sigma = sampled_predictors(problem, range(len(problem.terms)), priors, start, cells, fixed=True)
    placed, outer, d = laid_out([mean, sigma])
    begin = np.zeros(d)
    begin[placed[0].outer] = placed[0].begin(start.beta, start.covariances)
    begin[placed[1].outer] = placed[1].begin(start.alpha, start.sigma_covariances)
    at = begin.copy()
    for own, effects in zip(placed, (start.modes, start.sigma_modes), strict=True):
        parts = [np.linalg.solve(low, b.T).T.ravel() for low, b in zip(own.factors(at), effects, strict=True)]
        at[own.inner] = np.concatenate([np.zeros(0), *parts])
    general = General(problem, placed, whitened(placed, start, cells, at), None, outer, d)
    scale, drawn, x = request.joint(general, lambda: general.climbed_scale(begin))
    effects = [sampled_effects(p, x) for p in placed]
    return posterior_of(problem, placed, x[..., :outer], effects, drawn, scale, priors, request, "none")
