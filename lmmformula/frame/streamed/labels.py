"""Labels of levels that are numbers, written when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.values import object_array
from lmmformula.typing import Entries

__all__ = ["MANY", "NumberLabels"]

MANY = 200_000
"""Levels from which labels are kept as numbers: a Python string takes 60 bytes, a number 8."""


class NumberLabels:
    """Labels of whole numbers, as an array of text would give them.

    Parameters
    ----------
    numbers : (m,) integer array
        In increasing order.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: Entries) -> None:
        self.numbers = numbers

    @property
    def shape(self) -> tuple[int]:
        return (len(self.numbers),)

    @property
    def size(self) -> int:
        return len(self.numbers)

    @property
    def ndim(self) -> int:
        return 1

    @property
    def dtype(self) -> np.dtype[np.object_]:
        return np.dtype(object)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        return (str(int(number)) for number in self.numbers)

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: slice | Entries) -> NDArray[np.object_]: ...
    def __getitem__(self, rows: int | np.integer | slice | Entries) -> str | NDArray[np.object_]:
        found = self.numbers[rows]
        return object_array(map(str, found.tolist())) if isinstance(found, np.ndarray) else str(int(found))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.object_]:
        return object_array(self)

    def tolist(self) -> list[str]:
        """All labels."""
        return list(self)
