"""Grouping factors as integer codes: never dummies, O(n), only the levels are sorted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmmformula.formula.spec import Binary, Expr, Paren
from lmmformula.frame.functions import as_factor
from lmmformula.frame.values import Factor, Value, distinct, drop_unused, object_array

__all__ = ["group_factor", "group_members"]


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
) -> Factor:
    """The grouping factor of a term with used levels only, in R's order.

    Levels of an interaction are joined by ``:``, the first factor slowest. `clean` says that the
    factors have no unused levels, which saves a pass over the rows.
    """
    members = [_member(value_of(expr), clean=clean) for expr in group_members(group)]
    result = members[0]
    for other in members[1:]:
        result = _crossed(result, other)
    return result


def _member(value: Value, *, clean: bool) -> Factor:
    factor = as_factor(value)
    if factor.kind == "logical":
        # Grouping keeps only the levels that occur; a logical in a term keeps both.
        return drop_unused(replace(factor, kind="factor"))
    return factor if clean else drop_unused(factor)


def _crossed(a: Factor, b: Factor) -> Factor:
    k = len(b.levels)
    size = len(a.levels) * k
    missing = (a.codes < 0) | (b.codes < 0)
    cells = a.codes.astype(np.int64) * k + b.codes
    anything_missing = bool(missing.any())
    if anything_missing:
        cells[missing] = size
    codes, used = distinct(cells, size + 1)
    if anything_missing:
        codes[missing] = -1
        used = used[used < size]
    labels = object_array(f"{x}:{y}" for x, y in zip(a.levels[used // k], b.levels[used % k], strict=True))
    return Factor(codes, labels, "factor")
