r"""Where a density has its mode, and coordinates z in which it is about standard normal there.

Of few coordinates: ``x = mode + half z`` with the curvature at the mode, or mean and covariance of a first sample.

Of parameters and random effects together, x = (o, i): outer coordinates (coefficients, variances, dispersions) and inner ones
(spherical random effects). Laplace's approximation with the inner ones integrated out gives mode and covariance C C' of o.
Given o, the inner ones are about normal around their conditional mode with the curvature H_ii, and that mode moves with o
by ``G = -H_ii^-1 H_io``::

    o = o_0 + C z_o,        i = i_0 + G C z_o + H_ii^(-1/2) z_i

With z standard normal this is the first-order normal approximation of the joint posterior: its location and its inverse mass
matrix in one map. H is had by differences of the gradient. Where there are too many random effects for a dense H_ii, G is
left out and H_ii^(-1/2) is the diagonal of their conditional standard deviations. Warm-up then tunes the step size and
one scale for each z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lmmformula.backends.posterior.density.base import Density, Joint
from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.numerics.trust_region import minimise
from lmmformula.typing import Array, Namespace, Numbers

__all__ = [
    "DENSE_CELLS",
    "DENSE_SIDE",
    "JointScale",
    "Scale",
    "climbed_scale",
    "find_mode",
    "joint_scale",
    "linear_places",
]

DENSE_SIDE = 1_000
"""Inner coordinates up to which their curvature is kept as a matrix."""
DENSE_CELLS = 2e7
"""Rows times coordinates up to which that matrix is computed: a gradient for each coordinate, twice."""
STEP = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """The mode of the density, and the Gaussian that touches it there.

    Attributes
    ----------
    mode : (d,) array
    half : (d, d) array
        Lower triangular, half half' = inverse of minus the Hessian (directions of no curvature get the prior's unit scale).
    log_density : float
        At the mode.
    evaluations : int
        Gradients computed.
    converged : bool
    source : {"hessian", "pilot"}
        "pilot" once mean and covariance of an importance sample have taken their places.
    """

    mode: Array
    half: Array
    log_density: float
    evaluations: int
    converged: bool
    source: Literal["hessian", "pilot"] = "hessian"


@dataclass(frozen=True, slots=True)
class _Downhill:
    """A posterior point as the minimiser wants it; its Hessian is that of the start, which BFGS updates correct."""

    value: float
    gradient: Array
    hessian: Array

    @property
    def error(self) -> float:
        """The density is exact."""
        return 0.0


def find_mode(density: Density, tolerance: float = 1e-5, linear: Sequence[int] = ()) -> Scale:
    """Climb from `density.begin`; the Hessian at the end is by central differences of the analytic gradient.

    `tolerance` is the gain in log density that a further Newton step would promise: the mode is where samplers start, not
    a result. `linear` are the places of coefficients of linear predictors, whose scales are what their curvature says: that
    of an intercept beside few levels is many times what rows without random effects would make it.
    """
    first = _definite(-_forward_hessian(density, density.begin), linear)

    def downhill(x: Array) -> _Downhill:
        value, gradient = density.value_and_gradient(x)
        return _Downhill(-value, -gradient, first)

    found = minimise(
        downhill,
        density.begin,
        tolerance=tolerance,
        max_evaluations=60,
        secants=12,
    )
    curvature = _definite(-_hessian(density, found.x), linear)
    half = np.linalg.cholesky(np.linalg.inv(curvature))
    return Scale(found.x, half, -found.point.value, found.evaluations + 3 * density.d + 1, found.converged)


def linear_places(predictors: Sequence[Predictor]) -> list[int]:
    """Places in x of coefficients of the mean, and of parameters of the family on the whole real line, as thresholds are."""
    own = [p for p in predictors if not p.name or (p.constant is not None and p.constant.range == "real")]
    return [place for p in own for place in range(p.outer.start, p.outer.start + p.p)]


def _hessian(density: Density, x: Array, step: float = 1e-4) -> Array:
    """Second derivatives of the log density at x, (d, d), by central differences of its gradient."""

    def slope(place: Array) -> Array:
        return density.value_and_gradient(place)[1]

    out = np.array([slope(x + e) - slope(x - e) for e in step * np.eye(density.d)]) / (2.0 * step)
    return 0.5 * (out + out.T)


def _forward_hessian(density: Density, x: Array, step: float = 1e-4) -> Array:
    """The same to first order in the step, for half as many gradients: where a search begins."""
    here = density.value_and_gradient(x)[1]
    out = np.array([density.value_and_gradient(x + e)[1] - here for e in step * np.eye(density.d)]) / step
    return 0.5 * (out + out.T)


def _definite(hessian: Array, linear: Sequence[int] = (), floor: float = 0.2) -> Array:
    """The matrix with eigenvalues replaced by their sizes, and at least `floor`: coordinates have scales of about one.

    Where the block of `linear` coordinates is definite itself, it stays as it is, and the Schur complement of the others is
    treated so.
    """
    values, vectors = np.linalg.eigh(hessian)
    if not linear or values[0] >= floor:
        return (vectors * np.maximum(np.abs(values), floor)) @ vectors.T
    own = np.asarray(linear)
    others = np.setdiff1d(np.arange(len(hessian)), own)
    block, cross = hessian[np.ix_(own, own)], hessian[np.ix_(own, others)]
    try:
        np.linalg.cholesky(block)
    except np.linalg.LinAlgError:
        return _definite(hessian, (), floor)
    explained = cross.T @ np.linalg.solve(block, cross)
    out = hessian.copy()
    out[np.ix_(others, others)] = explained + _definite(
        hessian[np.ix_(others, others)] - explained, (), floor
    )
    return 0.5 * (out + out.T)


# -- parameters with random effects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class JointScale:
    """The map from z to x.

    Attributes
    ----------
    mode : (d,) array
    outer : (o, o) array
        C.
    shift : (d - o, o) array, or empty
        G.
    inner : (d - o, d - o) or (d - o,) array
        H_ii^(-1/2), or the diagonal in its place.
    log_density : float
        At the mode.
    evaluations : int
    converged : bool
    """

    mode: Array
    outer: Array
    shift: Array
    inner: Array
    log_density: float = float("nan")
    evaluations: int = 0
    converged: bool = True

    def place(self, z: Numbers, xp: Namespace = np) -> Numbers:
        """x of z, (..., d)."""
        o = len(self.outer)
        moved = z[..., :o] @ self.outer.T
        rest = z[..., o:]
        inside = rest @ self.inner.T if self.inner.ndim == 2 else rest * self.inner
        if self.shift.size:
            inside = inside + moved @ self.shift.T
        return xp.concatenate([self.mode[:o] + moved, self.mode[o:] + inside], axis=-1)

    def searched(self, log_density: float, evaluations: int, *, converged: bool) -> JointScale:
        """The same map with the record of the search that found its centre."""
        return replace(self, log_density=log_density, evaluations=evaluations, converged=converged)


def joint_scale(
    gradient: Callable[[Array], Array], mode: Array, outer_half: Array | None, n_outer: int
) -> JointScale:
    """The map at `mode`, with the curvature of the inner coordinates in full.

    Parameters
    ----------
    gradient : callable
        x -> gradient of the log density.
    outer_half : (o, o) array or None
        C; from the joint curvature if None.
    """
    curvature = -_differences(gradient, mode)
    inside, across = curvature[n_outer:, n_outer:], curvature[n_outer:, :n_outer]
    values, vectors = np.linalg.eigh(0.5 * (inside + inside.T))
    values = np.maximum(values, 0.2)  # a spherical effect has a prior curvature of 1
    root = vectors / np.sqrt(values)
    shift = -(root @ (root.T @ across))
    if outer_half is None:
        left = curvature[:n_outer, :n_outer] + across.T @ shift
        size, directions = np.linalg.eigh(0.5 * (left + left.T))
        outer_half = directions / np.sqrt(np.maximum(np.abs(size), 0.2))
    return JointScale(mode, outer_half, shift, root)


def _differences(gradient: Callable[[Array], Array], x: Array) -> Array:
    columns = []
    for j in range(len(x)):
        move = np.zeros(len(x))
        move[j] = STEP
        columns.append((gradient(x + move) - gradient(x - move)) / (2 * STEP))
    return np.array(columns)


def climbed_scale(density: Joint, *, dense: bool) -> JointScale:
    """Mode and curvature of a whole density, from where it begins; `dense` says whether those of inner coordinates count."""
    begin, o, inner = density.begin, density.n_outer, density.d - density.n_outer
    mode, value, steps, converged = _climbed(density.value_and_gradient, begin)
    gradient = density.gradient()
    if dense:
        found = joint_scale(gradient, mode, None, o)
    else:
        rest = mode[o:]
        part = joint_scale(lambda x: gradient(np.concatenate([x, rest]))[:o], mode[:o], None, o)
        found = JointScale(mode, part.outer, np.zeros((0, 0)), np.ones(inner))
    return found.searched(value, steps + 2 * density.d, converged=converged)


def _climbed(both: Callable[[Array], tuple[float, Array]], begin: Array) -> tuple[Array, float, int, bool]:
    """Mode of a log density from value and gradient: mode, value, evaluations, and whether the search ended there."""
    from scipy.optimize import minimize

    def downhill(x: Array) -> tuple[float, Array]:
        value, gradient = both(x)
        return (-value, -gradient) if np.isfinite(value) else (1e300, gradient)

    found = minimize(downhill, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-9})
    return found.x, -float(found.fun), int(found.nfev), bool(found.success)
