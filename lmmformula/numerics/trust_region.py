"""Minimise a smooth function of few variables by Newton steps in a trust region.

The model Hessian need not be definite: the step solves the trust-region problem exactly by its eigen-decomposition
(More & Sorensen 1983; Nocedal & Wright 2006, sec. 4.3), so the iteration leaves saddles. Convergence is declared on the
Newton decrement ``g'H^-1g / 2``, the drop in the function that the model still promises, which does not depend on the
units of the variables.

The Hessian of a point may be an approximation. Where the steps fall short of what it promises, they correct it; a saddle that
it claims where nothing else is promised, or late in a long search, is held against differences of the gradient, an evaluation
for each variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.typing import Array

__all__ = ["Minimum", "Nowhere", "Point", "Standing", "corrected", "minimise", "newton_step"]


ROUNDING = 1e-13
"""Share of the function's value below which a promised drop is lost in rounding."""

INSIDE = 0.05
"""Share of the value's standard error below which a promised drop is not worth a step."""

CLOSE = 0.1
"""Share of the promised drop that a step may miss if the Hessian before it is to judge where it ends."""

ROUGHLY = 0.25
"""The same where values have errors: a Hessian that steps correct leads a search to within those as well as a new one."""

REMEMBERED = 6
"""Steps that correct the curvature where a search ends, or is misled."""

SHORT_OF = 0.5
"""Share of the promised drop below which a step tells against the Hessian."""

PATIENCE = 1
"""How many more such steps than others a search takes until the steps correct its Hessians."""

LONG = 60
"""Evaluations after which a search does not believe in a curvature downwards: a good one has found a minimum by then."""

IDLE = 16
"""Steps in a row that move the value by no more than its rounding, after which what is still promised is not to be had."""

APART = 1e-4
"""Between the gradients whose difference measures a Hessian, in coordinates of a search."""

REACH = 1.0
"""Step along an axis that a quadratic model can promise anything of, in coordinates of a search, which are about of size 1."""

BENT = 1e-6
"""Curvature downwards, relative to the largest, from which on a point is a saddle and no minimum."""

FLAT = 1e-8
"""Curvature, relative to the largest, along which a last step does not go."""


class Point(Protocol):
    """A function evaluated at one place; derivatives are computed when read.

    `error` is the standard error of the value, zero if it is exact. Steps that promise less are not judged by the value.
    """

    @property
    def value(self) -> float: ...
    @property
    def error(self) -> float: ...
    @property
    def gradient(self) -> Array: ...
    @property
    def hessian(self) -> Array: ...


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A trial step at which a criterion does not exist: it is rejected, and its derivatives are never read."""

    @property
    def value(self) -> float:
        return np.inf

    @property
    def error(self) -> float:
        return 0.0

    @property
    def gradient(self) -> Array:
        return np.zeros(0)

    @property
    def hessian(self) -> Array:
        return np.zeros((0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """Where the search ended.

    Attributes
    ----------
    x : (d,) array
    point : Point
    converged : bool
    decrement : float
        Drop in the function still promised by the model at `x`.
    evaluations, iterations : int
        Function values, and accepted steps.
    curvature : (d, d) array
        The last Hessian that was read, corrected by what the last steps saw of it (BFGS). A Newton step with it, which was not
        taken, leaves about a hundredth of the error.
    """

    x: Array
    point: Point
    converged: bool
    decrement: float
    evaluations: int
    iterations: int
    curvature: Array


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a search stands: all it takes to go on, besides the function.

    Attributes
    ----------
    x : (d,) array
    radius : float
    pairs : tuple of (step, change of the gradient)
        Of the last steps.
    evaluations, iterations : int
        So far.
    short : int
        How many more steps than others fell short of what was promised.
    idle : int
        How many of the last steps moved the value by no more than its rounding.
    """

    x: Array
    radius: float
    pairs: tuple[tuple[Array, Array], ...]
    evaluations: int
    iterations: int
    short: int = 0
    idle: int = 0


def minimise(
    evaluate: Callable[[Array], Point],
    x: Array,
    *,
    tolerance: float = 1e-9,
    max_evaluations: int = 200,
    radius: float = 1.0,
    noise: float = 1e-13,
    secants: int = 0,
    callback: Callable[[int, float, float], None] | None = None,
    standing: Standing | None = None,
    keep: Callable[[Standing, bool], None] | None = None,
) -> Minimum:
    """Minimise from `x`.

    Parameters
    ----------
    evaluate : callable
        x -> Point.
    x : (d,) array
        Start.
    tolerance : float
        Newton decrement at which the search ends.
    max_evaluations : int
    radius : float
        First trust radius, in units of x.
    noise : float
        Relative rounding error of the function; steps inside it are accepted on trust of the gradient.
    secants : int
        How many of the last steps correct the points' Hessians from the start; 0 if those are good enough alone.
    callback : callable, optional
        Called with (evaluations, value, decrement) after each accepted step.
    standing : Standing, optional
        Where an earlier run stood, in place of `x` and `radius`; its point is evaluated again, which is not counted.
    keep : callable, optional
        Called with where the search stands, and whether it ends there, at the start and after each accepted step.
    """
    begin = Standing(x, radius, (), 1, 0) if standing is None else standing
    x, radius, used, steps = begin.x, begin.radius, begin.evaluations, begin.iterations
    point, pairs, short, idle = evaluate(x), list(begin.pairs), begin.short, begin.idle
    model = _Quadratic.of(point.hessian, _last(pairs, _memory(secants, short)), point.gradient)
    while True:
        goal = _goal(point, tolerance)
        known = INSIDE * point.error <= tolerance
        if known and model.curves_down and (used >= LONG or model.claims_saddle_alone(goal)):
            model, spent = _measured(evaluate, x, point, model)
            used += spent
        if callback is not None:
            callback(used, point.value, model.decrement)
        done = model.decrement <= goal
        if keep is not None:
            keep(Standing(x, radius, tuple(pairs), used, steps, short, idle), done or used >= max_evaluations)
        if done or used >= max_evaluations:
            return Minimum(x, point, done, model.decrement, used, steps, corrected(model.hessian, pairs))
        while True:
            tried = _try(evaluate, x, point, model, radius, noise)
            radius, used, accepted = tried.radius, used + 1, tried.ratio > 1e-3
            short = short + 1 if tried.ratio < SHORT_OF else max(short - 1, 0)
            if idle >= IDLE or radius < 1e-12 * (1.0 + math.sqrt(x @ x)):
                left, seen = _drop(model.values, model.slope), corrected(model.hessian, pairs)
                return Minimum(x, point, left <= 1e3 * goal, left, used, steps, seen)
            if accepted or used >= max_evaluations:
                break
        if accepted:
            pairs = [*pairs, (tried.moved, tried.point.gradient - point.gradient)][
                -max(secants, REMEMBERED) :
            ]
            idle = (
                idle + 1 if abs(point.value - tried.point.value) <= noise * max(1.0, abs(point.value)) else 0
            )
            x, point, steps = tried.x, tried.point, steps + 1
            model = _next(
                model,
                point,
                _last(pairs, _memory(secants, short)),
                kept=abs(tried.ratio - 1.0) <= (ROUGHLY if tried.point.error else CLOSE),
                goal=_goal(point, tolerance),
            )


def _memory(secants: int, short: int) -> int:
    """How many of the last steps correct the Hessian after so many that fell short."""
    return max(secants, REMEMBERED) if short >= PATIENCE else secants


def _measured(
    evaluate: Callable[[Array], Point], x: Array, point: Point, model: _Quadratic
) -> tuple[_Quadratic, int]:
    """The model around a point by differences of the gradient, and the evaluations it took; as it was where there is none."""
    beside = [evaluate(x + APART * axis).gradient for axis in np.eye(len(x))]
    if any(len(gradient) != len(x) for gradient in beside):
        return model, len(x)
    hessian = (np.array(beside) - point.gradient) / APART
    return _Quadratic.of(0.5 * (hessian + hessian.T), [], point.gradient), len(x)


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A step that was tried: where it led, what was gained as a share of what was promised, and the next radius."""

    x: Array
    moved: Array
    point: Point
    ratio: float
    radius: float


def _try(
    evaluate: Callable[[Array], Point], x: Array, point: Point, model: _Quadratic, radius: float, noise: float
) -> _Tried:
    """The model's step within the radius."""
    step = _step(model.values, model.slope, radius)
    promised = -float(model.slope @ step + 0.5 * (model.values * step) @ step)
    moved = model.vectors @ step
    there = x + moved
    trial = evaluate(there)
    slack = noise * max(1.0, abs(point.value)) + point.error
    ratio = (point.value - trial.value + slack) / (promised + slack)
    length = math.sqrt(step @ step)
    if ratio < 0.25:
        radius = 0.25 * length
    elif ratio > 0.75 and length > 0.9 * radius:
        radius = 2.5 * radius
    return _Tried(there, moved, trial, ratio, radius)


@dataclass(frozen=True, slots=True, eq=False)
class _Quadratic:
    """The function's second-order model around a point, in the axes of its Hessian.

    Attributes
    ----------
    hessian : (d, d) array
        Before secants correct it.
    values, vectors : arrays
        Eigenvalues and axes of the corrected one.
    slope : (d,) array
        The gradient in those axes.
    decrement : float
    """

    hessian: Array
    values: Array
    vectors: Array
    slope: Array
    decrement: float

    @classmethod
    def of(cls, hessian: Array, pairs: list[tuple[Array, Array]], gradient: Array) -> _Quadratic:
        values, vectors = np.linalg.eigh(corrected(hessian, pairs))
        return cls._in_axes(hessian, values, vectors, gradient)

    @classmethod
    def _in_axes(cls, hessian: Array, values: Array, vectors: Array, gradient: Array) -> _Quadratic:
        slope = vectors.T @ gradient
        return cls(hessian, values, vectors, slope, _decrement(values, slope))

    @property
    def curves_down(self) -> bool:
        """Whether there is an axis of clearly negative curvature."""
        return bool(len(self.values)) and self.values[0] < -BENT * float(np.abs(self.values).max())

    def claims_saddle_alone(self, goal: float) -> bool:
        """Whether nothing but a curvature downwards promises a drop."""
        return self.decrement > goal >= _drop(self.values, self.slope)

    def moved(self, pairs: list[tuple[Array, Array]], gradient: Array) -> _Quadratic:
        """The same Hessian around another point."""
        if pairs:
            return self.of(self.hessian, pairs, gradient)
        return self._in_axes(self.hessian, self.values, self.vectors, gradient)


def _last(pairs: list[tuple[Array, Array]], count: int) -> list[tuple[Array, Array]]:
    """The last `count` of them."""
    return pairs[-count:] if count else []


def newton_step(hessian: Array, gradient: Array) -> Array:
    """-H^-1 g, along the axes in which the model curves upwards."""
    values, vectors = np.linalg.eigh(hessian)
    curved = values > FLAT * values.max(initial=0.0)
    return vectors @ np.where(curved, -(vectors.T @ gradient) / np.where(curved, values, 1.0), 0.0)


def _goal(point: Point, tolerance: float) -> float:
    """Decrement at which the search ends."""
    return max(tolerance, ROUNDING * abs(point.value), INSIDE * point.error)


def _next(
    last: _Quadratic, point: Point, pairs: list[tuple[Array, Array]], *, kept: bool, goal: float
) -> _Quadratic:
    """The model at a new point; if `kept`, with the last Hessian, should the search have ended by that or values have errors.

    A Hessian costs about as much as the value, of an iterative engine, whose values have errors, more. Where a step has brought
    what was promised, the last one still holds.
    """
    if kept:
        same = last.moved(pairs, point.gradient)
        if same.values[0] > 0.0 and (same.decrement <= goal or point.error > 0.0):
            return same
    return _Quadratic.of(point.hessian, pairs, point.gradient)


def corrected(hessian: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """`hessian` after an update for each (step s, change of gradient y).

    BFGS, damped as Powell (1978) does to stay definite; where the model curves downwards along s and the gradient says
    upwards, the symmetric update of rank one, ``(y - Hs)(y - Hs)' / (y - Hs)'s``, which then adds a semidefinite matrix
    (Nocedal & Wright 2006, equation 6.24).
    """
    out = hessian
    for s, y in pairs:
        hs = out @ s
        model, seen = float(s @ hs), float(s @ y)
        if model <= 0.0:
            if seen > 0.0:
                out = out + np.outer(y - hs, y - hs) / (seen - model)
            continue
        if seen < 0.2 * model:
            share = 0.8 * model / (model - seen)
            y = share * y + (1.0 - share) * hs
            seen = float(s @ y)
        out = out - np.outer(hs, hs) / model + np.outer(y, y) / seen
    return out


def _decrement(values: Array, slope: Array) -> float:
    """The drop that is promised, at least 1 on directions of clearly negative curvature with no slope to follow."""
    drop = _drop(values, slope)
    return max(drop, 1.0) if len(values) and values[0] < -BENT * float(np.abs(values).max()) else drop


def _drop(values: Array, slope: Array) -> float:
    """g'|H|^-1 g / 2, of a flat axis the share of it within a step of REACH."""
    total = 0.0
    for s, value in zip(slope.tolist(), values.tolist(), strict=True):
        size, steep = abs(value), abs(s)
        total += 0.5 * s * s / size if steep < REACH * size else (steep - 0.5 * size * REACH) * REACH
    return total


def _step(values: Array, slope: Array, radius: float) -> Array:
    """Minimiser of slope's + s'diag(values)s/2 within |s| <= radius."""
    lowest = float(values[0])
    if lowest > 0:
        newton = -slope / values
        if math.hypot(*newton.tolist()) <= radius:
            return newton
    top = float(np.abs(values).max())
    shift_low, shift = max(0.0, -lowest), max(0.0, -lowest) + 1e-12 * max(1.0, top)
    inside = -slope / (values + shift)
    if np.linalg.norm(inside) < radius:  # the hard case: nothing pushes along the lowest curvature
        if lowest < -BENT * top:  # and downhill it is; along a flat axis there is nowhere to go
            gap = radius**2 - float(inside @ inside)
            inside[0] += np.sqrt(max(gap, 0.0))
        return inside
    for _ in range(60):
        inverse = 1.0 / (values + shift)
        step = slope * inverse
        length = float(np.linalg.norm(step))
        if abs(length - radius) <= 1e-3 * radius:
            break
        change = (length / radius - 1.0) * length**2 / float((step**2) @ inverse)
        shift = max(shift + change, shift_low + 1e-3 * max(shift - shift_low, 1e-300))
    return -slope / (values + shift)
