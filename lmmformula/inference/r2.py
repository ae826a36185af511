r"""Variance explained by the parts of a model.

With the variance of the fixed part ``s_f = Var(X beta)`` over the rows, of term i ``s_i = mean_r z_ri' Sigma_i z_ri`` (its mean
over the rows, which extends the variance of an intercept to random slopes) and of the residual
``s_e = sigma^2 mean_r 1 / w_r``::

    R2_marginal    = s_f / (s_f + sum s_i + s_e)
    R2_conditional = (s_f + sum s_i) / (s_f + sum s_i + s_e),        ICC_i = s_i / (sum s_i + s_e)

References
----------
Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4, 133-142; Johnson (2014), Methods Ecol. Evol. 5, 944-946.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.conditional import covariance_matrices, group_names
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["icc", "r2", "variances"]


def variances(fit: Fit) -> tuple[float, Array, float]:
    """s_f, s_i of each term and s_e, in squared units of the response."""
    problem = fit.problem
    mean = problem.X.matrix @ fit.estimate.beta
    fixed = float(np.var(mean, ddof=1)) if np.ptp(mean) > 1e-12 * np.abs(mean).max() else 0.0
    terms = np.zeros(len(problem.terms))
    for i, (term, cov) in enumerate(zip(problem.terms, covariance_matrices(fit), strict=True)):
        # the mean of z'Sigma z is <Sigma, mean of zz'>
        moment = np.ones((1, 1)) if term.basis is None else term.basis.T @ term.basis / problem.n
        terms[i] = np.sum(cov * moment)
    spread = 1.0 if problem.weights is None else float(np.mean(1.0 / problem.weights))
    return fixed, terms, fit.sigma**2 * spread


def r2(fit: Fit) -> pd.Series:
    """Marginal and conditional R2: the share of the variance that the fixed part explains, and that with the groups'."""
    import pandas as pd

    fixed, terms, residual = variances(fit)
    total = fixed + float(terms.sum()) + residual
    return pd.Series({"marginal": fixed / total, "conditional": (total - residual) / total}, name="r2")


def icc(fit: Fit) -> pd.Series:
    """Adjusted intraclass correlation of each random-effects term: its share of the variance that X leaves.

    The index holds the groups as :meth:`Fit.varcorr` names them. The shares of nested or crossed groups add up to the
    correlation of two rows that share all of them.
    """
    import pandas as pd

    _, terms, residual = variances(fit)
    return pd.Series(terms / (terms.sum() + residual), index=list(group_names(fit)), name="icc", dtype=float)
