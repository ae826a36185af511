"""A posterior in broom.mixed's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.conditional import group_names
from lmmformula.inference.draw_tables import worst
from lmmformula.inference.posterior import flat, quantiles, term_spreads
from lmmformula.ir.variance_parameters import term_parameters
from lmmformula.numerics.mcmc import ess_bulk, ess_tail, rhat
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.fitted import Fitted

__all__ = ["glance_posterior", "mode_limits", "tidy_fixed", "tidy_spreads"]


def tidy_fixed(fit: Fitted, level: float | None) -> pd.DataFrame:
    """Fixed effects: posterior means and standard deviations, quantiles if there is a `level`."""
    posterior = fit.inference.draws()
    names = posterior.beta_names
    table = _table("fixed", [(None, n, posterior[n]) for n in names], posterior, level)
    table["estimate"], table["std_error"] = fit.params.to_numpy(), fit.bse.to_numpy()
    return table


def tidy_spreads(fit: Fitted, level: float | None) -> pd.DataFrame:
    """Standard deviations and correlations, the residual's last, then the family's other parameters."""
    posterior = fit.inference.draws()
    shape, rows, known = (posterior.chains, posterior.draws), [], set()
    parameters = term_parameters(fit.problem)
    for i, (name, term) in enumerate(zip(group_names(fit), fit.problem.terms, strict=True)):
        drawn, c = term_spreads(fit, i), term.columns
        known.update(parameters[i].names)
        rows += [(name, f"sd__{c[j]}", drawn.sd[:, j].reshape(shape)) for j in range(term.k)]
        if parameters[i].kind.correlated:
            pairs = [(a, b) for a in range(term.k) for b in range(a + 1, term.k)]
            rows += [(name, f"cor__{c[a]}.{c[b]}", drawn.cor[:, a, b].reshape(shape)) for a, b in pairs]
        across = term.covariance.across
        own = zip(parameters[i].phis, () if across is None else across.names, strict=True)
        rows += [(term.group, label, posterior[phi]) for phi, label in own]
    further = [name for name in posterior.names if name not in known]
    rows += [("Residual", "sd__Observation" if n == "sigma" else n, posterior[n]) for n in further]
    return _table("ran_pars", rows, posterior, level)


def _table(
    effect: str, rows: list[tuple[object, str, Array]], posterior: Posterior, level: float | None
) -> pd.DataFrame:
    import pandas as pd

    blank = np.empty((posterior.chains, posterior.draws, 0))
    draws = np.stack([d for _, _, d in rows], axis=-1) if rows else blank
    columns: Record = {
        "effect": [effect] * len(rows),
        "component": ["cond"] * len(rows),
        "group": [group for group, _, _ in rows],
        "term": [term for _, term, _ in rows],
        "estimate": flat(draws).mean(axis=0),
        "std_error": flat(draws).std(axis=0, ddof=1),
    }
    if level is not None:
        columns["conf_low"], columns["conf_high"] = quantiles(flat(draws), level)
    if rows:
        columns |= {"rhat": rhat(draws), "ess_bulk": ess_bulk(draws), "ess_tail": ess_tail(draws)}
    else:
        columns |= dict.fromkeys(("rhat", "ess_bulk", "ess_tail"), np.empty(0))
    return pd.DataFrame(columns)


def mode_limits(fit: Fitted, level: float) -> tuple[Array, Array]:
    """Ends of the intervals of all random effects in the order of ``ranef()``; normal ones if their draws were not kept."""
    from scipy.special import ndtri

    posterior = fit.inference.draws()
    low: list[Array] = [np.zeros(0)]
    high: list[Array] = [np.zeros(0)]
    for i, (mean, sd) in enumerate(zip(posterior.effect_means, posterior.effect_sds, strict=True)):
        if posterior.effects is not None:
            ends = quantiles(flat(posterior.effects[i]), level)
        else:
            reach = float(ndtri(0.5 + level / 2)) * sd
            ends = mean - reach, mean + reach
        low.append(ends[0].T.ravel())
        high.append(ends[1].T.ravel())
    return np.concatenate(low), np.concatenate(high)


def glance_posterior(fit: Fitted) -> Record:
    """Size, scale, and what the sampler was like."""
    posterior = fit.inference.draws()
    numbers = worst(posterior)
    return {
        "nobs": fit.nobs,
        "npar": fit.df_model,
        "sigma": fit.sigma,
        "sampler": posterior.sampler,
        "chains": posterior.chains,
        "draws": posterior.draws,
        "rhat": numbers["max Rhat"],
        "ess_bulk": numbers["min Bulk_ESS"],
        "ess_tail": numbers["min Tail_ESS"],
        "divergences": posterior.diagnostics.divergences,
        "method": fit.method,
        "converged": fit.converged,
    }
