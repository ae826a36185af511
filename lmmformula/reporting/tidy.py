"""broom's three tables: a row a parameter, a row a model, a row an observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.table import open_table
from lmmformula.inference.conditional import group_names
from lmmformula.inference.residuals import linear_predictor
from lmmformula.inference.rows import codes_of_rows, named_columns, refuse_in_memory, row_labels

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster
    from lmmformula.typing import Record

__all__ = ["augment", "glance", "tidy"]

EFFECTS = ("fixed", "ran_pars", "ran_vals")


def tidy(
    fit: Fitted,
    effects: str = "all",
    conf_int: bool = False,
    level: float = 0.95,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
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
    vcov, cluster
        Errors of the fixed effects by clusters: see :mod:`lmmformula.inference.robust`.

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
    frames, limits = [], level if conf_int else None
    if effects in ("all", "fixed"):
        frames += fit.inference.tidy_fixed(limits, vcov, cluster)
    if effects in ("all", "ran_pars"):
        frames.append(fit.inference.tidy_spreads(limits))
    names = [name for name in frames[0] if name != "component" or not fit.problem.is_linear]
    # Lists instead of concat: pandas warns of columns that are all missing.
    return pd.DataFrame({name: [v for f in frames for v in f[name]] for name in names})


def _modes(fit: Fitted, conf_int: bool, level: float) -> pd.DataFrame:
    import pandas as pd

    modes = fit.ranef(condsd=True)
    names = [name for name, t in zip(group_names(fit), fit.problem.terms, strict=True) for _ in range(t.q)]
    out = pd.DataFrame(
        {
            "effect": "ran_vals",
            **({} if fit.problem.is_linear else {"component": "cond"}),
            "group": names,
            "level": modes["grp"],
            "term": modes["term"],
            "estimate": modes["condval"],
            "std_error": modes["condsd"],
        }
    )
    if conf_int:
        out["conf_low"], out["conf_high"] = fit.inference.mode_limits(modes, level)
    return out


def glance(fit: Fitted) -> pd.DataFrame:
    """One row a model.

    Columns ``nobs, npar, sigma, logLik, AIC, BIC``, ``REMLcrit`` or ``deviance``, ``df_residual, method, converged, singular``,
    and if not Gaussian ``family, link``. ``sigma`` is then the dispersion parameter: 1 for families without one, missing where
    it has predictors, and the root of phi where a quasi-likelihood estimates that. ``deviance`` is -2 log L; it and what
    follows from it are missing for a quasi-likelihood. ``logLik_se`` is there where the likelihood is an estimate. A
    posterior has no criteria but ``sampler, chains, draws``, the worst ``rhat, ess_bulk, ess_tail`` and ``divergences``.
    """
    import pandas as pd

    family = {} if fit.problem.is_linear else {"family": [fit.family], "link": [fit.problem.family.link]}
    return pd.DataFrame({name: [value] for name, value in fit.inference.glance().items()} | family)


def augment(fit: Fitted, columns: str | Sequence[str] = "formula") -> pd.DataFrame:
    """The rows of the fit with fitted values and residuals.

    The data come first: the columns that the model uses, from the table of the call. A loaded fit does not carry that
    table; the response (``.response``), the grouping factors and the fixed-effects columns stand in for it. Then
    ``.fitted, .resid, .fixed`` (the fixed part with any offset) and, if used, ``.offset, .weights``. ``.fitted`` is the
    expected response and ``.resid`` the response minus that, for every family; broom.mixed has the linear predictor and
    deviance residuals there. ``.fixed`` and ``.offset`` are on the scale of the linear predictor.
    The index is that of the data, on the rows used; the row's position where the data have none.
    """
    data = fit.problem.data
    refuse_in_memory(fit, "fitted values")
    out = _canonical(fit) if fit.recall.data is None else _data(fit, columns)
    fitted = fit.fittedvalues.to_numpy()
    out[".fitted"] = fitted
    out[".resid"] = data.whole(data.y) - fitted
    out[".fixed"] = linear_predictor(fit, ())
    if data.offset is not None:
        out[".offset"] = data.whole(data.offset)
    if data.weights is not None:
        out[".weights"] = data.whole(data.weights)
    return out


def _data(fit: Fitted, columns: str | Sequence[str]) -> pd.DataFrame:
    """Columns used, or others, on the rows used."""
    table = open_table(fit.recall.data)
    names = named_columns(fit, table.names, columns)
    rows = fit.problem.rows % table.n_rows if fit.problem.responses else fit.problem.rows
    return table.to_pandas(names, rows).set_axis(row_labels(fit.problem), axis=0)


def _canonical(fit: Fitted) -> pd.DataFrame:
    import pandas as pd

    problem, data = fit.problem, fit.problem.data
    columns: Record = {".response": data.whole(data.y)}
    for i, t in enumerate(problem.terms):
        if t.shares is None:
            columns[t.group] = pd.Categorical.from_codes(codes_of_rows(problem, i), list(t.levels))
    of_x = zip(problem.X.names, data.fixed.columns(1.0), strict=True)
    columns |= {name: data.whole(column) for name, column in of_x if name != "(Intercept)"}
    return pd.DataFrame(columns, index=row_labels(problem))
