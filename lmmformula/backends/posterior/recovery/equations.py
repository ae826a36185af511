r"""M = Lambda'Z'WZ Lambda + I of many draws at once, each with its own L and W: solutions, and noise N(0, M^-1).

**Direct.** The group with the most effects is eliminated: with its blocks A (m, k, k), the part D of the other groups, dense,
and C between them, ``S = D - C'A^-1 C = R R'`` gives

    v_D = R^-T R^-1 (b_D - C'A^-1 b_A),   v_A = A^-1 (b_A - C v_D);      noise: R^-T z_D and A^(-1/2) z_A - A^-1 C v_D

All entries of Z'WZ are sums over rows with weights W, so that those of many draws are one sparse product. With one grouping
factor there is no D.

**Iterated.** Where S is large, by conjugate gradients with one M as preconditioner for all; noise is ``M^-1
(Lambda'Z'W^(1/2) e_1 + e_2)`` with standard normal e (Papandreou & Yuille 2010).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.posterior.recovery.stacked import NOISE, SOLVES, StackedEffects
from lmmformula.engines.base import Factor
from lmmformula.ir.groups import Group, GroupRows
from lmmformula.numerics.batched import stacked_inverse
from lmmformula.numerics.preconditioned import preconditioned
from lmmformula.typing import Array, Index, SparseMatrix

__all__ = ["Design", "Direct", "DirectDesign", "Equations", "Iterated", "direct_design"]

FILLED = 4.0
"""Numbers of C for each row up to which it is kept dense."""
SIDE = 100
"""Side of S up to which it is factorised for each draw."""

Found = tuple[Array, NDArray[np.bool_]]
"""(q, S), and of which draws it was found."""


class Equations(ABC):
    """Those of S draws."""

    @abstractmethod
    def solve(self, b: Array) -> Found:
        """M^-1 b of each draw, b (q, S)."""

    @abstractmethod
    def noise(self, rng: np.random.Generator) -> Found:
        """One draw of N(0, M^-1) for each."""


@dataclass(frozen=True, eq=False)
class Design:
    """Z of rows that have one level of each group."""

    own: Sequence[GroupRows]

    @property
    def groups(self) -> Sequence[Group]:
        return [rows.group for rows in self.own]

    @cached_property
    def stacked(self) -> StackedEffects:
        """How effects of all groups are laid out."""
        return StackedEffects(self.groups)

    @cached_property
    def _z(self) -> tuple[SparseMatrix, ...]:
        return tuple(rows.design() for rows in self.own)

    def effects(self, u: Array, lowers: Sequence[Array]) -> Array:
        """Z Lambda u, (n, S)."""
        parts = zip(self._z, self.stacked.split(self.stacked.scaled(u, lowers)), strict=True)
        first, *more = (z @ b.reshape(z.shape[1], -1) for z, b in parts)
        for part in more:
            first += part
        return cast("Array", first)

    def to_effects(self, r: Array, lowers: Sequence[Array]) -> Array:
        """Lambda'Z'r, (q, S)."""
        return self.stacked.pulled(np.concatenate([z.T @ r for z in self._z]), lowers)


# -- direct ------------------------------------------------------------------------------------------------------------


def direct_design(design: Design) -> DirectDesign | None:
    """Which entries of Z'WZ there are, where few enough are dense."""
    groups, n = design.groups, len(design.own[0].codes)
    largest = max(range(len(groups)), key=lambda a: groups[a].q)
    side = sum(g.q for g in groups) - groups[largest].q
    if side > SIDE or groups[largest].q * side > FILLED * n:
        return None
    return DirectDesign(design, largest)


@dataclass(frozen=True, eq=False)
class DirectDesign:
    """Sparse matrices from weights (n,) to entries of A, C and D."""

    design: Design
    eliminated: int

    @cached_property
    def others(self) -> list[int]:
        """The dense groups."""
        return [a for a in range(len(self.design.groups)) if a != self.eliminated]

    @property
    def side(self) -> int:
        """Effects of the dense groups."""
        return sum(self.design.groups[a].q for a in self.others)

    @cached_property
    def entries(self) -> tuple[SparseMatrix, SparseMatrix, SparseMatrix]:
        """(m k k, n), (m k side, n), (side side, n)."""
        group, (at, z) = self.design.groups[self.eliminated], self._columns(self.eliminated, 0)
        start, parts = 0, []
        for a in self.others:
            parts.append(self._columns(a, start))
            start += self.design.groups[a].q
        n = len(at)
        where = np.concatenate([np.zeros((n, 0), dtype=np.intp), *(p for p, _ in parts)], axis=1)
        values = np.concatenate([np.zeros((n, 0)), *(v for _, v in parts)], axis=1)
        within, k = at % group.k, group.k
        return (
            _pattern(at[:, :, None] * k + within[:, None, :], z, z, group.q * k),
            _pattern(at[:, :, None] * start + where[:, None, :], z, values, group.q * start),
            _pattern(where[:, :, None] * start + where[:, None, :], values, values, start * start),
        )

    def _columns(self, a: int, start: int) -> tuple[Index, Array]:
        """Columns of Z_a that are not zero in each row, from `start` on, and their values, (n, k)."""
        rows, k = self.design.own[a], self.design.groups[a].k
        values = np.ones((len(rows.codes), 1)) if rows.basis is None else rows.basis
        return start + rows.codes.astype(np.intp)[:, None] * k + np.arange(k), values


def _pattern(cells: Index, one: Array, other: Array, size: int) -> SparseMatrix:
    """Sums of w times products of two columns of each row, by cell, (size, n)."""
    from scipy.sparse import csr_array

    n, each = len(cells), int(np.prod(cells.shape[1:]))
    values = (one[:, :, None] * other[:, None, :]).ravel()
    return csr_array((values, cells.ravel(), each * np.arange(n + 1)), shape=(n, size)).T


class Direct(Equations):
    """By elimination, see the module's head."""

    def __init__(self, own: DirectDesign, lowers: Sequence[Array], weight: Array) -> None:
        group, size, side = own.design.groups[own.eliminated], weight.shape[1], own.side
        self._own, self._group = own, group
        lower = lowers[own.eliminated][:, None]
        turned = np.swapaxes(lower, -1, -2)
        a, c, d = (np.ascontiguousarray((pattern @ weight).T) for pattern in own.entries)
        a = turned @ a.reshape(size, group.m, group.k, group.k) @ lower + np.eye(group.k)
        self._inverse, log_det = stacked_inverse(a)
        self._fine = np.asarray(np.isfinite(log_det).all(axis=1))
        if not side:
            return
        c = turned @ c.reshape(size, group.m, group.k, side)
        d, start = d.reshape(size, side, side), 0
        for i in own.others:
            other, low = own.design.groups[i], lowers[i][:, None]
            part = slice(start, start + other.q)
            c[..., part] = _right(c[..., part].reshape(size, -1, other.m, other.k), low, c[..., part].shape)
            d[..., part] = _right(d[..., part].reshape(size, -1, other.m, other.k), low, d[..., part].shape)
            left = np.swapaxes(d[:, part], -1, -2)
            d[:, part] = np.swapaxes(
                _right(left.reshape(size, -1, other.m, other.k), low, left.shape), -1, -2
            )
            start += other.q
        self._side = c.reshape(size, group.q, side)
        self._solved = (self._inverse @ c).reshape(size, group.q, side)
        schur = d + np.eye(side) - np.swapaxes(self._side, -1, -2) @ self._solved
        root, definite = _roots(schur)
        self._fine &= definite
        self._root_inverse = np.linalg.inv(root)

    def solve(self, b: Array) -> Found:
        parts = self._split(b)
        v = (self._inverse @ parts[0][..., None])[..., 0]
        if not self._own.side:
            return self._joined(v, None), self._fine
        flat, turned = v.reshape(len(v), -1), np.swapaxes(self._side, -1, -2)
        rest = parts[1] - (turned @ flat[..., None])[..., 0]
        dense = (np.swapaxes(self._root_inverse, -1, -2) @ (self._root_inverse @ rest[..., None]))[..., 0]
        return self._joined(
            (flat - (self._solved @ dense[..., None])[..., 0]).reshape(v.shape), dense
        ), self._fine

    def noise(self, rng: np.random.Generator) -> Found:
        m, k, size = self._group.m, self._group.k, len(self._inverse)
        half, fine = (np.sqrt(self._inverse), True) if k == 1 else _roots(self._inverse)
        own = (half @ rng.standard_normal((size, m, k, 1)))[..., 0]
        fine = self._fine & (fine if k == 1 else np.asarray(fine).reshape(size, -1).all(axis=1))
        if not self._own.side:
            return self._joined(own, None), fine
        z = rng.standard_normal((size, self._own.side, 1))
        dense = (np.swapaxes(self._root_inverse, -1, -2) @ z)[..., 0]
        own = own.reshape(size, -1) - (self._solved @ dense[..., None])[..., 0]
        return self._joined(own.reshape(size, m, k), dense), fine

    def _split(self, b: Array) -> tuple[Array, Array]:
        """(S, m, k) of the eliminated group, (S, side) of the others."""
        parts = [own.transpose(2, 0, 1) for own in self._own.design.stacked.split(b)]
        rest = [parts[a].reshape(b.shape[1], -1) for a in self._own.others]
        return parts[self._own.eliminated], np.concatenate([np.zeros((b.shape[1], 0)), *rest], axis=1)

    def _joined(self, own: Array, dense: Array | None) -> Array:
        """(q, S)."""
        parts: list[Array] = [own.reshape(len(own), -1)] * len(self._own.design.groups)
        start = 0
        for a in self._own.others:
            assert dense is not None
            q = self._own.design.groups[a].q
            parts[a] = dense[:, start : start + q]
            start += q
        return np.concatenate(parts, axis=1).T


def _right(blocks: Array, lower: Array, shape: tuple[int, ...]) -> Array:
    """Columns of a dense group, level by level, times L."""
    return (blocks @ lower).reshape(shape)


def _roots(s: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Lower Cholesky factors of a stack (..., c, c), and of which there is one."""
    try:
        return np.linalg.cholesky(s), np.ones(s.shape[:-2], dtype=bool)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(np.where(np.isfinite(s), s, 0.0))
        good = np.asarray(np.isfinite(s).all(axis=(-1, -2)) & (values[..., 0] > 0.0))
        return np.linalg.cholesky(np.where(good[..., None, None], s, np.eye(s.shape[-1]))), good


# -- iterated ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Iterated(Equations):
    """By conjugate gradients.

    Attributes
    ----------
    design : Design
    factor : Factor
        Of the preconditioner.
    lowers : sequence of (S, k, k) arrays
    weight : (n, S) array
    """

    design: Design
    factor: Factor
    lowers: Sequence[Array]
    weight: Array

    def solve(self, b: Array) -> Found:
        own = self.design

        def product(v: Array) -> Array:
            return v + own.to_effects(self.weight * own.effects(v, self.lowers), self.lowers)

        found = preconditioned(product, lambda r: own.stacked.solved(self.factor, r), b, NOISE, SOLVES)
        return found.x, found.converged

    def noise(self, rng: np.random.Generator) -> Found:
        with np.errstate(invalid="ignore"):
            rough = np.sqrt(self.weight) * rng.standard_normal(self.weight.shape)
        rough = self.design.to_effects(rough, self.lowers)
        return self.solve(rough + rng.standard_normal(rough.shape))
