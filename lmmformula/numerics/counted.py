"""Sums by code of many numbers, several of them at the same time on several threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from lmmformula.numerics.aligned import aligned
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index, Numbers

__all__ = ["columns_by", "sums_by", "together"]

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


def columns_by(codes: Index, values: Array, m: int) -> Array | None:
    """Sums of the rows of each code, (m, c); None where they are few, or their columns many."""
    if len(codes) < MANY:
        return None
    from lmmformula.numerics.count_kernels import WIDTH, add_columns

    c = values.shape[1]
    if not 0 < c <= WIDTH:
        return None
    out = aligned((m, WIDTH))
    out[:] = 0.0
    add_columns(np.ascontiguousarray(codes), np.ascontiguousarray(values, dtype=float), out)
    return out[:, :c].copy()


def together(makes: list[Callable[[], T]], n: int) -> list[T]:
    """What functions return that each pass over n numbers, at the same time on several threads if there are many."""
    if n < MANY:
        return [make() for make in makes]
    return in_parts(lambda i, j: makes[i](), range(len(makes) + 1))
