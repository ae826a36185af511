"""Columns of a model counted before any is made: what would not fit in memory is refused from its size.

A factor of 8,000 levels in the fixed part of 60,000 rows is 3.8 GB of columns, and a fit holds about three times that; the
count needs the levels alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from lmmformula.errors import PlanError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, LinearPart
from lmmformula.frame.values import Basis, Factor, Value
from lmmformula.memory import available_memory, in_words

__all__ = ["HELD", "refuse_wide"]

HELD = 2.85
"""Copies of its columns that a fit holds at its peak, as measured (``table`` of :mod:`lmmformula.engines.rates`)."""
WORD = 8.0
SMALL = 1e8
"""Bytes that are not worth asking the system for what it has."""


def refuse_wide(
    parts: Iterable[LinearPart], value_of: Callable[[Expr], Value], n: int, limit: float | None
) -> None:
    """Refuse a model whose columns would take more than `limit` bytes, by default what is available.

    Raises
    ------
    PlanError
        That names the term of most columns.
    """
    widths: list[tuple[float, str, bool]] = []
    codings = 0.0
    for part in parts:
        for term in part.terms:
            counts = [_columns(value_of(factor)) for factor in term.factors]
            widths.append((math.prod(counts), term.label or deparse(term.factors[0]), len(counts) == 1))
            codings += sum(
                float(k) ** 2
                for k, factor in zip(counts, term.factors, strict=True)
                if isinstance(value_of(factor), Factor)
            )
    columns = sum(width for width, _, _ in widths)
    need = WORD * (HELD * n * columns + codings)
    if limit is None and need < SMALL:
        return
    have = float(available_memory()) if limit is None else limit
    if need <= have:
        return
    width, label, single = max(widths)
    what, cure = f"`{label}` has {width:,.0f} columns, which", "leave out interactions, or merge levels"
    if single:
        what = f"`{label}` has {width:,.0f} levels: {width:,.0f} columns"
        cure = f"so many levels suit a random effect, (1 | {label})"
    raise PlanError(
        f"{what} for {n:,} rows would take {in_words(WORD * n * width)}, and a fit with all columns about {in_words(need)}, "
        f"where {in_words(have)} are available; {cure}."
    )


def _columns(value: Value) -> float:
    if isinstance(value, Factor):
        return float(len(value.levels))
    return float(value.matrix.shape[1]) if isinstance(value, Basis) else 1.0
