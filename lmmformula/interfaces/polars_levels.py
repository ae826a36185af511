"""Factors for marginaleffects 0.6, which asks polars for their levels by a function that polars 2 no longer has.

``series.cat.get_categories()`` was polars' way to the levels of an Enum; since polars 2 they are in its type. The frame here
answers the old question from the type, with polars 1 and 2 alike, and is a polars frame otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from lmmformula.typing import Data


__all__ = ["LevelsFrame"]


class _Levels:
    """What ``.cat`` gives of a factor: ``get_categories()``, and everything that polars has there."""

    def __init__(self, series: pl.Series) -> None:
        self._series = series

    def get_categories(self) -> pl.Series:
        """The levels in their order."""
        return pl.Series(self._series.name, list(self._series.dtype.categories), dtype=pl.String)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Data:
        return getattr(pl.Series.cat.__get__(self._series, pl.Series), name)  # type: ignore[attr-defined]


class _Factor(pl.Series):
    """A column of type Enum."""

    @property
    def cat(self) -> Data:
        """Its levels."""
        return _Levels(self)


class LevelsFrame(pl.DataFrame):
    """A polars frame whose columns of type Enum know their levels by the old name too."""

    @classmethod
    def of(cls, frame: pl.DataFrame) -> LevelsFrame:
        """The same columns."""
        return cls(frame.get_columns())

    def __getitem__(self, key: Data) -> Data:
        found = super().__getitem__(key)
        if isinstance(found, pl.Series) and isinstance(found.dtype, pl.Enum):
            return _Factor(found)
        return found

    def with_columns(self, *exprs: Data, **named: Data) -> LevelsFrame:
        """As polars', and such a frame again."""
        return LevelsFrame.of(super().with_columns(*exprs, **named))
