r"""Maximum likelihood under signs: which steps of monotonic effects are zero.

The coefficients of the steps of an effect have one sign, :mod:`lmmformula.ir.monotonic`. For given signs s the estimate
maximises l(gamma, psi), psi everything else, over ``s_e gamma_ej >= 0``: there is a set F of steps, the others being zero,
with (Karush, Kuhn and Tucker) ::

    dl/dgamma_j = 0 and s gamma_j > 0  for j in F,         s dl/dgamma_j <= 0  for j not in F                           (1)

so that the estimate is that of an ordinary model with the columns of F. F is found by an active set. It begins at the
projection of the estimate without signs onto the cone, in the metric of its covariance matrix C, psi and unconstrained
coefficients profiled out (Silvapulle & Sen 2005, section 4.3), ::

    min (gamma - gamma^)' C^-1 (gamma - gamma^)   over  s gamma >= 0,                                                   (2)

a non-negative least-squares problem (Lawson & Hanson 1974). Then models of F are fitted: steps of the wrong sign leave by (2)
at that fit; a step not in F whose coefficient has the right sign when it is added, as its derivative in (1) then has, enters,
the one with the highest likelihood first. It ends where (1) holds. The likelihood rises with every step that enters, so no F
comes twice but by rounding, which ends the search too.

Each effect has either sign: (2) is solved for all signs, models are fitted in the order of its distances, and the fit of the
highest likelihood is taken; signs whose distance is far beyond the deviance that the best one has lost are not fitted.

REML integrates over the fixed effects and has no constrained counterpart: its model is the one that maximum likelihood finds,
from which a step goes that has the wrong sign under REML.

References
----------
Lawson & Hanson (1974), Solving Least Squares Problems, chapter 23. Silvapulle & Sen (2005), Constrained Statistical Inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.base import AnyBackend
from lmmformula.engines.base import Prepared
from lmmformula.frame.monotonic import on_face, without_face
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.monotonic import Monotonic
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard_responses import standard_of
from lmmformula.typing import Array

__all__ = ["face_of"]

MOST_SIGNS = 8
"""Effects up to which all signs are tried; of more one after the other is turned round."""
FACTOR, MARGIN = 1.5, 1.0
"""Signs are fitted whose distance (2), in units of deviance, is below FACTOR times what the best lost, plus MARGIN."""
NOTHING = 1e-7
"""Standard errors of a coefficient below which it is zero but for rounding."""


def face_of(problem: Problem, backend: AnyBackend, prepared: Prepared | None = None) -> Problem:
    """The problem with those steps of its monotonic effects that are not zero.

    Parameters
    ----------
    problem : Problem
    backend : Backend
        Of a likelihood.
    prepared : Prepared, optional
        The engine's look at the random effects, which have nothing to do with the steps.

    Returns
    -------
    Problem
        With `monotonic.kept` and `monotonic.signs`.
    """
    full = without_face(problem)
    by_ml = replace(backend.afresh(), reml=False) if backend.restricted else backend.afresh()  # type: ignore[type-var]
    found = _Search(full, by_ml, prepared).face()
    if not backend.restricted:
        return found.on_face
    search = _Search(full, backend.afresh(), prepared)
    return search.right_signs(found.kept, found.signs).on_face


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The fit of a face."""

    kept: tuple[int, ...]
    signs: tuple[int, ...]
    on_face: Problem
    estimate: Estimate

    @property
    def coefficients(self) -> dict[int, float]:
        """Column of the whole block -> coefficient."""
        return dict(zip(self.kept, self.estimate.beta.tolist(), strict=True))

    @property
    def errors(self) -> dict[int, float]:
        """Column of the whole block -> standard error."""
        return dict(zip(self.kept, np.sqrt(np.diagonal(self.estimate.vcov)).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Search:
    """Fits of the faces of one problem, each made once."""

    problem: Problem
    backend: AnyBackend
    prepared: Prepared | None
    done: dict[tuple[int, ...], Estimate] = field(default_factory=dict)

    @property
    def own(self) -> Monotonic:
        assert self.problem.monotonic is not None
        return self.problem.monotonic

    def fit(self, kept: tuple[int, ...], signs: tuple[int, ...]) -> _Fitted:
        """The model with the columns `kept`."""
        face = on_face(self.problem, kept, signs)
        if kept not in self.done:
            standard = standard_of(face)
            found = self.backend.fit(standard.problem, self.prepared)
            self.done[kept] = standard.outward(found.estimate)
        return _Fitted(kept, signs, face, self.done[kept])

    def face(self) -> _Fitted:
        """The face of the highest likelihood."""
        start = self.fit(tuple(range(len(self.own.full.names))), ())
        free = start.estimate.deviance
        ranked = sorted(
            (self.projected(start, signs) for signs in _signs(self.own, start)), key=lambda own: own[0]
        )
        best = self.settled(*ranked[0][1:])
        for distance, kept, signs in ranked[1:]:
            if distance > FACTOR * (best.estimate.deviance - free) + MARGIN:
                break
            found = self.settled(kept, signs)
            if found.estimate.deviance < best.estimate.deviance:
                best = found
        return best

    def settled(self, kept: tuple[int, ...], signs: tuple[int, ...]) -> _Fitted:
        """The face on which (1) holds, from another one."""
        here = self.right_signs(kept, signs)
        seen = {here.kept}
        while True:
            entering = [
                own for j in self.own.dropped_of(here.kept) if (own := self._with(here, j)) is not None
            ]
            for one in sorted(entering, key=lambda own: own.estimate.deviance):
                there = self.right_signs(one.kept, signs)
                if there.kept not in seen:
                    break
            else:
                return here
            seen.add(there.kept)
            if (
                there.estimate.deviance > here.estimate.deviance
            ):  # a step that leaves takes more than one that enters gave
                return here
            here = there

    def _with(self, here: _Fitted, column: int) -> _Fitted | None:
        """The fit with one step more; None if its coefficient has the wrong sign."""
        one = self.fit(tuple(sorted((*here.kept, column))), here.signs)
        z = self.own.sign_of(column, here.signs) * one.coefficients[column]
        return one if z > NOTHING * one.errors[column] else None

    def right_signs(self, kept: tuple[int, ...], signs: tuple[int, ...]) -> _Fitted:
        """The fit of a part of these columns in which no step has the wrong sign."""
        while True:
            here = self.fit(kept, signs)
            _, left, _ = self.projected(here, signs)
            if left == kept:
                return here
            kept = left

    def projected(
        self, here: _Fitted, signs: tuple[int, ...]
    ) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
        """Distance (2) of a fit from the cone, the columns of the nearest face, and the signs."""
        steps = set(self.own.steps)
        places = [i for i, column in enumerate(here.kept) if column in steps]
        own = [self.own.sign_of(here.kept[i], signs) for i in places]
        distance, positive = nearest(
            here.estimate.beta[places], here.estimate.vcov[np.ix_(places, places)], np.array(own)
        )
        zero = {here.kept[i] for i, stays in zip(places, positive, strict=True) if not stays}
        return distance, tuple(c for c in here.kept if c not in zero), signs


def nearest(gamma: Array, covariance: Array, signs: Array) -> tuple[float, NDArray[np.bool_]]:
    """Squared distance of `gamma` from the cone ``signs * gamma >= 0`` in the metric of its covariance, and what is not zero.

    Coefficients that the data do not determine (infinite variance) are where they are, or zero.
    """
    turned, spread = gamma * signs, np.sqrt(np.diagonal(covariance))
    known = np.isfinite(spread)
    positive = turned > NOTHING * np.where(known, spread, 0.0)
    if positive.all():
        return 0.0, np.ones(len(gamma), dtype=bool)
    from scipy.optimize import nnls

    errors = spread[known]
    z, s = gamma[known] / errors, signs[known]
    root = np.linalg.cholesky(covariance[np.ix_(known, known)] / np.outer(errors, errors))
    white = np.linalg.solve(root, np.diag(s.astype(float)))
    found, left = nnls(white, np.linalg.solve(root, z))
    positive[known] = found > NOTHING
    return float(left) ** 2, positive


def _signs(own: Monotonic, start: _Fitted) -> Sequence[tuple[int, ...]]:
    """Signs of the effects that are tried."""
    count = len(own.effects)
    if count <= MOST_SIGNS:
        return list(product((1, -1), repeat=count))
    first = [1 if sum(start.coefficients[c] for c in effect.columns) >= 0.0 else -1 for effect in own.effects]
    turned = [tuple(-s if i == j else s for i, s in enumerate(first)) for j in range(count)]
    return [tuple(first), *turned]
