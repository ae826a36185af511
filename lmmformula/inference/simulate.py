"""Draws of the response from a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, LmmformulaWarning, warn
from lmmformula.inference.categories import as_observed
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.rows import row_labels
from lmmformula.ir.structured import spherical_draws
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["draw", "simulate", "warn_of_dispersion"]

DISPERSED = 1.25
"""An estimated dispersion beyond this, or below its inverse, matters for what is drawn."""


def draw(fit: Fitted, rng: np.random.Generator) -> Array:
    """One response given eta = X beta + offset + Z b*, with b* drawn from its fitted distribution, (n,)."""
    problem, estimate, drawn = fit.problem, fit.estimate, []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        drawn.append(spherical_draws(term, estimate.theta[s], rng) @ lower.T)
    eta, data = linear_predictor(fit, drawn), problem.data
    return problem.family.simulate(rng, eta, auxiliary(fit, drawn), data.whole(data.weights))


def warn_of_dispersion(fit: Fitted) -> None:
    """Say that draws have the family's own variance where the fit has another."""
    phi = fit.estimate.sigma**2
    if not fit.estimate.quasi_dispersion or 1.0 / DISPERSED < phi < DISPERSED:
        return

    family = fit.problem.family
    warn(
        f"the fit estimates a dispersion of {phi:.3g}, which no {family.name} distribution has: draws have dispersion 1, so "
        f"they vary {'less' if phi > 1.0 else 'more'} than the data. Fit a family with a dispersion of its own (nbinom1, "
        'nbinom2 for counts), or dispersion="fixed" with a random effect for each row.',
        LmmformulaWarning,
    )


def simulate(fit: Fitted, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """`n` draws as columns ``sim_1 ...``, under the labels of the rows; of counts of categories each has a column a category.

    Of a posterior they are posterior predictive: parameters and random effects of a draw of it, and a new response.
    """
    import pandas as pd

    if n < 1:
        raise DataError(f"n={n} draws were asked for; ask for one or more.")
    warn_of_dispersion(fit)
    rng = np.random.default_rng(seed)
    drawn, family = enumerate(fit.inference.responses(n, rng), 1), fit.problem.family
    found = {f"sim_{i}": as_observed(family, y) for i, y in drawn}
    if family.distribution.tallies:
        return pd.concat({name: y.set_axis(row_labels(fit.problem)) for name, y in found.items()}, axis=1)
    return pd.DataFrame(found, index=row_labels(fit.problem))
