"""Whether several fits describe the same observations, which a comparison of their likelihoods takes for granted.

Equal numbers of rows and equal responses do not show it: two models that each leave out one row may leave out different ones.
What identifies a row is, in this order:

1. its label, where the labels of both tables are unique: rows in another order are then matched by label;
2. its position, where both tables have the same number of rows;
3. else its contents: the columns of both tables or, for fits that no longer have theirs, the levels of shared grouping factors.

A log-likelihood is a sum over rows, so their order does not matter. Rows in another order are refused where nothing identifies
them, since a sum of equal responses could as well be that of other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaError
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor, labels_of
from lmmformula.inference.rows import codes_of_rows, draft_of, row_labels
from lmmformula.ir.rows import Chunk
from lmmformula.typing import Array, Entries

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.frame.table import Table
    from lmmformula.inference.fitted import Fitted

__all__ = ["refuse_other_rows", "row_order", "same_columns"]

Order = NDArray[np.intp] | None


def refuse_other_rows(fits: Sequence[Fitted]) -> None:
    """Refuse fits of other rows, responses or numbers of trials than those of the first.

    Raises
    ------
    DataError
        That names rows which one fit has and the other lacks.
    """
    for other in fits[1:]:
        _refuse_pair(fits[0], other)


def _refuse_pair(a: Fitted, b: Fitted) -> None:
    first, second = a.problem, b.problem
    if first.n_used != second.n_used:
        raise DataError(
            f"the models were fitted to {first.n_used:,} and {second.n_used:,} rows; a comparison of likelihoods needs the "
            "same rows. " + _cause(a, b)
        )
    if not (first.data.at_hand and second.data.at_hand):
        _refuse_other_sources(a, b)
        return
    order = row_order(a, b)
    if not np.array_equal(_response(a), _arranged(_response(b), order)):
        raise DataError(_other_responses(a, b))
    counts = {first.family.weights_are, second.family.weights_are} - {"precision"}
    ones = np.ones(first.n)
    held = [p.data.whole(p.data.weights) for p in (first, second)]
    weights = [ones if w is None else w for w in held]
    if counts and not np.array_equal(weights[0], _arranged(weights[1], order)):
        raise DataError(
            f"the models {first.formula!r} and {second.formula!r} have different weights, which count trials or repeated "
            "rows here: different data. Give both the same weights."
        )
    if len({first.family.weights_are, second.family.weights_are}) > 1 and any(
        (w != 1.0).any() for w in weights
    ):
        raise DataError(
            f"the weights of {first.formula!r} are {first.family.weights_are}, those of {second.formula!r} "
            f"{second.family.weights_are}: the likelihoods count different data. Write both as y | weights(w), or both as "
            "weights=."
        )


def _refuse_other_sources(a: Fitted, b: Fitted) -> None:
    """Refuse fits whose rows are read a batch at a time and cannot be held beside each other.

    Of such rows the source tells whether they are the same: its name, its number of rows and of complete ones, and the sums of
    the response, of its square and of the weights, to rounding.
    """
    one, other = (_sums(f) for f in (a, b))
    names = [draft.source.name if (draft := draft_of(f)) is not None else "" for f in (a, b)]
    if "" not in names and names[0] != names[1]:
        raise DataError(
            f"the models were fitted to rows of {names[0]} and of {names[1]}, which are read a batch at a time and cannot be "
            "compared row by row. Fit both to one source."
        )
    if a.problem.n_rows_data != b.problem.n_rows_data or not np.allclose(one, other, rtol=1e-9, atol=0.0):
        raise DataError(
            f"the models {a.formula!r} and {b.formula!r} have different responses, weights or rows: sums over their "
            f"{a.problem.n_used:,} rows differ. Fit both to the same column of one source."
        )


def _sums(fit: Fitted) -> Array:
    """n, sums of y and y^2, and of the weights where they count, of the rows of a fit."""
    counts = fit.problem.family.weights_are != "precision"

    def share(chunk: Chunk) -> Array:
        w = np.ones(chunk.n) if chunk.weights is None or not counts else chunk.weights
        times = w if fit.problem.n_rows_used is not None else np.ones(chunk.n)
        return np.array([times.sum(), times @ chunk.y, times @ chunk.y**2, w.sum(), w @ chunk.y])

    return fit.problem.data.reduce(share)


def row_order(a: Fitted, b: Fitted) -> Order:
    """Where the rows of `a` stand among those of `b`; None if in the same order.

    Raises
    ------
    DataError
        If they are not the same rows.
    """
    same_size = a.problem.n_rows_data == b.problem.n_rows_data
    labels: list[pd.Index] = [row_labels(a.problem), row_labels(b.problem)]
    numbered = [_is_numbering(a), _is_numbering(b)]
    if _tell(labels, numbered, same_size):
        if labels[0].equals(labels[1]):
            return None
        order = labels[1].get_indexer(labels[0])
        if (order < 0).any():
            raise DataError(_other_rows(a, b, labels[0], labels[1]))
        return order
    if same_size:
        if not np.array_equal(a.problem.rows, b.problem.rows):
            raise DataError(_other_rows(a, b, a.problem.rows, b.problem.rows))
        if numbered[0] == numbered[1]:
            return None
    for name, left, right in _shared_columns(a, b):
        if (apart := np.flatnonzero(~_equal(left, right))).size:
            r = int(apart[0])
            raise DataError(
                f"the models were fitted to tables of {a.problem.n_rows_data:,} and {b.problem.n_rows_data:,} rows, and their "
                f"rows are not the same: row {r + 1:,} of those used has {name} = {left[r]} in {a.formula!r} and {right[r]} in "
                f"{b.formula!r}. Fit both to one table."
            )
    return None


def same_columns(a: Fitted, b: Fitted) -> bool:
    """Whether the fixed effects of both have the same columns on the same rows."""
    order, one, other = row_order(a, b), a.problem.data, b.problem.data
    return one.fixed.p == other.fixed.p and all(
        np.array_equal(one.whole(left), _arranged(other.whole(right), order))
        for left, right in zip(one.fixed.columns(1.0), other.fixed.columns(1.0), strict=True)
    )


def _response(fit: Fitted) -> Array:
    return fit.problem.data.whole(fit.problem.data.y)


def _arranged(values: Array, order: Order) -> Array:
    return values if order is None else values[order]


# -- what identifies a row -----------------------------------------------------------------------------------------


def _tell(labels: Sequence[pd.Index], numbered: Sequence[bool], same_size: bool) -> bool:
    """Whether labels identify rows across two tables: unique, of one type, and more than a count that begins in each table."""
    if not all(index.is_unique for index in labels):
        return False
    if len({index.inferred_type for index in labels}) > 1:
        return False
    if sum(numbered) == 1 and same_size:  # a table in another order, or one numbered anew
        return bool((labels[1].get_indexer(labels[0]) >= 0).all())
    return sum(numbered) < 2 or same_size


def _is_numbering(fit: Fitted) -> bool:
    """Whether the table's labels only count its rows, or it has none."""
    import pandas as pd

    index = fit.problem.labels
    return index is None or (isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1)


def _shared_columns(a: Fitted, b: Fitted) -> Iterator[tuple[str, Entries, Entries]]:
    """(name, values in a, values in b) on the rows used."""
    one, two = _table(a), _table(b)
    if one is not None and two is not None:
        for name in (n for n in _names(a, b) if n in one and n in two):
            yield name, _values(one, name, a), _values(two, name, b)
        return
    groups = [{t.group: (i, t.levels) for i, t in enumerate(f.problem.terms)} for f in (a, b)]
    for name in (n for n in groups[0] if n in groups[1]):
        (i, left), (j, right) = groups[0][name], groups[1][name]
        yield name, left[codes_of_rows(a.problem, i)], right[codes_of_rows(b.problem, j)]


def _table(fit: Fitted) -> Table | None:
    if fit.recall.data is None:
        return None
    try:
        table = open_table(fit.recall.data)
    except (LmmformulaError, OSError):  # the file of the call is gone or has changed
        return None
    return table if table.n_rows == fit.problem.n_rows_data else None


def _values(table: Table, name: str, fit: Fitted) -> Entries:
    values = table.column(name).at(fit.problem.rows)
    return labels_of(values) if isinstance(values, Factor) else values


def _equal(left: Entries, right: Entries) -> NDArray[np.bool_]:
    """Element by element; missing values equal each other."""
    return (left == right) | ((left != left) & (right != right))


def _names(*fits: Fitted) -> list[str]:
    """Columns that the models use."""
    return list(dict.fromkeys(record.name for f in fits for record in f.problem.recipe.columns))


# -- what to say ---------------------------------------------------------------------------------------------------


def _cause(a: Fitted, b: Fitted) -> str:
    return (
        "The likely cause is missing values in a variable of one model only: drop those rows first, and fit both to "
        f"data.dropna(subset={_names(a, b)})."
    )


def _other_rows(a: Fitted, b: Fitted, left: pd.Index | Entries, right: pd.Index | Entries) -> str:
    only = [_some(set(left.tolist()) - set(right.tolist())), _some(set(right.tolist()) - set(left.tolist()))]
    return (
        f"the models were fitted to {a.problem.n:,} rows each, but not to the same rows: {only[0]} only in {a.formula!r}, "
        f"{only[1]} only in {b.formula!r}. Their likelihoods cannot be compared. " + _cause(a, b)
    )


def _some(rows: set[object]) -> str:
    """``row 50``, ``rows 3, 4, 8 and 12 more are``."""
    shown = ", ".join(str(r) for r in islice(sorted(rows, key=str), 3))
    more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return f"row {shown} is" if len(rows) == 1 else f"rows {shown}{more} are"


def _other_responses(a: Fitted, b: Fitted) -> str:
    left, right = _response(a), _response(b)
    said = f"the models {a.formula!r} and {b.formula!r} have "
    if np.array_equal(np.sort(left), np.sort(right)):
        return (
            said
            + "the same values of the response in another order, so nothing says that they were fitted to the same rows. "
            "Fit both to one table (rows of pandas frames are matched by their labels)."
        )
    return (
        said
        + f"different responses or different rows ({int((left != right).sum()):,} of {len(left):,} values differ); their "
        "likelihoods cannot be compared. Fit both to the same column of one table."
    )
