"""GPBoost's grouped random effects: maximum likelihood or Laplace, random slopes without correlation.

By its default it solves several grouping factors iteratively, with a stochastic log-likelihood;
`gpboost_cholesky_peer` asks for the exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_LIKELIHOODS = {"gaussian": "gaussian", "binomial": "bernoulli_logit", "poisson": "poisson"}


def refuse(problem: Problem) -> str | None:
    if problem.method == "reml":
        return "no REML"
    if any(term.slopes for term in problem.terms):
        return "no correlated slopes"
    return None


def preparer(inversion: str) -> Callable[[Problem, pd.DataFrame], Callable[[], float]]:
    """`PythonPeer.prepare` for one of GPBoost's ``matrix_inversion_method``."""

    def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
        import gpboost  # pyright: ignore[reportMissingImports]
        import numpy as np
        import pandas as pd

        design = _design(problem, frame)
        groups = np.column_stack([pd.factorize(frame[term.group])[0] for term in problem.terms])
        response = frame[problem.response].to_numpy(dtype=float)

        def fit() -> float:
            model = gpboost.GPModel(
                group_data=groups,
                likelihood=_LIKELIHOODS[problem.family],
                matrix_inversion_method=inversion,
            )
            model.fit(y=response, X=design)
            return -model.get_current_neg_log_likelihood()

        return fit

    return prepare


def _design(problem: Problem, frame: pd.DataFrame) -> np.ndarray:
    """Intercept, numbers, and treatment contrasts of factors."""
    import numpy as np

    columns = [np.ones(len(frame))]
    for name in problem.fixed:
        values = frame[name]
        if values.dtype == "category":
            columns += [(values == level).to_numpy(dtype=float) for level in values.cat.categories[1:]]
        else:
            columns.append(values.to_numpy(dtype=float))
    return np.column_stack(columns)


ADAPTER = PythonPeer("gpboost", "gpboost", preparer("default"), refuse)
