"""Draws of the response from a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.residuals import auxiliary
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["draw", "simulate"]


def draw(fit: Fit, rng: np.random.Generator) -> Array:
    """One response given eta = X beta + offset + Z b*, with b* drawn from its fitted distribution, (n,)."""
    problem, estimate = fit.problem, fit.estimate
    y = problem.X.matrix @ estimate.beta
    if problem.offset is not None:
        y = y + problem.offset
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        y = y + term.apply(rng.standard_normal((term.m, term.k)) @ lower.T)
    return problem.family.simulate(rng, y, auxiliary(fit), problem.weights)


def simulate(fit: Fit, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """`n` draws as columns ``sim_1 ...``, indexed by the row's position in the data."""
    import pandas as pd

    if n < 1:
        raise DataError(f"n={n} draws were asked for; ask for one or more.")
    rng = np.random.default_rng(seed)
    return pd.DataFrame({f"sim_{i + 1}": draw(fit, rng) for i in range(n)}, index=fit.problem.rows)
