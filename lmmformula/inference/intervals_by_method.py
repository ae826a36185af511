"""Confidence intervals of parameters by Wald's method, profiles, the bootstrap, or quantiles of a posterior's draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import own_options
from lmmformula.errors import ArgumentError, DataError
from lmmformula.inference.bootstrap import bootstrap_interval
from lmmformula.inference.parameters import chosen, parameters_of
from lmmformula.inference.posterior import quantiles
from lmmformula.inference.profile import profile_interval
from lmmformula.inference.spreads import spreads
from lmmformula.inference.student import interval_names
from lmmformula.inference.words import notes
from lmmformula.typing import Argument

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["INTERVALS", "conf_int"]


def conf_int(
    fit: Fitted, level: float = 0.95, method: str | None = None, **options: Argument
) -> pd.DataFrame:
    """Confidence intervals, one row a parameter, columns lower and upper.

    By default they are Wald intervals with the standard errors and degrees of freedom of the tests, so that an interval never
    contradicts its p-value: t by Satterthwaite for linear mixed models, or by ``ddf="kenward-roger"``, and normal quantiles for
    all others. ``method="wald"`` is lme4's ``confint(method = "Wald")``, with normal quantiles for every model unless ``ddf=``
    asks for others; ``vcov=`` and ``cluster=`` give them standard errors by clusters. Of a posterior the default is "quantile",
    the interval of equal tails that holds `level` of the draws.

    `parameters` is "fixed" (the fixed effects: the default of Wald and "quantile"), "all" (the default of "profile" and
    "bootstrap": standard deviations, correlations, sigma and the family's parameters too), or names. Wald intervals of the
    others are formed on the log or on Fisher's z: see :mod:`lmmformula.inference.spreads`; at the boundary they are missing,
    and ``attrs["note"]`` says why.
    """
    if method == "wald":
        options.setdefault("ddf", "normal")
    method = fit.inference.interval if method is None else method
    if method not in INTERVALS:
        *others, last = map(repr, INTERVALS)
        raise ArgumentError(f"method={method!r} is unknown; use {', '.join(others)} or {last}.")
    fit.inference.check(f"{method} intervals")
    own_options(options, INTERVALS[method], f"conf_int(method={method!r})")
    return INTERVALS[method](fit, level, **options)


def _quantile_interval(fit: Fitted, level: float, parameters: str | Sequence[str] = "fixed") -> pd.DataFrame:
    import pandas as pd

    posterior = fit.inference.draws("method='quantile'")
    known = (*posterior.beta_names, *posterior.names)
    if parameters == "fixed":
        wanted = list(posterior.beta_names)
    elif parameters == "all":
        wanted = list(known)
    else:
        wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    if unknown := [name for name in wanted if name not in known]:
        raise DataError(
            f"there is no parameter {unknown[0]!r}; use 'fixed', 'all', or some of {', '.join(known)}."
        )
    draws = (
        np.stack([posterior[name].reshape(-1) for name in wanted], axis=-1) if wanted else np.empty((1, 0))
    )
    return pd.DataFrame(dict(zip(interval_names(level), quantiles(draws, level), strict=True)), index=wanted)


def _wald_interval(
    fit: Fitted,
    level: float,
    parameters: str | Iterable[str] = "fixed",
    ddf: str | None = None,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
    """Fixed effects by their tests' quantiles, all others by normal quantiles on a scale without bounds."""
    import pandas as pd

    wanted = chosen(parameters_of(fit.problem), parameters)
    known, beta = fit.inference.uncertainty(ddf or "satterthwaite", vcov, cluster), fit.estimate.beta
    reach = known.reach(level)
    rows, reasons = [], []
    for p in wanted:
        if p.kind == "beta":
            rows.append((beta[p.term] - reach[p.term], beta[p.term] + reach[p.term]))
        else:
            spread = spreads(fit).of(p)
            rows.append(spread.interval(level))
            reasons.append(spread.reason)
    out = pd.DataFrame(rows, index=[p.name for p in wanted], columns=list(interval_names(level)), dtype=float)
    if note := notes(reasons):
        out.attrs["note"] = note
    return out


INTERVALS: dict[str, Callable[..., pd.DataFrame]] = {
    "wald": _wald_interval,
    "profile": profile_interval,
    "bootstrap": bootstrap_interval,
    "quantile": _quantile_interval,
}
"""Method of intervals -> the function that gives them, which has the options of that method."""
