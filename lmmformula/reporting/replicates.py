"""Replicates of a bootstrap: a DataFrame in every use, which prints what they say of the estimates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from lmmformula.reporting.drawn import DrawnTable
from lmmformula.reporting.exhibits import ACROSS, Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Replicates", "shown_bootstrap"]

MOST = 12
"""Statistics that are drawn."""


class Replicates(DrawnTable):
    """A row for each replicate, a column for each statistic. Printing it shows a row for each statistic: :attr:`overview`."""

    @property
    def overview(self) -> Table:
        """``original, bias, std_error`` and 95% percentile limits of each statistic."""
        estimate: Mapping[str, float] = self.attrs["estimate"]
        own = pd.DataFrame(self)
        middle = pd.Series(dict(estimate), dtype=float)
        out = pd.DataFrame(
            {
                "original": middle,
                "bias": own.mean() - middle,
                "std_error": own.std(),
                "2.5 %": own.quantile(0.025),
                "97.5 %": own.quantile(0.975),
            },
            index=list(estimate),
        )
        failed = int(self.attrs["failed"])
        out.attrs["title"] = "Parametric bootstrap"
        out.attrs["heading"] = f"Parametric bootstrap, {len(self):,} replicates"
        said = f"{failed:,} of them could not be fitted. " if failed else ""
        out.attrs["note"] = f"{said}Limits are percentiles. Each row of the frame is a replicate."
        return printed(out)

    def exhibit(self) -> Exhibit:
        """The overview, and histograms."""
        return self.overview.exhibit().drawn(self.drawing)

    def __repr__(self) -> str:
        return repr(self.overview)

    def _repr_html_(self) -> str | None:
        return self.overview._repr_html_()


def shown_bootstrap(found: pd.DataFrame) -> Table:
    """Replicates as they print; intervals as a table."""
    if "estimate" not in found.attrs:
        return printed(found)
    from lmmformula.reporting.plots.replicates import histograms

    names = list(found.columns)[:MOST]
    count = len(names)
    draw = partial(histograms, pd.DataFrame(found[names]), dict(found.attrs["estimate"]))
    picture = Drawing(
        "Replicates", "Replicates of each statistic, and its estimate.", _size(count), draw, count
    )
    return Replicates.of(found, picture)


def _size(count: int) -> tuple[float, float]:
    return 2.6 * min(count, ACROSS), 2.1 * -(-count // ACROSS)
