"""L of each group as a linear function of theta, for the kinds of covariance that are so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.ir.design import GroupBlock
from lmmformula.ir.groups import Group
from lmmformula.typing import Array, Index

__all__ = ["Factors"]


@dataclass(frozen=True, eq=False)
class Factors:
    """L of each group as a linear function of theta.

    Attributes
    ----------
    d : int
        Elements of theta.
    index : tuple of (d_a,) arrays
        Elements of theta that move each group.
    units : tuple of (d_a, k_a, k_a) arrays
        dL/dtheta_j.
    """

    d: int
    index: tuple[Index, ...]
    units: tuple[Array, ...]

    @classmethod
    def of(cls, terms: Sequence[GroupBlock], groups: Sequence[Group]) -> Factors:
        """Of terms whose kinds are linear."""
        ends = np.cumsum([0, *(t.n_theta for t in terms)])
        index, units = [], []
        for group in groups:
            own, moved = [], []
            for i, columns in group.members:
                kind = terms[i].covariance
                for unit in kind.jacobian(kind.start()):
                    wide = np.zeros((group.k, group.k))
                    wide[columns, columns] = unit
                    moved.append(wide)
                own += range(int(ends[i]), int(ends[i + 1]))
            index.append(np.array(own, dtype=np.intp))
            units.append(np.array(moved).reshape(len(moved), group.k, group.k))
        return cls(int(ends[-1]), tuple(index), tuple(units))

    def lowers(self, theta: Array) -> tuple[Array, ...]:
        """L of each group, (A, k, k), at theta (A, d)."""
        return tuple(
            np.tensordot(theta[:, own], units, axes=1)
            for own, units in zip(self.index, self.units, strict=True)
        )

    def moved(self, lowers: Sequence[Array]) -> tuple[Array, ...]:
        """dSigma_j of each group, (A, d_a, k, k)."""
        out = []
        for lower, units in zip(lowers, self.units, strict=True):
            half = np.matmul(units, np.swapaxes(lower, -1, -2)[:, None])
            out.append(half + np.swapaxes(half, -1, -2))
        return tuple(out)
