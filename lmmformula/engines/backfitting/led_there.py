"""Passes of :mod:`lmmformula.engines.backfitting.led` over the levels of one store, where they are.

All functions give the same each time. A store's levels are few enough for one thread.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lmmformula.engines.backfitting.there import AtTheta
from lmmformula.numerics.batched import flat
from lmmformula.typing import Array, Index

__all__ = ["closed", "quadratic_led", "swept_once", "through_columns"]

Given: TypeAlias = "tuple[tuple[Index, Index, Array], Array, Array, float]"
"""Pairs, X_a, s and lambda."""


def _given(lead: AtTheta) -> Given:
    n = lead.at.couplings[0]
    x, s = np.ascontiguousarray(flat(lead.at.columns)), np.ascontiguousarray(lead.inverse.ravel())
    return (n.indptr, n.indices, n.data), x, s, float(lead.lower[0, 0])


def swept_once(
    lead: AtTheta, t: Array, before: Array, guess: Array, effects: Array, token: int
) -> tuple[Array, Array, Array]:
    """What a sweep sums up; y is remembered under a token, as long as nothing else is."""
    from lmmformula.numerics.sweep_kernels import sweep_levels

    pairs, x, s, scale = _given(lead)
    y, g, sums, columns = np.empty(len(s)), np.zeros(len(effects)), np.zeros(2), np.zeros((2, x.shape[1]))
    own, first = (np.ascontiguousarray(np.ravel(v)) for v in (t, np.broadcast_to(before, t.shape)))
    sweep_levels(0, len(s), *pairs, x, s, own, first, guess, scale, effects, y, g, sums, columns)
    lead.remembered.clear()
    lead.remembered[token, "y"] = y
    return g, sums, columns


def closed(lead: AtTheta, t: Array, guess: Array, effects: Array, move: Array, token: int) -> Array:
    """u, (m, 1, 1)."""
    from lmmformula.numerics.sweep_kernels import close_levels

    _, x, s, scale = _given(lead)
    u = lead.remembered.get((token, "u"))
    if u is None:
        if (token, "y") not in lead.remembered:
            swept_once(lead, t, np.zeros(1), guess, effects, token)
        u = np.empty(len(s))
        close_levels(0, len(s), x, s, lead.remembered[token, "y"], scale, move, u)
        lead.remembered[token, "u"] = u
    return u[:, None, None]


def through_columns(lead: AtTheta) -> tuple[Array]:
    """N'(s X_a)."""
    from lmmformula.numerics.sweep_kernels import add_products_by_pair

    pairs, x, s, _ = _given(lead)
    out = np.zeros((lead.at.couplings[0].shape[1], x.shape[1]))
    add_products_by_pair(0, len(s), *pairs, x, s, out)
    return (out,)


def quadratic_led(lead: AtTheta, u: Array, t: Array, beta: Array, effects: Array) -> tuple[Array]:
    """u'(M - I)u - 2 u'(t - C beta), and twice what u has with the effects of the other group."""
    from lmmformula.numerics.sweep_kernels import quadratic_of_levels

    pairs, x, s, scale = _given(lead)
    own, right = (np.ascontiguousarray(np.ravel(v)) for v in (u, t))
    out = np.zeros(1)
    quadratic_of_levels(0, len(s), *pairs, x, s, right, scale, beta, effects, own, out)
    return (out,)
