"""Text that was meant to be numbers: a few cells that are none make a factor of a numeric column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import LmmformulaWarning, warn
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, Name
from lmmformula.frame.values import Factor, Value, as_number

__all__ = ["warn_if_numbers", "warn_of_numbers_in_text"]


def warn_of_numbers_in_text(values: Iterable[tuple[Expr, Value]]) -> None:
    """Warn of columns of text in which most cells are numbers, but not all.

    A column inside ``factor()`` is meant as it is, and so is one that only names levels; a caller leaves those out.
    """
    for expr, value in values:
        if isinstance(expr, Name) and isinstance(value, Factor) and value.kind == "text":
            rows = np.bincount(value.codes[value.codes >= 0], minlength=len(value.levels))
            warn_if_numbers(deparse(expr), value.levels, rows)


def warn_if_numbers(name: str, levels: NDArray[np.object_], rows: NDArray[np.int64]) -> None:
    """Warn of a column of text, given how many rows have each of its levels."""
    numeric = np.array([as_number(str(level).strip()) is not None for level in levels], dtype=bool)
    numbers, others = int(rows[numeric].sum()), int(rows[~numeric].sum())
    if not others or numbers <= others:
        return
    odd = sorted(np.flatnonzero(~numeric), key=lambda j: -rows[j])
    shown = ", ".join(f"{levels[j]!r} ({rows[j]:,})" for j in odd[:5]) + (", ..." if len(odd) > 5 else "")
    warn(
        f"column {name!r} is text, hence a factor with {len(numeric):,} levels, although {numbers:,} of its "
        f"{numbers + others:,} values are numbers; the others are {shown}. If these stand for missing values, make them "
        f"so: pandas.read_csv(path, na_values=[{levels[odd[0]]!r}, ...]). If it is a category, write factor({name}).",
        LmmformulaWarning,
    )
