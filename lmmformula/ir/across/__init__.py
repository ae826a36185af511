r"""Structures across levels: the precision Q of a term's levels, where they are not independent.

The effects of a term with k columns and m levels are ``b ~ N(0, sigma^2 Q(phi)^-1 (x) Sigma(theta))``: Sigma = L L' within
a level (:mod:`lmmformula.ir.covariance`), Q^-1 across levels, Q = I where levels are independent. With ``b = (I (x) L) u``
the u have precision ``Q (x) I``, so the mixed-model matrix is ``M = Lambda'Z'WZ Lambda + Q (x) I`` and the criteria gain
``-k log|Q|``; see :mod:`lmmformula.criteria.variance` for what becomes of derivatives.

============ ============================================================= ======================================
structure    Q                                                             phi
============ ============================================================= ======================================
known        A^-1 of a relationship matrix A, or a precision as given      none
markov       of cor(b_s, b_t) = rho^|x_s - x_t| (ar1), exp(-|x_s - x_t|    atanh of rho, or log of range over the largest
             / range) (ou, for uneven gaps), anew in each group            distance
car          D - alpha W of neighbours W, D = diag(W 1) (proper CAR)       phi of alpha = sin^2 phi
icar         D - W, with effects that sum to zero in each connected part   none
bym2         of (b, u): b = (1 - rho)^1/2 v + rho^1/2 u, v independent,    phi of rho = sin^2 phi
             u an icar of variance 1
kernel       R^-1 of cor(b_s, b_t) = r(|x_s - x_t| / range): exp, gau,     log of range over the largest distance, and of the
             mat, anew in each group                                       smoothness nu of mat
proportional the inverse of a known matrix, anew in each group             none
============ ============================================================= ======================================

References
----------
Henderson (1976), A simple method for computing the inverse of a numerator relationship matrix, Biometrics 32. Rue & Held
(2005), Gaussian Markov Random Fields, secs. 1.1 and 2.2. Besag (1974), Spatial interaction and the analysis of lattice
systems, JRSS B 36.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from lmmformula.errors import DataError
from lmmformula.extensions import enter
from lmmformula.ir.across.base import Across, Bends, Precision, Share
from lmmformula.ir.across.bym2 import Bym2
from lmmformula.ir.across.car import Car
from lmmformula.ir.across.intrinsic import Constrained, Icar, Intrinsic
from lmmformula.ir.across.kernel import Kernel
from lmmformula.ir.across.known import Known
from lmmformula.ir.across.markov import Markov
from lmmformula.ir.across.placed import Placed
from lmmformula.ir.across.proportional import Proportional
from lmmformula.typing import Array, Index

__all__ = [
    "ACROSS",
    "Across",
    "Bends",
    "Bym2",
    "Car",
    "Constrained",
    "Icar",
    "Intrinsic",
    "Kernel",
    "Known",
    "Markov",
    "Placed",
    "Precision",
    "Proportional",
    "Share",
    "positions_of",
    "register_across",
]


def positions_of(levels: Index | Sequence[object], what: str) -> Array:
    """Numbers that the labels of levels hold, (m, d): one each, or several as in ``(1,2)``; else their order, (m, 1)."""
    found = [_NUMBER.findall(str(level)) for level in levels]
    if not found or not found[0] or any(len(f) != len(found[0]) for f in found):
        if any(found) and not all(found):
            raise DataError(
                f"{what} takes positions from the labels of the levels: all of them numbers, or none."
            )
        return np.arange(len(found), dtype=float)[:, None]
    return np.array(found, dtype=float)


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def _on_a_line(name: str) -> Callable[[Sequence[object]], Across]:
    return lambda levels: Markov(positions_of(levels, name).mean(axis=1), name)


def _field(name: str) -> Callable[[Sequence[object]], Across]:
    return lambda levels: Kernel(positions_of(levels, name), name)


ACROSS: dict[str, Callable[[Sequence[object]], Across]] = {
    **{name: _on_a_line(name) for name in ("ar1", "ou")},
    **{name: _field(name) for name in ("exp", "gau", "mat")},
}
"""Name in ``gr(g, cov = "name")`` -> what makes the structure from the labels of the levels."""


def register_across(name: str, make: Callable[[Sequence[object]], Across]) -> None:
    """Make a structure known by `name` to ``gr(g, cov = "name")``.

    Parameters
    ----------
    name : str
    make : callable
        From the labels of the levels, in their order, to an :class:`Across`; usually its class.
    """
    ACROSS[name] = make
    if isinstance(make, type):
        enter(make)
