r"""Many Gaussian criteria at once: one design, B responses, a theta for each.

``y_b = X beta_b + Z b_b + e_b`` with the same X, Z and W. The Gram blocks Z'WZ, Z'WX and X'WX are shared; of a response only
Z'Wy, X'Wy and y'Wy are its own, so B criteria are evaluated by one pass of array operations over them. y_b is replaced by its
weighted least-squares residual of unit length, X by orthonormal columns (:mod:`lmmformula.criteria.profiled`), so that nothing
depends on units and ``X'Wy = 0``.

Write ``V = W^-1 + Z Sigma Z'`` with Sigma block diagonal, ``P = V^-1 - V^-1X (X'V^-1X)^-1 X'V^-1``, Q = P for REML and V^-1 for
ML, ``v = Z'Py`` and kappa = n_eff / y'Py. For dSigma_i = dL_i L' + L dL_i' and V_i = Z dSigma_i Z'::

    d(theta)  = log|V| + [REML] log|X'V^-1X| + n_eff log(y'Py)                                     (1)
    d_i       = tr(Q V_i) - kappa v'dSigma_i v            = <D, dSigma_i>                          (2)
    d_ij      = -tr(Q V_i Q V_j) + 2 kappa y'P V_i P V_j P y - (kappa^2 / n_eff) a_i a_j
                + <D, dL_i dL_j' + dL_j dL_i'>,           a_i = v'dSigma_i v                       (3)

for kinds of covariance with L linear in theta (Harville 1977; Lindstrom & Bates 1988). Derivatives are exact in Sigma, which
may be singular: nothing divides by L. D, a k x k matrix for each group, is a sum over levels.

The kernels, :mod:`.grouped` for one grouping factor and :mod:`.coupled` for several, give (1) to (3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.criteria.factors import Factors
from lmmformula.typing import Array, Index

__all__ = ["Criteria", "Evaluated", "assembled"]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """Criteria of A responses at a theta each; a response that cannot be evaluated has the value nan.

    Attributes
    ----------
    value : (A,) array
        (1), without the constants that theta does not move.
    gradient : (A, d) array
    hessian : (A, d, d) array
    r2 : (A,) array
        y'Py.
    beta : (A, p) array
        (X'V^-1X)^-1 X'V^-1y.
    inverse : (A, p, p) array
        (X'V^-1X)^-1.
    along : (A, d) array
        a_i of (3).
    moves : (A, d, p, p) array
        X'V^-1 V_i V^-1 X.
    """

    value: Array
    gradient: Array
    hessian: Array
    r2: Array
    beta: Array
    inverse: Array
    along: Array
    moves: Array


class Criteria(Protocol):
    """B criteria over one design."""

    @property
    def factors(self) -> Factors: ...
    @property
    def n(self) -> int:
        """B."""
        ...

    def at(self, theta: Array, which: Index) -> Evaluated:
        """Those of the responses `which` (A,) at theta (A, d)."""
        ...


def assembled(
    factors: Factors, slopes: Sequence[Array], moved: Sequence[Array], hessian: Array
) -> tuple[Array, Array]:
    """Gradient (2) from D of each group (A, k, k), and the Hessian with the last part of (3) added to it."""
    gradient = np.zeros((len(hessian), factors.d))
    for own, units, slope, step in zip(factors.index, factors.units, slopes, moved, strict=True):
        gradient[:, own] = np.einsum("bij,bdij->bd", slope, step)
        bent = np.einsum("aik,bij,cjk->bac", units, slope, units, optimize=True)
        hessian[:, own[:, None], own] += 2.0 * bent
    return gradient, hessian
