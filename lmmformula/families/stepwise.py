"""Ordered categories reached one after the other, and by comparison of neighbours; see :mod:`lmmformula.families.ordinal`.

Sequential models: a row goes up from category to category until it stops, each step a binary response of its own,

    sratio   l = sum_(j<k) log(1 - F(x_j)) + [k < K] log F(x_k),
    cratio   l = sum_(j<k) log F(-x_j)     + [k < K] log(1 - F(-x_k)),

so that every threshold has its own part of the likelihood, and none has to lie above another (Tutz 1991).

Adjacent categories: s_k = sum_(j<k) log F(-x_j) + sum_(j>=k) log(1 - F(-x_j)) is the score of category k, and P(y = k) its
softmax; with the logit link ``log P(y = k+1) / P(y = k) = eta - tau_k``. Scores less the first are sums of steps h(x_j) =
log F(-x_j) - log(1 - F(-x_j)) below k, so that with P_j = P(y > j), its derivatives Q_j and R_j in t, and z = [y > j] - P_j

    dl/dx_j = h1 z,     d2l/(dx_j dt) = h2 z - h1 Q_j,     d3l/(dx_j dt2) = h3 z - 2 h2 Q_j - h1 R_j

for the derivatives h1, h2, h3 of h at x_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.latent import Pull, one_side, sides, sides_at
from lmmformula.families.ordinal import Ordinal
from lmmformula.families.records import Array, Jet
from lmmformula.typing import Namespace, Numbers

__all__ = ["AdjacentCategory", "ContinuationRatio", "StoppingRatio"]


@dataclass(frozen=True, slots=True)
class _Sequential(Ordinal):
    """What the sequential models share: a step up or a stop at each category."""

    goes_up: ClassVar[bool]

    def _both(self, x: Numbers, xp: Namespace) -> tuple[Numbers, Numbers]:
        """Log probabilities of stopping and of going on."""
        if not self.goes_up:
            return sides_at(self.latent, x, xp)
        up, stop = sides_at(self.latent, -x, xp)
        return stop, up

    def _jets(self, x: Array) -> tuple[Jet, Jet]:
        if not self.goes_up:
            return sides(self.latent, x)
        up, stop = sides(self.latent, -x)
        return _mirrored(stop), _mirrored(up)

    def of_cuts(self, y: Array, x: Sequence[Numbers], xp: Namespace) -> Numbers:
        total = 0.0
        for j, own in enumerate(x, 1):
            stop, up = self._both(own, xp)
            total = total + xp.where(y > j, up, xp.where(y == j, stop, 0.0))
        return total

    def pulls(self, y: Array, x: Sequence[Array], *, third: bool) -> tuple[Array, Sequence[Pull]]:
        shape = np.broadcast_shapes(np.shape(y), *map(np.shape, x))
        value, each = np.zeros(shape), []
        for j, own in enumerate(x, 1):
            stop, up = self._jets(np.broadcast_to(own, shape))
            beyond, here = y > j, y == j
            value += np.where(beyond, up.value, np.where(here, stop.value, 0.0))
            each.append(one_side(up).within(beyond).plus(one_side(stop).within(here)))
        return value, each

    def start_cuts(self, y: Array, eta: Array, w: Array) -> Array:
        out = []
        for j in range(1, len(self.categories)):
            reached = y >= j
            own_w, own_eta, stopped = w[reached], eta[reached], y[reached] == j
            if self.goes_up:
                out.append(-self._start_of(float(own_w @ ~stopped), -own_eta, own_w))
            else:
                out.append(self._start_of(float(own_w @ stopped), own_eta, own_w))
        return np.array(out)


@dataclass(frozen=True, slots=True)
class StoppingRatio(_Sequential):
    """P(y = k | y >= k) = F(tau_k - eta)."""

    name: ClassVar[str] = "sratio"
    goes_up: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ContinuationRatio(_Sequential):
    """P(y > k | y >= k) = F(eta - tau_k)."""

    name: ClassVar[str] = "cratio"
    goes_up: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AdjacentCategory(Ordinal):
    """Neighbouring categories compared: with the logit link log P(y = k+1) / P(y = k) = eta - tau_k."""

    name: ClassVar[str] = "acat"

    def of_cuts(self, y: Array, x: Sequence[Numbers], xp: Namespace) -> Numbers:
        scores = self._scores_at(x, xp)
        chosen, total = scores[0], scores[0]
        for k, own in enumerate(scores[1:], 2):
            chosen = xp.where(y == k, own, chosen)
            total = xp.logaddexp(total, own)
        return chosen - total

    def _scores_at(self, x: Sequence[Numbers], xp: Namespace) -> list[Numbers]:
        """s_k less what all have in common, sum_j log(1 - F(-x_j))."""
        steps = []
        for own in x:
            up, down = sides_at(self.latent, -own, xp)
            steps.append(-own if self.latent == "logit" else up - down)
        out = [0.0 * x[0]]
        for step in steps:
            out.append(out[-1] + step)
        return out

    def pulls(self, y: Array, x: Sequence[Array], *, third: bool) -> tuple[Array, Sequence[Pull]]:
        shape = np.broadcast_shapes(np.shape(y), *map(np.shape, x))
        steps = [self._step(np.broadcast_to(own, shape)) for own in x]
        # s_k - s_1 of each category and its derivatives in t, (K, n)
        s, s1, s2 = (
            np.vstack([np.zeros((1, *shape)), np.cumsum([getattr(step, part) for step in steps], axis=0)])
            for part in ("value", "d1", "d2")
        )
        top = s.max(axis=0)
        raw = np.exp(s - top)
        p = raw / raw.sum(axis=0)
        at = np.asarray(y, int) - 1
        value = np.take_along_axis(s, at[None], axis=0)[0] - top - np.log(raw.sum(axis=0))
        # derivatives of log P of each category in t: a = s1 - mean s1, and of that
        mean = np.sum(p * s1, axis=0)
        a = s1 - mean
        b = s2 - np.sum(p * (s2 + a * s1), axis=0)
        beyond = np.cumsum(p[::-1], axis=0)[::-1]  # P(y >= k)
        # P(y > j) and its derivatives in t
        d_beyond = np.cumsum((p * a)[::-1], axis=0)[::-1]
        dd_beyond = np.cumsum((p * (a * a + b))[::-1], axis=0)[::-1]
        each = []
        for j, step in enumerate(steps, 1):
            z = (y > j) - beyond[j]
            first = step.d1 * z
            second = step.d2 * z - step.d1 * d_beyond[j]
            last = step.d3 * z - 2.0 * step.d2 * d_beyond[j] - step.d1 * dd_beyond[j]
            each.append(Pull(first, second, last))
        return value, each

    def _step(self, x: Array) -> Jet:
        """``log F(-x) - log(1 - F(-x))`` with its derivatives."""
        if self.latent == "logit":
            return Jet(-x, np.full(x.shape, -1.0), np.zeros(x.shape), np.zeros(x.shape))
        up, down = (_mirrored(jet) for jet in sides(self.latent, -x))
        return Jet(up.value - down.value, up.d1 - down.d1, up.d2 - down.d2, up.d3 - down.d3)

    def start_cuts(self, y: Array, eta: Array, w: Array) -> Array:
        out = []
        for j in range(1, len(self.categories)):
            pair = (y == j) | (y == j + 1)
            if not pair.any():
                out.append(0.0)
                continue
            own_w, own_eta = w[pair], eta[pair]
            out.append(-self._start_of(float(own_w @ (y[pair] > j)), -own_eta, own_w))
        return np.array(out)


def _mirrored(jet: Jet) -> Jet:
    """h(-x) as a function of x, from the jet of h at -x."""
    return Jet(jet.value, -jet.d1, jet.d2, -jet.d3)
