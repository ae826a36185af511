r"""Minimise many smooth functions of few variables at once, each by Newton's steps in its own trust region.

Functions b = 1..B have one form, so that an evaluation of all of them costs little more than of one. Each has its own place,
radius and end; those that have ended are left out of later evaluations. The step is the minimiser of the quadratic model in the
trust region (More & Sorensen 1983; Nocedal & Wright 2006, sec. 4.3) as in :mod:`lmmformula.numerics.trust_region`; at a saddle,
where no slope shows the way down, it goes along the lowest curvature. Hessians are exact here: after the decrement
``g'H^-1g / 2`` has met the tolerance, one last step squares the error that is left.

Where Hessians are dear, first ones are given and follow the gradients by symmetric rank-one updates (Nocedal & Wright 2006,
sec. 6.2), which may be indefinite, as functions are between their optimum and a boundary, and learn from rejected steps too::

    H += r r' / r's,    r = y - H s,    s a step, y the change of the gradient along it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array, Index

__all__ = ["Minima", "Points", "Slopes", "follow_stack", "minimise_stack"]

ROUNDING = 1e-13
"""Share of a function's value below which a promised drop is lost in rounding."""
FLAT = 1e-8
"""Curvature, relative to the largest, along which a last step does not go."""
LONGER = 2.5
SKEW = 1e-8
"""Cosine between a step and what its Hessian missed below which no update is made."""


class Slopes(Protocol):
    """Functions evaluated at one place each, with their slopes."""

    @property
    def value(self) -> Array: ...
    @property
    def gradient(self) -> Array: ...


class Points(Slopes, Protocol):
    """The same with Hessians."""

    @property
    def hessian(self) -> Array: ...


@dataclass(frozen=True, slots=True, eq=False)
class Minima:
    """Where the searches ended.

    Attributes
    ----------
    x : (B, d) array
    converged : (B,) bool array
    evaluations : (B,) int array
    hessian : (B, d, d) array
        The last that were known, before the last step.
    """

    x: Array
    converged: NDArray[np.bool_]
    evaluations: Index
    hessian: Array


def minimise_stack(
    evaluate: Callable[[Array, Index], Points],
    x: Array,
    radius: Array,
    *,
    tolerance: float = 1e-9,
    max_evaluations: int = 100,
) -> Minima:
    """Minimise B functions from `x` by their Hessians; the parameters are those of :func:`follow_stack`.

    Parameters
    ----------
    evaluate : callable
        (x (A, d), which (A,)) -> values (A,), gradients (A, d), Hessians (A, d, d) of the functions named. A value that is not
        finite is never stepped to.
    """

    def met(points: Points, taken: NDArray[np.bool_], held: Array, step: Array, change: Array) -> Array:
        return np.where(taken[:, None, None], points.hessian, held)

    every = np.arange(len(x))
    first = evaluate(x, every)
    start = (first.value.copy(), first.gradient.copy(), first.hessian.copy())
    return _minimise(evaluate, met, start, x, radius, tolerance, max_evaluations)


def follow_stack(
    evaluate: Callable[[Array, Index], Slopes],
    x: Array,
    radius: Array,
    hessian: Array,
    *,
    tolerance: float = 1e-9,
    max_evaluations: int = 100,
) -> Minima:
    """Minimise B functions from `x` by their slopes and Hessians that follow these.

    Parameters
    ----------
    evaluate : callable
        (x (A, d), which (A,)) -> values (A,) and gradients (A, d) of the functions named. A value that is not finite is never
        stepped to.
    x : (B, d) array
    radius : (B,) array
        First trust radii.
    hessian : (B, d, d) array
        Near those at x.
    tolerance : float
        Newton decrement at which a search ends.
    max_evaluations : int
        Of each function.
    """
    every = np.arange(len(x))
    first = evaluate(x, every)
    start = (first.value.copy(), first.gradient.copy(), hessian.copy())
    return _minimise(evaluate, _learned, start, x, radius, tolerance, max_evaluations)


def _learned(points: Slopes, taken: NDArray[np.bool_], held: Array, step: Array, change: Array) -> Array:
    """Hessians after a symmetric rank-one update each, where it is sound."""
    missed = change - np.einsum("bij,bj->bi", held, step)
    inner = np.einsum("bi,bi->b", missed, step)
    size = np.linalg.norm(missed, axis=1) * np.linalg.norm(step, axis=1)
    sound = np.isfinite(inner) & (np.abs(inner) > SKEW * size)
    missed = np.where(sound[:, None], missed, 0.0)
    return held + missed[:, :, None] * missed[:, None, :] / np.where(sound, inner, 1.0)[:, None, None]


_PointsT = TypeVar("_PointsT", bound=Slopes)


def _minimise(
    evaluate: Callable[[Array, Index], _PointsT],
    bent: Callable[[_PointsT, NDArray[np.bool_], Array, Array, Array], Array],
    start: tuple[Array, Array, Array],
    x: Array,
    radius: Array,
    tolerance: float,
    max_evaluations: int,
) -> Minima:
    """The searches, from values, slopes and Hessians at `x`.

    `bent` gives Hessians after trials: what was found there, which were taken, those before, the steps, the changes of slope.
    """
    x, radius, (f, g, h) = x.copy(), radius.copy(), start
    every = np.arange(len(x))
    used, converged = np.ones(len(x), dtype=np.intp), np.zeros(len(x), dtype=bool)
    active = every[np.isfinite(f)]
    for _ in range(max_evaluations):
        values, vectors = _eigen(h[active])
        slope = np.einsum("bij,bi->bj", vectors, g[active])
        done = _decrement(values, slope) <= np.maximum(tolerance, ROUNDING * np.abs(f[active]))
        ended = active[done]
        x[ended] += _turned(vectors[done], _last_step(values[done], slope[done]))
        converged[ended] = True
        active, values, vectors, slope = active[~done], values[~done], vectors[~done], slope[~done]
        if not len(active):
            break
        step = _steps(values, slope, radius[active])
        promised = -np.einsum("bj,bj->b", slope + 0.5 * values * step, step)
        along = _turned(vectors, step)
        trial_x = x[active] + along
        trial = evaluate(trial_x, active)
        used[active] += 1
        slack = ROUNDING * np.maximum(1.0, np.abs(f[active]))
        with np.errstate(invalid="ignore"):
            ratio = (f[active] - trial.value + slack) / (promised + slack)
        ratio[~np.isfinite(ratio)] = -1.0
        length = np.sqrt(np.einsum("bj,bj->b", step, step))
        now = radius[active]
        now = np.where(
            ratio < 0.25,
            0.25 * length,
            np.where((ratio > 0.75) & (length > 0.9 * now), LONGER * now, now),
        )
        radius[active] = now
        taken = ratio > 1e-3
        moved = active[taken]
        h[active] = bent(trial, taken, h[active], along, trial.gradient - g[active])
        x[moved], f[moved] = trial_x[taken], trial.value[taken]
        g[moved] = trial.gradient[taken]
        alive = now > 1e-13 * (1.0 + np.linalg.norm(x[active], axis=1))
        active = active[alive]
    return Minima(x, converged, used, h)


def _eigen(h: Array) -> tuple[Array, Array]:
    """Eigenvalues (B, d) and axes (B, d, d)."""
    if h.shape[-1] == 1:
        return h[:, :, 0], np.ones_like(h)
    return np.linalg.eigh(h)


def _turned(vectors: Array, step: Array) -> Array:
    """Steps in the axes, as steps in x."""
    return np.einsum("bij,bj->bi", vectors, step)


def _sizes(values: Array, share: float) -> Array:
    top = np.maximum(np.abs(values).max(axis=1, initial=0.0), 1e-300)
    return np.maximum(np.abs(values), share * top[:, None])


def _decrement(values: Array, slope: Array) -> Array:
    """g'|H|^-1 g / 2; at least 1 on directions of clearly negative curvature."""
    out = 0.5 * (slope**2 / _sizes(values, 1e-12)).sum(axis=1)
    if not values.size:
        return out
    top = np.maximum(np.abs(values).max(axis=1), 1e-300)
    return np.where(values[:, 0] < -1e-6 * top, np.maximum(out, 1.0), out)


def _last_step(values: Array, slope: Array) -> Array:
    """Newton's step without directions in which the function is flat."""
    if not values.size:
        return slope
    flat = values < FLAT * np.abs(values).max(axis=1, keepdims=True)
    return np.where(flat, 0.0, -slope / np.where(flat, 1.0, values))


def _steps(values: Array, slope: Array, radius: Array) -> Array:
    """Minimisers of slope's + s'diag(values)s/2 within |s| <= radius, one a row."""
    lowest = values[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        newton = -slope / values
    inside = (lowest[:, 0] > 0.0) & (np.linalg.norm(newton, axis=1) <= radius)
    bent = np.flatnonzero(~inside)
    if len(bent):
        newton[bent] = _bounded(values[bent], slope[bent], radius[bent])
    return newton


def _bounded(values: Array, slope: Array, radius: Array) -> Array:
    """The same where the minimiser lies on the boundary: |s| = radius, s = -(H + shift)^-1 slope."""
    size = np.maximum(1.0, np.abs(values).max(axis=1))
    least = np.maximum(0.0, -values[:, 0])
    shift = least + 1e-12 * size

    def at(shift: Array) -> Array:
        return -slope / (values + shift[:, None])

    step = at(shift)
    length = np.linalg.norm(step, axis=1)
    hard = length < radius  # nothing pushes along the lowest curvature
    push = np.sqrt(np.maximum(radius**2 - length**2, 0.0)) * np.where(slope[:, 0] > 0.0, -1.0, 1.0)
    for _ in range(60):
        off = ~hard & (np.abs(length - radius) > 1e-3 * radius)
        if not off.any():
            break
        curve = np.maximum((step**2 / (values + shift[:, None])).sum(axis=1), 1e-300)
        change = (length / radius - 1.0) * length**2 / curve
        moved = np.maximum(shift + change, least + 1e-3 * np.maximum(shift - least, 1e-300))
        shift = np.where(off, moved, shift)
        step = at(shift)
        length = np.linalg.norm(step, axis=1)
    step[hard, 0] += push[hard]
    return step
