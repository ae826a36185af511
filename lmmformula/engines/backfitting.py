r"""The backfitting engine: clubbed block coordinate descent with one operator for each grouping factor.

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
does not touch the rows. (2) is block Gauss-Seidel with overlapping blocks on a positive definite system, so it converges; how
fast depends on how the groups lie to each other. Where it is slow (a factor almost nested in another) the sweeps are
combined by :class:`Anderson`, which for a linear map is GMRES on it.

This engine answers `solve` to a tolerance, and `inverse` and `trace_blocks` by the blocks M_a^-1 alone: the off-diagonal
blocks B_ab are ignored there, an error of smaller order than the number of levels (Ghosh, Hastie & Owen 2022).

References
----------
Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects, Electron. J. Stat. 16.
Ghosh, Hastie & Owen (2022a), Backfitting for large scale crossed random effects regressions, Ann. Stat. 50.
Walker & Ni (2011), Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.numerics.batched import cholesky, flat, lower_inverse, matmul, transpose
from lmmformula.typing import Array

__all__ = [
    "Anderson",
    "BackfittingEngine",
    "BackfittingFactor",
    "BackfittingPrepared",
    "Clubbed",
    "DiagonalInverse",
]

PLAIN_SWEEPS = 3
"""Sweeps before they are combined: most problems need no more."""
SOLVE_TOLERANCE = 1e-10
"""Relative size of the last change at which `solve` ends."""
MAX_SWEEPS = 500
COLUMNS = 4
"""Right-hand sides that `solve` sweeps at a time: what Anderson's memory of them costs."""


@dataclass(frozen=True)
class BackfittingEngine:
    """Block coordinate descent over grouping factors."""

    name: str = "backfitting"

    def prepare(self, blocks: Blocks) -> BackfittingPrepared:
        return BackfittingPrepared(blocks)


@dataclass(frozen=True, eq=False)
class BackfittingPrepared:
    """The blocks; nothing about them need be known in advance."""

    blocks: Blocks

    @property
    def dense_side(self) -> int:
        return 0

    def factor(self, gram: Gram, factors: Sequence[Array]) -> BackfittingFactor:
        """Single-factor operators M_a^-1 for Gram blocks `gram` and relative Cholesky factors `factors`."""
        inverses = []
        for group, diag, lower in zip(self.blocks.groups, gram.diag, factors, strict=True):
            own = diag * lower[0, 0] ** 2 if group.k == 1 else lower.T @ diag @ lower
            own = own + np.eye(group.k)
            try:
                half = lower_inverse(cholesky(own))
            except np.linalg.LinAlgError as error:
                raise FitError(
                    f"the working weights within the levels of `{group.name}` are not positive definite in floating "
                    "point. The likely cause is a column or weight whose scale differs from the others by many "
                    "orders of magnitude; rescale it."
                ) from error
            inverses.append(matmul(transpose(half), half))
        return BackfittingFactor(self.blocks, gram, tuple(factors), tuple(inverses))


@dataclass(frozen=True, eq=False)
class DiagonalInverse:
    """The blocks M_a^-1 in the place of the diagonal blocks of M^-1; pairs count as zero."""

    blocks: Blocks
    inverses: tuple[Array, ...]

    def diagonal(self, a: int) -> Array:
        """M_a^-1, (m_a, k_a, k_a)."""
        return self.inverses[a]

    def pair(self, a: int, b: int) -> Array:
        """Zeros on the pattern of (a, b)."""
        groups = self.blocks.groups
        return np.zeros((self.blocks.pattern(a, b).nnz, groups[a].k, groups[b].k))


@dataclass(frozen=True, eq=False)
class BackfittingFactor:
    """M at one W and one theta through its single-factor operators.

    Attributes
    ----------
    blocks : Blocks
    gram : Gram
    factors : tuple of (k_a, k_a) arrays
        L_a.
    inverses : tuple of (m_a, k_a, k_a) arrays
        M_a^-1.
    """

    blocks: Blocks
    gram: Gram
    factors: tuple[Array, ...]
    inverses: tuple[Array, ...]

    @property
    def logdet(self) -> float:
        """Not available: backfitting never factorises M."""
        raise FitError(
            "backfitting does not give log|M|, so a PQL fit has no likelihood; "
            'compare models by method="laplace" or "ml".'
        )

    def inverse(self) -> DiagonalInverse:
        """The single-factor operators in the place of selected blocks of M^-1."""
        return DiagonalInverse(self.blocks, self.inverses)

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group the sum over levels of M_a^-1: the diagonal approximation."""
        return tuple(v.sum(axis=0) for v in self.inverses)

    @cached_property
    def _operators(self) -> dict[tuple[int, int], Any]:
        """Z_a'WZ_b as scipy's compressed rows, both ways round."""
        from scipy.sparse import bsr_array, csr_array

        out: dict[tuple[int, int], Any] = {}
        for (a, b), values in self.gram.cross.items():
            pattern, ga, gb = self.blocks.pattern(a, b), self.blocks.groups[a], self.blocks.groups[b]
            index = (pattern.indices, pattern.indptr)
            if ga.k == gb.k == 1:
                matrix: Any = csr_array((values.ravel(), *index), shape=(ga.m, gb.m))
            else:
                matrix = bsr_array((values, *index), shape=(ga.q, gb.q), blocksize=(ga.k, gb.k))
            out[a, b], out[b, a] = matrix, matrix.T
        return out

    def coupled(self, a: int, u: Stacked) -> Array:
        """sum_{b != a} B_ab u_b, (m_a, k_a, c)."""
        group, c = self.blocks.groups[a], u[a].shape[-1]
        total = np.zeros((group.q, c))
        for b, effects in enumerate(u):
            if b != a:
                scaled = matmul(self.factors[b], effects)
                total += self._operators[a, b] @ scaled.reshape(-1, c)
        return matmul(self.factors[a].T, total.reshape(group.m, group.k, c))

    def times(self, u: Stacked) -> Stacked:
        """M u."""
        out = []
        for a, effects in enumerate(u):
            lower = self.factors[a]
            own = matmul(lower.T, matmul(self.gram.diag[a], matmul(lower, effects)))
            out.append(own + effects + self.coupled(a, u))
        return tuple(out)

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs by backfitting without fixed effects, to a relative change of `SOLVE_TOLERANCE`."""
        c = rhs[0].shape[-1] if rhs else 0
        if c > COLUMNS:
            out = tuple(np.empty_like(r) for r in rhs)
            for i in range(0, c, COLUMNS):
                some = slice(i, i + COLUMNS)
                part = tuple(np.ascontiguousarray(r[..., some]) for r in rhs)
                for whole, solved in zip(out, self.solve(part), strict=True):
                    whole[..., some] = solved
            return out
        empty = tuple(np.zeros((*r.shape[:2], 0)) for r in rhs)
        system = Clubbed(self, empty, np.zeros((0, 0)))
        start = tuple(np.zeros_like(r) for r in rhs)
        return system.solve(rhs, np.zeros((0, c)), (np.zeros((0, c)), start), relative=SOLVE_TOLERANCE)[1]


State = tuple[Array, Stacked]
"""beta (p, c) and u, one (m_a, k_a, c) array for each group."""


@dataclass(frozen=True, eq=False)
class Clubbed:
    """The system (1) with its fixed columns, ready to be swept.

    Attributes
    ----------
    factor : BackfittingFactor
    fixed : tuple of (m_a, k_a, p) arrays
        C_a = L_a'Z_a'WX.
    xwx : (p, p) array
        X'WX.
    """

    factor: BackfittingFactor
    fixed: tuple[Array, ...]
    xwx: Array
    sweeps: list[int] = field(default_factory=lambda: [0])

    @cached_property
    def _smoothed(self) -> tuple[Array, ...]:
        """M_a^-1 C_a."""
        return tuple(matmul(i, c) for i, c in zip(self.factor.inverses, self.fixed, strict=True))

    @cached_property
    def _clubbed(self) -> tuple[Array, ...]:
        """K_a^-1 of (2), through an eigen-decomposition that survives a column the group explains entirely."""
        out = []
        for c, s in zip(self.fixed, self._smoothed, strict=True):
            out.append(_symmetric_inverse(self.xwx - flat(c).T @ flat(s)))
        return tuple(out)

    def sweep(self, rhs: Stacked, xwz: Array, state: State) -> State:
        """One pass of (2) over all groups."""
        beta, effects = state
        u, p = list(effects), len(self.xwx)
        c = xwz.shape[1]
        shares = [_inner(f, v, p) for f, v in zip(self.fixed, u, strict=True)]
        if not u:
            return _symmetric_inverse(self.xwx) @ xwz, ()
        for a, inverse in enumerate(self.factor.inverses):
            r = rhs[a] - self.factor.coupled(a, tuple(u)) if len(u) > 1 else rhs[a]
            if p:
                others = sum((s for b, s in enumerate(shares) if b != a), np.zeros((p, c)))
                beta = self._clubbed[a] @ (xwz - others - _inner(self._smoothed[a], r, p))
                u[a] = matmul(inverse, r) - _outer(self._smoothed[a], beta)
                shares[a] = _inner(self.fixed[a], u[a], p)
            else:
                u[a] = matmul(inverse, r)
        self.sweeps[0] += 1
        return beta, tuple(u)

    def size(self, state: State) -> float:
        """sqrt(beta'X'WX beta + sum u_a'M_a u_a): about the weighted norm of the fitted values."""
        beta, u = state
        total = float(np.vdot(beta, self.xwx @ beta))
        for diag, lower, v in zip(self.factor.gram.diag, self.factor.factors, u, strict=True):
            b = matmul(lower, v)
            total += float(np.vdot(b, matmul(diag, b))) + float(np.vdot(v, v))
        return float(np.sqrt(max(total, 0.0)))

    def solve(
        self,
        rhs: Stacked,
        xwz: Array,
        start: State,
        *,
        relative: float,
        inexact: float = 0.0,
        max_sweeps: int = MAX_SWEEPS,
    ) -> State:
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
        if not start[1]:
            return _symmetric_inverse(self.xwx) @ xwz, ()
        state, mixer, last = start, Anderson(8), np.inf
        for count in range(max_sweeps):
            swept = self.sweep(rhs, xwz, state)
            if len(swept[1]) == 1:
                return swept  # one group: (2) is the exact solution
            change = self.size(_minus(swept, state))
            rate = min(change / last, 0.99) if np.isfinite(last) and last > 0 else 0.5
            error = change * max(rate / (1.0 - rate), 0.1)
            goal = max(
                relative * self.size(swept), inexact * self.size(_minus(swept, start)) if inexact else 0.0
            )
            if change == 0.0 or (count and error <= goal):
                return swept
            last = change
            if count < PLAIN_SWEEPS:
                state = swept
            else:
                shapes = [swept[0], *swept[1]]
                state = _unpacked(mixer(_packed(state), _packed(swept)), shapes)
        return swept


def _inner(a: Array, b: Array, p: int) -> Array:
    """sum over levels of a' b, (p, c)."""
    return flat(a).T @ flat(b)


def _outer(a: Array, beta: Array) -> Array:
    """a beta for each level, (m, k, c)."""
    m, k, p = a.shape
    return (a.reshape(m * k, p) @ beta).reshape(m, k, -1)


def _minus(left: State, right: State) -> State:
    return left[0] - right[0], tuple(a - b for a, b in zip(left[1], right[1], strict=True))


def _packed(state: State) -> Array:
    return np.concatenate([state[0].ravel(), *(v.ravel() for v in state[1])])


def _unpacked(x: Array, like: Sequence[Array]) -> State:
    parts, at = [], 0
    for v in like:
        parts.append(x[at : at + v.size].reshape(v.shape))
        at += v.size
    return parts[0], tuple(parts[1:])


def _symmetric_inverse(s: Array) -> Array:
    """Inverse of a positive semidefinite matrix after scaling to unit diagonal; a null direction is left alone."""
    if not s.size:
        return s
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(s), 1e-300))
    values, vectors = np.linalg.eigh(s * np.outer(scale, scale))
    keep = values > 1e-13 * max(values[-1], 1e-300)
    part = vectors[:, keep] / np.sqrt(values[keep])
    return np.outer(scale, scale) * (part @ part.T)


class Anderson:
    """Fixed-point iteration x = g(x) from the last few pairs (x, g(x)).

    The next x is the combination of the g(x_i) with weights that sum to one for which the same combination of the residuals
    g(x_i) - x_i is shortest (Anderson 1965; Walker & Ni 2011, eq. 2.4).

    Parameters
    ----------
    depth : int
        Differences that are kept.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._last: tuple[Array, Array] | None = None
        self._dg: list[Array] = []
        self._dr: list[Array] = []
        self._products = np.zeros((0, 0))

    def __call__(self, x: Array, gx: Array) -> Array:
        """The next x, given that the map takes `x` to `gx`. Cost O(depth size)."""
        r, last = gx - x, self._last
        self._last = (gx, r)
        if last is None:
            return gx
        self._dg.append(gx - last[0])
        self._dr.append(r - last[1])
        known = self._products
        if len(self._dr) > self.depth:
            del self._dg[0], self._dr[0]
            known = known[1:, 1:]
        row = np.array([float(d @ self._dr[-1]) for d in self._dr])
        self._products = np.block([[known, row[:-1, None]], [row[None, :-1], row[-1:, None]]])
        slope = np.array([float(d @ r) for d in self._dr])
        gamma = np.linalg.lstsq(self._products, slope, rcond=1e-12)[0]
        out = gx - sum(g * d for g, d in zip(gamma, self._dg, strict=True))
        return out if np.isfinite(out).all() else gx

    def forget(self) -> None:
        """Start anew, after a step that the map did not make."""
        self._last, self._products = None, np.zeros((0, 0))
        self._dg.clear()
        self._dr.clear()
