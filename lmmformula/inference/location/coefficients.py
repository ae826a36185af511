"""Fixed effects and penalised coefficients of the mean as one vector gamma, in the user's units, and its columns on rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.frame.variables import column_names
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows

__all__ = ["coefficients", "columns", "draws", "has_penalised", "labels", "names", "terms", "variables"]


def terms(fit: Fitted) -> tuple[int, ...]:
    """Random-effects terms that are penalised parts of the mean: of one level, which every row has."""
    return tuple(i for i, term in enumerate(fit.problem.terms) if term.of_mean)


def has_penalised(fit: Fitted) -> bool:
    """Whether the mean has more than fixed effects."""
    return any(term.of_mean for term in fit.problem.terms)


def labels(fit: Fitted) -> tuple[str, ...]:
    """Smooths with a penalised part, as the formula has them."""
    return tuple(dict.fromkeys(fit.problem.terms[i].smooth for i in terms(fit)))


def names(fit: Fitted) -> tuple[str, ...]:
    """Of the coefficients, (P,)."""
    return (*fit.problem.X.names, *(c for i in terms(fit) for c in fit.problem.terms[i].columns))


def coefficients(fit: Fitted) -> Array:
    """gamma: estimates, and modes of what is penalised, (P,)."""
    return np.concatenate([fit.estimate.beta, *(fit.estimate.modes[i][0] for i in terms(fit))])


def columns(fit: Fitted, rows: Rows) -> Array:
    """Columns of rows that :func:`lmmformula.inference.prediction_rows.rows_of` made with the terms of the mean, (n, P)."""
    own = set(terms(fit))
    return np.hstack([rows.X, *(part.basis for part in rows.parts if part.term in own)]) if own else rows.X


def draws(fit: Fitted) -> Array | None:
    """Draws of gamma, (S, P), of a posterior; None elsewhere."""
    return fit.inference.coefficient_draws(range(fit.problem.p), terms(fit), 0)


def variables(fit: Fitted) -> tuple[str, ...]:
    """Columns of the data that the mean is a function of, in order of first use."""
    recipe = fit.problem.recipe
    known = {record.name for record in recipe.columns}
    designs = (recipe.fixed, *(recipe.terms[i].design for i in terms(fit)))
    named = column_names(part.expr for design in designs for parts in design.terms for part in parts)
    return tuple(dict.fromkeys(name for name in named if name in known))
