"""Weighted sums over rows in blocks of levels: all that later stages need of the rows, at fixed weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.numerics.batched import flat
from lmmformula.numerics.tall import tall_transposed
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.ir.gram_by_level import GramByLevel

__all__ = ["Gram"]


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """[Z V]' W [Z V] in blocks.

    Attributes
    ----------
    diag : tuple of (m_a, k_a, k_a) arrays
    cross : dict (a, b) -> (nnz, k_a, k_b) array, a <= b
        Values on the pattern of the pair; (a, a) where a row has several levels of a.
    rhs : tuple of (m_a, k_a, c) arrays
        Z_a' W V.
    vv : (c, c) array
        V' W V.
    """

    diag: tuple[Array, ...]
    cross: dict[tuple[int, int], Array]
    rhs: tuple[Array, ...]
    vv: Array

    @property
    def by_level(self) -> GramByLevel | None:
        """The same with the columns of V that are constant within levels left with the levels, where they are known."""
        return None

    def columns_times(self, effects: Sequence[Array]) -> Array:
        """V'WZ b, (c,), for effects (m_a, k_a)."""
        parts = zip(self.rhs, effects, strict=True)
        return sum((tall_transposed(flat(r), b.ravel()) for r, b in parts), np.zeros(len(self.vv)))
