r"""Variance explained, for every draw of a posterior (Gelman, Goodrich, Gabry & Vehtari 2019).

With mu_sr the expected response of row r at draw s, and the variance that the model itself gives a response around it::

    R2_s = V_r(mu_sr) / (V_r(mu_sr) + mean_r Var(y_r | mu_sr))

V_r the variance over rows. It lies between 0 and 1 whatever the data, because the residual variance is the model's (their
eq. 3), not that of y - mu. Conditional: mu holds the random effects. Marginal: mu is at effects of zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import (
    flat,
    linear_predictors,
    own_auxiliaries,
    own_effects,
    quantiles,
    row_slices,
)
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["bayes_r2"]


def bayes_r2(fit: Fitted, level: float = 0.95, *, draws: bool = False) -> pd.DataFrame:
    """Bayesian R2. See :meth:`lmmformula.verbs.BayesianVerbs.bayes_r2`."""
    import pandas as pd

    fit.inference.draws("bayes_r2()")
    fit.problem.refuse_elsewhere("bayes_r2()")
    fit.problem.family.one_mean("bayes_r2()")
    found = {"conditional": _ratios(fit, with_effects=True), "marginal": _ratios(fit, with_effects=False)}
    if draws:
        return pd.DataFrame(found)
    rows = [(np.median(r), r.std(ddof=1), *quantiles(r, level)) for r in found.values()]
    tail = 50 * (1 - level)
    columns = ["Estimate", "Est.Error", f"{tail:.4g} %", f"{100 - tail:.4g} %"]
    out = pd.DataFrame(rows, index=list(found), columns=columns)
    out.attrs["heading"] = "Bayesian R2 (medians of draws)"
    return out


def _ratios(fit: Fitted, *, with_effects: bool) -> Array:
    """R2 at every draw, (S,): sums over slices of rows of mu, mu^2 and the variance around it."""
    problem, family = fit.problem, fit.problem.family
    beta = flat(fit.inference.draws().beta)
    effects = own_effects(fit) if with_effects else []
    total, squares, around = np.zeros((3, len(beta)))
    centre = None
    for rows in row_slices(problem.n, len(beta), 2 + max((t.k for t in problem.terms), default=0)):
        eta = linear_predictors(beta, problem.X.matrix, problem.offset, effects, rows)
        aux = own_auxiliaries(fit, rows)
        mean = family.mean(eta, aux)
        centre = (
            mean.mean(axis=1) if centre is None else centre
        )  # sums of squares about a value near the mean
        deviation = mean - centre[:, None]
        total += deviation.sum(axis=1)
        squares += (deviation**2).sum(axis=1)
        own = np.broadcast_to(family.variance(family.location(eta), aux), eta.shape)
        weights = None if problem.weights is None else problem.weights[rows]
        around += (own if weights is None or family.repeated else own / weights).sum(axis=1)
    explained = (squares - total**2 / problem.n) / (problem.n - 1)
    return explained / (explained + around / problem.n)
