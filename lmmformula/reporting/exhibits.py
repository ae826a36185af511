"""What a report shows of a result: a heading, tables of finished text, sentences and plots.

Every result answers ``exhibit()``; whoever writes a page, Markdown or LaTeX asks for that and for nothing else, and what shows
itself so, from wherever it comes, is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from lmmformula.reporting.grids import Grid
from lmmformula.typing import Data, Drawn

__all__ = ["ACROSS", "Drawing", "Exhibit", "Exhibited", "Picture"]

ACROSS = 3
"""Axes of one plot in a row."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One plot of a report.

    Attributes
    ----------
    name : str
        What it shows, for those who do not see it.
    caption : str
    size : (float, float)
        Inches.
    paint : callable
        Draws into the axes it is given, an array of them if there are several.
    panels : int
        How many axes, in rows of at most three.
    """

    name: str
    caption: str
    size: tuple[float, float]
    paint: Callable[[Drawn], object]
    panels: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the axes."""
        return -(-self.panels // ACROSS), min(self.panels, ACROSS)


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot that somebody has drawn already.

    Attributes
    ----------
    name : str
    figure : matplotlib Figure
    """

    name: str
    figure: Data


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A result as a section of a report.

    Attributes
    ----------
    title : str
        A heading of a few words.
    grids : tuple of Grid
    said : tuple of str
        Sentences below the tables.
    findings : tuple of str
        Statements that stand as a list.
    drawings : tuple of Drawing
    pictures : tuple of Picture
    """

    title: str
    grids: tuple[Grid, ...] = ()
    said: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    pictures: tuple[Picture, ...] = ()

    def titled(self, title: str) -> Exhibit:
        """The same under another heading; its own is then the caption of its first table."""
        return self if title == self.title else Exhibit(title).above(self)

    def drawn(self, *drawings: Drawing) -> Exhibit:
        """The same with further plots."""
        return replace(self, drawings=(*self.drawings, *drawings))

    def above(self, other: Exhibit) -> Exhibit:
        """Both in one section, under the heading of this one; that of the other is the caption of its first table."""
        first = tuple(replace(grid, caption=grid.caption or other.title) for grid in other.grids[:1])
        return Exhibit(
            self.title,
            (*self.grids, *first, *other.grids[1:]),
            tuple(dict.fromkeys((*self.said, *other.said))),
            (*self.findings, *other.findings),
            (*self.drawings, *other.drawings),
            (*self.pictures, *other.pictures),
        )


@runtime_checkable
class Exhibited(Protocol):
    """A result that shows itself."""

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        ...
