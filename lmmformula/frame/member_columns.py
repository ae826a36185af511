r"""A covariate for each member of ``mm()``: brms' ``(mmc(x1, x2) | mm(g1, g2))``.

With w_rj the share of a row's level ``c_rj`` and x_rj the covariate of that member (Buerkner 2018, sec. 3)::

    eta_r = ... + sum_j w_rj z_rj'b[c_rj],      z_rj = (1, x_rj)

so that the columns of a row differ between its levels: an array (n, r, k) in place of (n, k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from lmmformula.formula.random import MEMBER_COLUMNS
from lmmformula.formula.spec import Call, Expr
from lmmformula.frame.design import Design
from lmmformula.frame.values import Basis, Value
from lmmformula.typing import Array

__all__ = ["differ", "member_matrix", "of_member"]

_Values = Callable[[Expr], Value]


def differ(factors: Iterable[Expr]) -> bool:
    """Whether a column has a value for each member."""
    return any(isinstance(expr, Call) and expr.function == MEMBER_COLUMNS for expr in factors)


def of_member(value_of: _Values, j: int) -> _Values:
    """Values with those of the j-th member for ``mmc()``."""

    def value(expr: Expr) -> Value:
        found = value_of(expr)
        own = isinstance(expr, Call) and expr.function == MEMBER_COLUMNS
        return found.matrix[:, j] if own and isinstance(found, Basis) else found

    return value


def member_matrix(design: Design, value_of: _Values, n: int, members: int) -> Array:
    """The columns of each member, (n, members, k)."""
    return np.stack([design.matrix(of_member(value_of, j), n) for j in range(members)], axis=1)
