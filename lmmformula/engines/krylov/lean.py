r"""The Schur complement of :mod:`lmmformula.engines.krylov.schur` for two groups of one column each that meet in many pairs.

There N = F^-1 M_AD C^-T is held twice, by rows and by columns, with the place of every entry: tens of bytes a pair. Here the
Gram's own pairs R, by levels of A, are all there is, and N = diag(left) R diag(right) is never formed::

    left_s = lambda_A / F_s,      right_j = lambda_D / C_j,      C_j^2 = (M_DD)_jj - lambda_D^2 sum_s (left_s R_sj)^2
    (I - K) x = h x - right R' left^2 R (right x),               h_j = (M_DD)_jj / C_j^2                                   (1)

so that a product reads each pair once: level by level of A, what its pairs gather from x they give back. Parts of the levels
have sums of their own, which are added in their order; their number depends on the problem alone.

Moments of K would cost as many products as two levels of D have levels of A in common, and are not formed: where levels of D
have many rows each, K is small. Whatever else is asked for, such as blocks on the pattern of the pairs, the ordinary complement
gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Across, Paired, Stacked
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.krylov.moments import Moments
from lmmformula.engines.krylov.schur_pattern import SchurPattern, indefinite
from lmmformula.engines.krylov.stochastic import (
    Probed,
    Products,
    StochasticInverse,
    split_products,
    summed_products,
    with_errors,
)
from lmmformula.engines.krylov.within import largest_blockwise
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.numerics.aligned import aligned
from lmmformula.numerics.cuts import even_cuts, summing_parts
from lmmformula.numerics.lines import WIDTH
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lmmformula.engines.krylov.schur import SchurComplement

__all__ = ["LeanComplement", "LeanPattern", "is_lean"]

T = TypeVar("T")

Adds: TypeAlias = Callable[..., None]
"""A kernel of :mod:`lmmformula.numerics.lean_kernels` that adds to sums."""

PAIRS = 3_000_000
"""Pairs of levels from which on tens of bytes for each are too many."""
MET = 64
"""Pairs that a level of D has at least, on average: below, sums for each part of the levels of A cost too much."""
SUMS = 64_000_000
"""Cells of all the partial sums of one product together."""


def is_lean(blocks: Levels) -> bool:
    """Whether the pairs of these levels are better read once than held twice."""
    groups = blocks.groups
    if (
        len(groups) != 2
        or any(g.k > 1 or not g.is_blockwise for g in groups)
        or largest_blockwise(blocks) != 0
    ):
        return False
    return blocks.n >= PAIRS and blocks.pattern(0, 1).nnz >= max(PAIRS, MET * groups[1].m)


class LeanPattern:
    """Pairs by levels of A, as the Gram has them.

    Attributes
    ----------
    plan : Elimination
        A chain of one group, the other dense.
    """

    kind = "schur"
    goes_to_devices = False

    def __init__(self, blocks: Levels) -> None:
        self.blocks = blocks
        self.plan = Elimination(blocks, (0,))
        self.ptr, self.cols = blocks.pattern(0, 1).indptr, blocks.pattern(0, 1).indices

    @property
    def q(self) -> int:
        return self.plan.q_dense

    @property
    def dense_groups(self) -> Sequence[Group]:
        return [self.blocks.groups[1]]

    @property
    def parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each effect of D lies in, (q_D,)."""
        return self._parts

    @cached_property
    def _parts(self) -> NDArray[np.int32]:
        from lmmformula.numerics.lean_kernels import united

        out = np.empty(self.q, dtype=np.int32)
        united(self.ptr, self.cols, out)
        return out

    @cached_property
    def ordinary(self) -> SchurPattern:
        """What holds N twice."""
        return SchurPattern(self.blocks)

    def over(self, part: Callable[[int, int], T], width: int) -> list[T]:
        """Results of parts of the levels of A, whose sums are so many cells wide; cut by the problem alone."""
        return in_parts(part, even_cuts(self.ptr, summing_parts(width, SUMS)))

    def complement(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> LeanComplement:
        """(1) for Gram blocks `gram` and relative Cholesky factors L_a of one element.

        Raises
        ------
        FitError
            If a block of S is not positive definite in floating point.
        """
        from lmmformula.numerics.lean_kernels import add_squares

        scale_a, scale_d = (float(f[0, 0]) for f in factors)
        raw = gram.cross[0, 1].reshape(-1)
        inv = 1.0 / np.sqrt(1.0 + scale_a**2 * gram.diag[0].ravel())
        left, block = scale_a * inv, 1.0 + scale_d**2 * gram.diag[1].ravel()
        squares = self.summed(add_squares, (raw, left), (self.q,))
        own = block - scale_d**2 * squares
        if not (own > 0.0).all():
            raise FitError(indefinite(factors))
        c = 1.0 / np.sqrt(own)
        logdet = -2.0 * float(np.log(inv).sum() + np.log(c).sum())
        return LeanComplement(
            self, gram, tuple(factors), across, raw, inv, left, c, scale_d * c, c * block * c, logdet
        )

    def summed(self, adds: Adds, given: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
        """Sums over all levels of A, by a kernel that adds those of some."""

        def part(i: int, j: int) -> Array:
            out = aligned(shape)
            out[...] = 0.0
            adds(i, j, self.ptr, self.cols, *given, out)
            return out

        first, *others = self.over(part, int(np.prod(shape)))
        for other in others:
            first += other
        return first


@dataclass(frozen=True, eq=False)
class LeanComplement:
    """I - K of (1), and the way between it and the stacked effects.

    Attributes
    ----------
    pattern : LeanPattern
    gram, factors, across
        What it is made of.
    raw : (nnz,) array
        R.
    inv : (m_A,) array
        1 / F.
    left : (m_A,) array
    c : (q_D,) array
        1 / C.
    right, h : (q_D,) arrays
    logdet : float
        ``2 sum log F + 2 sum log C``.
    """

    pattern: LeanPattern
    gram: Gram
    factors: tuple[Array, ...]
    across: Across
    raw: Array
    inv: Array
    left: Array
    c: Array
    right: Array
    h: Array
    logdet: float

    deflates: ClassVar[bool] = True

    @property
    def has_single(self) -> bool:
        """False: products are in double precision."""
        return False

    @property
    def q(self) -> int:
        return self.pattern.q

    @property
    def c_inverses(self) -> tuple[Array, ...]:
        return (self.c[:, None, None],)

    @cached_property
    def ordinary(self) -> SchurComplement:
        """The same with N held twice."""
        return self.pattern.ordinary.complement(self.gram, self.factors, self.across)

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q_D, c)."""
        from lmmformula.numerics.lean_kernels import add_normal

        wide = self.wide(x)
        inner = self.pattern.summed(add_normal, (self.raw, self.left, wide), wide.shape)
        return self.h[:, None] * x - self.right[:, None] * inner[:, : x.shape[1]]

    def wide(self, x: Array) -> Array:
        """diag(right) x, filled up with zeros."""
        out = aligned((self.q, _padded(x.shape[1])))
        np.multiply(self.right[:, None], x, out=out[:, : x.shape[1]])
        out[:, x.shape[1] :] = 0.0
        return out

    def reduced(self, rhs: Stacked) -> tuple[Array, Array]:
        """Forward substitution: F^-1 of A's part, (m_A, c), and the right-hand side of I - K, (q_D, c)."""
        from lmmformula.numerics.lean_kernels import add_transposed

        a = self.inv[:, None] * rhs[0][:, 0]
        inner = self.pattern.summed(add_transposed, (self.raw, self.left, a), (self.q, a.shape[1]))
        return a, self.c[:, None] * rhs[1][:, 0] - self.right[:, None] * inner

    def stacked(self, a: Array, x: Array) -> Stacked:
        """Back substitution from what `reduced` gave and the solution x of I - K."""
        from lmmformula.numerics.lean_kernels import times

        p, own, wide = self.pattern, np.empty_like(a), self.wide(x)
        p.over(lambda i, j: times(i, j, p.ptr, p.cols, self.raw, self.left, wide, own), 0)
        np.subtract(a, own, out=own)
        own *= self.inv[:, None]
        return own[:, None, :], (self.c[:, None] * x)[:, None, :]

    def moments(self, wanted: bool, on_patterns: bool = False) -> Moments:
        """None are formed."""
        del wanted, on_patterns
        return Moments(False, 0.0)

    def correction(self, v: Array) -> Array:
        """Nothing, (c,)."""
        return np.zeros(v.shape[1])

    def inverse(self, moments: Moments, found: Probed | None) -> LeanInverse:
        """Blocks of M^-1 from solutions."""
        assert found is not None  # there are pairs, so there is something to iterate on
        left = np.hstack([found.basis, found.probes])
        tail = np.hstack([found.of_basis, found.of_probes]) - left
        return LeanInverse(self, moments, found, split_products(left, tail, found.basis.shape[1]))


@dataclass(frozen=True, eq=False)
class LeanInverse(Paired):
    """Blocks of M^-1 and their sums, as in :mod:`lmmformula.engines.krylov.stochastic` with the series' head ending at I.

    Attributes
    ----------
    complement : LeanComplement
    moments : Moments
    found : Probed
    rest : Products
        (I - K)^-1 - I.
    """

    complement: LeanComplement
    moments: Moments
    found: Probed
    rest: Products

    @cached_property
    def _sums(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Traces and their standard errors, per group (1, 1)."""
        s, rest = self.complement, self.rest
        dense: list[Array] = [(s.c[:, None] * v)[:, None, :] for v in (rest.a, rest.b)]
        found = self._of_a(), summed_products(np.array([[s.c @ s.c]]), dense, rest.exact)
        return tuple(f[0] for f in found), tuple(f[1] for f in found)

    def _of_a(self) -> tuple[Array, Array]:
        """``sum_s F_s^-2 (1 + [N (I - K)^-1 N']_ss)``."""
        from lmmformula.numerics.lean_kernels import diagonal_sum, pair_forms

        s, p, rest = self.complement, self.complement.pattern, self.rest
        weight = (s.inv * s.left) ** 2
        head = p.over(lambda i, j: diagonal_sum(i, j, p.ptr, p.cols, s.raw, weight, s.right), 0)
        a, b = s.wide(rest.a), s.wide(rest.b)

        def part(i: int, j: int) -> Array:
            out = np.zeros(a.shape[1])
            pair_forms(i, j, p.ptr, p.cols, s.raw, weight, a, b, out)
            return out

        each = np.sum(p.over(part, 0), axis=0)
        known = np.array([[float(s.inv @ s.inv) + float(np.sum(head))]])
        return with_errors(known, each[: rest.a.shape[1], None, None], rest.exact)

    @property
    def traces(self) -> tuple[Array, ...]:
        """Per group the sum over levels of the diagonal blocks of M^-1."""
        return self._sums[0]

    @property
    def trace_errors(self) -> tuple[Array, ...]:
        """Standard errors of `traces`."""
        return self._sums[1]

    @cached_property
    def _ordinary(self) -> StochasticInverse:
        return StochasticInverse.of(self.complement.ordinary, self.moments, self.found)

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, 1, 1)."""
        return self._ordinary.diagonal(a)

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, 1, 1) on the pattern of the pair, a <= b."""
        return self._ordinary.pair(a, b)

    def against(self, a: int, q: csr_array) -> Array:
        """An estimate of ``sum_st q_st (M^-1)_ts``, (1, 1)."""
        return self._ordinary.against(a, q)


def _padded(columns: int) -> int:
    """One column as it is, others filled up to a multiple of what compiled loops take at a time."""
    return columns if columns < 2 else -(-columns // WIDTH) * WIDTH
