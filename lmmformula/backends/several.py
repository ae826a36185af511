"""Maximum likelihood with random effects in several linear predictors: Laplace's approximation, begun at a simpler model.

The search begins at the estimates of the model without the random effects of auxiliary parameters (log sigma,
zero-inflation, ...), these with small variances; from there on it is that of :mod:`lmmformula.backends.laplace`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.degenerate import refuse_reproduced
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.laplace_start import Begin
from lmmformula.backends.optimum import off_boundary
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.several import SeveralLaplace
from lmmformula.engines.base import Prepared
from lmmformula.errors import PlanError
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.of_response import narrowed, of_response
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

    def _refuse_reproduced(self, model: Laplace, point: LaplacePoint) -> None:
        problem = model.problem
        if not problem.responses:
            super(SeveralBackend, self)._refuse_reproduced(model, point)
        eta = model.means_predictor(point)
        for j, segment in enumerate(problem.responses):
            refuse_reproduced(segment.family, of_response(problem, j)[0].data, eta[segment.rows])

    def _begin(self, model: Laplace, left: Record | None, near: LaplacePoint | None) -> Begin:
        if left is not None or near is not None:
            return super(SeveralBackend, self)._begin(model, left, near)
        problem, layout = model.problem, model.layout
        if problem.responses:
            return self._begin_responses(model)
        of_mean = [np.flatnonzero(t.columns_in(0) > 0.0) for t in problem.terms]
        both = zip(problem.terms, of_mean, strict=True)
        simple = replace(problem, terms=tuple(narrowed(t, own) for t, own in both if len(own)))
        plain = LaplaceBackend(engine=self.engine, tolerance=1e-4)
        found = plain.fit(simple).estimate
        psi = np.zeros(layout.size)
        psi[layout.beta] = found.beta
        for where, alpha in zip(layout.aux, found.aux, strict=True):
            psi[where] = alpha
        psi[layout.theta] = self._theta(problem, simple, found.theta) if self.start is None else self.start
        return Begin(psi, model.zero_modes(), found.beta)

    def _begin_responses(self, model: Laplace) -> Begin:
        """At the estimates of each response by itself, effects of different responses uncorrelated."""
        problem, layout = model.problem, model.layout
        psi, sigmas = np.zeros(layout.size), [_small(term) for term in problem.terms]
        for j, segment in enumerate(problem.responses):
            own, places = of_response(problem, j)
            found = LaplaceBackend(engine=self.engine, tolerance=1e-4).fit(own).estimate
            psi[layout.beta][segment.columns] = found.beta
            for a, alpha in zip(segment.aux, found.aux, strict=True):
                psi[layout.aux[a]] = alpha
            for (t, columns), term, s in zip(places, own.terms, own.theta_slices(), strict=True):
                lower = term.covariance.cholesky(off_boundary(found.theta[s]))
                sigmas[t][np.ix_(columns, columns)] = lower @ lower.T
        if self.start is None:
            thetas = [
                t.covariance.from_covariance(sigma) for t, sigma in zip(problem.terms, sigmas, strict=True)
            ]
            psi[layout.theta] = np.concatenate([np.zeros(0), *thetas])
        else:
            psi[layout.theta] = self.start
        return Begin(psi, model.zero_modes(), psi[layout.beta])

    def _theta(self, problem: Problem, simple: Problem, theta: Array) -> Array:
        """theta of the mean's columns as found, and small ones of the others."""
        slices = zip(simple.terms, simple.theta_slices(), strict=True)
        known = iter([(t.covariance, off_boundary(theta[s])) for t, s in slices])
        out = []
        for term in problem.terms:
            kind, own = term.covariance, np.flatnonzero(term.columns_in(0) > 0.0)
            if not len(own):
                out.append(kind.transformed(kind.start(), SMALL * np.eye(term.k)))
                continue
            narrow, found = next(known)
            if len(own) < term.k:  # effects that the mean shares with another predictor
                sigma, lower = _small(term), narrow.cholesky(found)
                sigma[np.ix_(own, own)] = lower @ lower.T
                found = kind.from_covariance(sigma)
            out.append(found)
        return np.concatenate(out)


def _small(term: GroupBlock) -> Array:
    """A small covariance matrix of a term's columns."""
    lower = term.covariance.cholesky(term.covariance.start())
    return SMALL**2 * (lower @ lower.T)
