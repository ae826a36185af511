"""Columns of the data of a fit, looked at some rows at a time: in one go where they are in memory, batch by batch elsewhere.

Means, counts and ranges are sums over rows, which merge: ``mean = mean_1 + (mean_2 - mean_1) n_2 / n``, and sums of squared
deviations by Chan, Golub & LeVeque (1983, eq. 2.1).

References
----------
Chan, Golub & LeVeque (1983), The American Statistician 37, 242-247.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.numbers import as_factor
from lmmformula.frame.opening import open_data
from lmmformula.frame.table import Table, open_table
from lmmformula.frame.values import Factor
from lmmformula.inference.rows import draft_of, not_at_hand
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["ALL", "Labels", "Look", "Numbers", "Summary", "looks", "numbers_of", "summaries"]

ALL = 100_000
"""Different numbers beyond which they are not told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Some rows of the data.

    Attributes
    ----------
    table : Table
    rows : (n,) array of int or None
        Which of its rows; None for all.
    weights : (n,) array or None
        Their prior weights, where they are those of the fit.
    """

    table: Table
    rows: NDArray[np.int64] | None
    weights: Array | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return self.table.n_rows if self.rows is None else len(self.rows)

    def column(self, name: str) -> Data:
        """A column on these rows."""
        return self.table.column(name).at(self.rows)


def looks(
    fit: Fitted, names: Sequence[str], data: Data = None, *, weighted: bool = False, what: str = ""
) -> Iterator[Look]:
    """The rows of the fit, or those of `data`, with columns `names` at least.

    Parameters
    ----------
    fit : Fitted
    names : sequence of str
    data : table, or rows that are read a batch at a time; None for those of the fit
    weighted : bool
        Whether weights are asked for.
    what : str
        What columns are looked at for, for the message of a fit without any.

    Raises
    ------
    DataError
        For a fit that was loaded without data.
    """
    draft = draft_of(fit)
    if data is None and draft is not None:
        from lmmformula.frame.sources import table_of
        from lmmformula.frame.streamed.again import complete_rows, encoded

        for batch in draft.source.batches(list(dict.fromkeys((*draft.columns, *names)))):
            weights = encoded(draft, batch).weights if weighted else None
            yield Look(table_of(batch), complete_rows(draft, batch), weights)
        return
    if data is None and fit.recall.data is None:
        raise DataError(f"{not_at_hand(fit)}{f', from which {what}' if what else ''}: pass data=.")
    rows = fit.problem.data
    weights = rows.whole(rows.weights) if weighted and rows.at_hand else None
    if data is None:
        yield Look(open_table(fit.recall.data), fit.problem.rows, weights)
        return
    opened = open_data(data)
    if isinstance(opened, Table):
        yield Look(opened, None, weights if weights is not None and len(weights) == opened.n_rows else None)
        return
    from lmmformula.frame.sources import table_of

    for batch in opened.batches([name for name in names if name in opened.names]):
        yield Look(table_of(batch), None)


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A column of numbers: of those that are finite.

    Attributes
    ----------
    n : int
    mean, squares : float
        Mean, and sum of squared deviations from it.
    low, high : float
    different : array or None
        Different values in increasing order; None if there are more than were asked for.
    """

    n: int
    mean: float
    squares: float
    low: float
    high: float
    different: Array | None

    @classmethod
    def of(cls, values: Array, most: int) -> Numbers:
        """Of some rows; `most` different values are told apart."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0, 0.0, 0.0, np.inf, -np.inf, np.zeros(0))
        mean = float(finite.mean())
        squares = float(finite.size * finite.var())
        return cls(
            finite.size, mean, squares, float(finite.min()), float(finite.max()), _different(finite, most)
        )

    def joined(self, other: Numbers, most: int) -> Numbers:
        """With other rows."""
        if not (self.n and other.n):
            return other if other.n else self
        n, apart = self.n + other.n, other.mean - self.mean
        different = None
        if self.different is not None and other.different is not None:
            both = np.union1d(self.different, other.different)
            different = both if len(both) <= most else None
        return Numbers(
            n,
            self.mean + apart * other.n / n,
            self.squares + other.squares + apart**2 * self.n * other.n / n,
            min(self.low, other.low),
            max(self.high, other.high),
            different,
        )

    def sd(self, ddof: int = 0) -> float:
        """Standard deviation."""
        return float(np.sqrt(self.squares / max(self.n - ddof, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A factor: levels, in their order, and rows of each.

    Attributes
    ----------
    levels : tuple of str
    counts : (levels,) array of int
    kind : str
    """

    levels: tuple[str, ...]
    counts: Index
    kind: str

    @classmethod
    def of(cls, factor: Factor) -> Labels:
        """Of some rows."""
        counts = np.bincount(factor.codes[factor.codes >= 0], minlength=len(factor.levels))
        return cls(tuple(map(str, factor.levels)), counts, factor.kind)

    def joined(self, other: Labels) -> Labels:
        """With other rows; text is in the order of its code points, categories as they come."""
        place = {level: j for j, level in enumerate(dict.fromkeys((*self.levels, *other.levels)))}
        counts = np.zeros(len(place), dtype=np.int64)
        for one in (self, other):
            counts[[place[level] for level in one.levels]] += one.counts
        levels = list(place)
        if self.kind == "text" and len(levels) > len(self.levels):
            levels.sort()
            counts = counts[[place[level] for level in levels]]
        return Labels(tuple(levels), counts, self.kind)


Summary: TypeAlias = Numbers | Labels


def summaries(
    seen: Iterable[Look],
    names: Sequence[str],
    most: Mapping[str, int],
    factors: Collection[str] | None = None,
) -> dict[str, Summary]:
    """What there is to say of columns.

    Parameters
    ----------
    seen : iterable of Look
    names : sequence of str
    most : mapping
        Different values of numbers that are told apart.
    factors : collection of str, optional
        Columns that are factors, all others being numbers; by default what they are by their type.
    """
    out: dict[str, Summary] = {}
    for look in seen:
        for name in names:
            values = look.column(name)
            is_factor = isinstance(values, Factor) if factors is None else name in factors
            own: Summary = (
                Labels.of(as_factor(values))
                if is_factor
                else Numbers.of(numbers_of(values), most.get(name, 0))
            )
            before = out.get(name)
            if isinstance(before, Numbers) and isinstance(own, Numbers):
                own = before.joined(own, most.get(name, 0))
            elif isinstance(before, Labels) and isinstance(own, Labels):
                own = before.joined(own)
            out[name] = own
    return out


def numbers_of(values: Data) -> Array:
    """A column as numbers; a logical one that the fit takes for a number is 0 and 1."""
    return values.codes.astype(float) if isinstance(values, Factor) else np.asarray(values, dtype=float)


def _different(values: Array, most: int) -> Array | None:
    """Different values if they are `most` at most: few are looked for one at a time."""
    if most > 8:
        found = np.unique(values)
        return found if len(found) <= most else None
    few = list(islice(_one_by_one(values), most + 1))
    return np.array(sorted(few)) if len(few) <= most else None


def _one_by_one(values: Array) -> Iterator[float]:
    left = values
    while left.size:
        yield float(left[0])
        left = left[left != left[0]]
