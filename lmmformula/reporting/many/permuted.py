"""A permutation test as the user has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lmmformula.arguments import checked_methods
from lmmformula.inference.many.permuting import Permutations
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.typing import Drawn

__all__ = ["PermutationTest"]

_HOW = {"within": "rows within", "between": "whole levels of", "rows": "rows"}


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class PermutationTest:
    """A permutation test of a term.

    Attributes
    ----------
    found : Permutations
        With the permuted statistics, ``.found.drawn``.
    """

    found: Permutations

    @property
    def statistic(self) -> float:
        """F of the data."""
        return self.found.statistic

    @property
    def p_value(self) -> float:
        """``(1 + #{F* >= F}) / (1 + n)``."""
        return self.found.p_value

    @property
    def frame(self) -> pd.DataFrame:
        """One row: ``term, NumDF, statistic, p_value, n, failed, permuted``."""
        own = self.found
        return pd.DataFrame(
            {
                "term": [own.term],
                "NumDF": [len(own.names)],
                "statistic": [own.statistic],
                "p_value": [own.p_value],
                "n": [len(own.drawn)],
                "failed": [int(np.isnan(own.drawn).sum())],
                "permuted": [self._permuted],
            }
        )

    @property
    def _permuted(self) -> str:
        return f"{_HOW[self.found.how]} {self.found.cluster}".strip()

    def tidy(self) -> Table:
        """:attr:`frame`, as it prints."""
        return printed(self.frame)

    def plot(self, ax: Drawn = None) -> Drawn:
        """Histogram of the permuted statistics, and the one of the data."""
        from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes

        ax = new_axes(ax, (5.0, 3.4))
        ax.hist(self.found.drawn[np.isfinite(self.found.drawn)], bins=40, color=GREY)
        ax.axvline(self.statistic, color=COLOURS[0], lw=1.6)
        ax.set_xlabel("F", loc="right")
        ax.set_title(f"{self.found.term}: p = {self.p_value:.3g}, permuting {self._permuted}", loc="left")
        return ax

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        picture = Drawing(
            "Permuted statistics", "Permuted statistics, and the one of the data.", (5.2, 3.4), self.plot
        )
        return self._table.exhibit().titled(f"Permutation test of {self.found.term}").drawn(picture)

    @cached_property
    def _table(self) -> Table:
        out = printed(self.frame.drop(columns=["permuted"]).set_index("term"))
        out.index.name = None
        out.attrs["heading"] = f"Permutation test, residuals of the model without the term: {self._permuted}"
        out.attrs["note"] = (
            f"The smallest p-value that {len(self.found.drawn):,} permutations can give is {self._least:.3g}."
        )
        return out

    @property
    def _least(self) -> float:
        return 1.0 / (1 + int(np.isfinite(self.found.drawn).sum()))

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str | None:
        return self._table._repr_html_()
