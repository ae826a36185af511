"""``m.loo()``: leave-one-out of a posterior, with the ways out where importance weights cannot be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.bayesian.elpd import Elpd
from lmmformula.inference.bayesian.loo import smoothed, trusted_k, unit_log_likelihood
from lmmformula.inference.bayesian.moment_match import moment_match
from lmmformula.inference.bayesian.refitting import log_density_of, without
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["loo"]


def loo(
    fit: Fitted,
    group: str | None = None,
    *,
    moment_match: bool = False,
    reloo: bool = False,
) -> Elpd:
    """Leave one row, or one level of `group`, out. See :meth:`lmmformula.verbs.BayesianVerbs.loo`."""
    posterior = fit.inference.draws("loo()")
    if group is not None and (moment_match or reloo):
        raise DataError(
            f"loo(group={group!r}) has no moment_match or reloo, which are for rows: use kfold(group={group!r}), which fits "
            "again without each fold."
        )
    log_lik, units = unit_log_likelihood(fit, group)
    found = smoothed(log_lik)
    elpd, k = found.elpd.copy(), found.k.copy()
    how = np.full(len(elpd), "psis", dtype=object)
    limit = trusted_k(len(log_lik))
    if moment_match:
        _match(fit, elpd, k, how, limit)
    if reloo:
        _refit(fit, elpd, k, how, limit)
    import pandas as pd

    pointwise = pd.DataFrame({"elpd": elpd, "p": found.lpd - elpd, "k": k, "how": how}, index=units)
    note = "" if posterior.diagnostics.good else "The draws themselves do not suffice: print the summary."
    return Elpd("loo", fit.formula, group or "row", pointwise, len(log_lik), limit, note)


def _match(fit: Fitted, elpd: Array, k: Array, how: Array, limit: float) -> None:
    for row in np.flatnonzero(k > limit):
        better = moment_match(fit, int(row), float(k[row]), float(elpd[row]))
        if better.k < k[row]:
            elpd[row], k[row], how[row] = better.elpd, better.k, "moments"


def _refit(fit: Fitted, elpd: Array, k: Array, how: Array, limit: float) -> None:
    bad = np.flatnonzero(k > limit)
    if len(bad) > _MOST_REFITS:
        raise PlanError(
            f"reloo=True would fit again without each of {len(bad)} rows whose Pareto k is above {limit:.2f} (at most "
            f"{_MOST_REFITS}): so many say that the model does not suit, or has about as many parameters as rows. Use "
            "moment_match=True first, or kfold()."
        )
    for row in bad:
        again = without(fit, np.array([row]))
        elpd[row], k[row], how[row] = log_density_of(again, fit, np.array([row]))[0], 0.0, "refit"


_MOST_REFITS = 50
