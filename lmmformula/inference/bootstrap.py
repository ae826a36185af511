"""Fits of the same rows with another response, and the parametric bootstrap made of them.

Only the products of the design with y change, so a refit reuses patterns, index maps and the Gram of [Z X], and starts
from the fitted theta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.bootstrap_intervals import TYPES, acceleration, ends
from lmmformula.inference.new_response import new_response, with_response
from lmmformula.inference.replicates import as_numbers, replicated
from lmmformula.inference.simulate import draw, warn_of_dispersion
from lmmformula.inference.student import interval_names
from lmmformula.ir.covariance import sd_cor

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted, FittedT

__all__ = ["bootstrap", "bootstrap_interval", "parameters", "refit"]


def refit(fit: FittedT, y: Any) -> FittedT:
    """The same model on response `y`, read as in :func:`lmmformula.inference.new_response.new_response`."""
    values = new_response(fit, y)
    recall = with_response(fit, values)
    own, standard = fit.standard.inward(fit.estimate), fit.standard.with_response(values)
    solution = fit.backend.refit(standard.problem, own, fit.optimum)
    return replace(
        fit,
        problem=replace(fit.problem, y=values),
        estimate=standard.outward(solution.estimate),
        point=solution.point,
        posterior=solution.posterior,
        twin=standard,
        recall=recall,
    )


def parameters(fit: Fitted) -> dict[str, float]:
    """Fixed effects, standard deviations, correlations, sigma or the family's other parameters, by name."""
    out = dict(zip(fit.problem.X.names, map(float, fit.estimate.beta), strict=True))
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(fit.estimate.theta[s])
        sd, cor = sd_cor(lower @ lower.T)
        out |= {f"sd_{c}|{term.group}": float(v) for c, v in zip(term.columns, sd, strict=True)}
        if term.covariance.within.correlated:
            out |= {
                f"cor_{term.columns[i]}.{term.columns[j]}|{term.group}": float(cor[i, j])
                for j in range(term.k)
                for i in range(j + 1, term.k)
            }
    for parameter, block, alpha in zip(
        fit.problem.family.auxiliaries, fit.problem.aux, fit.estimate.aux, strict=False
    ):
        if len(alpha) == 1:
            out[parameter.name] = float(parameter.value(alpha)[0])
        else:
            out |= {f"{parameter.name}: {n}": float(v) for n, v in zip(block.names, alpha, strict=True)}
    if (fit.problem.family.has_residual and not fit.problem.aux) or fit.estimate.quasi_dispersion:
        out["sigma"] = fit.estimate.sigma
    return out


def bootstrap(
    fit: Fitted,
    n: int = 500,
    seed: int | np.random.Generator | None = None,
    progress: bool = False,
    *,
    statistic: Callable[[Fitted], Any] | None = None,
    workers: int = 1,
    type: str | None = None,  # noqa: A002 - R's word
    level: float = 0.95,
) -> pd.DataFrame:
    """Parametric bootstrap.

    Parameters
    ----------
    n : int
        Replicates.
    seed : int or Generator, optional
    progress : bool
        Show a progress bar on a terminal.
    statistic : callable, optional
        From a fit to what is to be repeated: a mapping, a Series, or numbers; by default :func:`parameters`.
    workers : int
        Processes that share the replicates; the numbers do not depend on it. Each takes a second or two to start. A script
        must call it below ``if __name__ == "__main__":``.
    type : {"percentile", "basic", "normal", "bca"}, optional
        Give intervals of this type and not the replicates; "bca" fits the model without each group too. See
        :mod:`lmmformula.inference.bootstrap_intervals`.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame
        One row a replicate, one column a statistic; or, with `type`, one row a statistic and its lower and upper end.
        ``attrs["failed"]`` counts replicates that could not be fitted; their rows are nan.

    Raises
    ------
    DataError
        For arguments that are none of these, and for a `statistic` that cannot be sent to other processes.
    """
    import pandas as pd

    _refuse(fit, n, workers, type, level)
    warn_of_dispersion(fit)
    wanted = parameters if statistic is None else statistic
    estimate = as_numbers(wanted(fit))
    rng = np.random.default_rng(seed)
    responses = (draw(fit, rng) for _ in range(n))
    found = list(_bar(replicated(fit, responses, refit, wanted, workers), n, progress))
    names = list(estimate)
    rows = [dict.fromkeys(names, np.nan) if one is None else one for one in found]
    out = pd.DataFrame(rows, columns=names)
    if type is not None:
        bend = acceleration(fit, wanted) if type == "bca" else None
        limits = ends(out, estimate, level, type, bend)
        out = pd.DataFrame(limits, index=names, columns=list(interval_names(level)))
    out.attrs["failed"] = sum(one is None for one in found)
    return out


def _refuse(fit: Fitted, n: int, workers: int, kind: str | None, level: float) -> None:
    if n < 1:
        raise DataError(f"n={n} replicates were asked for; ask for one or more.")
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise DataError(f"workers={workers!r} must be a whole number from 1 on.")
    if kind is not None and kind not in TYPES:
        raise DataError(f"type={kind!r} is unknown; use one of {', '.join(map(repr, TYPES))}.")
    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
    fit.inference.check("bootstrap")
    if fit.problem.family.repeated:
        raise DataError(
            "a parametric bootstrap draws one response for each row, and y | weights(w) says that a row stands for w "
            "observations: one draw cannot stand for w. Write the rows out w times, or use conf_int(method='profile')."
        )


def _bar(items: Iterable[Any], n: int, progress: bool) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, total=n, disable=None, desc="bootstrap")


def bootstrap_interval(
    fit: Fitted,
    level: float = 0.95,
    n: int = 500,
    seed: int | np.random.Generator | None = None,
    parameters: str | Iterable[str] = "all",
    type: str = "percentile",  # noqa: A002
    statistic: Callable[[Fitted], Any] | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Intervals of the parametric bootstrap: of every parameter, of the fixed effects, or of those named.

    `type`, `statistic` and `workers` as in :func:`bootstrap`.
    """
    table = bootstrap(fit, n, seed, statistic=statistic, workers=workers, type=type, level=level)
    if isinstance(parameters, str) and parameters == "all":
        return table
    fixed = isinstance(parameters, str) and parameters == "fixed"
    names = (
        list(fit.problem.X.names)
        if fixed
        else [parameters]
        if isinstance(parameters, str)
        else list(parameters)
    )
    if unknown := [name for name in names if name not in table.index]:
        known = ", ".join(map(str, table.index))
        raise DataError(f"there is no parameter {unknown[0]!r}; use 'fixed', 'all', or some of {known}.")
    out = table.loc[names]
    out.attrs = dict(table.attrs)
    return out
