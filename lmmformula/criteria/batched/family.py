"""The family at rows of many draws or responses side by side, (n, S), in parts that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.criteria.rowmodel import Information
from lmmformula.families.family import Family
from lmmformula.families.records import Rows
from lmmformula.typing import Array

__all__ = ["rows_side_by_side"]

BLOCK = 24_000
"""Rows times draws at a time: enough for families that have a compiled pass over many rows to take it."""


def rows_side_by_side(
    family: Family,
    y: Array,
    eta: Array,
    aux: Sequence[Array],
    weights: Array | None,
    constant: Array,
    *,
    derivatives: bool,
    information: Information = "observed",
) -> Rows:
    """``family.rows`` with arrays (n, S), `weights` being (n,); each number is that of the row alone."""
    n, wide = eta.shape
    step = max(1, BLOCK // max(1, wide))
    out: list[Array] = []
    for i in range(0, max(n, 1), step):
        rows = slice(i, i + step)
        found = family.rows(
            y[rows].ravel(),
            eta[rows].ravel(),
            tuple(a[rows].ravel() for a in aux),
            None if weights is None else np.repeat(weights[rows], wide),
            information=information,
            derivatives=derivatives,
            constant=constant[rows].ravel(),
        )
        fields = [found.loglik, found.score, found.weight]
        if found.weight_eta is not None:
            fields += [found.weight_eta, *found.d_aux, *found.score_aux, *found.weight_aux]
        out = out or [np.empty(eta.shape) for _ in fields]
        for whole, part in zip(out, fields, strict=True):
            whole[rows] = np.broadcast_to(part, whole[rows].size).reshape(-1, wide)
    loglik, score, weight, *more = out
    if not more:
        return Rows(loglik, score, weight)
    count = len(aux)
    d_aux, score_aux, weight_aux = (tuple(more[1 + j * count : 1 + (j + 1) * count]) for j in range(3))
    return Rows(loglik, score, weight, more[0], d_aux, score_aux, weight_aux)
