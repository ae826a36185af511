"""Labels of many levels, written when they are looked at: a Python string takes 60 bytes, a number 8."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
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
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
"""Whole numbers as they are written here."""


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

    @abstractmethod
    def find(self, labels: Iterable[str]) -> NDArray[np.int32]:
        """Position of each of `labels`, -1 where absent."""

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

    def find(self, labels: Iterable[str]) -> NDArray[np.int32]:
        wanted = list(labels)
        whole = [int(label) if _WHOLE.fullmatch(label) else None for label in wanted]
        values = np.array([0 if number is None else number for number in whole], dtype=np.int64)
        at = np.searchsorted(self.numbers, values)
        at[at == len(self.numbers)] = 0
        there = np.array([number is not None for number in whole], dtype=bool)
        there &= np.asarray(self.numbers[at] == values)
        return np.where(there, at, -1).astype(np.int32)


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

    def find(self, labels: Iterable[str]) -> NDArray[np.int32]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(list(labels), self.texts.type)
        found = pc.call_function("index_in", [wanted], pc.SetLookupOptions(value_set=self.texts))
        return found.fill_null(-1).to_numpy().astype(np.int32)
