"""What is counted of rows that pass by in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.formula.spec import Expr, Name
from lmmformula.frame.streamed.distinct import DistinctLabels, DistinctNumbers
from lmmformula.frame.streamed.texts import DistinctTexts
from lmmformula.frame.streamed.variables import BatchRows, Variables
from lmmformula.frame.values import Basis, Factor, Value, n_infinite

__all__ = ["Tally"]

K = TypeVar("K")


class Tally:
    """Counts of rows, levels and distinct values.

    Attributes
    ----------
    labels : dict
        Levels of columns, and rows of each.
    texts : dict
        Different texts of columns that are read as keys.
    numbers : dict
        Distinct values of members of grouping factors.
    truths : dict
        Rows in which an expression is false, and true.
    n, n_whole, n_data : int
        Rows that are complete, that have complete columns, and all.
    lacking, undefined, endless, infinite : dict
        Rows in which a column is missing, an expression is, an argument is infinite, and a variable is.
    """

    def __init__(self, members: frozenset[Expr], variables: Variables) -> None:
        self.members, self.variables = members, variables
        self.texts = {name: DistinctTexts() for name in variables.keyed}
        self.labels: dict[str, DistinctLabels] = {}
        self.truths: dict[Expr, NDArray[np.int64]] = {}
        self.numbers: dict[Expr, DistinctNumbers] = {}
        self.infinite: dict[Expr, int] = {}
        self.n = self.n_whole = self.n_data = 0
        self.lacking: dict[str, int] = {}
        self.undefined: dict[Expr, int] = {}
        self.endless: dict[str, int] = {}

    def add(self, rows: BatchRows) -> dict[str, NDArray[np.int32]]:
        """Count a batch; codes of its factors, of the rows with complete columns."""
        n, n_whole, n_data = rows.counts
        self.n += n
        self.n_whole += n_whole
        self.n_data += n_data
        times = rows.own_times
        _add(self.lacking, rows.lacking)
        _add(self.undefined, rows.undefined)
        _add(self.endless, rows.infinite)
        codes = {}
        for name, value in rows.columns.items():
            if isinstance(value, Factor):
                labels = self.labels.setdefault(name, DistinctLabels())
                codes[name] = labels.places(value)
                labels.add(codes[name] if rows.kept is None else codes[name][rows.kept], times)
        for name, texts in self.texts.items():
            texts.add(rows.batch.column(name), rows.at, self.variables.seed)
        for expr, value in rows.values.items():
            if not (type(expr) is Name and expr.value in self.texts):
                self._value(expr, value, times)
        return codes

    def _value(self, expr: Expr, value: Value, times: NDArray[np.int64] | None) -> None:
        if not isinstance(value, Factor):
            self.infinite[expr] = self.infinite.get(expr, 0) + n_infinite(value, times)
            if expr in self.members and not isinstance(value, Basis):
                self.numbers.setdefault(expr, DistinctNumbers()).add(value)
        elif type(expr) is not Name and value.kind == "logical":
            counts = np.bincount(value.codes, times, minlength=2).astype(np.int64)
            self.truths[expr] = self.truths.get(expr, np.zeros(2, dtype=np.int64)) + counts

    def merge(self, other: Tally) -> None:
        """Take in what was counted of rows that come after these."""
        self.n += other.n
        self.n_whole += other.n_whole
        self.n_data += other.n_data
        _add(self.lacking, other.lacking)
        _add(self.undefined, other.undefined)
        _add(self.endless, other.endless)
        _add(self.infinite, other.infinite)
        for name, labels in other.labels.items():
            self.labels.setdefault(name, DistinctLabels()).merge(labels)
        for name, texts in other.texts.items():
            self.texts[name].merge(texts)
        for expr, numbers in other.numbers.items():
            self.numbers.setdefault(expr, DistinctNumbers()).merge(numbers)
        for expr, counts in other.truths.items():
            self.truths[expr] = self.truths.get(expr, np.zeros(2, dtype=np.int64)) + counts

    def again(self) -> Tally:
        """A tally for another pass over the same rows, which knows their labels."""
        out = Tally(self.members, self.variables)
        out.labels = self.labels
        for labels in out.labels.values():
            labels.forget_rows()
        return out


def _add(total: dict[K, int], own: Mapping[K, int]) -> None:
    for key, count in own.items():
        total[key] = total.get(key, 0) + count
