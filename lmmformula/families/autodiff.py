"""Log densities as functions of the linear predictor over an array namespace, and their derivatives by JAX.

A row's density depends on that row's eta and a_j alone, so a derivative of all rows is one forward-mode product with a
vector of ones; nested three times it gives what a Laplace approximation and its gradient need. One compilation for each
distribution, link and number of rows: tenths of a second, after which a row costs several evaluations of its density.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from lmmformula.families.distribution import Distribution
from lmmformula.families.links import Chart, Link
from lmmformula.families.records import Array, Aux, Maybe, Rows
from lmmformula.families.taylor import SERIES, read, variables
from lmmformula.numerics.x64 import x64
from lmmformula.typing import AnyFunction, Namespace

__all__ = ["differentiated", "expanded_rows", "log_density"]

Function = Callable[[Array, tuple[Array, ...]], Array]
"""(eta, aux) -> one number a row."""


def log_density(own: Distribution, chart: Chart, y: Array, w: Maybe, xp: Namespace) -> Function:
    """Log density of each row less its constant; -inf where eta is outside of the link's domain.

    Outside of it the density is evaluated where it is finite, since derivatives of what is not taken must be so.
    """
    low, high = chart.domain
    if not np.isfinite(low) and not np.isfinite(high):
        return lambda eta, aux: own.log_density(y, chart.at(eta, xp), aux, w, xp)
    inside = 1.0 if low == 0.0 else -1.0 if high == 0.0 else 0.0

    def rows(eta: Array, aux: tuple[Array, ...]) -> Array:
        valid = (eta > low) & (eta < high)
        value = own.log_density(y, chart.at(xp.where(valid, eta, inside), xp), aux, w, xp)
        return xp.where(valid, value, -np.inf)

    return rows


def differentiated(
    own: Distribution,
    link: Link,
    y: Array,
    eta: Array,
    aux: Aux,
    w: Maybe,
    constant: Maybe,
    *,
    derivatives: bool,
) -> Rows:
    """Rows with the observed weight, by automatic differentiation in 64 bits."""
    n = eta.size
    at = tuple(np.broadcast_to(np.asarray(a, float), (n,)) for a in (y, eta, w, *aux))
    with x64():
        found = [np.array(v) for v in _compiled(own, link, derivatives)(*at)]
    loglik, score, weight, *rest = found
    if not derivatives:
        return Rows(constant + loglik, score, weight)
    k = len(aux)
    own_slopes, scores, weights = (tuple(rest[1 + i * k : 1 + (i + 1) * k]) for i in range(3))
    return Rows(constant + loglik, score, weight, rest[0], own_slopes, scores, weights)


def expanded_rows(
    own: Distribution,
    link: Link,
    y: Array,
    eta: Array,
    aux: Aux,
    w: Maybe,
    constant: Maybe,
    *,
    derivatives: bool,
) -> Rows:
    """The same by truncated Taylor series, for densities that keep to the functions of :mod:`lmmformula.families.taylor`."""
    chart = link.chart(own.mean_range)
    assert chart is not None
    around, at = variables(eta, aux, derivatives=derivatives)
    density: AnyFunction = log_density(own, chart, y, w, SERIES)
    slopes, by = read(density(around, at), eta.shape)
    if not derivatives:
        return Rows(constant + slopes[0], slopes[1], -slopes[2])
    mixed = (tuple(b[0] for b in by), tuple(b[1] for b in by), tuple(-b[2] for b in by))
    return Rows(constant + slopes[0], slopes[1], -slopes[2], -slopes[3], *mixed)


@lru_cache(maxsize=128)
def _compiled(own: Distribution, link: Link, derivatives: bool) -> Callable[..., list[Array]]:
    """(y, eta, w, *aux) -> l, l_e, -l_ee and, if asked for, -l_eee, l_a, l_ea, -l_eea."""
    import jax
    import jax.numpy as jnp

    chart = link.chart(own.mean_range)
    assert chart is not None

    def slope(f: Function, j: int | None = None) -> Function:
        """df/deta, or df/da_j."""

        def moved(eta: Array, aux: tuple[Array, ...]) -> Array:
            def line(x: Array) -> Array:
                return f(x, aux) if j is None else f(eta, (*aux[:j], x, *aux[j + 1 :]))

            x = eta if j is None else aux[j]
            return jax.jvp(line, (x,), (jnp.ones_like(x),))[1]

        return moved

    def rows(y: Array, eta: Array, w: Array, *aux: Array) -> list[Array]:
        value = log_density(own, chart, y, w, jnp)
        first = slope(value)
        second = slope(first)
        out = [value(eta, aux), first(eta, aux), -second(eta, aux)]
        if derivatives:
            each = range(len(aux))
            out.append(-slope(second)(eta, aux))
            out += [slope(value, j)(eta, aux) for j in each]
            out += [slope(first, j)(eta, aux) for j in each]
            out += [-slope(second, j)(eta, aux) for j in each]
        return out

    return jax.jit(rows)
