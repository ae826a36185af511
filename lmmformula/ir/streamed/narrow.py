"""Columns in as few bytes as hold every one of their numbers exactly, and back.

A column of zeros and ones takes a byte for each row, one of a single value none, one that was measured in single precision
four. What is read again is equal to what was written, bit for bit but for the sign of a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array, Entries, Numbers

__all__ = ["Packed", "Slot", "codes_for", "narrowed", "packed"]

_WHOLE = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32))


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a column lies in a record: the type of its entries, and where they begin; or the one value that all have."""

    dtype: str
    start: int
    width: int
    value: float = 0.0

    @property
    def size(self) -> int:
        return 0 if not self.dtype else np.dtype(self.dtype).itemsize * self.width

    def of(self, record: memoryview, n: int) -> Entries | float:
        """The entries, (n,) or (n, width), in the type they are held in; the value if all are equal."""
        if not self.dtype:
            return self.value
        out = np.frombuffer(record, self.dtype, n * self.width, self.start)
        return out if self.width == 1 else out.reshape(n, self.width)


@dataclass(frozen=True, slots=True)
class Packed:
    """Columns of some rows as bytes."""

    n: int
    slots: tuple[Slot, ...]
    content: bytes


def narrowed(values: Entries) -> Entries | float:
    """The same numbers in the narrowest type that holds each exactly; one number if all are equal."""
    if not len(values) or values.ndim > 1:
        return values
    low, high = values.min(), values.max()
    if low == high:
        return float(low)
    if values.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            return values
        for kind in _WHOLE:
            span = np.iinfo(kind)
            if span.min <= low and high <= span.max:
                whole = values.astype(kind)
                if (whole == values).all():
                    return whole
                break
        if max(-low, high) > np.finfo(np.float32).max:
            return values
        single = values.astype(np.float32)
        return single if (single == values).all() else values
    return values.astype(codes_for(int(low), int(high)), copy=False)


def codes_for(low: int, high: int) -> np.dtype[np.signedinteger]:
    """The narrowest type of whole numbers between two."""
    for kind in _WHOLE:
        span = np.iinfo(kind)
        if span.min <= low and high <= span.max:
            return kind
    return np.dtype(np.int64)


def packed(n: int, columns: Sequence[Entries | float]) -> Packed:
    """Columns, as :func:`narrowed` gives them, in one record; those of one type beside each other."""
    slots = [Slot("", 0, 1, 0.0 if isinstance(c, np.ndarray) else float(c)) for c in columns]
    held = [(j, c) for j, c in enumerate(columns) if isinstance(c, np.ndarray)]
    held.sort(key=lambda one: (-one[1].dtype.itemsize, one[1].dtype.str, one[1].ndim))
    pieces, at = [], 0
    for j, column in held:
        slots[j] = Slot(column.dtype.str, at, column.shape[1] if column.ndim > 1 else 1)
        pieces.append(np.ascontiguousarray(column).tobytes())
        at += column.nbytes
    return Packed(n, tuple(slots), b"".join(pieces))


def full(values: Entries | float, n: int, kind: type = np.float64) -> Numbers:
    """A column in the type that arithmetic wants."""
    if isinstance(values, np.ndarray):
        return values.astype(kind, copy=False)
    return np.full(n, values, dtype=kind)


def filled(record: memoryview, slots: Sequence[Slot], n: int, *, compiled: bool) -> Array:
    """Columns of a record as a matrix, (n, p); by compiled loops that write a row at a time if there are many records."""
    out = np.empty((n, len(slots)))
    if not compiled:
        for j, slot in enumerate(slots):
            out[:, j] = slot.of(record, n)
        return out
    from lmmformula.numerics.row_kernels import spread, spread_constants

    constant = [j for j, slot in enumerate(slots) if not slot.dtype]
    if constant:
        spread_constants(np.array([slots[j].value for j in constant]), np.array(constant), out)
    for kind in dict.fromkeys(slot.dtype for slot in slots if slot.dtype):
        own = [j for j, slot in enumerate(slots) if slot.dtype == kind]
        starts = np.array([slots[j].start for j in own]) // np.dtype(kind).itemsize
        spread(
            np.frombuffer(record, kind, len(record) // np.dtype(kind).itemsize), starts, np.array(own), out
        )
    return out
