"""Thresholds as linear functions of parameters: tau = J alpha, as ``ordinal::clm`` has them (Christensen 2019, sec. 2).

flexible     one parameter for each threshold, called by its two categories, ``1|2``
equidistant  the first threshold, and the distance of neighbours
symmetric    around a centre (two central ones of an even number of thresholds), by distances from it
symmetric2   around zero, by distances from it
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lmmformula.errors import DataError
from lmmformula.typing import Array

__all__ = ["THRESHOLDS", "thresholds"]

THRESHOLDS = ("flexible", "equidistant", "symmetric", "symmetric2")


@lru_cache(maxsize=64)
def thresholds(kind: str, categories: tuple[str, ...]) -> tuple[tuple[str, ...], Array]:
    """Names of the parameters, and J, (K - 1, number of parameters).

    Raises
    ------
    DataError
        For fewer categories than the kind needs.

    Examples
    --------
    >>> thresholds("equidistant", ("low", "mid", "high"))[0]
    ('threshold.1', 'spacing')
    """
    m = len(categories) - 1
    pairs = tuple(f"{a}|{b}" for a, b in pairwise(categories))
    if kind == "flexible":
        return pairs, np.eye(m)
    if m < 2:
        raise DataError(
            f"threshold={kind!r} needs at least three categories, and the response has {len(categories)} "
            f"({', '.join(categories)}): leave it out."
        )
    if kind == "equidistant":
        return ("threshold.1", "spacing"), np.column_stack([np.ones(m), np.arange(float(m))])
    half = m // 2
    outwards = np.eye(half)
    if kind == "symmetric2":
        below, middle, above = -outwards[::-1], np.zeros((m % 2, half)), outwards
        return _numbered("spacing.", half), np.vstack([below, middle, above])
    if m % 2:
        moves = np.vstack([-outwards[::-1], np.zeros((1, half)), outwards])
        return ("central", *_numbered("spacing.", half)), np.column_stack([np.ones(m), moves])
    centres = np.repeat(np.eye(2), half, axis=0)
    moves = np.vstack([-outwards[::-1], outwards])[:, 1:]
    return ("central.1", "central.2", *_numbered("spacing.", half - 1)), np.column_stack([centres, moves])


def _numbered(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}{j + 1}" for j in range(count))


def combined(matrix: Array, alpha: Sequence[object]) -> list[object]:
    """tau_k = sum_j J_kj alpha_j, of arrays of any kind."""
    out: list[object] = []
    for row in matrix:
        total: object = None
        for weight, a in zip(row.tolist(), alpha, strict=True):
            if weight == 0.0:
                continue
            part = a if weight == 1.0 else weight * a  # type: ignore[operator]
            total = part if total is None else total + part  # type: ignore[operator]
        out.append(0.0 if total is None else total)
    return out
