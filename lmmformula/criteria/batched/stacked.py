"""Effects of many draws stacked, (q, S)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.engines.base import Factor
from lmmformula.ir.groups import Group
from lmmformula.typing import Array, Index

__all__ = ["StackedEffects"]


@dataclass(frozen=True, eq=False)
class StackedEffects:
    """How u or b of all groups, (q, S), is made up; L of a group and draw comes as (S, k, k)."""

    groups: Sequence[Group]

    @cached_property
    def _ends(self) -> Index:
        return np.cumsum([0, *(g.q for g in self.groups)])

    def split(self, u: Array) -> list[Array]:
        """(m, k, S) of each group."""
        ends = zip(self.groups, self._ends[:-1], self._ends[1:], strict=True)
        return [u[i:j].reshape(g.m, g.k, -1) for g, i, j in ends]

    def scaled(self, u: Array, lowers: Sequence[Array]) -> Array:
        """Lambda u, (q, S)."""
        return self._by_level("sij,mjs->mis", u, lowers)

    def pulled(self, b: Array, lowers: Sequence[Array]) -> Array:
        """Lambda'b, (q, S)."""
        return self._by_level("sji,mjs->mis", b, lowers)

    def _by_level(self, product: str, u: Array, lowers: Sequence[Array]) -> Array:
        parts = []
        for low, own in zip(lowers, self.split(u), strict=True):
            one = own * low[:, 0, 0] if low.shape[-1] == 1 else np.einsum(product, low, own)
            parts.append(one.reshape(-1, own.shape[2]))
        return np.concatenate(parts)

    def turned(self, u: Array, lowers: Sequence[Array]) -> list[Array]:
        """Lambda u of each group, (S, m, k)."""
        return [own.transpose(2, 0, 1) for own in self.split(self.scaled(u, lowers))]

    def solved(self, factor: Factor, r: Array) -> Array:
        """M^-1 r by a factor, (q, S)."""
        return np.concatenate([own.reshape(-1, r.shape[1]) for own in factor.solve(tuple(self.split(r)))])
