"""Levels on a line whose correlation falls off with the distance: ar1 and ou."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Markov"]


@dataclass(frozen=True, eq=False)
class Markov:
    """Levels at positions on a line, correlation rho^distance: Q is tridiagonal (Rue & Held 2005, sec. 1.1.1).

    With r_i = rho^(x_(i+1) - x_i) of neighbours in order of position,
    ``Q_ii = 1 + sum over the one or two gaps of r^2 / (1 - r^2)``, ``Q_i,i+1 = -r / (1 - r^2)`` and
    ``log|Q| = -sum log(1 - r^2)``.

    Attributes
    ----------
    positions : (m,) array
        All different. Where all gaps are whole numbers rho may be negative (ar1), else it is in (0, 1) (ou).
    """

    positions: Array
    name: str = "ar1"

    def __post_init__(self) -> None:
        x = self.positions
        if not np.isfinite(x).all() or len(np.unique(x)) < len(x):
            raise DataError(
                f"{self.name}() needs a different, finite position for each level; {len(x)} levels are given."
            )

    @property
    def m(self) -> int:
        return len(self.positions)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.CORRELATION,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("rho",)

    @cached_property
    def _order(self) -> tuple[Index, Array]:
        """Levels by position, and the gaps between neighbours in units of the smallest one that counts."""
        order = np.argsort(self.positions, kind="stable")
        return order, np.diff(self.positions[order]) / self.unit

    @cached_property
    def unit(self) -> float:
        """The distance at which the correlation is rho: 1 where positions are whole numbers, else the mean gap."""
        gaps = np.diff(np.sort(self.positions))
        return 1.0 if self._signed or not gaps.size else float(gaps.mean())

    @cached_property
    def _signed(self) -> bool:
        return bool((self.positions == np.round(self.positions)).all())

    def start(self) -> Array:
        return np.array([0.2 if self._signed else 0.0])

    def natural(self, phi: Array) -> Array:
        """rho."""
        return np.array([np.tanh(phi[0]) if self._signed else 0.5 * (1.0 + np.tanh(phi[0]))])

    def _powers(self, phi: Array) -> tuple[Array, Array]:
        """r of each gap, and dr/dphi."""
        rho, gaps = float(self.natural(phi)[0]), self._order[1]
        slope = 1.0 - np.tanh(phi[0]) ** 2
        if not self._signed:
            slope *= 0.5
        r = np.sign(rho) ** gaps * np.abs(rho) ** gaps if self._signed else rho**gaps
        with np.errstate(divide="ignore", invalid="ignore"):
            below = np.where(
                gaps == 1.0, 1.0, gaps * np.sign(rho) ** (gaps - 1.0) * np.abs(rho) ** (gaps - 1.0)
            )
        return r, below * slope

    def precision(self, phi: Array) -> Precision:
        r, _ = self._powers(phi)
        rest = 1.0 - r**2
        return Precision(self._tridiagonal(r**2 / rest, -r / rest, 1.0), -float(np.log(rest).sum()))

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        r, dr = self._powers(phi)
        rest = 1.0 - r**2
        matrix = self._tridiagonal(2.0 * r * dr / rest**2, -dr * (1.0 + r**2) / rest**2, 0.0)
        return ((matrix, float((2.0 * r * dr / rest).sum())),)

    def _tridiagonal(self, shares: Array, neighbours: Array, own: float) -> csr_array:
        """`own` + the shares of each gap on the diagonal, `neighbours` beside it, in the order of the levels."""
        from scipy.sparse import coo_array

        order, m = self._order[0], self.m
        diagonal = np.full(m, own)
        diagonal[:-1] += shares
        diagonal[1:] += shares
        i, j = order[:-1], order[1:]
        rows, cols = np.concatenate([order, i, j]), np.concatenate([order, j, i])
        values = np.concatenate([diagonal, neighbours, neighbours])
        return coo_array((values, (rows, cols)), shape=(m, m)).tocsr()
