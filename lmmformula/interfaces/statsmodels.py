"""Names of statsmodels' mixed-model results that are tables of random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.inference.conditional import covariance_matrices, group_names

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["cov_re", "random_effects"]


def random_effects(fit: Fitted) -> dict[str, pd.DataFrame]:
    """Conditional modes of each term: a row a level, a column an effect."""
    import pandas as pd

    terms = zip(group_names(fit), fit.problem.terms, fit.estimate.modes, strict=True)
    return {
        name: pd.DataFrame(
            modes.copy(), index=pd.Index(list(term.levels), name=term.group), columns=list(term.columns)
        )
        for name, term, modes in terms
    }


def cov_re(fit: Fitted) -> dict[str, pd.DataFrame]:
    """Covariance matrix of each term's effects, in the units of the response."""
    import pandas as pd

    terms = zip(group_names(fit), fit.problem.terms, covariance_matrices(fit), strict=True)
    return {
        name: pd.DataFrame(matrix.copy(), index=list(term.columns), columns=list(term.columns))
        for name, term, matrix in terms
    }
