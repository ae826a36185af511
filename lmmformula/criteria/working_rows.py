"""What an iteration of penalised quasi-likelihood holds, and what it takes of the rows.

The algebra, with the equation numbers used here, stands at the head of :mod:`lmmformula.criteria.pql`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.blocks import Gram
from lmmformula.ir.rows import Chunk, Rows, RowVector
from lmmformula.ir.sums import Reduced
from lmmformula.typing import Array

__all__ = [
    "NO_WEIGHT",
    "Accepted",
    "Shift",
    "State",
    "Step",
    "Summed",
    "moves_of",
    "pearson",
    "pearson_sum",
    "square",
    "weighted_response",
]

NO_WEIGHT, NO_SCORE = 1e-100, 1e-8
"""A working weight below this, and a score, count as zero."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where an iteration stands: all it takes to go on.

    Attributes
    ----------
    eta : RowVector
    rows : Rows
        The family at eta: scores, expected weights and log density, at unit dispersion.
    beta : (p,) array
    b : tuple of (m_a, k_a) arrays
        Effects of the groups.
    theta : (n_theta,) array
    phi : float
    alpha : tuple of arrays
        Coefficients of the family's own parameters; empty if it has none, or only the dispersion.
    """

    eta: RowVector
    rows: FamilyRows
    beta: Array
    b: tuple[Array, ...]
    theta: Array
    phi: float
    alpha: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """The terms that a correction adds (:mod:`lmmformula.criteria.pql_correction`).

    Attributes
    ----------
    beta : (p,) array
        g.
    effects : tuple of (m_a, k_a) arrays
        L v.
    """

    beta: Array
    effects: tuple[Array, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """What an outer iteration takes of the rows at one state.

    Attributes
    ----------
    low, high : float
        Smallest and largest working weight.
    loglik : float
    gram : Gram
        [Z X]'W[Z X].
    sums : tuple of (m_a, k_a) arrays
        Z'Wz.
    target : (p,) array
        X'Wz.
    zwz : float
        z'Wz.
    pearson : float
        sum s^2 / w.
    """

    low: float
    high: float
    loglik: float
    gram: Gram
    sums: tuple[Array, ...]
    target: Array
    zwz: float
    pearson: float


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A solution of the working model at theta, with the variances that follow from it.

    Attributes
    ----------
    beta, b
        The solution.
    theta : array
        Where it was solved.
    moved : Shift or None
        The correction in it.
    """

    beta: Array
    b: tuple[Array, ...]
    theta: Array
    moved: Shift | None


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """Where a step went, what the next one takes of the rows there, and the change of eta relative to its size."""

    state: State
    loglik: float
    summed: Summed | None
    change: float


def pearson(data: Rows, rows: FamilyRows) -> float:
    """sum s^2 / w over rows that carry weight; infinite if a row has lost its weight but not its score."""
    return pearson_sum(rows).of(data)


def pearson_sum(rows: FamilyRows) -> Reduced[float]:
    """:func:`pearson`, to be asked for together with others."""

    def part(chunk: Chunk, w: Array, s: Array) -> float:
        ok = w > NO_WEIGHT
        if ok.all():
            return float((s / w) @ s)
        if np.abs(s[~ok]).max(initial=0.0) > NO_SCORE:
            return float("inf")
        with np.errstate(over="ignore"):
            return float((s[ok] / w[ok]) @ s[ok])

    return Reduced(part, (rows.weight, rows.score))


def moves_of(old: State, new: State, *, weighted: bool) -> Reduced[Array]:
    """|eta - eta'|^2 and |eta|^2; `weighted` by what the rows still say."""

    def squares(chunk: Chunk, new: Array, old: Array, weight: Array) -> Array:
        move = new - old
        if weighted:
            move *= np.sqrt(np.minimum(weight, 1.0))
        return np.array([move @ move, new @ new])

    return Reduced(squares, (new.eta, old.eta, new.rows.weight))


def _shifted(chunk: Chunk, eta: Array) -> Array:
    return eta if chunk.offset is None else eta - chunk.offset


def weighted_response(chunk: Chunk, eta: Array, weight: Array, score: Array) -> tuple[Array]:
    """Wz without the offset."""
    wz = weight * _shifted(chunk, eta)
    wz += score
    return (wz,)


def square(chunk: Chunk, eta: Array, wz: Array, score: Array) -> float:
    """z'Wz but for s^2 / w."""
    eta = _shifted(chunk, eta)
    return float(eta @ wz) + float(eta @ score)
