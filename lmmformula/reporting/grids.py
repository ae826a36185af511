"""Tables of finished text, before anyone decides whether they become a terminal's, a notebook's or a paper's."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Grid"]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text.

    Attributes
    ----------
    caption : str
    header : tuple of str
    rows : tuple of tuple of str
    left : tuple of int
        Columns that start at the left; the others end at the right.
    note : str
        What stands below.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
    note: str = ""
