"""Covariance matrices of the fixed effects with names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.inference.wald import cov_params as of_the_model

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["cov_params"]


def cov_params(fit: Fitted, kind: str | None = None, cluster: Cluster = None) -> pd.DataFrame:
    """The model's covariance matrix, or one by clusters: :meth:`lmmformula.Fit.cov_params`."""
    import pandas as pd

    if kind is None and cluster is None:
        return of_the_model(fit)
    known, names = fit.inference.uncertainty(vcov=kind, cluster=cluster), list(fit.problem.X.names)
    table = pd.DataFrame(known.covariance.copy(), index=names, columns=names)
    table.attrs["heading"] = f"Covariance matrix of the fixed effects ({known.label})"
    return table
