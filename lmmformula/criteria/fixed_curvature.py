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
a Gram of the rows and p solutions with the factor at hand; differences of the gradient cost p factorisations.

With one grouping factor M and M_j are block diagonal, and T is a sum over levels; with random intercepts (1) takes four
passes over the rows, whatever p.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Drawless, Stacked
from lmmformula.engines.cost import FEW_ROWS
from lmmformula.engines.scaled import gram_times, scaled
from lmmformula.ir.rows import RowVector
from lmmformula.numerics.batched import flat, matmul, unit_diagonal
from lmmformula.numerics.tall import inner_products, tall_transposed
from lmmformula.typing import Array

__all__ = ["beta_curvature", "curved_rows"]

MOST = 16
"""Draws up to which they are cheaper than factorisations."""
FIRST = 2
"""Draws whose spread tells how many it takes."""
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
    if len(groups) == 1 and groups[0].is_blockwise:
        return _by_level(point) if groups[0].has_basis else _intercepts(point)
    if not groups:
        return _smooth_part(point)[0]
    if isinstance(point.factor, Drawless) or point.model.problem.n < FEW_ROWS:
        return None
    smooth, effects = _smooth_part(point)
    unit = unit_diagonal(smooth)
    rng, drawn = np.random.default_rng(0), np.zeros((0, *smooth.shape))
    count = FIRST
    while len(drawn) < count <= MOST:
        drawn = np.concatenate([drawn, _drawn(point, effects, rng, count - len(drawn))])
        spread = float((drawn.std(axis=0, ddof=1) * np.outer(unit, unit)).max())
        count = ceil((spread / error) ** 2)
    return smooth - drawn.mean(axis=0) if count <= MOST else None


def _intercepts(point: LaplacePoint) -> Array:
    """(1) for random intercepts of one grouping factor: only sums over levels of the columns of X are asked for."""
    data, scale = point.model.data, float(point.factors[0][0, 0])
    bend, push = curved_rows(point), point.weighted.weight_eta
    along = -scale * point.system.fixed[0][:, 0]
    (bent,), square = data.weighted_columns(bend)
    (pushed,), _ = data.weighted_columns(push)
    own, turn = (data.gram(w).diag[0][:, 0] for w in (bend, push))
    cross = bent[:, 0].T @ along
    moves = scale**2 * (pushed[:, 0] + turn * along) * point.factor.inverse().diagonal(0)[:, 0]
    return (
        2.0 * point.fixed_information + square + cross + cross.T + along.T @ (own * along) - moves.T @ moves
    )


def _by_level(point: LaplacePoint) -> Array:
    """(1) for one grouping factor: M^-1 M_j of each level from sums over its rows."""
    data, (lower,), inverse = point.model.data, point.factors, point.factor.inverse().diagonal(0)
    smooth, effects = _smooth_part(point)
    pushed = np.stack(
        [inverse @ scaled(lower, data.gram(move).diag[0], lower) for move in _moves(point, effects)]
    )
    return smooth - np.einsum("smij,tmji->st", pushed, pushed, optimize=True)


def curved_rows(point: LaplacePoint) -> RowVector:
    """lev w'' - (Z Lambda v) w_o' of every row."""
    model = point.model
    return model.data.map(
        lambda chunk, h, curved, z, w: (h * curved - z * w,),
        point.leverage,
        _bend(point),
        model.predictor(None, point.factors, point.adjoint_modes),
        point.observed.weight_eta,
    )[0]


def _smooth_part(point: LaplacePoint) -> tuple[Array, Stacked]:
    """(1) without T, and e = -Lambda M_o^-1 Lambda'Z'W_o X per group, (m, k, p), with which E = X + Z e.

    Of ``E'BE`` all sums over rows are blocks of the Gram of [Z X]: two passes, whatever p.
    """
    model = point.model
    effects = tuple(-np.matmul(f, s) for s, f in zip(point.system.fixed, point.factors, strict=True))
    bend = curved_rows(point)
    gram = model.data.gram(bend, fixed=True)
    times = gram_times(gram, model.prepared.blocks, effects)
    out = 2.0 * point.fixed_information + gram.vv
    for sums, met, e in zip(gram.rhs, times, effects, strict=True):
        cross = tall_transposed(flat(e), flat(sums))
        out += cross + cross.T + tall_transposed(flat(e), flat(met))
    return 0.5 * (out + out.T), effects


def _moves(point: LaplacePoint, effects: Stacked) -> Iterator[RowVector]:
    """w' E_j of each column."""
    data = point.model.data
    for j, unit in enumerate(np.eye(point.model.problem.p)):
        path = data.apply(unit, [e[..., j] for e in effects], offset=False)
        yield data.map(lambda chunk, w, e: (w * e,), point.weighted.weight_eta, path)[0]


def _bend(point: LaplacePoint) -> RowVector:
    """w'' of every row, by differences of w'."""
    model, sides = point.model, []
    for move in (BEND, -BEND):
        (eta,) = model.data.map(lambda chunk, e, by: (e + by,), point.mode.eta, move)
        sides.append(model.rows(eta, point.aux, model.information).weight_eta)
    return model.data.map(lambda chunk, high, low: ((high - low) / (2.0 * BEND),), *sides)[0]


def _drawn(point: LaplacePoint, effects: Stacked, rng: np.random.Generator, count: int) -> Array:
    """(M_j x)'M^-1 (M_k x) of `count` draws, (count, p, p).

    ``M_j x = Lambda'Z'diag(w' Z Lambda x) E_j`` for all j together from the blocks of a Gram.
    """
    model, factor, p = point.model, point.factor, point.model.problem.p
    out = np.empty((count, p, p))
    for drawn in out:
        on_rows = model.predictor(None, point.factors, factor.noise(rng))
        (push,) = model.data.map(lambda chunk, a, w: (a * w,), on_rows, point.weighted.weight_eta)
        gram = model.data.gram(push, fixed=True)
        times = gram_times(gram, model.prepared.blocks, effects)
        sums = zip(point.factors, gram.rhs, times, strict=True)
        right = tuple(matmul(f.T, own + met) for f, own, met in sums)
        drawn[:] = inner_products(right, factor.solve(right))
    return out
