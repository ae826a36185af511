"""A comparison of methods as the user has it: it prints itself and draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.reporting.compared import Compared
from lmmformula.reporting.comparison_grids import as_html, as_text

if TYPE_CHECKING:
    from lmmformula.typing import Argument, Drawn


__all__ = ["MethodComparison"]


@checked_methods(rest={"plot": ("intercept", "group", "column", "most")})
@dataclass(frozen=True, eq=False, repr=False)
class MethodComparison(Compared):
    """The same model by several methods. Printing it shows the table and where methods disagree."""

    def plot(self, kind: str = "all", ax: Drawn = None, **options: Argument) -> Drawn:
        """Forest of coefficients, caterpillar of random effects, shrinkage.

        Parameters
        ----------
        kind : {"all", "coefficients", "caterpillar", "shrinkage"}
        ax : Axes, or array of Axes for "all", optional
        **options
            ``intercept`` (coefficients); ``group, column, most`` (caterpillar); ``group, column`` (shrinkage).

        Returns
        -------
        Axes, or an array of Axes for "all"
        """
        from lmmformula.reporting.plots.methods import plot_comparison

        return plot_comparison(self, kind, ax, **options)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self)
