"""What a smooth of a formula learned from the rows of a fit, and its columns on any rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError, ExtrapolationWarning, warn
from lmmformula.frame.numbers import RefusalError, as_float
from lmmformula.frame.smooths.base import RawBasis
from lmmformula.frame.smooths.tensor import Tensor
from lmmformula.frame.values import Basis, Factor, Value
from lmmformula.typing import Array

__all__ = ["COLUMNS", "Smooth", "SmoothPart", "columns_of", "points"]

COLUMNS = "columns of a smooth"
"""Function of an expression that no formula can write: some columns of a smooth, which one term of a model has."""


@dataclass(frozen=True, slots=True)
class SmoothPart:
    """One function among the columns of a smooth: the whole of it, or that of a level of its ``by`` factor.

    Attributes
    ----------
    level : str or None
        Level of the ``by`` factor.
    fixed : (int, int)
        First of its unpenalised columns and the one after the last.
    random : tuple of (int, int)
        The same of the penalised columns, for each variance.
    """

    level: str | None
    fixed: tuple[int, int]
    random: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Smooth:
    """Columns of a smooth: for each part the unpenalised ones, then those of each variance.

    Attributes
    ----------
    basis : RawBasis or Tensor or None
        None for the random effect of a factor or a number, ``bs = "re"``.
    fixed : (K, f) array
        Map from the basis to unpenalised columns, see :class:`lmmformula.frame.smooths.mixed.MixedForm`.
    random : tuple of (K, r) arrays
    lead : array
    level : array or 0
        What is subtracted from the columns of one part.
    low, high : arrays (d,)
        Range of each variable in the rows of the fit.
    groups : tuple of int
        Which arguments are factors whose levels have a function each.
    by : tuple of str, or None
        Levels of a ``by`` factor; empty for a number, None without.
    periodic : bool
    description : str
        Of the basis.
    """

    basis: RawBasis | Tensor | None
    fixed: Array
    random: tuple[Array, ...]
    lead: Array
    low: Array
    high: Array
    groups: tuple[int, ...] = ()
    by: tuple[str, ...] | None = None
    periodic: bool = False
    description: str = ""
    level: float | Array = 0.0

    @property
    def parts(self) -> tuple[SmoothPart, ...]:
        """Its functions, in the order of their columns."""
        out, start = [], 0
        for level in self.by or (None,):
            fixed = (start, start := start + self.fixed.shape[1])
            random = tuple((start, start := start + own.shape[1]) for own in self.random)
            out.append(SmoothPart(level, fixed, random))
        return tuple(out)

    def apply(self, *x: Value, by: Value = None) -> Basis:
        """The columns on other rows; a warning where these lie beyond those of the fit."""
        rows = next(v for v in (*x, by) if v is not None)
        numeric = tuple(v for j, v in enumerate(x) if j not in self.groups)
        z = points(numeric, len(rows.codes) if isinstance(rows, Factor) else len(rows))
        known = ~np.isnan(z).any(axis=1)
        self._warn_beyond(z[known])
        own = np.full((len(z), self.maps.shape[1]), np.nan)
        own[known] = self.columns(z[known])
        matrix = np.asarray(self._by(own, by), dtype=float)
        return Basis(matrix, tuple(str(j + 1) for j in range(matrix.shape[1])))

    @property
    def maps(self) -> Array:
        """Map from the basis to the columns of one part."""
        return np.hstack([self.fixed, *self.random])

    def columns(self, z: Array) -> Array:
        """The columns of one part at points (n, d)."""
        if self.basis is None:
            return np.prod(z, axis=1)[:, None]
        return self.basis.design(z) @ self.maps - self.level

    def _by(self, own: Array, by: Value) -> Array:
        if self.by is None:
            return own
        if not self.by:
            return own * as_float(by, "`by` of a smooth")[:, None]
        if not isinstance(by, Factor):
            raise DataError("`by` of a smooth was a factor in the fit, but holds numbers in the new data")
        place = {str(label): j for j, label in enumerate(by.levels)}
        out = np.zeros((len(own), own.shape[1] * len(self.by)))
        for j, level in enumerate(self.by):
            rows = by.codes == place.get(level, -2)
            out[rows, j * own.shape[1] : (j + 1) * own.shape[1]] = own[rows]
        out[by.codes < 0] = np.nan
        return out

    def _warn_beyond(self, z: Array) -> None:
        if self.periodic or self.basis is None or not len(z):
            return
        slack = 1e-9 * (self.high - self.low)
        beyond = (z < self.low - slack) | (z > self.high + slack)
        count = int(beyond.any(axis=1).sum())
        if not count:
            return
        j = int(beyond.any(axis=0).argmax())
        warn(
            f"{count:,} of {len(z):,} rows lie beyond the values that a smooth was fitted to, from {self.low[j]:.6g} to "
            f"{self.high[j]:.6g}: it goes on there as its basis does, and no data say how. Keep to that range, or read the "
            "standard errors as too small.",
            ExtrapolationWarning,
        )


def points(x: tuple[Value, ...], n: int) -> Array:
    """The numeric arguments of a smooth side by side, (n, d)."""
    if not x:
        return np.zeros((n, 0))
    columns = []
    for value in x:
        if isinstance(value, Factor) and value.kind != "logical":
            raise RefusalError(
                "a smooth needs numbers, and this is a factor",
                'a factor has effects of its levels: f, (1 | f), or s(x, f, bs = "fs") for a curve for each level',
            )
        columns.append(as_float(value, "the argument of a smooth"))
    return np.column_stack(columns)


def columns_of(smooth: Basis, first: float, after: float, label: str, mark: str) -> Basis:
    """Columns of a smooth from one place to before another, named by `label` and `mark`, in which # is their number."""
    start, stop = int(first), int(after)
    suffixes = tuple(mark.replace("#", str(j + 1)) for j in range(stop - start))
    return Basis(np.ascontiguousarray(smooth.matrix[:, start:stop]), suffixes, label)
