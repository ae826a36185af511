"""broom's three tables: a row a parameter, a row a model, a row an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.table import open_table
from lmmformula.inference.conditional import group_names
from lmmformula.inference.rows import row_labels
from lmmformula.inference.spreads import varcorr_spreads
from lmmformula.inference.student import critical
from lmmformula.reporting.coefficients import auxiliary_tables, fixed_effects, is_gaussian, scale
from lmmformula.reporting.posterior_tidy import glance_posterior, mode_limits, tidy_fixed, tidy_spreads
from lmmformula.reporting.summary import random_effects

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["augment", "glance", "tidy"]

EFFECTS = ("fixed", "ran_pars", "ran_vals")
_COLUMNS = ["effect", "group", "term", "estimate", "std_error", "statistic", "df", "p_value"]


def tidy(fit: Fit, effects: str = "all", conf_int: bool = False, level: float = 0.95) -> pd.DataFrame:
    """Coefficient table in broom.mixed's columns.

    For models that are not Gaussian the statistic is z, ``df`` is missing, and a column ``component`` tells the model of the
    mean ("cond") from the auxiliary predictors, whose rows have the effect "fixed" too: "zi" (logit of the probability of a
    structural zero), "disp" (log of the dispersion parameter).

    Parameters
    ----------
    fit : Fit
    effects : {"all", "fixed", "ran_pars", "ran_vals"}
        Fixed effects and auxiliary predictors; standard deviations and correlations (``sd__x``, ``cor__x.z``);
        the modes of the levels, which are left out of "all".
    conf_int : bool
        Add ``conf_low, conf_high``: Wald intervals as :meth:`Fit.conf_int` for fixed effects and for modes, formed on the
        log and on Fisher's z for standard deviations and correlations; of a posterior, quantiles of everything.
    level : float

    Returns
    -------
    DataFrame
        ``effect, group, term, estimate, std_error, statistic, df, p_value``, and ``level`` (the group's level) for modes;
        ``effect, component, group, ...`` if not Gaussian. Of a posterior ``effect, group, term, estimate, std_error[, conf_low,
        conf_high], rhat, ess_bulk, ess_tail``: means and standard deviations, without tests.
    """
    import pandas as pd

    if effects not in ("all", *EFFECTS):
        raise DataError(f"effects={effects!r} is unknown; use 'all', {', '.join(map(repr, EFFECTS))}.")
    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
    if effects == "ran_vals":
        return _modes(fit, conf_int, level)
    frames = []
    if effects in ("all", "fixed"):
        frames += _fixed(fit, conf_int, level)
    if effects in ("all", "ran_pars"):
        frames.append(_spreads(fit, conf_int, level))
    # Lists instead of concat: pandas warns of columns that are all missing.
    return pd.DataFrame({name: [v for f in frames for v in f[name]] for name in frames[0]})


def _fixed(fit: Fit, conf_int: bool, level: float) -> list[pd.DataFrame]:
    """Fixed effects, then each auxiliary predictor."""
    if fit.posterior is not None:
        return [_with_component(fit, tidy_fixed(fit, level if conf_int else None))]
    tables = {"cond": fixed_effects(fit)[0], **auxiliary_tables(fit)}
    return [_coefficients(fit, *item, conf_int, level) for item in tables.items()]


def _coefficients(
    fit: Fit, component: str, table: pd.DataFrame, conf_int: bool, level: float
) -> pd.DataFrame:
    import pandas as pd

    estimates, errors = table["Estimate"].to_numpy(), table["Std. Error"].to_numpy()
    columns: dict[str, Any] = {
        "effect": "fixed",
        **_component(fit, component),
        "group": None,
        "term": list(table.index),
        "estimate": estimates,
        "std_error": errors,
        "statistic": table.iloc[:, -2].to_numpy(),
        "df": table["df"].to_numpy() if "df" in table else np.nan,
        "p_value": table.iloc[:, -1].to_numpy(),
    }
    if conf_int:
        reach = critical(level, table["df"].to_numpy() if "df" in table else np.inf) * errors
        columns |= {"conf_low": estimates - reach, "conf_high": estimates + reach}
    return pd.DataFrame(columns)


def _component(fit: Fit, name: str) -> dict[str, str]:
    """The column ``component``, which Gaussian models do not have."""
    return {} if is_gaussian(fit) else {"component": name}


def _with_component(fit: Fit, table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the column ``component`` after the first, where there is one."""
    for name, value in _component(fit, "cond").items():
        table.insert(1, name, value)
    return table


def _spreads(fit: Fit, conf_int: bool, level: float) -> pd.DataFrame:
    import pandas as pd

    if fit.posterior is not None:
        return _with_component(fit, tidy_spreads(fit, level if conf_int else None))
    rows = []
    shown = zip(random_effects(fit).itertuples(index=False, name=None), varcorr_spreads(fit), strict=False)
    for (group, a, b, _, value), known in shown:
        term = (
            f"cor__{a}.{b}" if isinstance(b, str) else f"sd__{a}" if isinstance(a, str) else "sd__Observation"
        )
        ends = known.interval(level) if conf_int else ()
        rows.append(("ran_pars", group, term, value, known.error, *[np.nan] * 3, *ends))
    return _with_component(fit, pd.DataFrame(rows, columns=_COLUMNS + ["conf_low", "conf_high"] * conf_int))


def _modes(fit: Fit, conf_int: bool, level: float) -> pd.DataFrame:
    import pandas as pd
    from scipy.special import ndtri

    modes = fit.ranef(condsd=True)
    names = [name for name, t in zip(group_names(fit), fit.problem.terms, strict=True) for _ in range(t.q)]
    out = pd.DataFrame(
        {
            "effect": "ran_vals",
            **_component(fit, "cond"),
            "group": names,
            "level": modes["grp"],
            "term": modes["term"],
            "estimate": modes["condval"],
            "std_error": modes["condsd"],
        }
    )
    if conf_int and fit.posterior is not None:
        out["conf_low"], out["conf_high"] = mode_limits(fit, level)
    elif conf_int:
        reach = float(ndtri(0.5 + level / 2)) * out["std_error"]
        out["conf_low"], out["conf_high"] = out["estimate"] - reach, out["estimate"] + reach
    return out


def glance(fit: Fit) -> pd.DataFrame:
    """One row a model.

    Columns ``nobs, npar, sigma, logLik, AIC, BIC``, ``REMLcrit`` or ``deviance``, ``df_residual, method, converged, singular``,
    and if not Gaussian ``family, link``. ``sigma`` is then the dispersion parameter: 1 for families without one, missing where
    it has predictors, and the root of phi where a quasi-likelihood estimates that. ``deviance`` is -2 log L; it and what
    follows from it are missing for a quasi-likelihood. ``logLik_se`` is there where the likelihood is an estimate. A
    posterior has no criteria but ``sampler, chains, draws``, the worst ``rhat, ess_bulk, ess_tail`` and ``divergences``.
    """
    import pandas as pd

    family = {} if is_gaussian(fit) else {"family": [fit.family], "link": [fit.problem.family.link]}
    if fit.posterior is not None:
        return pd.DataFrame({name: [value] for name, value in glance_posterior(fit).items()} | family)
    criterion = "REMLcrit" if fit.estimate.restricted else "deviance"
    return pd.DataFrame(
        {
            "nobs": [fit.nobs],
            "npar": [fit.df_model],
            "sigma": [scale(fit)],
            "logLik": [fit.llf],
            **({"logLik_se": [fit.llf_stderr]} if fit.llf_stderr else {}),
            "AIC": [fit.aic],
            "BIC": [fit.bic],
            criterion: [fit.deviance],
            "df_residual": [fit.df_resid],
            "method": [fit.method],
            "converged": [fit.converged],
            "singular": [fit.is_singular],
            **family,
        }
    )


def augment(fit: Fit) -> pd.DataFrame:
    """The rows of the fit with fitted values and residuals.

    The data come first: the columns that the model uses, from the table of the call. A loaded fit does not carry that
    table; the response (``.response``), the grouping factors and the fixed-effects columns stand in for it. Then
    ``.fitted, .resid, .fixed`` (the fixed part with any offset) and, if used, ``.offset, .weights``. ``.fitted`` is the
    expected response and ``.resid`` the response minus that, for every family; broom.mixed has the linear predictor and
    deviance residuals there. ``.fixed`` and ``.offset`` are on the scale of the linear predictor.
    The index is that of the data, on the rows used; the row's position where the data have none.
    """
    problem = fit.problem
    out = _canonical(fit) if fit.recall.data is None else _data(fit)
    fitted = fit.fittedvalues.to_numpy()
    fixed = problem.X.matrix @ fit.estimate.beta
    out[".fitted"] = fitted
    out[".resid"] = problem.y - fitted
    out[".fixed"] = fixed if problem.offset is None else fixed + problem.offset
    if problem.offset is not None:
        out[".offset"] = problem.offset
    if problem.weights is not None:
        out[".weights"] = problem.weights
    return out


def _data(fit: Fit) -> pd.DataFrame:
    """Columns used, on the rows used."""
    table = open_table(fit.recall.data)
    names = [record.name for record in fit.problem.recipe.columns if record.name in table]
    return table.to_pandas(names, fit.problem.positions).set_axis(row_labels(fit.problem), axis=0)


def _canonical(fit: Fit) -> pd.DataFrame:
    import pandas as pd

    problem = fit.problem
    columns: dict[str, Any] = {".response": problem.y}
    single = (t for t in problem.terms if t.shares is None)
    columns |= {t.group: pd.Categorical.from_codes(t.codes, list(t.levels)) for t in single}
    columns |= {
        name: problem.X.matrix[:, j] for j, name in enumerate(problem.X.names) if name != "(Intercept)"
    }
    return pd.DataFrame(columns, index=row_labels(problem))
