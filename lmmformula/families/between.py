"""``log P(lo < Y <= hi)`` of a distribution, over an array namespace: NumPy, JAX or series.

Of a continuous response from its two tails (``Distribution.tails``), of whichever is smaller at the lower end:

    log(F(hi) - F(lo)) = log F(hi) + log(1 - e^(log F(lo) - log F(hi))),    or the same of 1 - F,

so that an interval far out in a tail keeps its digits. Of counts by adding up their probabilities, those of the interval; above
a count without an upper end 1 - F, and where F is nearly one the probabilities that follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.distribution import Distribution
from lmmformula.families.records import Array, Aux, Maybe
from lmmformula.families.tails import LOG_HALF, log1mexp
from lmmformula.families.taylor import Series
from lmmformula.typing import Namespace, Numbers

__all__ = ["log_between", "rows_of"]

NEARLY_ONE = 1e-6
"""Below this 1 - F is added up from what is left."""

AHEAD, FARTHEST = 256, 65536
"""Counts that are looked at above a bound, and how many at most."""

LEAST = -745.0
"""Logarithm of the smallest number: what has less probability is compared by its distance no more."""

CELLS = 200_000
"""Probabilities that are held at a time."""


def log_between(
    base: Distribution, lo: Array, hi: Array, c: tuple[Numbers, ...], aux: Aux, w: Maybe, xp: Namespace
) -> Numbers:
    """``log P(lo < Y <= hi)`` of each row; all rows have both ends, or one and the same of them (the other is infinite).

    Parameters
    ----------
    lo, hi : (m,) arrays
    c, aux, w
        Of these rows, see :meth:`Distribution.log_density`.
    """
    if base.discrete:
        return _counted(base, lo, hi, c, aux, xp)
    if not np.isfinite(lo[0]):
        return base.tails(hi, c, aux, w, xp)[0]
    if not np.isfinite(hi[0]):
        return base.tails(lo, c, aux, w, xp)[1]
    below, above = base.tails(lo, c, aux, w, xp)
    below_hi, above_hi = base.tails(hi, c, aux, w, xp)
    right = below > LOG_HALF
    large, small = xp.where(right, above, below_hi), xp.where(right, above_hi, below)
    return large + log1mexp(small - large, xp)


# --- counts ----------------------------------------------------------------------------------------------------------


def _counted(
    base: Distribution, lo: Array, hi: Array, c: tuple[Numbers, ...], aux: Aux, xp: Namespace
) -> Numbers:
    least = 1.0 if base.support == "positive counts" else 0.0
    first = np.maximum(np.where(np.isfinite(lo), np.floor(lo) + 1.0, least), least)
    if np.isfinite(hi[0]):
        return _summed(base, first, np.floor(hi), c, aux, xp)
    below = _summed(base, np.full(len(lo), least), first - 1.0, c, aux, xp)
    if isinstance(below, Series) or xp is np:
        return _above(base, first, below, c, aux, xp)
    ahead = _summed(base, first, first + AHEAD, c, aux, xp)
    beyond = below > np.log1p(-NEARLY_ONE)
    return xp.where(beyond, ahead, log1mexp(xp.where(beyond, -1.0, below), xp))


def _above(
    base: Distribution, first: Array, below: Numbers, c: tuple[Numbers, ...], aux: Aux, xp: Namespace
) -> Numbers:
    """``log P(Y >= first)`` in NumPy, where as many probabilities are added up as it takes."""
    values = below.value if isinstance(below, Series) else below
    beyond = np.flatnonzero(values > np.log1p(-NEARLY_ONE))
    plain = log1mexp(xp.where(values > np.log1p(-NEARLY_ONE), -1.0, below), xp)
    if not len(beyond):
        return plain
    c, aux = tuple(rows_of(x, beyond) for x in c), tuple(rows_of(a, beyond) for a in aux)
    width = AHEAD
    while True:
        found = _summed(base, first[beyond], first[beyond] + width, c, aux, xp)
        last = _summed(base, first[beyond] + width, first[beyond] + width, c, aux, xp)
        total = found.value if isinstance(found, Series) else found
        if (_value(last) < total - 30.0).all() or width >= FARTHEST:
            return _put(plain, beyond, found)
        width *= 4


def _value(x: Numbers) -> Array:
    return x.value if isinstance(x, Series) else x


def _put(whole: Numbers, rows: NDArray[np.integer], part: Numbers) -> Numbers:
    """`whole` with other values in some rows."""
    if not isinstance(whole, Series):
        out = np.array(whole)
        out[rows] = part
        return out

    def each(f: Maybe | None, g: Maybe | None) -> Maybe | None:
        if f is None and g is None:
            return None
        out = np.array(np.broadcast_to(0.0 if f is None else f, whole.value.shape))
        out[rows] = 0.0 if g is None else g
        return out

    own = tuple(map(each, whole.own, part.own))
    return Series(own, tuple(tuple(map(each, a, b)) for a, b in zip(whole.by, part.by, strict=True)))


def _summed(
    base: Distribution, first: Array, last: Array, c: tuple[Numbers, ...], aux: Aux, xp: Namespace
) -> Numbers:
    """``log P(first <= Y <= last)``, -inf where there is no count between."""
    width = int(np.max(last - first, initial=-1.0)) + 1
    if width <= 0:
        return _nothing(c[0], len(first), xp)
    at_once = max(1, CELLS // width)
    if len(first) <= at_once or not (isinstance(c[0], Series) or xp is np):
        return _block(base, first, last, c, aux, xp, width)
    cuts = np.array_split(np.arange(len(first)), -(-len(first) // at_once))
    parts = []
    for rows in cuts:
        some = (tuple(rows_of(x, rows) for x in c), tuple(rows_of(a, rows) for a in aux))
        own = int(np.max(last[rows] - first[rows])) + 1
        parts.append(_block(base, first[rows], last[rows], *some, xp, max(own, 1)))
    return _joined(parts)


def _block(
    base: Distribution,
    first: Array,
    last: Array,
    c: tuple[Numbers, ...],
    aux: Aux,
    xp: Namespace,
    width: int,
) -> Numbers:
    k = first[:, None] + np.arange(float(width))
    inside = k <= last[:, None]
    k = np.where(inside, k, first[:, None])
    loglik = base.log_density(k, tuple(map(_column, c)), tuple(map(_column, aux)), 1.0, xp)
    loglik = loglik + base.constant(k, 1.0)
    values = _value(loglik)
    top = np.max(values, axis=1) if isinstance(loglik, Series) or xp is np else xp.max(values, axis=1)
    top = xp.where(top > LEAST * 1e6, top, 0.0)
    share = xp.where(inside, xp.exp(loglik - top[:, None]), 0.0)
    return xp.log(_added(share, xp)) + top


def _nothing(like: Numbers, m: int, xp: Namespace) -> Numbers:
    none = np.full(m, -np.inf)
    if not isinstance(like, Series):
        return none if xp is np else xp.asarray(none)
    own = (none, *(None for _ in like.own[1:]))
    return Series(own, tuple((None,) * len(b) for b in like.by))


def _column(x: Numbers) -> Numbers:
    """One number a row as a column, to go along the counts."""
    if isinstance(x, Series):
        own = tuple(None if f is None else _column(f) for f in x.own)
        return Series(own, tuple(tuple(None if f is None else _column(f) for f in b) for b in x.by))
    return x[:, None] if getattr(x, "ndim", 0) == 1 else x


def _added(x: Numbers, xp: Namespace) -> Numbers:
    """Sums along the counts."""
    if not isinstance(x, Series):
        return x.sum(axis=1)
    shape = x.value.shape

    def each(f: Maybe | None) -> Maybe | None:
        return None if f is None else np.broadcast_to(f, shape).sum(axis=1)

    return Series(tuple(map(each, x.own)), tuple(tuple(map(each, b)) for b in x.by))


def _joined(parts: list[Numbers]) -> Numbers:
    if not isinstance(parts[0], Series):
        return np.concatenate(parts)
    sizes = [len(p.value) for p in parts]

    def each(*found: Maybe | None) -> Maybe | None:
        if all(f is None for f in found):
            return None
        return np.concatenate(
            [np.broadcast_to(0.0 if f is None else f, (m,)) for f, m in zip(found, sizes, strict=True)]
        )

    own = tuple(map(each, *(p.own for p in parts)))
    count = len(parts[0].by)
    return Series(own, tuple(tuple(map(each, *(p.by[j] for p in parts))) for j in range(count)))


def rows_of(x: Numbers, rows: NDArray[np.integer]) -> Numbers:
    """Some rows of a number a row, or of a series; one number stays one."""
    if isinstance(x, Series):
        own = tuple(None if f is None else rows_of(f, rows) for f in x.own)
        return Series(own, tuple(tuple(None if f is None else rows_of(f, rows) for f in b) for b in x.by))
    return x[..., rows] if getattr(x, "ndim", 0) else x
