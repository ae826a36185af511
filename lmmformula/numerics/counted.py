"""Sums by code of many numbers, several of them at the same time on several threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from lmmformula.numerics.aligned import aligned
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index, Numbers

__all__ = ["add_values_of", "are_counted", "columns_by", "sums_by", "together"]

T = TypeVar("T")

MANY = 200_000
"""Numbers from which on a compiled loop adds them: numpy's counting holds the interpreter's lock and copies narrow codes."""


def sums_by(codes: Index, values: Numbers, m: int) -> Numbers:
    """Sum of the values of each code, (m,), added in their order; how many there are where `values` is None."""
    if values is None or len(codes) < MANY:
        return np.bincount(codes, values, m)
    from lmmformula.numerics.count_kernels import add_by_code

    out = np.zeros(m)
    add_by_code(np.ascontiguousarray(codes), np.ascontiguousarray(values, dtype=float), out)
    return out


def are_counted(n: int, c: int) -> bool:
    """Whether sums of n rows of c columns are taken by :func:`columns_by`."""
    if n < MANY:
        return False
    from lmmformula.numerics.count_kernels import WIDTH

    return 0 < c <= WIDTH


def columns_by(codes: Index, values: Array, m: int, weights: Array | None = None) -> Array | None:
    """Sums of the rows of each code, times their weights, (m, c); None where they are few, or their columns many."""
    c = values.shape[1]
    if not are_counted(len(codes), c):
        return None
    from lmmformula.numerics.count_kernels import WIDTH, add_columns, add_weighted_columns

    out = aligned((m, WIDTH))
    out[:] = 0.0
    codes, values = np.ascontiguousarray(codes), np.ascontiguousarray(values, dtype=float)
    if weights is None:
        add_columns(codes, values, out)
    else:
        add_weighted_columns(codes, np.ascontiguousarray(weights, dtype=float), values, out)
    return out[:, :c].copy()


def add_values_of(codes: Index, values: Array, out: Array, start: int, stop: int, scale: float = 1.0) -> None:
    """Add `scale` times the value that the code of each row names, (m,), to rows `start` to `stop` of `out`, (n,)."""
    if len(codes) < MANY:
        out[start:stop] += scale * values[codes[start:stop]]
        return
    from lmmformula.numerics.count_kernels import add_values

    add_values(start, stop, np.ascontiguousarray(codes), np.ascontiguousarray(values), scale, out)


def together(makes: list[Callable[[], T]], n: int) -> list[T]:
    """What functions return that each pass over n numbers, at the same time on several threads if there are many."""
    if n < MANY:
        return [make() for make in makes]
    return in_parts(lambda i, j: makes[i](), range(len(makes) + 1))
