"""Columns of a random-effects term and their covariance, without parameters that no data could identify.

Per level the likelihood knows ``A_s Sigma A_s'``, A_s the rows of the basis that belong to level s. Two things follow:

- Where a column of the basis is a combination of others, ``A = B T``, it knows ``T Sigma T'`` only: the column goes, as it
  does in the fixed part.
- A correlation of two columns that are never both present in a level is not in it. A kind whose columns never meet, or that
  has one column, is fitted as the kind of the same standard deviations without correlations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, RankDeficientWarning, warn
from lmmformula.frame.rank import independent_columns
from lmmformula.ir.covariance import IID, KINDS, Diagonal, Kind

__all__ = ["check_counts", "columns_meet", "identified_columns", "identified_kind", "warn_dropped"]

Array = NDArray[np.float64]


def identified_columns(basis: Array, names: tuple[str, ...], label: str) -> tuple[int, ...] | None:
    """Positions of the columns to keep, after a warning that names the others; None if all are.

    Parameters
    ----------
    basis : (n, k) array
    names : tuple of str
    label : str
        The term, for the message.
    """
    kept = tuple(independent_columns(basis, names).tolist())
    if len(kept) == len(names):
        return None
    warn_dropped(kept, names, label)
    return kept


def warn_dropped(kept: Sequence[int], names: tuple[str, ...], label: str) -> None:
    """Say which columns of a term go."""
    gone = [name for j, name in enumerate(names) if j not in kept]
    warn(
        f"{len(gone)} of {len(names)} columns of ({label}) dropped because earlier columns determine them, so that their "
        f"variances could not be told apart: {', '.join(gone[:10])}{', ...' if len(gone) > 10 else ''}",
        RankDeficientWarning,
    )


def identified_kind(
    name: str, k: int, meet: Callable[[], bool], label: str, options: Mapping[str, int] | None = None
) -> Kind:
    """The covariance kind `name` of k columns, or the one without correlations where none can be estimated.

    Parameters
    ----------
    name : str
        Key of :data:`lmmformula.ir.covariance.KINDS`.
    k : int
    meet : callable
        Whether some level has rows in two of the columns; asked where it matters.
    label : str
        The term, for the message.
    options : mapping, optional
        What stood beside the bar: a rank.

    Warns
    -----
    LmmformulaWarning
        If parameters are left out, with the reason.
    """
    kind = KINDS[name](k, **(options or {}))
    plain = IID(k) if kind.shared_sd or k == 1 else Diagonal(k)
    saved = kind.n_theta - plain.n_theta
    if saved <= 0:
        return kind
    if k == 1:
        why = f"it has one column, which has no correlation. It is fitted as ({label})"
        hint = f"; {name}() is for several columns, for example the levels of a factor: {name}(0 + f | g)"
    elif meet():
        return kind
    else:
        why = "no level has rows of two of its columns, so no correlation is in the data. It is fitted with variances alone"
        hint = ""
    left = "parameter" if saved == 1 else "parameters"
    warn(f"{name}({label}): {why}, {saved} {left} fewer{hint}", LmmformulaWarning)
    return plain


def columns_meet(basis: Array, codes: NDArray[np.int32], m: int) -> bool:
    """Whether some level has rows in two columns. O(n k)."""
    present = basis != 0.0
    if (present.sum(axis=1) > 1).any():
        return True
    rows = np.flatnonzero(present.any(axis=1))
    column = present[rows].argmax(axis=1)
    first = np.full(m, -1)
    first[codes[rows]] = column
    return bool((first[codes[rows]] != column).any())


def check_counts(label: str, group: str, m: int, k: int, n: int, *, strict: bool) -> None:
    """Refuse a term whose variances could not be told apart from the residual one.

    Raises
    ------
    DataError
        For one level, or, if `strict`, as many levels or effects as rows.
    """
    if m < 2:
        raise DataError(
            f"grouping factor `{group}` has {m} level in the {n:,} rows used: "
            f"a variance between levels needs at least two; leave out ({label})"
        )
    if not strict:
        return
    if m >= n:
        raise DataError(
            f"number of levels of each grouping factor must be < number of observations: `{group}` has "
            f"{m:,} levels for {n:,} rows, so its variance cannot be told from the residual variance"
        )
    if m * k >= n:
        raise DataError(
            f"number of observations (={n}) <= number of random effects (={m * k}) for term ({label}): its "
            f"variances cannot be told from the residual variance; leave out some of its {k} columns"
        )
