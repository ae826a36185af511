"""What sums over the rows of a group are made of: its columns, their products, and rows of several levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import GroupRows
from lmmformula.numerics.counted import sums_by
from lmmformula.typing import Array, Numbers

__all__ = ["column_of", "counted_sums", "lower_first", "product_of", "times_weights", "where_met"]


def lower_first(one: GroupRows, other: GroupRows) -> tuple[GroupRows, GroupRows]:
    """Columns of the lower and of the higher of a row's two levels."""
    assert one.basis is not None
    assert other.basis is not None
    turned = (one.codes > other.codes)[:, None]
    low, high = (np.where(turned, a, b) for a, b in ((other.basis, one.basis), (one.basis, other.basis)))
    return replace(one, basis=low), replace(other, basis=high)


def where_met(part: GroupRows, met: NDArray[np.bool_]) -> GroupRows:
    """The part with the columns of other rows zero."""
    return part if met.all() or part.basis is None else replace(part, basis=part.basis * met[:, None])


def column_of(own: GroupRows, j: int, rows: slice = slice(None)) -> Array | None:
    """Column j of some rows; None stands for ones."""
    return None if own.basis is None else own.basis[rows, j]


def product_of(*factors: Array | None) -> Numbers:
    """Product of those that are not None; None if none is left."""
    out: Numbers = None
    for f in factors:
        if f is not None:
            out = f if out is None else out * f
    return out


def times_weights(weights: Array | None, columns: Array) -> Array:
    """WV; None stands for ones."""
    return columns if weights is None else weights[:, None] * columns


def counted_sums(own: GroupRows, columns: Array) -> Array:
    """Z_a' r by one count for each column, (m, k, c)."""
    group = own.group
    out = np.empty((group.m, group.k, columns.shape[1]))
    for i in range(group.k):
        for j in range(columns.shape[1]):
            value = product_of(columns[:, j], column_of(own, i))
            out[:, i, j] = sums_by(own.codes, value, group.m)
    return out
