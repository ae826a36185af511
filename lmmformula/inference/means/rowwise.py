"""Population means of single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.location import coefficients as location
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.means.cells import cell_estimates, linked
from lmmformula.inference.means.draws import quantile_ends
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.marginal import conditional_words
from lmmformula.inference.means.population import grouped_terms, population_cells, rows_with_groups
from lmmformula.inference.means.scales import Scale, scale_of
from lmmformula.inference.prediction_rows import of_mean, own_rows
from lmmformula.inference.student import critical
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["population_predictions"]


def population_predictions(
    fit: Fitted,
    newdata: Data = None,
    *,
    se: bool = False,
    interval: bool = False,
    level: float = 0.95,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.Series | pd.DataFrame:
    """Expected responses over the population of groups; see :meth:`lmmformula.Fit.predict_population`."""
    import pandas as pd

    known = known_of_mean(fit, "satterthwaite", vcov, cluster)
    robust = vcov is not None or cluster is not None
    if newdata is None:
        blocks = [rows for _, rows in own_rows(fit, [*of_mean(fit), *grouped_terms(fit)])]
    else:
        blocks = [rows_with_groups(fit, newdata)]
    parts, how = [], ""
    for rows in blocks:
        eta = cell_estimates(fit, location.columns(fit, rows), rows.offset, np.zeros((rows.n, 0)), known)
        found, how = population_cells(fit, eta, rows, robust=robust)
        parts.append(pd.DataFrame(_columns(fit, found, se, interval, level), index=rows.index))
    out = pd.concat(parts)
    shown = out if se or interval else out["fit"]
    shown.attrs["note"] = " ".join([how, *conditional_words(fit)])
    return shown


def _columns(fit: Fitted, found: Estimates, se: bool, interval: bool, level: float) -> dict[str, Array]:
    columns = {"fit": found.point if found.draws is None else found.draws.mean(axis=0)}
    if se:
        columns["se"] = found.errors()
    if interval:
        columns["lower"], columns["upper"] = _limits(found, scale_of(fit), level)
    return columns


def _limits(found: Estimates, scale: Scale, level: float) -> tuple[Array, Array]:
    """Of draws quantiles; else on the scale of the link, carried back."""
    if found.draws is not None:
        return quantile_ends(found.draws, level)
    own = linked(found, scale)
    reach = critical(level, own.df()) * own.errors()
    ends = np.stack([scale.value(own.point - reach), scale.value(own.point + reach)])
    return ends.min(axis=0), ends.max(axis=0)
