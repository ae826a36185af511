"""Maximum likelihood with random effects in several linear predictors: Laplace's approximation, begun at a simpler model.

The search begins at the estimates of the model without the random effects of auxiliary parameters (log sigma,
zero-inflation, ...), these with small variances; from there on it is that of :mod:`lmmformula.backends.laplace`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.laplace import LaplaceBackend, _Begin
from lmmformula.backends.optimum import off_boundary
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.several import SeveralLaplace
from lmmformula.engines.base import Prepared
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.backends.batched_laplace import LaplaceBatch

__all__ = ["SeveralBackend"]

SMALL = 0.3
"""Standard deviations, in the units of a linear predictor, from which the search for those of auxiliary parameters begins."""


@dataclass(frozen=True, slots=True)
class SeveralBackend(LaplaceBackend):
    """Laplace's approximation with observed information.

    Raises
    ------
    PlanError
        When made with quadrature nodes, the fast mode or expected information, which are for random effects of the mean.
    """

    def __post_init__(self) -> None:
        if self.nagq != 1:
            raise PlanError(
                f"nagq={self.nagq}: quadrature and the fast mode are for random effects in the mean's predictor alone, and "
                "another one has some here. Use nagq=1 (Laplace)."
            )
        if self.information != "observed":
            raise PlanError(
                "information='expected' is lme4's approximation for the mean's predictor alone; with random effects in "
                "another one use 'observed'."
            )
        if not self.engine.is_exact:
            raise PlanError(
                f"the {self.engine.name} engine estimates likelihoods of one linear predictor; with random effects in "
                "several use engine='sparse' or 'blocked'."
            )

    def model(self, problem: Problem, prepared: Prepared | None) -> Laplace:
        """The criterion, on copies of the rows; an engine that was prepared for the rows themselves is not used."""
        del prepared
        return SeveralLaplace.over(problem, self.engine)

    def batch(self, point: LaplacePoint) -> LaplaceBatch | None:
        """None: one by one."""
        return None

    def _begin(self, model: Laplace, left: Record | None, near: LaplacePoint | None) -> _Begin:
        if left is not None or near is not None:
            return super(SeveralBackend, self)._begin(model, left, near)
        problem, layout = model.problem, model.layout
        simple = replace(problem, terms=tuple(t for t in problem.terms if not any(t.predictors)))
        plain = LaplaceBackend(engine=self.engine, tolerance=1e-4)
        found = plain.fit(simple).estimate
        psi = np.zeros(layout.size)
        psi[layout.beta] = found.beta
        for where, alpha in zip(layout.aux, found.aux, strict=True):
            psi[where] = alpha
        psi[layout.theta] = self._theta(problem, simple, found.theta) if self.start is None else self.start
        return _Begin(psi, model.zero_modes(), found.beta)

    def _theta(self, problem: Problem, simple: Problem, theta: Array) -> Array:
        """theta of the mean's terms as found, and small ones."""
        known = iter([theta[s] for s in simple.theta_slices()])
        out = []
        for term in problem.terms:
            kind = term.covariance
            small = kind.transformed(kind.start(), SMALL * np.eye(term.k))
            out.append(small if any(term.predictors) else off_boundary(next(known)))
        return np.concatenate(out)
