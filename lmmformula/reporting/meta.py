"""``m.heterogeneity()`` as a result that prints, goes into reports and draws a forest plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmmformula.inference.meta import Differences, differences
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Data, Drawn

__all__ = ["Heterogeneity", "heterogeneity"]

_SAID = {
    "z": "Tests: normal quantiles.",
    "t": "Tests: Student's t with n - p degrees of freedom.",
    "knapp-hartung": "Tests: Knapp & Hartung (2003), t with n - p degrees of freedom.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Heterogeneity(Differences):
    """How much studies differ: ``frame`` has variances between them, ``plot(ax=)`` draws studies, mean and prediction."""

    fit: Fitted = field(kw_only=True)

    def plot(self, ax: Drawn = None) -> Drawn:
        """A forest plot: studies with limits of their sampling errors, shrunken effects, the mean and where a new one lies."""
        from lmmformula.reporting.plots.forest import draw_forest

        return draw_forest(self.fit, self, ax)

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        first, *more = (table.exhibit() for table in self._tables())
        for other in more:
            first = first.above(other)
        picture = Drawing(first.title, "Studies, their mean, and a new one", (5.2, 4.2), self.plot)
        return first.drawn(picture)

    def _tables(self) -> list[Table]:
        said = (
            f"Cochran's Q({self.df}) = {self.Q:.4g}, p = {self.p_value:.3g}; typical sampling variance "
            f"{self.typical_variance:.4g}. I2 in percent; limits of tau2 by its Q-profile."
        )
        parts = [
            (self.frame.dropna(axis=1, how="all"), "Heterogeneity between studies", said),
            (self.coefficients, "Fixed effects", _SAID[self.test]),
        ]
        if self.prediction is not None:
            parts.append((self.prediction, f"Mean and a new study, {self.level:.0%} limits", ""))
        return [_table(frame, heading, note) for frame, heading, note in parts]

    def __repr__(self) -> str:
        return "\n\n".join(repr(table) for table in self._tables())

    def _repr_html_(self) -> str:
        return "".join(str(table._repr_html_()) for table in self._tables())


def _table(frame: pd.DataFrame, heading: str, note: str) -> Table:
    out = printed(frame.copy())
    out.attrs["heading"] = heading
    if note:
        out.attrs["note"] = note
    return out


def heterogeneity(fit: Fitted, test: str, newdata: Data, level: float) -> Heterogeneity:
    """See :meth:`lmmformula.verbs.MetaVerbs.heterogeneity`."""
    return Heterogeneity(**vars(differences(fit, test, newdata, level)), fit=fit)
