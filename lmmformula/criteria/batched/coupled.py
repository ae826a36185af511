r"""Many Gaussian criteria with several grouping factors.

The factor with the most effects (e) is eliminated level by level, the others (d) are dense. D = [Z_d X], r = q_d + p columns;
C_l = Z_l'WD of a level l of e, and A, E, N as in :mod:`.grouped`::

    T   = D'V_e^-1 D = D'WD - sum_l C_l'A_l C_l,       F_l = E_l'C_l = Z_l'V_e^-1 D                                   (1)
    B   = Lambda_d (Lambda_d'T_dd Lambda_d + I)^-1 Lambda_d'

    Z_d'V^-1 [Z_d X] = T_d. - T_dd B T_d.          Z_e'V^-1 [Z_d X] = F - F_d B T_d.
    Z_e'V^-1 Z_e     = N_e  - F_d B F_d'           X'V^-1X          = T_xx - T_xd B T_dx                              (2)

and likewise with y for a column. (2) gives Z'V^-1Z and Z'PZ as matrices (q, q) of each response, from which (2) and (3) of
:mod:`.base` are sums over pairs of levels. (1) of all responses is one matrix product, A (B, m_e k_e^2) times the shared
``C_l (x) C_l``, of which half is formed. O(q^2 q_d) a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.batched.base import Evaluated, assembled
from lmmformula.criteria.batched.products import Products
from lmmformula.criteria.factors import Factors
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import stacked_inverse
from lmmformula.typing import Array, Index

__all__ = ["Coupled", "CoupledDesign", "dense_cross"]


@dataclass(frozen=True, eq=False)
class CoupledDesign:
    """What responses share.

    Attributes
    ----------
    factors : Factors
    reml : bool
    n_eff : float
    first : int
        e among the groups.
    shapes : tuple of (m_a, k_a)
        Of all groups.
    gram : (m_e, k_e, k_e) array
        Z_l'WZ_l.
    coupling : (m_e k_e, r) array
        C.
    inner : (r, r) array
        D'WD.
    pairs : (m_e k_e k_e, r (r + 1) / 2) array
        ``C_l (x) C_l`` on the upper triangle.
    """

    factors: Factors
    reml: bool
    n_eff: float
    first: int
    shapes: tuple[tuple[int, int], ...]
    gram: Array
    coupling: Array
    inner: Array
    pairs: Array

    @classmethod
    def of_gram(
        cls, blocks: Levels, gram: Gram, x: Sequence[Array], factors: Factors, *, reml: bool, n_eff: float
    ) -> CoupledDesign:
        """From Z'WZ and x_a = Z_a'WX (m_a, k_a, p) of orthonormal X."""
        shapes = tuple((g.m, g.k) for g in blocks.groups)
        first = max(range(len(shapes)), key=lambda a: shapes[a][0])
        others = [a for a in range(len(shapes)) if a != first]
        m, k = shapes[first]
        flat = [x[a].reshape(m * k, x[a].shape[-1]) for a, (m, k) in enumerate(shapes)]
        coupling = np.hstack([*(dense_cross(blocks, gram, first, a) for a in others), flat[first]])
        inner = np.block(
            [[*(dense_cross(blocks, gram, a, b) for b in others), flat[a]] for a in others]
            + [[*(flat[a].T for a in others), np.eye(flat[0].shape[1])]]
        )
        r = len(inner)
        rows, cols = np.triu_indices(r)
        levels = coupling.reshape(m, k, r)
        pairs = levels[:, :, None, rows] * levels[:, None, :, cols]
        return cls(
            factors,
            reml,
            n_eff,
            first,
            shapes,
            gram.diag[first],
            coupling,
            inner,
            pairs.reshape(m * k * k, len(rows)),
        )

    @property
    def others(self) -> list[int]:
        return [a for a in range(len(self.shapes)) if a != self.first]

    @property
    def p(self) -> int:
        return len(self.inner) - sum(self.shapes[a][0] * self.shapes[a][1] for a in self.others)

    def of_responses(self, products: Products) -> Coupled:
        """The criteria of responses with these products."""
        size = len(products.lengths)
        dense = [products.sides[a].reshape(size, -1) for a in self.others]
        return Coupled(self, products.sides[self.first], np.concatenate(dense, axis=1))

    def across(self, left: Sequence[Array], x: Array, *, turned: bool) -> Array:
        """Lambda_d x, or Lambda_d'x if `turned`, for x (A, q_d, c)."""
        out, at = np.empty_like(x), 0
        for a, lower in zip(self.others, left, strict=True):
            m, k = self.shapes[a]
            part = x[:, at : at + m * k]
            if k == 1:
                out[:, at : at + m] = lower * part
            else:
                factor = np.swapaxes(lower, -1, -2) if turned else lower
                wide = part.reshape(len(x), m, k, -1)
                out[:, at : at + m * k] = np.matmul(factor[:, None], wide).reshape(part.shape)
            at += m * k
        return out


@dataclass(frozen=True, eq=False)
class Coupled:
    """The criteria of B responses.

    Attributes
    ----------
    design : CoupledDesign
    first : (B, m_e, k_e) array
        Z_e'Wy.
    dense : (B, q_d) array
        Z_d'Wy.
    """

    design: CoupledDesign
    first: Array
    dense: Array

    @property
    def factors(self) -> Factors:
        return self.design.factors

    @property
    def n(self) -> int:
        return len(self.first)

    def at(self, theta: Array, which: Index) -> Evaluated:
        """See :class:`lmmformula.criteria.batched.base.Criteria`."""
        own, size = self.design, len(theta)
        lowers = self.factors.lowers(theta)
        moved = self.factors.moved(lowers)
        eliminated = _Eliminated.of(own, lowers[own.first], self.first[which], self.dense[which])
        found = _Solved.of(own, [lowers[a] for a in own.others], eliminated)
        kappa = own.n_eff / found.r2
        matrix, s_inverse = found.matrix, found.inverse
        value = found.log_v + own.n_eff * np.log(found.r2)
        projected = matrix - np.matmul(np.matmul(found.zx, s_inverse), np.swapaxes(found.zx, -1, -2))
        if own.reml:
            value = value + found.log_s
            matrix = projected

        order = [own.first, *own.others]
        places, at = {}, 0
        for a in order:
            places[a] = slice(at, at + own.shapes[a][0] * own.shapes[a][1])
            at = places[a].stop
        d, p = self.factors.d, own.p
        f, moves = np.zeros((size, at, d)), np.zeros((size, d, p, p))
        slopes: list[Array] = [np.empty(0)] * len(order)
        for a in order:
            m, k = own.shapes[a]
            index, v = self.factors.index[a], found.v[:, places[a]].reshape(size, m, k)
            block = matrix[:, places[a], places[a]].reshape(size, m, k, m, k)
            slopes[a] = np.einsum("bmimj->bij", block) - kappa[:, None, None] * np.einsum(
                "bmi,bmj->bij", v, v
            )
            step = np.matmul(v[:, None], np.swapaxes(moved[a], -1, -2))
            f[:, places[a], index] = np.moveaxis(step.reshape(size, len(index), m * k), 1, 2)
            x = found.zx[:, places[a]].reshape(size, m, k, p)
            inner = np.einsum("bmip,bmjq->bijpq", x, x, optimize=True) if k > 1 else _scalar_inner(x)
            moves[:, index] = np.einsum("bdij,bijpq->bdpq", moved[a], inner, optimize=True)
        along = np.einsum("bqd,bq->bd", f, found.v)
        hessian = 2.0 * kappa[:, None, None] * np.matmul(np.swapaxes(f, 1, 2), np.matmul(projected, f))
        hessian -= (kappa**2 / own.n_eff)[:, None, None] * along[:, :, None] * along[:, None, :]
        for a in order:
            for b in order:
                (m, k), (n, j) = own.shapes[a], own.shapes[b]
                block = matrix[:, places[a], places[b]]
                rows, cols = self.factors.index[a], self.factors.index[b]
                trace = _trace(block.reshape(size, m, k, n, j), moved[a], moved[b])
                hessian[:, rows[:, None], cols] -= trace
        gradient, hessian = assembled(self.factors, slopes, moved, hessian)
        return Evaluated(value, gradient, hessian, found.r2, found.beta, s_inverse, along, moves)


def _scalar_inner(x: Array) -> Array:
    flat = x[:, :, 0]
    return np.matmul(np.swapaxes(flat, 1, 2), flat)[:, None, None]


def _trace(block: Array, left: Array, right: Array) -> Array:
    """``sum_st tr(Q_st dSigma_j Q_ts dSigma_i)``, (A, d_a, d_b), from Q_st (A, m, k, n, j)."""
    if block.shape[2] == 1 and block.shape[4] == 1:
        total = np.einsum("bmn,bmn->b", block[:, :, 0, :, 0], block[:, :, 0, :, 0])
        return total[:, None, None] * left[:, :, 0, 0][:, :, None] * right[:, :, 0, 0][:, None, :]
    squares = np.einsum("bminj,bmkno->bijko", block, block, optimize=True)
    return np.einsum("bijko,bejo,bdki->bde", squares, right, left, optimize=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Eliminated:
    """After the elimination of e: T (A, r, r), D'V_e^-1y (A, r), y'V_e^-1y, F (A, q_e, r), Z_e'V_e^-1y, N_e, log|M_e|."""

    t: Array
    ty: Array
    yy: Array
    f: Array
    fy: Array
    n: Array
    log_m: Array

    @classmethod
    def of(cls, own: CoupledDesign, lower: Array, y: Array, dense: Array) -> _Eliminated:
        size, (m, k), r = len(lower), own.shapes[own.first], len(own.inner)
        wide, turned = lower[:, None], np.swapaxes(lower, -1, -2)[:, None]
        inverse, log_m = stacked_inverse(np.matmul(turned, np.matmul(own.gram, wide)) + np.eye(k))
        a = np.matmul(wide, np.matmul(inverse, turned))
        e = np.eye(k) - np.matmul(a, own.gram)
        upper = a.reshape(size, -1) @ own.pairs
        t = np.empty((size, r, r))
        rows, cols = np.triu_indices(r)
        t[:, rows, cols] = upper
        t[:, cols, rows] = upper
        t = own.inner - t
        ay = np.matmul(a, y[..., None])[..., 0]
        ty = -ay.reshape(size, -1) @ own.coupling
        ty[:, : dense.shape[1]] += dense
        yy = 1.0 - np.einsum("bmk,bmk->b", ay, y)
        turned_e = np.swapaxes(e, -1, -2)
        if k == 1:
            f = e[:, :, 0] * own.coupling
        else:
            f = np.matmul(turned_e, own.coupling.reshape(m, k, r)).reshape(size, m * k, r)
        fy = np.matmul(turned_e, y[..., None]).reshape(size, m * k)
        return cls(t, ty, yy, f, fy, np.matmul(own.gram, e), log_m.sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """What follows of the whole V, effects of e first: Z'V^-1Z, Z'V^-1X, Z'Py, (X'V^-1X)^-1, beta, y'Py and logarithms."""

    matrix: Array
    zx: Array
    v: Array
    inverse: Array
    beta: Array
    r2: Array
    log_v: Array
    log_s: Array

    @classmethod
    def of(cls, own: CoupledDesign, lowers: Sequence[Array], e: _Eliminated) -> _Solved:
        size, (m, k), r, p = len(e.t), own.shapes[own.first], len(own.inner), own.p
        q = r - p
        td = e.t[:, :q]
        scaled = own.across(lowers, e.t[:, :q, :q], turned=True)
        scaled = own.across(lowers, np.swapaxes(scaled, 1, 2), turned=True) + np.eye(q)
        inverse, log_d = stacked_inverse(scaled)
        b = own.across(lowers, np.swapaxes(own.across(lowers, inverse, turned=False), 1, 2), turned=False)
        bt, by = np.matmul(b, td), np.einsum("bij,bj->bi", b, e.ty[:, :q])
        lower = td - np.matmul(td[:, :, :q], bt)
        s = e.t[:, q:, q:] - np.matmul(np.swapaxes(td[:, :, q:], 1, 2), bt[:, :, q:])
        sy = e.ty[:, q:] - np.einsum("bip,bi->bp", td[:, :, q:], by)
        yy = e.yy - np.einsum("bi,bi->b", by, e.ty[:, :q])
        fd = e.f[:, :, :q]
        upper = e.f - np.matmul(fd, bt)
        matrix = np.empty((size, m * k + q, m * k + q))
        matrix[:, : m * k, : m * k] = -np.matmul(np.matmul(fd, b), np.swapaxes(fd, 1, 2))
        every = np.arange(m)
        blocks = np.zeros((size, m, k, m, k))
        blocks[:, every, :, every] = np.moveaxis(e.n, 1, 0)
        matrix[:, : m * k, : m * k] += blocks.reshape(size, m * k, m * k)
        matrix[:, m * k :, m * k :] = lower[:, :, :q]
        matrix[:, : m * k, m * k :] = upper[:, :, :q]
        matrix[:, m * k :, : m * k] = np.swapaxes(upper[:, :, :q], 1, 2)
        zx = np.concatenate([upper[:, :, q:], lower[:, :, q:]], axis=1)
        zy_e = e.fy - np.einsum("bij,bj->bi", fd, by)
        zy_d = e.ty[:, :q] - np.einsum("bij,bj->bi", td[:, :, :q], by)
        s_inverse, log_s = stacked_inverse(s)
        beta = np.einsum("bpq,bq->bp", s_inverse, sy)
        r2 = yy - np.einsum("bp,bp->b", sy, beta)
        v = np.concatenate([zy_e, zy_d], axis=1) - np.einsum("bqp,bp->bq", zx, beta)
        r2 = np.where(r2 > 1e-14, r2, np.nan)
        return cls(matrix, zx, v, s_inverse, beta, r2, e.log_m + log_d, log_s)


def dense_cross(blocks: Levels, gram: Gram, a: int, b: int) -> Array:
    """Z_a'WZ_b as a matrix (m_a k_a, m_b k_b)."""
    (m, k), (n, j) = ((blocks.groups[x].m, blocks.groups[x].k) for x in (a, b))
    out = np.zeros((m, k, n, j))
    if a == b:
        every = np.arange(m)
        out[every, :, every] = gram.diag[a]
        return out.reshape(m * k, n * j)
    low, high = min(a, b), max(a, b)
    pattern = blocks.pattern(low, high)
    rows, cols = pattern.rows(), pattern.indices
    if a < b:
        out[rows, :, cols] = gram.cross[a, b]
    else:
        out[cols, :, rows] = np.swapaxes(gram.cross[b, a], 1, 2)
    return out.reshape(m * k, n * j)
