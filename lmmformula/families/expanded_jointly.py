r"""Derivatives of rows in all their linear predictors by truncated series, where compiling would cost more than it saves.

Along a direction u of the predictors a series (:mod:`lmmformula.families.taylor`) gives, besides the log density l and its
derivatives along u, those of its first order in each predictor k::

    l_k,    l_uk,    l_uuk.

The directions e_i give all second derivatives and l_iik; those of distinct predictors follow from ``e_i + e_j``::

    l_ijk = (l_uuk - l_iik - l_jjk) / 2,        u = e_i + e_j.                                                       (1)

Cost: K evaluations of the density as a series, and one for each pair of predictors where there are more than two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.records import Array
from lmmformula.families.taylor import Series, read

__all__ = ["Pieces", "expanded_pull", "expanded_slopes"]

Pieces: TypeAlias = Callable[[tuple[Series, ...]], Iterable[tuple[float, NDArray[np.intp], Series]]]
"""Predictors -> sums of a row's log density: a sign, rows, and what it is of these."""


def expanded_slopes(pieces: Pieces, predictors: Array) -> tuple[Array, Array, Array]:
    """l (n,), s = dl (K, n) and W = -d2l (K, K, n).

    Parameters
    ----------
    pieces : callable
    predictors : (K, n) array
    """
    k = len(predictors)
    w = np.zeros((k, *predictors.shape))
    found = None
    for i in range(k):
        found = _along(pieces, predictors, (i,), order=2)
        w[i] = -found.mixed
    assert found is not None
    return found.value, found.first, w


def expanded_pull(pieces: Pieces, predictors: Array, weigh: Array) -> Array:
    """``g_j = sum_kl weigh_kl dW_kl/deta_j`` for symmetric `weigh` (K, K, n), (K, n)."""
    k = len(predictors)
    own = [_along(pieces, predictors, (i,), order=3).twice for i in range(k)]
    g = -sum((weigh[i, i] * own[i] for i in range(k)), np.zeros(predictors.shape))
    for i, j in combinations(range(k), 2):
        # l_ijk of k = i and k = j alone is known from the single directions
        third = np.zeros(predictors.shape)
        third[i], third[j] = own[i][j], own[j][i]
        if k > 2:
            both = _along(pieces, predictors, (i, j), order=3).twice
            rest = [m for m in range(k) if m not in (i, j)]
            third[rest] = 0.5 * (both - own[i] - own[j])[rest]
        g -= 2.0 * weigh[i, j] * third
    return g


@dataclass(frozen=True, slots=True)
class _Found:
    """l (n,), and by each predictor k: l_k, l_uk and l_uuk, (K, n)."""

    value: Array
    first: Array
    mixed: Array
    twice: Array


def _along(pieces: Pieces, predictors: Array, direction: Sequence[int], *, order: int) -> _Found:
    """By series to an order of 2 or 3 along a sum of unit vectors."""
    k, n = predictors.shape
    rest = (None,) * (order - 1)
    variables = tuple(
        Series(
            (predictors[m], 1.0 if m in direction else None, *rest),
            tuple((1.0 if m == j else None, *rest) for j in range(k)),
        )
        for m in range(k)
    )
    value, by = np.zeros(n), np.zeros((3, k, n))
    for sign, rows, series in pieces(variables):
        own, each = read(series, (len(rows),))
        value[rows] += sign * own[0]
        for j, slopes in enumerate(each):
            for at, slope in enumerate(slopes):
                by[at, j, rows] += sign * slope
    return _Found(value, *by)
