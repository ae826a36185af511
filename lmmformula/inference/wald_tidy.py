"""Estimates with standard errors in broom.mixed's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.student import critical

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.spread import Spread

__all__ = ["tidied_coefficients", "tidied_spreads"]

_COLUMNS = ["effect", "component", "group", "term", "estimate", "std_error", "statistic", "df", "p_value"]


def tidied_coefficients(component: str, table: pd.DataFrame, level: float | None) -> pd.DataFrame:
    """Rows of one linear predictor, from its table of estimates, errors and tests."""
    import pandas as pd

    estimates, errors = table["Estimate"].to_numpy(), table["Std. Error"].to_numpy()
    df = table["df"].to_numpy() if "df" in table else None
    columns = {
        "effect": "fixed",
        "component": component,
        "group": None,
        "term": list(table.index),
        "estimate": estimates,
        "std_error": errors,
        "statistic": table.iloc[:, -2].to_numpy(),
        "df": np.nan if df is None else df,
        "p_value": table.iloc[:, -1].to_numpy(),
    }
    if level is not None:
        reach = critical(level, np.inf if df is None else df) * errors
        columns |= {"conf_low": estimates - reach, "conf_high": estimates + reach}
    return pd.DataFrame(columns)


def tidied_spreads(
    shown: pd.DataFrame,
    known: Sequence[Spread],
    level: float | None,
    structures: Sequence[tuple[str, str, Spread]] = (),
) -> pd.DataFrame:
    """Rows of standard deviations and correlations, `shown` as ``varcorr()`` has them, and of structures across levels."""
    import pandas as pd

    rows = []
    for (group, a, b, _, value), spread in zip(shown.itertuples(index=False, name=None), known, strict=False):
        term = f"cor__{a}.{b}" if isinstance(b, str) else f"sd__{a if isinstance(a, str) else 'Observation'}"
        ends = () if level is None else spread.interval(level)
        rows.append(("ran_pars", "cond", group, term, value, spread.error, *[np.nan] * 3, *ends))
    for group, name, spread in structures:
        ends = () if level is None else spread.interval(level)
        rows.append(("ran_pars", "cond", group, name, spread.value, spread.error, *[np.nan] * 3, *ends))
    limits = [] if level is None else ["conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=_COLUMNS + limits)
