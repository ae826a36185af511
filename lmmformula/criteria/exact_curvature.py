r"""All second derivatives of Laplace's approximation in (beta, theta), where an engine knows how log|M| bends.

In the scale of the effects b = Lambda u, with P = I (x) Pi, Pi = (L L')^-1, and N = Z'WZ + P::

    d = -2 sum l(X beta + Z b) + b'P b + log|N| - log|P|

whose determinants do not depend on L but through P. With E_j = d eta / d psi_j along the path of the modes, b_j = db / dpsi_j
(N b_j = -Z'W X_j for a fixed effect, -P_j b for an element of theta), v the adjoint of :mod:`lmmformula.criteria.laplace` in
this scale, and Lambda'P_jk Lambda = I (x) B_jk, the same differentiation as in :mod:`lmmformula.criteria.fixed_curvature` gives

    H_jk = 2 [X_j'W E_k or b'P_j b_k] + sum_r (lev w'' - (Z v) w')_r E_rj E_rk - v'(P_j b_k + P_k b_j)
           + m tr(rho_j rho_k) - <B_jk, K> - tr(N^-1 N_j N^-1 N_k),       N_j = Z' diag(w' E_j) Z + P_j

the term in brackets for j an element of beta, or of theta. K is that of the gradient: <B_jk, K> collects b'P_jk b, v'P_jk b,
tr(N^-1 P_jk) and the second derivative of log|P|. In the scale of u, ``P_j`` becomes ``-rho_j`` level by level.

Cost: a Gram of the rows for each parameter and the engine's traces, in the place of a factorisation and a gradient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmmformula.criteria.fixed_curvature import curved_rows
from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Stacked, TraceProducts
from lmmformula.ir.blocks import Gram
from lmmformula.ir.rows import Chunk, RowVector
from lmmformula.numerics.tall import inner_products
from lmmformula.typing import Array

__all__ = ["exact_curvature"]

CELLS = 10_000_000
"""Rows times parameters up to which all E are held."""
LOST = 1e-7
"""Share of its parts below which rounding would tell in an element of the diagonal."""


def exact_curvature(point: LaplacePoint) -> Array | None:
    """H in psi = (beta, theta), (d, d); None for other models, and where traces would be dear or rounding would tell.

    Parameters
    ----------
    point : LaplacePoint
        Off zero, with beta as an element of psi, of rows with one predictor.
    """
    model = point.model
    layout, size = model.layout, model.layout.size
    suits = model.information == "observed" and not model.profile_beta and not layout.aux
    factor, small = point.factor, model.problem.n * size <= CELLS
    if not suits or point.variances.across or len(point.u) < 2 or not small:
        return None
    if not (isinstance(factor, TraceProducts) and factor.has_trace_products(size)):
        return None
    effects = _path(point)
    on_rows = [_along(point, j, effects) for j in range(size)]
    traces = factor.trace_products(_moves(point, on_rows), point.factors)
    curved = model.data.reduce(_products, curved_rows(point), *on_rows)
    own = np.zeros((size, size))
    own[layout.beta, layout.beta] = 2.0 * point.fixed_information
    pulled = inner_products(_turned(point, point.u), effects)
    own[layout.theta] -= 2.0 * pulled
    own[layout.beta, layout.theta] = own[layout.theta, layout.beta].T
    turned = np.zeros((size, size))
    turned[layout.theta] = inner_products(_turned(point, point.adjoint_modes), effects)
    bent = np.zeros((size, size))
    bent[layout.theta, layout.theta] = point.variances.bend_of_precision(point.k_matrices)
    parts = (own, curved, turned + turned.T, bent, -traces)
    out = sum(parts, np.zeros((size, size)))
    lengths = sum(np.abs(np.diagonal(part)) for part in parts)
    if not (np.abs(np.diagonal(out)) > LOST * lengths).all():
        return None
    return 0.5 * (out + out.T)


def _path(point: LaplacePoint) -> Stacked:
    """L^-1 b_j of every parameter, per group (m, k, d)."""
    layout, towards = point.model.layout, point.theta_moves
    out = []
    for fixed, moved in zip(point.system.fixed, towards, strict=True):
        both = np.empty((*moved.shape[:2], layout.size))
        both[..., layout.beta], both[..., layout.theta] = -fixed, moved
        out.append(both)
    return tuple(out)


def _along(point: LaplacePoint, j: int, effects: Stacked) -> RowVector:
    """E_j of every row."""
    model, beta = point.model, point.model.layout.beta
    unit = np.eye(model.problem.p)[j] if j < beta.stop else None
    moved = [e[..., j] @ f.T for e, f in zip(effects, point.factors, strict=True)]
    return model.data.apply(unit, moved, offset=False)


def _turned(point: LaplacePoint, u: Stacked) -> Stacked:
    """rho_j u of every element of theta, per group (m, k, n_theta)."""
    return point.variances.moves(u)[0]


def _moves(point: LaplacePoint, on_rows: list[RowVector]) -> list[Gram]:
    """N_j of every parameter, by its blocks."""
    data, theta, out = point.model.data, point.model.layout.theta, []
    for along in on_rows:
        (push,) = data.map(lambda chunk, w, e: (w * e,), point.weighted.weight_eta, along)
        out.append(data.gram(push))
    for part in point.variances.derivatives:
        inverse = point.variances.inverse_factors[part.group][part.columns, part.columns]
        for j, rho in enumerate(part.rate, theta.start + part.index.start):
            diag = list(out[j].diag)
            diag[part.group] = np.array(diag[part.group])
            diag[part.group][:, part.columns, part.columns] -= inverse.T @ rho @ inverse
            out[j] = replace(out[j], diag=tuple(diag))
    return out


def _products(chunk: Chunk, weights: Array, *columns: Array) -> Array:
    """Sums of products of each two columns."""
    del chunk
    all_of_them = np.stack(columns)
    return (weights * all_of_them) @ all_of_them.T
