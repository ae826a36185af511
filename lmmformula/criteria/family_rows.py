"""The family at many rows, in slices that stay in the cache and over threads.

A family evaluates a dozen elementwise functions one after the other. On all rows at once each of them goes through memory; on
a slice they do not, and slices do not wait for each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lmmformula.families.records import Rows
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array

__all__ = ["family_rows"]

SLICE = 16_384
"""Rows at a time: about ten temporaries of them fit the cache of one core."""
_FIELDS = ("loglik", "score", "weight", "weight_eta")
_LISTS = ("d_aux", "score_aux", "weight_aux")


def family_rows(
    problem: Problem,
    eta: Array,
    aux: tuple[Any, ...],
    *,
    information: Any,
    derivatives: bool,
    constant: Any,
) -> Rows:
    """``problem.family.rows`` at eta, the same numbers whatever the slices."""

    def part(start: int, stop: int) -> Rows:
        rows = slice(start, stop)
        return problem.family.rows(
            problem.y[rows],
            eta[rows],
            tuple(_of(a, rows) for a in aux),
            _of(problem.weights, rows),
            information=information,
            derivatives=derivatives,
            constant=_of(constant, rows),
        )

    n = len(eta)
    if n <= 2 * SLICE:
        return part(0, n)
    out = _empty(part(0, SLICE), n)

    def fill(start: int, stop: int) -> None:
        for whole, some in zip(_arrays(out), _arrays(part(start, stop)), strict=True):
            whole[start:stop] = some

    in_parts(fill, edges(n, SLICE))
    return out


def _of(x: Any, rows: slice) -> Any:
    return x[rows] if isinstance(x, np.ndarray) and x.ndim else x


def _empty(like: Rows, n: int) -> Rows:
    single = {f: None if getattr(like, f) is None else np.empty(n) for f in _FIELDS}
    lists = {f: tuple(np.empty(n) for _ in getattr(like, f)) for f in _LISTS}
    return Rows(**single, **lists)  # pyright: ignore[reportArgumentType]


def _arrays(rows: Rows) -> list[Array]:
    single = [getattr(rows, f) for f in _FIELDS if getattr(rows, f) is not None]
    return single + [a for f in _LISTS for a in getattr(rows, f)]
