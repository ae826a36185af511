r"""Conjugate gradients on many right-hand sides at once, and the Gauss quadrature that comes with them.

For a symmetric positive definite A of side q the iteration (Hestenes & Stiefel 1952) from x = 0 builds, column by column, the
step lengths alpha_j and the ratios beta_j of squared residuals. They are the Cholesky factor of the Lanczos matrix T of
(A, r_0) (Golub & Van Loan 2013, sec. 11.3)::

    T_jj = 1 / alpha_j + beta_(j-1) / alpha_(j-1),        T_j,j+1 = sqrt(beta_j) / alpha_j

so that ``r_0' f(A) r_0 ~ |r_0|^2 e_1' f(T) e_1`` (Golub & Meurant 2010) costs nothing beyond the solution. With J steps the
rule is exact for polynomials of degree 2 J - 1; a relative residual e of the solution means an error of order e^2.

Columns are independent: each has its own status, and those that have converged leave the block.

With it come A r_0 and A^2 r_0: the second direction is ``p_1 = r_0 - alpha_0 A r_0 + beta_0 r_0``, so that

    A^2 r_0 = ((1 + beta_0) A r_0 - A p_1) / alpha_0

and ``A r_0 / alpha_0`` where r_1 = 0.

A block of single precision stays in it, with inner products summed in double precision: products with a sparse A wait for
the entries of the block, of which twice as many then come with each cache line. :func:`refined` makes solutions of double
precision of those: residuals are computed, not carried on, and solved for until they are small enough (Wilkinson's
refinement; Higham 2002, ch. 12).

References
----------
Higham (2002), Accuracy and Stability of Numerical Algorithms, 2nd ed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array

__all__ = ["Solution", "conjugate_gradients", "quadrature", "refined"]

COMPILED_CELLS = 200_000
"""Size of a block from which on its updates are fused in compiled loops."""
PART = 65_536
"""Rows of a block that one thread takes at a time."""
FINEST = 2e-7
"""Relative residual that single precision may be asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What the iteration leaves, column by column.

    Attributes
    ----------
    x : (q, c) array
    residuals : (c,) array
        |b - A x| / |b| by the recurrence; zero for b = 0.
    converged : (c,) bool array
    steps : (c,) int array
        Iterations of each column.
    alpha, beta : (J, c) arrays
        Coefficients; rows from ``steps`` on are not meaningful.
    powers : tuple of (q, c) arrays, or None
        A b and A^2 b, if they were asked for.
    """

    x: Array
    residuals: Array
    converged: NDArray[np.bool_]
    steps: NDArray[np.int64]
    alpha: Array
    beta: Array
    powers: tuple[Array, Array] | None = None


def conjugate_gradients(
    apply: Callable[[Array], Array], b: Array, tolerance: float, max_steps: int, *, powers: bool = False
) -> Solution:
    """Solve A x = b for every column of b.

    Parameters
    ----------
    apply : callable
        x -> A x for (q, c) blocks, C order; A symmetric positive definite.
    b : (q, c) array
    tolerance : float
        Relative residual at which a column ends.
    max_steps : int
    powers : bool
        Whether A b and A^2 b are kept.
    """
    c = b.shape[1]
    seen = _Powers(b) if powers else None
    x_all = np.zeros_like(b)
    squared = np.einsum("qc,qc->c", b, b, dtype=float)
    norms = np.sqrt(squared)
    residuals, steps = np.zeros(c), np.zeros(c, dtype=np.int64)
    converged = norms == 0.0
    active = np.flatnonzero(~converged)
    r = np.ascontiguousarray(b[:, active])
    x, p, rr = np.zeros_like(r), r.copy(), squared[active]
    alphas, betas = [], []
    while active.size and len(alphas) < max_steps:
        ap = apply(p)
        curvature = _products(p, ap)
        sound = curvature > 0.0
        alpha = np.where(sound, rr / np.where(sound, curvature, 1.0), 0.0)
        new = _advance(x, r, p, ap, alpha.astype(b.dtype, copy=False))
        beta = np.where(rr > 0.0, new / rr, 0.0)
        if seen is not None and len(alphas) < 2:
            seen.add(active, ap, alpha, beta)
        alphas.append(_spread(alpha, active, c))
        betas.append(_spread(beta, active, c))
        steps[active[sound]] += 1
        residuals[active] = np.sqrt(new) / norms[active]
        done = residuals[active] <= tolerance
        leave = done | ~sound
        if leave.any():
            x_all[:, active[leave]] = x[:, leave]
            converged[active[done]] = True
            active, stay = active[~leave], ~leave
            x, r, p = (np.ascontiguousarray(v[:, stay]) for v in (x, r, p))
            new, beta = new[stay], beta[stay]
        _turn(p, r, beta.astype(b.dtype, copy=False))
        rr = new
    x_all[:, active] = x
    shape = (len(alphas), c)
    return Solution(
        x_all,
        residuals,
        converged,
        steps,
        np.array(alphas).reshape(shape),
        np.array(betas).reshape(shape),
        None if seen is None else (seen.first, seen.second),
    )


class _Powers:
    """A b and A^2 b from the first two steps.

    Attributes
    ----------
    first, second : (q, c) arrays
    """

    def __init__(self, b: Array) -> None:
        self.first, self.second = np.zeros_like(b), np.zeros_like(b)
        self._steps: tuple[Array, Array] | None = None

    def add(self, active: NDArray[np.intp], image: Array, alpha: Array, beta: Array) -> None:
        """What A makes of the directions of a step."""
        kind, c = self.first.dtype, self.first.shape[1]
        if self._steps is None:
            self.first[:, active] = image
            inverse = np.divide(1.0, alpha, out=np.zeros_like(alpha), where=alpha != 0.0)
            self.second[:, active] = image * inverse.astype(kind)
            self._steps = _spread(inverse, active, c), _spread(beta, active, c)
            return
        inverse, ratio = (v[active].astype(kind) for v in self._steps)
        self.second[:, active] = ((1 + ratio) * self.first[:, active] - image) * inverse


def refined(apply: Callable[[Array], Array], b: Array, tolerance: float, max_steps: int) -> Solution:
    """The same to a residual that was computed in double precision, from solutions of single precision.

    Columns that these do not bring nearer are solved for in double precision. `alpha` and `beta` are empty: several iterations
    have no quadrature.

    Parameters
    ----------
    apply : callable
        As above, for blocks of either precision.
    """
    norms = np.linalg.norm(b, axis=0)
    x, steps = np.zeros_like(b), np.zeros(len(norms), dtype=np.int64)
    residuals = np.where(norms > 0.0, 1.0, 0.0)
    left = np.flatnonzero(residuals > tolerance)
    r, size = b[:, left], norms[left]
    while left.size:
        goal = max(0.5 * tolerance * float((norms[left] / size).min()), FINEST)
        part = conjugate_gradients(apply, (r / size).astype(np.float32), goal, max_steps)
        x[:, left] += size * part.x
        steps[left] += part.steps
        r, last = b[:, left] - apply(np.ascontiguousarray(x[:, left])), residuals[left]
        size = np.linalg.norm(r, axis=0)
        residuals[left] = size / norms[left]
        stay = residuals[left] > tolerance
        stalled = (residuals[left] > 0.5 * last)[stay].any()
        left, r, size = left[stay], r[:, stay], size[stay]
        if stalled:
            break
    if left.size:
        goal = tolerance * float((norms[left] / size).min())
        last = conjugate_gradients(apply, np.ascontiguousarray(r), goal, max_steps)
        x[:, left] += last.x
        steps[left] += last.steps
        residuals[left] = last.residuals * size / norms[left]
    none = np.zeros((0, len(norms)))
    return Solution(x, residuals, residuals <= tolerance, steps, none, none)


def _spread(values: Array, active: NDArray[np.integer], c: int) -> Array:
    out = np.zeros(c)
    out[active] = values
    return out


def _products(a: Array, b: Array) -> Array:
    """Inner products of the columns."""
    if a.size >= COMPILED_CELLS:
        from lmmformula.numerics.krylov_kernels import column_products

        return _summed(a, lambda i, j, out: column_products(i, j, a, b, out))
    return np.einsum("qc,qc->c", a, b, dtype=float)


def _advance(x: Array, r: Array, p: Array, ap: Array, alpha: Array) -> Array:
    """Move x by alpha p and r by -alpha A p in place; the new squared norms of r."""
    if x.size >= COMPILED_CELLS:
        from lmmformula.numerics.krylov_kernels import advance

        return _summed(x, lambda i, j, out: advance(i, j, x, r, p, ap, alpha, out))
    x += alpha * p
    r -= alpha * ap
    return np.einsum("qc,qc->c", r, r, dtype=float)


def _turn(p: Array, r: Array, beta: Array) -> None:
    """Set p to r + beta p in place."""
    if p.size >= COMPILED_CELLS:
        from lmmformula.numerics.krylov_kernels import turn

        in_parts(lambda i, j: turn(i, j, p, r, beta), edges(len(p), PART))
        return
    p *= beta
    p += r


def _summed(block: Array, adds: Callable[[int, int, Array], None]) -> Array:
    """Sums that a function adds to for ranges of rows, over parts cut by the size of the problem alone, (c,)."""

    def part(i: int, j: int) -> Array:
        out = np.zeros(block.shape[1])
        adds(i, j, out)
        return out

    return np.sum(in_parts(part, edges(len(block), PART)), axis=0)


def quadrature(found: Solution, norms2: Array, function: Callable[[Array], Array]) -> Array:
    """b' f(A) b of each column from the coefficients of its solution.

    Parameters
    ----------
    found : Solution
    norms2 : (c,) array
        Squared norms of the right-hand sides.
    function : callable
        f, elementwise on eigenvalues of A.
    """
    out = np.zeros(len(norms2))
    for j, count in enumerate(found.steps):
        if not count:
            continue
        alpha, beta = found.alpha[:count, j], found.beta[:count, j]
        diagonal = 1.0 / alpha
        diagonal[1:] += beta[:-1] / alpha[:-1]
        off = np.sqrt(beta[:-1]) / alpha[:-1]
        nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
        out[j] = norms2[j] * float(vectors[0] ** 2 @ function(nodes))
    return out
