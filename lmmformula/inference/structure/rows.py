r"""Rows of a fit with structured residuals: errors of effects and predictions, residuals made independent, draws.

With c = Z Sigma z for a row z of effects, relative to sigma^2 (Henderson 1975)::

    Var(b_l | y) = Sigma - Sigma Z_l'V^-1Z_l Sigma
    Var(x'beta^ + z'b^ - x'beta - z'b) = z'Sigma z - c'V^-1c + g'(X'V^-1X)^-1 g,       g = x - X'V^-1 c
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.correlated import cluster_modes
from lmmformula.criteria.clusters.blocks import residual_of
from lmmformula.errors import PlanError
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.working_rows import WorkingRows

__all__ = [
    "cluster_covariances",
    "cluster_cross_products",
    "cluster_errors",
    "cluster_means",
    "noise",
    "normalised",
]

CELLS = 50_000_000
"""Numbers of a table of rows by effects that is formed at once."""


def cluster_covariances(fit: Fitted) -> tuple[Array, ...]:
    """Var(b | y) of each level, per term (m, k, k), in the user's units."""
    point, out = fit.optimum, []
    sigma2 = fit.standard.sigma_in(fit.estimate) ** 2
    for t, (term, lower) in enumerate(zip(point.model.problem.terms, point.factors, strict=True)):
        own = np.zeros((term.m, term.k, term.k))
        for block, sums in zip(point.blocks, point.model.sums, strict=True):
            z, meets, at = sums.patterns.bases[t], sums.patterns.meets[t], sums.patterns.pattern
            each = np.einsum("bra,bsc,brs->brac", z, z, block.inverse * meets, optimize=True)
            np.add.at(own, term.codes[sums.patterns.rows], each[at])
        sigma = lower @ lower.T
        back = fit.standard.effects(t)
        out.append(back @ (sigma2 * (sigma - sigma @ own @ sigma)) @ back.T)
    return tuple(out)


def cluster_errors(point: ClusterPoint, rows: WorkingRows) -> tuple[Array, Array]:
    """Of rows to predict, relative to sigma^2: z'Sigma z - c'V^-1c, (n,), and g'(X'V^-1X)^-1/2, (n, p).

    Raises
    ------
    PlanError
        Where rows times effects are too many for a table.
    """
    problem = point.model.problem
    own, along = np.zeros(len(rows.X)), rows.X.copy()
    if not rows.parts:
        return own, along @ point.half
    s, a, ends = cluster_cross_products(point)
    step = max(1, CELLS // 4 // max(int(ends[-1]), 1))
    for start in range(0, len(rows.X), step):
        batch = slice(start, start + step)
        zeta = np.zeros((len(rows.X[batch]), ends[-1]))
        for part in rows.parts:
            codes, basis = part.codes[batch], part.basis[batch]
            lower, k = point.factors[part.term], problem.terms[part.term].k
            seen = np.flatnonzero(codes >= 0)
            scaled = basis[seen] @ lower
            own[batch][seen] += np.sum(scaled**2, axis=1)
            columns = ends[part.term] + codes[seen, None] * k + np.arange(k)
            zeta[seen[:, None], columns] += scaled @ lower.T
        own[batch] -= np.einsum("nq,nq->n", zeta @ s, zeta)
        along[batch] -= zeta @ a
    return np.maximum(own, 0.0), along @ point.half


def cluster_means(point: ClusterPoint, rows: WorkingRows) -> Array:
    """``x'beta + z'b`` of rows to predict at a point, (n,)."""
    out, modes = rows.X @ point.beta, cluster_modes(point)
    for part in rows.parts:
        seen = np.flatnonzero(part.codes >= 0)
        out[seen] += np.einsum("nk,nk->n", part.basis[seen], modes[part.term][part.codes[seen]])
    return out


def cluster_cross_products(point: ClusterPoint) -> tuple[Array, Array, Index]:
    """Z'V^-1Z, (q, q), Z'V^-1X, (q, p), and where the effects of each term begin, with their number.

    Raises
    ------
    PlanError
        Where rows times effects are too many for a table.
    """
    problem, ends = point.model.problem, _ends(point)
    if problem.n * ends[-1] > CELLS:
        raise PlanError(
            f"standard errors of predictions need a table of {problem.n:,} rows by {ends[-1]:,} random effects, which is too "
            "large here: ask for predictions without se and interval."
        )
    return (*_level_sums(point, ends), ends)


def _ends(point: ClusterPoint) -> Index:
    """Where the effects of each term begin, and their number."""
    return np.concatenate([[0], np.cumsum([t.q for t in point.model.problem.terms], dtype=np.intp)])


def _level_sums(point: ClusterPoint, ends: Index) -> tuple[Array, Array]:
    """Z'V^-1Z, (q, q), and Z'V^-1X, (q, p)."""
    problem = point.model.problem
    z = np.zeros((problem.n, ends[-1]))
    for t, term in enumerate(problem.terms):
        basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
        columns = ends[t] + term.codes[:, None] * term.k + np.arange(term.k)
        z[np.arange(problem.n)[:, None], columns] += basis
    solved = np.empty_like(z)
    for block, sums in zip(point.blocks, point.model.sums, strict=True):
        at, rows = sums.patterns.pattern, sums.patterns.rows
        for own, cluster in zip(block.inverse[at], rows, strict=True):
            solved[cluster] = own @ z[cluster]
    (held,) = problem.data.chunks()
    return z.T @ solved, solved.T @ held.fixed


def _roots(point: ClusterPoint) -> Iterator[tuple[Index, Array]]:
    """Rows of the clusters, (c, n), and the Cholesky factor of R of their patterns, (c, n, n)."""
    _, psi = point.model.split(point.omega)
    for patterns in point.model.layout.parts:
        r, _ = residual_of(patterns, point.model.residual, psi)
        yield patterns.rows, np.linalg.cholesky(r)[patterns.pattern]


def noise(fit: Fitted, n: int, rng: np.random.Generator) -> Iterator[Array]:
    """`n` times residuals drawn from N(0, sigma^2 R), in the units of the response, (n,)."""
    roots, sigma = list(_roots(fit.optimum)), fit.standard.sigma_in(fit.estimate)
    for _ in range(n):
        out = np.empty(fit.problem.n)
        for rows, root in roots:
            out[rows] = np.einsum("cij,cj->ci", root, rng.standard_normal(rows.shape))
        yield fit.standard.response_out(out * sigma)


def normalised(fit: Fitted, residuals: Array) -> Array:
    """``R^-1/2 (y - mu) / sigma`` by the Cholesky factor in the order of positions: independent, of variance one, (n,)."""
    out, own = np.empty(fit.problem.n), fit.standard.response_in(residuals)
    for rows, root in _roots(fit.optimum):
        out[rows] = np.linalg.solve(root, own[rows][..., None])[..., 0]
    return out / fit.standard.sigma_in(fit.estimate)
