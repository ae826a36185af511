r"""Exact sums over the nonzeros of K, and K and N K where those of N and H stand.

tr K^2 and what traces of M^-1 take of the head of the series (:mod:`lmmformula.engines.krylov.stochastic`) are sums over pairs
of columns of N. K is symmetric with zero blocks within levels, so half of it is enough: with columns of N one wide,
f_s = 1 / F_s, c_j = 1 / C_j and ``G = N' diag(f^2) N``::

    tr K^2 = 2 sum_{i<j} K_ij^2,      sum_j c_j^2 (K^2)_jj = sum_{i<j} K_ij^2 (c_i^2 + c_j^2)
    sum_s f_s^2 (N K N')_ss = 2 sum_{i<j} K_ij G_ij                                                              (1)

need no array as large as N. Blocks of M^-1 on the pattern of the rows take K^2 within levels, N K on the pattern of N and K on
that of H, which is more work, and is done when they are asked for. Two sparse factors do with less for both:
:mod:`lmmformula.engines.krylov.cycles`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.krylov.cycles import sums_by_cycles
from lmmformula.numerics.cuts import even_cuts
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.engines.krylov.schur import SchurComplement

__all__ = ["COMPILED_PAIRS", "MAX_PAIRS", "Heads", "Moments", "OnPatterns"]

MAX_PAIRS = 3e9
"""Multiplications up to which K is formed row by row."""
PARTS = 16
"""Parts of the columns, each of which has a row of K of its own."""
COMPILED_PAIRS = 1e6
"""Multiplications from which on K is formed in a compiled loop."""


@dataclass(frozen=True, slots=True, eq=False)
class OnPatterns:
    """K where nonzeros stand.

    Attributes
    ----------
    own : (q_D, k) array
        Column i: product of a row of K with row i of its level, for i up to its own place.
    nk : (nnz of N,) array
        N K on the pattern of N.
    kh : (nnz of H,) array
        K on the pattern of H.
    """

    own: Array
    nk: Array
    kh: Array


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What traces take of K, of groups of one column each.

    Attributes
    ----------
    chain : float
        ``sum_s F_s^-2 (N N' + N K N')_ss``.
    dense : (groups,) array
        ``sum_j C_j^-2 (K^2)_jj`` of each group that is iterated on.
    """

    chain: float
    dense: Array


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the nonzeros of K.

    Attributes
    ----------
    exact : bool
        Whether tr K^2 is known.
    trace_square : float
        tr K^2; zero if it is not.
    heads : Heads or None
        Where all groups have one column.
    make : callable or None
        Makes what stands on the patterns; None where K is not formed.
    """

    exact: bool
    trace_square: float
    heads: Heads | None = None
    make: Callable[[], OnPatterns] | None = None

    @cached_property
    def on_patterns(self) -> OnPatterns:
        """K where nonzeros stand, empty if K is not formed."""
        none = np.zeros(0)
        return OnPatterns(none, none, none) if self.make is None else self.make()

    @classmethod
    def of(cls, s: SchurComplement, wanted: bool = True, on_patterns: bool = False) -> Moments:
        """Form K row by row and keep the sums, if they are wanted and not too dear. O(pairs).

        `on_patterns` says that K where nonzeros stand will be asked for, which gives the sums, too.
        """
        p = s.pattern
        if not s.q or not wanted or p.pairs * p.k > MAX_PAIRS:
            return cls(not s.q, 0.0)
        if s.compiled and p.cycles is not None:
            return cls._by_cycles(s, p.cycles, on_patterns)
        if not on_patterns and s.compiled and p.k == 1 and all(g.k == 1 for g in p.dense_groups):
            square, heads = _sums(s)
            return cls(True, square, heads, lambda: _on_patterns(s))
        found = _on_patterns(s)
        square = float(found.own[np.arange(s.q), p.place].sum())
        return cls(True, square, None, lambda: found)

    @classmethod
    def _by_cycles(cls, s: SchurComplement, cycles: Index, on_patterns: bool) -> Moments:
        """The same of two sparse factors, from the cycles of their levels."""
        given = s.pattern.by_row, s.n, s.inv, s.q, cycles

        def patterns() -> OnPatterns:
            return OnPatterns(own[:, None], sums_by_cycles(*given)[0], np.zeros_like(s.h))

        nk, own, chain = sums_by_cycles(*given)
        weight = s.c_inverses[0].ravel() ** 2
        known = OnPatterns(own[:, None], nk, np.zeros_like(s.h)) if on_patterns else None
        heads = Heads(chain, np.array([float(weight @ own)]))
        return cls(True, float(own.sum()), heads, patterns if known is None else lambda: known)


def _sums(s: SchurComplement) -> tuple[float, Heads]:
    """tr K^2 and the heads of traces by (1)."""
    from lmmformula.numerics.krylov_kernels import summed_moments

    p, n, turned, h = s.pattern, s.pattern.by_row, s.pattern.by_column, s.pattern.h
    owner = np.repeat(np.arange(len(p.dense_groups), dtype=np.int32), [g.q for g in p.dense_groups])
    scale, weight = s.inv.ravel() ** 2, np.concatenate([c.ravel() for c in s.c_inverses]) ** 2
    columns = (turned.ptr, turned.cols, s.n_turned, turned.source)
    values = (n.ptr, n.cols, s.n, *columns, h.ptr, h.cols, s.h, scale, weight, owner)

    def part(i: int, j: int) -> Array:
        out = np.zeros(2 + len(p.dense_groups))
        summed_moments(i, j, *values, out)
        return out

    square, chain, *dense = np.sum(in_parts(part, even_cuts(turned.ptr, PARTS)), axis=0).tolist()
    return 2.0 * square, Heads(chain, np.array(dense))


def _on_patterns(s: SchurComplement) -> OnPatterns:
    p = s.pattern
    own = np.zeros((s.q, max(g.k for g in p.dense_groups)))
    nk, kh = np.zeros_like(s.n), np.zeros_like(s.h)
    if s.compiled or p.pairs > COMPILED_PAIRS:
        from lmmformula.numerics.krylov_kernels import second_moments

        n, turned, h = p.by_row, p.by_column, p.h
        columns = (turned.ptr, turned.cols, s.n_turned, turned.source)
        values = (n.ptr, n.cols, s.n, *columns, h.ptr, h.cols, s.h, p.place, own, nk, kh)
        in_parts(lambda i, j: second_moments(i, j, *values), _between_levels(turned.cuts, p.place))
    else:
        _by_matrices(s, own, nk, kh)
    return OnPatterns(own, nk, kh)


def _between_levels(cuts: list[int], place: NDArray[np.int64]) -> list[int]:
    """The cuts moved back to where a level begins."""
    inner = {int(i - place[i]) for i in cuts[:-1]}
    return [*sorted(inner), cuts[-1]]


def _by_matrices(s: SchurComplement, own: Array, nk: Array, kh: Array) -> None:
    """The sums by scipy's sparse products, for problems that do not repay compiled loops."""
    from scipy.sparse import csr_array, eye_array

    p = s.pattern
    n, h = p.by_row.matrix(s.n, s.q), p.h.matrix(s.h, s.q)
    k = csr_array(eye_array(s.q) - h + n.T @ n)
    rows = np.arange(s.q)
    for i in range(own.shape[1]):
        reach = np.flatnonzero(p.place >= i)
        own[reach, i] = k[reach].multiply(k[reach - p.place[reach] + i]).sum(axis=1)
    nk[:] = csr_array(n @ k)[np.repeat(np.arange(p.rows), np.diff(p.by_row.ptr)), p.by_row.cols]
    kh[:] = k[np.repeat(rows, np.diff(p.h.ptr)), p.h.cols]
