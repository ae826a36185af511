"""Special functions of log densities, over NumPy and JAX, and gamma-function differences that do not cancel.

Count and positive families near their limits (Poisson as the limit of the negative binomial, constant as the
limit of the gamma) subtract ``lgamma`` of nearly equal large arguments. Above `LARGE` the Stirling series of
Abramowitz & Stegun (1964, 6.1.41, 6.3.18, 6.4.11) is differenced term by term instead; its first omitted term
is below 1e-15 there.

``xp`` is the namespace of a density: numpy, or jax.numpy where it is traced. Of a traced function with two branches
both are evaluated and differentiated, so the arguments of the one not taken are moved to where it is finite.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma

import numpy as np

from lmmformula.families.records import Array, Maybe
from lmmformula.typing import Namespace

__all__ = [
    "LOG_2PI",
    "counted",
    "digamma_step",
    "excess",
    "excess_slope",
    "gammaln",
    "lgamma_step",
    "log_factorials",
    "log_mills",
    "log_ndtr",
    "namespace",
    "softplus",
    "tetragamma_step",
    "trigamma_step",
    "zetas",
]

LARGE = 20.0
TABLE = 5_000
"""Largest number up to which a table of log factorials takes less than importing a function of them."""
LOG_2PI = float(np.log(2 * np.pi))


def namespace(x: object) -> Namespace:
    """NumPy for numbers and its arrays, which are known before anything is compiled; JAX for what is traced.

    Functions of the response and its weights alone are asked of it, so that a compiled density has their values in it.
    """
    if isinstance(x, float | int | np.ndarray | np.generic):
        return np
    import jax.numpy as jnp

    return jnp


def _special(xp: Namespace) -> Namespace:
    if hasattr(xp, "gammaln"):  # series bring their own
        return xp
    if xp is np:
        import scipy.special as own
    else:
        import jax.scipy.special as own
    return own


def gammaln(x: Maybe, xp: Namespace) -> Array:
    """log Gamma(x) for x > 0."""
    return _special(xp).gammaln(x)


def log_factorials(y: Array) -> Array:
    """log y! of whole numbers, of which few are different among many: from a table, which needs no package."""
    top = y.max(initial=0.0)
    if top < max(np.size(y), TABLE):
        whole = y.astype(np.intp)
        if (whole == y).all() and (whole >= 0).all():
            return np.array([lgamma(k) for k in range(1, int(top) + 2)])[whole]
    return gammaln(y + 1.0, np)


def log_ndtr(x: Maybe, xp: Namespace) -> Array:
    """log of the standard normal distribution function."""
    return _special(xp).log_ndtr(x)


_FAR_BELOW = -30.0
"""Where the series of Mills' ratio has full precision."""


def log_mills(x: Maybe, xp: Namespace) -> Array:
    """``log Phi(x) + x^2/2`` for x < 0 (Abramowitz & Stegun 1964, 7.1.23)."""
    if hasattr(xp, "log_mills"):
        return xp.log_mills(x)
    if xp is np:
        from scipy.special import erfcx

        return np.log(0.5 * erfcx(-np.asarray(x) / np.sqrt(2.0)))
    far = x < _FAR_BELOW
    near, z = xp.where(far, -1.0, x), xp.where(far, x, _FAR_BELOW)
    u = 1.0 / (z * z)
    series = u * (-1.0 + u * (3.0 - u * (15.0 - u * (105.0 - 945.0 * u))))
    return xp.where(
        far, xp.log1p(series) - xp.log(-z) - 0.5 * LOG_2PI, log_ndtr(near, xp) + 0.5 * near * near
    )


_SHIFT = 10
"""Beyond it eight terms of the series below have full precision."""
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def zetas(x: Array, *, cubic: bool = True) -> tuple[Array, Array]:
    """Hurwitz' zeta(2, x) = psi'(x), and zeta(3, x) = -psi''(x) / 2 if `cubic` (else zeros), for x > 0.

    ``zeta(s, x) = 1/x^s + zeta(s, x + 1)`` up to x + 10, and there (Abramowitz & Stegun 1964, 6.4.11 to 6.4.13)
    ``zeta(2, z) = 1/z + 1/(2 z^2) + sum B_2k / z^(2k+1)``, of which zeta(3) is -1/2 of the derivative. Several times
    as fast as scipy's, which takes any s.
    """
    second, third = np.zeros(np.shape(x)), np.zeros(np.shape(x))
    for i in range(_SHIFT):
        r = 1.0 / (x + i)
        square = r * r
        second += square
        if cubic:
            third += square * r
    r = 1.0 / (x + _SHIFT)
    u = r * r
    tail, bent = np.zeros(np.shape(x)), np.zeros(np.shape(x))
    for k in range(len(_BERNOULLI), 0, -1):
        tail = u * (_BERNOULLI[k - 1] + tail)
        if cubic:
            bent = u * ((2 * k + 1) * _BERNOULLI[k - 1] + bent)
    second += r * (1.0 + 0.5 * r + tail)
    return second, third + u * (0.5 + 0.5 * r + 0.5 * bent) if cubic else third


def softplus(x: Maybe, xp: Namespace) -> Array:
    """log(1 + e^x)."""
    return xp.logaddexp(0.0, x)


def counted(k: Maybe, x: Maybe, xp: Namespace) -> Array:
    """k x, which is 0 where k is 0, be x infinite."""
    return xp.where(k > 0, k * x, 0.0)


def _split(
    xp: Namespace, small: Callable[..., Array], large: Callable[..., Array], x: Maybe, *more: Maybe
) -> Array:
    """``small`` where x < LARGE, else ``large``, each evaluated only where it is used, or finite where it is not."""
    if xp is not np:
        below = x < LARGE
        low, high = xp.where(below, x, 1.0), xp.where(below, LARGE, x)
        return xp.where(below, small(low, *more), large(high, *more))
    x, *rest = np.broadcast_arrays(np.asarray(x, float), *more)
    below = x < LARGE
    if below.all():
        return np.asarray(small(x, *rest))
    if not below.any():
        return np.asarray(large(x, *rest))
    out = np.empty(x.shape)
    out[below] = small(x[below], *(r[below] for r in rest))
    out[~below] = large(x[~below], *(r[~below] for r in rest))
    return out


def _stirling(x: Array) -> Array:
    """lgamma(x) - [(x - 1/2) log x - x + log(2 pi)/2]."""
    u = 1.0 / x**2
    return (1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u / 1188)))) / x


def excess(x: Maybe, log_x: Maybe, xp: Namespace = np) -> Array:
    """``S(x) = x log x - x - lgamma(x)``; finite where x underflows to 0 and log x does not."""

    def small(x: Array, log_x: Array) -> Array:
        return xp.where(x > 0, x, 0.0) * xp.maximum(log_x, -1e300) - x - gammaln(1.0 + x, xp) + log_x

    def large(x: Array, log_x: Array) -> Array:
        return 0.5 * (log_x - LOG_2PI) - _stirling(x)

    return _split(xp, small, large, x, log_x)


def excess_slope(x: Maybe, log_x: Maybe) -> Array:
    """``x S'(x) = x (log x - digamma(x))``, which is 1 at x = 0 and 1/2 at infinity."""

    def small(x: Array, log_x: Array) -> Array:
        from scipy.special import digamma

        return 1.0 + x * (np.maximum(log_x, -1e300) - digamma(1.0 + x))

    def large(x: Array, log_x: Array) -> Array:
        u = 1.0 / x**2
        return 0.5 + (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u / 132)))) / x

    return _split(np, small, large, x, log_x)


def lgamma_step(x: Maybe, k: Maybe, xp: Namespace = np) -> Array:
    """``lgamma(x + k) - lgamma(x) - k log x`` for k >= 0."""

    def small(x: Array, k: Array) -> Array:
        return gammaln(x + k, xp) - gammaln(x, xp) - k * xp.log(x)

    def large(x: Array, k: Array) -> Array:
        return (x + k - 0.5) * xp.log1p(k / x) - k + (_stirling(x + k) - _stirling(x))

    return _split(xp, small, large, x, k)


def digamma_step(x: Maybe, k: Maybe) -> Array:
    """``digamma(x + k) - digamma(x)``."""

    def small(x: Array, k: Array) -> Array:
        from scipy.special import digamma

        return digamma(x + k) - digamma(x)

    def large(x: Array, k: Array) -> Array:
        z = x + k
        tail = _powers(x, z, {2: -1 / 12, 4: 1 / 120, 6: -1 / 252, 8: 1 / 240, 10: -1 / 132})
        return np.log1p(k / x) + 0.5 * (k / x) / z + tail

    return _split(np, small, large, x, k)


def trigamma_step(x: Maybe, k: Maybe) -> Array:
    """First derivative of :func:`digamma_step` in x."""

    def small(x: Array, k: Array) -> Array:
        return zetas(x + k, cubic=False)[0] - zetas(x, cubic=False)[0]

    def large(x: Array, k: Array) -> Array:
        z = x + k
        tail = _powers(x, z, {2: 0.5, 3: 1 / 6, 5: -1 / 30, 7: 1 / 42, 9: -1 / 30, 11: 5 / 66})
        return -(k / x) / z + tail

    return _split(np, small, large, x, k)


def tetragamma_step(x: Maybe, k: Maybe) -> Array:
    """Second derivative of :func:`digamma_step` in x."""

    def small(x: Array, k: Array) -> Array:
        return -2.0 * (zetas(x + k)[1] - zetas(x)[1])

    def large(x: Array, k: Array) -> Array:
        z = x + k
        tail = _powers(x, z, {3: -1.0, 4: -0.5, 6: 1 / 6, 8: -1 / 6, 10: 3 / 10, 12: -5 / 6})
        return (k / x) * ((x / z + 1.0) / x) / z + tail

    return _split(np, small, large, x, k)


def _powers(x: Array, z: Array, terms: dict[int, float]) -> Array:
    """Sum of ``c (z^-m - x^-m)``."""
    return sum((c * (z**-m - x**-m) for m, c in ((float(m), c) for m, c in terms.items())), np.zeros(x.shape))
