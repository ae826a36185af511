r"""The marginal density of small problems for many draws at once, in numpy or any module that answers to its names.

The quantity of :mod:`lmmformula.criteria.marginal` is a Schur complement. Put the random effects, delta and -1 in one
vector; then sigma^2 times -2 log of the joint density is a quadratic form in it, and with the largest group e
eliminated (its Gram block A is block diagonal, N_l = L (L'A_l L + I)^-1 L' with L relative to sigma) there remains, for
the other groups D, delta and y_0::

    C = G - sum_l B_l'N_l B_l,                       G = [Z_D Q y_0]'W[Z_D Q y_0],  B = Z_e'W[Z_D Q y_0]
        ( Lambda_D'C_DD Lambda_D + I   Lambda_D'C_DQ             Lambda_D'C_Dy              )
    F = (         .                    C_QQ + sigma^2 J'DJ       C_Qy - sigma^2 J'D g       )
        (         .                          .                   C_yy + sigma^2 g'D g       )

    log|M| + log|A_ridge| = sum_l log|L'A_l L + I| + log|F without its last row|,     r2 + sigma^2 pen = last pivot of F

as in the bordered Cholesky factor of MixedModels.jl (Bates et al. 2015, sec. 5.4; J, D, g as there). One Cholesky
factorisation of side q_D + p + 1, no solves. Levels with equal A_l have equal N_l and are merged: sum_l B_l'N_l B_l is then
one product of the stacked N_l of the m' classes with a fixed matrix. A balanced design has one class. With a dense part that
is done where classes are few, since the fixed matrix is large and read once per draw.

Cost for a draw: O(m k^2 c + m k c^2 + c^3), or O(m' k^2 c^2 + c^3) with classes merged, c = q_D + p + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.criteria.marginal import Marginal
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import joined
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array, Index, Namespace, Numbers

__all__ = ["Bordered", "Kernels", "NumpyKernels", "Reduced", "arranged", "inverse_by_sweeps"]

_CHUNK = 400_000
"""Numbers in the largest temporary array of a batch: about what a core's cache holds."""
_CLASS = 16
"""Levels to a class from which merging pays with a dense part: a pass over a stored matrix against a product in cache."""


class Kernels(Protocol):
    """The two factorisations; a compiled density brings its own with their derivatives."""

    @property
    def inverse(self) -> Callable[[Numbers], tuple[Numbers, Numbers]]: ...
    @property
    def pivots(self) -> Callable[[Numbers], tuple[Numbers, Numbers]]: ...


class NumpyKernels:
    """Both in numpy."""

    @staticmethod
    def inverse(g: Array) -> tuple[Array, Array]:
        """G^-1 and log|G| of symmetric positive definite (..., k, k)."""
        return inverse_by_sweeps(g, np)

    @staticmethod
    def pivots(f: Array) -> tuple[Array, Array]:
        """Log determinant of F (..., c, c) without its last row and column, and F's last pivot."""
        try:
            diagonal = np.diagonal(np.linalg.cholesky(f), axis1=-2, axis2=-1)
        except np.linalg.LinAlgError:
            if f.ndim == 2:
                return np.array(np.nan), np.array(np.nan)
            parts = [NumpyKernels.pivots(own) for own in f]
            return np.array([a for a, _ in parts]), np.array([b for _, b in parts])
        return 2.0 * np.log(diagonal[..., :-1]).sum(axis=-1), diagonal[..., -1] ** 2


def inverse_by_sweeps(g: Numbers, xp: Namespace) -> tuple[Numbers, Numbers]:
    """G^-1 and log|G| of symmetric positive definite (..., k, k) by k sweeps over the stack (Beaton 1964)."""
    k = g.shape[-1]
    if k > 6:
        return xp.linalg.inv(g), xp.linalg.slogdet(g)[1]
    a = [[g[..., i, j] for j in range(k)] for i in range(k)]
    log_det = 0.0
    for s in range(k):
        pivot = a[s][s]
        log_det = log_det + xp.log(pivot)
        row = [a[s][j] / pivot for j in range(k)]
        for i in range(k):
            for j in range(i + 1):
                if s not in (i, j):
                    a[i][j] = a[j][i] = a[i][j] - a[i][s] * row[j]
        for j in range(k):
            a[s][j] = a[j][s] = row[j]
        a[s][s] = -1.0 / pivot
    stacked = xp.stack([xp.stack(row, -1) for row in a], -2)
    return -stacked, log_det


@dataclass(frozen=True, eq=False)
class Reduced:
    """F for one or many draws, and what was eliminated to get it.

    Attributes
    ----------
    relative : sequence of (..., k, k)
        Lambda of each group.
    inverse : (..., m, k, k)
        (L'A_l L + I)^-1 of the eliminated group.
    log_det : (...)
        Sum of log|L'A_l L + I|.
    bordered : (..., c, c)
    """

    relative: Sequence[Numbers]
    inverse: Numbers
    log_det: Numbers
    bordered: Numbers


@dataclass(frozen=True, eq=False)
class Bordered:
    """Cross-products of a problem in the order e, D, Q, y_0.

    Attributes
    ----------
    model : Marginal
    eliminated : int
        e, the group with most effects.
    dense : tuple of int
    offsets : tuple of int
        First column of each dense group.
    a : (m, k, k) array
    b : (m, k, c) array
    g : (c, c) array
    counts : (m', ) array or None
        Levels of each class, if they were merged; then `merged_a` (m', k, k) and `outer` (m' k^2, c^2) stand for `a` and `b`.
    """

    model: Marginal
    eliminated: int
    dense: tuple[int, ...]
    offsets: tuple[int, ...]
    a: Array
    b: Array
    g: Array
    counts: Array | None
    merged_a: Array
    outer: Array

    @classmethod
    def of(cls, model: Marginal) -> Bordered:
        """Arrange the Gram. Memory O(q_e c + c^2)."""
        blocks, gram = model.base.prepared.blocks, model.base.gram
        e = cls.largest(blocks)
        dense = tuple(a for a in range(len(blocks.groups)) if a != e)
        ends = np.cumsum([0, *(blocks.groups[a].q for a in dense)])
        b, g = arranged(blocks, gram, e, dense, ends)
        a = gram.diag[e]
        merged, counts, outer = a, None, np.zeros((0, 0))
        first, classes = _classes(a)
        if not dense or len(first) * _CLASS <= len(a):
            merged, counts = a[first], np.bincount(classes).astype(float)
            outer = _class_products(b, classes, len(first))
        return cls(model, e, dense, tuple(int(s) for s in ends[:-1]), a, b, g, counts, merged, outer)

    @staticmethod
    def largest(blocks: Levels) -> int:
        """The group to eliminate."""
        return max(range(len(blocks.groups)), key=lambda a: blocks.groups[a].q)

    @property
    def multiplications(self) -> int:
        """Of a draw, about: its density, and what was integrated out drawn back."""
        (m, k, c), classes = self.b.shape, len(self.merged_a)
        own = m * k * c * c if self.counts is None else classes * k * k * c * c
        return own + c**3 + 2 * m * k * (k + c)

    @property
    def q_dense(self) -> int:
        return self.g.shape[0] - 1 - len(self.model.log_var0)

    # -- any array module --------------------------------------------------------------------------------------------

    def reduce(
        self,
        factors: Sequence[Numbers],
        sigma: Numbers,
        log_var: Numbers,
        xp: Namespace = np,
        kernels: Kernels = NumpyKernels,
    ) -> Reduced:
        """F of the module's head, from absolute factors (..., k, k) of the terms, sigma (...) and log v (..., p)."""
        relative = [f / sigma[..., None, None] for f in joined(self.model.groups, factors, xp)]
        own = relative[self.eliminated][..., None, :, :]
        turned = xp.swapaxes(own, -1, -2)
        k = own.shape[-1]
        inverse, log_dets = kernels.inverse(turned @ self.merged_a @ own + np.eye(k))
        n_l = own @ inverse @ turned
        c = len(self.g)
        if self.counts is not None:
            log_det = (log_dets * self.counts).sum(-1)
            lost = (n_l.reshape(*n_l.shape[:-3], -1) @ self.outer).reshape(*n_l.shape[:-3], c, c)
        else:
            log_det = log_dets.sum(-1)
            nb = n_l[..., :, 0, None] * self.b[:, None, 0, :]
            for j in range(1, k):
                nb = nb + n_l[..., :, j, None] * self.b[:, None, j, :]
            lost = self.b.reshape(-1, c).T @ nb.reshape(*nb.shape[:-3], -1, c)
        bordered = self._bordered(self.g - lost, relative, sigma, log_var, xp)
        return Reduced(relative, inverse, log_det, bordered)

    def _bordered(
        self, c: Numbers, relative: Sequence[Numbers], sigma: Numbers, log_var: Numbers, xp: Namespace
    ) -> Numbers:
        """Scale the dense rows and columns by Lambda, add I and the prior of delta."""
        q, side = self.q_dense, len(self.g)
        if q:
            c = xp.swapaxes(self._scaled_rows(c, relative, xp), -1, -2)
            c = self._scaled_rows(c, relative, xp)
        j, shift = self.model.shape, self.model.shift
        border = np.column_stack([j, -shift])
        weights = xp.exp(-log_var) * (sigma**2)[..., None]
        prior = border.T @ (weights[..., :, None] * border) if len(shift) else xp.zeros((*sigma.shape, 1, 1))
        unit = np.zeros((side, side))
        unit[:q, :q] = np.eye(q)
        pad = [(0, 0)] * (prior.ndim - 2) + [(q, 0), (q, 0)]
        return c + unit + xp.pad(prior, pad)

    def _scaled_rows(self, c: Numbers, relative: Sequence[Numbers], xp: Namespace) -> Numbers:
        """Lambda_D' times the dense rows."""
        parts = []
        for a, start in zip(self.dense, self.offsets, strict=True):
            group = self.model.groups[a]
            rows = c[..., start : start + group.q, :]
            rows = rows.reshape(*rows.shape[:-2], group.m, group.k, rows.shape[-1])
            parts.append(_turned(relative[a], rows, xp).reshape(*c.shape[:-2], group.q, -1))
        return xp.concatenate([*parts, c[..., self.q_dense :, :]], axis=-2)

    def log_posterior(
        self, coordinates: Coordinates, x: Numbers, xp: Namespace = np, kernels: Kernels = NumpyKernels
    ) -> Numbers:
        """log p(y | x) + log p(x) for x (..., d)."""
        reduced, sigma, log_var = self.reduced(coordinates, x, xp, kernels)
        log_det, pivot = kernels.pivots(reduced.bordered)
        n, p = self.model.problem.n_observed, self.model.log_var0.shape[0]
        twice = 2.0 * (n - p) * xp.log(sigma) + reduced.log_det + log_det + log_var.sum(-1) + pivot / sigma**2
        return self.model.constant - 0.5 * twice + coordinates.log_prior(x, xp)

    def reduced(
        self, coordinates: Coordinates, x: Numbers, xp: Namespace = np, kernels: Kernels = NumpyKernels
    ) -> tuple[Reduced, Numbers, Numbers]:
        """F at x (..., d), sigma (...) and log v (..., p)."""
        values = coordinates.values(x, xp)
        sigma = values[coordinates.sigma]
        log_var = self.model.log_var0 + coordinates.log_mixing(values, xp)
        return self.reduce(coordinates.factors(values, xp), sigma, log_var, xp, kernels), sigma, log_var

    # -- numpy ---------------------------------------------------------------------------------------------------------

    def chunks(self, size: int) -> list[slice]:
        """Slices of a batch of `size` draws that keep temporaries in cache."""
        m, k = self.merged_a.shape[:2]
        largest = m * k * max(k, 1 if self.counts is not None else len(self.g))
        step = max(1, _CHUNK // max(largest, len(self.g) ** 2))
        return [slice(i, min(i + step, size)) for i in range(0, size, step)]

    def log_posteriors(self, coordinates: Coordinates, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it overflows."""
        with np.errstate(all="ignore"):
            parts = [self.log_posterior(coordinates, x[s]) for s in self.chunks(len(x))]
        out = np.concatenate(parts) if parts else np.zeros(0)
        return np.where(np.isfinite(out), out, -np.inf)


def _turned(lower: Numbers, rows: Numbers, xp: Namespace) -> Numbers:
    """L' times each of (..., m, k, c), L lower triangular (..., k, k); written out, since small products are all overhead."""
    k = lower.shape[-1]
    own = lower[..., None, :, :, None]
    out = [sum(own[..., j, i, :] * rows[..., j, :] for j in range(i, k)) for i in range(k)]
    return xp.stack(out, -2)


def _put(array: Numbers, where: Numbers, values: Numbers) -> Numbers:
    array[where] = values
    return array


def arranged(
    blocks: Levels,
    gram: Gram,
    e: int,
    dense: Sequence[int],
    starts: Sequence[int] | Array,
    xp: Namespace = np,
    put: Callable[[Numbers, Numbers, Numbers], Numbers] = _put,
) -> tuple[Numbers, Numbers]:
    """B and G of the module's head; `put(array, where, values)` is the array with values put in."""
    own, width, q = blocks.groups[e], gram.vv.shape[0], sum(blocks.groups[a].q for a in dense)
    b = put(xp.zeros((own.m, own.k, q + width)), np.s_[:, :, q:], gram.rhs[e])
    g = put(xp.zeros((q + width, q + width)), np.s_[q:, q:], gram.vv)
    columns = {
        a: int(first)
        + (np.arange(blocks.groups[a].m) * blocks.groups[a].k)[:, None]
        + np.arange(blocks.groups[a].k)
        for a, first in zip(dense, starts, strict=False)
    }
    for x, a in enumerate(dense):
        at, group = columns[a], blocks.groups[a]
        rows, cols, values = _pairs(blocks, gram, e, a)
        b = put(b, (rows[:, None, None], np.arange(own.k)[:, None], at[cols][:, None, :]), values)
        g = put(g, (at[:, :, None], at[:, None, :]), gram.diag[a])
        side, here = gram.rhs[a].reshape(group.q, width), slice(at[0, 0], at[0, 0] + group.q)
        g = put(put(g, np.s_[here, q:], side), np.s_[q:, here], side.T)
        for other in dense[x + 1 :]:
            rows, cols, values = _pairs(blocks, gram, a, other)
            i, j = at[rows][:, :, None], columns[other][cols][:, None, :]
            g = put(put(g, (i, j), values), (j, i), values)
    return b, g


def _pairs(blocks: Levels, gram: Gram, a: int, b: int) -> tuple[Index, Index, Numbers]:
    """Level of a, level of b and the block Z_a'WZ_b of each pair that meets, whichever way it is stored."""
    low, high = min(a, b), max(a, b)
    pattern = blocks.pattern(low, high)
    rows, cols, values = pattern.rows(), pattern.indices.astype(np.int64), gram.cross[low, high]
    return (rows, cols, values) if a < b else (cols, rows, values.swapaxes(1, 2))


def _classes(a: Array) -> tuple[Index, Index]:
    """A level of each class of equal A_l, and the class of each level."""
    flat = a.reshape(len(a), -1)
    scale = np.abs(flat).max(axis=0) + 1e-300
    _, first, inverse = np.unique(np.round(flat / scale, 12), axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def _class_products(b: Array, classes: Index, count: int) -> Array:
    """Sums of B_l (x) B_l over each class, (m' k^2, c^2)."""
    _, k, c = b.shape
    rows = b.reshape(len(b), k * c)
    order = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes, minlength=count))
    out = np.empty((count, k, k, c, c))
    for own, members in zip(out, np.split(order, ends[:-1]), strict=True):
        product = rows[members].T @ rows[members]
        own[...] = product.reshape(k, c, k, c).swapaxes(1, 2)
    return out.reshape(count * k * k, c * c)
