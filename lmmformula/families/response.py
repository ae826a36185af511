"""From the evaluated parts of a response to ``(y, weights)``; NumPy only.

R's rules: a logical is FALSE = 0; the second level of a two-level factor is the success;
``cbind(successes, failures)`` and ``successes | trials(n)`` are a proportion whose weight is its trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.families.categories import positions_among
from lmmformula.families.checks import numbers, whole
from lmmformula.families.distribution import Distribution
from lmmformula.families.records import Array

__all__ = ["one_column", "read_category", "read_numbers", "read_proportion", "read_tallies"]


def read_numbers(
    parts: Sequence[object], trials: object, weights: Array | None, label: str, family: str
) -> tuple[Array, Array | None]:
    """One numeric column."""
    if trials is not None:
        raise DataError(f'trials() belongs to family="binomial", not to {family!r}; drop it from `{label}`')
    if len(parts) != 1:
        raise DataError(
            f"the response `{label}` has {len(parts)} columns; family {family!r} models one "
            '(cbind(successes, failures) belongs to family="binomial")'
        )
    factor = _factor(parts[0])
    if factor is not None:
        used = _used(*factor)
        hint = 'two values suit family="binomial"' if len(used) == 2 else "give the numbers themselves"
        raise DataError(
            f"response must be numeric for family {family!r}: `{label}` is a factor with "
            f"{len(used):,} levels ({_shown(used)}); {hint}"
        )
    return numbers(parts[0], label), weights


def one_column(parts: Sequence[object], label: str) -> object:
    """The one part of a response of categories."""
    if len(parts) != 1:
        raise DataError(
            f"the response `{label}` has {len(parts)} columns; categories stand in one column (counts of each category are "
            "family='multinomial')"
        )
    return parts[0]


def read_category(
    parts: Sequence[object], trials: object, weights: Array | None, label: str, own: Distribution
) -> tuple[Array, Array | None]:
    """Positions 1, ..., K of the categories that a distribution knows."""
    if trials is not None:
        raise DataError(
            f'trials() belongs to family="binomial", not to {own.label!r}; drop it from `{label}`'
        )
    return positions_among(one_column(parts, label), own.outcomes, label), weights


def read_tallies(
    parts: Sequence[object], trials: object, weights: Array | None, label: str, own: Distribution
) -> tuple[Array, Array]:
    """Counts of the categories, a column each, as one number a row; trials, their sums, are the weights."""
    if weights is not None:
        raise DataError(
            f"weights of `{label}` would count each of its rows several times: multiply the counts, or stack them, a row for "
            "each category, and give weights to family='categorical'"
        )
    counts = np.column_stack([numbers(part, label) for part in parts])
    total = counts.sum(axis=1)
    y = own.encoded(counts)
    if trials is not None:
        given = numbers(trials, label)
        wrong = ~((given == total) | np.isnan(total))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"trials() of `{label}` is not the sum of the counts in {int(wrong.sum()):,} of {len(total):,} rows (first: "
                f"row {row + 1} with {given[row]:g} of {total[row]:g}); leave trials() out"
            )
    return y, total


def read_proportion(
    parts: Sequence[object], trials: object, weights: Array | None, label: str
) -> tuple[Array, Array | None]:
    """0/1, a two-level factor, a proportion, or successes with failures or trials."""
    if len(parts) > 2 or (len(parts) == 2 and trials is not None):
        raise DataError(
            f"the response `{label}` has {len(parts) + (trials is not None)} columns; a binomial response is "
            "one column, cbind(successes, failures), or successes | trials(n)"
        )
    factor = _factor(parts[0])
    if factor is not None:
        if len(parts) == 2 or trials is not None:
            raise DataError(f"`{label}`: successes must be counted in numbers, not in levels of a factor")
        return _second_level(*factor, label), weights
    if len(parts) == 2:
        if _factor(parts[1]) is not None:
            raise DataError(f"`{label}`: failures must be counted in numbers, not in levels of a factor")
        successes, failures = (numbers(part, label) for part in parts)
        return _of_trials(successes, successes + failures, weights, label)
    y = numbers(parts[0], label)
    return (y, weights) if trials is None else _of_trials(y, numbers(trials, label), weights, label)


def _of_trials(k: Array, n: Array, weights: Array | None, label: str) -> tuple[Array, Array]:
    """Proportions and their weights; a row without trials has weight 0."""
    bad = ~((k >= 0) & (k <= n) & np.isfinite(n))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"`{label}` has {int(bad.sum()):,} of {k.size:,} rows with negative counts, missing counts or more "
            f"successes than trials (first: row {row + 1} with {k[row]:g} of {n[row]:g})"
        )
    broken = ~(whole(k) & whole(n))
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise DataError(
            f"`{label}` counts successes and trials, but {int(broken.sum()):,} of {k.size:,} rows are not whole "
            f"numbers (first: row {row + 1} with {k[row]:g} of {n[row]:g}); give a proportion as the response "
            "and its trials as weights"
        )
    y = np.divide(k, n, out=np.zeros(k.shape), where=n > 0)
    return y, n if weights is None else n * weights


def _second_level(codes: NDArray[np.integer], levels: Sequence[object], label: str) -> Array:
    used = np.unique(codes[codes >= 0])
    names = _used(codes, levels)
    if len(used) != 2:
        hint = (
            f"compare one with the rest, e.g. I({label} == {str(names[-1])!r})"
            if len(used) > 2
            else "there is nothing to explain"
        )
        raise DataError(
            f"family 'binomial' needs two outcomes, but `{label}` has {len(used):,} "
            f"level{'' if len(used) == 1 else 's'} ({_shown(names)}); {hint}"
        )
    return np.where(codes < 0, np.nan, codes == used[1]).astype(float)


def _factor(part: object) -> tuple[NDArray[np.integer], Sequence[object]] | None:
    """Codes and levels of a ``(codes, levels)`` pair or of an object that has both; None for numbers."""
    if isinstance(part, tuple) and len(part) == 2:
        return np.asarray(part[0]), part[1]
    codes, levels = getattr(part, "codes", None), getattr(part, "levels", None)
    return None if codes is None or levels is None else (np.asarray(codes), levels)


def _used(codes: NDArray[np.integer], levels: Sequence[object]) -> list[object]:
    return [levels[i] for i in np.unique(codes[codes >= 0])]


def _shown(levels: Sequence[object]) -> str:
    return ", ".join(str(v) for v in levels[:6]) + (", ..." if len(levels) > 6 else "")
