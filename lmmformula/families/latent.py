r"""Distribution functions F of latent variables, as jets of ``log F`` and ``log(1 - F)``, and logarithms of differences of F.

Ordinal models cut a latent variable, or a sequence of them, at thresholds (McCullagh 1980; Agresti 2010, ch. 3 and 5). F is
that of the logistic, normal, Gumbel or Cauchy distribution: the inverse of the link of a binary response, whose two sides
:mod:`lmmformula.families.unit_links` has exactly in both tails. `loglog` is the mirror image of `cloglog`, F(x) = exp(-e^-x).

Their links see the linear predictor itself: eta is the location of the latent variable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.links import LINKS, Chart
from lmmformula.families.records import Array, Jet, Maybe
from lmmformula.typing import Namespace, Numbers

__all__ = [
    "LATENT",
    "Pull",
    "between",
    "inside",
    "one_side",
    "quantile",
    "sides",
    "sides_at",
    "threshold_from",
]

LATENT = ("logit", "probit", "cloglog", "cauchit", "loglog")
"""Names of F by their links."""


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """How a row's log density moves with one x_j = tau_j - eta, where t moves all of them together.

    Attributes
    ----------
    first, second, third : (n,) arrays
        dl/dx_j, d2l/(dx_j dt), d3l/(dx_j dt2); summed over j the derivatives in t. `third` may be left out.
    """

    first: Maybe
    second: Maybe
    third: Maybe = 0.0

    def times(self, share: Maybe) -> Pull:
        """All of it `share` times."""
        return Pull(share * self.first, share * self.second, share * self.third)

    def within(self, rows: NDArray[np.bool_]) -> Pull:
        """Zero outside of `rows`, whatever stands there."""
        return Pull(*(np.where(rows, part, 0.0) for part in (self.first, self.second, self.third)))

    def plus(self, other: Pull) -> Pull:
        """The sum."""
        return Pull(self.first + other.first, self.second + other.second, self.third + other.third)


def sides(latent: str, x: Array) -> tuple[Jet, Jet]:
    """Jets of ``log F`` and ``log(1 - F)``."""
    if latent == "loglog":
        f, g = _chart("cloglog").jets(-x)
        return Jet(g.value, -g.d1, g.d2, -g.d3), Jet(f.value, -f.d1, f.d2, -f.d3)
    f, g = _chart(latent).jets(x)
    return f, g


def sides_at(latent: str, x: Numbers, xp: Namespace) -> tuple[Numbers, Numbers]:
    """``log F`` and ``log(1 - F)`` over an array namespace."""
    if latent == "loglog":
        f, g = _chart("cloglog").at(-x, xp)
        return g, f
    f, g = _chart(latent).at(x, xp)
    return f, g


def quantile(latent: str, p: Array) -> Array:
    """F^-1."""
    if latent == "loglog":
        return -LINKS["cloglog"].eta(1.0 - p)
    return LINKS[latent].eta(p)


def one_side(jet: Jet) -> Pull:
    """Of a log density that is the logarithm of F(x) or of 1 - F(x)."""
    return Pull(jet.d1, jet.d2, jet.d3)


def inside(latent: str, upper: Numbers, lower: Numbers, xp: Namespace) -> Numbers:
    """``log(F(upper) - F(lower))`` over an array namespace; -inf unless lower < upper.

    From the tail in which both are small: ``log F(u) + log(1 - F(v) / F(u))``, or the same of 1 - F. Of the logistic
    distribution the difference is a product, ``(1 - e^-(u - v)) F(u) (1 - F(v))``.
    """
    gap = upper - lower
    valid = gap > 0.0
    gap = xp.where(valid, gap, 1.0)
    upper = xp.where(valid, upper, lower + 1.0)
    (f_u, g_u), (f_v, g_v) = sides_at(latent, upper, xp), sides_at(latent, lower, xp)
    if latent == "logit":
        value = xp.log(-xp.expm1(-gap)) + f_u + g_v
    else:
        left = f_u < g_v
        apart = xp.maximum(xp.where(left, f_u - f_v, g_v - g_u), _LEAST)
        value = xp.where(left, f_u, g_v) + xp.log(-xp.expm1(-apart))
    return xp.where(valid, value, -np.inf)


_LEAST = 1e-300
"""A difference of logarithms that is not zero."""


def between(latent: str, upper: Array, lower: Array, *, third: bool) -> tuple[Array, Pull, Pull]:
    """:func:`inside` with its derivatives: how it moves with the upper and with the lower end.

    With D = F(u) - F(v) and the k-th derivatives a_k = F^(k)(u) / D and b_k = F^(k)(v) / D, m_k = a_k - b_k,

        dl/du = a_1,    d2l/(du dt) = a_2 - a_1 m_1,    d3l/(du dt2) = a_3 - 2 a_2 m_1 - a_1 m_2 + 2 a_1 m_1^2,

    and the same with -b_k for v.
    """
    gap = upper - lower
    valid = gap > 0.0
    with np.errstate(all="ignore"):
        (f_u, g_u), (f_v, g_v) = sides(latent, upper), sides(latent, lower)
        if latent == "logit":
            own = np.log(-np.expm1(-gap))
            steep = 1.0 / np.expm1(gap)  # d log(1 - e^-gap) / d gap, which t does not move
            up, low = one_side(f_u), one_side(g_v)
            value = own + f_u.value + g_v.value
            ends = (replace(up, first=up.first + steep), replace(low, first=low.first - steep))
        else:
            value, a, b = _shares(f_u, g_u, f_v, g_v)
            m = tuple(p - q for p, q in zip(a, b, strict=True))
            ends = (_moved(a, m, third=third), _moved(b, m, third=third).times(-1.0))
    if valid.all():
        return value, *ends
    return np.where(valid, value, -np.inf), *ends


def _moved(a: tuple[Array, ...], m: tuple[Array, ...], *, third: bool) -> Pull:
    second = a[1] - a[0] * m[0]
    if not third:
        return Pull(a[0], second)
    return Pull(a[0], second, a[2] - 2.0 * a[1] * m[0] - a[0] * m[1] + 2.0 * a[0] * m[0] ** 2)


def _shares(f_u: Jet, g_u: Jet, f_v: Jet, g_v: Jet) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
    """log D, and the derivatives of F at both ends divided by D, from the smaller tail."""
    left = f_u.value < g_v.value
    top = np.where(left, f_u.value, g_v.value)
    apart = np.where(left, f_u.value - f_v.value, g_v.value - g_u.value)
    log_d = top + np.log(-np.expm1(-np.maximum(apart, _LEAST)))
    sign = np.where(left, 1.0, -1.0)

    def of(f: Jet, g: Jet) -> tuple[Array, ...]:
        v, d1, d2, d3 = (
            np.where(left, p, q) for p, q in ((f.value, g.value), (f.d1, g.d1), (f.d2, g.d2), (f.d3, g.d3))
        )
        size = sign * np.exp(v - log_d)
        return size * d1, size * (d2 + d1 * d1), size * (d3 + 3.0 * d1 * d2 + d1**3)

    return log_d, of(f_u, g_u), of(f_v, g_v)


def threshold_from(latent: str, wanted: float, eta: Array, w: Array) -> float:
    """tau with ``sum w F(tau - eta) = wanted``, by Newton's steps from where one eta for all would have it. O(n) each."""
    total = float(w.sum())
    share = min(max(wanted / total, 0.5 / (total + 1.0)), 1.0 - 0.5 / (total + 1.0))
    tau = float(quantile(latent, np.array(share))) + float(w @ eta) / total
    for _ in range(_STEPS):
        f, _ = sides(latent, tau - eta)
        at = np.exp(f.value)
        slope = float(w @ (at * f.d1))
        step = (share * total - float(w @ at)) / max(slope, 1e-3 * total)
        tau += min(max(step, -2.0), 2.0)
        if abs(step) < _ENOUGH:
            break
    return tau


_STEPS = 25
_ENOUGH = 1e-4
"""Of a starting value, in units of the latent variable, whose scale is fixed."""


def _chart(latent: str) -> Chart:
    found = LINKS[latent].unit
    assert found is not None
    return found
