"""One random-effects term as the fit coded it, to be replayed on new data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.formula.spec import Expr
from lmmformula.frame.design import Design

__all__ = ["JoinedTerm", "TermRecipe"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TermRecipe:
    """One random-effects term as the fit coded it; `cells` as in :class:`lmmformula.frame.grouping.Grouping`."""

    group: tuple[Expr, ...]
    group_label: str
    design: Design
    cells: tuple[NDArray[np.object_], ...]
    kept: tuple[int, ...] | None = None
    """Columns of the design that the model has; None for all."""
    several: tuple[tuple[Expr, ...], Expr | None, bool] | None = None
    """Members, weights and scale of ``mm()``."""
    coordinates: int = 0
    """How many of `group`, the last ones, are coordinates of positions within the others."""
    named: tuple[str, ...] = ()
    """Names of the columns, where they are not those of the design."""
    indicator: str = ""
    """What stands before every column of a term about the levels of one kind."""

    @property
    def members(self) -> tuple[TermRecipe, ...]:
        """Itself; see :class:`JoinedTerm`."""
        return (self,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the model has."""
        if self.named:
            return self.named
        names = self.design.names
        return names if self.kept is None else tuple(names[j] for j in self.kept)

    @property
    def owners(self) -> tuple[int, ...]:
        """The design's term that each of these columns belongs to."""
        owners = self.design.assign
        return owners if self.kept is None else tuple(owners[j] for j in self.kept)

    @property
    def labels(self) -> tuple[str, ...]:
        """The term of the user's design that each column belongs to."""
        names = ("(Intercept)", *self.design.term_labels)
        found = (names[owner] for owner in self.owners)
        if not self.indicator:
            return tuple(found)
        return tuple(
            "(Intercept)" if n == self.indicator else n.removeprefix(f"{self.indicator}:") for n in found
        )

    def own(self, matrix: Array | None) -> Array | None:
        """These columns of the design's matrix."""
        return matrix if matrix is None or self.kept is None else matrix[..., list(self.kept)]

    def exprs(self) -> tuple[Expr, ...]:
        """Everything that must be evaluated for the term."""
        return (
            *(part.expr for parts in self.design.terms for part in parts),
            *self.factors(),
            *self.weights(),
        )

    def factors(self) -> tuple[Expr, ...]:
        """What says the levels of a row."""
        return self.group if self.several is None else self.several[0]

    def weights(self) -> tuple[Expr, ...]:
        """What says the shares of a row's several levels."""
        return () if self.several is None or self.several[1] is None else (self.several[1],)

    def with_cells(self, cells: tuple[NDArray[np.object_], ...]) -> TermRecipe:
        """The same with other levels."""
        return replace(self, cells=cells)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedTerm:
    """A term whose columns are those of several linear predictors, or responses, one after the other."""

    members: tuple[TermRecipe, ...]

    @property
    def group(self) -> tuple[Expr, ...]:
        return self.members[0].group

    @property
    def coordinates(self) -> int:
        return self.members[0].coordinates

    @property
    def cells(self) -> tuple[NDArray[np.object_], ...]:
        """Of the levels, which all members share."""
        return self.members[0].cells

    @property
    def design(self) -> Design:
        """That of the first."""
        return self.members[0].design

    @property
    def kept(self) -> tuple[int, ...] | None:
        return self.members[0].kept

    @property
    def labels(self) -> tuple[str, ...]:
        """The term of the user's design that each column belongs to."""
        return tuple(label for own in self.members for label in own.labels)

    def factors(self) -> tuple[Expr, ...]:
        """What says the levels of a row."""
        return self.members[0].factors()

    def exprs(self) -> tuple[Expr, ...]:
        """Everything that must be evaluated for the term."""
        return tuple(dict.fromkeys(e for own in self.members for e in own.exprs()))

    def with_cells(self, cells: tuple[NDArray[np.object_], ...]) -> JoinedTerm:
        """The same with other levels."""
        return JoinedTerm(tuple(member.with_cells(cells) for member in self.members))
