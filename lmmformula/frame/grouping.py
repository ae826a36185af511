"""Grouping factors as integer codes: never dummies, O(n), only the levels are sorted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.formula.spec import Binary, Expr, Paren
from lmmformula.frame.functions import as_factor
from lmmformula.frame.values import Factor, Value, distinct, drop_unused, label_index, object_array

__all__ = ["Grouping", "group_factor", "group_members", "match_cells"]

Labels = NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A grouping factor with the levels of the factors that it crosses.

    Attributes
    ----------
    factor : Factor
        Its labels join those of a cell by ``:``; they are for people.
    cells : tuple of (m,) object arrays
        For each factor crossed, its level in each of the m cells: what tells cells apart, as labels may hold colons.
    """

    factor: Factor
    cells: tuple[Labels, ...]


def group_members(group: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Factors of a grouping expression; nested interactions are written out."""
    flat: list[Expr] = []
    for expr in group:
        while isinstance(expr, Paren):
            expr = expr.inner
        if isinstance(expr, Binary) and expr.operator in (":", "%in%"):
            flat.extend(group_members((expr.left, expr.right)))
        else:
            flat.append(expr)
    return tuple(flat)


def group_factor(
    group: tuple[Expr, ...], value_of: Callable[[Expr], Value], *, clean: bool = False
) -> Grouping:
    """The grouping factor of a term with used levels only, in R's order.

    Levels of an interaction are joined by ``:``, the first factor slowest. `clean` says that the
    factors have no unused levels, which saves a pass over the rows.
    """
    first, *others = [_member(value_of(expr), clean=clean) for expr in group_members(group)]
    codes, cells = first.codes, (first.levels,)
    for other in others:
        codes, cells = _crossed(codes, cells, other)
    if not others:
        return Grouping(first, cells)
    return Grouping(Factor(codes, _joined(cells), "factor"), cells)


def _member(value: Value, *, clean: bool) -> Factor:
    factor = as_factor(value)
    if factor.kind == "logical":
        # Grouping keeps only the levels that occur; a logical in a term keeps both.
        return drop_unused(replace(factor, kind="factor"))
    return factor if clean else drop_unused(factor)


def _crossed(
    codes: NDArray[np.int32], cells: tuple[Labels, ...], b: Factor
) -> tuple[NDArray[np.int32], tuple[Labels, ...]]:
    k = len(b.levels)
    size = len(cells[0]) * k
    missing = (codes < 0) | (b.codes < 0)
    both = codes.astype(np.int64) * k + b.codes
    anything_missing = bool(missing.any())
    if anything_missing:
        both[missing] = size
    out, used = distinct(both, size + 1)
    if anything_missing:
        out[missing] = -1
        used = used[used < size]
    return out, (*(labels[used // k] for labels in cells), b.levels[used % k])


def _joined(cells: tuple[Labels, ...]) -> Labels:
    """Labels of the cells; where two cells would read alike, a level that holds a colon stands in quotes."""
    joined = object_array(map(":".join, zip(*cells, strict=True)))
    if len(set(joined)) == len(joined):
        return joined
    times = Counter(joined)
    quoted = (":".join(f'"{v}"' if ":" in v else v for v in cell) for cell in zip(*cells, strict=True))
    return object_array(q if times[j] > 1 else j for q, j in zip(quoted, joined, strict=True))


def match_cells(
    known: tuple[Labels, ...], cells: tuple[Labels, ...], places: dict[int, pd.Index] | None = None
) -> NDArray[np.int32]:
    """Position of each of `cells` among the `known` ones, -1 where absent. Matches level by level, never by joined labels.

    `places` keeps the index of known labels for further calls.
    """
    if len(known) == 1:
        find = getattr(known[0], "find", None)
        if find is not None:
            return find(cells[0])
        if places is None:
            return label_index(known[0], cells[0])
        if id(known[0]) not in places:
            places[id(known[0])] = pd.Index(known[0], dtype=object)
        return places[id(known[0])].get_indexer(pd.Index(cells[0], dtype=object)).astype(np.int32)
    own, new = np.zeros(len(known[0]), dtype=np.int64), np.zeros(len(cells[0]), dtype=np.int64)
    for labels, others in zip(known, cells, strict=True):
        names = list(dict.fromkeys(labels))
        step = len(names)
        here, there = label_index(names, labels), label_index(names, others)
        # Ranks among the pairs that occur keep the numbers below m times a number of levels.
        pairs, used = pd.factorize(own * step + here)
        wanted = np.where((new < 0) | (there < 0), -1, new * step + there)
        own, new = pairs.astype(np.int64), pd.Index(used).get_indexer(pd.Index(wanted)).astype(np.int64)
    place = np.full(len(own) + 1, -1, dtype=np.int32)
    place[own] = np.arange(len(own), dtype=np.int32)
    return place[new]
