"""Compact letter display: means that share a letter do not differ.

Insert and absorb (Piepho 2004, sec. 2.2): one column holds all means; every pair that differs splits each column that holds
both into one without the first and one without the second; columns that another contains are dropped. The result has a shared
letter for exactly those pairs that do not differ.

References
----------
Piepho (2004), J. Comput. Graph. Statist. 13, 456-466.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lmmformula.typing import Array

__all__ = ["letters"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letters(values: Array, differ: Iterable[tuple[int, int]], *, reverse: bool = False) -> list[str]:
    """Letters of each mean, "a" with the smallest (the largest, if `reverse`); empty for nan.

    Parameters
    ----------
    values : (k,) array
    differ : iterable of pairs
        Positions of means that differ.
    """
    there = np.flatnonzero(np.isfinite(values))
    columns: list[frozenset[int]] = [frozenset(there.tolist())] if len(there) else []
    for i, j in differ:
        split = [
            part for c in columns for part in ((c - {i}, c - {j}) if i in c and j in c else (c,)) if part
        ]
        columns = _absorbed(split)
    order = there[np.argsort(-values[there] if reverse else values[there], kind="stable")]
    rank = {int(mean): place for place, mean in enumerate(order)}
    columns.sort(key=lambda column: sorted(rank[mean] for mean in column))
    names = [_letter(c) for c in range(len(columns))]
    return ["".join(n for n, c in zip(names, columns, strict=True) if i in c) for i in range(len(values))]


def _absorbed(columns: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Without columns that lie in another."""
    distinct = list(dict.fromkeys(columns))
    return [c for c in distinct if not any(c < other for other in distinct)]


def _letter(place: int) -> str:
    """a to Z, then a', b', ..."""
    return _ALPHABET[place % len(_ALPHABET)] + "'" * (place // len(_ALPHABET))
