"""One response of a fit of several, as far as tests and means of its fixed effects ask a fit.

The coefficients gamma_j of the mean of response j are some of those of the whole model, gamma_j = S gamma for a selection S. So
a combination l'gamma_j is the combination (S'l)'gamma, whose errors, degrees of freedom and tests are those of the whole fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.inference.kinds.asymptotic import Asymptotic
from lmmformula.inference.location import coefficients as location
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.uncertainty import JointTest, Uncertainty
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.of_response import of_response
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.frame.several_recipe import SeveralRecipe
    from lmmformula.inference.fitted import Fitted, Inference
    from lmmformula.inference.recall import Recall
    from lmmformula.inference.records import Cluster
    from lmmformula.ir.estimate import Estimate
    from lmmformula.ir.problem import Problem

__all__ = ["OneResponse", "responses_of"]


def responses_of(fit: Fitted) -> tuple[OneResponse, ...]:
    """Each response of a fit of several."""
    return tuple(OneResponse.of(fit, j) for j in range(len(fit.problem.responses)))


@dataclass(frozen=True, eq=False)
class OneResponse:
    """What tests and means of one response read of a fit.

    Attributes
    ----------
    name : str
    whole : Fitted
        The fit of all responses.
    problem : Problem
        Of this response alone, with the random effects of its mean.
    estimate : Estimate
        Coefficients and modes of this response; the rest is that of the whole.
    places : (P_j,) array of int
        Where gamma_j stands in gamma.
    sigma : float
        Residual standard deviation, nan where rows of the response have several.
    """

    name: str
    whole: Fitted
    problem: Problem
    estimate: Estimate
    places: Index
    sigma: float

    @classmethod
    def of(cls, fit: Fitted, j: int) -> OneResponse:
        segment, recipe = fit.problem.responses[j], cast("SeveralRecipe", fit.problem.recipe)
        problem, places = of_response(fit.problem, j)
        own, rows = recipe.parts[j], fit.problem.n_rows_data // len(fit.problem.responses)
        of_term = [next(i for r, i in recipe.members[t] if r == j) for t, _ in places]
        own = replace(own, terms=tuple(own.terms[i] for i in of_term))
        assign = tuple(own.fixed.assign[c] for c in own.kept)
        problem = replace(
            problem,
            X=FixedBlock(problem.X.matrix, problem.X.names, assign, own.fixed.term_labels),
            rows=fit.problem.rows[segment.rows] - j * rows,
            n_rows_data=rows,
            recipe=own,
        )
        modes = tuple(fit.estimate.modes[t][:, columns] for t, columns in places)
        estimate = replace(
            fit.estimate,
            beta=fit.estimate.beta[segment.columns],
            modes=modes,
            aux=tuple(fit.estimate.aux[a] for a in segment.aux),
        )
        found = _places(fit, segment.columns, places)
        return cls(segment.name, fit, problem, estimate, found, _sigma(fit, j))

    @property
    def fitted(self) -> Fitted:
        """The same under the protocol of fits, of which it answers what tests and means ask."""
        return cast("Fitted", self)

    @property
    def formula(self) -> str:
        """A formula with this response, for what is read off it."""
        return f"{self.name} ~ 1"

    @property
    def method(self) -> str:
        return self.whole.method

    @property
    def recall(self) -> Recall:
        return self.whole.recall

    @property
    def inference(self) -> Inference:
        return _OfResponse(self.fitted, self.whole, self.places)

    def spread_out(self, rows: Array) -> Array:
        """Rows of combinations of gamma_j as rows of combinations of gamma."""
        return _spread_out(rows, self.places, len(location.coefficients(self.whole)))


def _places(fit: Fitted, columns: slice, places: tuple[tuple[int, Index], ...]) -> Index:
    """Where fixed effects and penalised coefficients of a response stand among those of all."""
    starts, at = {}, fit.problem.p
    for t in location.terms(fit):
        starts[t] = at
        at += fit.problem.terms[t].k
    fixed = np.arange(fit.problem.p)[columns]
    return np.concatenate([fixed, *(starts[t] + own for t, own in places if t in starts)])


def _sigma(fit: Fitted, j: int) -> float:
    residual = fit.problem.residual
    if residual is None:
        return fit.sigma
    if residual.variance is not None or not isinstance(residual.kind, OfResponses):
        return float("nan")
    own = residual.kind.deviations(np.array([float(j)]), residual.split(fit.estimate.residual)[0])
    return fit.estimate.sigma * float(own[0])


def _spread_out(rows: Array, places: Index, size: int) -> Array:
    out = np.zeros((len(rows), size))
    out[:, places] = rows
    return out


@dataclass(frozen=True)
class _OfResponse(Asymptotic):
    """Inference by the whole fit on combinations of the coefficients of one response."""

    fit: Fitted
    whole: Fitted
    places: Index

    @property
    def refused(self) -> dict[str, str]:
        return {}

    @property
    def is_gaussian(self) -> bool:
        return self.whole.inference.is_gaussian

    def triangle(self) -> Array:
        return self.fit.problem.data.fixed.triangle()

    def uncertainty(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> Uncertainty:
        known = self.whole.inference.uncertainty(ddf, vcov, cluster)
        return _Some(known, self.places[: self.fit.problem.p])

    def known_of_mean(self, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty:
        return _Some(known_of_mean(self.whole, ddf, vcov, cluster), self.places)


@dataclass(frozen=True, eq=False)
class _Some(Uncertainty):
    """Of some of the coefficients that another is about."""

    whole: Uncertainty
    places: Index

    @property
    def label(self) -> str:
        return self.whole.label

    @property
    def kind(self) -> str:
        return self.whole.kind

    @property
    def grouped(self) -> str | None:
        return self.whole.grouped

    @property
    def how(self) -> str:
        return self.whole.how

    @property
    def covariance(self) -> Array:
        return self.whole.covariance[np.ix_(self.places, self.places)]

    def df(self, rows: Array) -> Array:
        return self.whole.df(self._spread_out(rows))

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        return self.whole.joint(self._spread_out(rows), offsets)

    def _spread_out(self, rows: Array) -> Array:
        return _spread_out(rows, self.places, len(self.whole.covariance))
