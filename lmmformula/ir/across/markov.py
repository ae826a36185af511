r"""Levels on a line whose correlation falls off with the distance, as that of a Markov process: ar1 and ou.

Within a group (other groups are independent), with the levels in order of position and r_i the correlation of neighbours,
Q is tridiagonal (Rue & Held 2005, sec. 1.1.1)::

    Q_ii = 1 + sum over the one or two gaps of r^2 / (1 - r^2),    Q_i,i+1 = -r / (1 - r^2),    log|Q| = -sum log(1 - r^2)

``ar1``: positions in whole steps of a common unit, ``r = rho^steps`` with rho in (-1, 1); phi = atanh rho. ``ou``, the
Ornstein-Uhlenbeck process (nlme's corCAR1, an exponential field on a line): any positions, ``r = exp(-gap / range)``; phi =
log(range / reach), reach the largest distance within a group. Neither phi has a unit. Everything is O(m).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision
from lmmformula.ir.across.naturals import Correlation, Length, Natural
from lmmformula.ir.across.placed import FARTHEST, blocks_of, refuse_duplicates
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Markov", "common_step"]

_START = 0.3
"""Range of ou over the largest distance where a search begins."""
LONGEST = 25.0
"""Log of the range over the largest distance from which on Q cannot be told from a singular matrix."""
NEAREST = 12.0
"""The same of atanh |rho|: 1 - |rho| is 8e-11."""
MOST_STEPS = 1e5
"""Steps of a common unit beyond which positions are taken for uneven."""


@dataclass(frozen=True, eq=False)
class Markov:
    """Levels at positions on a line.

    Attributes
    ----------
    positions : (m,) array
        Different within a group.
    name : {"ar1", "ou"}
    within : (m,) int array or None
        Group of each level; None for a single one.
    unit : float or None
        The step of ar1, or the distance that phi of ou is relative to; found from the positions where it is None.
    """

    positions: Array
    name: str = "ar1"
    within: Index | None = None
    unit: float | None = None

    def __post_init__(self) -> None:
        refuse_duplicates(self.positions[:, None], self.groups, self.name)
        if not self._gaps.size:
            raise DataError(
                f"{self.name}() has one position in each of its {len(np.unique(self.groups)):,} groups, so no neighbours to "
                "estimate a correlation from; write (1 | g), or check what the groups are."
            )
        if self.name == "ar1" and self.unit is None and common_step(self._gaps) is None:
            raise DataError(
                f"ar1() takes positions in whole steps of one unit, and the gaps of these, {self._gaps.min():.4g} to "
                f"{self._gaps.max():.4g}, have none in common. Write ou() for uneven gaps, or round the positions."
            )

    @property
    def m(self) -> int:
        return len(self.positions)

    @property
    def groups(self) -> Index:
        """Group of each level."""
        return self._groups

    @cached_property
    def _groups(self) -> Index:
        return blocks_of(self.within, self.m)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.CORRELATION,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("rho",) if self.name == "ar1" else ("range",)

    @property
    def points(self) -> Array:
        """Positions as points of one coordinate."""
        return self.positions[:, None]

    @cached_property
    def _order(self) -> tuple[Index, Index]:
        """Levels by group and position, and the places in that order after which a neighbour follows."""
        order = np.lexsort((self.positions, self.groups))
        return order, np.flatnonzero(np.diff(self.groups[order]) == 0)

    @cached_property
    def _gaps(self) -> Array:
        """Distances of neighbours."""
        order, here = self._order
        return np.diff(self.positions[order])[here]

    @cached_property
    def scale(self) -> float:
        """The step of ar1: the largest distance of which all gaps are multiples; of ou the largest distance."""
        if self.unit is not None:
            return self.unit
        if self.name == "ar1":
            return common_step(self._gaps) or 1.0
        order = self._order[0]
        x, starts = self.positions[order], np.flatnonzero(np.diff(self.groups[order], prepend=-1))
        return float((np.maximum.reduceat(x, starts) - np.minimum.reduceat(x, starts)).max())

    @cached_property
    def _steps(self) -> Array:
        """Gaps in units of `scale`; whole numbers of ar1."""
        steps = self._gaps / self.scale
        return np.round(steps) if self.name == "ar1" else steps

    def beside(self, points: Array, groups: Index) -> Markov:
        """The same process, with further levels behind those that there are.

        Raises
        ------
        DataError
            For a position of ar1 that is not a whole number of steps from the others.
        """
        together = np.concatenate([self.positions, points[:, 0]])
        if self.name == "ar1":
            steps = (points[:, 0] - self.positions[0]) / self.scale
            if (off := np.abs(steps - np.round(steps)) > 1e-6 * np.maximum(1.0, np.abs(steps))).any():
                raise DataError(
                    f"ar1() has positions in steps of {self.scale:.4g}, and {int(off.sum()):,} of {len(off):,} new ones lie "
                    f"between them, for example {points[off, 0][0]:.6g}; a process in between is ou()."
                )
        return Markov(together, self.name, np.concatenate([self.groups, groups]), self.scale)

    # -- phi -------------------------------------------------------------------------------------------------------

    def start(self) -> Array:
        return np.array([0.2 if self.name == "ar1" else np.log(_START)])

    @property
    def naturals(self) -> tuple[Natural, ...]:
        """rho of one step, or the range."""
        return (Correlation() if self.name == "ar1" else Length(self.scale, 2.0, 1),)

    def natural(self, phi: Array) -> Array:
        """rho of one step, or the range in the units of the positions."""
        if self.name == "ar1":
            return np.tanh(phi)
        return np.exp(np.clip(phi, -FARTHEST, FARTHEST)) * self.scale

    def bend(self, phi: Array) -> Array:
        """Of rho, or of the correlation ``exp(-t)`` over the smallest gap."""
        if self.name == "ar1":
            return -2.0 * np.tanh(phi)
        return self._steps.min() * np.exp(np.minimum(-phi, FARTHEST)) - 1.0

    def _correlations(self, phi: Array) -> tuple[Array, Array, Array]:
        """r of each gap, 1 - r^2, and dr/dphi."""
        steps = self._steps
        if self.name == "ou":
            fall = steps * np.exp(np.clip(-phi[0], -LONGEST, FARTHEST))
            r = np.exp(-fall)
            return r, -np.expm1(-2.0 * fall), fall * r
        held = float(np.clip(phi[0], -NEAREST, NEAREST))
        rho = float(np.tanh(held))
        slope = 1.0 / np.cosh(held) ** 2
        with np.errstate(divide="ignore"):
            below = np.where(
                steps == 1.0, 1.0, steps * np.sign(rho) ** (steps - 1.0) * np.abs(rho) ** (steps - 1.0)
            )
            rest = -np.expm1(steps * (np.log1p(-slope) if slope < 1.0 else -np.inf))
        return np.sign(rho) ** steps * np.abs(rho) ** steps, rest, below * slope

    # -- Q ---------------------------------------------------------------------------------------------------------

    def precision(self, phi: Array) -> Precision:
        r, rest, _ = self._correlations(phi)
        rest = np.maximum(rest, np.finfo(float).tiny ** 0.25)
        return Precision(self._tridiagonal(r**2 / rest, -r / rest, 1.0), -float(np.log(rest).sum()))

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        r, rest, dr = self._correlations(phi)
        rest = np.maximum(rest, np.finfo(float).tiny ** 0.25)
        matrix = self._tridiagonal(2.0 * r * dr / rest**2, -dr * (1.0 + r**2) / rest**2, 0.0)
        return ((matrix, float((2.0 * r * dr / rest).sum())),)

    def _tridiagonal(self, shares: Array, neighbours: Array, own: float) -> csr_array:
        """`own` + the shares of each gap on the diagonal, `neighbours` beside it, in the order of the levels."""
        from scipy.sparse import coo_array

        (order, here), m = self._order, self.m
        diagonal = np.full(m, own)
        diagonal[here] += shares
        diagonal[here + 1] += shares
        i, j = order[here], order[here + 1]
        rows, cols = np.concatenate([order, i, j]), np.concatenate([order, j, i])
        values = np.concatenate([diagonal, neighbours, neighbours])
        return coo_array((values, (rows, cols)), shape=(m, m)).tocsr()


def common_step(gaps: Array) -> float | None:
    """The largest unit of which all gaps are whole multiples, to six digits; None where there is none.

    By Euclid's algorithm on the distinct gaps, with what is left of a division taken for zero below 1e-6 of the largest gap.
    """
    distinct = np.unique(gaps)
    least = 1e-6 * float(distinct[-1])
    unit = float(distinct[0])
    for gap in distinct[1:]:
        a, b = float(gap), unit
        while b > least:
            left = a - b * np.floor(a / b + 1e-6)
            a, b = b, max(float(left), 0.0)
        unit = a
    steps = distinct / unit
    whole = np.abs(steps - np.round(steps)) <= 1e-5 * np.maximum(1.0, steps)
    return unit if whole.all() and steps[-1] <= MOST_STEPS else None
