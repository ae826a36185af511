"""What stands beside the rows of a fit: columns of its data, grouping factors, arrays that the user hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.arguments import by_labels
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor
from lmmformula.inference.checking.replicates import sampled
from lmmformula.inference.location.coefficients import variables
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["evenly", "factors", "groups_of", "in_words", "numbers_of", "numeric_variables", "places_of"]


def in_words(chosen: int, n: int) -> str:
    """How many of the rows were looked at."""
    return f"{chosen:,} of {n:,} rows"


def evenly(n: int, most: int) -> Index | None:
    """At most `most` positions of n, evenly spaced; None for all."""
    return None if n <= most else np.linspace(0, n - 1, most).round().astype(np.intp)


def numbers_of(
    fit: Fitted | None, given: Data, role: str, rows: Index | None = None, n: int | None = None
) -> Array:
    """One number for each row.

    Parameters
    ----------
    fit : Fit or None
    given : str or array
        A column of the data of the fit, or one entry for each row looked at, of the fit, or of its data.
    role : str
        The argument, for messages.
    rows : (N,) array of int, optional
        Rows of the fit that are looked at; all by default.
    n : int, optional
        How many these are; of the fit by default.

    Raises
    ------
    DataError
    """
    values = _entries(fit, given, role, rows, n)
    if isinstance(values, Factor):
        if values.kind != "ordered":
            raise DataError(
                f"{role}={given!r} is a column of text or categories, whose values have no distance: it must be numbers or an "
                "ordered factor."
            )
        return values.codes.astype(float)
    if values.dtype.kind == "M":
        values = np.where(np.isnat(values), np.nan, values.astype("int64").astype(float))
    try:
        out = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{role}= must be numbers, one for each row.") from None
    if (missing := int((~np.isfinite(out)).sum())) > 0:
        raise DataError(f"{role}= is missing or infinite in {missing:,} of {len(out):,} rows.")
    return out


def groups_of(
    fit: Fitted | None, given: Data, role: str, rows: Index | None = None, n: int | None = None
) -> tuple[Index, list[str], str]:
    """Codes of each row's group, the names of the groups, and what they are groups of; as :func:`numbers_of`.

    A grouping factor of the fit is found by its name, a column of the data too.
    """
    if isinstance(given, str) and fit is not None:
        for term in sampled(fit.problem, rows).terms:
            if term.group == given and term.shares is None:
                seen, own = np.unique(term.codes, return_inverse=True)
                return own.astype(np.intp), [str(term.levels[c]) for c in seen], given
    values = _entries(fit, given, role, rows, n)
    if isinstance(values, Factor):
        if (values.codes < 0).any():
            raise DataError(f"{role}={given!r} is missing in {int((values.codes < 0).sum()):,} rows.")
        seen, own = np.unique(values.codes, return_inverse=True)
        names = [str(values.levels[c]) for c in seen]
    else:
        entries = np.asarray(values)
        if entries.dtype.kind == "f" and np.isnan(entries).any():
            raise DataError(f"{role}= is missing in {int(np.isnan(entries).sum()):,} rows.")
        try:
            seen, own = np.unique(entries, return_inverse=True)
        except TypeError:
            raise DataError(f"{role}= must be numbers or text, one for each row, not a mixture.") from None
        names = [f"{v:g}" if entries.dtype.kind == "f" else str(v) for v in seen]
    return own.astype(np.intp), names, given if isinstance(given, str) else "group"


def places_of(fit: Fitted | None, given: Data, role: str, rows: Index | None = None) -> Array:
    """Coordinates of each row, (N, d), of names of columns or of an array (N, d)."""
    if isinstance(given, str):
        return numbers_of(fit, given, role, rows)[:, None]
    if isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given):
        if not given:
            raise DataError(f"{role}=() names no column of coordinates.")
        return np.column_stack([numbers_of(fit, one, role, rows) for one in given])
    try:
        entries = np.asarray(given)
    except ValueError:  # lists of several lengths
        entries = np.zeros(0, dtype=object)
    if entries.dtype.kind not in "iufb":
        raise DataError(f"{role}= must be names of columns, such as ('x', 'y'), or numbers (rows, 2).")
    whole = entries.astype(float)
    if whole.ndim != 2:
        raise DataError(
            f"{role}= has the shape {whole.shape}: it must be names of columns, such as ('x', 'y'), or numbers (rows, 2)."
        )
    return np.column_stack([numbers_of(fit, column, role, rows) for column in whole.T])


def _entries(fit: Fitted | None, given: Data, role: str, rows: Index | None, n: int | None) -> Data:
    if isinstance(given, str):
        if fit is None or fit.recall.data is None:
            raise DataError(
                f"{role}={given!r} names a column, but "
                + ("the rows were added up" if fit is None else "a loaded fit does not carry its data")
                + ": give the values themselves, one for each row."
            )
        table = open_table(fit.recall.data)
        kept = fit.problem.rows if rows is None else fit.problem.rows[rows]
        try:
            return table.column(given).at(kept)
        except DataError as error:
            raise DataError(f"{role}={given!r}: {error}") from error
    if fit is not None and getattr(getattr(given, "dtype", None), "kind", "") in "iufb":
        given = by_labels(given, role, fit.problem.labels, fit.problem.n_rows_data)
    try:
        values = given if hasattr(given, "shape") else np.asarray(given)
    except ValueError:
        raise DataError(f"{role}= must be one value for each row, not lists of them.") from None
    if getattr(values, "ndim", 1) != 1:
        raise DataError(f"{role}= has the shape {values.shape}, and must be one value for each row.")
    known = {n} if fit is None else {n, fit.problem.n, fit.problem.n_rows_data}
    if len(values) not in known:
        expected = " or ".join(f"{one:,}" for one in sorted(k for k in known if k is not None))
        raise DataError(
            f"{role}= has {len(values):,} values, and must have one for each of the {expected} rows."
        )
    if fit is None or len(values) == n:
        return np.asarray(values)
    entries = np.asarray(values)
    if len(values) == fit.problem.n_rows_data != fit.problem.n:
        entries = entries[fit.problem.rows]
    return entries if rows is None else entries[rows]


def numeric_variables(fit: Fitted, rows: Index | None = None) -> dict[str, Array]:
    """Numeric columns of the data that the fixed part names; of a loaded fit, columns of X with more than two values."""
    values: dict[str, Array] = {}
    if fit.recall.data is not None:
        table = open_table(fit.recall.data)
        kept = fit.problem.rows if rows is None else fit.problem.rows[rows]
        for name in variables(fit):
            column = table.column(name).at(kept) if name in table else None
            if column is not None and not isinstance(column, Factor):
                values[name] = np.asarray(column, dtype=float)
    else:
        x = sampled(fit.problem, rows).X.matrix
        values = {n: x[:, j] for j, n in enumerate(fit.problem.X.names) if ":" not in n}
    return {n: v for n, v in values.items() if np.isfinite(v).all() and len(np.unique(v[:1000])) > 2}


def factors(fit: Fitted, rows: Index | None = None) -> dict[str, Index]:
    """Codes of the factors of the fixed part, and of grouping factors with one level a row."""
    found: dict[str, Index] = {}
    if fit.recall.data is not None:
        table = open_table(fit.recall.data)
        kept = fit.problem.rows if rows is None else fit.problem.rows[rows]
        for name in variables(fit):
            column = table.column(name).at(kept) if name in table else None
            if isinstance(column, Factor) and not (column.codes < 0).any():
                found[name] = column.codes
    for term in sampled(fit.problem, rows).terms:
        if term.shares is None:
            found.setdefault(term.group, term.codes)
    return found
