"""Which rows are left out together: whole levels of a factor, or single rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor, labels_of
from lmmformula.inference.rows import row_labels
from lmmformula.inference.words import counted
from lmmformula.ir.structured import group_count
from lmmformula.typing import Data, Entries

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["ROW", "Folds", "folds_of", "grouping_factors"]

ROW = "row"
_MEANT = "a whole number of at least 2, or the fold of each row"
USUAL = 10
"""Folds, where there are as many units."""


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Units that are left out as a whole, and the fold of each row.

    Attributes
    ----------
    by : str
        "row", or the factor.
    units : (n,) object array
        The unit of each row: its level of the factor, or its label.
    codes : (n,) int array
        The same as numbers from 0.
    fold : (n,) int array
        Fold of each row, from 0.
    """

    by: str
    units: NDArray[np.object_]
    codes: NDArray[np.int64]
    fold: NDArray[np.int64]

    @property
    def n_units(self) -> int:
        return int(self.codes.max()) + 1

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1


def folds_of(fit: Fitted, by: str | None, folds: Data, rng: np.random.Generator) -> Folds:
    """Units and their folds.

    Parameters
    ----------
    by : str or None
        A grouping factor of the fit, a column of its data, or "row"; None is the only grouping factor, or "row" without any;
        smooths are none.
    folds : int, sequence or None
        How many, drawn at random and of nearly equal numbers of units; or the fold of each row of the fit.

    Raises
    ------
    DataError
        If a unit lies in several of the given folds, or there are fewer units than folds.
    PlanError
        If `by` is left open and there are several grouping factors.
    """
    name = _chosen(fit, by)
    units = _units(fit, name)
    labels, codes = np.unique(units.astype(str), return_inverse=True)
    if len(labels) < 2:
        raise DataError(
            f"by={name!r} has {counted(len(labels), 'level')} in the rows used, and something must be left to "
            "fit: choose another factor, or by='row'."
        )
    if folds is None or isinstance(folds, int | np.integer):
        if isinstance(folds, bool) or (folds is not None and folds < 2):
            raise DataError(f"folds={folds!r} must be {_MEANT}.")
        count = None if folds is None else int(folds)
        return Folds(name, units, codes, _drawn(codes, len(labels), count, name, rng))
    given = _given(fit, folds)
    _refuse_split(units, codes, given, name)
    return Folds(name, units, codes, np.unique(given, return_inverse=True)[1])


def _chosen(fit: Fitted, by: str | None) -> str:
    if by is not None:
        return by
    factors = grouping_factors(fit)
    if len(factors) > 1:
        raise PlanError(
            f"the fit has {len(factors)} grouping factors ({', '.join(factors)}), and predictions for new levels "
            "of one are another "
            f"thing than those of the others: say by={factors[0]!r}, or by='row' for new rows of known levels."
        )
    return factors[0] if factors else ROW


def grouping_factors(fit: Fitted) -> list[str]:
    """Factors with levels that could be left out: not the smooths of a population, nor a field over all rows."""
    terms = fit.problem.terms
    return list(dict.fromkeys(t.group for t in terms if not t.of_mean and group_count(t) > 1))


def _units(fit: Fitted, name: str) -> NDArray[np.object_]:
    """The unit of each row of the fit."""
    if name == ROW:
        labels = row_labels(fit.problem)
        return np.asarray(labels if labels.is_unique else np.arange(fit.problem.n), dtype=object)
    for term in fit.problem.terms:
        if term.group != name:
            continue
        if term.codes.ndim > 1:
            raise PlanError(
                f"by={name!r}: rows belong to several levels of it, which cannot be left out one by one. Use a "
                "column of the data whose levels share no row, or by='row'."
            )
        return np.asarray(term.levels, dtype=object)[term.codes]
    if fit.recall.data is None:
        raise DataError(
            f"by={name!r} is no grouping factor of the fit, which was loaded and does not carry its data: use "
            "m.update(data=...) first."
        )
    values = open_table(fit.recall.data).column(name).at(fit.problem.rows)
    return np.asarray(labels_of(values) if isinstance(values, Factor) else values, dtype=object)


def _drawn(
    codes: NDArray[np.int64], m: int, folds: int | None, name: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Units dealt out at random."""
    count = min(USUAL, m) if folds is None else folds
    what = "rows" if name == ROW else f"levels of {name}"
    if count > m:
        raise DataError(
            f"folds={count} is more than there are {what}, {m:,}: each fold leaves out at least one. Ask for {m} or fewer."
        )
    dealt = np.empty(m, dtype=np.int64)
    dealt[rng.permutation(m)] = np.arange(m) % count
    return dealt[codes]


def _without_labels(folds: Data, problem: Problem) -> Data:
    """A series by position, if it is that of the data or has the labels of the rows used."""
    import pandas as pd

    if isinstance(folds, pd.Series) and len(folds) == problem.n_rows_data != problem.n:
        return folds.iloc[problem.rows]
    if isinstance(folds, pd.Series) and folds.index.equals(row_labels(problem)):
        return folds.to_numpy()
    return folds


def _given(fit: Fitted, folds: Data) -> Entries:
    """The caller's fold of each row of the fit."""
    problem = fit.problem
    if isinstance(folds, str | bytes) or not (isinstance(folds, Sequence) or hasattr(folds, "__array__")):
        raise DataError(f"folds={str(folds)[:60]} must be {_MEANT}.")
    try:
        values = np.asarray(_without_labels(folds, problem))
    except ValueError:
        raise DataError(f"folds={str(folds)[:60]} must be {_MEANT}.") from None
    if values.shape == (problem.n_rows_data,) and problem.n != problem.n_rows_data:
        values = values[problem.rows]
    if values.shape != (problem.n,):
        raise DataError(
            f"folds has {values.size:,} entries, and the fit has {problem.n:,} rows: give the fold of each row."
        )
    if len(np.unique(values)) < 2:
        raise DataError("folds names one fold only, and something must be left to fit: give two or more.")
    return values


def _refuse_split(units: NDArray[np.object_], codes: NDArray[np.int64], folds: Entries, name: str) -> None:
    """Leakage: a unit whose rows lie in several folds helps to predict itself."""
    which = np.unique(folds, return_inverse=True)[1]
    low, high = np.full(codes.max() + 1, len(which)), np.full(codes.max() + 1, -1)
    np.minimum.at(low, codes, which)
    np.maximum.at(high, codes, which)
    split = np.flatnonzero(low != high)
    if not split.size:
        return
    first = units[np.flatnonzero(codes == split[0])[0]]
    raise DataError(
        f"leakage: {counted(len(split), 'level')} of {name} lie in several of the given folds, {first!r} for one, "
        "so the rows that "
        f"are left out would be predicted from others of their own level. Give all rows of a level one fold, or by='row' if "
        "predictions for known levels are what is meant."
    )
