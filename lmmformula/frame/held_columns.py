"""Columns of many rows that are constant within the levels of a grouping factor, found from the variables that make them.

A term is held by a factor where the variables in it are: a row of X is then nowhere written out. Which columns those are, what
is saved, and the algebra: :mod:`lmmformula.ir.level_columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmmformula.formula.spec import Expr
from lmmformula.frame.design import Design, product, write
from lmmformula.frame.values import Value
from lmmformula.ir import gram_ways
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.groups import GroupRows, merge_terms
from lmmformula.ir.level_columns import FEW, ByLevel, LevelColumns, first_rows_of
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Entries, Index

__all__ = ["held_columns"]

ROWS = 65_536
"""Rows that are looked at before all are, and at a time."""


def held_columns(
    design: Design, value_of: Callable[[Expr], Value], terms: Sequence[GroupBlock], n: int
) -> ByLevel | None:
    """The columns of a design by levels of the terms' groups; None where few are held so, or rows are not many."""
    own = merge_terms(terms)
    if not gram_ways.by_level([rows.group for rows in own], n, len(design.names)):
        return None
    left = list(range(len(design.terms)))
    values: list[Array] = [np.zeros((rows.group.m, 0)) for rows in own]
    at: list[Index] = [np.zeros(0, dtype=np.intp)] * len(own)
    constant = design.intercept
    for a in sorted(range(len(own)), key=lambda a: own[a].group.m):
        if own[a].group.has_basis or own[a].group.several:
            continue
        first = first_rows_of(own[a], n)
        mine = [j for j in left if _is_held(design, j, value_of, own[a], first)]
        left = [j for j in left if j not in mine]
        columns = [np.ones((own[a].group.m, int(constant)))]
        columns += [
            product([part.source(value_of(part.expr))(first) for part in design.terms[j]]) for j in mine
        ]
        values[a] = np.concatenate(columns, axis=1, dtype=np.float64)
        at[a] = np.concatenate([np.arange(int(constant)), *(_places(design, j) for j in mine)])
        constant = False
    if constant or sum(map(len, at)) < FEW:
        return None
    rest_at = np.concatenate([np.zeros(0, dtype=np.intp), *(_places(design, j) for j in left)])
    held = LevelColumns(_rest(design, left, value_of, n), rest_at, tuple(values), tuple(at))
    return ByLevel(held, tuple(rows.codes for rows in own))


def _places(design: Design, j: int) -> Index:
    where = design.places[j]
    return np.arange(where.start, where.stop)


def _rest(design: Design, left: Sequence[int], value_of: Callable[[Expr], Value], n: int) -> Array:
    """R: the columns of the terms that are held by no group."""
    ends = np.cumsum([0, *(len(_places(design, j)) for j in left)]).tolist()
    out, plan = np.empty((n, ends[-1])), []
    for j, start, stop in zip(left, ends[:-1], ends[1:], strict=True):
        plan.append((slice(start, stop), [part.source(value_of(part.expr)) for part in design.terms[j]]))
    write(plan, out)
    return out


def _is_held(design: Design, j: int, value_of: Callable[[Expr], Value], own: GroupRows, first: Index) -> bool:
    """Whether all variables of a term have one value in all rows of each level."""
    return all(_is_constant(part.key(value_of(part.expr)), own.codes, first) for part in design.terms[j])


def _is_constant(key: Entries, codes: Entries, first: Index) -> bool:
    known = key[first]

    def same(i: int, j: int) -> bool:
        return bool((known[codes[i:j]] == key[i:j]).all())

    n = len(codes)
    return same(0, min(n, ROWS)) and all(in_parts(same, edges(n, ROWS)))
