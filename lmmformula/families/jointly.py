r"""The log density of a row as a function of all its linear predictors, and its derivatives by JAX.

A row r has K linear predictors ``eta_r = (eta_r1, ..., eta_rK)``: the mean's and those of the auxiliary parameters. What a
Laplace approximation with random effects in several of them needs is, row by row,

    s_k = dl/deta_k,      W_kl = - d2l / deta_k deta_l,      g_j = sum_kl L_kl dW_kl/deta_j

for given symmetric L (K x K a row). Each derivative is one forward-mode product with a vector of ones, since a row's density
depends on that row's predictors alone; g takes one reverse pass over W. Cost: O(K^2) evaluations of the density a row.
Responses of which only bounds are known are done by series (:mod:`lmmformula.families.expanded_jointly`), as the form of their
density differs from row to row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.autodiff import log_density
from lmmformula.families.distribution import Distribution
from lmmformula.families.expanded_jointly import Pieces, expanded_pull, expanded_slopes
from lmmformula.families.family import Family
from lmmformula.families.links import Link
from lmmformula.families.observed import Observed
from lmmformula.families.records import Array, Maybe
from lmmformula.families.seen import Seen
from lmmformula.families.taylor import SERIES, Series
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Numbers

__all__ = ["JointRows", "joint_pull", "joint_rows"]

JointRows: TypeAlias = tuple[Array, Array, Array]
"""l (n,), s (K, n) and W (K, K, n)."""

_Compiled: TypeAlias = Callable[..., "tuple[Array, ...] | Array"]
_OfRow: TypeAlias = Callable[[tuple[Array, ...]], Array]
"""Predictors (n,) -> a number for each row."""


def joint_rows(
    family: Family, y: Array, predictors: Array, weights: Array | None, constant: Maybe
) -> JointRows:
    """l, s and W of every row.

    Parameters
    ----------
    family : Family
    y : (n,) array
    predictors : (K, n) array
        The mean's linear predictor, then those of ``family.auxiliaries``.
    weights : (n,) array, optional
        Prior weights, see ``family.weights_are``.
    constant : (n,) array or number
        ``family.constant`` of y and weights.

    Returns
    -------
    tuple of arrays
        (n,), (K, n), (K, K, n); -inf and nan in rows whose predictor has no mean.
    """
    inner, outer = _weights(family, weights, len(y))
    if (pieces := _pieces(family, y, inner)) is not None:
        value, slopes, bends = expanded_slopes(pieces, predictors)
        return outer * (value + constant), outer * slopes, outer * bends
    with x64():
        found = _compiled(family.distribution, family.link_function, False)(y, inner, outer, predictors)
        value, slopes, bends = (np.array(part) for part in found)
    return value + (outer if family.weights_are == "repeats" else 1.0) * constant, slopes, bends


def joint_pull(family: Family, y: Array, predictors: Array, weights: Array | None, weigh: Array) -> Array:
    """g of every row, (K, n), for `weigh` (K, K, n)."""
    inner, outer = _weights(family, weights, len(y))
    if (pieces := _pieces(family, y, inner)) is not None:
        return outer * expanded_pull(pieces, predictors, weigh)
    with x64():
        pull = _compiled(family.distribution, family.link_function, True)
        return np.array(pull(y, inner, outer, predictors, weigh))


def _weights(family: Family, weights: Array | None, n: int) -> tuple[Array, Array]:
    """The weight inside each density, and how often its row counts."""
    one = np.ones(n)
    if weights is None:
        return one, one
    return (one, weights) if family.weights_are == "repeats" else (weights, one)


def _pieces(family: Family, y: Array, inner: Array) -> Pieces | None:
    """The log density as series of its predictors, where responses have bounds."""
    own, chart = family.distribution, family.chart
    if not (isinstance(own, Seen) and isinstance(y, Observed)):
        return None

    def pieces(predictors: tuple[Numbers, ...]) -> Iterator[tuple[float, NDArray[np.intp], Series]]:
        return own.series(y, chart.at(predictors[0], SERIES), predictors[1:], inner)

    return pieces


@lru_cache(maxsize=64)
def _compiled(own: Distribution, link: Link, pulls: bool) -> _Compiled:
    """(y, inner, outer, predictors) -> l, s, W; or with `weigh` -> g."""
    import jax
    import jax.numpy as jnp

    chart = link.chart(own.mean_range)
    if chart is None:
        raise PlanError(f"link {link.name!r} does not suit family {own.label!r}.")

    def slope(f: _OfRow, k: int) -> _OfRow:
        def moved(e: tuple[Array, ...]) -> Array:
            return jax.jvp(lambda x: f((*e[:k], x, *e[k + 1 :])), (e[k],), (jnp.ones_like(e[k]),))[1]

        return moved

    def bends(y: Array, inner: Array, outer: Array, predictors: Array) -> tuple[Numbers, ...]:
        rows, e = log_density(own, chart, y, inner, jnp), tuple(predictors)

        def value(e: tuple[Array, ...]) -> Array:
            return outer * rows(e[0], e[1:])

        each = range(len(e))
        first = [slope(value, k) for k in each]
        upper = {(k, j): -slope(first[k], j)(e) for k in each for j in each if k <= j}
        w = jnp.stack([jnp.stack([upper[min(k, j), max(k, j)] for j in each]) for k in each])
        return value(e), jnp.stack([f(e) for f in first]), w

    def pull(y: Array, inner: Array, outer: Array, e: Array, weigh: Array) -> Numbers:
        def weighed(e: Array) -> Numbers:
            return jnp.sum(weigh * bends(y, inner, outer, e)[2])

        return jax.grad(weighed)(e)

    return jax.jit(pull if pulls else bends)
