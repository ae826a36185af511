r"""M = Lambda'Z'WZ Lambda + I of many draws at once, each with its own L and W, by elimination.

The group with the most effects is eliminated: with its blocks A (m, k, k), the part D of the other groups, dense, and C between
them, ``S = D - C'A^-1 C = R R'`` gives

    v_D = R^-T R^-1 (b_D - C'A^-1 b_A),   v_A = A^-1 (b_A - C v_D);      noise: R^-T z_D and A^(-1/2) z_A - A^-1 C v_D

    log|M| = log|A| + log|S|,      M^-1:  S^-1,   -A^-1 C S^-1,   A^-1 + A^-1 C S^-1 C'A^-1

All entries of Z'WZ are sums over rows with weights W, so that those of many draws are one sparse product, whose transpose takes
entries of a matrix B of effects to z_r'B z_r of each row. With one grouping factor there is no D.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.batched.stacked import StackedEffects
from lmmformula.ir.groups import Group, GroupRows
from lmmformula.numerics.batched import matmul, stacked_inverse
from lmmformula.typing import Array, Index, SparseMatrix

__all__ = ["Design", "Direct", "DirectDesign", "Entries", "Equations", "Found", "direct_design"]

FILLED = 4.0
"""Numbers of C for each row up to which it is kept dense."""
SIDE = 100
"""Side of S up to which it is factorised for each draw."""

Found = tuple[Array, NDArray[np.bool_]]
"""(q, S), and of which draws it was found."""
Entries = tuple[Array, Array, Array]
"""Of Z'WZ or of a matrix of effects: of A (S, m k k), C (S, m k side) and D (S, side side)."""


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
        return self.stacked.pulled(self.sums(r), lowers)

    def sums(self, r: Array) -> Array:
        """Z'r, (q, S)."""
        return np.concatenate([z.T @ r for z in self._z])


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
    def group(self) -> Group:
        """The eliminated one."""
        return self.design.groups[self.eliminated]

    @property
    def side(self) -> int:
        """Effects of the dense groups."""
        return sum(self.design.groups[a].q for a in self.others)

    @cached_property
    def parts(self) -> list[tuple[int, slice]]:
        """The dense groups with the places of their effects in D."""
        ends = np.cumsum([0, *(self.design.groups[a].q for a in self.others)])
        return [(a, slice(int(i), int(j))) for a, i, j in zip(self.others, ends, ends[1:], strict=False)]

    @property
    def size(self) -> int:
        """Entries of A, C and D."""
        group = self.group
        return group.q * (group.k + self.side) + self.side**2

    @cached_property
    def patterns(self) -> tuple[SparseMatrix, SparseMatrix, SparseMatrix]:
        """(m k k, n), (m k side, n), (side side, n)."""
        group, (at, z) = self.group, self._columns(self.eliminated, 0)
        parts = [self._columns(a, place.start) for a, place in self.parts]
        n, start = len(at), self.side
        where = np.concatenate([np.zeros((n, 0), dtype=np.intp), *(p for p, _ in parts)], axis=1)
        values = np.concatenate([np.zeros((n, 0)), *(v for _, v in parts)], axis=1)
        within, k = at % group.k, group.k
        return (
            _pattern(at[:, :, None] * k + within[:, None, :], z, z, group.q * k),
            _pattern(at[:, :, None] * start + where[:, None, :], z, values, group.q * start),
            _pattern(where[:, :, None] * start + where[:, None, :], values, values, start * start),
        )

    def entries(self, weight: Array) -> Entries:
        """Of Z'WZ, of weights (n, S)."""
        a, c, d = (np.ascontiguousarray((pattern @ weight).T) for pattern in self.patterns)
        return a, c, d

    def quadratic(self, entries: Entries) -> Array:
        """z_r'B z_r of each row, (n, S), of entries of symmetric B."""
        a, c, d = (pattern.T @ own.T for pattern, own in zip(self.patterns, entries, strict=True))
        return cast("Array", a + 2.0 * c + d)

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
    """By elimination, see the module's head.

    Parameters
    ----------
    own : DirectDesign
    lowers : sequence of (S, k, k) arrays
        L of each group.
    entries : tuple of arrays
        Of Z'WZ, :meth:`DirectDesign.entries`.
    """

    def __init__(self, own: DirectDesign, lowers: Sequence[Array], entries: Entries) -> None:
        group, side = own.group, own.side
        a, c, d = entries
        size = len(a)
        self._own, self._group, self._lowers = own, group, lowers
        lower = lowers[own.eliminated][:, None]
        turned = np.swapaxes(lower, -1, -2)
        a = matmul(matmul(turned, a.reshape(size, group.m, group.k, group.k)), lower) + np.eye(group.k)
        self._inverse, log_det = stacked_inverse(a)
        self.log_det = log_det.sum(axis=1)
        self._fine = np.asarray(np.isfinite(log_det).all(axis=1))
        if not side:
            return
        c = matmul(turned, c.reshape(size, group.m, group.k, side)).reshape(size, group.q, side)
        c, d = self._right(c), self._right(d.reshape(size, side, side))
        d = np.swapaxes(self._right(np.swapaxes(d, 1, 2)), 1, 2)
        self._side = c
        self._solved = matmul(self._inverse, c.reshape(size, group.m, group.k, side)).reshape(c.shape)
        schur = d + np.eye(side) - np.swapaxes(c, -1, -2) @ self._solved
        root, definite = _roots(schur)
        self._fine &= definite
        self.log_det = self.log_det + 2.0 * np.log(np.einsum("sii->si", root)).sum(axis=1)
        self._root_inverse = np.linalg.inv(root)

    def solve(self, b: Array) -> Found:
        parts = self._split(b)
        v = matmul(self._inverse, parts[0][..., None])[..., 0]
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
        own = matmul(half, rng.standard_normal((size, m, k, 1)))[..., 0]
        fine = self._fine & (fine if k == 1 else np.asarray(fine).reshape(size, -1).all(axis=1))
        if not self._own.side:
            return self._joined(own, None), fine
        z = rng.standard_normal((size, self._own.side, 1))
        dense = (np.swapaxes(self._root_inverse, -1, -2) @ z)[..., 0]
        own = own.reshape(size, -1) - (self._solved @ dense[..., None])[..., 0]
        return self._joined(own.reshape(size, m, k), dense), fine

    @cached_property
    def inverse(self) -> Entries:
        """Entries of M^-1."""
        size, group, side = len(self._inverse), self._group, self._own.side
        if not side:
            return self._inverse.reshape(size, -1), np.zeros((size, 0)), np.zeros((size, 0))
        dense = np.swapaxes(self._root_inverse, -1, -2) @ self._root_inverse
        across = self._solved @ dense
        shaped = (size, group.m, group.k, side)
        own = self._inverse + matmul(
            across.reshape(shaped), np.swapaxes(self._solved.reshape(shaped), -1, -2)
        )
        return own.reshape(size, -1), -across.reshape(size, -1), dense.reshape(size, -1)

    def covariance(self) -> Entries:
        """Entries of Lambda M^-1 Lambda'."""
        size, group, side = len(self._inverse), self._group, self._own.side
        own, across, dense = self.inverse
        lower = self._lowers[self._own.eliminated][:, None]
        turned = np.swapaxes(lower, -1, -2)
        own = matmul(matmul(lower, own.reshape(size, group.m, group.k, group.k)), turned)
        if not side:
            return own.reshape(size, -1), across, dense
        across = matmul(lower, across.reshape(size, group.m, group.k, side)).reshape(size, group.q, side)
        dense = self._right(dense.reshape(size, side, side), turned=True)
        dense = self._right(np.swapaxes(dense, 1, 2), turned=True)
        across = self._right(across, turned=True)
        return own.reshape(size, -1), across.reshape(size, -1), dense.reshape(size, -1)

    def blocks(self) -> list[Array]:
        """Blocks of M^-1 of the levels of each group, (S, m, k, k)."""
        size, group, side = len(self._inverse), self._group, self._own.side
        own, _, dense = self.inverse
        out = [own.reshape(size, group.m, group.k, group.k)] * len(self._own.design.groups)
        full = dense.reshape(size, side, side)
        for a, place in self._own.parts:
            other, every = self._own.design.groups[a], np.arange(self._own.design.groups[a].m)
            part = full[:, place, place].reshape(size, other.m, other.k, other.m, other.k)
            out[a] = np.moveaxis(part[:, every, :, every], 0, 1)
        return out

    def _right(self, rows: Array, *, turned: bool = False) -> Array:
        """Rows (S, c, side) times Lambda of the dense groups, or its transpose."""
        parts = []
        for a, place in self._own.parts:
            other, lower = self._own.design.groups[a], self._lowers[a][:, None]
            own = rows[..., place]
            blocks = own.reshape(len(rows), -1, other.m, other.k)
            lower = np.swapaxes(lower, -1, -2) if turned else lower
            parts.append(matmul(blocks, lower).reshape(own.shape))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def _split(self, b: Array) -> tuple[Array, Array]:
        """(S, m, k) of the eliminated group, (S, side) of the others."""
        parts = [own.transpose(2, 0, 1) for own in self._own.design.stacked.split(b)]
        rest = [parts[a].reshape(b.shape[1], -1) for a in self._own.others]
        return parts[self._own.eliminated], np.concatenate([np.zeros((b.shape[1], 0)), *rest], axis=1)

    def _joined(self, own: Array, dense: Array | None) -> Array:
        """(q, S)."""
        parts: list[Array] = [own.reshape(len(own), -1)] * len(self._own.design.groups)
        for a, place in self._own.parts:
            assert dense is not None
            parts[a] = dense[:, place]
        return np.concatenate(parts, axis=1).T


def _roots(s: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Lower Cholesky factors of a stack (..., c, c), and of which there is one."""
    try:
        return np.linalg.cholesky(s), np.ones(s.shape[:-2], dtype=bool)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(np.where(np.isfinite(s), s, 0.0))
        good = np.asarray(np.isfinite(s).all(axis=(-1, -2)) & (values[..., 0] > 0.0))
        return np.linalg.cholesky(np.where(good[..., None, None], s, np.eye(s.shape[-1]))), good
