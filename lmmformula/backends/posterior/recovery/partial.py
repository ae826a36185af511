r"""Exact draws of what :mod:`lmmformula.backends.posterior.density.partial` integrates out.

Given a draw, (beta, effects of I) is normal. With F's Cholesky factor C (its leading part C_1, the last row c') the effects of
the dense groups and delta are ``C_1^-T (c + z)``, and level l of the eliminated group is ``L G_l^-1 L'(B_l (-dense, -delta,
1)) + L G_l^(-1/2)' z``, as in :mod:`lmmformula.backends.posterior.recovery.gaussian` with sigma = 1, in one compiled
program for slices of draws. Means are Rao-Blackwellised; standard deviations are those of the draws.
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from lmmformula.backends.posterior.density.partial import PartialDensity
from lmmformula.backends.posterior.effects import Coefficients, Effects, kept
from lmmformula.backends.posterior.model.coordinates import term_values
from lmmformula.backends.posterior.record import Recovered
from lmmformula.backends.posterior.recovery.sampled import read, sampled_effects
from lmmformula.ir.priors import Priors
from lmmformula.numerics.programs import in_slices
from lmmformula.numerics.stacks_jax import unit_lower
from lmmformula.typing import Array, Numbers

__all__ = ["recover_partly"]


def recover_partly(
    model: PartialDensity, x: Array, seed: np.random.SeedSequence, priors: Priors
) -> Recovered:
    """Coefficients and all random effects for draws x (chain, draw, d) with u as inner coordinates."""
    beta, inside = _integrated(model, x, seed)
    rest, sigma = (sampled_effects(p, x) for p in model.predictors)
    own = read(model.predictors, x, [_merged(model, inside, rest), sigma])
    names, values = _all_variances(model, own, x, priors)
    return replace(own, names=names, variances=values, beta=beta)


def _all_variances(
    model: PartialDensity, read: Recovered, x: Array, priors: Priors
) -> tuple[tuple[str, ...], Array]:
    """Names and draws of the variances of all terms in the order of the formula, then of sigma."""
    values = [c.value(x[..., j]) for j, c in enumerate(model.own)]
    found = dict(zip(read.names, np.moveaxis(read.variances, -1, 0), strict=True))
    own = [name for t in model.places for name in t.priors.parameters.names]
    found |= dict(zip(own, term_values(model.places, values), strict=True))
    terms = (t.parameters for t in priors.terms)
    mean = [name for t in terms for name in t.names]
    names = (*mean, *(name for name in read.names if name not in mean))
    return names, np.stack([found[name] for name in names], axis=-1)


def _merged(model: PartialDensity, inside: Effects, rest: Effects) -> Effects:
    """Random effects in the order of the formula's terms."""
    places = [(i, inside, j) for j, i in enumerate(model.inside)]
    places += [(i, rest, j) for j, i in enumerate(model.rest)]
    places.sort(key=lambda place: place[0])
    both = inside.draws is not None and rest.draws is not None
    draws = tuple(own.draws[j] for _, own, j in places if own.draws is not None) if both else None
    means = tuple(own.means[j] for _, own, j in places)
    return Effects(draws, means, tuple(own.sds[j] for _, own, j in places))


def _integrated(
    model: PartialDensity, x: Array, seed: np.random.SeedSequence
) -> tuple[Coefficients, Effects]:
    """beta, and the effects of I by term."""
    groups = model.bordered.model.base.prepared.blocks.groups
    q, p = sum(g.q for g in groups), len(model.bordered.model.log_var0)
    noise = np.random.default_rng(seed).standard_normal((*x.shape[:2], q + p))
    joined = np.concatenate([x, noise], axis=-1)
    out = in_slices(lambda both: _back(model, both[: model.d], both[model.d :]), joined)
    beta, beta_mean = out[..., :p], out[..., p : 2 * p]
    rest = out[..., 2 * p :].reshape(*x.shape[:2], 2, q)
    draws: list[Numbers] = [None] * len(model.inside)
    means: list[Numbers] = [None] * len(model.inside)
    start = 0
    for g in groups:
        own = rest[..., start : start + g.q].reshape(*x.shape[:2], 2, g.m, g.k)
        for i, columns in g.members:
            draws[i], means[i] = own[:, :, 0][..., columns], own[:, :, 1][..., columns].mean(axis=(0, 1))
        start += g.q
    sds = tuple(d.std(axis=(0, 1)) for d in draws)
    every = tuple(draws) if kept(int(np.prod(x.shape[:2])), q) else None
    return Coefficients.of(beta, beta_mean), Effects(every, tuple(means), sds)


def _back(model: PartialDensity, x: Numbers, z: Numbers) -> Numbers:
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
