r"""Many Gaussian criteria with one grouping factor of k columns.

V is block diagonal over the levels l. With G_l = Z_l'WZ_l, x_l = Z_l'WX (k x p) and y_l = Z_l'Wy::

    A_l = (G_l + Sigma^-1)^-1 = L (L'G_l L + I)^-1 L',     E_l = I - A_l G_l,     N_l = G_l E_l
    X'V^-1X = I - sum_l x_l'A_l x_l,     X'V^-1y = -sum_l x_l'A_l y_l,     y'V^-1y = 1 - sum_l y_l'A_l y_l           (1)

    dA_l = E_l dSigma E_l',       dlog|L'G_l L + I| = <N_l, dSigma>,       dN_l = -N_l dSigma N_l                   (2)

so with e_l = y_l - x_l beta, v_l = E_l'e_l, S = X'V^-1X, and sums over levels

    D = sum_l N_l - [REML] E_l'x_l S^-1 x_l'E_l - kappa v_l v_l'                                                  (3)
    tr-like part of the Hessian:  sum_l tr(dSigma_i N_l dSigma_j W_l),
                                  W_l = 2 kappa v_l v_l' + [REML] 2 E_l'x_l S^-1 x_l'E_l - N_l                     (4)
    what beta's movement takes:   -2 kappa c_i'S^-1 c_j,       c_i = sum_l x_l'dA_li e_l                           (5)

Classes. A_l, E_l and N_l are those of the class of levels that have the same G_l: one if groups are balanced. Within a class of
m levels an orthogonal rotation across levels changes none of the sums; one that makes x_l vanish beyond its rank r <= kp leaves
r levels, and of the other m - r only ``sum y_l y_l'``. An evaluation then costs O(classes k^2 p^2) a response, however many
levels there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.batched.base import Evaluated, assembled
from lmmformula.criteria.batched.products import Products
from lmmformula.criteria.factors import Factors
from lmmformula.numerics.batched import matmul, stacked_inverse
from lmmformula.typing import Array, Index

__all__ = ["Grouped", "GroupedDesign"]

SAME = 4e-13
"""Relative difference up to which G_l are taken for one, which is that of sums in another order."""


@dataclass(frozen=True, eq=False)
class GroupedDesign:
    """What responses share.

    Attributes
    ----------
    factors : Factors
    reml : bool
    n_eff : float
    gram : (C, k, k) array
        G of each class.
    counts : (C,) array
        Levels of each class.
    start : (C,) index array
        Where the kept levels of each class begin; they stand class by class.
    of : (l,) index array
        Class of each kept level.
    x : (l, k, p) array
    xx : (C k k, p p) array
        ``sum_l x_l (x) x_l`` of each class.
    rotation : (l, m) array or None
        From levels to kept ones; None where none is left out.
    order : (m,) index array
        Levels class by class.
    """

    factors: Factors
    reml: bool
    n_eff: float
    gram: Array
    counts: Array
    start: Index
    of: Index
    x: Array
    xx: Array
    rotation: Array | None
    order: Index

    @classmethod
    def of_levels(cls, gram: Array, x: Array, factors: Factors, *, reml: bool, n_eff: float) -> GroupedDesign:
        """From G_l (m, k, k) and x_l (m, k, p)."""
        m, k, p = x.shape
        label = _classes(gram)
        order = np.argsort(label, kind="stable")
        ends = np.cumsum(np.bincount(label))
        starts = np.concatenate([[0], ends[:-1]])
        turned = x[order].reshape(m, k * p)
        blocks = [_rank_rotation(turned[i:j]) for i, j in zip(starts, ends, strict=True)]
        kept = sum(len(b) for b in blocks)
        worth = kept < 0.7 * m
        rotation = None
        if worth:
            rotation = np.zeros((kept, m))
            row = 0
            for block, i, j in zip(blocks, starts, ends, strict=True):
                rotation[row : row + len(block), i:j] = block
                row += len(block)
            sizes = np.array([len(b) for b in blocks])
            turned = rotation @ turned
        else:
            sizes = np.diff([0, *ends])
        own = np.repeat(np.arange(len(sizes)), sizes)
        x = turned.reshape(-1, k, p)
        outer = np.einsum("lap,lbq->labpq", x, x).reshape(len(x), -1)
        xx = np.zeros((len(sizes), outer.shape[1]))
        np.add.at(xx, own, outer)
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(
            factors,
            reml,
            n_eff,
            gram[order][starts],
            np.diff([0, *ends]).astype(float),
            start,
            own,
            x,
            xx.reshape(len(sizes) * k * k, p * p),
            rotation,
            order,
        )

    def of_responses(self, products: Products) -> Grouped:
        """The criteria of responses with these products."""
        y = products.sides[0][:, self.order]
        if self.rotation is None:
            return Grouped(self, y, None)
        every = np.einsum("bla,blc->blac", y, y)
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.intp)
        rest = np.add.reduceat(every, starts, axis=1)
        kept = np.matmul(self.rotation, y)
        rest -= self.by_class(np.einsum("bla,blc->blac", kept, kept))
        return Grouped(self, kept, rest)

    def by_class(self, values: Array) -> Array:
        """Sums (A, C, ...) over the kept levels of each class of values (A, l, ...)."""
        if len(self.start) == values.shape[1]:
            return values
        if len(self.start) == 1:
            return values.sum(axis=1, keepdims=True)
        out = np.zeros((len(values), len(self.start), *values.shape[2:]))
        some = np.flatnonzero(np.bincount(self.of, minlength=len(self.start)))
        out[:, some] = np.add.reduceat(values, self.start[some], axis=1)
        return out

    def spread(self, values: Array, axis: int = 1) -> Array:
        """Values of classes for each kept level, along `axis`."""
        classes = values.shape[axis]
        if classes == 1 or (classes == len(self.of) and len(self.start) == len(self.of)):
            return values
        return np.take(values, self.of, axis=axis)


@dataclass(frozen=True, eq=False)
class Grouped:
    """The criteria of B responses.

    Attributes
    ----------
    design : GroupedDesign
    y : (B, l, k) array
        Of the kept levels.
    rest : (B, C, k, k) array or None
        ``sum y_l y_l'`` over the levels left out, by class.
    """

    design: GroupedDesign
    y: Array
    rest: Array | None

    @property
    def factors(self) -> Factors:
        return self.design.factors

    @property
    def n(self) -> int:
        return len(self.y)

    def at(self, theta: Array, which: Index) -> Evaluated:
        """See :class:`lmmformula.criteria.batched.base.Criteria`."""
        own, size = self.design, len(theta)
        levels, k, p = own.x.shape
        y = self.y[which]
        rest = None if self.rest is None else self.rest[which]
        (lower,) = self.factors.lowers(theta)
        (moved,) = self.factors.moved((lower,))
        wide, turned = lower[:, None], np.swapaxes(lower, -1, -2)[:, None]
        m = matmul(turned, matmul(own.gram, wide)) + np.eye(k)
        inverse, log_m = stacked_inverse(m)
        a = matmul(wide, matmul(inverse, turned))
        e = np.eye(k) - matmul(a, own.gram)
        n = matmul(own.gram, e)

        s = np.eye(p) - (a.reshape(size, -1) @ own.xx).reshape(size, p, p)
        s_inverse, log_s = stacked_inverse(s)
        ay = matmul(own.spread(a), y[..., None])[..., 0]
        flat_x = own.x.reshape(levels * k, p)
        sxy = -ay.reshape(size, -1) @ flat_x
        beta = np.einsum("bpq,bq->bp", s_inverse, sxy)
        r2 = 1.0 - np.einsum("blk,blk->b", ay, y) - np.einsum("bp,bp->b", sxy, beta)
        if rest is not None:
            r2 -= np.einsum("bcij,bcij->b", a, rest)
        r2 = np.where(r2 > 1e-14, r2, np.nan)
        kappa = own.n_eff / r2

        left = y - (beta @ flat_x.T).reshape(size, levels, k)
        v = matmul(np.swapaxes(own.spread(e), -1, -2), left[..., None])[..., 0]
        spread = own.by_class(np.einsum("bli,blj->blij", v, v))
        turned_e = np.swapaxes(e, -1, -2)
        if rest is not None:
            spread = spread + matmul(turned_e, matmul(rest, e))
        slope = np.einsum("c,bcij->bij", own.counts, n) - kappa[:, None, None] * spread.sum(axis=1)
        w = 2.0 * kappa[:, None, None, None] * spread - own.counts[:, None, None] * n
        value = log_m @ own.counts + own.n_eff * np.log(r2)
        step = matmul(e[:, None], matmul(moved[:, :, None], turned_e[:, None]))
        moves = (step.reshape(size, len(moved[0]), -1) @ own.xx).reshape(size, -1, p, p)
        hessian = np.zeros((size, self.factors.d, self.factors.d))
        if own.reml:
            value = value + log_s
            seen = (s_inverse.reshape(size, -1) @ own.xx.T).reshape(n.shape)
            seen = matmul(turned_e, matmul(seen, e))
            slope -= seen.sum(axis=1)
            w += 2.0 * seen
            by = matmul(s_inverse[:, None], moves)
            hessian -= np.einsum("bipq,bjqp->bij", by, by)
        product = np.einsum("bcij,bckl->bijkl", n, w, optimize=True)
        bent = np.einsum("bdli,bijkl,bejk->bde", moved, product, moved, optimize=True)
        hessian += 0.5 * (bent + np.swapaxes(bent, -1, -2))
        beside = matmul(own.spread(step, axis=2), left[:, None, :, :, None])
        c = beside.reshape(size, len(moved[0]), -1) @ flat_x
        hessian -= 2.0 * kappa[:, None, None] * np.einsum("bip,bpq,bjq->bij", c, s_inverse, c, optimize=True)
        along = np.einsum("bij,bdij->bd", spread.sum(axis=1), moved)
        hessian -= (kappa**2 / own.n_eff)[:, None, None] * along[:, :, None] * along[:, None, :]
        gradient, hessian = assembled(self.factors, (slope,), (moved,), hessian)
        return Evaluated(value, gradient, hessian, r2, beta, s_inverse, along, moves)


def _classes(gram: Array) -> Index:
    """A number for each level, the same for levels whose G agree up to rounding."""
    m = len(gram)
    flat = gram.reshape(m, -1)
    size = np.maximum(np.abs(flat).max(axis=0), 1e-300)
    _, label = np.unique(np.round(flat / (SAME * size)), axis=0, return_inverse=True)
    return label.reshape(m)


def _rank_rotation(x: Array) -> Array:
    """Rows (r, m) of an orthogonal matrix beyond which the rotated x (m, c) vanishes."""
    if x.shape[1] == 0:
        return np.zeros((0, len(x)))
    if len(x) == 1:
        return np.eye(1)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-14 * max(float(s[0]), 1e-300) * max(x.shape)].T
