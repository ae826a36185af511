"""Which way the sums over rows of a Gram [Z V]'W[Z V] are taken: from sizes alone, so that plans know it too."""

from __future__ import annotations

from collections.abc import Sequence

from lmmformula.ir.groups import Group

__all__ = ["SEVERAL", "are_compiled", "arranged_group", "by_level", "may_be_by_level"]

COMPILED_SUMS = 8e6
"""Products in a Gram from which on compiled passes repay that their machine code is loaded (some 50 ms)."""
FEWER = 250
"""How many times as many it takes for single columns beside few of V: sums by count read rows as they lie, those by level from
anywhere (1,000,000 rows, 2 x 50,000 levels, 6 columns: 110 and 330 ms)."""
WIDE = 8
"""Columns from which on it is looked for those that are constant within levels."""
SEVERAL = 4
"""Columns, half a line of the cache, from which on rows are worth being put in order."""


def are_compiled(groups: Sequence[Group], n: int, columns: int) -> bool:
    """Whether a Gram of n rows with V of so many columns is taken in compiled passes."""
    few = columns < WIDE and all(g.k == 1 for g in groups)
    least = COMPILED_SUMS * (FEWER if few else 1)
    return _products(groups, n, columns) >= least and not any(g.several for g in groups)


def by_level(groups: Sequence[Group], n: int, columns: int) -> bool:
    """Whether it is looked for columns of V that are constant within levels."""
    return columns >= WIDE and are_compiled(groups, n, columns)


def may_be_by_level(terms: int, n: int, columns: int) -> bool:
    """Whether it may be, of so many random-effects terms whose groups are not known yet."""
    return columns >= WIDE and n * terms * (columns + 1.0) >= COMPILED_SUMS


def arranged_group(groups: Sequence[Group], columns: int) -> int | None:
    """The group of most levels, if sums over rows of so many columns are worth a copy of these in its order; None if not."""
    from lmmformula.numerics.row_sums import is_shared

    lead = max(range(len(groups)), key=lambda a: groups[a].m, default=None)
    if lead is None or columns < SEVERAL or is_shared(groups[lead].m, groups[lead].k, columns):
        return None
    return lead


def _products(groups: Sequence[Group], n: int, columns: int) -> float:
    """Products of three that are summed; a pair of levels, found through its row, counts as three."""
    k = [g.k for g in groups]
    pairs = (sum(k) ** 2 - sum(x * x for x in k)) / 2
    return float(n) * (sum(x * (x + columns) for x in k) + 3 * pairs)
