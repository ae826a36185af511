r"""Kenward & Roger's sums for structured residuals, by clusters.

In the notation of :mod:`lmmformula.inference.kenward_roger`, with V_rs the second derivatives of V where it is not linear in
its parameters, and W twice the inverse of the expected information (Kenward & Roger 1997, sec. 2)::

    Phi_A = Phi + 2 Phi [ sum_rs W_rs (Q_rs - P_r Phi P_s - R_rs / 4) ] Phi,       R_rs = X'V^-1 V_rs V^-1 X

The adjustment of a structure that is not linear depends on its parameters. Those of a linear one (unstructured, exchangeable,
a variance for each cell of a factor) are the elements of V, as in pbkrtest, and R_rs = 0; of others they are sigma^2, and phi
and delta of :mod:`lmmformula.ir.residual`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.clusters.blocks import residual_of
from lmmformula.errors import PlanError
from lmmformula.inference.structure.information import from_orthonormal
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint
    from lmmformula.criteria.clusters.layout import Patterns

__all__ = ["Adjusted", "adjusted"]

STEP = 1e-4
"""Of differences of first derivatives in psi, which has no unit."""


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Phi and its adjustment in the user's units, dPhi/dgamma_r with the sign turned, and W."""

    vcov: Array
    plain: Array
    slopes: Array
    w: Array


def adjusted(point: ClusterPoint, coefficients: Array, sigma2: float) -> Adjusted:
    """At the optimum of a REML fit, in units that `coefficients` turn beta of its problem into.

    Raises
    ------
    PlanError
        For a covariance of random effects that is not linear in its parameters.
    """
    if odd := [t.covariance.name for t in point.model.problem.terms if t.covariance.directions is None]:
        raise PlanError(f"Kenward-Roger is not available for covariance {odd[0]}(): use ddf='satterthwaite'.")
    p, phi = point.model.problem.p, point.unscaled
    curved = _curved(point)
    parts = [_directions(point, sums.patterns, curved) for sums in point.model.sums]
    count = len(parts[0])
    p_r, traces = np.zeros((count, p, p)), np.zeros((count, count))
    q_rs, r_rs = np.zeros((count, count, p, p)), np.zeros((count, count, p, p))
    for block, sums, g in zip(point.blocks, point.model.sums, parts, strict=True):
        y = block.lower_inverse @ g @ block.lower_inverse.swapaxes(1, 2)
        weighted = y * np.sqrt(sums.patterns.counts)[:, None, None]
        flat = weighted.reshape(count, -1)
        traces += flat @ flat.T
        at = sums.patterns.pattern
        x = block.lower_inverse[at] @ sums.data[..., :p]
        seen = y[:, at] @ x  # (count, c, n, p)
        p_r -= np.einsum("cna,rcnb->rab", x, seen, optimize=True)
        wide = seen.transpose(1, 2, 0, 3).reshape(-1, count * p)
        q_rs += (wide.T @ wide).reshape(count, p, count, p).transpose(0, 2, 1, 3)
        for r, s, second in _second(point, sums.patterns, curved, count):
            own = sums.quadratic(block.inverse @ second @ block.inverse)[:p, :p]
            r_rs[r, s] += own
            if r != s:
                r_rs[s, r] += own
    pairs = np.einsum("rij,jk,skl->rsil", p_r, phi, p_r, optimize=True)
    information = traces - 2.0 * np.einsum("ij,rsji->rs", phi, q_rs) + np.einsum("ij,rsji->rs", phi, pairs)
    unit = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(information)), 1e-300))
    outer = np.outer(unit, unit)
    w = 2.0 * np.linalg.pinv(information * outer, rcond=1e-10, hermitian=True) * outer
    u = np.einsum("rs,rsij->ij", w, q_rs - pairs - 0.25 * r_rs)
    back = coefficients @ from_orthonormal(point)
    own = phi + phi @ (u + u.T) @ phi
    turned = back @ (phi @ p_r @ phi) @ back.T
    return Adjusted(sigma2 * back @ own @ back.T, sigma2 * back @ phi @ back.T, sigma2 * turned, w)


def _curved(point: ClusterPoint) -> bool:
    """Whether the structure of residuals is not linear in parameters of its own."""
    residual = point.model.residual
    if residual.variance is None:
        return not residual.kind.linear
    cells = np.unique(residual.variance.block.matrix, axis=0)
    return residual.kind.n_phi > 0 or len(cells) != residual.variance.n_delta + 1


def _directions(point: ClusterPoint, patterns: Patterns, curved: bool) -> Array:
    """G_r of each pattern, (r, b, n, n): of the random effects, then of the residuals."""
    found = []
    terms = zip(point.model.problem.terms, patterns.bases, patterns.meets, strict=True)
    for term, z, meets in terms:
        for e in term.covariance.directions or ():
            found.append(meets * (z @ e @ z.swapaxes(1, 2)))
    _, psi = point.model.split(point.omega)
    r, slopes = residual_of(patterns, point.model.residual, psi)
    if curved:
        return np.stack([*found, r, *slopes])
    return np.stack([*found, *_elements(point, patterns, r)])


def _elements(point: ClusterPoint, patterns: Patterns, r: Array) -> Iterator[Array]:
    """Indicators of what shares an element of a linear structure."""
    residual = point.model.residual
    s = np.exp(patterns.log_scale)
    scale = patterns.same * s[:, :, None] * s[:, None, :]
    if residual.variance is not None:
        eye = np.eye(patterns.n) * scale
        _, cells = np.unique(residual.variance.directions.round(9), axis=0, return_inverse=True)
        own = cells.reshape(-1)[patterns.rows[patterns.ends[:-1]]]
        for cell in range(int(cells.max()) + 1):
            yield eye * (own == cell)[:, :, None]
    elif residual.kind.name == "unstr":
        visit = patterns.positions[..., 0]
        one, other = visit[:, :, None], visit[:, None, :]
        low, high = np.minimum(one, other), np.maximum(one, other)
        t = int(residual.positions.max()) + 1
        for a in range(t):
            for b in range(a, t):
                yield scale * ((low == a) & (high == b))
    elif not residual.kind.n_phi:  # independent with known weights, or a known matrix
        yield r
    else:  # exchangeable
        own = np.eye(patterns.n)
        yield scale * own
        yield scale * (1.0 - own)


def _second(
    point: ClusterPoint, patterns: Patterns, curved: bool, count: int
) -> Iterator[tuple[int, int, Array]]:
    """V_rs of the pairs of parameters that have one, r <= s."""
    if not curved:
        return
    _, psi = point.model.split(point.omega)
    residual, first = point.model.residual, count - len(psi)
    _, slopes = residual_of(patterns, residual, psi)
    for j, slope in enumerate(slopes):
        yield first - 1, first + j, slope
    for j in range(len(psi)):
        step = np.zeros(len(psi))
        step[j] = STEP
        high, low = (residual_of(patterns, residual, psi + s)[1] for s in (step, -step))
        for k in range(j, len(psi)):
            yield first + j, first + k, (high[k] - low[k]) / (2.0 * STEP)
