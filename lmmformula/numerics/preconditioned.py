r"""Preconditioned conjugate gradients on many right-hand sides, each with a matrix of its own, to an error in its own norm.

With P near A_c the iteration (Golub & Van Loan 2013, alg. 11.5.1) has ``r'P^-1 r ~ (x - x*)'A_c (x - x*)``: of noise with
covariance A_c^-1 and of conditional modes that is the squared error in their standard deviations, summed over all q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array

__all__ = ["Preconditioned", "preconditioned"]


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioned:
    """Solutions (q, c), and which of them converged, (c,)."""

    x: Array
    converged: NDArray[np.bool_]


def preconditioned(
    apply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    b: Array,
    tolerance: float,
    max_steps: int,
    start: Array | None = None,
) -> Preconditioned:
    """Solve A_c x_c = b_c for every column c.

    Parameters
    ----------
    apply : callable
        x -> (A_c x_c) for (q, c) blocks; A_c symmetric positive definite.
    precondition : callable
        r -> P^-1 r, for one P.
    b : (q, c) array
    tolerance : float
        Root mean square over the q elements of the error in standard deviations, see above.
    max_steps : int
    start : (q, c) array, optional
        Zero if left out.
    """
    x = np.zeros_like(b) if start is None else start.copy()
    r = b.copy() if start is None else b - apply(x)
    z = precondition(r)
    p, now = z, np.einsum("qc,qc->c", r, z)
    goal = tolerance**2 * len(b)
    for _ in range(max_steps):
        if not (now > goal).any():
            break
        ap = apply(p)
        curvature = np.einsum("qc,qc->c", p, ap)
        alpha = np.where(
            (curvature > 0.0) & (now > goal), now / np.where(curvature > 0.0, curvature, 1.0), 0.0
        )
        x += alpha * p
        r -= alpha * ap
        z = precondition(r)
        after = np.einsum("qc,qc->c", r, z)
        p = z + np.where(now > 0.0, after / np.where(now > 0.0, now, 1.0), 0.0) * p
        now = np.where(alpha > 0.0, after, now)
    return Preconditioned(x, now <= goal)
