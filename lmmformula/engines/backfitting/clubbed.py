r"""Clubbed block coordinate descent with one operator for each grouping factor.

For fixed W and L the mixed-model equations in beta and the spherical effects u_a of the groups a are::

    [ X'WX   C_b'                 ] [ beta ]   [ X'Wz ]        C_a  = L_a'Z_a'WX
    [ C_a    M_a on the diagonal, ] [ u    ] = [ t_a  ]        B_ab = L_a'Z_a'WZ_b L_b
    [        B_ab off it          ]            [      ]        M_a  = L_a'Z_a'WZ_a L_a + I,   t_a = L_a'Z_a'Wz         (1)

M_a is block diagonal, one k x k block for each level: ``S_a = Z_a L_a M_a^-1 L_a'Z_a'W`` smooths over one factor at O(q_a).
Plain backfitting cycles over beta and the groups. Clubbed backfitting (Ghosh, Hastie & Owen 2022, 2022a) updates beta
*together with* each group in turn, given the other groups, so that a column of X that belongs to a factor
(the intercept above all) costs no extra sweeps::

    r      = t_a - sum_{b != a} B_ab u_b
    beta   = K_a^-1 (X'Wz - sum_{b != a} C_b'u_b - C_a'M_a^-1 r),      K_a = X'WX - C_a'M_a^-1 C_a = X'W(I - S_a)X
    u_a    = M_a^-1 (r - C_a beta)                                                                              (2)

Everything in (2) is formed from the Gram blocks: a sweep costs O(nnz + q p), nnz the pairs of levels that meet in a row, and
does not touch the rows. The largest group comes first: a sweep then begins from the effects of the others alone, they are all
that has to be kept and mixed, and C_a'u_a follows from what the step has at hand.

(2) is block Gauss-Seidel with overlapping blocks on a positive definite system, so it converges; how fast depends on how the
groups lie to each other. Where it is slow (a factor almost nested in another) the sweeps are combined by
:class:`~lmmformula.numerics.anderson.Anderson`,
which for a linear map is GMRES on it.

References
----------
Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects, Electron. J. Stat. 16.
Ghosh, Hastie & Owen (2022a), Backfitting for large scale crossed random effects regressions, Ann. Stat. 50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.engines.equations import Solved, State
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.numerics.anderson import Anderson
from lmmformula.numerics.batched import flat, matmul
from lmmformula.numerics.tall import tall_gram, tall_times, tall_transposed
from lmmformula.typing import Array, SparseMatrix

__all__ = ["Clubbed", "Couplings", "Operators", "swept", "symmetric_inverse"]

PLAIN_SWEEPS = 3
"""Sweeps before they are combined: most problems need no more."""
MAX_SWEEPS = 500
THREADED = 10_000_000
"""Pairs from which on products over threads repay the import of compiled loops (0.5 s)."""


@dataclass(frozen=True, eq=False)
class Couplings:
    """What does not depend on theta.

    Attributes
    ----------
    blocks : Levels
    gram : Gram
    """

    blocks: Levels
    gram: Gram

    @cached_property
    def matrices(self) -> dict[tuple[int, int], SparseMatrix]:
        """Z_a'WZ_b as scipy's compressed rows, both ways round."""
        from scipy.sparse import bsr_array, csr_array

        out: dict[tuple[int, int], SparseMatrix] = {}
        for (a, b), values in self.gram.cross.items():
            pattern, ga, gb = self.blocks.pattern(a, b), self.blocks.groups[a], self.blocks.groups[b]
            index = pattern.compressed
            if ga.k == gb.k == 1:
                matrix: SparseMatrix = csr_array((values.ravel(), *index), shape=(ga.m, gb.m))
            else:
                matrix = bsr_array((values, *index), shape=(ga.q, gb.q), blocksize=(ga.k, gb.k))
            out[a, b], out[b, a] = matrix, matrix.T
        return out

    @cached_property
    def _noted(self) -> dict[float, Array]:
        return {}

    def near(self, where: float, share: float, make: Callable[[], Array]) -> Array:
        """What `make` made at a number within `share` of `where`, relatively; made anew if the last one is farther off."""
        for other, found in self._noted.items():
            if abs(where - other) <= share * min(where, other):
                return found
        self._noted.clear()
        self._noted[where] = make()
        return self._noted[where]

    def times(self, a: int, b: int, x: Array) -> Array:
        """Z_a'WZ_b x, for x of shape (q_b, c); over threads where there is enough to do for one column."""
        matrix = self.matrices[a, b]
        if matrix.nnz < THREADED or x.shape[1] != 1 or matrix.format not in ("csr", "csc"):
            return matrix @ x
        from lmmformula.numerics.sparse_products import column_product

        by_rows = matrix.format == "csr"
        return column_product(
            matrix.indptr, matrix.indices, matrix.data, x[:, 0], matrix.shape, by_rows=by_rows
        )[:, None]


@dataclass(frozen=True, eq=False)
class Operators:
    """M at one W and one theta through its single-factor operators.

    Attributes
    ----------
    at : Couplings
        W.
    factors : tuple of (k_a, k_a) arrays
        L_a.
    own : tuple of (m_a, k_a, k_a) arrays
        M_a.
    inverses : tuple of (m_a, k_a, k_a) arrays
        M_a^-1.
    """

    at: Couplings
    factors: tuple[Array, ...]
    own: tuple[Array, ...]
    inverses: tuple[Array, ...]

    @property
    def blocks(self) -> Levels:
        return self.at.blocks

    @property
    def gram(self) -> Gram:
        return self.at.gram

    @property
    def couplings(self) -> dict[tuple[int, int], SparseMatrix]:
        """Z_a'WZ_b, both ways round."""
        return self.at.matrices

    def coupled(self, a: int, u: Stacked) -> Array:
        """sum_{b != a} B_ab u_b, (m_a, k_a, c)."""
        group, c = self.blocks.groups[a], u[a].shape[-1]
        total = np.zeros((group.q, c))
        for b, effects in enumerate(u):
            if b != a:
                scaled = matmul(self.factors[b], effects)
                total += self.at.times(a, b, flat(scaled))
        return matmul(self.factors[a].T, total.reshape(group.m, group.k, c))

    def paired(self, u: Stacked) -> float:
        """sum_{a < b} u_a'B_ab u_b."""
        b = [flat(matmul(f, v)) for f, v in zip(self.factors, u, strict=True)]
        return sum(float(np.vdot(b[i], self.at.times(i, j, b[j]))) for i, j in self.couplings if i < j)

    def times(self, u: Stacked) -> Stacked:
        """M u."""
        out = []
        for a, effects in enumerate(u):
            out.append(matmul(self.own[a], effects) + self.coupled(a, u))
        return tuple(out)


@dataclass(frozen=True, eq=False)
class Clubbed:
    """The system (1) with its fixed columns, ready to be swept.

    Attributes
    ----------
    factor : Operators
    columns : tuple of (m_a, k_a, p) arrays
        Z_a'WX, so that C_a is L_a' times it; C_a itself, which may be large, is never formed.
    xwx : (p, p) array
        X'WX.
    """

    factor: Operators
    columns: tuple[Array, ...]
    xwx: Array

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The groups in the order of a sweep, the largest first."""
        sizes = [g.q for g in self.factor.blocks.groups]
        return tuple(sorted(range(len(sizes)), key=lambda a: -sizes[a]))

    def times(self, a: int, beta: Array) -> Array:
        """C_a beta, (m_a, k_a, c)."""
        m, k, _ = self.columns[a].shape
        return matmul(
            self.factor.factors[a].T, tall_times(flat(self.columns[a]), beta).reshape(m, k, beta.shape[1])
        )

    def transposed_times(self, a: int, u: Array) -> Array:
        """C_a'u, (p, c)."""
        return tall_transposed(flat(self.columns[a]), flat(matmul(self.factor.factors[a], u)))

    @cached_property
    def explained(self) -> tuple[Array, ...]:
        """C_a'M_a^-1C_a."""
        return tuple(map(self.explained_by, range(len(self.columns))))

    def explained_by(self, a: int) -> Array:
        """C_a'M_a^-1C_a of one group."""
        low, inverses = self.factor.factors[a], self.factor.inverses[a]
        return tall_gram(self.columns[a], matmul(matmul(low, inverses), low.T))

    @cached_property
    def clubbed(self) -> tuple[Array, ...]:
        """K_a^-1 of (2), through an eigen-decomposition that survives a column the group explains entirely."""
        return tuple(symmetric_inverse(self.xwx - e) for e in self.explained)

    def sweep(self, rhs: Stacked, xwz: Array, state: State) -> State:
        """One pass of (2) over all groups; beta and the effects of the first group in `state` do not matter."""
        beta, u = state[0], list(state[1])
        if not u:
            return symmetric_inverse(self.xwx) @ xwz, ()
        with_fixed = bool(len(self.xwx))
        shares = {b: self.transposed_times(b, u[b]) for b in self.order[1:]} if with_fixed else {}
        for a in self.order:
            r = rhs[a] - self.factor.coupled(a, tuple(u)) if len(u) > 1 else rhs[a]
            u[a] = matmul(self.factor.inverses[a], r)
            if with_fixed:
                own = self.transposed_times(a, u[a])
                others = sum((s for b, s in shares.items() if b != a), np.zeros_like(xwz))
                beta = self.clubbed[a] @ (xwz - others - own)
                u[a] -= matmul(self.factor.inverses[a], self.times(a, beta))
                shares[a] = own - self.explained[a] @ beta
        return beta, tuple(u)

    def size(self, state: State) -> float:
        """beta'X'WX beta + sum u_a'M_a u_a: about the weighted squared length of the fitted values."""
        beta, u = state
        return float(np.vdot(beta, self.xwx @ beta)) + self.squared(u, self.order)

    def squared(self, u: Sequence[Array] | Mapping[int, Array], groups: Sequence[int]) -> float:
        """sum u_a'M_a u_a over some groups."""
        return sum(float(np.vdot(u[a], matmul(self.factor.own[a], u[a]))) for a in groups)

    def solve(
        self,
        rhs: Stacked,
        xwz: Array,
        start: State,
        *,
        relative: float,
        inexact: float = 0.0,
        max_sweeps: int = MAX_SWEEPS,
    ) -> Solved:
        """Sweep until the estimated error is small.

        Parameters
        ----------
        rhs : tuple of (m_a, k_a, c) arrays
            t_a.
        xwz : (p, c) array
        start : State
        relative : float
            Error at which to end, as a share of the size of the solution.
        inexact : float
            Error at which to end, as a share of the distance from `start`: an outer iteration gains nothing from more.
        max_sweeps : int
        """
        sweeps = self.sweeps(rhs, xwz, start)
        count = swept(sweeps, [start[1][b] for b in self.order[1:]], relative, inexact, max_sweeps)
        return Solved(*sweeps.end(), count)

    def sweeps(self, rhs: Stacked, xwz: Array, start: State) -> Sweeps:
        """What sweeps for these right-hand sides."""
        return _Sweeps(self, rhs, xwz, start)

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        """``x'A x - 2 x't`` for x = (beta, u), A without the I of M."""
        total = float(np.vdot(beta, self.xwx @ beta - 2.0 * xwz))
        for a, (t, v) in enumerate(zip(rhs, u, strict=True)):
            own = matmul(self.factor.own[a], v) - v
            total += float(np.vdot(v, own - 2.0 * (t - self.times(a, beta))))
        return total + 2.0 * self.factor.paired(u)


class Sweeps(Protocol):
    """Sweeps for one right-hand side, from the effects of all groups but the first, the largest, which follow from them."""

    def sweep(self, rest: list[Array]) -> list[Array]:
        """One sweep; the effects of the same groups after it."""
        ...

    def change(self, before: list[Array], after: list[Array]) -> float:
        """Squared length of a move of these effects."""
        ...

    def size(self) -> float:
        """Squared length of beta and all effects after the last sweep."""
        ...

    def distance(self) -> float:
        """Squared distance of these from where the sweeps began."""
        ...

    def end(self) -> State:
        """Where the last sweep ended."""
        ...


def swept(sweeps: Sweeps, rest: list[Array], relative: float, inexact: float, most: int) -> int:
    """Sweep from `rest` until the estimated error is small, as :meth:`Clubbed.solve` has it; how many it took."""
    mixer, last, count = Anderson(8), np.inf, -1
    for count in range(most):
        after = sweeps.sweep(rest)
        if not rest:
            break  # at most one group: (2) is the exact solution
        change = float(np.sqrt(max(sweeps.change(rest, after), 0.0)))
        rate = min(change / last, 0.99) if np.isfinite(last) and last > 0 else 0.5
        error = change * max(rate / (1.0 - rate), 0.1)
        if change == 0.0 or (count and _is_small(error, sweeps, relative, inexact)):
            break
        last = change
        rest = after if count < PLAIN_SWEEPS else _mixed(mixer, rest, after)
    return count + 1


def _is_small(error: float, sweeps: Sweeps, relative: float, inexact: float) -> bool:
    """Whether an error is a small share of the solution, or else of its distance from the start."""
    if error <= relative * np.sqrt(max(sweeps.size(), 0.0)):
        return True
    return bool(inexact) and error <= inexact * np.sqrt(max(sweeps.distance(), 0.0))


class _Sweeps:
    """Sweeps of a :class:`Clubbed`."""

    def __init__(self, system: Clubbed, rhs: Stacked, xwz: Array, start: State) -> None:
        self._system, self._rhs, self._xwz, self._start = system, rhs, xwz, start
        self._rest = system.order[1:]
        self._at = start

    def sweep(self, rest: list[Array]) -> list[Array]:
        u = list(self._at[1])
        for b, effects in zip(self._rest, rest, strict=True):
            u[b] = effects
        self._at = self._system.sweep(self._rhs, self._xwz, (self._at[0], tuple(u)))
        return [self._at[1][b] for b in self._rest]

    def change(self, before: list[Array], after: list[Array]) -> float:
        moves = {b: new - old for b, old, new in zip(self._rest, before, after, strict=True)}
        return self._system.squared(moves, self._rest)

    def size(self) -> float:
        return self._system.size(self._at)

    def distance(self) -> float:
        (beta, u), (first, before) = self._at, self._start
        return self._system.size((beta - first, tuple(a - b for a, b in zip(u, before, strict=True))))

    def end(self) -> State:
        return self._at


def symmetric_inverse(s: Array) -> Array:
    """Inverse of a positive semidefinite matrix after scaling to unit diagonal; a null direction is left alone."""
    if not s.size:
        return s
    own = np.diagonal(s)
    scale = np.where(own > 0.0, 1.0 / np.sqrt(np.maximum(own, 1e-300)), 0.0)
    values, vectors = np.linalg.eigh(s * np.outer(scale, scale))
    keep = values > 1e-13 * max(values[-1], 1e-300)
    part = vectors[:, keep] / np.sqrt(values[keep])
    return np.outer(scale, scale) * (part @ part.T)


def _mixed(mixer: Anderson, before: list[Array], after: list[Array]) -> list[Array]:
    """The effects after a sweep, mixed over the last sweeps."""
    x, at, out = mixer(*(np.concatenate([v.ravel() for v in one]) for one in (before, after))), 0, []
    for v in after:
        out.append(x[at : at + v.size].reshape(v.shape))
        at += v.size
    return out
