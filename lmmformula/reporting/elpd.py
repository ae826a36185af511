"""Expected log predictive densities as the user has them."""

from __future__ import annotations

from dataclasses import fields
from functools import partial, wraps
from typing import TYPE_CHECKING

from lmmformula.inference.bayesian import elpd as _elpd
from lmmformula.inference.bayesian.elpd import Elpd
from lmmformula.reporting.drawn import DrawnTable
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.html import small

if TYPE_CHECKING:
    from lmmformula.typing import Argument, Drawn

__all__ = ["ShownElpd", "loo_compare"]


class ShownElpd(Elpd):
    """Expected log predictive density of one fit; prints as R's loo."""

    @classmethod
    def of(cls, found: Elpd) -> ShownElpd:
        """The same, to be shown."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    @property
    def frame(self) -> Table:
        """:attr:`table`, as it prints."""
        out = printed(self.table.copy())
        out.attrs["heading"] = self.heading
        return out

    def plot(self, ax: Drawn = None) -> Drawn:
        """Pareto's k of each unit with the limit of trust, or without k each unit's elpd."""
        from lmmformula.reporting.plots.canvas import new_axes
        from lmmformula.reporting.plots.tests import pareto

        return pareto(self, new_axes(ax, (5.6, 3.4)))

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        what = "Leave-one-out" if self.kind == "loo" else "K-fold"
        picture = Drawing(
            what, "Pareto's k." if "k" in self.pointwise else "elpd of each.", (5.6, 3.4), self.plot
        )
        found = self.frame.exhibit().titled(f"{what} predictive density")
        return found.above(Exhibit("", said=tuple(self._said))).drawn(picture)

    @property
    def _said(self) -> list[str]:
        return [*self.trust(), *([self.note] if self.note else [])]

    def _repr_html_(self) -> str:
        return f"{self.frame._repr_html_()}{small(self._said)}"


@wraps(_elpd.loo_compare)
def loo_compare(*results: Argument, **arguments: Argument) -> DrawnTable:  # noqa: D103 - the docstring is that of what it shows
    from lmmformula.reporting.plots.tests import weights

    found = _elpd.loo_compare(*results, **arguments)
    found.attrs["title"] = "Models by their predictive density"
    size = (5.2, 1.2 + 0.32 * max(len(found), 2))
    return DrawnTable.of(found, Drawing("Weights", "Stacking weights.", size, partial(weights, found)))
