"""Fits of the same rows with another response, and the parametric bootstrap made of them.

Only the products of the design with y change, so a refit reuses patterns, index maps and the Gram of [Z X], and starts
from the fitted theta.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError, FitError
from lmmformula.inference.conditional import has_free_dispersion
from lmmformula.inference.new_response import new_response, with_response
from lmmformula.inference.posterior import refuse_posterior
from lmmformula.inference.simulate import draw, warn_of_dispersion
from lmmformula.inference.wald import interval_names
from lmmformula.ir.covariance import sd_cor

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["bootstrap", "bootstrap_interval", "parameters", "refit"]


def refit(fit: Fit, y: Any) -> Fit:
    """The same model on response `y`, read as in :func:`lmmformula.inference.new_response.new_response`."""
    values = new_response(fit, y)
    recall = with_response(fit, values)
    if fit.posterior is not None:
        standard = fit.standard.with_response(values)
        solution = fit.backend.fit(standard.problem)
        return replace(
            fit,
            problem=replace(fit.problem, y=values),
            estimate=standard.outward(solution.estimate),
            point=solution.point,
            posterior=solution.posterior,
            twin=standard,
            recall=recall,
        )
    own, standard = fit.standard.inward(fit.estimate), fit.standard.with_response(values)
    solution = fit.backend.refit(fit.optimum, own, standard.problem.y)
    return replace(
        fit,
        problem=replace(fit.problem, y=values),
        estimate=standard.outward(solution.estimate),
        point=solution.point,
        twin=standard,
        recall=recall,
    )


def parameters(fit: Fit) -> dict[str, float]:
    """Fixed effects, standard deviations, correlations, sigma or the family's other parameters, by name."""
    out = dict(zip(fit.problem.X.names, map(float, fit.estimate.beta), strict=True))
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(fit.estimate.theta[s])
        sd, cor = sd_cor(lower @ lower.T)
        out |= {f"sd_{c}|{term.group}": float(v) for c, v in zip(term.columns, sd, strict=True)}
        if term.covariance.name not in ("iid", "diag"):
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
    if (fit.problem.family.has_scale and not fit.problem.aux) or has_free_dispersion(fit):
        out["sigma"] = fit.estimate.sigma
    return out


def bootstrap(
    fit: Fit, n: int = 500, seed: int | np.random.Generator | None = None, progress: bool = False
) -> pd.DataFrame:
    """Parametric bootstrap.

    Parameters
    ----------
    n : int
        Replicates.
    seed : int or Generator, optional
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    DataFrame
        One row a replicate; columns as in :func:`parameters`. ``attrs["failed"]`` counts replicates that could not be
        fitted; their rows are nan.
    """
    import pandas as pd

    if n < 1:
        raise DataError(f"n={n} replicates were asked for; ask for one or more.")
    refuse_posterior(
        fit,
        "a bootstrap repeats the search for a maximum",
        "Its draws are in m.posterior, their intervals in conf_int(), and simulate() draws responses.",
    )
    if fit.problem.family.repeated:
        raise DataError(
            "a parametric bootstrap draws one response for each row, and y | weights(w) says that a row stands for w "
            "observations: one draw cannot stand for w. Write the rows out w times, or use conf_int(method='profile')."
        )
    warn_of_dispersion(fit)
    rng = np.random.default_rng(seed)
    names, rows, failed = list(parameters(fit)), [], 0
    for _ in _bar(range(n), progress):
        try:
            rows.append(parameters(refit(fit, draw(fit, rng))))
        except FitError:
            rows.append(dict.fromkeys(names, np.nan))
            failed += 1
    out = pd.DataFrame(rows, columns=names)
    out.attrs["failed"] = failed
    return out


def _bar(items: range, progress: bool) -> Any:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, disable=None, desc="bootstrap")


def bootstrap_interval(
    fit: Fit, level: float = 0.95, n: int = 500, seed: int | np.random.Generator | None = None
) -> pd.DataFrame:
    """Percentile intervals of the parametric bootstrap for every parameter."""
    import pandas as pd

    draws = bootstrap(fit, n, seed)
    tail = (1 - level) / 2
    low, high = interval_names(level)
    return pd.DataFrame({low: draws.quantile(tail), high: draws.quantile(1 - tail)})
