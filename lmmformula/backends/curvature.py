"""Covariances of a generalised model's parameters, and which of them the data do not determine."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.optimum import boundary_elements, undetermined_columns
from lmmformula.criteria.exact_curvature import exact_curvature
from lmmformula.criteria.fixed_curvature import beta_curvature
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.quadrature import Quadrature, QuadraturePoint, step_scale
from lmmformula.errors import FitError
from lmmformula.numerics.batched import unit_diagonal
from lmmformula.progress import stage, step
from lmmformula.typing import Array

__all__ = ["Criterion", "joint_vcov", "laplace_of", "parameter_names", "undetermined", "undetermined_beta"]

Criterion: TypeAlias = Laplace | Quadrature
"""psi -> point."""

FORWARD = 1e-6
"""Step of a difference on one side, in standard errors."""
SAMPLED = 5e-5
"""Standard error that an element of a Hessian at unit diagonal may have: half as much in a standard error."""
ILL = 1e-3
"""Smallest eigenvalue of a Hessian at unit diagonal up to which differences on one side, exact to about a step, do not do."""
SHARP = 1e-20
"""Decrement at which the search for modes ends: their errors, over a small step, are those of a difference."""
FLAT = 1e-6
"""Curvature of a direction of theta, relative to that of its elements, below which it is flat up to errors of differences."""
FARTHEST = 0.01
"""Step in an element of theta that says little of the data: relative to the residual spread, or on a scale without units."""


@runtime_checkable
class Beside(Protocol):
    """A criterion whose gradient is exact, not of differences itself, also at points beside one whose modes are known."""

    def beside(self, psi: Array, near: LaplacePoint, u: tuple[Array, ...]) -> LaplacePoint: ...

    @property
    def curves_by_rows(self) -> bool: ...


def laplace_of(point: Any) -> LaplacePoint:
    """The Laplace point inside a quadrature point, or itself."""
    return getattr(point, "laplace", point)


def parameter_names(model: Laplace) -> list[str]:
    """Names of the elements of psi; those of auxiliary predictors begin with the parameter's name."""
    problem = model.problem
    names = (
        [] if model.profile_beta else list(problem.X.names)
    )  # without beta, which is then no element of psi
    names += problem.theta_names()
    for parameter, block in zip(problem.family.auxiliaries, problem.aux, strict=True):
        names += [f"{parameter.name}: {name}" for name in block.names]
    return names


def undetermined(point: LaplacePoint) -> NDArray[np.bool_]:
    """Which elements of beta and alpha the data do not determine: separation, or a probability that goes to zero."""
    model, layout = point.model, point.model.layout
    out = np.zeros(layout.size, dtype=bool)
    data = model.own_rows
    parts, n = list(zip(data.aux, layout.aux, strict=True)), data.n
    if not model.profile_beta and model.problem.p and model.problem.family.runs_off:
        parts.append((data.fixed, layout.beta))
    for block, where in parts:
        out[where] = undetermined_columns(block, n, point.linear_information[where, where])
    return out


def undetermined_beta(point: LaplacePoint) -> NDArray[np.bool_]:
    """Which fixed effects the data do not determine, also where they are found together with the modes, (p,)."""
    problem = point.model.problem
    if not problem.p or not problem.family.runs_off:
        return np.zeros(problem.p, dtype=bool)
    data = point.model.own_rows
    return undetermined_columns(data.fixed, data.n, 2.0 * point.fixed_information)


def joint_vcov(criterion: Criterion, point: LaplacePoint, *, exact: bool) -> Array:
    """2 H^-1, H the Hessian of the deviance in psi: by differences of its gradient if `exact`, else the average information.

    Differences of a gradient with a standard error would be no better than the average information, which takes one
    evaluation and not two for each element. Elements of theta that lie on the boundary are held there; what the data do not
    determine is left out.

    Returns
    -------
    (d, d) array
        Covariance matrix of psi; zero in the rows and columns of what is held, infinite variances of what is undetermined.
    """
    layout, problem, psi = point.model.layout, point.model.problem, point.psi
    known = criterion is point.model and point.variances.is_off_zero
    smooth = point if known else criterion(psi, u=point.u, beta=point.beta)
    loose = undetermined(laplace_of(smooth))
    free = ~loose
    free[layout.theta] = ~(boundary_elements(problem, point.theta) & (point.theta == 0.0))
    hessian = _differences(criterion, free, smooth) if exact else smooth.hessian[free][:, free]
    places = np.arange(layout.size)[free]
    spreads = (places >= layout.theta.start) & (places < layout.theta.stop)
    inverse, held = _inverse(0.5 * (hessian + hessian.T), spreads)
    out = np.diag(np.where(loose, np.inf, 0.0))
    out[np.ix_(free, free)] = 2.0 * inverse
    out[places[held], places[held]] = np.inf
    return out


def _inverse(hessian: Array, spreads: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """H^-1, and which elements of theta (`spreads`) have none.

    On a boundary the deviance need not rise in every direction of theta: correlations of effects without variance, a range
    below the smallest distance. Such directions are held, in which the Schur complement of theta's block, at unit diagonal, is
    flat or bends down; the rest of its eigenvectors gives H^-1 by blocks. The fixed effects have the errors of lme4 then, given
    the variances that are held.
    """
    held = np.zeros(len(hessian), dtype=bool)
    try:
        return _definite_inverse(hessian), held
    except np.linalg.LinAlgError:
        low = float(np.linalg.eigvalsh(hessian)[0])
    rest = hessian[np.ix_(~spreads, ~spreads)]
    try:
        np.linalg.cholesky(rest)
    except np.linalg.LinAlgError:
        raise FitError(
            f"the Hessian of the deviance is not positive definite at the estimate (smallest eigenvalue {low:.2g}), so "
            "standard errors do not exist there. The likely cause is separation or a parameter the data do not determine."
        ) from None
    known = _definite_inverse(rest)
    across = known @ hessian[np.ix_(~spreads, spreads)]
    complement = hessian[np.ix_(spreads, spreads)] - hessian[np.ix_(spreads, ~spreads)] @ across
    unit = unit_diagonal(complement)
    values, vectors = np.linalg.eigh(complement * np.outer(unit, unit))
    flat = values <= FLAT
    held[spreads] = (np.abs(vectors[:, flat]) > FLAT).any(axis=1)
    half = unit[:, None] * vectors[:, ~flat] / np.sqrt(values[~flat])
    moved = np.zeros((len(hessian), half.shape[1]))
    moved[spreads], moved[~spreads] = half, -across @ half
    inverse = moved @ moved.T
    inverse[np.ix_(~spreads, ~spreads)] += known
    inverse[held] = inverse[:, held] = 0.0
    return inverse, held


def _definite_inverse(a: Array) -> Array:
    """A^-1 of a positive definite A, whose diagonal is positive however near A is to a singular matrix."""
    root = np.linalg.inv(np.linalg.cholesky(a))
    return root.T @ root


def _differences(
    criterion: Criterion, free: NDArray[np.bool_], smooth: LaplacePoint | QuadraturePoint
) -> Array:
    """Hessian in the free elements: exact where the engine knows it cheaply, else by differences of the gradient, on one side
    where it allows them or on both.
    """
    stage("standard errors", total=int(free.sum()))
    if isinstance(criterion, Beside):
        exact = exact_curvature(laplace_of(smooth)) if criterion.curves_by_rows else None
        if exact is not None and _least(exact[np.ix_(free, free)]) > FLAT:
            return exact[np.ix_(free, free)]
        one_sided = _one_sided(criterion, free, smooth)
        if _least(one_sided) > ILL:
            return one_sided
    return _two_sided(criterion, free, smooth)


def _least(hessian: Array) -> float:
    """Smallest eigenvalue at unit diagonal."""
    unit = unit_diagonal(hessian)
    scaled = hessian * np.outer(unit, unit)
    return float(np.linalg.eigvalsh(0.5 * (scaled + scaled.T)).min(initial=1.0))


def _one_sided(criterion: Beside, free: NDArray[np.bool_], smooth: Any) -> Array:
    """Forward differences of the exact gradient along the path of the modes, one factorisation an element.

    The elements of two fixed effects come without, where there are many rows for each effect
    (:mod:`lmmformula.criteria.fixed_curvature`).

    With t the step in standard errors and g the gradient in their units, g(t) - g(0) = t H + t^2 g''/2, where g'' is about the
    skewness of the likelihood, at most of order one: a t of 1e-6 leaves an error of 1e-6 of an element at unit diagonal. So
    small a step is possible because nothing is searched: modes are followed by steps with the factor at hand
    (:func:`lmmformula.criteria.mode.follow_mode`), whose errors are O(t^3) and not those of where a search ends, and the
    gradient is summed in one way on both sides, with the same rounding.
    """
    psi, out = smooth.psi, np.zeros((len(smooth.psi), len(smooth.psi)))
    base = criterion.beside(psi, smooth, smooth.u)
    steps = FORWARD * step_scale(smooth.hessian)
    beta, moved = np.arange(len(psi))[smooth.model.layout.beta], free.copy()
    among_beta = beta_curvature(base, SAMPLED) if criterion.curves_by_rows else None
    if among_beta is not None:
        out[np.ix_(beta, beta)], moved[beta] = among_beta, False
        for _ in beta:
            step()
    for j in np.flatnonzero(moved):
        there = psi.copy()
        there[j] += steps[j]
        ahead = smooth.predicted_mode(there)
        start = tuple(b + a - u for b, a, u in zip(base.u, ahead, smooth.u, strict=True))
        out[j] = (criterion.beside(there, smooth, start).gradient - base.gradient) / (there[j] - psi[j])
        step()
    out[np.ix_(~moved, moved)] = out[np.ix_(moved, ~moved)].T
    return out[np.ix_(free, free)]


def _two_sided(
    criterion: Criterion, free: NDArray[np.bool_], smooth: LaplacePoint | QuadraturePoint
) -> Array:
    """Central differences of the gradient.

    The mode is searched from where it is expected: to first order in the step h above, and below from the one found above, by
    ``u(-h) = u(h) - 2 h u' + O(h^3)``.
    """
    steps, columns, near = 2e-3 * step_scale(smooth.hessian), [], laplace_of(smooth)
    theta, psi, beta = near.model.layout.theta, near.psi, near.beta
    steps[theta] = np.minimum(steps[theta], FARTHEST * (1.0 + np.abs(psi[theta])))
    for j in np.flatnonzero(free):
        move = np.zeros(len(psi))
        move[j] = steps[j]
        above, below = near.predicted_mode(psi + move), near.predicted_mode(psi - move)
        high = criterion(psi + move, u=above, beta=beta, tolerance=SHARP)
        below = tuple(m + b - a for m, a, b in zip(laplace_of(high).u, above, below, strict=True))
        low = criterion(psi - move, u=below, beta=beta, tolerance=SHARP)
        columns.append((high.gradient - low.gradient) / (2 * steps[j]))
        step()
    return np.array(columns).reshape(len(columns), len(psi))[:, free]
