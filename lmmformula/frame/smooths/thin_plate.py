r"""Thin plate regression splines (Wood 2003, J. R. Statist. Soc. B 65).

The function that minimises ``|y - f|^2 + lambda J_m(f)``, J_m the integral of squared m-th derivatives in d dimensions, is

    f(x) = sum_i delta_i eta(|x - x_i|) + sum_j alpha_j phi_j(x),      T'delta = 0,   T_ij = phi_j(x_i)           (1)

with phi the polynomials of degree below m, M of them, and (Wood 2003, eq. 3)

    eta(r) = c r^(2m - d) log r,  c = (-1)^(m+1+d/2) / (2^(2m-1) pi^(d/2) (m-1)! (m-d/2)!)       d even
    eta(r) = c r^(2m - d),        c = Gamma(d/2 - m) / (2^(2m) pi^(d/2) (m-1)!)                  d odd.

With ``E_ij = eta(|x_i - x_j|) = U D U'`` the best basis of rank k keeps the k eigenvalues of greatest magnitude (his section
3.1): ``delta = U_k Z a``, Z an orthonormal basis of the null space of ``T'U_k``. So the columns are ``[E U_k Z, T]``, the
penalty ``Z'D_k Z`` on the first of them. Each column is divided by its root mean square over the rows of the fit.

Points are centred and divided by the largest range among the variables before anything else. In odd dimensions that changes no
fitted value; in even dimensions eta has a logarithm, and without it the truncation, and with it the fit, would depend on the
units of x. Up to 2,000 distinct points are all knots; of more the knots are 2,000 of them, evenly spaced in their order for
one variable and a sample by a fixed seed for several. Cost: O(knots^2 k) once, O(n knots k) per design, O(n k) for one
variable with m = 2, where (1) is the natural cubic spline through its own values at the knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import comb, factorial, gamma, pi
from typing import ClassVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.smooths.base import BasisRecord, register_basis
from lmmformula.typing import Array

__all__ = ["MOST_KNOTS", "ThinPlate", "thin_plate"]

MOST_KNOTS = 2_000
_MORE_THAN_NULL = (8, 27, 100)
"""Default number of functions beside the polynomials, for one, two, and more variables (mgcv's)."""
_DENSE = 400
"""Knots up to which all eigenvectors are computed."""
_CELLS = 4_000_000
"""Distances that are held at a time."""
_NEAR = 1e-6
"""Part of the range below which neighbouring knots are too close to divide by."""


@dataclass(frozen=True)
class ThinPlate:
    """Columns ``[E weights, polynomials / scale]``.

    Attributes
    ----------
    m : int
        Order of the derivatives in the penalty.
    center : (d,) array
    unit : float
        What centred points are divided by.
    knots : (N, d) array
        In these units.
    weights : (N, k - M) array
    values : (N, k - M) array
        The first columns at the knots.
    scale : (M,) array
    own : (k - M, k - M) array
        The penalty of the first columns.
    """

    m: int
    center: Array
    unit: float
    knots: Array
    weights: Array
    values: Array
    scale: Array
    own: Array

    @property
    def null_dim(self) -> int:
        return len(self.scale)

    @property
    def penalty(self) -> Array:
        k = len(self.own)
        out = np.zeros((k + self.null_dim,) * 2)
        out[:k, :k] = self.own
        return out

    def design(self, x: Array) -> Array:
        z = (x - self.center) / self.unit
        out = np.empty((len(z), len(self.own) + self.null_dim))
        out[:, len(self.own) :] = polynomials(z, self.m) / self.scale
        if self._curve is not None:
            out[:, : len(self.own)] = self._curve(z[:, 0])
            return out
        step = max(1, _CELLS // len(self.knots))
        for first in range(0, len(z), step):
            rows = slice(first, first + step)
            out[rows, : len(self.own)] = radial(z[rows], self.knots, self.m) @ self.weights
        return out

    @cached_property
    def _curve(self) -> _Natural | None:
        """The natural cubic spline that (1) is, for one variable with m = 2 and knots that are apart."""
        x = self.knots[:, 0]
        if self.m != 2 or self.knots.shape[1] > 1 or len(x) < 4 or np.diff(x).min() < _NEAR * np.ptp(x):
            return None
        return _Natural.through(x, self.values)


@dataclass(frozen=True)
class _Natural:
    """A natural cubic spline by its values and second derivatives at knots; straight lines beyond them."""

    x: Array
    values: Array
    bends: Array

    @classmethod
    def through(cls, x: Array, values: Array) -> _Natural:
        from scipy.linalg import solveh_banded

        h = np.diff(x)
        slopes = np.diff(values, axis=0) / h[:, None]
        banded = np.zeros((2, len(x) - 2))
        banded[0, 1:] = h[1:-1] / 6.0
        banded[1] = (h[:-1] + h[1:]) / 3.0
        bends = np.zeros_like(values)
        bends[1:-1] = solveh_banded(banded, np.diff(slopes, axis=0))
        return cls(x, values, bends)

    def __call__(self, z: Array) -> Array:
        inside = np.clip(z, self.x[0], self.x[-1])
        j = np.clip(np.searchsorted(self.x, inside, side="right") - 1, 0, len(self.x) - 2)
        h = self.x[j + 1] - self.x[j]
        a, b = (self.x[j + 1] - inside) / h, (inside - self.x[j]) / h
        c, d = (a**3 - a) * h**2 / 6.0, (b**3 - b) * h**2 / 6.0
        out = a[:, None] * self.values[j] + b[:, None] * self.values[j + 1]
        out += c[:, None] * self.bends[j] + d[:, None] * self.bends[j + 1]
        for beyond, end, sign in ((z < self.x[0], 0, -1.0), (z > self.x[-1], -1, 1.0)):
            if beyond.any():
                out[beyond] += (z[beyond] - self.x[end])[:, None] * self._slope(end, sign)
        return out

    def _slope(self, end: int, sign: float) -> Array:
        """First derivative at an end, where the second is zero."""
        own, other = (0, 1) if end == 0 else (-1, -2)
        h = abs(self.x[other] - self.x[own])
        return sign * ((self.values[own] - self.values[other]) / h + h * self.bends[other] / 6.0)


def radial(x: Array, knots: Array, m: int) -> Array:
    """eta of the distances of points and knots, (n, N)."""
    d = x.shape[1]
    if d == 1:
        r = np.abs(x - knots.T)
    else:
        squares = (x**2).sum(axis=1)[:, None] + (knots**2).sum(axis=1) - 2.0 * (x @ knots.T)
        r = np.sqrt(np.maximum(squares, 0.0))
    power = 2 * m - d
    if d % 2 == 0:
        sign = -1.0 if (m + 1 + d // 2) % 2 else 1.0
        c = sign / (2.0 ** (2 * m - 1) * pi ** (d / 2) * factorial(m - 1) * factorial(m - d // 2))
        return c * r**power * np.log(np.where(r > 0.0, r, 1.0))
    return gamma(d / 2 - m) / (2.0 ** (2 * m) * pi ** (d / 2) * factorial(m - 1)) * r**power


def polynomials(x: Array, m: int) -> Array:
    """The polynomials of degree below m at points (n, d), the first variable's powers fastest."""
    powers = [p[::-1] for p in product(range(m), repeat=x.shape[1]) if sum(p) < m]
    return np.stack([np.prod(x ** np.array(p), axis=1) for p in powers], axis=1)


def smallest_order(d: int) -> int:
    """The least m with 2m > d + 1, for which f is smooth to the eye."""
    return (d + 1) // 2 + 1


def thin_plate(x: Array, k: int | None = None, m: tuple[int, ...] = ()) -> ThinPlate:
    """The basis for points (n, d)."""
    d = x.shape[1]
    order = m[0] if m and 2 * m[0] > d else smallest_order(d)
    null = comb(d + order - 1, d)
    size = max(null + 1, null + _MORE_THAN_NULL[min(d, 3) - 1] if k is None else k)
    center = x.mean(axis=0)
    unit = float(np.ptp(x, axis=0).max()) or 1.0
    z = (x - center) / unit
    knots = _knots(z)
    if len(knots) < size:
        raise DataError(
            f"a thin plate smooth with k = {size} needs at least {size} distinct values; there are {len(knots):,}: "
            f"lower k, as in s(x, k = {max(null + 1, len(knots) // 2)})"
        )
    weights, values, own = _truncated(knots, order, size)
    first = ThinPlate(order, center, unit, knots, weights, values, np.ones(null), own)
    spread = np.sqrt((first.design(x) ** 2).mean(axis=0))
    wide, tall = spread[: size - null], spread[size - null :]
    return ThinPlate(
        order, center, unit, knots, weights / wide, first.values / wide, tall, own / np.outer(wide, wide)
    )


def _knots(z: Array) -> Array:
    distinct = np.unique(z, axis=0)
    count = len(distinct)
    if count <= MOST_KNOTS:
        return distinct
    if z.shape[1] == 1:
        return distinct[np.round(np.linspace(0, count - 1, MOST_KNOTS)).astype(int)]
    chosen = np.random.default_rng(1).choice(count, MOST_KNOTS, replace=False)
    return distinct[np.sort(chosen)]


def _truncated(knots: Array, m: int, size: int) -> tuple[Array, Array, Array]:
    """U_k Z, E U_k Z and Z'D_k Z."""
    t = polynomials(knots, m)
    if size == len(knots):
        z, e = _null(t.T), radial(knots, knots, m)
        return z, e @ z, z.T @ e @ z
    u, values = _leading(knots, m, size)
    z = _null(t.T @ u)
    return u @ z, u @ (values[:, None] * z), z.T @ (values[:, None] * z)


def _leading(knots: Array, m: int, size: int) -> tuple[Array, Array]:
    """Eigenvectors of the `size` eigenvalues of E of greatest magnitude, and these, positive before negative."""
    if len(knots) <= max(_DENSE, 3 * size):
        values, vectors = np.linalg.eigh(radial(knots, knots, m))
    else:
        from scipy.sparse.linalg import aslinearoperator, eigsh

        is_curve = knots.shape[1] == 1 and m == 2
        e = aslinearoperator(_CubicKernel.of(knots[:, 0]) if is_curve else radial(knots, knots, m))
        start = np.random.default_rng(1).standard_normal(len(knots))
        values, vectors = eigsh(e, size, which="LM", v0=start, ncv=min(len(knots), 3 * size + 20))
    order = np.argsort(-np.abs(values), kind="stable")[:size]
    order = order[np.argsort(-values[order], kind="stable")]
    return vectors[:, order], values[order]


@dataclass(frozen=True)
class _CubicKernel:
    """Products with E for one variable and m = 2 in O(N), from sums of ``x^p v`` over the knots below each one.

    ``sum_j |x_i - x_j|^3 v_j = 2 B_i(v) - A_i(v)``, B_i the part of the knots below x_i and A_i = sum_j (x_i - x_j)^3 v_j.
    """

    powers: Array
    binomials: Array
    dtype: ClassVar[np.dtype[np.float64]] = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.powers), len(self.powers)

    @classmethod
    def of(cls, x: Array) -> _CubicKernel:
        """For sorted knots."""
        powers = x[:, None] ** np.arange(4)
        return cls(powers, powers[:, ::-1] * np.array([1.0, -3.0, 3.0, -1.0]))

    def matvec(self, v: Array) -> Array:
        """E v."""
        below = np.cumsum(self.powers * v.reshape(-1, 1), axis=0)
        return _CUBIC * np.einsum("ip,ip->i", self.binomials, 2.0 * below - below[-1])


_CUBIC = gamma(-1.5) / (16.0 * np.sqrt(pi))
"""c of one variable and m = 2."""


def _null(a: Array) -> Array:
    """Orthonormal basis of the null space of a (M, k): the first columns of Q, ``a Q = [0, B]``, by reflections."""
    q = np.linalg.qr(a[:, ::-1].T, mode="complete")[0]
    return q[::-1, ::-1][:, : a.shape[1] - len(a)]


register_basis(BasisRecord("tp", "thin plate regression spline", thin_plate, most_variables=6))
