r"""Second derivatives of Laplace's approximation in the fixed effects, without differences of factorisations.

Along the path of the modes eta(beta) = X beta + Z Lambda u(beta), whose slope is

    E = d eta / d beta = X - Z Lambda M_o^-1 Lambda'Z'W_o X

The penalised deviance contributes 2 X'V^-1X, since its slope in u vanishes. The slope of ``log|M|``, ``sum_r lev_r w'_r E_rk``,
has a derivative of three parts: the leverages move, the weights bend, and the path bends. Differentiating
``Q u = Lambda'Z's(eta)`` twice gives ``M_o u_jk = -Lambda'Z'(w_o' E_j E_k)``, so that with v of
:mod:`lmmformula.criteria.laplace` (Skaug & Fournier 2006 go the same way for the slope)::

    d2d / dbeta_j dbeta_k = 2 (X'V^-1X)_jk + sum_r (lev w'' - (Z Lambda v) w_o')_r E_rj E_rk - T_jk              (1)
    T_jk = tr(M^-1 M_j M^-1 M_k),                 M_j = Lambda'Z' diag(w' E_j) Z Lambda                           (2)

All but (2) are sums over rows. T is of the order of the q effects where X'WX is of the order of the n rows. It is the mean of
``(M_j x)'M^-1 (M_k x)`` over draws x of N(0, M^-1), each with a relative error of about sqrt(2 / q); beside (1) the error is
about (q / n) sqrt(2 / (q draws)), smaller the more rows there are, and is measured by the spread of the draws. A draw costs
p products with the rows and p solutions with the factor at hand; differences of the gradient cost p factorisations.

With one grouping factor M and M_j are block diagonal, and T is a sum over levels; with random intercepts (1) takes four
passes over the rows, whatever p.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Drawless
from lmmformula.engines.scaled import scaled
from lmmformula.ir.rows import RowVector
from lmmformula.numerics.batched import flat, unit_diagonal
from lmmformula.typing import Array

__all__ = ["beta_curvature"]

MOST = 16
"""Draws up to which they are cheaper than factorisations."""
FIRST = 4
"""Draws whose spread tells how many it takes."""
ROWS = 50_000
"""Rows up to which factorisations take milliseconds."""
BEND = 1e-4
"""Step, on the linear predictor, of the differences that give w''."""


def beta_curvature(point: LaplacePoint, error: float) -> Array | None:
    """(1), (p, p); None without fixed effects, or where :data:`MOST` draws do not reach the relative `error` of (2).

    Parameters
    ----------
    point : LaplacePoint
        With beta as an element of psi, of rows with one predictor.
    error : float
        Standard error of an element at unit diagonal.
    """
    groups = point.model.prepared.blocks.groups
    if not point.model.problem.p:
        return None
    if not groups:
        return _smooth_part(point)[0]
    if len(groups) == 1 and groups[0].is_blockwise:
        return _by_level(point, *_smooth_part(point)) if groups[0].has_basis else _intercepts(point)
    if isinstance(point.factor, Drawless) or point.model.problem.n < ROWS:
        return None
    smooth, moves = _smooth_part(point)
    unit = unit_diagonal(smooth)
    rng, drawn = np.random.default_rng(0), np.zeros((0, *smooth.shape))
    count = FIRST
    while len(drawn) < count <= MOST:
        drawn = np.concatenate([drawn, _drawn(point, moves, rng, count - len(drawn))])
        spread = float((drawn.std(axis=0, ddof=1) * np.outer(unit, unit)).max())
        count = ceil((spread / error) ** 2)
    return smooth - drawn.mean(axis=0) if count <= MOST else None


def _intercepts(point: LaplacePoint) -> Array:
    """(1) for random intercepts of one grouping factor: only sums over levels of the columns of X are asked for."""
    data, scale = point.model.data, float(point.factors[0][0, 0])
    bend, push = _curved(point), point.weighted.weight_eta
    along = -scale * point.system.fixed[0][:, 0]
    (bent,), square = data.weighted_columns(bend)
    (pushed,), _ = data.weighted_columns(push)
    own, turn = (data.gram(w).diag[0][:, 0] for w in (bend, push))
    cross = bent[:, 0].T @ along
    moves = scale**2 * (pushed[:, 0] + turn * along) * point.factor.inverse().diagonal(0)[:, 0]
    return (
        2.0 * point.fixed_information + square + cross + cross.T + along.T @ (own * along) - moves.T @ moves
    )


def _by_level(point: LaplacePoint, smooth: Array, moves: list[RowVector]) -> Array:
    """(1) for one grouping factor: M^-1 M_j of each level from sums over its rows."""
    data, (lower,), inverse = point.model.data, point.factors, point.factor.inverse().diagonal(0)
    pushed = np.stack([inverse @ scaled(lower, data.gram(move).diag[0], lower) for move in moves])
    return smooth - np.einsum("smij,tmji->st", pushed, pushed, optimize=True)


def _curved(point: LaplacePoint) -> RowVector:
    """lev w'' - (Z Lambda v) w_o' of every row."""
    model = point.model
    return model.data.map(
        lambda chunk, h, curved, z, w: (h * curved - z * w,),
        point.leverage,
        _bend(point),
        model.predictor(None, point.factors, point.adjoint_modes),
        point.observed.weight_eta,
    )[0]


def _smooth_part(point: LaplacePoint) -> tuple[Array, list[RowVector]]:
    """(1) without T, and w' E_j of each column."""
    data, fixed = point.model.data, point.system.fixed
    bend, moves = _curved(point), []
    bent, square = data.weighted_columns(bend)
    out = 2.0 * point.fixed_information + square
    effects = [-np.einsum("ij,mjp->mip", f, s) for s, f in zip(fixed, point.factors, strict=True)]
    for b, e in zip(bent, effects, strict=True):
        cross = flat(b).T @ flat(e)
        out += cross + cross.T
    for j, unit in enumerate(np.eye(len(out))):
        along = [e[..., j] for e in effects]
        (back,) = data.map(lambda chunk, b, z: (b * z,), bend, data.apply(None, along, offset=False))
        for sums, e in zip(data.adjoint(back), effects, strict=True):
            out[:, j] += flat(e).T @ sums.ravel()
        path = data.apply(unit, along, offset=False)
        moves += data.map(lambda chunk, w, e: (w * e,), point.weighted.weight_eta, path)
    return 0.5 * (out + out.T), moves


def _bend(point: LaplacePoint) -> RowVector:
    """w'' of every row, by differences of w'."""
    model, sides = point.model, []
    for move in (BEND, -BEND):
        (eta,) = model.data.map(lambda chunk, e, by: (e + by,), point.mode.eta, move)
        sides.append(model.rows(eta, point.aux, model.information).weight_eta)
    return model.data.map(lambda chunk, high, low: ((high - low) / (2.0 * BEND),), *sides)[0]


def _drawn(point: LaplacePoint, moves: list[RowVector], rng: np.random.Generator, count: int) -> Array:
    """(M_j x)'M^-1 (M_k x) of `count` draws, (count, p, p)."""
    model, factor = point.model, point.factor
    out = np.zeros((count, len(moves), len(moves)))
    for drawn in out:
        on_rows = model.predictor(None, point.factors, factor.noise(rng))
        sums = [
            model.to_effects(point.factors, model.data.map(lambda chunk, a, b: (a * b,), on_rows, move)[0])
            for move in moves
        ]
        right = tuple(np.stack(group, axis=-1) for group in zip(*sums, strict=True))
        for r, s in zip(right, factor.solve(right), strict=True):
            drawn += flat(r).T @ flat(s)
    return out
