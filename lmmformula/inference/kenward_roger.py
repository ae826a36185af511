r"""Kenward & Roger's covariance matrix of the fixed effects, and its F tests.

With V = Var(y) = sum_r gamma_r G_r linear in the variance parameters, ``Phi = (X'V^-1X)^-1``,
``P_r = -X'V^-1 G_r V^-1 X``, ``Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X`` and ``W`` the inverse of the expected REML information::

    Phi_A = Phi + 2 Phi [ sum_rs W_rs (Q_rs - P_r Phi P_s) ] Phi
    W^-1  = (1/2) [ tr(V^-1 G_r V^-1 G_s) - 2 tr(Phi Q_rs) + tr(Phi P_r Phi P_s) ]

and the F of L beta = 0 gets a scale and a denominator df from the first two moments of L beta under W (their eqs. 5-9).
Only the space spanned by the G_r matters, so V itself serves as one of them in place of the residual's; V^-1 V V^-1 =
V^-1 then leaves nothing of size n, and all the rest is S = Z'V^-1Z on the levels::

    P_0 = -X'V^-1X,  P_r = -A'D_rA,  Q_rs = A'D_rSD_sA,  Q_0r = -P_r,     A = Z'V^-1X,  G_r = Z D_r Z'
    tr(V^-1G_rV^-1G_s) = tr(D_r S D_s S),   with 0: tr(D_r S), and n for the pair (0, 0)

References
----------
Kenward & Roger (1997), Biometrics 53, 983-997; Halekoh & Hojsgaard (2014), J. Stat. Software 59(9).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.structure.kenward_roger import adjusted as adjusted_by_cluster
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.profiled import ProfiledPoint
    from lmmformula.inference.fitted import Fitted

__all__ = ["KenwardRoger", "LevelSpace", "expected_information", "kenward_roger", "level_space"]

_MOST_EFFECTS = 6000
"""Kenward-Roger needs S, (q, q); beyond this it would take minutes and gigabytes."""


@dataclass(frozen=True, slots=True, eq=False)
class KenwardRoger:
    """Kenward & Roger's covariance matrix and what its tests need; see the module's head.

    Attributes
    ----------
    vcov : (p, p) array
        Adjusted covariance matrix of the fixed effects.
    plain : (p, p) array
        Phi, unadjusted.
    slopes : (r, p, p) array
        Phi P_r Phi = -dPhi/dgamma_r.
    w : (r, r) array
        Covariance matrix of the variance parameters.
    """

    vcov: Array
    plain: Array
    slopes: Array
    w: Array

    def test(self, rows: Array, effects: Array) -> tuple[float, float, int, float]:
        """Test L beta = c: F before scaling, the scale, numerator and denominator df.

        Parameters
        ----------
        rows : (q, p) array
            L of full rank, its rows of like variance.
        effects : (q,) array
            Estimates of L beta - c.
        """
        inverse = np.linalg.inv(rows @ self.plain @ rows.T)
        pieces = inverse @ (rows @ self.slopes @ rows.T)
        traces = np.einsum("rii->r", pieces)
        a1 = float(traces @ self.w @ traces)
        a2 = float(np.einsum("rij,sji,rs->", pieces, pieces, self.w))
        q = len(rows)
        f = float(effects @ np.linalg.solve(rows @ self.vcov @ rows.T, effects)) / q
        return (f, *_scale_and_df(a1, a2, q))

    def df(self, rows: Array) -> Array:
        """Denominator df of each row of contrasts (r, p)."""
        return np.array([self.test(row[None], np.zeros(1))[3] for row in rows])


def _scale_and_df(a1: float, a2: float, q: int) -> tuple[float, int, float]:
    """Scale of F, q, and the denominator df, from Kenward & Roger's A1 and A2."""
    if a2 <= 1e-14:
        return 1.0, q, np.inf
    b = (a1 + 6.0 * a2) / (2.0 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    d = 3.0 * q + 2.0 * (1.0 - g)
    v0, v1, v2 = 1.0 + g / d * b, 1.0 - (q - g) / d * b, 1.0 - (q + 2.0 - g) / d * b
    v0 = 0.0 if abs(v0) < 1e-10 else v0
    shrunk = 1.0 - a2 / q
    ratio = 1.0 if abs(shrunk) < 1e-10 and abs(v1) < 1e-10 else shrunk / v1
    rho = ratio**2 * v0 / (q * v2)
    df = 4.0 + (q + 2.0) / (q * rho - 1.0)
    return (1.0 if abs(df - 2.0) < 0.01 else df * shrunk / (df - 2.0)), q, df


@lru_cache(maxsize=4)
def kenward_roger(fit: Fitted) -> KenwardRoger:
    """Kenward & Roger's adjustment of a REML fit. O(q^3) for q random effects in all.

    Raises
    ------
    PlanError
        For an ML fit, a generalised model, too many random effects, or a covariance that is not linear in its parameters.
    """
    problem = fit.problem
    if not fit.inference.is_gaussian:
        raise PlanError(
            f"Kenward-Roger is defined for Gaussian responses with one residual variance, not for {problem.family}: use "
            "anova() for Wald chi-square tests, or conf_int(method='bootstrap')."
        )
    if not fit.estimate.restricted:
        raise PlanError(
            "Kenward-Roger is defined for REML: fit with method='reml', or use ddf='satterthwaite'."
        )
    if problem.family.known:
        raise PlanError(
            "Kenward & Roger's adjustment is for residual variances that are estimated: use ddf='satterthwaite'."
        )
    if problem.residual is not None:
        sigma2 = fit.standard.sigma_in(fit.estimate) ** 2
        known = adjusted_by_cluster(fit.optimum, fit.standard.coefficients, sigma2)
        return KenwardRoger(known.vcov, known.plain, known.slopes, known.w)
    problem.refuse_coupled("Kenward & Roger's adjustment", "Use ddf='satterthwaite'.")
    if problem.q > _MOST_EFFECTS:
        raise PlanError(
            f"Kenward-Roger needs a dense {problem.q:,} x {problem.q:,} matrix (at most {_MOST_EFFECTS:,} random "
            "effects); with so many effects ddf='satterthwaite' gives practically the same."
        )
    if odd := [t.covariance.name for t in problem.terms if t.covariance.directions is None]:
        raise PlanError(f"Kenward-Roger is not available for covariance {odd[0]}(): use ddf='satterthwaite'.")
    sums = _sums(level_space(fit.optimum), fit.problem.n_observed)
    p, phi, p_r, q_rs, pairs = problem.p, sums.phi, sums.p_r, sums.q_rs, sums.pairs
    information = sums.restricted
    unit = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(information)), 1e-300))
    w = (
        2.0
        * np.linalg.pinv(information * np.outer(unit, unit), rcond=1e-10, hermitian=True)
        * np.outer(unit, unit)
    )
    u = np.einsum("rs,rsij->ij", w, q_rs - pairs)
    adjusted = phi + phi @ (u + u.T) @ phi
    back = fit.standard.coefficients @ fit.optimum.model.ols.from_orthonormal(np.eye(p))
    sigma2 = fit.standard.sigma_in(fit.estimate) ** 2
    slopes = back @ (phi @ p_r @ phi) @ back.T
    return KenwardRoger(sigma2 * back @ adjusted @ back.T, sigma2 * back @ phi @ back.T, sigma2 * slopes, w)


@dataclass(frozen=True, slots=True, eq=False)
class LevelSpace:
    """S = Z'V^-1Z, A = Z'V^-1X, X'V^-1X (sigma = 1, X orthonormalised), and the D_r as (rows, block per level)."""

    s: Array
    a: Array
    g: Array
    directions: list[list[tuple[slice, Array]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """tr(V^-1 G_r V^-1 G_s), Phi, P_r, Q_rs and P_r Phi P_s."""

    traces: Array
    phi: Array
    p_r: Array
    q_rs: Array
    pairs: Array

    @property
    def restricted(self) -> Array:
        """Twice the expected REML information."""
        lost = 2.0 * np.einsum("ij,rsji->rs", self.phi, self.q_rs)
        return self.traces - lost + np.einsum("ij,rsji->rs", self.phi, self.pairs)


def _sums(space: LevelSpace, n: float) -> _Sums:
    s, a, g, directions = space.s, space.a, space.g, space.directions
    p, count = len(g), len(directions) + 1
    d_a = [_spread(d, a) for d in directions]  # D_r A, and D_r S
    d_s = [_spread(d, s) for d in directions]
    p_r = np.stack([-g, *(-(a.T @ v) for v in d_a)])
    q_rs = np.zeros((count, count, p, p))
    traces = np.zeros((count, count))
    q_rs[0] = q_rs[:, 0] = -p_r
    traces[0] = traces[:, 0] = [n, *(np.trace(m) for m in d_s)]
    for i, left in enumerate(d_a):
        for j, right in enumerate(d_a):
            q_rs[i + 1, j + 1] = left.T @ s @ right
            traces[i + 1, j + 1] = np.sum(d_s[i] * d_s[j].T)
    phi = np.linalg.inv(g)
    return _Sums(traces, phi, p_r, q_rs, np.einsum("rij,jk,skl->rsil", p_r, phi, p_r))


def expected_information(space: LevelSpace, n: float, restricted: bool) -> Array:
    """Of the variance parameters (V itself first), of REML or of ML, for n observations."""
    sums = _sums(space, n)
    return 0.5 * (sums.restricted if restricted else sums.traces)


def level_space(point: ProfiledPoint) -> LevelSpace:
    """Of the criterion at a point."""
    p = point.model.problem.p
    gram, blocks = point.model.gram, point.model.prepared.blocks
    groups, ends = blocks.groups, np.cumsum([0, *(g.q for g in blocks.groups)])
    c = np.zeros((ends[-1], ends[-1]))
    for a, group in enumerate(groups):
        own = c[ends[a] : ends[a + 1], ends[a] : ends[a + 1]].reshape(group.m, group.k, group.m, group.k)
        level = np.arange(group.m)
        own[level, :, level, :] = gram.diag[a]
        for b in range(a + 1, len(groups)):
            other, pattern = groups[b], blocks.pattern(a, b)
            block = np.zeros((group.m, group.k, other.m, other.k))
            block[pattern.rows(), :, pattern.indices, :] = gram.cross[a, b]
            flat = block.reshape(group.q, other.q)
            c[ends[a] : ends[a + 1], ends[b] : ends[b + 1]] = flat
            c[ends[b] : ends[b + 1], ends[a] : ends[a + 1]] = flat.T
    lower = [(slice(ends[a], ends[a + 1]), f) for a, f in enumerate(point.factors)]
    c_l = _spread([(rows, f.T) for rows, f in lower], c).T
    m = _spread([(rows, f.T) for rows, f in lower], c_l) + np.eye(len(c))
    half = np.linalg.solve(np.linalg.cholesky(m), c_l.T)
    zx = np.concatenate([np.zeros((0, p)), *(r[..., :p].reshape(-1, p) for r in gram.rhs)])
    inner = np.linalg.solve(m, _spread([(rows, f.T) for rows, f in lower], zx))
    directions = []
    for a, group in enumerate(groups):
        for i, columns in group.members:
            for e in point.model.problem.terms[i].covariance.directions or ():
                block = np.zeros((group.k, group.k))
                block[columns, columns] = e
                directions.append([(lower[a][0], block)])
    return LevelSpace(c - half.T @ half, zx - c_l @ inner, point.r_x.T @ point.r_x, directions)


def _spread(blocks: list[tuple[slice, Array]], values: Array) -> Array:
    """Block-diagonal matrix times `values`: each (rows, block) repeats its block over the levels in its rows."""
    out = np.zeros_like(values)
    for rows, block in blocks:
        part = values[rows].reshape(-1, len(block), values.shape[1])
        out[rows] = np.matmul(block, part).reshape(-1, values.shape[1])
    return out
