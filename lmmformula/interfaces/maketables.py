"""A fit in publication tables: what the package maketables asks of a result.

The protocol is a set of attributes, so that nothing is imported: ``__maketables_coef_table__`` is a frame indexed by
coefficient with the columns ``b, se, t, p`` and any others, ``__maketables_stat__(key)`` one statistic or None. See
PLUGIN_EXTRACTOR_FORMAT.md of maketables.

maketables 0.2 takes everything that has ``params``, ``bse`` and ``pvalues`` for a result of statsmodels before it looks for
these attributes; :class:`ProtocolOnly` shows it nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmmformula.errors import LmmformulaError
from lmmformula.formula import model_spec
from lmmformula.inference.conditional import random_effects

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster
    from lmmformula.typing import Numbers, Record

__all__ = [
    "LABELS",
    "MODEL_BASED",
    "ProtocolOnly",
    "coef_table",
    "default_stat_keys",
    "response_name",
    "stat",
]

_STATS: dict[str, Callable[[Fitted], object]] = {
    "N": lambda fit: fit.nobs,
    "ll": lambda fit: fit.llf,
    "aic": lambda fit: fit.aic,
    "bic": lambda fit: fit.bic,
    "deviance": lambda fit: fit.deviance,
    "df_model": lambda fit: fit.df_model,
    "df_resid": lambda fit: fit.df_resid,
    "r2_marginal": lambda fit: fit.r2()["marginal"],
    "r2_conditional": lambda fit: fit.r2()["conditional"],
    "method": lambda fit: fit.method,
    "family": lambda fit: fit.family,
    "se_type": lambda _: "model-based",
}
LABELS = {
    "r2_marginal": "R2 (marginal)",
    "r2_conditional": "R2 (conditional)",
    "method": "Method",
    "family": "Family",
}


MODEL_BASED = {"vcov_type": "model-based", "clustervar": None}
"""Where the standard errors come from, unless clusters are asked for."""


def coef_table(fit: Fitted, vcov: str | None = None, cluster: Cluster = None) -> pd.DataFrame:
    """Fixed effects: ``b, se, t, p`` and the limits of 95% and 90% Wald intervals."""
    import pandas as pd

    by_clusters: Record = {}
    columns = {"b": fit.params, "se": fit.bse, "t": fit.tvalues, "p": fit.pvalues}
    if vcov is not None or cluster is not None:
        by_clusters = {"vcov": vcov, "cluster": cluster}
        table, _ = fit.inference.coefficients(vcov=vcov, cluster=cluster)
        columns |= {"se": table["Std. Error"], "t": table.iloc[:, -2], "p": table.iloc[:, -1]}
    for percent in (95, 90):
        limits = fit.conf_int(level=percent / 100, **by_clusters)
        columns[f"ci{percent}l"], columns[f"ci{percent}u"] = limits.iloc[:, 0], limits.iloc[:, 1]
    return pd.DataFrame(columns).rename_axis("Coefficient")


def stat(fit: Fitted, key: str) -> object:
    """One statistic; None for keys that are unknown, and where the model has no such number.

    Besides the protocol's ``N, ll, aic, bic, deviance, df_model, df_resid, se_type``: ``r2_marginal, r2_conditional,
    method, family``; ``Groups: g``, the levels of a factor; ``SD: g, x``, the standard deviation of an effect, and
    ``SD: Residual``. There is no plain ``r2``, as a mixed model has two.
    """
    if key in _STATS:
        try:
            value = _STATS[key](fit)
        except LmmformulaError:
            return None
        return None if isinstance(value, float) and not math.isfinite(value) else value
    return {**_groups(fit), **_spreads(fit)}.get(key)


def _groups(fit: Fitted) -> dict[str, int]:
    return {f"Groups: {name}": count for name, count in fit.ngroups.items()}


def _spreads(fit: Fitted) -> dict[str, float]:
    """Standard deviations of the random effects and of the residuals."""
    table = random_effects(fit)
    named = zip(table["grp"], table["var1"], table["var2"], table["sdcor"], strict=True)
    return {
        "SD: " + (f"{group}, {column}" if isinstance(column, str) else str(group)): float(sd)
        for group, column, other, sd in named
        if not isinstance(other, str)
    }


def default_stat_keys(fit: Fitted) -> list[str]:
    """Rows, levels, standard deviations, and the likelihood where there is one."""
    likelihood = ["ll", "aic"] if math.isfinite(fit.llf) else []
    return ["N", *_groups(fit), *_spreads(fit), *likelihood]


def response_name(fit: Fitted) -> str:
    """The left side of the formula."""
    columns = [record.name for record in fit.problem.recipe.columns]
    response = model_spec(fit.formula, columns=columns).response
    return "" if response is None else response.label


class ProtocolOnly:
    """A fit of which only the attributes of the protocol can be seen, with the standard errors that were asked for."""

    def __init__(self, fit: Fitted, vcov: str | None = None, cluster: Cluster = None) -> None:
        self._fit, self._asked = fit, {"vcov": vcov, "cluster": cluster}
        self._known = None if vcov is None and cluster is None else fit.inference.uncertainty(**self._asked)

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        return coef_table(self._fit, **self._asked)

    @property
    def __maketables_vcov_info__(self) -> Record:
        known = self._known
        return dict(MODEL_BASED) if known is None else {"vcov_type": known.kind, "clustervar": known.grouped}

    def __maketables_stat__(self, key: str) -> object:
        if key == "se_type" and self._known is not None:
            return self._known.label
        return stat(self._fit, key)

    def __getattr__(self, name: str) -> Numbers:
        if name.startswith("__maketables_"):
            return getattr(self._fit, name)
        raise AttributeError(name)
