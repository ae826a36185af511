"""Several responses in one problem: its rows are those of the first response, then those of the second, and so on.

A column of X, and of a random-effects term, belongs to one response and is zero in the rows of all others; terms whose effects
are correlated across responses are one term with the columns of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmmformula.families.family import Family

__all__ = ["Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one response.

    Attributes
    ----------
    name : str
        The response as the formula writes it.
    start, stop : int
        Its rows.
    family : Family
    fixed : tuple of int
        First of its columns of X, and one past the last.
    aux : tuple of int
        Places of its auxiliary predictors among those of the problem.
    """

    name: str
    start: int
    stop: int
    family: Family
    fixed: tuple[int, int]
    aux: tuple[int, ...] = ()

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def n(self) -> int:
        return self.stop - self.start

    @property
    def columns(self) -> slice:
        """Its columns of X."""
        return slice(*self.fixed)
