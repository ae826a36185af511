"""Leverages of the rows in a working linear model."""

from __future__ import annotations

from collections.abc import Sequence

from lmmformula.engines.base import InverseBlocks
from lmmformula.ir.rows import Rows, RowVector
from lmmformula.typing import Array

__all__ = ["leverage"]


def leverage(rows: Rows, factors: Sequence[Array], inverse: InverseBlocks) -> RowVector:
    """diag(Z Lambda M^-1 Lambda'Z') from the blocks of M^-1 that belong to levels of one row."""
    own = tuple(f @ inverse.diagonal(a) @ f.T for a, f in enumerate(factors))
    pairs: dict[tuple[int, int], Array] = {}
    if inverse.has_pairs:
        pairs = {(a, b): factors[a] @ inverse.pair(a, b) @ factors[b].T for a, b in rows.levels.pairs()}
    return rows.row_quadratic(own, pairs)
