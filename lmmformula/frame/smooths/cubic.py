r"""Cubic regression splines by their values at knots, natural and cyclic (Wood 2017, Generalized Additive Models, sec.
5.3.1-2).

Between neighbouring knots, h apart, a cubic spline with values beta and second derivatives delta at the knots is

    f(x) = (x_+ - x)/h beta_- + (x - x_-)/h beta_+ + ((x_+ - x)^3/h - h(x_+ - x))/6 delta_- + ((x - x_-)^3/h - h(x - x_-))/6
    delta_+

and continuity of f' says ``B delta = D beta`` (his table 5.1): B tridiagonal with (h_- + h_+)/3 and h/6, D with 1/h and
-(1/h_- + 1/h_+). Natural: delta is zero at both ends. Cyclic: the first knot is the last one too, and B, D are circulant
bands. Then ``integral f''^2 = beta' D' B^-1 D beta``, which is S. Knots stand at quantiles of the distinct values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.smooths.base import BasisRecord, register_basis
from lmmformula.typing import Array

__all__ = ["CubicSpline", "CyclicSpline", "cubic", "cyclic"]

_DEFAULT = 10


@dataclass(frozen=True)
class CubicSpline:
    """A natural cubic spline: K values at K knots, straight beyond them.

    Attributes
    ----------
    knots : (K,) array
    bends : (K, K) array
        Second derivatives at the knots of each function.
    penalty : (K, K) array
    """

    knots: Array
    bends: Array
    penalty: Array
    null_dim: int = 2

    def design(self, x: Array) -> Array:
        z, knots = x[:, 0], self.knots
        out = _pieces(np.clip(z, knots[0], knots[-1]), knots, np.eye(len(knots)), self.bends)
        for beyond, own, other in ((z < knots[0], 0, 1), (z > knots[-1], -1, -2)):
            if beyond.any():
                h = knots[own] - knots[other]
                slope = h * self.bends[other] / 6.0
                slope[own] += 1.0 / h
                slope[other] -= 1.0 / h
                out[beyond] += (z[beyond] - knots[own])[:, None] * slope
        return out


@dataclass(frozen=True)
class CyclicSpline:
    """A cyclic cubic spline: K - 1 values at K knots, the last of which is the first again."""

    knots: Array
    bends: Array
    penalty: Array
    null_dim: int = 1

    def design(self, x: Array) -> Array:
        first, last = self.knots[0], self.knots[-1]
        z = x[:, 0]
        z = np.where((z < first) | (z > last), first + np.mod(z - first, last - first), z)
        around = np.append(np.arange(len(self.knots) - 1), 0)
        return _pieces(z, self.knots, np.eye(len(self.knots) - 1)[around], self.bends[around])


def _pieces(z: Array, knots: Array, values: Array, bends: Array) -> Array:
    """The head's f(x) of each function, (n, K)."""
    j = np.clip(np.searchsorted(knots, z, side="right") - 1, 0, len(knots) - 2)
    h = (knots[j + 1] - knots[j])[:, None]
    right, left = knots[j + 1][:, None] - z[:, None], z[:, None] - knots[j][:, None]
    out = right / h * values[j] + left / h * values[j + 1]
    out += (right**3 / h - h * right) / 6.0 * bends[j]
    out += (left**3 / h - h * left) / 6.0 * bends[j + 1]
    return out


def _quantile_knots(x: Array, k: int, name: str) -> Array:
    distinct = np.unique(x)
    if len(distinct) < k:
        raise DataError(
            f'a smooth with bs = "{name}" and k = {k} needs at least {k} distinct values; there are {len(distinct):,}: lower k'
        )
    return np.quantile(distinct, np.linspace(0.0, 1.0, k))


def cubic(x: Array, k: int | None = None, m: tuple[int, ...] = ()) -> CubicSpline:
    """The natural basis for points (n, 1)."""
    size = max(3, _DEFAULT if k is None else k)
    knots = _quantile_knots(x, size, "cr")
    h = np.diff(knots)
    b, d = np.zeros((size - 2, size - 2)), np.zeros((size - 2, size))
    i = np.arange(size - 2)
    b[i, i] = (h[:-1] + h[1:]) / 3.0
    b[i[:-1], i[1:]] = b[i[1:], i[:-1]] = h[1:-1] / 6.0
    d[i, i], d[i, i + 1], d[i, i + 2] = 1.0 / h[:-1], -(1.0 / h[:-1] + 1.0 / h[1:]), 1.0 / h[1:]
    inner = np.linalg.solve(b, d)
    bends = np.zeros((size, size))
    bends[1:-1] = inner
    return CubicSpline(knots, bends, _symmetric(d.T @ inner))


def cyclic(x: Array, k: int | None = None, m: tuple[int, ...] = ()) -> CyclicSpline:
    """The cyclic basis for points (n, 1)."""
    size = max(4, _DEFAULT if k is None else k)
    knots = _quantile_knots(x, size, "cc")
    after = np.diff(knots)
    before, own = np.roll(after, 1), np.arange(size - 1)
    following, preceding = np.roll(own, -1), np.roll(own, 1)
    b, d = np.zeros((size - 1, size - 1)), np.zeros((size - 1, size - 1))
    for places, spans in ((following, after), (preceding, before)):
        np.add.at(b, (own, places), spans / 6.0)
        np.add.at(b, (own, own), spans / 3.0)
        np.add.at(d, (own, places), 1.0 / spans)
        np.add.at(d, (own, own), -1.0 / spans)
    bends = np.linalg.solve(b, d)
    return CyclicSpline(knots, bends, _symmetric(d.T @ bends))


def _symmetric(a: Array) -> Array:
    return 0.5 * (a + a.T)


register_basis(BasisRecord("cr", "natural cubic regression spline", cubic))
register_basis(BasisRecord("cc", "cyclic cubic regression spline", cyclic, periodic=True))
