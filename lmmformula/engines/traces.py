r"""Traces of M^-1 from few solutions, for searches by factorisations whose inverse would cost more than all else.

With the chain of nested groups A eliminated and ``S = R'R`` of the dense part D (:mod:`lmmformula.engines.blocked`)::

    M^-1 = [ M_AA^-1  0 ] + G S^-1 G',        G = [ -M_AA^-1 M_AD ; I ]                                              (1)
           [ 0        0 ]

The first part has exact blocks; sums of those of the second over the levels j of a group are estimated without bias by sums of
``(G S^-1 z)_j (G z)_j'``, symmetrised, for signs z (Hutchinson 1990), which costs a solution for each z. Elements of S^-1 off
its diagonal, small beside those on it, are all that it errs by.

Near a theta_0 where the sums were known the same signs err by nearly the same, so that with t(theta) for the estimate::

    T(theta) ~ T(theta_0) + t(theta) - t(theta_0)                                                                    (2)

is exact up to the error of t times the relative change of S, which the spread of the differences over the signs measures:
(2) is a control variate (Owen 2013, sec. 8.9). What rounding of single precision leaves in T(theta_0) is in t(theta_0), by
solutions with the same factor, as well, and so in the spread.

References
----------
Hutchinson (1990), A stochastic estimator of the trace of the influence matrix, Commun. Stat. Simul. 19.
Owen (2013), Monte Carlo theory, methods and examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import transpose
from lmmformula.typing import Array

__all__ = ["Anchored", "Sampled", "Solving"]

PROBES = 32
"""Signs of each effect of the dense part."""
ERROR = 3e-5
"""Standard error of a trace, in units of sqrt(m), up to which (2) takes the place of the inverse.

The information on the logarithm of a standard deviation of m levels is up to 2 m, so that an estimate is off by less than so
many of its standard errors, and a deviance by less than the square of that.
"""


class Solving(Protocol):
    """A factor with its probes."""

    @property
    def sampled(self) -> list[Array]:
        """What the engine's :class:`Sampled` finds by each of its signs; computed once."""
        ...

    def spread_of(self, z: Array) -> tuple[Sequence[Array], Stacked, Stacked]:
        """For z (q_D, c): sums of the first part of (1), (k, k) for each group; G S^-1 z and G z, per group (m, k, c)."""
        ...

    def inverse_traces(self) -> tuple[Array, ...]:
        """The sums by the inverse."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Traces by (1).

    Attributes
    ----------
    z : (q_D, c) array
    levels : tuple of int
        m of each group.
    """

    z: Array
    levels: tuple[int, ...]

    @classmethod
    def of_levels(cls, blocks: Levels, side: int) -> Sampled:
        """With the same signs for every factor whose dense part has `side` columns."""
        z = np.random.default_rng(0).integers(0, 2, (side, PROBES)) * 2.0 - 1.0
        return cls(z, tuple(group.m for group in blocks.groups))

    @property
    def signs(self) -> Sampled:
        """Itself."""
        return self

    def each(self, factor: Solving) -> list[Array]:
        """By each column of z, (c, k, k) for each group."""
        known, solved, plain = factor.spread_of(self.z)
        out = []
        for own, x, g in zip(known, solved, plain, strict=True):
            half = np.einsum("mic,mjc->cij", x, g, optimize=True)
            out.append(own + 0.5 * (half + transpose(half)))
        return out

    def of(self, factor: Solving) -> tuple[Array, ...]:
        """Their means."""
        return tuple(each.mean(axis=0) for each in factor.sampled)

    def anchored(self, factor: Solving) -> Anchored:
        """Traces near those of a factor."""
        return Anchored(self, factor.inverse_traces(), factor.sampled)


@dataclass(frozen=True, slots=True, eq=False)
class Anchored:
    """Traces by (2), or by the inverse where its error is too large.

    Attributes
    ----------
    signs : Sampled
    known : tuple of (k, k) arrays
        T(theta_0).
    each : list of (c, k, k) arrays
        t(theta_0) by each of the signs.
    """

    signs: Sampled
    known: tuple[Array, ...]
    each: list[Array]

    def of(self, factor: Solving) -> tuple[Array, ...]:
        """(2)."""
        out = []
        parts = zip(self.signs.levels, self.known, factor.sampled, self.each, strict=True)
        for m, known, here, there in parts:
            moved = here - there
            error = moved.std(axis=0, ddof=1).max() / np.sqrt(len(moved))
            if error > ERROR * np.sqrt(m):
                return factor.inverse_traces()
            out.append(known + moved.mean(axis=0))
        return tuple(out)
