r"""zeta of one parameter: the search for the profile deviance at a value, and for the value at which zeta reaches a bound.

The search is BFGS in coordinates where the Hessian at the estimate is the identity; successive values of one parameter start
from the last. What is minimised, and in which coordinates, is the surface's business: a Gaussian model's, or any other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.parameters import Parameter, parameters_of
from lmmformula.typing import Array, Numbers

if TYPE_CHECKING:
    from lmmformula.inference.profile_best import Best


__all__ = ["Trace"]

LEVEL = 1e-3
"""Share of the bound by which zeta must rise with a longer step, lest the deviance count as level and the end as infinite."""


NOWHERE = 1e150
"""zeta where there is no deviance, such as at a correlation of one."""
HALVES = 30
"""Times that a step into nowhere is halved."""


class Trace:
    """zeta of one parameter at any value, each found from the last.

    Parameters
    ----------
    best : Best
        The optimum.
    target : Parameter
    """

    def __init__(self, best: Best, target: Parameter) -> None:
        self.best, self.target = best, target
        self.surface = best.surface(target)
        pinned = self.surface.pinned
        self.free = np.array([i for i in range(self.surface.size) if i != pinned], dtype=int)
        self.centre = self.surface.psi_of(best.theta, best.sigma)
        self.estimate = best.values[target.name]
        hessian = self.surface.hessian(self.centre, self.estimate)
        self.scale = _inverse_root(hessian[np.ix_(self.free, self.free)])
        self.found: dict[float, tuple[float, Array]] = {}
        self.evaluations = 0

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the parameter."""
        return self.surface.limits

    def step(self) -> float:
        """A first guess of the change of the value for one unit of zeta."""
        return self.surface.step(self.estimate, self.best.theta, self.best.sigma)

    def zeta(self, value: float) -> float:
        """Signed root (1) of the profile deviance at `value`."""
        rise = max(self.deviance(value) - self.best.deviance, 0.0)
        return float(np.copysign(np.sqrt(rise), value - self.anchor))

    @property
    def anchor(self) -> float:
        """The estimate; zero for a correlation that is undefined because a standard deviation is zero."""
        return 0.0 if np.isnan(self.estimate) else self.estimate

    def deviance(self, value: float) -> float:
        """Profile deviance at `value`."""
        if value not in self.found:
            same = [v for v in self.found if (v > self.anchor) == (value > self.anchor)]
            near = min(same, key=lambda v: abs(v - value), default=None)
            starts = [self.centre] if near is None else [self.found[near][1], self.centre]
            lowest, psi = self._minimum(value, starts)
            self.found[value] = min(lowest, self.ceiling), psi
        return self.found[value][0]

    @cached_property
    def ceiling(self) -> float:
        """What no profile deviance exceeds: of a correlation that where a standard deviation is zero and it has no effect.

        There the deviance has a valley of its own, which a search that begins at the estimate need not find.
        """
        if self.target.kind != "cor":
            return np.inf
        sds = [
            p
            for p in parameters_of(self.best.standard.problem)
            if p.kind == "sd" and p.term == self.target.term and p.columns[0] in self.target.columns
        ]
        return min(Trace(self.best, p).deviance(0.0) for p in sds)

    def _minimum(self, value: float, starts: Sequence[Array]) -> tuple[float, Array]:
        """The profile deviance and where it is, from the first of `starts` that has one."""
        from scipy.optimize import minimize

        held = value if self.target.kind == "beta" else None
        # Near the boundary (log sd or t far out) the slope vanishes and the search would not leave: start inside.
        reach = self.surface.reach
        begun = [np.clip(s, self.centre - 3.0 * reach, self.centre + 3.0 * reach) for s in starts]
        if (pinned := self.surface.pinned) is not None:
            for psi in begun:
                psi[pinned] = self.surface.coordinate(value, self.best.sigma)
        if not len(self.free):
            return self.surface.evaluate(begun[0], held)[0], begun[0]
        psi = begun[0]
        if len(begun) > 1 and self._at(psi, held)[0] >= NOWHERE:
            psi = begun[1]
        at = psi.copy()
        outermost = [(self.centre + side * 25.0 * reach)[self.free] for side in (-1, 1)]

        def scaled(z: Array) -> tuple[float, Array]:
            self.evaluations += 1
            at[self.free] = np.clip(psi[self.free] + self.scale @ z, *outermost)
            deviance, slope = self._at(at, held)
            return deviance, self.scale.T @ slope[self.free]

        found = minimize(
            scaled, np.zeros(len(self.free)), jac=True, method="BFGS", options={"gtol": 1e-3, "maxiter": 100}
        )
        psi[self.free] += self.scale @ found.x
        return float(found.fun), psi

    def _at(self, psi: Array, held: float | None) -> tuple[float, Array]:
        """The deviance and its gradient; nowhere where there is none."""
        try:
            return self.surface.evaluate(psi, held)
        except FitError:
            return NOWHERE**2, np.zeros_like(psi)

    def root(self, target: float, tolerance: float = 1e-5) -> float:
        """Value at which zeta reaches `target`, or the end of the parameter's range if it never does."""
        from scipy.optimize import brentq

        up = target > 0
        end = self.limits[1] if up else self.limits[0]
        inner, outer = self.anchor, self.anchor
        step, last = abs(target) * self.step(), 0.0
        for _ in range(60):
            outer = outer + step if up else outer - step
            if not np.isfinite(end):
                pass
            elif (outer >= end) if up else (outer <= end):
                outer = end
            reached = self.zeta(outer)
            if np.isnan(reached):  # farther out than the criterion can be computed
                return end
            for _ in range(HALVES):
                if abs(reached) < NOWHERE:
                    break
                outer = 0.5 * (inner + outer)
                reached = self.zeta(outer)
            if abs(reached) >= abs(target):
                break
            if outer == end or (np.isinf(end) and abs(abs(reached) - last) <= LEVEL * abs(target)):
                return end
            last = abs(reached)
            # zeta is nearly linear: aim a little beyond
            slope = abs(reached) / max(abs(outer - self.anchor), 1e-300)
            aim = abs(target) * 1.02 / max(slope, 1e-300) - abs(outer - self.anchor)
            inner, step = outer, min(max(aim, 0.02 * step), 4.0 * step)
        else:
            return float("inf") if up else float("-inf")
        if inner == outer:
            return outer
        xtol = tolerance * abs(outer - self.anchor)
        found: Numbers = brentq(lambda v: self._gap(v, target), inner, outer, xtol=xtol)
        return float(found)

    def _gap(self, value: float, target: float) -> float:
        """zeta less `target`; where the criterion cannot be computed it lies beyond."""
        if value == self.anchor:
            return -target
        reached = self.zeta(value)
        return target if np.isnan(reached) else reached - target


def _inverse_root(hessian: Array) -> Array:
    """H^-1/2 with curvatures kept positive and away from zero."""
    if not len(hessian):
        return hessian
    values, vectors = np.linalg.eigh(hessian)
    return vectors / np.sqrt(np.maximum(np.abs(values), 1e-2 * max(1.0, 0.01 * float(np.abs(values).max()))))
