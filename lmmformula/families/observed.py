"""Responses of which not all is known: between which numbers each lies, and between which it could have been seen at all.

A row of a censored response says ``lo < Y <= hi``: ``(-inf, y]`` where it was censored from the left, ``(y, inf)`` from the
right, ``(y, y2]`` within an interval; where y itself was seen ``lo = hi = y``. A row of a truncated response would not be
among the data unless ``least < Y <= most`` (``least <= Y <= most`` for counts and whatever else has probability at its bounds).

The four numbers travel with the response, in the order of its rows, so that whoever chooses rows, changes the unit or hands
responses to a family need not know of them. What is computed of responses is plain numbers; a family that needs the bounds
and is given plain numbers says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.records import Array
from lmmformula.typing import Numbers

__all__ = ["Observed", "one_below_other"]


class Observed(np.ndarray):
    """Numbers y, each with what is known of it.

    Parameters
    ----------
    values : (n,) array
        What stands in the column of the response.
    seen : (n, 4) array
        lo, hi, least, most.
    """

    seen: Array | None

    def __new__(cls, values: Array, seen: Array) -> Observed:
        """Views of both, which are not copied."""
        own = np.asarray(values, dtype=float).view(cls)
        own.seen = np.asarray(seen, dtype=float)
        return own

    def __array_finalize__(self, obj: Numbers) -> None:
        # a view of another shape or order does not know its bounds: whoever makes one that does says so
        self.seen = None

    @property
    def known(self) -> Array:
        """:attr:`seen`, where it is there."""
        if self.seen is None:
            raise ValueError("these responses have lost what is known of them: they were put in another form")
        return self.seen

    @property
    def plain(self) -> Array:
        """The numbers alone."""
        return self.view(np.ndarray)

    @property
    def is_exact(self) -> NDArray[np.bool_]:
        """Rows whose response was seen itself."""
        lo, hi = self.known[:, 0], self.known[:, 1]
        return np.asarray(lo == hi)

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """Rows that some responses would have kept out of the data."""
        return np.asarray(np.isfinite(self.known[:, 2:]).any(axis=1))

    def counts(self) -> dict[str, int]:
        """Rows that are censored from the left, from the right and within intervals, and rows that are truncated."""
        lo, hi = self.known[:, 0], self.known[:, 1]
        below, above, hidden = np.isinf(lo), np.isinf(hi), ~self.is_exact
        return {
            "left-censored": int((below & ~above).sum()),
            "right-censored": int((above & ~below).sum()),
            "interval-censored": int((hidden & ~below & ~above).sum()),
            "truncated": int(self.is_truncated.sum()),
        }

    @property
    def middle(self) -> Array:
        """A number within each interval: its middle, or its end where it has one."""
        lo, hi = self.known[:, 0], self.known[:, 1]
        with np.errstate(invalid="ignore"):
            middle = np.where(np.isfinite(lo), np.where(np.isfinite(hi), 0.5 * (lo + hi), lo), hi)
        return np.where(np.isfinite(middle), middle, self.plain)

    def exactly(self, values: Array) -> Observed:
        """Other responses of the same rows, all of them seen; bounds of what could be seen stay."""
        seen = self.known.copy()
        seen[:, :2] = np.asarray(values, float)[:, None]
        return Observed(values, seen)

    def repeated(self, times: int) -> Observed:
        """The rows so many times, one after the other."""
        return Observed(np.tile(self.plain, times), np.tile(self.known, (times, 1)))

    def copy(self, order: Numbers = "C") -> Observed:
        """Rows of its own."""
        return Observed(self.plain.copy(), self.known.copy())

    def __getitem__(self, rows: Numbers) -> Numbers:
        chosen = self.plain[rows]
        if np.ndim(chosen) != 1 or self.seen is None:
            return chosen
        return Observed(chosen, self.seen[rows])

    def __truediv__(self, unit: Numbers) -> Numbers:
        """In another unit; divided by anything else, numbers."""
        if np.ndim(unit) or self.seen is None:
            return self.plain / unit
        return self.in_units(unit)

    def __mul__(self, unit: Numbers) -> Numbers:
        if np.ndim(unit) or self.seen is None:
            return self.plain * unit
        return Observed(self.plain * unit, self.seen * unit)

    def in_units(self, units: Numbers) -> Observed:
        """In another unit, or in a unit of each row."""
        return Observed(self.plain / units, self.known / np.reshape(units, (-1, 1)))

    def __array_ufunc__(self, ufunc: Numbers, method: str, *inputs: Numbers, **more: Numbers) -> Numbers:
        given = [x.plain if isinstance(x, Observed) else x for x in inputs]
        if "out" in more:
            more["out"] = tuple(x.plain if isinstance(x, Observed) else x for x in more["out"])
        return getattr(ufunc, method)(*given, **more)

    def __reduce__(self) -> Numbers:
        return (Observed, (self.plain, self.known))


def one_below_other(parts: Sequence[Array]) -> Array:
    """Responses of several columns as one; those of which all is known have bounds too where others have."""
    if not any(isinstance(y, Observed) for y in parts):
        return np.concatenate(parts)
    known = [y.known if isinstance(y, Observed) else _all_known(y) for y in parts]
    return Observed(np.concatenate([np.asarray(y).view(np.ndarray) for y in parts]), np.concatenate(known))


def _all_known(y: Array) -> Array:
    return np.column_stack([y, y, np.full(len(y), -np.inf), np.full(len(y), np.inf)])
