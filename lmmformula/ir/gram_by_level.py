"""A Gram with X in which what is constant within levels stays with the levels: as wide as X only where that is asked for.

Names and equation numbers of :mod:`lmmformula.ir.level_columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lmmformula.ir.blocks import Blocks
from lmmformula.ir.gram import Gram
from lmmformula.ir.level_columns import LevelColumns
from lmmformula.numerics.batched import flat
from lmmformula.numerics.tall import tall_transposed
from lmmformula.typing import Array

__all__ = ["GramByLevel"]


class GramByLevel(Gram):
    """[Z X]'W[Z X] from [Z R]'W[Z R]; `rhs` and `vv` are made when they are first asked for, O((nnz + q) p).

    Attributes
    ----------
    held : LevelColumns
        X.
    sums : tuple of (m_a, k_a, r) arrays
        Z_a'WR.
    square : (r, r) array
        R'WR.
    """

    held: LevelColumns
    sums: tuple[Array, ...]
    square: Array
    _blocks: Blocks

    def __init__(self, blocks: Blocks, held: LevelColumns, own: Gram) -> None:
        self._set(diag=own.diag, cross=own.cross, sums=own.rhs, square=own.vv, held=held, _blocks=blocks)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def by_level(self) -> GramByLevel:
        return self

    @cached_property
    def _wide(self) -> tuple[tuple[Array, ...], Array]:
        cross = {(a, b): (self._blocks.pattern(a, b), values) for (a, b), values in self.cross.items()}
        return self.held.wide(self._blocks.groups, self.diag, cross, self.sums, self.square)

    @property
    def rhs(self) -> tuple[Array, ...]:  # type: ignore[override]
        """Z_a'WX."""
        return self._wide[0]

    @property
    def vv(self) -> Array:  # type: ignore[override]
        """X'WX."""
        return self._wide[1]

    def columns_times(self, effects: Sequence[Array]) -> Array:
        """As of a Gram, by (1): A_a'(Z_a'WZ b)."""
        held, out = self.held, np.empty(self.held.p)
        rest = [tall_transposed(flat(s), b.ravel()) for s, b in zip(self.sums, effects, strict=True)]
        out[held.rest_at] = sum(rest, np.zeros(len(held.rest_at)))
        for a, (values, at) in enumerate(zip(held.values, held.values_at, strict=True)):
            if len(at):
                out[at] = tall_transposed(values, self._met(a, effects))
        return out

    def _met(self, a: int, effects: Sequence[Array]) -> Array:
        """Z_a'WZ b of a group with an intercept alone, (m_a,)."""
        from scipy.sparse import csr_array

        groups = self._blocks.groups
        out = self.diag[a][:, 0, 0] * effects[a][:, 0]
        for (b, c), values in self.cross.items():
            if a not in (b, c):
                continue
            index, shape = self._blocks.pattern(b, c).compressed, (groups[b].m, groups[c].m)
            sums = values.reshape(len(values), -1)  # the other group's columns
            for j in range(sums.shape[1]):
                n = csr_array((np.ascontiguousarray(sums[:, j]), *index), shape=shape)
                out += n @ effects[c][:, j] if a == b else n.T @ effects[b][:, j]
        return out
