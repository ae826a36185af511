"""Where the numbers of a model lie and how far they spread, from which default priors take scales; rows may be anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk, Each
from lmmformula.numerics.columns import Parts, over
from lmmformula.numerics.order_statistics import median, spread
from lmmformula.typing import Array

__all__ = ["LEAST", "Scale", "basis_of", "column_means", "column_spread", "column_spreads"]

LEAST = 2.5
"""Least scale of a default prior of standard deviations on a scale without unit, brms'."""


def _whole_response(problem: Problem) -> Array:
    """y where it is normal, less the offset, (n,)."""
    return _worked(problem, problem)


def _worked(problem: Problem, rows: Problem | Chunk) -> Array:
    normal = problem.family.normal
    y = rows.y if normal is None else normal.of(rows.y)
    return y if rows.offset is None else y - rows.offset


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the linear predictor lies and how far it may spread, before the model is fitted.

    Attributes
    ----------
    centre, size : float
        Where its values lie and how far they spread.
    wide : float
        Scale of the default prior of a standard deviation.
    """

    centre: float
    size: float
    wide: float

    @classmethod
    def of(cls, problem: Problem) -> Scale:
        """From the response on the scale of the link."""
        family, intercept = problem.family, "(Intercept)" in problem.X.names
        if family.normal is not None:
            y = _responses(problem)
        else:
            problem.refuse_elsewhere("a default prior for this family")
            offset = 0.0 if problem.offset is None else problem.offset
            y = [family.start(problem.y, problem.weights) - offset]
            if family.link_function.unit is not None:
                weights = problem.weights if family.weights_are == "trials" else None
                mean = np.array(np.average(problem.y, weights=weights))
                centre = float(family.link_function.eta(mean)) - float(np.mean(offset))
                return cls(centre, 1.0 if intercept else max(1.0, spread(y, around_mean=False)), LEAST)
        centre = median(y)
        mad = 1.4826 * median(_away(y, centre))
        known = (
            family.normal is not None or family.eta_power is not None
        )  # the scale of y, to which any unit of it is scaled
        wide = (mad or spread(y, around_mean=True)) if known else max(LEAST, mad)
        return cls(centre, spread(y, around_mean=intercept), wide)


def _responses(problem: Problem) -> Parts:
    """:func:`_whole_response`, wherever the rows are."""
    if problem.data.at_hand:
        return [_whole_response(problem)]
    return Each(problem.data, lambda chunk: _worked(problem, chunk))


def _away(values: Parts, centre: float) -> Parts:
    """Distances from a number."""
    if isinstance(values, Each):
        of = values.of
        return Each(values.rows, lambda chunk: np.abs(of(chunk) - centre))
    return [np.abs(v - centre) for v in values]


def column_means(problem: Problem) -> Array:
    """Of X, (p,)."""
    if problem.data.at_hand:
        return problem.X.matrix.mean(axis=0)
    moments = problem.data.fixed.moments()
    return moments.sums / moments.n


def column_spread(problem: Problem, j: int, *, around_mean: bool) -> float:
    """How far the j-th column of X spreads."""
    if problem.data.at_hand:
        return spread([problem.X.matrix[:, j]], around_mean=around_mean)
    return spread(Each(problem.data, lambda chunk: chunk.fixed[:, j]), around_mean=around_mean)


def basis_of(problem: Problem, i: int) -> Parts | None:
    """Columns of the i-th term, wherever the rows are; None where it has only ones."""
    own = problem.terms[i].flat
    if own is None or problem.data.at_hand:
        return None if own is None else [own]
    return Each(problem.data, lambda chunk: chunk.terms[i].flat)  # type: ignore[arg-type,return-value]


def column_spreads(block: GroupBlock, basis: Parts | None, count: int) -> list[tuple[float, float]]:
    """How far the user's columns of a term spread, and their units, for each of its `count` standard deviations."""
    if basis is None:
        return [(1.0, 1.0)] * count
    units = np.ones(block.k) if block.units is None else block.units
    first = over(basis, lambda x: x[:1], lambda one, other: one if len(one) else other)[0] * units
    constant = over(basis, lambda x: (x * units == first).all(axis=0), np.logical_and)

    def zeros_and_ones(x: Array) -> Array:
        return ((x == 0.0) | (np.abs(x * units - 1.0) < 1e-12)).all(axis=0)  # scaled there and back

    indicator, n = over(basis, zeros_and_ones, np.logical_and), over(basis, len)
    means = over(basis, lambda x: x.sum(axis=0)) * units / n * bool(constant.any())
    squares = over(basis, lambda x: ((x * units - means) ** 2).sum(axis=0))
    own = np.sqrt(squares / n)
    own = np.where(indicator, 1.0, np.where(constant, np.abs(first), np.where(own == 0.0, 1.0, own)))
    if count < len(own):
        own = np.full(count, np.sqrt(np.mean(own**2)))
    return list(zip(own.tolist(), units[:count].tolist(), strict=True))
