r"""Averages over the cells of a reference grid.

A mean of the factors A over those not in A, B, is ``sum_b w_ab eta_ab`` with sum_b w_ab = 1. With n_ab the rows in a cell::

    equal          w_ab = 1 / |B|                       proportional   w_ab = n_.b / n
    cells          w_ab = n_ab / n_a.                   outer          w_ab = product over the factors of B of their margins
    flat           w_ab = [n_ab > 0] / sum_b [n_ab > 0]

(Searle, Speed & Milliken 1980 for the first and the third; emmeans names all of them.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.means.grid import Grid, Label
from lmmformula.typing import Array

__all__ = ["WEIGHTS", "Averages", "averages", "check_weights", "shares"]

WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Which cells are averaged into which mean.

    Attributes
    ----------
    labels : dict
        Variable -> its value in each mean.
    weights : (means, cells) array
        Rows that add up to one; nan where no row of the data has the mean's factors.
    averaged : tuple of str
        Variables with several values that were averaged over.
    """

    labels: dict[str, tuple[Label, ...]]
    weights: Array
    averaged: tuple[str, ...]


def averages(grid: Grid, names: Sequence[str], weights: str) -> Averages:
    """The means of the combinations of `names`, the first one fastest.

    Raises
    ------
    DataError
        For a name that is no predictor, or unknown weights.
    """
    check_weights(weights)
    chosen = [grid.predictor(name) for name in names]
    order = [p.name for p in grid.predictors]
    wanted = [order.index(name) for name in names]
    others = [j for j in range(len(order)) if j not in wanted]
    # the grid's first predictor is fastest, in C order the last axis: axes are those of the predictors reversed
    cube = np.arange(len(grid.X)).reshape(grid.shape[::-1]).transpose(range(len(order))[::-1])
    cube = cube.transpose([*wanted[::-1], *others])  # the first name fastest
    n_means = int(np.prod([len(p.values) for p in chosen], dtype=int))
    cells = cube.reshape(n_means, -1)
    counts = grid.counts[cells]
    shared = shares(weights, counts, tuple(grid.shape[j] for j in others))
    matrix = np.zeros((n_means, len(grid.X)))
    np.put_along_axis(matrix, cells, shared, axis=1)
    index = np.indices([len(p.values) for p in chosen[::-1]]).reshape(len(chosen), n_means)[::-1]
    labels = {p.name: tuple(p.values[i] for i in where) for p, where in zip(chosen, index, strict=True)}
    averaged = tuple(order[j] for j in others if grid.shape[j] > 1)
    return Averages(labels, matrix, averaged)


def check_weights(weights: str) -> None:
    """Refuse unknown ones.

    Raises
    ------
    DataError
    """
    if weights not in WEIGHTS:
        raise DataError(f"weights={weights!r} is unknown; use one of {', '.join(map(repr, WEIGHTS))}.")


def shares(weights: str, counts: Array, sizes: tuple[int, ...]) -> Array:
    """Weights of the cells of each mean, (means, cells of a mean)."""
    if weights == "equal" or counts.shape[1] == 1:
        return np.full(counts.shape, 1.0 / counts.shape[1])
    if weights in ("cells", "flat"):
        own = counts if weights == "cells" else (counts > 0.0).astype(float)
        total = own.sum(axis=1, keepdims=True)
        return np.divide(own, total, out=np.full(own.shape, np.nan), where=total > 0.0)
    table = counts.sum(axis=0).reshape(sizes)
    if weights == "outer":
        margins = [table.sum(axis=tuple(k for k in range(len(sizes)) if k != j)) for j in range(len(sizes))]
        table = reduce(np.multiply.outer, margins)
    flat = table.ravel() / table.sum()
    return np.broadcast_to(flat, counts.shape)
