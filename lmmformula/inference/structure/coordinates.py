r"""Coordinates of a structure of residuals, one of which is a parameter that a profile holds.

In the twin's units the structure has x = (log sigma, psi). It is moved by c, x = x(c):

- most targets are an element of x, and c is x;
- a coefficient of ``sigma ~`` is linear in x, ``a_j = r'x + const`` (:mod:`lmmformula.ir.residual.block`): ``x = x_hat + B c``
  with ``B = [r / |r|^2, N]``, N an orthonormal basis of what is orthogonal to r, so that c_1 is the coefficient's move;
- a standard deviation or correlation of positions with a variance each: c are the coordinates of
  :mod:`lmmformula.inference.profile_coordinates` of their covariance matrix, the wanted pair first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.profile_coordinates import ZERO, TermMap
from lmmformula.ir.covariance import Diagonal, Kind, Unstructured
from lmmformula.ir.residual import ResidualBlock, ResidualParameter, residual_values, visits_of
from lmmformula.typing import Array

__all__ = ["Chart", "chart_of"]

STEP = 1e-6
"""Of differences of maps, whose coordinates have no unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """x(c), and the coordinate that the target holds.

    Attributes
    ----------
    inside : callable
        c -> x.
    centre : (n_psi + 1,) array
        c of the estimate.
    pinned : int or None
        None where the target is elsewhere.
    coordinate : callable
        Value of the target, in the twin's units -> its coordinate.
    limits : (float, float)
    """

    inside: Callable[[Array], Array]
    centre: Array
    pinned: int | None = None
    coordinate: Callable[[float], float] = float
    limits: tuple[float, float] = (-np.inf, np.inf)

    def jacobian(self, c: Array) -> Array:
        """dx/dc."""
        moves = STEP * np.eye(len(c))
        return np.stack([(self.inside(c + m) - self.inside(c - m)) / (2.0 * STEP) for m in moves], axis=1)


def chart_of(
    residual: ResidualBlock, x: Array, target: ResidualParameter | None, *, sigma: bool = False
) -> Chart:
    """The chart for a target, at the estimate `x`; `sigma` is the target where that is true."""
    if sigma:
        return Chart(_same, x, 0, lambda v: float(np.log(max(v, ZERO * np.exp(x[0])))), (0.0, np.inf))
    if target is None:
        return Chart(_same, x)
    if target.kind == "phi":
        return Chart(_same, x, 1 + target.places[0])
    if target.kind == "coefficient":
        return _along(residual, x, target)
    return _of_visits(residual, x, target)


def _same(c: Array) -> Array:
    return c


def _along(residual: ResidualBlock, x: Array, target: ResidualParameter) -> Chart:
    """Of a coefficient of sigma."""
    assert residual.variance is not None
    at = len(visits_of(residual)) or residual.kind.n_phi
    at += len(getattr(residual.kind, "pairs", ())) + target.places[0]

    def value(y: Array) -> float:
        return float(residual_values(residual, y[1:], float(y[0]))[at])

    row = np.array([value(x + e) - value(x) for e in np.eye(len(x))])
    size = float(np.linalg.norm(row))
    basis = np.linalg.qr(np.column_stack([row / size, np.eye(len(x))]))[0]
    basis = np.column_stack([row / size**2, basis[:, 1 : len(x)]])
    own = value(x)
    return Chart(lambda c: x + basis @ c, np.zeros(len(x)), 0, lambda v: v - own)


def _of_visits(residual: ResidualBlock, x: Array, target: ResidualParameter) -> Chart:
    """Of a standard deviation or a correlation of positions."""
    kind, t, n_phi = residual.kind, len(visits_of(residual)), residual.kind.n_phi
    pairs: tuple[tuple[int, int], ...] = getattr(kind, "pairs", ())
    places = target.places if target.kind == "cor" else ()
    order = (*places, *(j for j in range(t) if j not in places))
    within: Kind = Unstructured(t) if pairs else Diagonal(t)
    coordinates = TermMap(within, order)

    def inside(c: Array) -> Array:
        cov = np.real(coordinates.covariance(c[:count]))
        log_sigma, phi = _shares(residual, cov)
        return np.concatenate([[log_sigma], phi, c[count:]])

    values = residual_values(residual, x[1:], float(x[0]))
    sd, cor = values[:t], np.eye(t)
    for (a, b), r in zip(pairs, values[t:], strict=False):
        cor[a, b] = cor[b, a] = r
    first = coordinates.psi_of(sd[:, None] * cor * sd)
    count = len(first)
    centre = np.concatenate([first, x[1 + n_phi :]])
    if target.kind == "sd":
        unit = float(sd[target.places[0]])
        return Chart(
            inside, centre, target.places[0], lambda v: float(np.log(max(v, ZERO * unit))), (0.0, np.inf)
        )
    pinned = within.n_sd + within.place(target.places)
    return Chart(
        inside, centre, pinned, lambda v: within.t_of(target.places, v), within.limits(target.places)
    )


def _shares(residual: ResidualBlock, cov: Array) -> tuple[float, Array]:
    """log sigma and phi of a covariance matrix of positions.

    Raises
    ------
    FitError
        Where it is singular in floating point, which a search takes for a step too far.
    """
    try:
        lower = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        raise FitError("the covariance matrix of the residuals is singular: two positions are one.") from None
    return float(np.log(lower[0, 0])), residual.kind.from_cholesky(lower)  # type: ignore[attr-defined]
