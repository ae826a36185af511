"""``m.smooth("s(x)")`` and ``m.smooths()``: curves and their table as results that print, draw and go into reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.smooths.curves import Curve, curve_of
from lmmformula.inference.smooths.places import of_other_predictors
from lmmformula.inference.smooths.tests import smooth_table
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Data, Drawn

__all__ = ["SmoothCurve", "smooth", "smooths_table"]

MOST = 12
"""Rows that are shown of a curve."""


@dataclass(frozen=True, eq=False, repr=False)
class SmoothCurve(Curve):
    """A smooth on a grid: ``frame`` has it, ``plot(ax=)`` draws it with both bands."""

    def plot(self, ax: Drawn = None) -> Drawn:
        """A curve with its bands, contours of a surface, a line for each of several levels; returns the Axes."""
        from lmmformula.reporting.plots.smooths import draw_smooth

        return draw_smooth(self, ax)

    def exhibit(self) -> Exhibit:
        """What a report shows of it: some rows and the plot."""
        picture = Drawing(self.label, f"{self.label} with its bands", (4.6, 3.2), self.plot)
        return self._table().exhibit().drawn(picture)

    def _table(self) -> Table:
        at = np.linspace(0, len(self.frame) - 1, min(len(self.frame), MOST)).round().astype(int)
        out = printed(self.frame.iloc[at])
        out.attrs["heading"] = (
            f"{self.label} with {self.level:.0%} limits of each point and of the whole curve (factor {self.factor:.3g})"
        )
        if len(self.frame) > len(out):
            out.attrs["note"] = f"{len(out)} of {len(self.frame):,} points; frame has all."
        return out

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return str(self._table()._repr_html_())


def smooth(
    fit: Fitted,
    name: str,
    newdata: Data = None,
    points: int | None = None,
    level: float = 0.95,
    seed: int | np.random.Generator | None = None,
) -> SmoothCurve:
    """See :meth:`lmmformula.verbs.SmoothVerbs.smooth`."""
    found = curve_of(fit, name, newdata, points, level, seed)
    return SmoothCurve(**vars(found))


def smooths_table(fit: Fitted) -> Table:
    """See :meth:`lmmformula.verbs.SmoothVerbs.smooths`."""
    out = printed(smooth_table(fit))
    out.attrs["heading"] = "Smooth terms"
    if note := of_other_predictors(fit):
        out.attrs["note"] = note
    return out
