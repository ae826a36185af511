r"""The Laplace approximations of many responses at once, of at most one grouping factor.

d(beta, theta, alpha) of :mod:`lmmformula.criteria.laplace`, whose levels i are independent given beta, theta and alpha:
with one grouping factor M is block diagonal, so the modes of all levels of all responses are found together, each by
Newton's steps with halving of its own, and (1) to (2) there are sums over rows and levels. With s the scores, W the
observed weights, w' = dW/deta, lev_r = z_r'L M_i^-1 L'z_r, c = Lambda'Z'(lev w') and v = M^-1 c::

    t        = -2 s + lev w' - W (Z Lambda v),             dd/dbeta = X't
    dd/dL    = sum_i (Z_i't) u_i' + 2 G_i L M_i^-1 + (Z_i's) v_i',       G_i = Z_i'WZ_i                               (1)
    dd/dalpha_j = A_j'(-2 dl/da_j + lev dW/da_j + (ds/da_j) (Z Lambda v))                                              (2)

the lower triangle of which is meant. (1) is (2) of the criterion of one without its division by L: the three parts are what dL
does to eta at fixed u, to M, and to the mode. Rows are held in the order of their levels, responses side by side, (n, B).

Where the log density is not concave in eta (links that are not canonical), M_i with observed weights may be indefinite on
the way to the mode: a level then steps with the expected ones. Without random effects there is one level without columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.batched.family import rows_side_by_side
from lmmformula.criteria.factors import Factors
from lmmformula.criteria.rowmodel import Information
from lmmformula.families.family import Family
from lmmformula.families.records import Maybe, Rows
from lmmformula.ir.groups import Group, GroupRows
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import matmul, stacked_inverse
from lmmformula.typing import Array, Index

__all__ = ["LaplaceMany", "Laplaced", "Moded"]

MODE = 1e-13
"""Newton decrement of h of a level after which one step more, which squares it, ends the search of its mode."""
FEWER = 0.25
"""Share of responses whose searches have ended from which on the others go on alone."""
MAX_STEPS = 60
MAX_HALVINGS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Laplaced:
    """Criteria of A responses: values (A,) and gradients (A, d) in psi = (beta, theta, alpha)."""

    value: Array
    gradient: Array


@dataclass(frozen=True, slots=True, eq=False)
class Moded:
    """Criteria of A responses, (A,), their modes u (A, m, k), M_i^-1 (A, m, k, k) and L (A, k, k)."""

    value: Array
    u: Array
    inverse: Array
    lower: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Newton:
    """M_i^-1 (A, m, k, k) and Z's (A, m, k)."""

    inverse: Array
    side: Array

    def taken(self, some: NDArray[np.bool_]) -> _Newton:
        """Of some of them."""
        return _Newton(self.inverse[some], self.side[some])


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """The responses that are evaluated: y (n, A), the part of their log densities in y alone, alpha's predictors (n, A)."""

    y: Array
    constant: Array
    aux: tuple[Array, ...]

    def taken(self, some: NDArray[np.bool_]) -> _Chosen:
        """Some of them."""
        return _Chosen(self.y[:, some], self.constant[:, some], tuple(a[:, some] for a in self.aux))


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
    aux : tuple of (n, a_j) arrays
        Columns of the auxiliary predictors.
    offset : (n, 1) array or float
    weights : (n,) array or None
    starts : (m,) index array
        First row of each level.
    of : (n,) index array
        Level of each row.
    y : (n, B) array
    constant : (n, B) array
        The part of the log density in y alone.
    modes : (B, m, k) array
        u where each response was evaluated last, from which the next search begins.
    tolerance : float
        Newton decrement of h of a level after which one step more, which squares it, ends the search of its mode.
    """

    factors: Factors
    family: Family
    x: Array
    basis: Array
    aux: tuple[Array, ...]
    offset: Maybe
    weights: Array | None
    starts: Index
    of: Index
    y: Array
    constant: Array = field(repr=False)
    modes: Array = field(repr=False)
    tolerance: float = MODE

    @classmethod
    def of_responses(cls, problem: Problem, own: GroupRows | None, y: Array) -> LaplaceMany:
        """Of responses y (n, B) in the order of the problem's rows; `own` are the rows of the one grouping factor."""
        if own is None:
            group, codes, basis = Group("", 1, 0, ()), np.zeros(problem.n, np.intp), np.ones((problem.n, 0))
        else:
            group, codes = own.group, own.codes
            basis = np.ones((problem.n, 1)) if own.basis is None else own.basis
        order = np.argsort(codes, kind="stable")
        of = codes[order].astype(np.intp)
        weights = None if problem.weights is None else problem.weights[order]
        sorted_y = np.ascontiguousarray(y[order])
        wide = None if weights is None else np.repeat(weights, y.shape[1])
        constant = problem.family.constant(sorted_y.ravel(), wide)
        return cls(
            Factors.of(problem.terms, [group]),
            problem.family,
            problem.X.matrix[order],
            basis[order],
            tuple(block.matrix[order] for block in problem.aux),
            0.0 if problem.offset is None else problem.offset[order, None],
            weights,
            np.flatnonzero(np.diff(of, prepend=-1)),
            of,
            sorted_y,
            np.broadcast_to(constant, sorted_y.size).reshape(sorted_y.shape),
            np.zeros((y.shape[1], group.m, group.k)),
        )

    def at(self, psi: Array, which: Index, *, keep: bool = True) -> Laplaced:
        """At psi (A, d); with `keep` the modes are where the next search begins."""
        p, end = self.x.shape[1], self.x.shape[1] + self.factors.d
        (lower,) = self.factors.lowers(psi[:, p:end])
        chosen = self._chosen(psi[:, end:], which)
        fixed = self.x @ psi[:, :p].T + self.offset
        u = self._found(chosen, fixed, lower, self.modes[which].copy())
        if keep:
            self.modes[which] = np.where(np.isfinite(u).all(axis=(1, 2), keepdims=True), u, 0.0)
        eta = fixed + self._to_rows(u, lower)
        found = self._family(chosen, eta, derivatives=True)
        weight, score = found.weight, found.score
        gram = self._gram(weight)
        inverse, log_m = self._equations(gram, lower)
        inner = matmul(lower[:, None], matmul(inverse, np.swapaxes(lower, -1, -2)[:, None]))
        leverage = self._quadratic(inner)
        slope = leverage * np.asarray(found.weight_eta)
        c = matmul(self._sums(slope), lower)
        v = matmul(inverse, c[..., None])[..., 0]
        zv = self._to_rows(v, lower)
        t = slope - 2.0 * score - weight * zv
        moved = np.einsum("bmi,bmj->bij", self._sums(t), u)
        moved += np.einsum("bmi,bmj->bij", self._sums(score), v)
        moved += 2.0 * matmul(matmul(gram, lower[:, None]), inverse).sum(axis=1)
        gradient = np.zeros_like(psi)
        gradient[:, :p] = t.T @ self.x
        gradient[:, p:end][:, self.factors.index[0]] = np.einsum("bij,dij->bd", moved, self.factors.units[0])
        for j, (a, where) in enumerate(zip(self.aux, self._places(end), strict=True)):
            push = leverage * found.weight_aux[j] - 2.0 * found.d_aux[j] + found.score_aux[j] * zv
            gradient[:, where] = push.T @ a
        value = -2.0 * found.loglik.sum(axis=0) + np.einsum("bmk,bmk->b", u, u)
        return Laplaced(value + log_m.sum(axis=1), gradient)

    def modes_at(self, psi: Array) -> Moded:
        """Values and modes at psi (B, d), a row for each response, without gradients; searches begin at :attr:`modes`."""
        p, end = self.x.shape[1], self.x.shape[1] + self.factors.d
        (lower,) = self.factors.lowers(psi[:, p:end])
        chosen = self._chosen(psi[:, end:], np.arange(len(psi)))
        fixed = self.x @ psi[:, :p].T + self.offset
        u = self._found(chosen, fixed, lower, self.modes[: len(psi)].copy())
        found = self._family(chosen, fixed + self._to_rows(u, lower), derivatives=False)
        inverse, log_m = self._equations(self._gram(found.weight), lower)
        value = -2.0 * found.loglik.sum(axis=0) + np.einsum("bmk,bmk->b", u, u) + log_m.sum(axis=1)
        return Moded(value, u, inverse, lower)

    def remainders(self, psi: Array, found: Moded, steps: Array) -> Array:
        """What the series of second order of each level's log likelihood at its mode leaves at steps (K, A, m, k): (K, A, m).

        `found` are the modes at psi. With e = Z Lambda step: sums over rows of ``l(eta + e) - l(eta) - s e + W e^2 / 2``.
        """
        end = self.x.shape[1] + self.factors.d
        chosen = self._chosen(psi[:, end:], np.arange(len(psi)))
        eta = self.x @ psi[:, : self.x.shape[1]].T + self.offset + self._to_rows(found.u, found.lower)
        here = self._family(chosen, eta, derivatives=False)
        out = np.empty((len(steps), *found.u.shape[:2]))
        for k, step in enumerate(steps):
            e = self._to_rows(step, found.lower)
            there = self._family(chosen, eta + e, derivatives=False).loglik
            rest = there - here.loglik - here.score * e + 0.5 * here.weight * e**2
            out[k] = np.add.reduceat(rest, self.starts, axis=0).T
        return out

    def effects(self, theta: Array) -> Array:
        """b = L u of all responses, (B, m, k), of the modes that were met last; theta (B, d)."""
        (lower,) = self.factors.lowers(theta)
        return matmul(self.modes, np.swapaxes(lower, -1, -2))

    def _places(self, at: int) -> list[slice]:
        """Where the coefficients of each auxiliary predictor stand, from `at` on."""
        ends = np.cumsum([at, *(a.shape[1] for a in self.aux)])
        return [slice(int(i), int(j)) for i, j in pairwise(ends)]

    def _chosen(self, alpha: Array, which: Index) -> _Chosen:
        places = self._places(0)
        aux = tuple(a @ alpha[:, where].T for a, where in zip(self.aux, places, strict=True))
        return _Chosen(self.y[:, which], self.constant[:, which], aux)

    # -- modes -----------------------------------------------------------------------------------------------------

    def _found(self, chosen: _Chosen, fixed: Array, lower: Array, u: Array) -> Array:
        """The modes (A, m, k) of all levels; responses whose search has ended are left behind by those that go on."""
        out, left = u.copy(), np.arange(len(u))
        h, rows = self._objective(chosen, fixed, lower, u)
        lost = ~np.isfinite(h)
        if lost.any():
            u = np.where(lost[..., None], 0.0, u)
            h, rows = self._objective(chosen, fixed, lower, u)
        for _ in range(MAX_STEPS if u.shape[-1] else 0):
            slope = matmul(rows.side[:, :, None], lower[:, None])[:, :, 0] - u
            step = matmul(rows.inverse, slope[..., None])[..., 0]
            promised = np.einsum("bmk,bmk->bm", slope, step)
            open_ = promised > self.tolerance * np.maximum(1.0, np.abs(h))
            on = open_.any(axis=1)
            if on.mean() <= 1.0 - FEWER:  # one step more: log|M| is of first order in what is left
                out[left[~on]] = (u + np.where(np.isfinite(step), step, 0.0))[~on]
                if not on.any():
                    return out
                left, chosen, fixed, lower = left[on], chosen.taken(on), fixed[:, on], lower[on]
                u, h, rows, step, open_ = u[on], h[on], rows.taken(on), step[on], open_[on]
            share, trial, then, after = np.where(open_, 1.0, 0.0), u, h, rows
            for _ in range(MAX_HALVINGS):
                trial = u + share[..., None] * np.where(open_[..., None], step, 0.0)
                then, after = self._objective(chosen, fixed, lower, trial)
                worse = ~(then <= h + 1e-12 * np.maximum(1.0, np.abs(h))) & (share > 0.0)
                if not worse.any():
                    break
                share = np.where(worse, 0.5 * share, share)
            u, h, rows = trial, then, after
        out[left] = u
        return out

    def _objective(self, chosen: _Chosen, fixed: Array, lower: Array, u: Array) -> tuple[Array, _Newton]:
        """h of each level (A, m), and its Newton equations."""
        eta = fixed + self._to_rows(u, lower)
        found = self._family(chosen, eta, derivatives=False)
        inverse, log_m = self._equations(self._gram(found.weight), lower)
        if not self.family.is_canonical and (lost := np.isnan(log_m)).any():
            expected = self._family(chosen, eta, derivatives=False, information="expected")
            safe, _ = self._equations(self._gram(expected.weight), lower)
            inverse = np.where(lost[..., None, None], safe, inverse)
        own = np.add.reduceat(found.loglik, self.starts, axis=0).T
        h = 0.5 * np.einsum("bmk,bmk->bm", u, u) - own
        return h, _Newton(inverse, self._sums(found.score))

    @staticmethod
    def _equations(gram: Array, lower: Array) -> tuple[Array, Array]:
        """M_i^-1 and log|M_i| from Z_i'WZ_i (A, m, k, k)."""
        turned = np.swapaxes(lower, -1, -2)[:, None]
        return stacked_inverse(matmul(turned, matmul(gram, lower[:, None])) + np.eye(lower.shape[-1]))

    # -- rows ------------------------------------------------------------------------------------------------------

    def _family(
        self, chosen: _Chosen, eta: Array, *, derivatives: bool, information: Information = "observed"
    ) -> Rows:
        """The family at rows (n, A)."""
        return rows_side_by_side(
            self.family,
            chosen.y,
            eta,
            chosen.aux,
            self.weights,
            chosen.constant,
            derivatives=derivatives,
            information=information,
        )

    def _to_rows(self, u: Array, lower: Array) -> Array:
        """Z Lambda u, (n, A)."""
        b = matmul(u, np.swapaxes(lower, -1, -2))
        out = np.zeros((len(self.of), len(u)))
        for j in range(b.shape[-1]):
            out += self.basis[:, j, None] * np.ascontiguousarray(b[:, :, j].T)[self.of]
        return out

    def _sums(self, r: Array) -> Array:
        """Z'r, (A, m, k), of r (n, A)."""
        out = np.empty((r.shape[1], len(self.starts), self.basis.shape[1]))
        for j, column in enumerate(self.basis.T):
            out[:, :, j] = np.add.reduceat(column[:, None] * r, self.starts, axis=0).T
        return out

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
