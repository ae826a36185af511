"""Which columns a row of a model has, in the order in which they are written, and which terms share their levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmmformula.ir.design import GroupBlock
from lmmformula.ir.groups import Group
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.numerics.columns import Moments
from lmmformula.typing import Entries

__all__ = ["Kept", "Layout"]


def shared(terms: Sequence[GroupBlock]) -> tuple[tuple[int, ...], ...]:
    """Terms of each group, in the order of their first: those of independent levels on a grouping factor of the same name."""
    found: list[list[int]] = []
    for i, term in enumerate(terms):
        own = next((g for g in found if _alike(terms[g[0]], term)), None)
        if own is None:
            found.append([i])
        else:
            own.append(i)
    return tuple(map(tuple, found))


def _alike(a: GroupBlock, b: GroupBlock) -> bool:
    return a.is_blockwise and b.is_blockwise and a.group == b.group and a.m == b.m


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which columns of those that are written a model has.

    Attributes
    ----------
    fixed : tuple of int
    aux : tuple of tuples of int
    terms : tuple of (tuple of int or None)
        Of each basis; None for all.
    blocks : tuple of GroupBlock
        The model's terms, of no rows.
    moments : tuple of Moments
        Of the columns of X, and of each auxiliary predictor, over all rows.
    """

    fixed: tuple[int, ...]
    aux: tuple[tuple[int, ...], ...]
    terms: tuple[tuple[int, ...] | None, ...]
    blocks: tuple[GroupBlock, ...]
    moments: tuple[Moments, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Columns of the rows of one model.

    Attributes
    ----------
    terms : tuple of GroupBlock
        Of no rows.
    groups : tuple of tuples of int
        Terms of each group; the group of most levels first, as rows lie in its order.
    fixed : int
        Columns of X.
    aux : tuple of int
        Columns of each auxiliary predictor.
    weighted, shifted : bool
        Whether rows have weights, and an offset.
    kept : Kept or None
        Which of these columns the model has; None for all.
    """

    terms: tuple[GroupBlock, ...]
    groups: tuple[tuple[int, ...], ...]
    fixed: int
    aux: tuple[int, ...]
    weighted: bool
    shifted: bool
    kept: Kept | None = None

    @classmethod
    def of(cls, rows: MemoryRows) -> Layout:
        """Of rows like these."""
        terms = tuple(term.at(slice(0, 0)) for term in rows.terms)
        groups = shared(terms)
        single = [g for g in groups if terms[g[0]].shares is None]
        lead = max(single, key=lambda g: terms[g[0]].m, default=None)
        order = [*([] if lead is None else [lead]), *(g for g in groups if g is not lead)]
        aux = tuple(block.p for block in rows.aux)
        return cls(terms, tuple(order), rows.fixed.p, aux, rows.weights is not None, rows.offset is not None)

    def bare(self) -> Layout:
        """The same without the names of levels, of which there may be many."""

        def bare(terms: tuple[GroupBlock, ...]) -> tuple[GroupBlock, ...]:
            return tuple(replace(t, levels=range(t.m)) for t in terms)  # type: ignore[arg-type]

        kept = self.kept and replace(self.kept, blocks=bare(self.kept.blocks))
        return replace(self, terms=bare(self.terms), kept=kept)

    @property
    def is_sorted(self) -> bool:
        """Whether rows lie in the order of the first group."""
        return bool(self.groups) and self.terms[self.groups[0][0]].shares is None

    def numbers(self, rows: MemoryRows) -> Iterator[Entries]:
        """Every column that is not a code: y, weights, offset, X, auxiliary columns, bases, shares."""
        yield rows.y
        if self.weighted:
            yield rows.weights  # type: ignore[misc]
        if self.shifted:
            yield rows.offset  # type: ignore[misc]
        for block in (rows.fixed, *rows.aux):
            yield from np.ascontiguousarray(block.matrix.T)
        for term in rows.terms:
            if term.basis is not None:
                yield from np.ascontiguousarray(term.basis.T)
        for term in rows.terms:
            if term.shares is not None:
                yield from np.ascontiguousarray(term.shares.T)

    def codes(self, rows: MemoryRows) -> Iterator[Entries]:
        """Levels of each group."""
        return (rows.terms[own[0]].codes for own in self.groups)

    @property
    def own_terms(self) -> tuple[GroupBlock, ...]:
        """The terms with the columns that the model has."""
        return self.terms if self.kept is None else self.kept.blocks

    def merged(self) -> tuple[Group, ...]:
        """The groups with the columns of all their terms."""
        return tuple(map(self._group, self.groups))

    def _group(self, own: tuple[int, ...]) -> Group:
        terms = self.own_terms
        first = terms[own[0]]
        ends = np.cumsum([0, *(terms[i].k for i in own)])
        members = tuple((i, slice(int(a), int(b))) for i, a, b in zip(own, ends, ends[1:], strict=False))
        basis = len(own) > 1 or first.basis is not None
        several = first.shares is not None
        return Group(first.group, first.m, int(ends[-1]), members, several, first.covariance.across, basis)
