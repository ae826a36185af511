r"""The Laplace approximations of many responses at once: one grouping factor, canonical links without further parameters.

d(beta, theta) of :mod:`lmmformula.criteria.laplace`, whose levels i are independent given beta and theta: with one grouping
factor M is block diagonal, so the modes of all levels of all responses are found together, each by Newton's steps with halving
of its own (canonical links: h is convex), and (1) to (2) there are sums over rows and levels. With s the scores, W the
weights, w' = dW/deta, lev_r = z_r'L M_i^-1 L'z_r, c = Lambda'Z'(lev w') and v = M^-1 c::

    t        = -2 s + lev w' - W (Z Lambda v),             dd/dbeta = X't
    dd/dL    = sum_i (Z_i't) u_i' + 2 G_i L M_i^-1 + (Z_i's) v_i',       G_i = Z_i'WZ_i                               (1)

the lower triangle of which is meant. (1) is (2) of the criterion of one without its division by L: the three parts are what dL
does to eta at fixed u, to M, and to the mode. Rows are held in the order of their levels, responses side by side, (n, B).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lmmformula.criteria.batched.base import Factors, stacked_inverse
from lmmformula.families.family import Family
from lmmformula.families.records import Maybe
from lmmformula.ir.groups import GroupRows
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import matmul
from lmmformula.typing import Array, Index

__all__ = ["LaplaceMany", "Laplaced"]

MODE = 1e-13
"""Newton decrement of h of a level after which one step more, which squares it, ends the search of its mode."""
MAX_STEPS = 60
MAX_HALVINGS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Laplaced:
    """Criteria of A responses: values (A,) and gradients (A, p + d) in (beta, theta)."""

    value: Array
    gradient: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Newton:
    """M_i^-1 (A, m, k, k) and Z's (A, m, k)."""

    inverse: Array
    side: Array


@dataclass(frozen=True, slots=True, eq=False)
class _FamilyRows:
    """The family's numbers, each (n, A)."""

    loglik: Array
    score: Array
    weight: Array
    weight_eta: Array | None


@dataclass(frozen=True, eq=False)
class LaplaceMany:
    """B criteria.

    Attributes
    ----------
    factors : Factors
    family : Family
    x : (n, p) array
        Rows in the order of their levels.
    basis : (n, k) array
    offset : (n, 1) array or float
    weights : (n,) array or None
    starts : (m,) index array
        First row of each level.
    of : (n,) index array
        Level of each row.
    y : (n, B) array
    modes : (B, m, k) array
        u where each response was evaluated last, from which the next search begins.
    """

    factors: Factors
    family: Family
    x: Array
    basis: Array
    offset: Maybe
    weights: Array | None
    starts: Index
    of: Index
    y: Array
    modes: Array = field(repr=False)

    @classmethod
    def of_responses(cls, problem: Problem, own: GroupRows, y: Array) -> LaplaceMany:
        """Of responses y (n, B) in the order of the problem's rows."""
        order = np.argsort(own.codes, kind="stable")
        of = own.codes[order].astype(np.intp)
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        basis = np.ones((len(of), 1)) if own.basis is None else own.basis[order]
        m, k = own.group.m, own.group.k
        return cls(
            Factors.of(problem.terms, [own.group]),
            problem.family,
            problem.X.matrix[order],
            basis,
            0.0 if problem.offset is None else problem.offset[order, None],
            None if problem.weights is None else problem.weights[order],
            starts,
            of,
            np.ascontiguousarray(y[order]),
            np.zeros((y.shape[1], m, k)),
        )

    def at(self, psi: Array, which: Index, *, keep: bool = True) -> Laplaced:
        """At psi = (beta, theta), (A, p + d); with `keep` the modes are where the next search begins."""
        p = self.x.shape[1]
        (lower,) = self.factors.lowers(psi[:, p:])
        y, fixed = self.y[:, which], self.x @ psi[:, :p].T + self.offset
        u = self._found(y, fixed, lower, self.modes[which].copy())
        if keep:
            self.modes[which] = u
        eta = fixed + self._to_rows(u, lower)
        found = self._family(y, eta, derivatives=True)
        weight, score = np.asarray(found.weight), np.asarray(found.score)
        gram = self._gram(weight)
        inverse, log_m = self._equations(gram, lower)
        inner = matmul(lower[:, None], matmul(inverse, np.swapaxes(lower, -1, -2)[:, None]))
        leverage = self._quadratic(inner)
        slope = leverage * np.asarray(found.weight_eta)
        c = matmul(self._sums(slope), lower)
        v = matmul(inverse, c[..., None])[..., 0]
        t = slope - 2.0 * score - weight * self._to_rows(v, lower)
        moved = np.einsum("bmi,bmj->bij", self._sums(t), u)
        moved += np.einsum("bmi,bmj->bij", self._sums(score), v)
        moved += 2.0 * matmul(matmul(gram, lower[:, None]), inverse).sum(axis=1)
        gradient = np.zeros_like(psi)
        gradient[:, :p] = t.T @ self.x
        gradient[:, p:][:, self.factors.index[0]] = np.einsum("bij,dij->bd", moved, self.factors.units[0])
        value = -2.0 * np.asarray(found.loglik).sum(axis=0) + np.einsum("bmk,bmk->b", u, u)
        return Laplaced(value + log_m.sum(axis=1), gradient)

    # -- modes -----------------------------------------------------------------------------------------------------

    def _found(self, y: Array, fixed: Array, lower: Array, u: Array) -> Array:
        """The modes (A, m, k) of all levels."""
        h, rows = self._objective(y, fixed, lower, u)
        for _ in range(MAX_STEPS):
            slope = matmul(rows.side[:, :, None], lower[:, None])[:, :, 0] - u
            step = matmul(rows.inverse, slope[..., None])[..., 0]
            promised = np.einsum("bmk,bmk->bm", slope, step)
            open_ = promised > MODE * np.maximum(1.0, np.abs(h))
            if not open_.any():  # one step more: log|M| is of first order in what is left
                return u + step
            share, trial, then, after = np.where(open_, 1.0, 0.0), u, h, rows
            for _ in range(MAX_HALVINGS):
                trial = u + share[..., None] * step
                then, after = self._objective(y, fixed, lower, trial)
                worse = ~(then <= h + 1e-12 * np.maximum(1.0, np.abs(h))) & (share > 0.0)
                if not worse.any():
                    break
                share = np.where(worse, 0.5 * share, share)
            u, h, rows = trial, then, after
        return u

    def _objective(self, y: Array, fixed: Array, lower: Array, u: Array) -> tuple[Array, _Newton]:
        """h of each level (A, m), and its Newton equations."""
        eta = fixed + self._to_rows(u, lower)
        found = self._family(y, eta, derivatives=False)
        score, weight = np.asarray(found.score), np.asarray(found.weight)
        inverse, _ = self._equations(self._gram(weight), lower)
        own = np.add.reduceat(np.asarray(found.loglik), self.starts, axis=0).T
        h = 0.5 * np.einsum("bmk,bmk->bm", u, u) - own
        return h, _Newton(inverse, self._sums(score))

    @staticmethod
    def _equations(gram: Array, lower: Array) -> tuple[Array, Array]:
        """M_i^-1 and log|M_i| from Z_i'WZ_i (A, m, k, k)."""
        turned = np.swapaxes(lower, -1, -2)[:, None]
        return stacked_inverse(matmul(turned, matmul(gram, lower[:, None])) + np.eye(lower.shape[-1]))

    # -- rows ------------------------------------------------------------------------------------------------------

    def _family(self, y: Array, eta: Array, *, derivatives: bool) -> _FamilyRows:
        """The family at rows (n, A), which it knows one after the other."""
        shape = y.shape
        weights = None if self.weights is None else np.repeat(self.weights, shape[1])
        found = self.family.rows(y.ravel(), eta.ravel(), (), weights, derivatives=derivatives)

        def wide(values: Maybe) -> Array:
            return np.broadcast_to(values, y.size).reshape(shape)

        slope = None if found.weight_eta is None else wide(found.weight_eta)
        return _FamilyRows(wide(found.loglik), wide(found.score), wide(found.weight), slope)

    def _to_rows(self, u: Array, lower: Array) -> Array:
        """Z Lambda u, (n, A)."""
        b = matmul(u, np.swapaxes(lower, -1, -2))
        out = np.zeros((len(self.of), len(u)))
        for j in range(b.shape[-1]):
            out += self.basis[:, j, None] * np.ascontiguousarray(b[:, :, j].T)[self.of]
        return out

    def _sums(self, r: Array) -> Array:
        """Z'r, (A, m, k), of r (n, A)."""
        parts = [np.add.reduceat(column[:, None] * r, self.starts, axis=0).T for column in self.basis.T]
        return np.stack(parts, axis=-1)

    def _gram(self, weight: Array) -> Array:
        """Z_i'WZ_i, (A, m, k, k)."""
        k = self.basis.shape[1]
        out = np.empty((weight.shape[1], len(self.starts), k, k))
        for i in range(k):
            for j in range(i + 1):
                product = (self.basis[:, i] * self.basis[:, j])[:, None] * weight
                out[:, :, i, j] = out[:, :, j, i] = np.add.reduceat(product, self.starts, axis=0).T
        return out

    def _quadratic(self, inner: Array) -> Array:
        """z_r'C_i z_r, (n, A), of C (A, m, k, k)."""
        out = np.zeros((len(self.of), len(inner)))
        for i in range(inner.shape[-1]):
            for j in range(inner.shape[-1]):
                own = np.ascontiguousarray(inner[:, :, i, j].T)[self.of]
                out += (self.basis[:, i] * self.basis[:, j])[:, None] * own
        return out
