"""Responses that the priors alone imply, to be looked at before any fit (Gabry et al. 2019, sec. 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lmmformula.criteria.marginal import gaussian_twin
from lmmformula.criteria.marginal_coordinates import Coordinates
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["PriorPredictive", "prior_predictive"]


@dataclass(frozen=True, slots=True, eq=False)
class PriorPredictive:
    """Draws from the prior, and a response for each.

    Attributes
    ----------
    names : tuple of str
        Of the variances.
    variances : (draw, len(names)) array
    beta_names : tuple of str
    beta : (draw, p) array
    y : (draw, n) array
        In units of the response (not its logarithm).
    priors : Priors
        All priors, defaults included; printing shows a table.
    """

    names: tuple[str, ...]
    variances: Array = field(repr=False)
    beta_names: tuple[str, ...]
    beta: Array = field(repr=False)
    y: Array = field(repr=False)
    priors: Priors = field(repr=False)

    def __getitem__(self, name: str) -> Array:
        """Draws of a fixed effect or a variance parameter by name."""
        if name in self.names:
            return self.variances[:, self.names.index(name)]
        if name in self.beta_names:
            return self.beta[:, self.beta_names.index(name)]
        raise KeyError(f"{name!r} is none of {', '.join((*self.beta_names, *self.names))}")


def prior_predictive(problem: Problem, priors: Priors, draws: int, seed: int) -> PriorPredictive:
    """Draw variances, coefficients, random effects and responses. O(draws n)."""
    rng = np.random.default_rng(seed)
    twin, _ = gaussian_twin(problem)
    coordinates = Coordinates.of(priors, [np.ones(t.k) for t in twin.terms], 1.0)
    x = coordinates.sample_prior(rng, draws)
    values = coordinates.values(x)
    own = np.column_stack(
        [np.zeros((draws, 0)), *(c.distribution.sample(rng, draws) for c in priors.coefficients)]
    )
    beta = np.linalg.solve(priors.contrast, own.T).T if twin.p else own
    eta = beta @ twin.X.matrix.T + (0.0 if twin.offset is None else twin.offset)
    for term, lower in zip(twin.terms, coordinates.factors(values), strict=True):
        effects = rng.standard_normal((draws, term.m, term.k)) @ np.swapaxes(lower, -1, -2)
        for row, b in zip(eta, effects, strict=True):
            row += term.apply(b)
    scale = values[coordinates.sigma][:, None] * (1.0 if twin.weights is None else twin.weights**-0.5)
    y = eta + scale * rng.standard_normal(eta.shape)
    if problem.family.name == "lognormal":
        with np.errstate(over="ignore"):
            y = np.exp(y)
    parameters = coordinates.parameters(x)
    return PriorPredictive(coordinates.names, parameters, problem.X.names, beta, y, priors)
