"""The cumulative model of ordered categories: ``P(y <= k) = F(tau_k - eta)``, see :mod:`lmmformula.families.ordinal`.

A row of category k has the log density ``log(F(x_k) - F(x_(k-1)))``, which moves with its two thresholds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.latent import Pull, between, inside, one_side, sides, sides_at
from lmmformula.families.ordinal import Ordinal
from lmmformula.families.records import Array
from lmmformula.typing import Namespace, Numbers

__all__ = ["Cumulative"]


@dataclass(frozen=True, slots=True)
class Cumulative(Ordinal):
    """Cumulative probabilities by one latent variable (McCullagh 1980): proportional odds with the logit link."""

    name: ClassVar[str] = "cumulative"

    def of_cuts(self, y: Array, x: Sequence[Numbers], xp: Namespace) -> Numbers:
        upper, lower = _ends(y, x, xp)
        of_first, _ = sides_at(self.latent, upper, xp)
        _, of_last = sides_at(self.latent, lower, xp)
        middle = inside(self.latent, upper, lower, xp) if len(x) > 1 else of_first
        return xp.where(y <= 1.0, of_first, xp.where(y > len(x), of_last, middle))

    def pulls(self, y: Array, x: Sequence[Array], *, third: bool) -> tuple[Array, Sequence[Pull]]:
        upper, lower = _ends(y, x, np)
        first, last = y <= 1.0, y > len(x)
        at_end = np.where(first, upper, lower)
        f, g = sides(self.latent, at_end)
        value = np.where(first, f.value, g.value)
        of_first, of_last = one_side(f).within(first), one_side(g).within(last)
        if len(x) == 1:
            return value, (of_first.plus(of_last),)
        inner = ~(first | last)
        own, up, low = between(self.latent, upper[inner], lower[inner], third=third)
        value[inner] = own
        up, low = of_first.plus(_spread(up, inner)), of_last.plus(_spread(low, inner))
        each = [up.within(y == j + 1.0).plus(low.within(y == j + 2.0)) for j in range(len(x))]
        return value, each

    def ordered(self) -> slice:
        return slice(int(self.scaled), None) if self.threshold == "flexible" else slice(0, 0)

    def start_cuts(self, y: Array, eta: Array, w: Array) -> Array:
        below = np.cumsum(self.events(y, w))[:-1]
        out = np.array([self._start_of(n, eta, w) for n in below.tolist()])
        for j in range(1, len(out)):  # chunks of the rows may lack a category
            out[j] = max(out[j], out[j - 1] + _APART)
        return out


_APART = 1e-2
"""Least distance of starting thresholds, in units of the latent variable, whose scale is fixed."""


def _ends(y: Array, x: Sequence[Numbers], xp: Namespace) -> tuple[Numbers, Numbers]:
    """x_k and x_(k-1) of each row, of the first and the last category the next ones that there are; x_2 > x_1 for these."""
    upper = lower = x[0]
    for j in range(1, len(x)):
        upper = xp.where(y > j, x[j], upper)
        lower = xp.where(y > j + 1.0, x[j], lower)
    return upper, lower


def _spread(pull: Pull, rows: NDArray[np.bool_]) -> Pull:
    """Values of some rows among zeros of the others."""
    out = []
    for part in (pull.first, pull.second, pull.third):
        full = np.zeros(rows.shape)
        full[rows] = part
        out.append(full)
    return Pull(*out)
