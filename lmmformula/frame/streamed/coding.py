"""Codes of grouping factors, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, Name, RandomTerm
from lmmformula.frame.grouping import Grouping, group_members
from lmmformula.frame.levels import Levels, levels_of, member_levels, shares_of
from lmmformula.frame.streamed.distinct import DistinctNumbers, Places
from lmmformula.frame.streamed.labels import MANY, NumberLabels
from lmmformula.frame.streamed.texts import DistinctTexts
from lmmformula.frame.values import Basis, Factor, Value, label_index, take
from lmmformula.typing import Context

__all__ = ["Member", "TermLevels", "crossed", "term_levels"]

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A factor of a grouping factor: its different values, and where each row's stands among them.

    Attributes
    ----------
    expr : Expr
    distinct : Value
        Each value in one row.
    places : Places
        Of numbers, of labels, or of keys of labels.
    rows : (places + 1,) int32 array or None
        Row of `distinct` at each place, -1 last; None where that is the place itself.
    """

    expr: Expr
    distinct: Value
    places: Places
    rows: Codes | None

    @classmethod
    def of(cls, expr: Expr, distinct: Value) -> Member:
        """A member with these values."""
        if isinstance(distinct, Basis):
            raise DataError(f"`{deparse(expr)}` has several columns and cannot be a grouping factor")
        if not isinstance(distinct, Factor):
            return cls(expr, distinct, Places(distinct), None)
        rows = np.full(len(distinct.levels) + 1, -1, dtype=np.int32)
        rows[distinct.codes] = np.arange(len(distinct.codes), dtype=np.int32)
        plain = len(distinct.codes) == len(distinct.levels)
        return cls(expr, distinct, Places(distinct.levels), None if plain else rows)

    @classmethod
    def of_texts(cls, expr: Expr, texts: DistinctTexts) -> Member:
        """A member whose rows come as keys of texts."""
        keys, place, distinct = texts.levels()
        return cls(expr, distinct, Places(keys), np.append(place, np.int32(-1)))

    @property
    def size(self) -> int:
        """Different values."""
        return len(self.distinct.codes) if isinstance(self.distinct, Factor) else len(self.distinct)

    def row_of(self, value: Value) -> Codes:
        """Row of `distinct` that each row of a batch equals."""
        if isinstance(value, Factor):
            found = self.places.of(value.levels)[value.codes]
        else:
            found = self.places.of(value)
        if self.rows is not None:
            found = self.rows[found]
        if len(found) and found.min() < 0:
            raise DataError(
                f"grouping factor `{deparse(self.expr)}` has values that it did not have when the rows were read before: the "
                "data have changed meanwhile. Read them again"
            )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TermLevels:
    """Levels of a term, and the codes of any rows among them.

    Attributes
    ----------
    term : RandomTerm
    levels : Levels
        Of no rows.
    members : tuple of Member
        None for a term of one level.
    pairs : Places or None
        Combinations of members that occur, by :func:`crossed`; None for one member.
    codes : tuple of int32 arrays
        Level of each combination, or of each value of the member; for ``mm()`` of each value of each member; empty where
        that is its place.
    """

    term: RandomTerm
    levels: Levels
    members: tuple[Member, ...]
    pairs: Places | None
    codes: tuple[Codes, ...]

    def of(self, value_of: Callable[[Expr], Value], n: int) -> Codes:
        """Code of each row, (n,) or (n, r)."""
        if not self.members:
            return np.zeros(n, dtype=np.int32)
        if self.term.members:
            found = zip(self.members, self.codes, strict=True)
            return np.column_stack([codes[m.row_of(value_of(m.expr))] for m, codes in found])
        if self.pairs is None:
            at = self.members[0].row_of(value_of(self.members[0].expr))
        else:
            at = self.pairs.of(crossed(self.members, value_of))
            if len(at) and at.min() < 0:
                raise DataError(
                    f"`{self.term.group_label}` has combinations that it did not have when the rows were read before: the data "
                    "have changed meanwhile. Read them again"
                )
        return self.codes[0][at] if self.codes else at

    def shares(self, value_of: Callable[[Expr], Value], n: int) -> NDArray[np.float64] | None:
        """Shares of the levels of rows that have several."""
        term = self.term
        return (
            shares_of(term.members, term.member_weights, term.member_scale, value_of, n)
            if term.members
            else None
        )


def crossed(members: tuple[Member, ...], value_of: Callable[[Expr], Value]) -> NDArray[np.int64]:
    """One number for each combination of the members' values."""
    size = 1.0
    for member in members:
        size *= max(member.size, 1)
    if size >= 2.0**62:
        raise PlanError(
            f"{' : '.join(deparse(m.expr) for m in members)} could have {size:.3g} levels, which rows that are read in batches "
            "cannot be told apart by: make it one column beforehand"
        )
    key = np.zeros(0, dtype=np.int64)
    for j, member in enumerate(members):
        own = member.row_of(value_of(member.expr)).astype(np.int64)
        key = own if j == 0 else key * max(member.size, 1) + own
    return key


def term_levels(
    term: RandomTerm,
    members: dict[Expr, Member],
    combinations: dict[tuple[Expr, ...], DistinctNumbers],
    known: dict[tuple[Expr, ...], Grouping],
    context: Context,
    text: str,
) -> TermLevels:
    """Levels of a term from the different values of its factors, as :func:`levels_of` finds them on all rows."""
    if term.members:
        own = tuple(members[e] for e in term.members)
        distinct = {m.expr: m.distinct for m in own}
        labels, factors = member_levels(term, distinct.__getitem__)
        codes = tuple(label_index(labels, f.levels)[f.codes] for f in factors)
        return TermLevels(
            term, Levels(labels, _none(len(own)), (labels,), _none_shared(len(own))), own, None, codes
        )
    group = group_members(term.group)
    own = tuple(members[e] for e in group)
    if not group:
        levels = levels_of(term, lambda e: None, 0, known, context, text)
        return TermLevels(term, levels, (), None, ())
    first, *others = own
    if not others and _is_many_numbers(term, first):
        labels = NumberLabels(first.distinct)
        return TermLevels(term, Levels(labels, _none(), (labels,)), own, None, ())  # type: ignore[arg-type]
    pairs, distinct, n = None, {first.expr: first.distinct}, first.size
    if others:
        keys = combinations[group].values()
        pairs, n, left = Places(keys), len(keys), np.asarray(keys, dtype=np.int64)
        for member in reversed(own):
            left, at = np.divmod(left, max(member.size, 1))
            distinct[member.expr] = take(member.distinct, at)
    levels = levels_of(term, distinct.__getitem__, n, known, context, text)
    plain = np.array_equal(levels.codes, np.arange(n))
    bare = Levels(levels.labels, _none(), levels.cells, across=levels.across)
    return TermLevels(term, bare, own, pairs, () if plain else (levels.codes,))


def _is_many_numbers(term: RandomTerm, member: Member) -> bool:
    """Whether labels are better left as the whole numbers that they are."""
    value = member.distinct
    if type(member.expr) is not Name or isinstance(value, Factor) or value.dtype.kind not in "iu":
        return False
    return term.cov is None and term.prec is None and member.size >= MANY


def _none(r: int = 0) -> Codes:
    return np.zeros((0, r) if r else 0, dtype=np.int32)


def _none_shared(r: int) -> NDArray[np.float64]:
    return np.zeros((0, r))
