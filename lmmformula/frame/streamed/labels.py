"""Labels of many levels, written when they are looked at: a Python string takes 60 bytes, a number 8."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.values import object_array
from lmmformula.typing import Entries

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MANY", "NumberLabels", "TextLabels"]

MANY = 200_000
"""Levels from which labels are written when they are looked at."""
_ROWS = 65_536
"""Labels that are written at a time."""


class _Labels(ABC):
    """What an array of labels answers, where it holds no strings."""

    __slots__ = ()
    ndim = 1
    dtype = np.dtype(object)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _at(self, rows: slice | Entries) -> list[str]:
        """Labels at a slice or at positions."""

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @property
    def size(self) -> int:
        return len(self)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _ROWS):
            yield from self._at(slice(start, start + _ROWS))

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: slice | Entries) -> NDArray[np.object_]: ...
    def __getitem__(self, rows: int | np.integer | slice | Entries) -> str | NDArray[np.object_]:
        if isinstance(rows, int | np.integer):
            at = int(rows) + (len(self) if rows < 0 else 0)
            if not 0 <= at < len(self):
                raise IndexError(f"level {rows} of {len(self):,}")
            return self._at(slice(at, at + 1))[0]
        return object_array(self._at(rows))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.object_]:
        return object_array(self)

    def tolist(self) -> list[str]:
        """All labels."""
        return list(self)


class NumberLabels(_Labels):
    """Labels of whole numbers.

    Parameters
    ----------
    numbers : (m,) integer array
        In increasing order.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: Entries) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def _at(self, rows: slice | Entries) -> list[str]:
        return [str(number) for number in self.numbers[rows].tolist()]


class TextLabels(_Labels):
    """Labels that Arrow holds.

    Parameters
    ----------
    texts : pyarrow array of m strings
    """

    __slots__ = ("texts",)

    def __init__(self, texts: pa.Array) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def _at(self, rows: slice | Entries) -> list[str]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self.texts.slice(start, max(stop - start, 0)).to_pylist()
            rows = np.arange(start, stop, step)
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        return self.texts.take(np.where(at < 0, at + len(self), at)).to_pylist()
