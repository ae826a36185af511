r"""The regularised incomplete gamma functions P and Q = 1 - P with logarithms and derivatives, in either tail.

With ``v = log u``, ``g(v, nu) = nu v - e^v - log Gamma(nu)``,

    dP/dv = e^g,        dP/dnu = P [ v - sum_k t_k psi(nu + k + 1) / sum_k t_k ],      t_k = u^k / (nu + 1)_k,

the second from the series ``P = u^nu e^-u sum_k t_k / Gamma(nu + 1)`` (Abramowitz & Stegun 1964, 6.5.29), whose terms are
positive: it is taken for u < nu + 1. Above, dP/dnu comes from the derivative of the continued fraction of Q (JAX's
``igamma_grad_a``). Where Q is below the smallest number its leading term u^(nu - 1) e^-u / Gamma(nu) stands for it.

The derivatives of higher order along a predictor x on which v alone depends are those of e^g, an elementary function.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.families.records import Array, Maybe
from lmmformula.families.special import gammaln
from lmmformula.families.taylor import Series
from lmmformula.typing import Namespace, Numbers

__all__ = ["log_gamma_tails"]

TERMS = 5000
"""Of the series, which takes some multiple of sqrt(nu) of them."""

TINY = 1e-300


class _Tails(NamedTuple):
    """log P, log Q and their derivatives in nu."""

    below: Array
    above: Array
    below_nu: Array
    above_nu: Array


def log_gamma_tails(nu: Numbers, v: Numbers, xp: Namespace) -> tuple[Numbers, Numbers]:
    """log P(nu, e^v) and log Q(nu, e^v).

    Parameters
    ----------
    nu, v : arrays, or series of which v moves with the first variable by -1 and nu does not
    xp : module
    """
    if isinstance(v, Series):
        return _expanded(nu, v, xp)
    if xp is np:
        found = _values(nu, v)
        return found.below, found.above
    from jax.scipy.special import gammainc, gammaincc

    u = xp.exp(v)
    return xp.log(xp.maximum(gammainc(nu, u), TINY)), xp.log(xp.maximum(gammaincc(nu, u), TINY))


def _expanded(nu: Numbers, v: Series, xp: Namespace) -> tuple[Series, Series]:
    if isinstance(nu, Series) and nu.own[1] is not None:
        raise PlanError(
            "probabilities of gamma responses have no second derivatives by the shape here, which random effects of the shape, "
            "and models of several responses, need of censored or truncated ones. Use family='weibull' or 'lognormal', or the "
            "response alone with random effects of its mean."
        )
    log_gamma: Numbers = xp.gammaln(nu) if isinstance(nu, Series) else gammaln(nu, np)
    values = nu.value if isinstance(nu, Series) else np.asarray(nu, float)
    found = _values(*np.broadcast_arrays(values, v.value))
    g = nu * v - xp.exp(v) - log_gamma
    out = []
    for log_p, by_nu, sign in ((found.below, found.below_nu, 1.0), (found.above, found.above_nu, -1.0)):
        density = sign * xp.exp(g - log_p)  # d/dv of the tail, relative to it
        by = []
        for j, moved in enumerate(v.by):
            own = nu.by[j][0] if isinstance(nu, Series) else None
            total = 0.0 if own is None else by_nu * own
            by.append(total + (0.0 if moved[0] is None else density.value * moved[0]))
        ratio = _integrated(-density, tuple(by))
        out.append(xp.log(ratio) + log_p)
    return out[0], out[1]


def _integrated(slope: Series, by: tuple[Maybe, ...]) -> Series:
    """The series with value one, the derivative `slope` in the first variable and `by` in the others."""
    own = (np.ones(slope.value.shape), *(_over(f, k + 1) for k, f in enumerate(slope.own[:-1])))
    rest = tuple(
        (a, *(_over(f, k + 1) for k, f in enumerate(b[:-1]))) for a, b in zip(by, slope.by, strict=True)
    )
    return Series(own, rest)


def _over(f: Maybe | None, k: int) -> Maybe | None:
    return None if f is None else f / k


def _values(nu: Array, v: Array) -> _Tails:
    nu, v = np.broadcast_arrays(np.asarray(nu, float), np.asarray(v, float))
    with np.errstate(all="ignore"):
        u = np.exp(v)
        low = u < nu + 1.0
        out = [np.empty(v.shape) for _ in range(4)]
        for chosen, find in ((low, _lower), (~low, _upper)):
            if chosen.any():
                for whole, part in zip(out, find(nu[chosen], v[chosen], u[chosen]), strict=True):
                    whole[chosen] = part
    return _Tails(*out)


def _lower(nu: Array, v: Array, u: Array) -> _Tails:
    from scipy.special import digamma, gammaln

    term, psi = np.ones(nu.shape), digamma(nu + 1.0)
    total, weighed = term.copy(), psi.copy()
    for k in range(1, TERMS):
        term = term * u / (nu + k)
        psi = psi + 1.0 / (nu + k)
        total += term
        weighed += term * psi
        if (term <= 1e-17 * total).all():
            break
    below = nu * v - u - gammaln(nu + 1.0) + np.log(total)
    by_nu = v - weighed / total
    p = np.exp(below)
    return _Tails(below, np.log1p(-p), by_nu, -p * by_nu / (1.0 - p))


def _upper(nu: Array, v: Array, u: Array) -> _Tails:
    import jax
    from scipy.special import digamma, gammaincc, gammaln

    from lmmformula.numerics.x64 import x64

    q = gammaincc(nu, u)
    with x64():
        by_nu = np.array(jax.lax.igamma_grad_a(nu, u))
    far = q < TINY
    log_q = np.where(far, (nu - 1.0) * v - u - gammaln(nu), np.log(np.maximum(q, TINY)))
    above_nu = np.where(far, v - digamma(nu), -by_nu / np.maximum(q, TINY))
    return _Tails(np.log1p(-q), log_q, by_nu / (1.0 - q), above_nu)
