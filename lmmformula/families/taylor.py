r"""Derivatives of a log density by arithmetic of truncated Taylor series, over NumPy.

A Laplace approximation and its gradient need of a row's density l(x, a_1, ..., a_J) the derivatives in one coordinate x up to
the third, and of dl/da_j those in x up to the second. These are the coefficients of l in the ring

    R[x]/(x^4)  +  sum_j a_j R[x]/(x^3),      a_j a_k = 0,

in which every density can be evaluated that is written over an array namespace: products are those of truncated series,
and a function h of f = f_0 + f_1 x + f_2 x^2 + f_3 x^3 has the coefficients (Faa di Bruno; Griewank & Walther 2008, ch. 13)

    h(f_0),   h' f_1,   h' f_2 + h'' f_1^2 / 2,   h' f_3 + h'' f_1 f_2 + h''' f_1^3 / 6,

and h'(f) times the coefficient of each a_j. Nothing is compiled, no step is chosen, and the results are as exact as the
density: one evaluation costs some ten of it. A coefficient that is zero for every row is None and costs nothing.

:data:`SERIES` is the namespace to hand to ``log_density``; it has the functions that densities use, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.records import Array, Aux, Density, Maybe, Part
from lmmformula.families.special import log_mills, zetas
from lmmformula.families.unit_links import log_normal_cdf
from lmmformula.typing import Numbers

__all__ = ["SERIES", "Series", "expanded", "read", "variables"]

Coefficients: TypeAlias = "tuple[Maybe | None, ...]"
"""Of 1, x, x^2, ...; None is zero."""

Slopes: TypeAlias = Callable[[Array, int], Sequence[Maybe]]
"""(f_0, order) -> h, h', ..., of that order."""


def _plus(f: Maybe | None, g: Maybe | None) -> Maybe | None:
    if f is None:
        return g
    return f if g is None else f + g


def _times(f: Maybe | None, g: Maybe | None) -> Maybe | None:
    return None if f is None or g is None else f * g


def _product(f: Coefficients, g: Coefficients, n: int) -> Coefficients:
    out: list[Maybe | None] = []
    for k in range(n):
        total = None
        for i in range(k + 1):
            total = _plus(total, _times(f[i], g[k - i]))
        out.append(total)
    return tuple(out)


def _composed(f: Coefficients, h: Sequence[Maybe], n: int) -> Coefficients:
    """Of h(f), from the derivatives of h at f_0."""
    out: list[Maybe | None] = [h[0]]
    if n > 1:
        out.append(_times(h[1], f[1]))
    if n > 2:
        square = _times(f[1], f[1])
        out.append(_plus(_times(h[1], f[2]), _times(0.5 * h[2], square)))
        if n > 3:
            cube = _times(square, f[1])
            mixed = _times(h[2], _times(f[1], f[2]))
            out.append(_plus(_plus(_times(h[1], f[3]), mixed), _times(h[3] / 6.0, cube)))
    return tuple(out)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A number a row as a truncated series.

    Attributes
    ----------
    own : tuple
        Coefficients of 1, x, x^2(, x^3).
    by : tuple of tuples
        For each a_j those of a_j, a_j x, a_j x^2.
    """

    own: Coefficients
    by: tuple[Coefficients, ...]

    __array_ufunc__ = None  # arrays leave operators to this class

    @property
    def value(self) -> Array:
        """The number itself."""
        return np.asarray(self.own[0])

    def _constant(self, value: Maybe) -> Series:
        return Series((value, *(None for _ in self.own[1:])), tuple((None,) * len(b) for b in self.by))

    def _read(self, other: Numbers) -> Series:
        return other if isinstance(other, Series) else self._constant(other)

    def map(self, slopes: Slopes) -> Series:
        """h of it."""
        n = len(self.own)
        h = slopes(self.value, n)
        if not self.by:
            return Series(_composed(self.own, h, n), ())
        rate = _composed(self.own, h[1:], n - 1)
        return Series(_composed(self.own, h, n), tuple(_product(rate, b, n - 1) for b in self.by))

    def __add__(self, other: Numbers) -> Series:
        if not isinstance(other, Series):
            return Series((self.own[0] + other, *self.own[1:]), self.by)  # type: ignore[operator]
        own = tuple(map(_plus, self.own, other.own))
        return Series(own, tuple(tuple(map(_plus, a, b)) for a, b in zip(self.by, other.by, strict=True)))

    def __neg__(self) -> Series:
        return self * -1.0

    def __sub__(self, other: Numbers) -> Series:
        return self + (-other)

    def __rsub__(self, other: Numbers) -> Series:
        return -self + other

    def __mul__(self, other: Numbers) -> Series:
        if not isinstance(other, Series):
            own = tuple(_times(f, other) for f in self.own)
            return Series(own, tuple(tuple(_times(f, other) for f in b) for b in self.by))
        n = len(self.own)
        cross = (
            tuple(map(_plus, _product(self.own, b, n - 1), _product(other.own, a, n - 1)))
            for a, b in zip(self.by, other.by, strict=True)
        )
        return Series(_product(self.own, other.own, n), tuple(cross))

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Numbers) -> Series:
        return self * (other.map(_reciprocal) if isinstance(other, Series) else 1.0 / other)

    def __rtruediv__(self, other: Numbers) -> Series:
        return self.map(_reciprocal) * other

    def __pow__(self, power: int) -> Series:
        if power == 2:
            return self * self
        return self.map(lambda x, n: _powers(x, float(power), n))

    def __lt__(self, other: Numbers) -> NDArray[np.bool_]:
        return self.value < _value(other)

    def __le__(self, other: Numbers) -> NDArray[np.bool_]:
        return self.value <= _value(other)

    def __gt__(self, other: Numbers) -> NDArray[np.bool_]:
        return self.value > _value(other)

    def __ge__(self, other: Numbers) -> NDArray[np.bool_]:
        return self.value >= _value(other)


def _value(x: Numbers) -> Numbers:
    return x.value if isinstance(x, Series) else x


# --- functions with their first three derivatives -------------------------------------------------------------------


def _reciprocal(x: Array, n: int) -> Sequence[Maybe]:
    r = 1.0 / x
    return r, -r * r, 2.0 * r**3, -6.0 * r**4


def _powers(x: Array, p: float, n: int) -> Sequence[Maybe]:
    out, factor = [], 1.0
    for k in range(n):
        out.append(factor * x ** (p - k))
        factor *= p - k
    return out


def _exp(x: Array, n: int) -> Sequence[Maybe]:
    return (np.exp(x),) * n


def _expm1(x: Array, n: int) -> Sequence[Maybe]:
    return (np.expm1(x), *((np.exp(x),) * (n - 1)))


def _log(x: Array, n: int) -> Sequence[Maybe]:
    return (np.log(x), *_reciprocal(x, n)[: n - 1])


def _log1p(x: Array, n: int) -> Sequence[Maybe]:
    return (np.log1p(x), *_reciprocal(1.0 + x, n)[: n - 1])


def _sqrt(x: Array, n: int) -> Sequence[Maybe]:
    return _powers(x, 0.5, n)


def _softplus(x: Array, n: int) -> Sequence[Maybe]:
    e = np.exp(-np.abs(x))
    p, q = np.where(x >= 0, 1.0, e) / (1.0 + e), np.where(x >= 0, e, 1.0) / (1.0 + e)
    return np.logaddexp(0.0, x), p, p * q, p * q * (q - p)


def _arctan(x: Array, n: int) -> Sequence[Maybe]:
    u = 1.0 / (1.0 + x * x)
    return np.arctan(x), u, -2.0 * x * u * u, u * u * (8.0 * x * x * u - 2.0)


def _gammaln(x: Array, n: int) -> Sequence[Maybe]:
    from scipy.special import digamma, gammaln

    second, third = zetas(np.asarray(x), cubic=n > 3)
    return gammaln(x), digamma(x), second, -2.0 * third


def _log_ndtr(x: Array, n: int) -> Sequence[Maybe]:
    return log_normal_cdf(x)[:4]


def _log_mills(x: Array, n: int) -> Sequence[Maybe]:
    found = log_normal_cdf(x)
    return log_mills(x, np), x + found.d1, 1.0 + found.d2, found.d3


class _SeriesNamespace:
    """The functions of densities, for series and for numbers."""

    inf, pi = np.inf, np.pi

    def _either(self, x: Numbers, slopes: Slopes, plain: Callable[[Numbers], Numbers]) -> Numbers:
        return x.map(slopes) if isinstance(x, Series) else plain(x)

    def exp(self, x: Numbers) -> Numbers:
        return self._either(x, _exp, np.exp)

    def expm1(self, x: Numbers) -> Numbers:
        return self._either(x, _expm1, np.expm1)

    def log(self, x: Numbers) -> Numbers:
        return self._either(x, _log, np.log)

    def log1p(self, x: Numbers) -> Numbers:
        return self._either(x, _log1p, np.log1p)

    def sqrt(self, x: Numbers) -> Numbers:
        return self._either(x, _sqrt, np.sqrt)

    def arctan(self, x: Numbers) -> Numbers:
        return self._either(x, _arctan, np.arctan)

    def arctan2(self, y: Numbers, x: Numbers) -> Numbers:
        """The angle of (x, y) for y > 0."""
        return 0.5 * np.pi - self.arctan(x / y)

    def gammaln(self, x: Numbers) -> Numbers:
        from scipy.special import gammaln

        return self._either(x, _gammaln, gammaln)

    def log_ndtr(self, x: Numbers) -> Numbers:
        from scipy.special import log_ndtr

        return self._either(x, _log_ndtr, log_ndtr)

    def log_mills(self, x: Numbers) -> Numbers:
        return self._either(x, _log_mills, lambda own: log_mills(own, np))

    def logaddexp(self, x: Numbers, y: Numbers) -> Numbers:
        if not isinstance(x, Series) and not isinstance(y, Series):
            return np.logaddexp(x, y)
        if not isinstance(x, Series) and np.ndim(x) == 0 and x == 0.0:
            return y.map(_softplus)
        gap = y - x
        # from the larger of the two, so that nothing overflows
        up = _value(gap) > 0
        return self.where(up, y, x) + self.where(up, -gap, gap).map(_softplus)

    def where(self, chosen: Numbers, x: Numbers, y: Numbers) -> Numbers:
        if not isinstance(x, Series) and not isinstance(y, Series):
            return np.where(chosen, x, y)
        template = x if isinstance(x, Series) else y
        f, g = template._read(x), template._read(y)

        def each(a: Coefficients, b: Coefficients) -> Coefficients:
            return tuple(
                None
                if u is None and v is None
                else np.where(chosen, 0.0 if u is None else u, 0.0 if v is None else v)
                for u, v in zip(a, b, strict=True)
            )

        return Series(each(f.own, g.own), tuple(map(each, f.by, g.by)))

    def maximum(self, x: Numbers, y: Numbers) -> Numbers:
        return self.where(_value(x) >= _value(y), x, y)

    def minimum(self, x: Numbers, y: Numbers) -> Numbers:
        return self.where(_value(x) <= _value(y), x, y)

    def clip(self, x: Numbers, low: float, high: float) -> Numbers:
        return self.minimum(self.maximum(x, low), high)

    def abs(self, x: Numbers) -> Numbers:
        return self.where(_value(x) >= 0, x, -x)


SERIES: Numbers = _SeriesNamespace()
"""The namespace of series. (As numpy and jax.numpy are to each other: one protocol of their functions does not exist.)"""


def variables(x: Array, aux: Aux, *, derivatives: bool) -> tuple[Series, tuple[Numbers, ...]]:
    """x and the a_j as series around their values: to the third order, or without `derivatives` x alone to the second."""
    if not derivatives:
        return Series((x, 1.0, None), ()), aux
    each = range(len(aux))
    none = (None, None, None)
    by = tuple(tuple((1.0, None, None) if i == j else none for i in each) for j in each)
    around = Series((x, 1.0, None, None), tuple(none for _ in each))
    return around, tuple(Series((a, None, None, None), b) for a, b in zip(aux, by, strict=True))


def read(found: Series, shape: tuple[int, ...]) -> tuple[list[Array], list[list[Array]]]:
    """Derivatives from coefficients: those in x, and for each a_j those in a_j, a_j x, a_j x^2; arrays of `shape`."""

    def full(values: Coefficients) -> list[Array]:
        factors = (1.0, 1.0, 2.0, 6.0)
        return [
            np.zeros(shape) if v is None else np.broadcast_to(f * np.asarray(v), shape)
            for v, f in zip(values, factors, strict=False)
        ]

    return full(found.own), [full(b) for b in found.by]


def expanded(
    log_density: Callable[..., Numbers],
    y: Array,
    c: tuple[Array, ...],
    aux: Aux,
    w: Maybe,
    constant: Maybe,
    *,
    derivatives: bool,
) -> Density:
    """A density of one coordinate with its derivatives, from its logarithm over a namespace."""
    around, at = variables(c[0], aux, derivatives=derivatives)
    own, by = read(log_density(y, (around,), at, w, SERIES), np.broadcast(y, c[0]).shape)
    if not derivatives:
        return Density(constant + own[0], (Part(own[1], own[2]),))
    part = Part(own[1], own[2], own[3], tuple(b[1] for b in by), tuple(b[2] for b in by))
    return Density(constant + own[0], (part,), tuple(b[0] for b in by))
