"""What is asked of an inference, and what it answers: rows to predict, intervals, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array, Entries

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cluster", "Intervals", "Part", "PosteriorPart", "Rows", "Wanted"]

Cluster: TypeAlias = "str | Sequence[object] | Entries | pd.Series | None"
"""A grouping factor or column by name, or one label for each row; None for the grouping factor of fewest levels."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to predict, as in :func:`lmmformula.inference.predict.predict`."""

    kind: str
    new_levels: str
    interval: str | None
    level: float
    se: bool
    full: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One random-effects term on the rows to predict: level of the fit (-1 unseen), values of its columns."""

    term: int
    codes: NDArray[np.int32]
    new_codes: NDArray[np.int32]
    new_levels: tuple[str, ...]
    basis: Array

    def at(self, rows: Entries) -> Part:
        """Some of the rows."""
        return replace(self, codes=self.codes[rows], new_codes=self.new_codes[rows], basis=self.basis[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Everything about the rows to predict.

    `spread` gives the standard deviations of the rows relative to sigma, (n,), at parameters psi of the structure of residuals;
    None where all have sigma.
    """

    X: Array
    offset: Array
    parts: tuple[Part, ...]
    index: pd.Index
    aux: tuple[Array, ...]
    aux_columns: tuple[Array, ...] = ()
    aux_parts: tuple[tuple[Part, ...], ...] = ()
    spread: Callable[[Array], Array] | None = None

    @property
    def n(self) -> int:
        return len(self.X)

    def at(self, rows: Entries) -> Rows:
        """Some of them, by their positions."""
        return Rows(
            self.X[rows],
            self.offset[rows],
            tuple(part.at(rows) for part in self.parts),
            self.index[rows],
            tuple(a[rows] if np.ndim(a) else a for a in self.aux),
            tuple(c[rows] for c in self.aux_columns),
            tuple(tuple(part.at(rows) for part in own) for own in self.aux_parts),
            None if (spread := self.spread) is None else lambda psi: spread(psi)[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Estimates with their uncertainty, one entry a parameter.

    Attributes
    ----------
    names : tuple of str
    point, spread, low, high : arrays
        Estimate or posterior mean; standard error or posterior standard deviation; ends of the interval. Missing (nan) where
        the method does not give them.
    bayesian : bool
        Whether `spread` is a posterior standard deviation.
    """

    names: tuple[str, ...]
    point: Array
    spread: Array
    low: Array
    high: Array
    bayesian: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PosteriorPart:
    """One table of a posterior's summary.

    Attributes
    ----------
    title : str
    table : DataFrame
        ``Estimate, Est.Error, l-95% CI, u-95% CI, Rhat, Bulk_ESS, Tail_ESS``; of draws from the priors without the last three.
    """

    title: str
    table: pd.DataFrame = field(repr=False)
