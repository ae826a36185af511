"""What an expression of a formula evaluates to: numbers, factors, bases of several columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.frame.contrasts import Contrast
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Data, Entries

if TYPE_CHECKING:
    pass


__all__ = [
    "Basis",
    "Factor",
    "FactorKind",
    "Value",
    "align",
    "as_number",
    "distinct",
    "drop_unused",
    "factor_from_numbers",
    "factor_from_text",
    "is_column",
    "label_index",
    "labels_of",
    "logical",
    "missing_rows",
    "n_infinite",
    "number_label",
    "object_array",
    "sort_levels",
    "take",
]

FactorKind: TypeAlias = Literal["factor", "ordered", "text", "logical"]


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Categorical values.

    Attributes
    ----------
    codes : (n,) int32 array
        Position in `levels`; -1 is missing.
    levels : object array of str
        Labels in R's order; may hold levels that no row has.
    kind : {"factor", "ordered", "text", "logical"}
        Text and logicals are factors in a model, but not in arithmetic.
    contrast : Contrast, optional
        Coding attached by ``C(f, contr.sum)``.
    """

    codes: NDArray[np.int32]
    levels: NDArray[np.object_]
    kind: FactorKind = "factor"
    contrast: Contrast | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Several numeric columns made of one expression; `suffixes` complete its name, or `label` where that is given."""

    matrix: NDArray[np.float64]
    suffixes: tuple[str, ...]
    label: str | None = None


Value: TypeAlias = Any
"""One entry per row: a 1-D array, Factor or Basis. Or a constant: number, str, bool, tuple, ..."""

_ROWS = 65_536
"""Rows that one thread takes at a time."""
_LOGICAL_LEVELS = np.array(["FALSE", "TRUE"], dtype=object)


def labels_of(factor: Factor) -> NDArray[np.object_]:
    """Label of each row, None where it is missing."""
    padded = np.empty(len(factor.levels) + 1, dtype=object)
    padded[:-1] = factor.levels
    return padded[factor.codes]


def is_column(value: Value) -> bool:
    """Whether `value` has an entry per row (and is not a constant)."""
    return isinstance(value, np.ndarray | Factor | Basis)


def object_array(items: Iterable[object]) -> NDArray[np.object_]:
    """A 1-D object array of `items`, whatever their type."""
    listed = list(items)
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out


def number_label(x: float | int) -> str:
    """R's text of a number: 15 significant digits; whole numbers are written in full."""
    if isinstance(x, int | np.integer):
        return str(int(x))
    x = float(x)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else ("Inf" if x > 0 else "-Inf")
    if x.is_integer() and abs(x) < 1e15:
        return str(int(x))
    mantissa, _, exponent = f"{x:.14e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    power = int(exponent)
    digits = len(mantissa.replace("-", "").replace(".", ""))
    fixed = f"{x:.{max(digits - 1 - power, 0)}f}"
    scientific = f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return fixed if len(fixed) <= len(scientific) else scientific


_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+|[iI]nf(?:inity)?|INF(?:INITY)?)",
    re.ASCII,
)


def as_number(text: str) -> float | None:
    """The number that R reads in `text`: decimal, hexadecimal or infinite; None if it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    return float(int(text, 16)) if "x" in text.lower() else float(text)


def _sorted_codes(codes: Entries, order: NDArray[np.intp]) -> NDArray[np.int32]:
    """Codes after their levels were rearranged by `order`; -1 stays."""
    rank = np.empty(len(order) + 1, dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = -1
    return rank[codes]


def factor_from_numbers(values: Entries, kind: FactorKind = "factor") -> Factor:
    """Factor whose levels are the distinct numbers in increasing order."""
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low <= 4 * len(values) + 1024:
            codes, used = distinct((values - low).astype(np.int64), high - low + 1)
            return Factor(codes, object_array(map(str, map(low.__add__, used.tolist()))), kind)
    codes, unique = pd.factorize(values)
    order = np.argsort(unique, kind="stable")
    labels = [number_label(u) for u in unique[order].tolist()]
    codes, distinct_labels = _sorted_codes(codes, order), dict.fromkeys(labels)
    if len(distinct_labels) < len(labels):
        # numbers equal to 15 digits are one level, as in R, whose levels are their texts
        rank = {label: j for j, label in enumerate(distinct_labels)}
        codes = np.array([*(rank[label] for label in labels), -1], dtype=np.int32)[codes]
    return Factor(codes, object_array(distinct_labels), kind)


def distinct(cells: NDArray[np.int64], size: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ranks of `cells` (in 0 .. size - 1) among the distinct ones, and these in increasing order."""
    if size <= 5 * len(cells) + 1025:
        there = np.zeros(size, dtype=bool)
        there[cells] = True
        used = np.flatnonzero(there)
        rank = np.empty(size, dtype=np.int32)
        rank[used] = np.arange(len(used), dtype=np.int32)
        ranks = np.empty(len(cells), dtype=np.int32)
        in_parts(lambda i, j: np.take(rank, cells[i:j], out=ranks[i:j]), edges(len(cells), _ROWS))
        return ranks, used
    codes, unique = pd.factorize(cells)
    order = np.argsort(unique)
    return _sorted_codes(codes, order), np.asarray(unique)[order]


def sort_levels(codes: Entries, labels: NDArray[np.object_], kind: FactorKind) -> Factor:
    """Factor with the distinct `labels` sorted by code point; code -1 is missing."""
    order = np.argsort(labels, kind="stable")
    return Factor(_sorted_codes(codes, order), labels[order], kind)


def factor_from_text(values: Data, kind: FactorKind = "text") -> Factor:
    """Factor of strings: levels sorted by code point, missing entries -1."""
    codes, unique = pd.factorize(values)
    return sort_levels(codes, object_array(str(u) for u in unique), kind)


def logical(mask: Entries, missing: NDArray[np.bool_] | None = None) -> Factor:
    """R's logical vector."""
    codes = np.asarray(mask, dtype=bool).astype(np.int32)
    if missing is not None and missing.any():
        codes[missing] = -1
    return Factor(codes, _LOGICAL_LEVELS, "logical")


def drop_unused(factor: Factor) -> Factor:
    """The same factor without levels that no row has; a logical keeps both, as in R."""
    if factor.kind == "logical":
        return factor
    n = len(factor.levels)
    used = np.bincount(factor.codes + 1, minlength=n + 1)[1:] > 0
    if used.all():
        return factor
    position = np.full(n + 1, -1, dtype=np.int32)
    position[:-1][used] = np.arange(used.sum(), dtype=np.int32)
    return replace(factor, codes=position[factor.codes], levels=factor.levels[used])


def label_index(known: Iterable[str], labels: Iterable[str]) -> NDArray[np.int32]:
    """Position of each of `labels` in `known`, -1 where absent."""
    index = pd.Index(object_array(known), dtype=object)
    return index.get_indexer(pd.Index(object_array(labels), dtype=object)).astype(np.int32)


def align(factor: Factor, levels: Iterable[str], kind: FactorKind | None = None) -> Factor:
    """Recode to `levels`, in that order; labels that are not among them follow after the last."""
    known = object_array(levels)
    if len(known) == len(factor.levels) and bool(np.all(known == factor.levels)):
        return replace(factor, kind=kind or factor.kind)
    position = label_index(known, factor.levels)
    new = np.flatnonzero(position < 0)
    position[new] = len(known) + np.arange(len(new), dtype=np.int32)
    recode = np.append(position, np.int32(-1))
    labels = np.concatenate([known, factor.levels[new]])
    return Factor(recode[factor.codes], labels, kind or factor.kind, factor.contrast)


def missing_rows(value: Value) -> NDArray[np.bool_] | None:
    """Rows where a column is missing (NaN counts), or None if there is none."""
    if isinstance(value, Factor):
        return value.codes < 0 if value.codes.size and value.codes.min() < 0 else None
    array = value.matrix if isinstance(value, Basis) else value
    # A finite sum proves that all entries are finite: one pass and no temporary for clean data.
    if array.dtype.kind != "f" or math.isfinite(array.sum()):
        return None
    bad = np.isnan(array)
    bad = np.asarray(bad.any(axis=1) if bad.ndim == 2 else bad)
    return bad if bad.any() else None


def n_infinite(value: Value, times: NDArray[np.int64] | None = None) -> int:
    """Number of rows where a numeric column is infinite; each row stands for `times` many."""
    if isinstance(value, Factor):
        return 0
    array = value.matrix if isinstance(value, Basis) else value
    if array.dtype.kind != "f" or math.isfinite(array.sum()):
        return 0
    bad = np.isinf(array)
    bad = bad.any(axis=1) if bad.ndim == 2 else bad
    return int(bad.sum() if times is None else times[bad].sum())


def take(value: Value, rows: Entries) -> Value:
    """The column's entries at `rows`."""
    if isinstance(value, Factor):
        return replace(value, codes=value.codes[rows])
    if isinstance(value, Basis):
        return replace(value, matrix=value.matrix[rows])
    return value[rows]
